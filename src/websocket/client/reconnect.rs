//! The reconnect policy of a client: wait times and number of attempts.

use std::time::{Duration, Instant};

use crate::setters::setters;

/// Reconnect policy of a client, for [`Client::reconnect`](crate::Client::reconnect).
///
/// The wait before an attempt is random, between zero and a bound. The bound starts at `initial_backoff`, doubles with
/// each attempt in a row, and ends at `max_backoff` ("full jitter"). The randomness spreads the reconnects of many
/// clients that lose one server. After a connection that lasted `stable_after`, the count starts again.
///
/// ```
/// use std::time::Duration;
/// use ws_reactor::{Callbacks, Client, Reconnect};
///
/// let policy = Reconnect::new().max_backoff(Duration::from_secs(10));
/// let client = Client::new(Callbacks::new()).reconnect(policy);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Reconnect {
    /// Upper bound of the wait before the first attempt. Default 1 s.
    pub initial_backoff: Duration,
    /// Upper bound of every wait. Default 60 s.
    pub max_backoff: Duration,
    /// Time open after which a connection counts as stable: the next attempt is number 1. Default 30 s.
    pub stable_after: Duration,
    /// Maximum number of attempts in a row. Default `None`: no limit.
    pub max_attempts: Option<u32>,
}

impl Reconnect {
    /// Makes the default policy.
    pub fn new() -> Self {
        Reconnect::default()
    }

    setters! {
        initial_backoff: Duration,
        max_backoff: Duration,
        stable_after: Duration,
        max_attempts: Option<u32>,
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Reconnect {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            stable_after: Duration::from_secs(30),
            max_attempts: None,
        }
    }
}

/// Attempts in a row.
#[derive(Debug, Default, Clone)]
pub(in crate::websocket) struct Attempts {
    made: u32,
    opened: Option<Instant>,
}

impl Attempts {
    /// The connection is open.
    pub(in crate::websocket) fn note_open(&mut self, now: Instant) {
        self.opened = Some(now);
    }

    /// The number of the next attempt, from 1, and the wait before it, drawn by `random`. `None` at the maximum.
    pub(in crate::websocket) fn next(
        &mut self,
        policy: &Reconnect,
        now: Instant,
        random: u32,
    ) -> Option<(u32, Duration)> {
        if self.opened.take().is_some_and(|opened| now.duration_since(opened) >= policy.stable_after) {
            self.made = 0;
        }
        if policy.max_attempts.is_some_and(|most| self.made >= most) {
            return None;
        }
        let doubled = policy.initial_backoff.saturating_mul(1 << self.made.min(30));
        self.made += 1;
        let share = f64::from(random) / f64::from(u32::MAX);
        Some((self.made, doubled.min(policy.max_backoff).mul_f64(share)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_its_limit_and_starts_again_after_a_stable_connection() {
        let (policy, start) = (Reconnect::default(), Instant::now());
        let mut attempts = Attempts::default();
        let longest = |attempts: &mut Attempts, now| attempts.next(&policy, now, u32::MAX).unwrap();
        let backoffs: Vec<u64> = (0..8).map(|_| longest(&mut attempts, start).1.as_secs()).collect();
        assert_eq!(backoffs, [1, 2, 4, 8, 16, 32, 60, 60]);
        // A connection that was open for less than 30 seconds does not count as stable.
        attempts.note_open(start);
        assert_eq!(longest(&mut attempts, start + Duration::from_secs(29)).0, 9);
        attempts.note_open(start);
        assert_eq!(longest(&mut attempts, start + Duration::from_secs(30)), (1, Duration::from_secs(1)));
        assert_eq!(attempts.next(&policy, start, 0), Some((2, Duration::ZERO)));
        for _ in 0..100 {
            assert!(longest(&mut attempts, start).1 <= Duration::from_secs(60));
        }
    }

    #[test]
    fn reconnecting_ends_after_the_maximum_number_of_attempts() {
        let (policy, now) = (Reconnect { max_attempts: Some(2), ..Reconnect::default() }, Instant::now());
        let mut attempts = Attempts::default();
        let made: Vec<bool> = (0..4).map(|_| attempts.next(&policy, now, 7).is_some()).collect();
        assert_eq!(made, [true, true, false, false]);
    }
}
