//! The queue of webhooks: events in batches, with further attempts. Pure.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::events::PusherEvent;

/// How long events are collected for one request.
const COLLECT: Duration = Duration::from_millis(500);

/// Most events of a request.
const MAX_EVENTS: usize = 50;

/// Most bytes of events that wait. Further ones are dropped.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The waits before further attempts.
const WAITS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(300),
];

/// The body of a request that is sent until it is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) body: String,
    /// Bytes of its events.
    bytes: usize,
    attempts: usize,
    due: Instant,
}

/// The events of an app that wait. A batch that was refused is sent before later ones.
#[derive(Default)]
pub(super) struct Queue {
    /// Each with its time in milliseconds since 1970.
    events: VecDeque<(String, u64)>,
    since: Option<Instant>,
    again: Option<Batch>,
    bytes: usize,
    /// Events and batches that were dropped.
    pub(super) dropped: u64,
}

impl Queue {
    /// Adds an event at a time, also in milliseconds since 1970. Returns `false` if it is dropped.
    pub(super) fn push(&mut self, event: &PusherEvent, now: Instant, time_ms: u64) -> bool {
        let json = event.json();
        let max_bytes = match event {
            PusherEvent::ClientEvent { .. } => MAX_BYTES / 2,
            _ => MAX_BYTES,
        };
        if self.bytes + json.len() > max_bytes {
            self.dropped += 1;
            return false;
        }
        self.bytes += json.len();
        self.events.push_back((json, time_ms));
        self.since.get_or_insert(now);
        true
    }

    /// Events and refused batches that wait.
    pub(super) fn len(&self) -> usize {
        self.events.len() + usize::from(self.again.is_some())
    }

    /// The time at which a batch is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again.as_ref().map(|batch| batch.due).or_else(|| self.since.map(|since| since + COLLECT))
    }

    /// Makes the events due that are being collected.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.since = self.since.map(|_| now - COLLECT);
    }

    /// The next batch that is due.
    pub(super) fn next(&mut self, now: Instant) -> Option<Batch> {
        if let Some(batch) = &self.again {
            return if batch.due <= now { self.again.take() } else { None };
        }
        let is_due = self.events.len() >= MAX_EVENTS || self.since.is_some_and(|since| since + COLLECT <= now);
        if !is_due || self.events.is_empty() {
            return None;
        }
        let count = self.events.len().min(MAX_EVENTS);
        let time_ms = self.events.front().map_or(0, |(_, time_ms)| *time_ms);
        let events: Vec<String> = self.events.drain(..count).map(|(json, _)| json).collect();
        let bytes = events.iter().map(String::len).sum();
        let events = events.join(",");
        self.since = (!self.events.is_empty()).then_some(now - COLLECT);
        Some(Batch { body: format!(r#"{{"time_ms":{time_ms},"events":[{events}]}}"#), bytes, attempts: 0, due: now })
    }

    /// A batch was accepted.
    pub(super) fn accepted(&mut self, batch: &Batch) {
        self.bytes -= batch.bytes;
    }

    /// A batch was not accepted. Returns `false` if it is given up.
    pub(super) fn refused(&mut self, mut batch: Batch, now: Instant) -> bool {
        let Some(wait) = WAITS.get(batch.attempts) else {
            self.accepted(&batch);
            self.dropped += 1;
            return false;
        };
        batch.attempts += 1;
        batch.due = now + *wait;
        self.again = Some(batch);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occupied(number: usize) -> PusherEvent {
        PusherEvent::ChannelOccupied { channel: format!("c{number}") }
    }

    #[test]
    fn events_are_collected_for_one_request() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        (0..3).for_each(|number| assert!(queue.push(&occupied(number), now, 7)));
        assert_eq!(queue.next(now), None);
        assert_eq!(queue.deadline(), Some(now + COLLECT));
        let batch = queue.next(now + COLLECT).unwrap();
        let events = r#"{"name":"channel_occupied","channel":"c0"},{"name":"channel_occupied","channel":"c1"},{"name":"channel_occupied","channel":"c2"}"#;
        assert_eq!(batch.body, format!(r#"{{"time_ms":7,"events":[{events}]}}"#));
        assert_eq!((queue.next(now + COLLECT), queue.deadline()), (None, None));
    }

    #[test]
    fn many_events_are_sent_at_once_in_bounded_requests() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        (0..120).for_each(|number| _ = queue.push(&occupied(number), now, 7));
        let mut counts = Vec::new();
        while let Some(batch) = queue.next(now) {
            counts.push(batch.body.matches("channel_occupied").count());
        }
        assert_eq!(counts, [50, 50, 20]);
    }

    #[test]
    fn refused_batch_is_sent_again_and_given_up_at_last() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.push(&occupied(0), now, 7);
        now += COLLECT;
        let mut batch = queue.next(now).unwrap();
        let body = batch.body.clone();
        for wait in WAITS {
            assert!(queue.refused(batch, now));
            assert_eq!(queue.next(now), None);
            now += wait;
            batch = queue.next(now).unwrap();
            assert_eq!(batch.body, body);
        }
        assert!(!queue.refused(batch, now));
        assert_eq!((queue.dropped, queue.deadline()), (1, None));
    }

    #[test]
    fn waiting_events_are_bounded() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let event = PusherEvent::ClientEvent {
            channel: "private-c".to_owned(),
            event: "client-x".to_owned(),
            data: "x".repeat(1024 * 1024),
            socket_id: "1.2".to_owned(),
            user_id: None,
        };
        let kept = (0..10).filter(|_| queue.push(&event, now, 7)).count();
        assert_eq!((kept, queue.dropped), (3, 7));
        assert!(queue.push(&occupied(0), now, 7));
        let now = now + COLLECT;
        let batch = queue.next(now).unwrap();
        queue.accepted(&batch);
        assert_eq!(queue.bytes, 0);
        assert!(queue.push(&event, now, 7));
    }
}
