//! Reconnecting: the policy of a client, its wait times and attempts, and the next connection.

use std::{
    mem,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{ClientOptions, route::Route, stream::ClientStream};
use crate::{
    protocol::{CloseCode, CloseReason, ClosedBy, MessageLimits, Version},
    reactor::Stream,
    setters::setters,
    websocket::handler::{Handler, NoHandler, WebSocket},
};

/// Reconnect policy of a client, for [`Client::reconnect`](crate::Client::reconnect).
///
/// The wait before an attempt is random, between zero and a bound. The bound starts at `initial_backoff`, doubles with
/// each attempt in a row, and ends at `max_backoff` ("full jitter"). The randomness spreads the reconnects of many
/// clients that lose one server. After a connection that lasted `stable_after`, the count starts again.
///
/// ```
/// use std::time::Duration;
/// use ws_reactor::{Callbacks, Client, Reconnect};
///
/// let policy = Reconnect::new().max_backoff(Duration::from_secs(10));
/// let client = Client::new(Callbacks::new()).reconnect(policy);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Reconnect {
    /// Upper bound of the wait before the first attempt. Default 1 s.
    pub initial_backoff: Duration,
    /// Upper bound of every wait. Default 60 s.
    pub max_backoff: Duration,
    /// Time open after which a connection counts as stable: the next attempt is number 1. Default 30 s.
    pub stable_after: Duration,
    /// Maximum number of attempts in a row. Default `None`: no limit.
    pub max_attempts: Option<u32>,
}

impl Reconnect {
    /// Makes the default policy.
    pub fn new() -> Self {
        Reconnect::default()
    }

    setters! {
        initial_backoff: Duration,
        max_backoff: Duration,
        stable_after: Duration,
        max_attempts: Option<u32>,
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Reconnect {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            stable_after: Duration::from_secs(30),
            max_attempts: None,
        }
    }
}

/// Cap of a wait, 100 years: `Duration::MAX` as a float cannot be converted back.
const LONGEST_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Attempts in a row.
#[derive(Debug, Default, Clone)]
pub(in crate::websocket) struct Attempts {
    made: u32,
    opened: Option<Instant>,
}

impl Attempts {
    /// The connection is open.
    pub(in crate::websocket) fn note_open(&mut self, now: Instant) {
        self.opened = Some(now);
    }

    /// The number of the next attempt, from 1, and the wait before it, drawn by `random`. `None` at the maximum.
    pub(in crate::websocket) fn next(
        &mut self,
        policy: &Reconnect,
        now: Instant,
        random: u32,
    ) -> Option<(u32, Duration)> {
        if self.opened.take().is_some_and(|opened| now.duration_since(opened) >= policy.stable_after) {
            self.made = 0;
        }
        if policy.max_attempts.is_some_and(|most| self.made >= most) {
            return None;
        }
        let doubled = policy.initial_backoff.saturating_mul(1 << self.made.min(30));
        self.made += 1;
        let share = f64::from(random) / f64::from(u32::MAX);
        Some((self.made, doubled.min(policy.max_backoff).min(LONGEST_WAIT).mul_f64(share)))
    }
}

/// The state of a client that outlives a connection, without the handler.
#[derive(Clone)]
pub(in crate::websocket) struct Reconnector {
    /// The first route; each reconnect begins there.
    pub(super) home: Rc<Route>,
    pub(super) options: Rc<ClientOptions>,
    pub(super) attempts: Attempts,
}

impl Reconnector {
    pub(super) fn new(home: Rc<Route>, options: Rc<ClientOptions>) -> Self {
        Reconnector { home, options, attempts: Attempts::default() }
    }

    /// Calls `on_close`. Then takes the handler and requests the next connection, if the policy asks for one.
    pub(in crate::websocket) fn close(
        &mut self,
        handler: &mut Box<dyn Handler>,
        stream: &mut Stream<'_>,
        (version, mut limits): (Version, MessageLimits),
        reason: &CloseReason,
    ) {
        let closing = Closing { reconnector: self, handler, stream, reason };
        let mut ws = WebSocket::new(closing.stream, version, &mut limits);
        closing.handler.on_close(&mut ws, reason);
    }

    /// Number of the next attempt and the wait before it. `None` if the end was intended, or the policy ends here.
    fn next(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) -> Option<(u32, Duration)> {
        let policy = self.options.reconnect?;
        let ended_here = matches!(reason.by, ClosedBy::Application | ClosedBy::Shutdown);
        let intended = ended_here || stream.hub.is_closed_by_app(stream.id()) || reason.code == CloseCode::NORMAL;
        if intended || !stream.hub.may_dial() {
            return None;
        }
        let random = u32::from_be_bytes(stream.hub.pools.masks.key());
        self.attempts.next(&policy, stream.hub.now(), random)
    }
}

/// A running `on_close`. The next connection is requested when it is dropped, so also if `on_close` panics. It borrows
/// everything: values of the application are not dropped while a panic unwinds.
struct Closing<'a, 's> {
    reconnector: &'a mut Reconnector,
    handler: &'a mut Box<dyn Handler>,
    stream: &'a mut Stream<'s>,
    reason: &'a CloseReason,
}

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        let Some((attempt, wait)) = self.reconnector.next(self.stream, self.reason) else { return };
        let handler = mem::replace(self.handler, Box::new(NoHandler));
        ClientStream::new(self.reconnector.clone(), handler, Some((attempt, wait))).dial(self.stream.hub);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_backoff_does_not_overflow() {
        let longest = Reconnect { initial_backoff: Duration::MAX, max_backoff: Duration::MAX, ..Reconnect::default() };
        let (_, wait) = Attempts::default().next(&longest, Instant::now(), u32::MAX).unwrap();
        assert!(wait >= Duration::from_secs(99 * 365 * 24 * 3600), "{wait:?}");
    }

    #[test]
    fn backoff_doubles_to_its_limit_and_starts_again_after_a_stable_connection() {
        let (policy, start) = (Reconnect::default(), Instant::now());
        let mut attempts = Attempts::default();
        let longest = |attempts: &mut Attempts, now| attempts.next(&policy, now, u32::MAX).unwrap();
        let backoffs: Vec<u64> = (0..8).map(|_| longest(&mut attempts, start).1.as_secs()).collect();
        assert_eq!(backoffs, [1, 2, 4, 8, 16, 32, 60, 60]);
        // A connection that was open for less than 30 seconds does not count as stable.
        attempts.note_open(start);
        assert_eq!(longest(&mut attempts, start + Duration::from_secs(29)).0, 9);
        attempts.note_open(start);
        assert_eq!(longest(&mut attempts, start + Duration::from_secs(30)), (1, Duration::from_secs(1)));
        assert_eq!(attempts.next(&policy, start, 0), Some((2, Duration::ZERO)));
        for _ in 0..100 {
            assert!(longest(&mut attempts, start).1 <= Duration::from_secs(60));
        }
    }

    #[test]
    fn reconnecting_ends_after_the_maximum_number_of_attempts() {
        let (policy, now) = (Reconnect { max_attempts: Some(2), ..Reconnect::default() }, Instant::now());
        let mut attempts = Attempts::default();
        let made: Vec<bool> = (0..4).map(|_| attempts.next(&policy, now, 7).is_some()).collect();
        assert_eq!(made, [true, true, false, false]);
    }
}
