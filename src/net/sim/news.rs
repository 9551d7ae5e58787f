//! Events that wait to be reported by a poll.

use std::collections::{BTreeMap, VecDeque};

use super::Random;
use crate::net::kernel::{Event, Readiness};

/// Readiness of each source since its last event.
#[derive(Debug, Default)]
pub(super) struct News {
    readiness: BTreeMap<usize, Readiness>,
    /// Tokens that the last poll left over, oldest first.
    older: VecDeque<usize>,
    /// Tokens of news since the last poll.
    fresh: Vec<usize>,
}

impl News {
    pub(super) fn add(&mut self, token: usize, news: Readiness) {
        if news == Readiness::default() {
            return;
        }
        let entry = self.readiness.entry(token).or_insert_with(|| {
            self.fresh.push(token);
            Readiness::default()
        });
        entry.readable |= news.readable;
        entry.writable |= news.writable;
        entry.hangup |= news.hangup;
        entry.failed |= news.failed;
    }

    /// Takes at most `most` events. Events left over come before newer ones, as in the ready list of an operating
    /// system, so that a busy source cannot keep back the event of another; apart from that, the order is random.
    pub(super) fn take(&mut self, most: usize, random: &mut Random) -> Vec<Event> {
        random.shuffle(&mut self.fresh);
        self.older.extend(self.fresh.drain(..));
        let count = self.older.len().min(most);
        let tokens = self.older.drain(..count);
        let mut events: Vec<Event> = tokens
            .filter_map(|token| self.readiness.remove(&token).map(|readiness| Event { token, readiness }))
            .collect();
        random.shuffle(&mut events);
        events
    }

    pub(super) fn is_empty(&self) -> bool {
        self.readiness.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READABLE: Readiness = Readiness { readable: true, writable: false, hangup: false, failed: false };
    const WRITABLE: Readiness = Readiness { readable: false, writable: true, hangup: false, failed: false };

    #[test]
    fn news_of_one_source_are_one_event() {
        let mut news = News::default();
        news.add(7, READABLE);
        news.add(7, WRITABLE);
        let both = Readiness { writable: true, ..READABLE };
        assert_eq!(news.take(9, &mut Random::new(1)), [Event { token: 7, readiness: both }]);
        assert!(news.is_empty());
    }

    #[test]
    fn source_without_news_has_no_event() {
        let mut news = News::default();
        news.add(7, Readiness::default());
        assert!(news.is_empty() && news.take(9, &mut Random::new(1)).is_empty());
    }

    #[test]
    fn limited_polls_report_every_source_although_some_have_news_before_each_poll() {
        let (mut news, mut random) = (News::default(), Random::new(1));
        (0..100).for_each(|token| news.add(token, READABLE));
        let mut reported = Vec::new();
        for _ in 0..10 {
            let events = news.take(10, &mut random);
            assert_eq!(events.len(), 10);
            reported.extend(events.iter().map(|event| event.token));
            (0..20).for_each(|token| news.add(token, WRITABLE));
        }
        reported.sort_unstable();
        assert_eq!(reported, (0..100).collect::<Vec<_>>());
    }
}
