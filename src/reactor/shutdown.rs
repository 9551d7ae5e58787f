//! Shutdown of the loop: graceful, then at once.

use std::{mem, time::Duration};

use super::{
    Reactor,
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
    /// Listeners are closed. Each handler's [`on_shutdown`](crate::StreamHandler::on_shutdown) is called: a WebSocket
    /// is closed with 1001, a raw stream once its output is written. [`Reactor::run`](crate::Reactor::run) returns when
    /// the last connection has ended. After `timeout` the remaining connections are terminated as by
    /// [`stop`](Self::stop).
    ///
    /// A second call can only shorten the time that is left. In a [group](crate::ReactorGroup) every reactor is shut
    /// down. If histories are kept, that begins when the first reactor has delivered what was published before.
    pub fn shutdown(&mut self, timeout: Duration) {
        if self.running == Running::Yes && self.has_sequencer_elsewhere() && !self.histories.is_empty() {
            self.tell_sequencer(move |hub| hub.shutdown(timeout));
            // In case that the first reactor is stuck.
            self.add_timer(timeout.min(MOST_PATIENCE), move |hub| hub.shutdown_here(timeout));
            return;
        }
        self.tell_others(move |hub| hub.shutdown_here(timeout));
        self.shutdown_here(timeout);
    }

    pub(super) fn shutdown_here(&mut self, timeout: Duration) {
        match self.running {
            Running::Yes => self.running = Running::ShutdownRequested(timeout),
            Running::ShutdownRequested(other) => self.running = Running::ShutdownRequested(timeout.min(other)),
            Running::ShuttingDown => {
                let end = self.after(timeout);
                if let Some(timer) = self.shutdown_timer
                    && self.timers.deadline(timer).is_some_and(|deadline| deadline > end)
                {
                    self.timers.reschedule(timer, end);
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
    pub(super) fn advance_shutdown(&mut self) {
        match self.hub.running {
            Running::ShutdownRequested(timeout) => {
                self.hub.note(Recording::on_activity);
                self.hub.running = Running::ShuttingDown;
                self.hub.shutdown_timer = Some(self.hub.timers.insert(self.hub.after(timeout), Task::EndShutdown));
                self.close_listeners();
                for key in self.inbounds.keys() {
                    if self.hub.outbounds[key].state.is_open() {
                        self.call(key, |handler, stream| handler.on_shutdown(stream));
                    }
                }
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

    /// Ends the loop if a shutdown is in progress, and neither a connection nor a work to wait for is left.
    #[inline]
    pub(super) fn finish_shutdown(&mut self) {
        if matches!(self.hub.running, Running::ShuttingDown | Running::Stopping) && self.hub.outbounds.is_empty() {
            self.end_loop();
        }
    }

    #[cold]
    fn end_loop(&mut self) {
        let awaits_works = self.hub.running == Running::ShuttingDown && self.config.shutdown_awaits_deferred;
        if awaits_works && !self.hub.works.is_empty() {
            return;
        }
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
