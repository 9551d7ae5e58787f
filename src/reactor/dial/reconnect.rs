//! Reconnecting: the policy of outgoing connections, and their attempts in a row.
//!
//! Pure: time and randomness are arguments.

use std::time::{Duration, Instant};

use crate::{error::Refusal, protocol::CloseReason, reactor::dial::target::Target, setters::setters};

/// Reconnect policy of an outgoing connection, for [`Client::reconnect`](crate::Client::reconnect) and, on raw streams,
/// [`StreamConfig::reconnect`](field@crate::StreamConfig::reconnect).
///
/// The wait before an attempt is random, between zero and a bound. The bound starts at `initial_backoff`, doubles with
/// each attempt in a row, and ends at `max_backoff` ("full jitter"). The randomness spreads the reconnects of many
/// clients that lose one server. After a connection that lasted `stable_after`, the count starts again.
///
/// A server that refuses with 429 or 503 may name a wait (`Retry-After`, RFC 9110 §10.2.3). The random wait is added to
/// it. More than an hour counts as an hour.
///
/// The connection keeps its id. `on_reconnect` of the handler is called before each wait, and may end the client. It is
/// also asked where the policy ends: after close code 1000, and after the last of `max_attempts`.
///
/// ```
/// use std::time::Duration;
/// use ws_reactor::{Callbacks, Client, Reconnect};
///
/// let policy = Reconnect::new().max_backoff(Duration::from_secs(10));
/// let client = Client::new(Callbacks::new()).reconnect(policy);
/// ```
///
/// A raw stream:
///
/// ```no_run
/// # struct Line;
/// # impl ws_reactor::StreamHandler for Line {}
/// use ws_reactor::{Reactor, Reconnect, StreamConfig};
///
/// let mut reactor = Reactor::new()?;
/// let config = StreamConfig::new().reconnect(Some(Reconnect::new()));
/// reactor.connect_stream_with("127.0.0.1:9000", config, Line)?;
/// # Ok::<(), ws_reactor::Error>(())
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
    /// Maximum number of attempts in a row. Default `None`: no limit. After the last one `on_reconnect` is called with
    /// the default [`Retry::No`], and may go on.
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

/// An attempt to reconnect that is about to begin, for `on_reconnect`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Attempt<'a> {
    /// Number of the attempt in a row, from 1.
    pub number: u32,
    /// Wait before the attempt.
    pub wait: Duration,
    /// How the last connection ended.
    pub reason: &'a CloseReason,
    /// The response, if the server refused the last connection.
    pub refusal: Option<&'a Refusal>,
    /// The answer of the default `on_reconnect`: [`Retry::No`] if another attempt would most likely fail the same way.
    ///
    /// - The server or an HTTP proxy refused with a status from 400 to 499, except 408, 425 and 429.
    /// - The proxy requires other credentials.
    /// - The scheme does not fit the port, and the server says so by a TLS alert or by plain HTTP.
    /// - This client cannot write its request.
    /// - The server closed the connection with 1000.
    /// - The last of [`max_attempts`](field@Reconnect::max_attempts) failed.
    ///
    /// A certificate that is not trusted, or an invalid response, may be replaced while the client tries again.
    pub default: Retry,
}

/// Answer of `on_reconnect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Retry {
    /// Connect again after the wait.
    Yes,
    /// End the client. No further method of the handler is called.
    No,
}

/// Cap of a wait, 100 years: `Duration::MAX` as a float cannot be converted back.
const LONGEST_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Longest wait that a server may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Attempts in a row.
#[derive(Debug, Default)]
struct Attempts {
    made: u32,
    opened: Option<Instant>,
}

impl Attempts {
    /// The number of the next attempt, from 1, the wait before it, drawn by `random`, and the policy's decision.
    fn next(&mut self, policy: &Reconnect, now: Instant, random: u32) -> (u32, Duration, Retry) {
        if self.opened.take().is_some_and(|opened| now.duration_since(opened) >= policy.stable_after) {
            self.made = 0;
        }
        let is_last = policy.max_attempts.is_some_and(|most| self.made >= most);
        let doubled = policy.initial_backoff.saturating_mul(1 << self.made.min(30));
        self.made = self.made.saturating_add(1);
        let share = f64::from(random) / f64::from(u32::MAX);
        let wait = doubled.min(policy.max_backoff).min(LONGEST_WAIT).mul_f64(share);
        (self.made, wait, if is_last { Retry::No } else { Retry::Yes })
    }
}

