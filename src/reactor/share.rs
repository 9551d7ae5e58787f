//! The share of one connection: what it may do with the input of one read before others get their turn.

use std::time::{Duration, Instant};

use super::hub::Hub;

/// Time for the input of one read, if it consists of many items.
const TIME: Duration = Duration::from_micros(250);

/// Items after which the time is looked at.
const ITEMS_PER_LOOK: usize = 16;

/// Rest of a connection's share: items of its input, such as messages, and time.
///
/// Reading the clock costs as much as a short message, so it is not read for each. The first items are not timed.
#[derive(Debug)]
pub(crate) struct Share {
    items: usize,
    /// The time is looked at when as few items are left.
    look_at: usize,
    /// The first look.
    began: Option<Instant>,
}

impl Share {
    /// A share of `items`, at least one.
    pub(crate) fn new(items: usize) -> Self {
        let items = items.max(1);
        Share { items, look_at: items.saturating_sub(ITEMS_PER_LOOK), began: None }
    }

    /// Items that are left.
    #[inline]
    pub(crate) fn items(&self) -> usize {
        self.items
    }

    #[inline]
    pub(crate) fn spend(&mut self, items: usize) {
        self.items = self.items.saturating_sub(items);
    }

    /// Returns `true` if the items or the time are used up.
    #[inline]
    pub(crate) fn is_spent(&mut self, hub: &Hub) -> bool {
        self.items == 0 || self.items <= self.look_at && self.is_late(hub.clock)
    }

    /// On a system whose clock stands still meanwhile, no time passes.
    #[cold]
    fn is_late(&mut self, clock: Option<fn() -> Instant>) -> bool {
        self.look_at = self.items.saturating_sub(ITEMS_PER_LOOK);
        let Some(clock) = clock else { return false };
        let now = clock();
        now.saturating_duration_since(*self.began.get_or_insert(now)) >= TIME
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static ELAPSED: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
    }

    /// A clock that each look moves by the time set.
    fn clock() -> Instant {
        let (now, step) = ELAPSED.get().unwrap();
        ELAPSED.set(Some((now + step, step)));
        now
    }

    /// Number of items until the share is spent, if each look finds that `step` has passed.
    fn items_within(items: usize, clock: Option<fn() -> Instant>, step: Duration) -> usize {
        ELAPSED.set(Some((Instant::now(), step)));
        let (mut share, mut count) = (Share::new(items), 0);
        while !(share.items == 0 || share.items <= share.look_at && share.is_late(clock)) {
            share.spend(1);
            count += 1;
        }
        count
    }

    #[test]
    fn share_ends_with_its_items() {
        for items in [0, 1, 63, 64, 65, 1000] {
            for clock in [None, Some(clock as fn() -> Instant)] {
                assert_eq!(items_within(items, clock, Duration::ZERO), items.max(1));
            }
        }
    }

    #[test]
    fn share_ends_at_the_first_look_after_its_time() {
        assert_eq!(items_within(10_000, Some(clock), TIME), 2 * ITEMS_PER_LOOK);
        assert_eq!(items_within(10_000, Some(clock), TIME / 2), 3 * ITEMS_PER_LOOK);
        assert_eq!(items_within(10_000, Some(clock), TIME / 10), 11 * ITEMS_PER_LOOK);
        assert_eq!(items_within(10_000, None, TIME), 10_000, "a clock that stands still");
    }
}
