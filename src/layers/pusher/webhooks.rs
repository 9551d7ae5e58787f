//! The queue of webhooks: events in batches, with further attempts. Pure.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::events::PusherEvent;

/// How long events are collected for one request.
const COLLECT: Duration = Duration::from_millis(500);

/// Most events of a request.
const MOST_EVENTS: usize = 50;

/// Most bytes of events that wait. Further ones are dropped.
const MOST_BYTES: usize = 8 * 1024 * 1024;

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

/// The events of an app that wait, and the batches that were refused.
#[derive(Default)]
pub(super) struct Queue {
    events: VecDeque<String>,
    since: Option<Instant>,
    again: VecDeque<Batch>,
    bytes: usize,
    /// Events and batches that were dropped.
    pub(super) dropped: u64,
}

impl Queue {
    /// Adds an event. Returns `false` if it is dropped.
    pub(super) fn push(&mut self, event: &PusherEvent, now: Instant) -> bool {
        let json = event.json();
        if self.bytes + json.len() > MOST_BYTES {
            self.dropped += 1;
            return false;
        }
        self.bytes += json.len();
        self.events.push_back(json);
        self.since.get_or_insert(now);
        true
    }

    /// Events and refused batches that wait.
    pub(super) fn len(&self) -> usize {
        self.events.len() + self.again.len()
    }

    /// The time at which a batch is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let collected = self.since.map(|since| since + COLLECT);
        self.again.iter().map(|batch| batch.due).chain(collected).min()
    }

    /// The next batch that is due. `time_ms`: milliseconds since 1970.
    pub(super) fn next(&mut self, now: Instant, time_ms: u64) -> Option<Batch> {
        if let Some(position) = self.again.iter().position(|batch| batch.due <= now) {
            return self.again.remove(position);
        }
        let is_due = self.events.len() >= MOST_EVENTS || self.since.is_some_and(|since| since + COLLECT <= now);
        if !is_due || self.events.is_empty() {
            return None;
        }
        let count = self.events.len().min(MOST_EVENTS);
        let events: Vec<String> = self.events.drain(..count).collect();
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
        self.again.push_back(batch);
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
        (0..3).for_each(|number| assert!(queue.push(&occupied(number), now)));
        assert_eq!(queue.next(now, 7), None);
        assert_eq!(queue.deadline(), Some(now + COLLECT));
        let batch = queue.next(now + COLLECT, 7).unwrap();
        let events = r#"{"name":"channel_occupied","channel":"c0"},{"name":"channel_occupied","channel":"c1"},{"name":"channel_occupied","channel":"c2"}"#;
        assert_eq!(batch.body, format!(r#"{{"time_ms":7,"events":[{events}]}}"#));
        assert_eq!((queue.next(now + COLLECT, 7), queue.deadline()), (None, None));
    }

    #[test]
    fn many_events_are_sent_at_once_in_bounded_requests() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        (0..120).for_each(|number| _ = queue.push(&occupied(number), now));
        let mut counts = Vec::new();
        while let Some(batch) = queue.next(now, 0) {
            counts.push(batch.body.matches("channel_occupied").count());
        }
        assert_eq!(counts, [50, 50, 20]);
    }

    #[test]
    fn refused_batch_is_sent_again_and_given_up_at_last() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.push(&occupied(0), now);
        now += COLLECT;
        let mut batch = queue.next(now, 0).unwrap();
        let body = batch.body.clone();
        for wait in WAITS {
            assert!(queue.refused(batch, now));
            assert_eq!(queue.next(now, 0), None);
            now += wait;
            batch = queue.next(now, 0).unwrap();
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
        let kept = (0..10).filter(|_| queue.push(&event, now)).count();
        assert_eq!((kept, queue.dropped), (7, 3));
        let now = now + COLLECT;
        let batch = queue.next(now, 0).unwrap();
        queue.accepted(&batch);
        assert_eq!(queue.bytes, 0);
        assert!(queue.push(&event, now));
    }
}
