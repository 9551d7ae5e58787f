//! Duties of the loop besides moving bytes: commands, timers, ticks, trimming and shutdown.

use std::{any::Any, collections::VecDeque, mem, rc::Rc, time::Duration};

use super::{
    Reactor,
    ending::timeout_in,
    hub::Running,
    id::{ConnectionId, TimerId},
    outbox::Phase,
    output_rule::Passed,
    remote::Command,
    task::{Periodic, Task, following},
};
use crate::{net::Kernel, protocol::ClosedBy};

/// Interval of trim passes.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// A larger capacity for commands is trimmed.
const MANY_COMMANDS: usize = 4096;

/// Trim passes after excess memory was found.
const TRIM_PASSES: u32 = 4;

impl<K: Kernel> Reactor<K> {
    /// Executes commands of other threads within the budget.
    pub(super) fn run_commands(&mut self) {
        if self.commands.is_empty() {
            if !self.hub.inbox.is_waiting() {
                return;
            }
            // The command queue and this queue swap their buffers.
            let mut commands = Vec::from(mem::take(&mut self.commands));
            self.hub.inbox.drain(&mut commands);
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

    /// Calls the ticks that were waiting before this call, within the budget. Ticks added meanwhile wait for the next
    /// turn.
    pub(super) fn run_ticks(&mut self) {
        for _ in 0..self.hub.deferred.ticks.len().min(self.config.timer_budget.max(1)) {
            if self.hub.deliveries_left > 0
                && let Some(tick) = self.hub.deferred.ticks.pop_front()
            {
                self.call_hub(tick);
            }
        }
    }

    /// Calls the timers that are due, within the budget.
    pub(super) fn fire_timers(&mut self) {
        for _ in 0..self.config.timer_budget.max(1) {
            if self.hub.deliveries_left == 0 {
                return;
            }
            let Some(timer) = self.hub.timers.next_due(self.hub.now) else { return };
            self.fire(timer);
        }
    }

    fn fire(&mut self, timer: TimerId) {
        let Some(task) = self.hub.timers.value_mut(timer) else { return };
        if let Task::Periodic(interval) = task {
            let call = interval.call.take();
            return self.fire_periodic(timer, call);
        }
        if let Task::ConnectionInterval(interval) = task {
            let (id, next) = (interval.id, interval.advance(self.hub.now));
            self.hub.timers.reschedule(timer, next);
            if self.hub.phase(id) == Phase::Open {
                self.call(id.key(), |handler, stream| handler.on_timer(stream, timer));
            }
            return;
        }
        match self.hub.timers.cancel(timer) {
            Some(Task::Deadline(id)) => self.check_deadlines(id),
            Some(Task::Connection(id)) => self.fire_connection_timer(id, timer),
            Some(Task::ConnectionInterval(_)) => {}
            Some(Task::Once(Some(call))) => drop(self.call_hub(call)),
            Some(Task::Listener(id)) => self.unpark(id),
            Some(Task::Dial(id)) => self.look_up(id),
            Some(Task::NextAddress(id)) => self.try_next_address(id),
            Some(Task::Trim) => self.trim(),
            Some(Task::EndShutdown) => self.hub.running = Running::Stopping,
            Some(Task::Once(None) | Task::Periodic(_)) | None => {}
        }
    }

    fn fire_periodic(&mut self, timer: TimerId, call: Option<Periodic>) {
        let Some(mut call) = call else { return };
        let whole = self.call_hub(&mut call).is_some();
        let now = self.hub.now;
        // The call may have cancelled its own timer. A function that panicked is not called again, because its state
        // may be broken.
        let Some(Task::Periodic(interval)) = self.hub.timers.value_mut(timer) else { return };
        if !whole {
            self.hub.timers.cancel(timer);
            return;
        }
        interval.call = Some(call);
        let next = following(&mut interval.next, interval.every, now);
        self.hub.timers.reschedule(timer, next);
    }

    fn fire_connection_timer(&mut self, id: ConnectionId, timer: TimerId) {
        self.hub.forget_timer(id, timer);
        if self.hub.phase(id) == Phase::Open {
            self.call(id.key(), |handler, stream| handler.on_timer(stream, timer));
        }
    }

    /// Finds the deadline of a connection that has passed, and acts on it.
    fn check_deadlines(&mut self, id: ConnectionId) {
        let key = id.key();
        let now = self.hub.now;
        let Some(outbox) = self.hub.outboxes.get_mut(id) else {
            return;
        };
        outbox.deadline_timer = None;
        if outbox.phase == Phase::Closed {
            return;
        }
        match self.check_output(key) {
            Some(Passed::Stalled) => return self.hub.abort_slow_reader(id),
            Some(Passed::ReadAnyway) => self.hub.deferred.reread.push(key),
            None => {}
        }
        let outbox = &mut self.hub.outboxes[key];
        if outbox.deadline.is_some_and(|at| at <= now) {
            let passed = timeout_in(outbox.phase);
            let passed = self.connect_timeout_kind(id).map(ClosedBy::Timeout).or(passed);
            self.hub.outboxes[key].deadline = None;
            match passed {
                Some(by) => self.hub.mark_closed(key, by),
                None => drop(self.call(key, |handler, stream| handler.on_deadline(stream))),
            }
        }
        self.hub.set_deadline_timer(key);
    }

    /// Checks whether the output of a connection has waited too long.
    fn check_output(&mut self, key: usize) -> Option<Passed> {
        let outbox = &mut self.hub.outboxes[key];
        if outbox.blocked && outbox.rule_deadline().is_some_and(|at| at <= self.hub.now) {
            // A system reports room only when there is much of it. A write shows how much the peer has really taken.
            outbox.blocked = false;
            self.flush(key);
        }
        let (outbox, now) = (&mut self.hub.outboxes[key], self.hub.now);
        let (timeout, suspended, waiting) =
            (outbox.config.output.stall_timeout, outbox.is_suspended(), outbox.buffered());
        let blocked = outbox.blocked;
        let rule = outbox.rule_mut()?;
        if !blocked {
            // The socket has room: the output waits for the compressor, or for the writes of this turn.
            rule.excuse(waiting, now);
        }
        rule.on_time(timeout, suspended, now)
    }

    /// Terminates the connections closed as slow readers.
    pub(super) fn terminate_slow_readers(&mut self) {
        for id in mem::take(&mut self.hub.deferred.slow_readers) {
            if self.hub.phase(id) == Phase::Draining {
                self.flush(id.key());
                self.hub.mark_closed(id.key(), ClosedBy::SlowReader);
            }
        }
    }

    /// Takes the next step of a shutdown, if one is in progress.
    pub(super) fn advance_shutdown(&mut self) {
        match self.hub.running {
            Running::ShutdownRequested(timeout) => {
                self.hub.running = Running::ShuttingDown;
                self.shutdown_timer = Some(self.hub.timers.insert(self.hub.after(timeout), Task::EndShutdown));
                self.close_listeners();
                for key in self.keys() {
                    if self.hub.outboxes[key].phase == Phase::Open {
                        self.call(key, |handler, stream| handler.on_shutdown(stream));
                    }
                }
            }
            Running::Stopping => {
                self.close_listeners();
                self.flush_oldest(usize::MAX);
                for key in self.keys() {
                    self.hub.mark_closed(key, ClosedBy::Shutdown);
                }
            }
            Running::Yes | Running::ShuttingDown | Running::Stopped => {}
        }
    }

    /// Schedules trim passes if much memory is unused.
    pub(super) fn schedule_trim(&mut self) {
        if self.trim_passes == 0 && self.has_excess() {
            self.trim_passes = TRIM_PASSES;
            self.hub.timers.insert(self.hub.after(TRIM_INTERVAL), Task::Trim);
        }
    }

    fn has_excess(&self) -> bool {
        self.hub.pools.has_excess() || self.commands.capacity() > MANY_COMMANDS
    }

    /// Frees memory that was not needed for a while. Lists that were allocated among freed memory are reallocated, so
    /// that the allocator can return the memory to the system.
    fn trim(&mut self) {
        self.trim_passes = if self.has_excess() { TRIM_PASSES } else { self.trim_passes - 1 };
        if self.commands.is_empty() {
            self.commands = VecDeque::new();
            self.hub.inbox.trim();
        }
        if self.hub.pools.trim() {
            self.events.shrink_to_fit();
            self.reader.shrink();
            self.links.shrink();
            self.hub.deferred.shrink();
            self.hub.shrink_excess();
            self.hub.outboxes.shrink();
        }
        if self.trim_passes > 0 {
            self.hub.timers.insert(self.hub.after(TRIM_INTERVAL), Task::Trim);
        }
    }

    /// Ends the loop if a shutdown is in progress and no connection is left.
    pub(super) fn finish_shutdown(&mut self) {
        if matches!(self.hub.running, Running::ShuttingDown | Running::Stopping) && self.hub.outboxes.is_empty() {
            if let Some(timer) = self.shutdown_timer.take() {
                self.hub.timers.cancel(timer);
            }
            // The last `on_close` may have called `stop`.
            self.close_listeners();
            self.hub.running = Running::Stopped;
        }
    }

    fn keys(&self) -> Vec<usize> {
        self.links.keys()
    }
}
