//! The rate of client events. Pure.

use std::time::{Duration, Instant};

/// A bucket of tokens: so many events a second, and as many at once.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    per_second: u32,
    /// Events that may come now.
    tokens: f64,
    at: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Rate { per_second, tokens: f64::from(per_second), at: now }
    }

    /// Returns `true` if an event may come now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).min(Duration::from_secs(1));
        let most = f64::from(self.per_second);
        self.tokens = (self.tokens + passed.as_secs_f64() * most).min(most);
        self.at = now;
        let may = self.tokens >= 1.0;
        if may {
            self.tokens -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_as_many_as_allowed_in_each_second() {
        let mut now = Instant::now();
        let mut rate = Rate::new(10, now);
        let mut taken = |now| (0..100).filter(|_| rate.take(now)).count();
        assert_eq!(taken(now), 10);
        now += Duration::from_millis(500);
        assert_eq!(taken(now), 5);
        now += Duration::from_secs(60);
        assert_eq!(taken(now), 10);
        assert_eq!(taken(now), 0);
    }
}
