//! The newest messages of a stream, for clients that have missed some. Pure.

use std::{
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

use super::super::extended::Position;

/// Most bytes of the messages of a stream.
const MAX_BYTES: usize = 1024 * 1024;

/// What a stream keeps.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Keep {
    pub(in super::super) messages: usize,
    pub(in super::super) age: Duration,
    /// The history is that of the topic, which others may share.
    pub(in super::super) is_shared: bool,
}

/// The newest messages, numbered from 1, or as the topic numbers them.
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
    /// Those of this age.
    Of(Duration),
}

impl Log {
    pub(super) fn new(epoch: String) -> Self {
        Log { epoch, complete_after: 0, last: 0, bytes: 0, entries: VecDeque::new() }
    }

    /// A log of messages with their numbers. Those after a number are all among them.
    pub(super) fn of<'e>(
        epoch: String,
        complete_after: u64,
        messages: impl IntoIterator<Item = (u64, Instant, &'e str)>,
    ) -> Self {
        let mut log = Log { complete_after, last: complete_after, ..Log::new(epoch) };
        messages.into_iter().for_each(|(number, at, json)| log.add(number, at, json));
        log
    }

    fn add(&mut self, number: u64, at: Instant, json: &str) {
        self.last = number;
        self.bytes += json.len();
        self.entries.push_back(Entry { number, at, json: json.into() });
    }

    /// Adds a message, with its number or the next one. Returns its number.
    pub(super) fn push(&mut self, keep: Keep, now: Instant, number: Option<u64>, json: &str) -> u64 {
        self.add(number.unwrap_or(self.last + 1), now, json);
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

    pub(super) fn has(&self, Position { epoch, offset }: &Position) -> bool {
        *epoch == self.epoch && (self.complete_after..=self.last).contains(offset)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The place of the newest message.
    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), offset: self.last }
    }

    /// The messages that are missing, with their numbers. `None` if not all of them are here.
    pub(super) fn missing<'l>(
        &'l self,
        from: &Missing<'_>,
        now: Instant,
    ) -> Option<impl Iterator<Item = (u64, &'l str)> + use<'l>> {
        let skipped = match from {
            Missing::After(place) => {
                self.has(place).then(|| self.entries.partition_point(|entry| entry.number <= place.offset))?
            }
            Missing::Of(age) => self.entries.partition_point(|entry| now.saturating_duration_since(entry.at) > *age),
        };
        Some(self.entries.iter().skip(skipped).map(|entry| (entry.number, &*entry.json)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Keep = Keep { messages: 3, age: Duration::from_secs(10), is_shared: false };

    fn after(log: &Log, epoch: &str, offset: u64) -> Option<Vec<(u64, String)>> {
        let position = Position { epoch: epoch.to_owned(), offset };
        let missing = log.missing(&Missing::After(&position), Instant::now())?;
        Some(missing.map(|(number, json)| (number, json.to_owned())).collect())
    }

    #[test]
    fn messages_after_a_position_are_known_or_the_position_is_not() {
        let (mut log, now) = (Log::new("e".to_owned()), Instant::now());
        assert_eq!((after(&log, "e", 0), after(&log, "e", 1)), (Some(vec![]), None));
        for number in 1..=5 {
            assert_eq!(log.push(KEEP, now, None, &number.to_string()), number);
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
            log.push(KEEP, at(second), None, "1");
        }
        let of_age = |log: &Log, now, seconds| {
            let missing = log.missing(&Missing::Of(Duration::from_secs(seconds)), at(now)).unwrap();
            missing.map(|(number, _)| number).collect::<Vec<_>>()
        };
        assert_eq!(of_age(&log, 3, 3), [1, 2, 3]);
        assert_eq!(of_age(&log, 3, 1), [3]);
        assert_eq!(of_age(&log, 3, 0), [0; 0]);
        log.drop_old(KEEP, at(11));
        assert_eq!(of_age(&log, 11, 100), [2, 3]);
        log.drop_old(KEEP, at(20));
        assert!(log.is_empty());
        assert_eq!((log.push(KEEP, at(20), None, "1"), log.bytes), (4, 1));
    }

    #[test]
    fn numbers_may_be_those_of_the_topic() {
        let now = Instant::now();
        let mut log = Log::of("e".to_owned(), 7, [(10, now, "1"), (20, now, "2")]);
        assert_eq!(log.push(KEEP, now, Some(25), "3"), 25);
        let numbers =
            |log: &Log, offset| after(log, "e", offset).map(|all| all.iter().map(|one| one.0).collect::<Vec<_>>());
        assert_eq!(numbers(&log, 7), Some(vec![10, 20, 25]));
        assert_eq!(numbers(&log, 12), Some(vec![20, 25]), "also after what this stream does not have");
        assert_eq!((numbers(&log, 6), numbers(&log, 26), numbers(&log, 25)), (None, None, Some(vec![])));
        log.push(KEEP, now, Some(30), "4");
        assert_eq!((numbers(&log, 9), numbers(&log, 10)), (None, Some(vec![20, 25, 30])));
    }

    #[test]
    fn bytes_of_a_log_are_bounded() {
        let (mut log, now) = (Log::new("e".to_owned()), Instant::now());
        let keep = Keep { messages: usize::MAX, ..KEEP };
        let large = format!("\"{}\"", "x".repeat(MAX_BYTES / 4));
        for _ in 0..10 {
            log.push(keep, now, None, &large);
        }
        assert_eq!((log.entries.len(), log.bytes), (3, 3 * large.len()));
        log.push(keep, now, None, &large.repeat(5));
        assert!(log.is_empty());
        assert_eq!(log.bytes, 0);
    }
}
