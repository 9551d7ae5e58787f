//! The newest messages of a stream, for clients that have missed some. Pure.

use std::{
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

use super::super::extended::Position;

/// Most bytes of the messages of a stream.
const MAX_BYTES: usize = 1024 * 1024;

/// The bounds of a stream's history.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Keep {
    pub(in super::super) messages: usize,
    pub(in super::super) age: Duration,
    /// The history is that of the topic, which others may share.
    pub(in super::super) is_shared: bool,
}

/// The newest messages, numbered from 1.
pub(super) struct Log {
    /// Names this numbering.
    pub(super) epoch: String,
    /// Messages after this number are all here.
    complete_after: u64,
    last: u64,
    bytes: usize,
    entries: VecDeque<Entry>,
}

struct Entry {
    number: u64,
    at: Instant,
    json: Rc<str>,
}

/// From where on messages are missing.
pub(super) enum Missing<'m> {
    After(&'m Position),
    /// Those that came since a time, in seconds since 1970. They have at most this age.
    Since(f64, Duration),
}

impl Log {
    pub(super) fn new(epoch: String) -> Self {
        Log { epoch, complete_after: 0, last: 0, bytes: 0, entries: VecDeque::new() }
    }

    /// Adds a message. Returns its number.
    pub(super) fn push(&mut self, keep: Keep, now: Instant, json: &str) -> u64 {
        self.last += 1;
        self.bytes += json.len();
        self.entries.push_back(Entry { number: self.last, at: now, json: json.into() });
        while self.entries.len() > keep.messages || self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
        self.drop_old(keep, now);
        self.last
    }

    /// Drops what is too old.
    pub(super) fn drop_old(&mut self, keep: Keep, now: Instant) {
        while self.entries.front().is_some_and(|entry| now.saturating_duration_since(entry.at) > keep.age) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.json.len();
            self.complete_after = entry.number;
        }
    }

    /// Returns `true` if all messages after a position are here.
    pub(super) fn has(&self, Position { epoch, offset }: &Position) -> bool {
        *epoch == self.epoch && (self.complete_after..=self.last).contains(offset)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When the newest message came.
    pub(super) fn newest_at(&self) -> Option<Instant> {
        self.entries.back().map(|entry| entry.at)
    }

    /// When the message at a place came, if it is here.
    pub(super) fn time_of(&self, offset: u64) -> Option<Instant> {
        let index = self.entries.binary_search_by_key(&offset, |entry| entry.number).ok()?;
        Some(self.entries[index].at)
    }

    /// The place of the newest message.
    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), offset: self.last }
    }

    /// The messages that are missing, with their numbers. `None` if not all of them are here.
    pub(super) fn missing(&self, from: &Missing<'_>, now: Instant) -> Option<Vec<(u64, Rc<str>)>> {
        let skipped = match from {
            Missing::After(place) => {
                self.has(place).then(|| self.entries.partition_point(|entry| entry.number <= place.offset))?
            }
            Missing::Since(_, age) => {
                self.entries.partition_point(|entry| now.saturating_duration_since(entry.at) > *age)
            }
        };
        Some(self.entries.iter().skip(skipped).map(|entry| (entry.number, Rc::clone(&entry.json))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Keep = Keep { messages: 3, age: Duration::from_secs(10), is_shared: false };

    fn after(log: &Log, epoch: &str, offset: u64) -> Option<Vec<(u64, String)>> {
        let position = Position { epoch: epoch.to_owned(), offset };
        let missing = log.missing(&Missing::After(&position), Instant::now())?;
        Some(missing.into_iter().map(|(number, json)| (number, json.to_string())).collect())
    }

    #[test]
    fn messages_after_a_position_are_known_or_the_position_is_not() {
        let (mut log, now) = (Log::new("e".to_owned()), Instant::now());
        assert_eq!((after(&log, "e", 0), after(&log, "e", 1)), (Some(vec![]), None));
        for number in 1..=5 {
            assert_eq!(log.push(KEEP, now, &number.to_string()), number);
        }
        let kept = |numbers: &[u64]| Some(numbers.iter().map(|number| (*number, number.to_string())).collect());
        assert_eq!(after(&log, "e", 2), kept(&[3, 4, 5]));
        assert_eq!(after(&log, "e", 4), kept(&[5]));
        assert_eq!(after(&log, "e", 5), kept(&[]));
        for (epoch, offset) in [("e", 1), ("e", 6), ("e", u64::MAX), ("e", 0), ("f", 4)] {
            assert_eq!(after(&log, epoch, offset), None, "{epoch} {offset}");
        }
        assert_eq!(log.position(), Position { epoch: "e".to_owned(), offset: 5 });
    }

    #[test]
    fn messages_since_a_time_are_those_that_are_kept() {
        let (mut log, start) = (Log::new("e".to_owned()), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..3 {
            log.push(KEEP, at(second), "1");
        }
        let of_age = |log: &Log, now, seconds| {
            let missing = log.missing(&Missing::Since(0.0, Duration::from_secs(seconds)), at(now)).unwrap();
            missing.into_iter().map(|(number, _)| number).collect::<Vec<_>>()
        };
        assert_eq!(of_age(&log, 3, 3), [1, 2, 3]);
        assert_eq!(of_age(&log, 3, 1), [3]);
        assert_eq!(of_age(&log, 3, 0), [0; 0]);
        log.drop_old(KEEP, at(11));
        assert_eq!(of_age(&log, 11, 100), [2, 3]);
        log.drop_old(KEEP, at(20));
        assert!(log.is_empty());
        assert_eq!((log.push(KEEP, at(20), "1"), log.bytes), (4, 1));
    }

    #[test]
    fn bytes_of_a_log_are_bounded() {
        let (mut log, now) = (Log::new("e".to_owned()), Instant::now());
        let keep = Keep { messages: usize::MAX, ..KEEP };
        let large = format!("\"{}\"", "x".repeat(MAX_BYTES / 4));
        for _ in 0..10 {
            log.push(keep, now, &large);
        }
        assert_eq!((log.entries.len(), log.bytes), (3, 3 * large.len()));
        log.push(keep, now, &large.repeat(5));
        assert!(log.is_empty());
        assert_eq!(log.bytes, 0);
    }
}
