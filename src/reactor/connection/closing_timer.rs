//! Time-out of a closing connection. Pure: time is an argument.

use std::time::{Duration, Instant};

use crate::reactor::timer::later;

/// Longest time for closing, unless the closing time-out is longer: slow output may need most of it.
pub(in crate::reactor) const MAX_CLOSING_TIME: Duration = Duration::from_secs(60);

/// Runs from when the system has taken the last output, and ends [`MAX_CLOSING_TIME`] after closing has begun in any
/// case. Meanwhile waiting output is subject to the output rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) struct ClosingTimer {
    began_at: Instant,
    timeout: Duration,
    written_at: Option<Instant>,
}

impl ClosingTimer {
    /// Closing begins: the last output is queued.
    pub(in crate::reactor) fn new(timeout: Duration, now: Instant) -> Self {
        ClosingTimer { began_at: now, timeout, written_at: None }
    }

    /// The system has taken all output. Returns the new deadline, the first time; pongs that follow do not restart the
    /// time-out.
    pub(in crate::reactor) fn on_written(&mut self, now: Instant) -> Option<Instant> {
        if self.written_at.is_some() {
            return None;
        }
        self.written_at = Some(now);
        Some(self.deadline())
    }

    pub(in crate::reactor) fn deadline(&self) -> Instant {
        let last = later(self.began_at, self.timeout.max(MAX_CLOSING_TIME));
        self.written_at.map_or(last, |at| later(at, self.timeout).min(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn timeout_runs_from_the_last_output_and_further_output_does_not_restart_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timer = ClosingTimer::new(TIMEOUT, start);
        assert_eq!(timer.deadline(), at(60));
        assert_eq!(timer.on_written(at(20)), Some(at(25)));
        assert_eq!((timer.on_written(at(24)), timer.deadline()), (None, at(25)));
    }

    #[test]
    fn closing_ends_after_60_seconds_or_after_a_longer_timeout() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timer = ClosingTimer::new(TIMEOUT, start);
        timer.on_written(at(58));
        assert_eq!(timer.deadline(), at(60));
        let mut timer = ClosingTimer::new(Duration::from_secs(90), start);
        timer.on_written(at(1));
        assert_eq!(timer.deadline(), at(90));
        assert!(ClosingTimer::new(Duration::MAX, start).deadline() > at(1_000_000_000));
    }
}
