//! Shutdown of the loop: graceful, then at once.

use super::{Reactor, hub::Running, recording::Recording, timer::task::Task, turn_phase::TurnPhase};
use crate::{net::Kernel, protocol::ClosedBy};

impl<K: Kernel> Reactor<K> {
    /// Takes the next step of a shutdown, if one is in progress.
    pub(super) fn advance_shutdown(&mut self) {
        match self.hub.running {
            Running::ShutdownRequested(timeout) => {
                self.hub.note(Recording::on_activity);
                self.hub.running = Running::ShuttingDown;
                self.shutdown_timer = Some(self.hub.timers.insert(self.hub.after(timeout), Task::EndShutdown));
                self.close_listeners();
                for key in self.inbounds.keys() {
                    if self.hub.outbounds[key].state.is_open() {
                        self.call(key, |handler, stream| handler.on_shutdown(stream));
                    }
                }
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

    /// Ends the loop if a shutdown is in progress and no connection is left.
    pub(super) fn finish_shutdown(&mut self) {
        if matches!(self.hub.running, Running::ShuttingDown | Running::Stopping) && self.hub.outbounds.is_empty() {
            if let Some(timer) = self.shutdown_timer.take() {
                self.hub.timers.cancel(timer);
            }
            // The last `on_close` may have called `stop`.
            self.close_listeners();
            self.hub.running = Running::Stopped;
        }
    }
}
