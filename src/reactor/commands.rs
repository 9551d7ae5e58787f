//! Commands of other threads.

use std::{any::Any, mem, rc::Rc};

use super::{Reactor, connection::state::Phase, remote::Command};
use crate::net::Kernel;

impl<K: Kernel> Reactor<K> {
    /// Executes commands of other threads within the budget.
    #[inline]
    pub(super) fn run_commands(&mut self) {
        if !self.commands.is_empty() || self.hub.command_queue.is_waiting() {
            self.run_waiting_commands();
        }
    }

    #[inline(never)]
    fn run_waiting_commands(&mut self) {
        if self.commands.is_empty() {
            // The command queue and this queue swap their buffers.
            let mut commands = Vec::from(mem::take(&mut self.commands));
            self.hub.command_queue.drain(&mut commands);
            self.commands = commands.into();
        }
        for _ in 0..self.config.command_budget.max(1) {
            if self.hub.deliveries_left == 0 {
                return;
            }
            let Some(command) = self.commands.pop_front() else { return };
            match command {
                Command::Run(call) => drop(self.call_hub(call)),
                Command::Send(id, message) => drop(self.hub.send(id, message)),
                Command::Publish(topic, message) => drop(self.hub.publish(&topic, message)),
                Command::Close(id, code, reason) => drop(self.hub.close(id, code, &reason)),
                Command::Notify(id, event) => drop(self.hub.notify_boxed(id, event)),
                Command::NotifyTopic(topic, event) => {
                    _ = self.hub.notify_topic_shared(&topic, Rc::from(event as Box<dyn Any>));
                }
                Command::Wake(id) if self.hub.phase(id) == Phase::Open => {
                    self.call(id.key(), |handler, stream| handler.on_wake(stream));
                }
                Command::Wake(_) => {}
            }
        }
    }
}
