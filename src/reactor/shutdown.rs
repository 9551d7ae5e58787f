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
    pub(super) fn finish_shutdown(&mut self) {
        let awaits_works = self.hub.running == Running::ShuttingDown && self.config.shutdown_awaits_deferred;
        let is_ending = matches!(self.hub.running, Running::ShuttingDown | Running::Stopping);
        if is_ending && self.hub.outbounds.is_empty() && (!awaits_works || self.hub.works.is_empty()) {
            if let Some(timer) = self.shutdown_timer.take() {
                self.hub.timers.cancel(timer);
            }
            // The last `on_close` may have called `stop`.
            self.close_listeners();
            self.hub.running = Running::Stopped;
        }
    }
}
