//! Timers and ticks: the queue of timers, what each of them does, and firing those that are due.

mod fire;
pub(super) mod idle;
pub(super) mod task;
pub(super) mod timers;

use std::time::{Duration, Instant};

/// Cap for durations, 100 years: longer than any process runs, and small enough not to overflow an `Instant`.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The time `duration` after `from`, without overflow.
pub(super) fn later(from: Instant, duration: Duration) -> Instant {
    from + duration.min(NEVER)
}
