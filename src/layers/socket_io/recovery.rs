//! Connection state recovery, in memory: what was sent lately, and the sockets that were cut. Pure but for ids.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::target::Target;
use crate::layers::engine_io::{LONGEST, Packet};

/// Options of connection state recovery.
#[derive(Debug, Clone, Copy)]
#[must_use = "options have an effect only in a server"]
pub struct Recovery {
    pub(super) max_disconnection: Duration,
    pub(super) skips_middleware: bool,
    pub(super) max_bytes: usize,
    pub(super) max_sessions: usize,
}

impl Recovery {
    /// Recovers sockets that come back within 2 minutes, without middleware, from at most 16 MiB of events of a
    /// namespace.
    pub fn new() -> Self {
        Recovery {
            max_disconnection: Duration::from_secs(120),
            skips_middleware: true,
            max_bytes: 16 * 1024 * 1024,
            max_sessions: 10_000,
        }
    }

    /// Sets how long a client may be away: Node's `maxDisconnectionDuration`. Default 2 minutes.
    pub fn max_disconnection(mut self, time: Duration) -> Self {
        self.max_disconnection = time.min(LONGEST);
        self
    }

    /// Sets whether recovered sockets pass without middleware: Node's `skipMiddlewares`. Default `true`.
    pub fn skip_middleware(mut self, skips: bool) -> Self {
        self.skips_middleware = skips;
        self
    }

    /// Sets the most bytes of the events that a namespace keeps. Default 16 MiB. The oldest ones are dropped; a client
    /// that has missed one of those gets a new socket.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the most sockets of a namespace that wait for their clients. Default 10,000. The oldest ones are dropped.
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = sessions;
        self
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Recovery::new()
    }
}

/// A socket whose client was cut.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: Rc<str>,
    pub(super) recovery_id: Rc<str>,
    pub(super) rooms: Vec<Rc<str>>,
    pub(super) data: Value,
    since: Instant,
}

/// An event that was sent.
struct Entry {
    offset: u64,
    sent_at: Instant,
    packets: Vec<Packet>,
    target: Target,
    bytes: usize,
}

/// The events and sessions of a namespace.
#[derive(Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    bytes: usize,
    last_offset: u64,
    /// Names this life of the log: the offsets of another one are unknown.
    epoch: String,
    sessions: HashMap<Rc<str>, Session>,
    /// Recovery ids in the order of their ends, with the time; some have come back.
    order: VecDeque<(Rc<str>, Instant)>,
}

/// Bytes that an entry holds besides its packets.
const ENTRY_BYTES: usize = 128;

impl Log {
    pub(super) fn new(epoch: String) -> Self {
        Log { epoch, ..Log::default() }
    }

    /// The offset of the next event. Each one is logged.
    pub(super) fn next_offset(&mut self) -> (u64, String) {
        self.last_offset += 1;
        (self.last_offset, format!("{}{}", self.epoch, self.last_offset))
    }

    /// Keeps an event that is sent.
    pub(super) fn push(&mut self, settings: &Recovery, now: Instant, offset: u64, packets: &[Packet], target: &Target) {
        let rooms = target.rooms.iter().chain(&target.except).map(|room| room.len() + 16).sum::<usize>();
        let bytes = ENTRY_BYTES + rooms + packets.iter().map(Packet::len).sum::<usize>();
        self.bytes += bytes;
        let (packets, target) = (packets.to_vec(), target.clone());
        self.entries.push_back(Entry { offset, sent_at: now, packets, target, bytes });
        self.trim(settings, now);
    }

    /// Keeps the session of a socket that was cut.
    pub(super) fn keep(
        &mut self,
        settings: &Recovery,
        now: Instant,
        id: &Rc<str>,
        recovery_id: &Rc<str>,
        rooms: Vec<Rc<str>>,
        data: Value,
    ) {
        let (id, key) = (Rc::clone(id), Rc::clone(recovery_id));
        let session = Session { id, recovery_id: Rc::clone(&key), rooms, data, since: now };
        self.sessions.insert(Rc::clone(&key), session);
        self.order.push_back((key, now));
        while self.order.len() > settings.max_sessions {
            self.drop_oldest_session();
        }
        self.trim(settings, now);
    }

    /// Takes a session and the place behind which its client has missed everything, if both are known.
    pub(super) fn restore(
        &mut self,
        settings: &Recovery,
        now: Instant,
        recovery_id: &str,
        offset: &str,
    ) -> Option<(Session, u64)> {
        self.trim(settings, now);
        let offset: u64 = offset.strip_prefix(&*self.epoch)?.parse().ok()?;
        // The event with this offset need not be kept, but those behind it must be.
        let is_known = match self.entries.front() {
            Some(first) => (first.offset.saturating_sub(1)..=self.last_offset).contains(&offset),
            None => offset == self.last_offset,
        };
        let session = Some(recovery_id).filter(|_| is_known).and_then(|id| self.sessions.remove(id))?;
        Some((session, offset))
    }

    /// The packets behind a place that concern a socket in these rooms.
    pub(super) fn missed(&self, offset: u64, rooms: &[Rc<str>]) -> Vec<Packet> {
        let missed = self.entries.iter().filter(|entry| entry.offset > offset && entry.target.selects(rooms));
        missed.flat_map(|entry| entry.packets.iter().cloned()).collect()
    }

