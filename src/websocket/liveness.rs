//! Liveness of a peer: signs of life in, pings and the end out. Pure: time is an argument.

use std::time::{Duration, Instant};

use crate::reactor::PingProgress;

/// Bytes of an unfinished frame that are a sign of life. Fewer bytes per pong time-out are not, so that a peer cannot
/// keep a connection alive byte by byte.
const PROGRESS_BYTES: u16 = 4 * 1024;

/// Signs of life of a peer.
///
/// A whole message, fragment or control frame is a sign of life, and so are [`PROGRESS_BYTES`] of an unfinished frame:
/// while a large frame arrives, no pong can (RFC 6455 §5.4).
#[derive(Debug)]
pub(super) struct Liveness {
    /// Time of the last sign of life, or of the ping that was sent since.
    since: Instant,
    /// No sign of life has followed the ping.
    is_pinged: bool,
    /// Bytes of an unfinished frame since the last sign of life, or since the ping.
    progress: u16,
}

/// Outcome of a check at the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The peer was silent: send a ping, and wait for the pong time-out.
    Ping,
    /// No sign of life has followed the ping.
    Dead,
    /// The peer was heard: wait that long.
    Wait(Duration),
}

/// Time-outs of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// Silence before a ping.
    pub(super) ping_after: Duration,
    /// Time for a sign of life after the ping has left.
    pub(super) pong_timeout: Duration,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Liveness { since: now, is_pinged: false, progress: 0 }
    }

    /// A whole message, fragment or control frame has arrived.
    #[inline]
    pub(super) fn on_frame(&mut self, now: Instant) {
        *self = Liveness::new(now);
    }

    /// Time since the ping, at the arrival of the first sign of life that follows it.
    pub(super) fn round_trip(&self, now: Instant) -> Option<Duration> {
        self.is_pinged.then(|| now.saturating_duration_since(self.since))
    }

    /// Bytes of an unfinished frame have arrived.
    pub(super) fn on_bytes(&mut self, bytes: usize, now: Instant) {
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.progress = self.progress.saturating_add(bytes);
        if self.progress >= PROGRESS_BYTES {
            self.on_frame(now);
        }
    }

    /// The peer's silence means nothing: the connection is not read, or the version has no pings.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.on_frame(now);
    }

    /// Judges a deadline that has passed. `ping` says when the ping has left.
    pub(super) fn check(&mut self, timeouts: Timeouts, ping: PingProgress, now: Instant) -> Verdict {
        let Timeouts { ping_after, pong_timeout } = timeouts;
        let silent = now.saturating_duration_since(self.since);
        if !self.is_pinged {
            if silent < ping_after {
                return Verdict::Wait(ping_after - silent);
            }
            *self = Liveness { since: now, is_pinged: true, progress: 0 };
            return Verdict::Ping;
        }
        let left = match ping {
            PingProgress::Queued => pong_timeout,
            PingProgress::Left { at, delay } => {
                let allowed = pong_timeout.saturating_add(delay.min(pong_timeout.saturating_mul(2)));
                allowed.saturating_sub(now.saturating_duration_since(at))
            }
            PingProgress::LeftAtOnce => pong_timeout.saturating_sub(silent),
        };
        // A sign of life, from now on, makes the next ping due after `ping_after`.
        if left.is_zero() { Verdict::Dead } else { Verdict::Wait(left.min(ping_after)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUTS: Timeouts = Timeouts { ping_after: Duration::from_secs(20), pong_timeout: Duration::from_secs(20) };

    fn check(liveness: &mut Liveness, now: Instant) -> Verdict {
        liveness.check(TIMEOUTS, PingProgress::LeftAtOnce, now)
    }

    #[test]
    fn silent_peer_is_pinged_and_dead_without_a_sign_of_life() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        assert_eq!(check(&mut liveness, start + 5 * SECOND), Verdict::Wait(15 * SECOND));
        assert_eq!(check(&mut liveness, start + 20 * SECOND), Verdict::Ping);
        assert_eq!(check(&mut liveness, start + 40 * SECOND), Verdict::Dead);
    }

    #[test]
    fn frame_after_the_ping_is_a_sign_of_life() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        check(&mut liveness, start + 20 * SECOND);
        liveness.on_frame(start + 39 * SECOND);
        assert_eq!(check(&mut liveness, start + 40 * SECOND), Verdict::Wait(19 * SECOND));
    }

    #[test]
    fn bytes_of_an_unfinished_frame_are_a_sign_of_life_from_4_kib_on() {
        for (bytes, alive) in [(4095, false), (4096, true), (1 << 20, true)] {
            let start = Instant::now();
            let mut liveness = Liveness::new(start);
            liveness.on_bytes(4000, start + SECOND);
            check(&mut liveness, start + 20 * SECOND);
            // Bytes before the ping do not count.
            liveness.on_bytes(bytes / 2, start + 30 * SECOND);
            liveness.on_bytes(bytes - bytes / 2, start + 39 * SECOND);
            let verdict = check(&mut liveness, start + 40 * SECOND);
            assert_eq!(verdict == Verdict::Wait(19 * SECOND), alive, "{bytes}: {verdict:?}");
        }
    }

    #[test]
    fn excused_peer_has_the_whole_time_again() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        check(&mut liveness, start + 20 * SECOND);
        liveness.excuse(start + 40 * SECOND);
        assert_eq!(check(&mut liveness, start + 40 * SECOND), Verdict::Wait(TIMEOUTS.ping_after));
    }

    #[test]
    fn pong_timeout_runs_from_when_the_ping_has_left() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut liveness = Liveness::new(start);
        assert_eq!(check(&mut liveness, at(20)), Verdict::Ping);
        assert_eq!(liveness.check(TIMEOUTS, PingProgress::Queued, at(40)), Verdict::Wait(20 * SECOND));
        let left = |delay| PingProgress::Left { at: at(45), delay };
        assert_eq!(liveness.check(TIMEOUTS, left(Duration::ZERO), at(60)), Verdict::Wait(5 * SECOND));
        // The bytes before the ping are under way for some time, but at most for two more pong time-outs.
        assert_eq!(liveness.check(TIMEOUTS, left(10 * SECOND), at(65)), Verdict::Wait(10 * SECOND));
        assert_eq!(liveness.check(TIMEOUTS, left(Duration::MAX), at(104)), Verdict::Wait(SECOND));
        assert_eq!(liveness.check(TIMEOUTS, left(Duration::MAX), at(105)), Verdict::Dead);
        assert_eq!(liveness.check(TIMEOUTS, left(Duration::ZERO), at(65)), Verdict::Dead);
    }

    // regression: a ping interval below the pong time-out was stretched to that time-out.
    #[test]
    fn ping_interval_may_be_shorter_than_the_pong_timeout() {
        let timeouts = Timeouts { ping_after: SECOND, pong_timeout: 20 * SECOND };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut liveness = Liveness::new(start);
        let check = |liveness: &mut Liveness, now| liveness.check(timeouts, PingProgress::LeftAtOnce, now);
        assert_eq!(check(&mut liveness, at(1)), Verdict::Ping);
        liveness.on_frame(at(1));
        assert_eq!(check(&mut liveness, at(2)), Verdict::Ping);
        assert_eq!(check(&mut liveness, at(3)), Verdict::Wait(SECOND));
        assert_eq!(check(&mut liveness, at(21)), Verdict::Wait(SECOND));
        assert_eq!(check(&mut liveness, at(22)), Verdict::Dead);
    }
}
