//! Shutdown of the loop: graceful, then at once.

use std::{collections::VecDeque, mem, time::Duration};

use super::{
    Reactor, Turn,
    farewell::{Farewell, Shutdown},
    hub::{Hub, Running},
    recording::Recording,
    timer::task::Task,
    turn_phase::TurnPhase,
};
use crate::{net::Kernel, protocol::ClosedBy};

/// Longest time for which a reactor waits for the first one of its group before it shuts down by itself.
const MOST_PATIENCE: Duration = Duration::from_millis(500);

impl Hub {
    /// Ends the loop without closing handshakes.
    ///
    /// Listeners are closed, queued output is written once as far as the sockets take it, every connection is
    /// terminated, and every `on_close` is called. Then [`Reactor::run`](crate::Reactor::run) returns.
    ///
    /// In a [group](crate::ReactorGroup) every reactor is stopped.
    pub fn stop(&mut self) {
        self.tell_others(Hub::stop_here);
        self.stop_here();
    }

    fn stop_here(&mut self) {
        self.running = Running::Stopping;
    }

    /// Ends the loop gracefully, within at most `timeout`.
    ///
    /// Listeners are closed. A WebSocket is closed with 1001, behind its queued output, and `on_close` follows. The
    /// handler of a raw stream gets [`on_shutdown`](crate::StreamHandler::on_shutdown), which by default closes the
    /// stream once its output is written. [`Reactor::run`](crate::Reactor::run) returns when
    /// the last connection has ended. After `timeout` the remaining connections are terminated as by
    /// [`stop`](Self::stop).
    ///
    /// A second call can only shorten the time that is left. In a [group](crate::ReactorGroup) every reactor is shut
    /// down. If histories are kept, that begins when the first reactor has delivered what was published before.
    pub fn shutdown(&mut self, timeout: Duration) {
        self.shutdown_over(Duration::ZERO, timeout);
    }

    /// As [`shutdown`](Self::shutdown), with the connections closed one after another over the time `spread`, which is
    /// a part of `timeout`: so that thousands of clients do not connect to another server at the same moment.
    ///
    /// Listeners are closed at once, and what is connected is served until its turn comes. Connections that end by
    /// themselves meanwhile make the rest no faster.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use ws_reactor::Reactor;
    ///
    /// let mut reactor = Reactor::new()?;
    /// // When a new version is deployed: a minute for all, of which the clients are told in half of it.
    /// reactor.remote().run(|hub| hub.shutdown_over(Duration::from_secs(30), Duration::from_secs(60)))?;
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown_over(&mut self, spread: Duration, timeout: Duration) {
        let shutdown = Shutdown { spread: spread.min(timeout), timeout };
        let has_sequenced = !self.histories.is_empty() || self.backplane_rules.hold_some();
        if self.running == Running::Yes && self.has_sequencer_elsewhere() && has_sequenced {
            self.tell_sequencer(move |hub| hub.shutdown_over(spread, timeout));
            // In case that the first reactor is stuck.
            self.add_timer(timeout.min(MOST_PATIENCE), move |hub| hub.shutdown_here(shutdown));
            return;
        }
        if self.running == Running::Yes && self.may_hold() {
            // Held messages are for clients that are connected now.
            self.next_tick(move |hub| {
                hub.release_held();
                hub.shutdown_all(shutdown);
            });
            return;
        }
        self.shutdown_all(shutdown);
    }

    /// Ends the loops of all reactors.
    fn shutdown_all(&mut self, shutdown: Shutdown) {
        self.tell_others(move |hub| hub.shutdown_here(shutdown));
        self.shutdown_here(shutdown);
    }

