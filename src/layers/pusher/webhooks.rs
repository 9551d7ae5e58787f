//! The queue of webhooks: what is to be told, in batches, with further attempts. Pure.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::packet::quoted;

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

/// Something that a webhook tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Occupied { channel: String },
    Vacated { channel: String },
    MemberAdded { channel: String, user: String },
    MemberRemoved { channel: String, user: String },
    /// `data`: JSON text, as the client has sent it.
    Client { channel: String, name: String, data: String, socket_id: String, user: Option<String> },
    CacheMiss { channel: String },
}

impl Event {
    fn json(&self) -> String {
        let of = |name: &str, channel: &str| format!(r#""name":"{name}","channel":{}"#, quoted(channel));
        let fields = match self {
            Event::Occupied { channel } => of("channel_occupied", channel),
            Event::Vacated { channel } => of("channel_vacated", channel),
            Event::MemberAdded { channel, user } => {
                format!(r#"{},"user_id":{}"#, of("member_added", channel), quoted(user))
            }
            Event::MemberRemoved { channel, user } => {
                format!(r#"{},"user_id":{}"#, of("member_removed", channel), quoted(user))
            }
            Event::Client { channel, name, data, socket_id, user } => {
                let (begin, name, data) = (of("client_event", channel), quoted(name), quoted(data));
                let user = user.as_ref().map(|user| format!(r#","user_id":{}"#, quoted(user))).unwrap_or_default();
                format!(r#"{begin},"event":{name},"data":{data},"socket_id":"{socket_id}"{user}"#)
            }
            Event::CacheMiss { channel } => of("cache_miss", channel),
        };
        format!("{{{fields}}}")
    }
}

/// A body that is sent until it is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) body: String,
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
    /// Events that were dropped.
    pub(super) dropped: u64,
}

impl Queue {
    /// Adds an event. Returns `false` if it is dropped.
    pub(super) fn push(&mut self, event: &Event, now: Instant) -> bool {
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

    /// When there will be something to send.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let collected = self.since.map(|since| since + COLLECT);
        self.again.iter().map(|batch| batch.due).chain(collected).min()
    }

    /// What is to be sent now. `time_ms`: milliseconds since 1970.
    pub(super) fn next(&mut self, now: Instant, time_ms: u64) -> Option<Batch> {
        if let Some(position) = self.again.iter().position(|batch| batch.due <= now) {
            return self.again.remove(position);
        }
        let is_due = self.events.len() >= MOST_EVENTS || self.since.is_some_and(|since| since + COLLECT <= now);
        if !is_due || self.events.is_empty() {
            return None;
        }
        let count = self.events.len().min(MOST_EVENTS);
        let events = self.events.drain(..count).collect::<Vec<_>>().join(",");
        self.since = (!self.events.is_empty()).then_some(now - COLLECT);
        Some(Batch { body: format!(r#"{{"time_ms":{time_ms},"events":[{events}]}}"#), attempts: 0, due: now })
    }

    /// A batch was taken.
    pub(super) fn taken(&mut self, batch: &Batch) {
        self.bytes = self.bytes.saturating_sub(batch.body.len());
    }

    /// A batch was not taken. Returns `false` if it is given up.
    pub(super) fn refused(&mut self, mut batch: Batch, now: Instant) -> bool {
        let Some(wait) = WAITS.get(batch.attempts) else {
            self.taken(&batch);
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

    fn occupied(number: usize) -> Event {
        Event::Occupied { channel: format!("c{number}") }
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
        let event = Event::Client {
            channel: "private-c".to_owned(),
            name: "client-x".to_owned(),
            data: "x".repeat(1024 * 1024),
            socket_id: "1.2".to_owned(),
            user: None,
        };
        let kept = (0..10).filter(|_| queue.push(&event, now)).count();
        assert_eq!((kept, queue.dropped), (7, 3));
    }
}