/// The state of an outgoing connection that outlives each of its connections.
#[derive(Debug)]
pub(in crate::reactor) struct Reconnection {
    policy: Reconnect,
    /// The first target: each reconnect begins there.
    home: Target,
    attempts: Attempts,
    /// Wait that the server has asked for.
    retry_after: Duration,
    /// Number of the current connection, from 0. Events of the application for an earlier one are not delivered.
    life: u32,
    /// Place in the command queue at which the current connection opened. Earlier commands were meant for an earlier
    /// connection.
    first_command: u64,
    /// Between two connections: from the end of one until the next is open.
    away: bool,
    /// `on_reconnect` has ended the client: the handler is not called any more.
    declined: bool,
}

impl Reconnection {
    pub(super) fn new(policy: Reconnect, home: Target) -> Self {
        Reconnection {
            policy,
            home,
            attempts: Attempts::default(),
            retry_after: Duration::ZERO,
            life: 0,
            first_command: 0,
            away: false,
            declined: false,
        }
    }

    pub(in crate::reactor) fn life(&self) -> u32 {
        self.life
    }

    pub(in crate::reactor) fn is_away(&self) -> bool {
        self.away
    }

    pub(in crate::reactor) fn is_declined(&self) -> bool {
        self.declined
    }

    /// Returns `true` if a command at this place of the queue was meant for an earlier connection.
    pub(in crate::reactor) fn precedes(&self, command: u64) -> bool {
        command < self.first_command
    }

    pub(super) fn home(&self) -> &Target {
        &self.home
    }

    /// A connection is open. `commands`: the place of the next command in the queue.
    pub(super) fn on_open(&mut self, commands: u64, now: Instant) {
        self.attempts.opened = Some(now);
        self.away = false;
        if self.life > 0 {
            self.first_command = commands;
        }
    }

    /// Has the next attempt wait at least so long, as the server has asked.
    pub(super) fn set_retry_after(&mut self, wait: Duration) {
        self.retry_after = wait.min(MAX_RETRY_AFTER);
    }

    /// `on_reconnect` has ended the client.
    pub(super) fn decline(&mut self) {
        self.declined = true;
    }

    /// Number of the next attempt, the wait before it, and the policy's decision.
    pub(super) fn next(&mut self, now: Instant, random: u32) -> (u32, Duration, Retry) {
        let (number, wait, decision) = self.attempts.next(&self.policy, now, random);
        self.life += 1;
        self.away = true;
        (number, wait.saturating_add(std::mem::take(&mut self.retry_after)), decision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_backoff_does_not_overflow() {
        let longest = Reconnect { initial_backoff: Duration::MAX, max_backoff: Duration::MAX, ..Reconnect::default() };
        let (_, wait, _) = Attempts::default().next(&longest, Instant::now(), u32::MAX);
        assert!(wait >= Duration::from_secs(99 * 365 * 24 * 3600), "{wait:?}");
    }

    #[test]
    fn backoff_doubles_to_its_limit_and_starts_again_after_a_stable_connection() {
        let (policy, start) = (Reconnect::default(), Instant::now());
        let mut attempts = Attempts::default();
        let longest = |attempts: &mut Attempts, now| attempts.next(&policy, now, u32::MAX);
        let backoffs: Vec<u64> = (0..8).map(|_| longest(&mut attempts, start).1.as_secs()).collect();
        assert_eq!(backoffs, [1, 2, 4, 8, 16, 32, 60, 60]);
        // A connection that was open for less than 30 seconds does not count as stable.
        attempts.opened = Some(start);
        assert_eq!(longest(&mut attempts, start + Duration::from_secs(29)).0, 9);
        attempts.opened = Some(start);
        assert_eq!(longest(&mut attempts, start + Duration::from_secs(30)), (1, Duration::from_secs(1), Retry::Yes));
        assert_eq!(attempts.next(&policy, start, 0), (2, Duration::ZERO, Retry::Yes));
        for _ in 0..100 {
            assert!(longest(&mut attempts, start).1 <= Duration::from_secs(60));
        }
    }

    #[test]
    fn policy_ends_after_the_maximum_number_of_attempts() {
        let (policy, now) = (Reconnect { max_attempts: Some(2), ..Reconnect::default() }, Instant::now());
        let mut attempts = Attempts::default();
        let decisions: Vec<Retry> = (0..4).map(|_| attempts.next(&policy, now, 7).2).collect();
        assert_eq!(decisions, [Retry::Yes, Retry::Yes, Retry::No, Retry::No]);
    }
}
