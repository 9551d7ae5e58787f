//! Slow turns: measuring and reporting.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{Hub, Reactor, id::ConnectionId, turn_phase::TurnPhase};
use crate::net::Kernel;

/// Report about a turn that took longer than allowed; see [`Reactor::on_slow_turn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowTurn {
    /// Duration of the turn without the wait for events.
    pub took: Duration,
    /// The phase that took longest, with its duration.
    pub phase: (TurnPhase, Duration),
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
    /// Longest phase of this turn.
    phase: (TurnPhase, Duration),
    /// End of the last phase.
    phase_ended: Instant,
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Watch").field(&self.allowed).finish()
    }
}

impl<K: Kernel> Reactor<K> {
    /// Calls `callback` after each turn that took longer than `allowed`, with its longest phase and its longest
    /// callback. A handler that blocks is found by the id of its connection.
    ///
    /// A later call replaces the earlier one. The clock is read before and after each callback from now on, and after
    /// each phase that had work.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ws_reactor::Reactor;
    /// # let mut reactor = Reactor::new()?;
    /// reactor.on_slow_turn(Duration::from_millis(20), |_, slow| {
    ///     eprintln!("{:?}, most of it in {:?}; longest callback: {:?}", slow.took, slow.phase, slow.longest);
    /// });
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn on_slow_turn(&mut self, allowed: Duration, callback: impl FnMut(&mut Hub, SlowTurn) + 'static) {
        let phase = (TurnPhase::Closing, Duration::ZERO);
        let phase_ended = self.kernel.now();
        self.watch = Some(Watch { allowed, callback: Box::new(callback), longest: None, phase, phase_ended });
    }

    /// Begins to measure the phases of a turn. Input that was read while polling busily is the first.
    #[inline]
    pub(super) fn begin_phases(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.phase = (TurnPhase::Input, self.kernel.now().saturating_duration_since(self.hub.now));
            watch.phase_ended = self.hub.now + watch.phase.1;
        }
    }

    /// Notes the duration of a phase since the end of the one before.
    #[inline]
    pub(super) fn end_phase(&mut self, phase: TurnPhase) {
        if self.watch.is_some() {
            self.note_phase(phase);
        }
    }

    #[cold]
    fn note_phase(&mut self, phase: TurnPhase) {
        let Some(watch) = &mut self.watch else { return };
        let now = self.kernel.now();
        let took = now.saturating_duration_since(watch.phase_ended);
        watch.phase_ended = now;
        if took > watch.phase.1 {
            watch.phase = (phase, took);
        }
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
        self.hub.latencies.callback.record(took);
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
        self.hub.latencies.turn.record(took);
        if self.watch.is_some() {
            self.report_if_slow(took);
        }
    }

    #[cold]
    fn report_if_slow(&mut self, took: Duration) {
        let Some(mut watch) = self.watch.take() else { return };
        let (longest, phase) = (watch.longest.take(), watch.phase);
        if took > watch.allowed {
            self.call_hub(|hub| (watch.callback)(hub, SlowTurn { took, phase, longest }));
            self.ended = self.kernel.now();
        }
        self.watch = Some(watch);
    }
}
