//! The place of a ping in the output: its time-out runs from when the ping has left. Pure: time is an argument.

use std::time::{Duration, Instant};

/// Bytes that a system may hold before a ping that it has taken: those kept unsent by `TCP_NOTSENT_LOWAT`, and those
/// that the peer's system has received and the peer has not read.
const SYSTEM_BYTES: usize = 1536 * 1024;

/// A ping that was queued behind other output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) struct PingMark {
    queued_at: Instant,
    /// Bytes up to the end of the ping when it was queued.
    bytes: usize,
    /// Those that the system has not taken.
    left: usize,
    left_at: Option<Instant>,
}

/// How far a ping has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PingProgress {
    /// The system took the ping when it was sent.
    LeftAtOnce,
    /// The ping waits behind other output, for which the output rule has a time-out.
    Queued,
    /// The system took the ping so long `ago`. The bytes before the ping that the system may still hold take about
    /// `delay` at the pace of the output so far.
    Left { ago: Duration, delay: Duration },
}

impl PingMark {
    /// A ping at the end of `bytes` bytes of output.
    pub(in crate::reactor) fn new(bytes: usize, now: Instant) -> Self {
        PingMark { queued_at: now, bytes, left: bytes, left_at: None }
    }

    /// The system has taken `moved` bytes. `empty`: no output is left.
    pub(in crate::reactor) fn on_moved(&mut self, moved: usize, empty: bool, now: Instant) {
        self.left = if empty { 0 } else { self.left.saturating_sub(moved) };
        if self.left == 0 {
            self.left_at.get_or_insert(now);
        }
    }

    /// Output grew by `bytes` at a place that may be before the ping.
    pub(in crate::reactor) fn on_inserted(&mut self, bytes: usize) {
        if self.left > 0 {
            self.left += bytes;
            self.bytes += bytes;
        }
    }

    pub(in crate::reactor) fn progress(&self, now: Instant) -> PingProgress {
        let Some(at) = self.left_at else { return PingProgress::Queued };
        let took = at.saturating_duration_since(self.queued_at);
        let delay = took.saturating_mul(SYSTEM_BYTES as u32) / u32::try_from(self.bytes.max(1)).unwrap_or(u32::MAX);
        PingProgress::Left { ago: now.saturating_duration_since(at), delay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ping_leaves_with_its_last_byte() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut mark = PingMark::new(SYSTEM_BYTES, start);
        mark.on_moved(SYSTEM_BYTES - 1, false, at(1));
        assert_eq!(mark.progress(at(5)), PingProgress::Queued);
        mark.on_moved(50, false, at(10));
        mark.on_moved(50, true, at(30));
        let ago = Duration::from_secs(25);
        assert_eq!(mark.progress(at(35)), PingProgress::Left { ago, delay: Duration::from_secs(10) });
    }

    #[test]
    fn ping_has_left_when_no_output_is_left() {
        let start = Instant::now();
        let mut mark = PingMark::new(100, start);
        mark.on_moved(0, true, start);
        assert_eq!(mark.progress(start), PingProgress::Left { ago: Duration::ZERO, delay: Duration::ZERO });
    }
}
