//! Shares: the work that one connection, or one part of a turn, may do before others get their turn.

use std::time::{Duration, Instant};

/// [`ReactorConfig::time_slice`](field@crate::ReactorConfig::time_slice), and the clock that measures it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeSlice {
    pub(super) length: Duration,
    /// `None` if the clock stands still while the reactor works.
    pub(super) clock: Option<fn() -> Instant>,
}

impl TimeSlice {
    /// Returns `true` if the slice that began at `began` is over. It begins now if there was no look before.
    pub(super) fn is_over(&self, began: &mut Option<Instant>) -> bool {
        let Some(clock) = self.clock else { return false };
        let now = clock();
        now.saturating_duration_since(*began.get_or_insert(now)) >= self.length
    }
}

/// Items after which the time is looked at, if they are as short as messages.
const ITEMS_PER_LOOK: usize = 16;

/// A number of items, such as messages, and a slice of time.
///
/// Reading the clock costs as much as a short message, so it is not read for each. The first items are not timed.
#[derive(Debug)]
pub(crate) struct Share {
    items: usize,
    used: usize,
    /// The time is looked at when as many items are used.
    look_at: usize,
    per_look: usize,
    /// The first look.
    began: Option<Instant>,
}

impl Share {
    /// A share of `items`, at least one.
    #[inline]
    pub(crate) fn new(items: usize) -> Self {
        Share::of_long(items, ITEMS_PER_LOOK)
    }

    /// A share of items that may take long: the time is looked at after each `per_look` of them.
    #[inline]
    pub(crate) fn of_long(items: usize, per_look: usize) -> Self {
        Share { items, used: 0, look_at: items.clamp(1, per_look), per_look, began: None }
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

    /// Spends an item, if the share is not used up. Returns whether it was not.
    #[inline]
    pub(crate) fn take(&mut self, slice: &TimeSlice) -> bool {
        if self.is_spent(slice) {
            return false;
        }
        self.used += 1;
        true
    }

    /// Returns `true` if the items or the time are used up.
    #[inline]
    pub(crate) fn is_spent(&mut self, slice: &TimeSlice) -> bool {
        self.used >= self.look_at && self.is_used_up(slice)
    }

    /// Looks at the time. On a system whose clock stands still meanwhile, no time passes.
    #[cold]
    fn is_used_up(&mut self, slice: &TimeSlice) -> bool {
        if self.used >= self.items {
            return true;
        }
        self.look_at = self.items.min(self.used + self.per_look);
        slice.is_over(&mut self.began)
    }
}

/// Bytes of one write, and of the writes of a connection in a turn. As much as is read at once, so that a message that
/// is sent from the read buffer need not be copied.
pub(super) const WRITE_BYTES: usize = (1024 + 64) * 1024;

/// The share of a connection in writing, for one turn: [`WRITE_BYTES`], and a slice of time.
#[derive(Debug, Default)]
pub(super) struct WriteShare {
    bytes: usize,
    began: Option<Instant>,
}

impl WriteShare {
    /// Notes a write, after which more could be written. Returns `true` if the share is used up.
    pub(super) fn is_spent_by(&mut self, bytes: usize, slice: &TimeSlice) -> bool {
        self.bytes += bytes;
        self.bytes >= WRITE_BYTES || slice.is_over(&mut self.began)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const TIME: Duration = Duration::from_micros(250);

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
        let slice = TimeSlice { length: TIME, clock };
        while share.take(&slice) {
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
