//! The order in which a shutdown closes connections. Pure: the time is an argument.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::id::ConnectionId;

/// A shutdown that was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shutdown {
    /// Time over which the connections are closed.
    pub(super) spread: Duration,
    /// Time after which the loop ends.
    pub(super) timeout: Duration,
}

impl Shutdown {
    /// A shutdown that closes all connections at once.
    pub(super) fn within(timeout: Duration) -> Self {
        Shutdown { spread: Duration::ZERO, timeout }
    }
}

/// Connections whose handlers are told of a shutdown one after another.
#[derive(Debug)]
pub(super) struct Farewell {
    begin: Instant,
    pub(super) end: Instant,
    /// Connections at the beginning.
    total: usize,
    pub(super) waiting: VecDeque<ConnectionId>,
}

/// Shortest time between two groups of connections that are closed.
const SHORTEST_STEP: Duration = Duration::from_millis(10);

impl Farewell {
    pub(super) fn new(begin: Instant, end: Instant, waiting: VecDeque<ConnectionId>) -> Self {
        Farewell { begin, end, total: waiting.len(), waiting }
    }

    /// Connections whose turn has come.
    pub(super) fn due(&self, now: Instant) -> usize {
        let (passed, all) = (now.saturating_duration_since(self.begin), self.end.saturating_duration_since(self.begin));
        let told = self.total - self.waiting.len();
        match now >= self.end {
            true => self.waiting.len(),
            false => ((self.total as f64 * passed.div_duration_f64(all)) as usize).saturating_sub(told),
        }
    }

    /// When the next turn comes.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let each = self.end.saturating_duration_since(self.begin) / self.total.max(1).try_into().unwrap_or(u32::MAX);
        (now + each.max(SHORTEST_STEP)).min(self.end.max(now))
    }
}
