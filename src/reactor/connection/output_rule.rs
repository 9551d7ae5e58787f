//! Rule for waiting output: the status of a send, the detection of slow readers, and reading in spite of full output.
//!
//! Pure: byte counts and `now` are arguments. [`OutputLimits`] describes the rule for users.

use std::time::{Duration, Instant};

use crate::{
    reactor::{
        config::{OutputLimits, Overflow},
        timer::later,
    },
    send_status::SendStatus,
};

/// Bytes that a peer has to take within [`OutputLimits::stall_timeout`]; all waiting bytes, if there are fewer.
pub(in crate::reactor) const PROGRESS_BYTES: usize = 16 * 1024;

/// Output that has not moved for this long no longer stops its connection from being read.
pub(in crate::reactor) const READ_ANYWAY_AFTER: Duration = Duration::from_secs(1);

/// Bytes read each time in spite of the output.
pub(in crate::reactor) const READ_ANYWAY_BYTES: usize = 256 * 1024;

/// Longest time that output which moves keeps its connection from being read; a quarter of the stall time-out if that
/// is shorter. Otherwise the peer's own output would stand still, and the peer would take this side for a slow reader.
const FAIR_READ_AFTER: Duration = Duration::from_secs(5);

/// Decision on a message, by the amount of buffered output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum Admission {
    Accept,
    /// Accepted; the application should wait for `on_drain`.
    Congested,
    Drop,
    /// Refused; the connection is closed as a slow reader.
    Close,
}

impl OutputLimits {
    /// Output above which sends are congested.
    #[inline]
    pub(in crate::reactor) fn congestion_mark(&self) -> usize {
        self.high_water_bytes.min(self.limit_bytes)
    }

    pub(in crate::reactor) fn admit(&self, buffered: usize) -> Admission {
        match self.overflow {
            Overflow::Close if buffered >= self.limit_bytes => Admission::Close,
            Overflow::DropNewest if buffered >= self.limit_bytes => Admission::Drop,
            _ if buffered > self.high_water_bytes => Admission::Congested,
            _ => Admission::Accept,
        }
    }
}

/// Progress of output that the socket did not take. Exists from the moment the socket is full until no output waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) struct OutputRule {
    /// Start of the current interval: the last time that the peer had taken enough.
    progress_at: Instant,
    /// Bytes that the peer still has to take in the current interval.
    missing: usize,
    /// Time at which the connection is read in spite of its output.
    read_at: Instant,
    /// Bytes that may be read in spite of the output.
    allowance: usize,
    /// Time when output last moved.
    moved_at: Instant,
    /// The last read in spite of the output, or the start of the rule; and the output waiting then.
    granted_at: Instant,
    granted_with: usize,
    /// Output above which that read stops.
    ceiling: usize,
}

impl From<Admission> for SendStatus {
    fn from(admission: Admission) -> Self {
        match admission {
            Admission::Accept => SendStatus::Queued,
            Admission::Congested => SendStatus::Congested,
            Admission::Drop => SendStatus::Dropped,
            Admission::Close => SendStatus::Closed,
        }
    }
}

/// Meaning of a deadline that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum Passed {
    /// The peer is a slow reader.
    Stalled,
    /// The connection is to be read: see [`OutputRule::allowance`].
    ReadAnyway,
}

impl OutputRule {
    /// Starts an interval with `waiting` bytes of output.
    pub(in crate::reactor) fn new(waiting: usize, now: Instant) -> Self {
        OutputRule {
            progress_at: now,
            missing: needed(waiting),
            read_at: now + READ_ANYWAY_AFTER,
            allowance: 0,
            moved_at: now,
            granted_at: now,
            granted_with: usize::MAX,
            ceiling: usize::MAX,
        }
    }

