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
    used: usize,
    /// The time is looked at when as many items are used.
    look_at: usize,
    /// The first look.
    began: Option<Instant>,
}

impl Share {
    /// A share of `items`, at least one.
    #[inline]
    pub(crate) fn new(items: usize) -> Self {
        Share { items, used: 0, look_at: items.clamp(1, ITEMS_PER_LOOK), began: None }
    }

    /// Items that are left, at least one.
    #[inline]
    pub(crate) fn items(&self) -> usize {
        self.items.saturating_sub(self.used).max(1)
    }

    #[inline]
    pub(crate) fn spend(&mut self, items: usize) {
        self.used += items;
    }

    /// Returns `true` if the items or the time are used up.
    #[inline]
    pub(crate) fn is_spent(&mut self, hub: &Hub) -> bool {
        self.used >= self.look_at && self.is_used_up(hub.clock)
    }

    /// Looks at the time. On a system whose clock stands still meanwhile, no time passes.
    #[cold]
    fn is_used_up(&mut self, clock: Option<fn() -> Instant>) -> bool {
        if self.used >= self.items {
            return true;
        }
        self.look_at = self.items.min(self.used + ITEMS_PER_LOOK);
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
        while share.used < share.look_at || !share.is_used_up(clock) {
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
