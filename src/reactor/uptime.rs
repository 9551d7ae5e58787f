//! The time since a reactor was made, as a number: connections store it in half the bytes of an `Instant`.

use std::time::{Duration, Instant};

/// How old a rough time may be.
const ROUGHLY: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Uptime {
    /// Time at which the reactor was made.
    made: Instant,
    /// A time, in microseconds, and until when it is good enough.
    rough: u64,
    rough_until: Instant,
}

impl Uptime {
    pub(super) fn new(made: Instant) -> Self {
        Uptime { made, rough: 0, rough_until: made }
    }

    /// `now` in microseconds since the reactor was made.
    pub(super) fn micros(&self, now: Instant) -> u64 {
        let uptime = now.saturating_duration_since(self.made);
        uptime.as_secs() * 1_000_000 + u64::from(uptime.subsec_micros())
    }

    /// As [`micros`](Self::micros), up to a millisecond ago: the difference of two times costs as much as a tenth of a
    /// short message.
    #[inline]
    pub(super) fn rough_micros(&mut self, now: Instant) -> u64 {
        if now >= self.rough_until {
            self.look_at(now);
        }
        self.rough
    }

    #[cold]
    fn look_at(&mut self, now: Instant) {
        self.rough = self.micros(now);
        self.rough_until = now + ROUGHLY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rough_time_is_at_most_a_millisecond_old_and_never_ahead() {
        let made = Instant::now();
        let mut uptime = Uptime::new(made);
        for micros in [0, 1, 999, 1000, 1500, 2100, 7_000_000, 7_000_900] {
            let now = made + Duration::from_micros(micros);
            assert_eq!(uptime.micros(now), micros);
            let rough = uptime.rough_micros(now);
            assert!(rough <= micros && micros - rough < 1000, "{rough} at {micros}");
        }
    }
}