    /// Notes that the peer has taken `moved` bytes, and that `waiting` bytes are left.
    pub(in crate::reactor) fn on_moved(&mut self, moved: usize, waiting: usize, limits: &OutputLimits, now: Instant) {
        if moved == 0 {
            return;
        }
        self.moved_at = now;
        let fair = later(self.granted_at, FAIR_READ_AFTER.min(limits.stall_timeout / 4));
        self.read_at = (now + READ_ANYWAY_AFTER).min(fair);
        self.missing = self.missing.saturating_sub(moved);
        if self.missing == 0 {
            (self.progress_at, self.missing) = (now, needed(waiting));
        }
    }

    /// Restarts the interval, because the delay was not the peer's.
    pub(in crate::reactor) fn excuse(&mut self, waiting: usize, now: Instant) {
        (self.progress_at, self.missing) = (now, needed(waiting));
    }

    /// Time of the next call of [`on_time`](Self::on_time). `suspended`: the connection is not read because of its
    /// output.
    pub(in crate::reactor) fn next_deadline(&self, stall_timeout: Duration, suspended: bool) -> Instant {
        let stalled_at = later(self.progress_at, stall_timeout);
        if suspended { stalled_at.min(self.read_at) } else { stalled_at }
    }

    pub(in crate::reactor) fn on_time(
        &mut self,
        limits: &OutputLimits,
        suspended: bool,
        waiting: usize,
        now: Instant,
    ) -> Option<Passed> {
        if now.saturating_duration_since(self.progress_at) >= limits.stall_timeout {
            return Some(Passed::Stalled);
        }
        if !suspended || now < self.read_at {
            return None;
        }
        self.read_at = now + READ_ANYWAY_AFTER;
        // Above this, reading must not add output: the answers to a few requests might be larger than the limit. Output
        // that moves needs no room for a peer that reads nothing before it has sent everything.
        let moves = now.saturating_duration_since(self.moved_at) < READ_ANYWAY_AFTER;
        let half = limits.limit_bytes / 2;
        let free = if moves { limits.high_water_bytes.min(half) } else { half };
        if waiting > self.granted_with.max(free) {
            return None;
        }
        (self.granted_at, self.granted_with, self.ceiling) = (now, waiting, waiting.max(free));
        self.allowance = READ_ANYWAY_BYTES;
        Some(Passed::ReadAnyway)
    }

    /// Bytes that may be read in spite of the `waiting` output.
    pub(in crate::reactor) fn allowance(&self, waiting: usize) -> usize {
        if waiting > self.ceiling { 0 } else { self.allowance }
    }

    /// Notes that `bytes` of the allowance were read.
    pub(in crate::reactor) fn use_allowance(&mut self, bytes: usize) {
        self.allowance = self.allowance.saturating_sub(bytes);
    }

    /// Time since which the output has made no progress.
    pub(in crate::reactor) fn progress_at(&self) -> Instant {
        self.progress_at
    }
}

