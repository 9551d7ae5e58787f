//! The rate of events. Pure.

use std::time::Instant;

/// A bucket of tokens: a number of events per second, and a number at once.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    per_second: f64,
    burst: f64,
    /// Events that may come now.
    tokens: f64,
    at: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst);
        Rate { per_second: f64::from(per_second), burst, tokens: burst, at: now }
    }

    /// Returns `true` if an event may come now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn events_are_as_many_as_allowed_in_each_second() {
        let mut now = Instant::now();
        let mut rate = Rate::new(10, 20, now);
        let mut taken = |now| (0..100).filter(|_| rate.take(now)).count();
        assert_eq!(taken(now), 20);
        now += Duration::from_millis(500);
        assert_eq!(taken(now), 5);
        now += Duration::from_secs(60);
        assert_eq!(taken(now), 20);
        assert_eq!(taken(now), 0);
    }
}
