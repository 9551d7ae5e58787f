//! Liveness of a peer: signs of life in, pings and the end out. Pure: time is an argument.

use std::time::Duration;

use crate::reactor::PingProgress;

/// Bytes of an unfinished frame that are a sign of life. Fewer bytes per pong time-out are not, so that a peer cannot
/// keep a connection alive byte by byte.
const PROGRESS_BYTES: u64 = 4 * 1024;

/// Signs of life of a peer.
///
/// A whole message, fragment or control frame is a sign of life, and so are [`PROGRESS_BYTES`] of an unfinished frame:
/// while a large frame arrives, no pong can (RFC 6455 §5.4).
///
/// One word, because each idle connection has it. From the lowest bit on:
///
/// - 1 bit: no sign of life has followed the ping;
/// - 13 bits: bytes of an unfinished frame since the last sign of life, or since the ping;
/// - 50 bits: the time of the last sign of life, or of the ping that was sent since, in microseconds.
#[derive(Debug)]
pub(super) struct Liveness(u64);

const PROGRESS_BITS: u32 = 13;

/// A time, in microseconds since the reactor was made. 50 bits are 35 years.
pub(super) type Micros = u64;

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
    pub(super) fn new(now: Micros) -> Self {
        Liveness(now << (PROGRESS_BITS + 1))
    }

    fn pinged(now: Micros) -> Self {
        Liveness(Liveness::new(now).0 | 1)
    }

    fn is_pinged(&self) -> bool {
        self.0 & 1 == 1
    }

    fn progress(&self) -> u64 {
        self.0 >> 1 & ((1 << PROGRESS_BITS) - 1)
    }

    /// Time since the last sign of life, or since the ping.
    fn silent(&self, now: Micros) -> Duration {
        Duration::from_micros(now.saturating_sub(self.0 >> (PROGRESS_BITS + 1)))
    }

    /// A whole message, fragment or control frame has arrived.
    #[inline]
    pub(super) fn on_frame(&mut self, now: Micros) {
        *self = Liveness::new(now);
    }

    /// Time since the ping, at the arrival of the first sign of life that follows it.
    pub(super) fn round_trip(&self, now: Micros) -> Option<Duration> {
        self.is_pinged().then(|| self.silent(now))
    }

    /// Bytes of an unfinished frame have arrived.
    pub(super) fn on_bytes(&mut self, bytes: usize, now: Micros) {
        let before = self.progress();
        let progress = (before + bytes as u64).min(PROGRESS_BYTES);
        if progress == PROGRESS_BYTES {
            self.on_frame(now);
        } else {
            self.0 += (progress - before) << 1;
        }
    }

    /// The peer's silence means nothing: the connection is not read, or the version has no pings.
    pub(super) fn excuse(&mut self, now: Micros) {
        self.on_frame(now);
    }

    /// Judges a deadline that has passed. `ping` says when the ping has left.
    pub(super) fn check(&mut self, timeouts: Timeouts, ping: PingProgress, now: Micros) -> Verdict {
        let Timeouts { ping_after, pong_timeout } = timeouts;
        let silent = self.silent(now);
        if !self.is_pinged() {
            if silent < ping_after {
                return Verdict::Wait(ping_after - silent);
            }
            *self = Liveness::pinged(now);
            return Verdict::Ping;
        }
        let left = match ping {
            PingProgress::Queued => pong_timeout,
            PingProgress::Left { ago, delay } => {
                let allowed = pong_timeout.saturating_add(delay.min(pong_timeout.saturating_mul(2)));
                allowed.saturating_sub(ago)
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
    const START: Duration = Duration::from_secs(1000);
    const TIMEOUTS: Timeouts = Timeouts { ping_after: Duration::from_secs(20), pong_timeout: Duration::from_secs(20) };

    fn micros(time: Duration) -> Micros {
        time.as_micros() as u64
    }

    /// `seconds` after the start.
    fn at(seconds: u64) -> Micros {
        micros(START + Duration::from_secs(seconds))
    }

    fn check(liveness: &mut Liveness, now: Micros) -> Verdict {
        liveness.check(TIMEOUTS, PingProgress::LeftAtOnce, now)
    }

    #[test]
    fn silent_peer_is_pinged_and_dead_without_a_sign_of_life() {
        let mut liveness = Liveness::new(at(0));
        assert_eq!(check(&mut liveness, at(5)), Verdict::Wait(15 * SECOND));
        assert_eq!(check(&mut liveness, at(20)), Verdict::Ping);
        assert_eq!(check(&mut liveness, at(40)), Verdict::Dead);
    }

    #[test]
    fn frame_after_the_ping_is_a_sign_of_life() {
        let mut liveness = Liveness::new(at(0));
        check(&mut liveness, at(20));
        liveness.on_frame(at(39));
        assert_eq!(check(&mut liveness, at(40)), Verdict::Wait(19 * SECOND));
    }

    #[test]
    fn bytes_of_an_unfinished_frame_are_a_sign_of_life_from_4_kib_on() {
        for (bytes, alive) in [(4095, false), (4096, true), (1 << 20, true)] {
            let mut liveness = Liveness::new(at(0));
            liveness.on_bytes(4000, at(1));
            check(&mut liveness, at(20));
            // Bytes before the ping do not count.
            liveness.on_bytes(bytes / 2, at(30));
            liveness.on_bytes(bytes - bytes / 2, at(39));
            let verdict = check(&mut liveness, at(40));
            assert_eq!(verdict == Verdict::Wait(19 * SECOND), alive, "{bytes}: {verdict:?}");
        }
    }

    #[test]
    fn excused_peer_has_the_whole_time_again() {
        let mut liveness = Liveness::new(at(0));
        check(&mut liveness, at(20));
        liveness.excuse(at(40));
        assert_eq!(check(&mut liveness, at(40)), Verdict::Wait(TIMEOUTS.ping_after));
    }

    #[test]
    fn pong_timeout_runs_from_when_the_ping_has_left() {
        let mut liveness = Liveness::new(at(0));
        assert_eq!(check(&mut liveness, at(20)), Verdict::Ping);
        assert_eq!(liveness.check(TIMEOUTS, PingProgress::Queued, at(40)), Verdict::Wait(20 * SECOND));
        // The ping has left at 45 s.
        let mut check_at = |seconds: u64, delay| {
            let ago = Duration::from_secs(seconds - 45);
            liveness.check(TIMEOUTS, PingProgress::Left { ago, delay }, at(seconds))
        };
        assert_eq!(check_at(60, Duration::ZERO), Verdict::Wait(5 * SECOND));
        // The bytes before the ping are under way for some time, but at most for two more pong time-outs.
        assert_eq!(check_at(65, 10 * SECOND), Verdict::Wait(10 * SECOND));
        assert_eq!(check_at(104, Duration::MAX), Verdict::Wait(SECOND));
        assert_eq!(check_at(105, Duration::MAX), Verdict::Dead);
        assert_eq!(check_at(65, Duration::ZERO), Verdict::Dead);
    }

    // regression: a ping interval below the pong time-out was stretched to that time-out.
    #[test]
    fn ping_interval_may_be_shorter_than_the_pong_timeout() {
        let timeouts = Timeouts { ping_after: SECOND, pong_timeout: 20 * SECOND };
        let mut liveness = Liveness::new(at(0));
        let check = |liveness: &mut Liveness, now| liveness.check(timeouts, PingProgress::LeftAtOnce, now);
        assert_eq!(check(&mut liveness, at(1)), Verdict::Ping);
        liveness.on_frame(at(1));
        assert_eq!(check(&mut liveness, at(2)), Verdict::Ping);
        assert_eq!(check(&mut liveness, at(3)), Verdict::Wait(SECOND));
        assert_eq!(check(&mut liveness, at(21)), Verdict::Wait(SECOND));
        assert_eq!(check(&mut liveness, at(22)), Verdict::Dead);
    }
}