/// Bytes that the peer has to take in an interval that begins with `waiting` bytes. At least 1: `waiting` is 0 if only
/// TLS holds output.
fn needed(waiting: usize) -> usize {
    waiting.clamp(1, PROGRESS_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// Calls `on_time` with the default limits and a megabyte of output.
    fn on_time(rule: &mut OutputRule, suspended: bool, now: Instant) -> Option<Passed> {
        rule.on_time(&OutputLimits::default(), suspended, 1 << 20, now)
    }

    fn on_moved(rule: &mut OutputRule, moved: usize, waiting: usize, now: Instant) {
        rule.on_moved(moved, waiting, &OutputLimits::default(), now);
    }

    fn allowance(rule: &OutputRule) -> usize {
        rule.allowance(1 << 20)
    }

    fn limits(high_water_bytes: usize, limit_bytes: usize, overflow: Overflow) -> OutputLimits {
        OutputLimits { high_water_bytes, limit_bytes, overflow, ..OutputLimits::default() }
    }

    #[test]
    fn admission_depends_on_the_mark_that_the_output_has_passed() {
        let close = limits(1000, 2000, Overflow::Close);
        assert_eq!(
            [0, 1000, 1001, 1999, 2000].map(|buffered| close.admit(buffered)),
            [Admission::Accept, Admission::Accept, Admission::Congested, Admission::Congested, Admission::Close]
        );
        assert_eq!(limits(1000, 2000, Overflow::DropNewest).admit(2000), Admission::Drop);
        let low = limits(1000, 100, Overflow::Close);
        assert_eq!((low.admit(99), low.admit(100), low.congestion_mark()), (Admission::Accept, Admission::Close, 100));
        assert_eq!(limits(0, usize::MAX, Overflow::Close).admit(usize::MAX - 1), Admission::Congested);
    }

    #[test]
    fn peer_that_takes_less_than_16_kib_within_the_timeout_is_stalled() {
        let start = Instant::now();
        let mut rule = OutputRule::new(1 << 20, start);
        for second in 1..=100 {
            on_moved(&mut rule, 600, 1 << 20, start + Duration::from_secs(second));
            assert_eq!(on_time(&mut rule, false, start + Duration::from_secs(second)), None, "{second}");
        }
        let mut rule = OutputRule::new(1 << 20, start);
        for second in 1..30 {
            on_moved(&mut rule, 500, 1 << 20, start + Duration::from_secs(second));
            assert_eq!(on_time(&mut rule, false, start + Duration::from_secs(second)), None, "{second}");
        }
        assert_eq!(on_time(&mut rule, false, start + TIMEOUT), Some(Passed::Stalled));
    }

    #[test]
    fn peer_must_take_output_below_16_kib_completely_within_the_timeout() {
        let start = Instant::now();
        let mut rule = OutputRule::new(10, start);
        on_moved(&mut rule, 9, 1, start + Duration::from_secs(29));
        assert_eq!(on_time(&mut rule, false, start + TIMEOUT), Some(Passed::Stalled));
        rule = OutputRule::new(10, start);
        on_moved(&mut rule, 10, 5, start + Duration::from_secs(29));
        assert_eq!(on_time(&mut rule, false, start + TIMEOUT), None);
        assert_eq!(rule.next_deadline(TIMEOUT, false), start + Duration::from_secs(59));
    }

    #[test]
    fn connection_is_read_once_a_second_while_its_output_makes_no_progress() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut rule = OutputRule::new(1 << 20, start);
        assert_eq!((on_time(&mut rule, true, at(999)), allowance(&rule)), (None, 0));
        assert_eq!(on_time(&mut rule, true, at(1000)), Some(Passed::ReadAnyway));
        rule.use_allowance(READ_ANYWAY_BYTES - 1);
        assert_eq!((allowance(&rule), on_time(&mut rule, true, at(1999))), (1, None));
        assert_eq!(on_time(&mut rule, false, at(2000)), None, "reading is not blocked by output");
        assert_eq!(on_time(&mut rule, true, at(2000)), Some(Passed::ReadAnyway));
        assert_eq!(allowance(&rule), READ_ANYWAY_BYTES);
        on_moved(&mut rule, 1, 1 << 20, at(2500));
        assert_eq!(on_time(&mut rule, true, at(3499)), None);
        assert_eq!(rule.next_deadline(TIMEOUT, true), at(3500));
    }

    // regression: of two ends that sent to each other, the one whose output moved never read.
    #[test]
    fn connection_is_read_every_five_seconds_while_its_output_moves() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut rule = OutputRule::new(1 << 20, start);
        let mut reads = Vec::new();
        for millis in (100..12_000).step_by(100) {
            on_moved(&mut rule, 1000, 1 << 20, at(millis));
            if on_time(&mut rule, true, at(millis)).is_some() {
                reads.push(millis);
            }
        }
        assert_eq!(reads, [5000, 10_000]);
        let short = OutputLimits::default().stall_timeout(Duration::from_secs(4));
        let mut rule = OutputRule::new(1 << 20, start);
        rule.on_moved(1000, 1 << 20, &short, at(500));
        assert_eq!(rule.next_deadline(short.stall_timeout, true), at(1000));
    }

    #[test]
    fn output_above_half_of_the_limit_that_grows_is_not_read_in_spite_of() {
        let limits = OutputLimits::default().limit_bytes(1000);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut rule = OutputRule::new(900, start);
        // Two ends that send to each other at once: the output is near the limit from the start.
        assert_eq!(rule.on_time(&limits, true, 900, at(1)), Some(Passed::ReadAnyway));
        assert!(rule.allowance(900) > 0 && rule.allowance(901) == 0);
        assert_eq!(rule.on_time(&limits, true, 901, at(2)), None);
        assert_eq!(rule.next_deadline(TIMEOUT, true), at(3));
        assert_eq!(rule.on_time(&limits, true, 900, at(3)), Some(Passed::ReadAnyway));
        assert_eq!(rule.on_time(&limits, true, 500, at(4)), Some(Passed::ReadAnyway));
        assert!(rule.allowance(500) > 0 && rule.allowance(501) == 0);
    }

    #[test]
    fn output_that_moves_is_read_in_spite_of_up_to_the_high_water_mark() {
        let limits = OutputLimits::default().high_water_bytes(300).limit_bytes(1000);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut rule = OutputRule::new(200, start);
        let mut grant = |waiting: usize, seconds: u64| {
            rule.on_moved(1, waiting, &limits, at(seconds));
            (rule.on_time(&limits, true, waiting, at(seconds)), rule.allowance(300), rule.allowance(301))
        };
        assert_eq!(grant(200, 5), (Some(Passed::ReadAnyway), READ_ANYWAY_BYTES, 0));
        // The read has added output; it has to leave again.
        assert_eq!(grant(350, 10).0, None);
        assert_eq!(grant(300, 15).0, Some(Passed::ReadAnyway));
    }

    /// Model of the rule that looks back over the whole history: an interval begins where the peer had taken enough,
    /// and an interval that lasts too long is a stall.
    #[derive(Debug)]
    struct Model {
        start: Instant,
        taken: Vec<(Instant, usize)>,
        waiting_at_start: usize,
    }

    impl Model {
        fn is_stalled(&self, now: Instant) -> bool {
            let taken: usize = self.taken.iter().filter(|(at, _)| *at <= now).map(|(_, bytes)| bytes).sum();
            taken < PROGRESS_BYTES.min(self.waiting_at_start.max(1)) && now.duration_since(self.start) >= TIMEOUT
        }

        fn on_moved(&mut self, moved: usize, waiting: usize, now: Instant) {
            self.taken.push((now, moved));
            let taken: usize = self.taken.iter().map(|(_, bytes)| bytes).sum();
            if taken >= PROGRESS_BYTES.min(self.waiting_at_start.max(1)) {
                *self = Model { start: now, taken: Vec::new(), waiting_at_start: waiting };
            }
        }
    }

    proptest! {
        #[test]
        fn rule_agrees_with_a_model_over_the_whole_history(
            steps in proptest::collection::vec((0_u64..20_000, 0_usize..20_000, 0_usize..40_000), 1..200),
            waiting in 1_usize..40_000,
        ) {
            let mut now = Instant::now();
            let (mut rule, mut waiting) = (OutputRule::new(waiting, now), waiting);
            let mut model = Model { start: now, taken: Vec::new(), waiting_at_start: waiting };
            for (millis, moved, queued) in steps {
                now += Duration::from_millis(millis);
                let stalled = on_time(&mut rule, false, now) == Some(Passed::Stalled);
                prop_assert_eq!(stalled, model.is_stalled(now));
                prop_assert_eq!(rule.next_deadline(TIMEOUT, false) <= now, stalled);
                if stalled {
                    break;
                }
                let moved = moved.min(waiting);
                waiting = waiting - moved + queued;
                on_moved(&mut rule, moved, waiting, now);
                if moved > 0 {
                    model.on_moved(moved, waiting, now);
                }
                if waiting == 0 {
                    break;
                }
            }
        }
    }
}
