//! Slow turns: measuring and reporting.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{Hub, Reactor, id::ConnectionId};
use crate::net::Kernel;

/// Report about a turn that took longer than allowed; see [`Reactor::on_slow_turn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowTurn {
    /// Duration of the turn without the wait for events.
    pub took: Duration,
    /// Longest callback of a connection, with its id and duration. `None` if no connection had a callback in this turn.
    ///
    /// The rest of `took` is other callbacks, timers, ticks, commands of [`Remote`](crate::Remote)s, and the reactor's
    /// own work: reading, writing, TLS, compression.
    pub longest: Option<(ConnectionId, Duration)>,
}

/// Callback for slow turns.
type Callback = dyn FnMut(&mut Hub, SlowTurn);

/// Callback and threshold of `on_slow_turn`.
pub(super) struct Watch {
    allowed: Duration,
    callback: Box<Callback>,
    /// Longest callback of this turn.
    longest: Option<(ConnectionId, Duration)>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Watch").field(&self.allowed).finish()
    }
}

impl<K: Kernel> Reactor<K> {
    /// Calls `callback` after each turn that took longer than `allowed`, with the longest callback of the turn. A
    /// handler that blocks is found by the id of its connection.
    ///
    /// A later call replaces the earlier one. The clock is read before and after each callback from now on.
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
    pub fn on_slow_turn(&mut self, allowed: Duration, callback: impl FnMut(&mut Hub, SlowTurn) + 'static) {
        self.watch = Some(Watch { allowed, callback: Box::new(callback), longest: None });
    }

    /// Start time of a callback, if callbacks are measured.
    #[inline]
    pub(super) fn begin_callback(&mut self) -> Option<Instant> {
        (self.config.time_callbacks || self.watch.is_some()).then(|| self.kernel.now())
    }

    /// Notes the duration of a callback.
    #[cold]
    pub(super) fn end_callback(&mut self, id: ConnectionId, began: Instant) {
        let took = self.kernel.now().duration_since(began);
        let stats = &mut self.hub.stats;
        stats.longest_callback = stats.longest_callback.max(took);
        if let Some(watch) = &mut self.watch
            && watch.longest.is_none_or(|(_, longest)| took > longest)
        {
            watch.longest = Some((id, took));
        }
    }

    /// Notes the duration of the turn, and reports a slow turn.
    #[inline]
    pub(super) fn end_turn(&mut self) {
        self.ended = self.kernel.now();
        let took = self.ended.duration_since(self.hub.now);
        self.hub.stats.longest_turn = self.hub.stats.longest_turn.max(took);
        if self.watch.is_some() {
            self.report_if_slow(took);
        }
    }

    #[cold]
    fn report_if_slow(&mut self, took: Duration) {
        let Some(mut watch) = self.watch.take() else { return };
        let longest = watch.longest.take();
        if took > watch.allowed {
            self.call_hub(|hub| (watch.callback)(hub, SlowTurn { took, longest }));
            self.ended = self.kernel.now();
        }
        self.watch = Some(watch);
    }
}
