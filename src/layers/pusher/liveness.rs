//! The connection of this node to the others. Pure.

use std::time::{Duration, Instant};

/// Interval at which the ends of nodes and of cached events are noticed.
pub(super) const EXPIRE_EVERY: Duration = Duration::from_secs(5);

/// Longest time after an interruption in which the other nodes are expected back.
const SETTLE: Duration = Duration::from_secs(6);

/// The times at which this node could hear the others.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// Time since which the topic is live. `None` while it is not.
    since: Option<Instant>,
    /// The topic was live before.
    was_interrupted: bool,
    checked_at: Option<Instant>,
}

impl Liveness {
    /// The messages of others arrive from now on.
    pub(super) fn on_live(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// The messages of others do not arrive any more.
    pub(super) fn on_interrupted(&mut self) {
        self.was_interrupted |= self.since.take().is_some();
    }

    /// Called at each interval. A longer time between two calls counts as an interruption: the process was stopped.
    pub(super) fn check(&mut self, now: Instant) {
        let before = self.checked_at.replace(now);
        let was_stopped = before.is_some_and(|before| now.saturating_duration_since(before) > 2 * EXPIRE_EVERY);
        self.since = self.since.map(|since| if was_stopped { now } else { since });
    }

    /// Returns `true` if the messages of others have arrived for a time.
    pub(super) fn is_live_for(&self, time: Duration, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= time)
    }

    /// Returns `true` if there was an interruption.
    pub(super) fn was_interrupted(&self) -> bool {
        self.was_interrupted
    }

    /// Returns `true` if a message that is published now reaches the others. `has_heard_since` returns `true` if all of
    /// them have been heard since a time.
    pub(super) fn is_settled(&self, now: Instant, has_heard_since: impl FnOnce(Instant) -> bool) -> bool {
        self.since.is_some_and(|since| {
            !self.was_interrupted || now.saturating_duration_since(since) >= SETTLE || has_heard_since(since)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    #[test]
    fn interruptions_begin_the_time_again() {
        let (mut liveness, now) = (Liveness::default(), Instant::now());
        assert!(!liveness.is_live_for(Duration::ZERO, now));
        liveness.on_live(now);
        assert!(liveness.is_live_for(LEASE, now + LEASE) && !liveness.is_live_for(LEASE, now));
        liveness.on_interrupted();
        assert!(!liveness.is_live_for(Duration::ZERO, now + LEASE));
        liveness.on_live(now + LEASE);
        assert!(!liveness.is_live_for(LEASE, now + LEASE) && liveness.is_live_for(LEASE, now + 2 * LEASE));
    }

    #[test]
    fn time_in_which_the_process_is_stopped_does_not_count() {
        let (mut liveness, now) = (Liveness::default(), Instant::now());
        liveness.on_live(now);
        (0..3).for_each(|tick| liveness.check(now + tick * EXPIRE_EVERY));
        assert!(liveness.is_live_for(LEASE, now + LEASE));
        liveness.check(now + 20 * EXPIRE_EVERY);
        assert!(!liveness.is_live_for(LEASE, now + 20 * EXPIRE_EVERY));
    }

    #[test]
    fn others_are_expected_after_an_interruption_only() {
        let (mut liveness, now) = (Liveness::default(), Instant::now());
        liveness.on_live(now);
        assert!(liveness.is_settled(now, |_| false));
        liveness.on_interrupted();
        assert!(!liveness.is_settled(now, |_| true));
        liveness.on_live(now);
        assert!(!liveness.is_settled(now, |_| false) && liveness.is_settled(now, |since| since == now));
        assert!(liveness.is_settled(now + SETTLE, |_| false));
    }
}