    pub(super) fn shutdown_here(&mut self, shutdown: Shutdown) {
        match self.running {
            Running::Yes => self.running = Running::ShutdownRequested(shutdown),
            Running::ShutdownRequested(other) => {
                let (spread, timeout) = (shutdown.spread.min(other.spread), shutdown.timeout.min(other.timeout));
                self.running = Running::ShutdownRequested(Shutdown { spread, timeout });
            }
            Running::ShuttingDown => {
                let (end, closed) = (self.after(shutdown.timeout), self.after(shutdown.spread));
                if let Some(timer) = self.shutdown_timer
                    && self.timers.deadline(timer).is_some_and(|deadline| deadline > end)
                {
                    self.timers.reschedule(timer, end);
                }
                if let Some(farewell) = self.farewell.as_mut().filter(|farewell| farewell.end > closed) {
                    farewell.end = closed;
                    self.timers.insert(self.now, Task::Farewell);
                }
            }
            Running::Stopping | Running::Stopped => {}
        }
    }

    /// Calls `call` once when the loop has ended, after the last `on_close` and before [`run`](crate::Reactor::run)
    /// returns. The function that was added last is called first (EventMachine's `add_shutdown_hook`).
    pub fn add_shutdown_hook(&mut self, call: impl FnOnce(&mut Hub) + 'static) {
        self.shutdown_hooks.push(Box::new(call));
    }
}

impl<K: Kernel> Reactor<K> {
    /// Takes the next step of a shutdown, if one is in progress.
    #[cold]
    pub(super) fn advance_shutdown(&mut self) {
        match self.hub.running {
            Running::ShutdownRequested(Shutdown { spread, timeout }) => {
                self.hub.note(Recording::on_activity);
                self.hub.running = Running::ShuttingDown;
                self.hub.shutdown_timer = Some(self.hub.timers.insert(self.hub.after(timeout), Task::EndShutdown));
                self.close_listeners();
                let waiting: VecDeque<_> =
                    self.inbounds.keys().into_iter().map(|key| self.hub.outbounds[key].id).collect();
                let (begin, end) = (self.hub.now, self.hub.after(spread));
                self.hub.farewell = Some(Box::new(Farewell::new(begin, end, waiting)));
                self.say_farewell();
                self.shut_down_sources();
                self.end_phase(TurnPhase::Accepting);
            }
            Running::Stopping => {
                self.close_listeners();
                self.write_all();
                for key in self.inbounds.keys() {
                    self.hub.mark_closed(key, ClosedBy::Shutdown);
                }
            }
            Running::Yes | Running::ShuttingDown | Running::Stopped => {}
        }
    }

    /// Calls `on_shutdown` of the handlers whose turn it is by now, and schedules the others.
    pub(super) fn say_farewell(&mut self) {
        let now = self.hub.now;
        let Some(due) = self.hub.farewell.as_ref().map(|farewell| farewell.due(now)) else { return };
        for _ in 0..due {
            let Some(id) = self.hub.farewell.as_mut().and_then(|farewell| farewell.waiting.pop_front()) else { break };
            if self.hub.outbound(id).is_some_and(|outbound| outbound.state.is_open()) {
                self.call(id.key(), |handler, stream| handler.on_shutdown(stream));
            }
        }
        match self.hub.farewell.as_ref().filter(|farewell| !farewell.waiting.is_empty()) {
            Some(farewell) => _ = self.hub.timers.insert(farewell.next(now), Task::Farewell),
            None => self.hub.farewell = None,
        }
    }

    /// Ends the loop if a shutdown is in progress, and neither a connection nor a work to wait for is left.
    #[cold]
    pub(super) fn finish_shutdown(&mut self) -> Turn {
        if matches!(self.hub.running, Running::ShuttingDown | Running::Stopping) && self.hub.outbounds.is_empty() {
            self.end_loop();
        }
        if self.hub.running == Running::Stopped { Turn::Stopped } else { Turn::Running }
    }

    #[cold]
    fn end_loop(&mut self) {
        let awaits_works = self.hub.running == Running::ShuttingDown && self.config.shutdown_awaits_deferred;
        if awaits_works && !self.hub.works.is_empty() {
            return;
        }
        self.hub.farewell = None;
        if let Some(timer) = self.hub.shutdown_timer.take() {
            self.hub.timers.cancel(timer);
        }
        // The last `on_close` may have called `stop`.
        self.close_listeners();
        for hook in mem::take(&mut self.hub.shutdown_hooks).into_iter().rev() {
            self.call_hub(hook);
        }
        self.remove_sources();
        self.hub.running = Running::Stopped;
    }
}
