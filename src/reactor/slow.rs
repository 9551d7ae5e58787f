//! Turns that take too long: who is told of them.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{Hub, Reactor, id::ConnectionId, token::Token};
use crate::net::Kernel;

/// A turn that took longer than was allowed; see [`Reactor::on_slow_turn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowTurn {
    /// How long the turn took, the wait not counted.
    pub took: Duration,
    /// The connection that was worked on longest without a pause, and for how long: from before the read until its output had left. `None` if timers, ticks,
    /// commands of [`Remote`](crate::Remote)s or new connections had all of the turn.
    pub longest: Option<(ConnectionId, Duration)>,
}

/// What is called after slow turns.
type Tell = dyn FnMut(&mut Hub, SlowTurn);

/// Who wants to know of which turns.
pub(super) struct Watch {
    allowed: Duration,
    tell: Box<Tell>,
    /// Of this turn.
    longest: Option<(ConnectionId, Duration)>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Watch").field(&self.allowed).finish()
    }
}

impl<K: Kernel> Reactor<K> {
    /// Has `tell` called after each turn that took longer than `allowed`, with the connection that had most of it: a handler that blocks is found by its id. While this is
    /// set, the clock is looked at for each connection that has something to say.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ws_reactor::Reactor;
    /// # let mut reactor = Reactor::new()?;
    /// reactor.on_slow_turn(Duration::from_millis(20), |hub, slow| {
    ///     eprintln!("{:?} of {} connections: {:?}", slow.took, hub.stats().connections, slow.longest);
    /// });
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn on_slow_turn(&mut self, allowed: Duration, tell: impl FnMut(&mut Hub, SlowTurn) + 'static) {
        self.watch = Some(Watch { allowed, tell: Box::new(tell), longest: None });
    }

    /// When a piece of work begins, if it is to be timed.
    #[inline]
    pub(super) fn begin_work(&self) -> Option<Instant> {
        (self.config.time_callbacks || self.watch.is_some()).then_some(self.hub.now)
    }

    /// Notes how long a piece of work took, if that is wanted, and when the next begins.
    #[inline]
    pub(super) fn note_work(&mut self, since: Option<Instant>, token: Token) -> Option<Instant> {
        since.map(|since| self.time_work(since, token))
    }

    #[cold]
    fn time_work(&mut self, since: Instant, token: Token) -> Instant {
        let now = self.kernel.now();
        let took = now.duration_since(since);
        let stats = &mut self.hub.stats;
        stats.longest_callback = stats.longest_callback.max(took);
        if let (Token::Link(key), Some(watch)) = (token, &mut self.watch)
            && let Some(outbox) = self.hub.outboxes.get(key)
            && watch.longest.is_none_or(|(_, longest)| took > longest)
        {
            watch.longest = Some((outbox.id(key), took));
        }
        now
    }

    /// Notes how long the turn took, and tells of it if it was too long.
    #[inline]
    pub(super) fn note_turn(&mut self) {
        self.ended = self.kernel.now();
        let took = self.ended.duration_since(self.hub.now);
        self.hub.stats.longest_turn = self.hub.stats.longest_turn.max(took);
        if self.watch.is_some() {
            self.tell_if_slow(took);
        }
    }

    #[cold]
    fn tell_if_slow(&mut self, took: Duration) {
        let Some(mut watch) = self.watch.take() else { return };
        let longest = watch.longest.take();
        if took > watch.allowed {
            self.call_hub(|hub| (watch.tell)(hub, SlowTurn { took, longest }));
            self.ended = self.kernel.now();
        }
        self.watch = Some(watch);
    }
}
