//! The speed of one direction of a connection. Pure: time is an argument.

use std::time::Duration;

/// Bytes arrive at multiples of this time after the start of their transfer.
const STEP: Duration = Duration::from_millis(10);

/// One direction of a connection. Without a speed, all bytes arrive at once.
#[derive(Debug, Default)]
pub(super) struct Line {
    bytes_per_second: Option<u64>,
    /// Exists while bytes are under way.
    transfer: Option<Transfer>,
}

#[derive(Debug)]
struct Transfer {
    start: Duration,
    /// Bytes that have arrived since the start.
    arrived: u64,
}

impl Line {
    pub(super) fn with_speed(bytes_per_second: u64) -> Self {
        Line { bytes_per_second: Some(bytes_per_second), transfer: None }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.bytes_per_second.is_some()
    }

    /// Bytes of `waiting` that arrive by `now`. The first call with waiting bytes starts a transfer.
    pub(super) fn start(&mut self, waiting: usize, now: Duration) -> usize {
        if waiting > 0 && self.is_limited() {
            self.transfer.get_or_insert(Transfer { start: now, arrived: 0 });
        }
        self.due(waiting, now)
    }

    /// Notes that `bytes` have arrived. A line that has nothing to carry, or may not carry more, is `idle`: its next
    /// transfer starts anew, without credit for the time between.
    pub(super) fn carry(&mut self, bytes: usize, idle: bool) {
        match &mut self.transfer {
            transfer if idle => *transfer = None,
            Some(transfer) => transfer.arrived += bytes as u64,
            None => {}
        }
    }

    /// Bytes of `waiting` that arrive by `now`, if their transfer has started.
    pub(super) fn due(&self, waiting: usize, now: Duration) -> usize {
        let Some(speed) = self.bytes_per_second else { return waiting };
        let Some(transfer) = &self.transfer else { return 0 };
        let steps = now.saturating_sub(transfer.start).as_nanos() / STEP.as_nanos();
        let carried = u128::from(speed) * steps * STEP.as_nanos() / NANOS;
        usize::try_from(carried.saturating_sub(u128::from(transfer.arrived))).unwrap_or(usize::MAX).min(waiting)
    }

    /// Returns `true` if waiting bytes have not started yet.
    pub(super) fn is_idle(&self) -> bool {
        self.is_limited() && self.transfer.is_none()
    }

    /// Time at which the next byte arrives. `None` if no byte is under way.
    pub(super) fn next_arrival(&self) -> Option<Duration> {
        let (speed, transfer) = (self.bytes_per_second.filter(|speed| *speed > 0)?, self.transfer.as_ref()?);
        let per_step = u128::from(speed) * STEP.as_nanos();
        let steps = (u128::from(transfer.arrived + 1) * NANOS).div_ceil(per_step);
        Some(transfer.start + STEP * u32::try_from(steps).unwrap_or(u32::MAX))
    }
}

const NANOS: u128 = Duration::from_secs(1).as_nanos();

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn line_without_a_speed_carries_everything_at_once() {
        let mut line = Line::default();
        assert_eq!((line.start(5000, at(7)), line.next_arrival()), (5000, None));
        assert!(!line.is_idle());
    }

    #[test]
    fn slow_line_carries_its_bytes_evenly() {
        let mut line = Line::with_speed(5000);
        assert_eq!(line.start(120, at(1000)), 0);
        let mut left = 120;
        for (time, arriving) in [(1010, 50), (1019, 0), (1020, 50), (1030, 20)] {
            let due = line.due(left, at(time));
            assert_eq!(due, arriving, "{time}");
            left -= due;
            line.carry(due, left == 0);
        }
        assert_eq!(line.next_arrival(), None, "the line is idle");
    }

    #[test]
    fn time_without_bytes_gives_no_credit() {
        let mut line = Line::with_speed(5000);
        line.start(10, at(0));
        line.carry(10, true);
        assert_eq!(line.start(5000, at(9000)), 0);
        assert_eq!(line.due(5000, at(9010)), 50);
    }

    #[test]
    fn next_arrival_is_the_first_time_with_a_byte() {
        for speed in [1, 7, 99, 100, 101, 5000, 123_456, 400_000, u64::MAX / 2] {
            let mut line = Line::with_speed(speed);
            line.start(usize::MAX, at(3));
            for _ in 0..50 {
                let next = line.next_arrival().unwrap();
                assert_eq!(line.due(usize::MAX, next.saturating_sub(Duration::from_nanos(1))), 0, "{speed}");
                let due = line.due(usize::MAX, next);
                assert!(due > 0, "{speed}");
                line.carry(due.min(1_000_000), false);
                if due > 1_000_000 {
                    break;
                }
            }
        }
    }

    #[test]
    fn line_without_any_speed_never_carries() {
        let mut line = Line::with_speed(0);
        assert_eq!(line.start(10, at(0)), 0);
        assert_eq!((line.due(10, at(1 << 40)), line.next_arrival()), (0, None));
    }
}