    /// Returns `true` if clients may come back.
    pub(super) fn has_sessions(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Drops what is too old or too much. Returns when there will be more to drop.
    pub(super) fn trim(&mut self, settings: &Recovery, now: Instant) -> Option<Instant> {
        let is_old = |since: Instant| now.saturating_duration_since(since) > settings.max_disconnection;
        while self.entries.front().is_some_and(|entry| self.bytes > settings.max_bytes || is_old(entry.sent_at)) {
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= entry.bytes;
            }
        }
        while self.order.front().is_some_and(|(_, since)| is_old(*since)) {
            self.drop_oldest_session();
        }
        if self.entries.is_empty() && self.sessions.is_empty() {
            (self.entries, self.order) = Default::default();
            self.sessions.shrink_to_fit();
        }
        let oldest = self.entries.front().map(|entry| entry.sent_at).into_iter();
        let oldest = oldest.chain(self.order.front().map(|(_, since)| *since)).min()?;
        Some(oldest + settings.max_disconnection)
    }

    fn drop_oldest_session(&mut self) {
        let Some((key, since)) = self.order.pop_front() else { return };
        // A client that came back may have been cut again.
        if self.sessions.get(&key).is_some_and(|session| session.since == since) {
            self.sessions.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Recovery = Recovery {
        max_disconnection: Duration::from_secs(10),
        skips_middleware: true,
        max_bytes: 1000,
        max_sessions: 2,
    };

    struct Case {
        log: Log,
        now: Instant,
    }

    impl Case {
        fn new() -> Self {
            Case { log: Log::new("E".to_owned()), now: Instant::now() }
        }

        fn emit(&mut self, text: &str, rooms: &[&str], except: &[&str]) -> String {
            let names = |rooms: &[&str]| rooms.iter().map(|room| Rc::from(*room)).collect();
            let target = Target { rooms: names(rooms), except: names(except) };
            let (offset, name) = self.log.next_offset();
            self.log.push(&SETTINGS, self.now, offset, &[Packet::text(text)], &target);
            name
        }

        fn cut(&mut self, recovery_id: &str, rooms: &[&str]) {
            let rooms = rooms.iter().map(|room| Rc::from(*room)).collect();
            self.log.keep(&SETTINGS, self.now, &"id".into(), &recovery_id.into(), rooms, Value::Null);
        }

        fn restore(&mut self, recovery_id: &str, offset: &str) -> Option<Vec<Packet>> {
            let (session, offset) = self.log.restore(&SETTINGS, self.now, recovery_id, offset)?;
            assert_eq!(&*session.recovery_id, recovery_id);
            Some(self.log.missed(offset, &session.rooms))
        }
    }

    #[test]
    fn client_gets_what_its_rooms_got_since_and_only_once() {
        let mut case = Case::new();
        let seen = case.emit("seen", &[], &[]);
        case.cut("p", &["id", "a"]);
        case.emit("all", &[], &[]);
        case.emit("a", &["b", "a"], &[]);
        case.emit("b", &["b"], &[]);
        case.emit("not a", &[], &["a"]);
        let missed = case.restore("p", &seen);
        assert_eq!(missed, Some(vec![Packet::text("all"), Packet::text("a")]));
        assert_eq!(case.restore("p", &seen), None, "a recovery id is used once");
    }

    #[test]
    fn unknown_ids_and_offsets_are_not_recovered() {
        let mut case = Case::new();
        let offset = case.emit("x", &[], &[]);
        case.cut("p", &[]);
        for (id, offset) in [("q", &*offset), ("p", "E2"), ("p", "F1"), ("p", "E"), ("p", ""), ("p", "E-1")] {
            assert_eq!(case.restore(id, offset), None, "{id} {offset}");
        }
        assert!(case.restore("p", &offset).is_some());
    }

    #[test]
    fn client_that_is_away_too_long_is_not_recovered() {
        let mut case = Case::new();
        let offset = case.emit("x", &[], &[]);
        case.cut("p", &[]);
        case.now += Duration::from_secs(10);
        assert!(case.restore("p", &offset).is_some());
        case.cut("p", &[]);
        case.now += Duration::from_millis(10_001);
        assert_eq!(case.restore("p", &offset), None);
        assert!(case.log.entries.is_empty() && case.log.order.is_empty() && case.log.bytes == 0);
    }

    #[test]
    fn events_are_bounded_and_a_gap_is_noticed() {
        let mut case = Case::new();
        let seen = case.emit("seen", &[], &[]);
        case.cut("p", &[]);
        (0..10).for_each(|_| _ = case.emit(&"x".repeat(100), &[], &[]));
        assert!(case.log.bytes <= 1000);
        assert_eq!(case.restore("p", &seen), None);
    }

    #[test]
    fn sessions_are_bounded() {
        let mut case = Case::new();
        let seen = case.emit("seen", &[], &[]);
        ["p", "q", "r"].iter().for_each(|id| case.cut(id, &[]));
        assert_eq!(case.restore("p", &seen), None);
        assert!(case.restore("q", &seen).is_some() && case.restore("r", &seen).is_some());
    }

    #[test]
    fn offset_of_an_event_that_was_dropped_is_known_while_nothing_behind_it_is_missing() {
        let mut case = Case::new();
        let seen = case.emit("seen", &[], &[]);
        case.now += Duration::from_secs(5);
        case.cut("p", &[]);
        case.emit("next", &[], &[]);
        case.now += Duration::from_secs(6);
        assert_eq!(case.restore("p", &seen), Some(vec![Packet::text("next")]));
    }
}
