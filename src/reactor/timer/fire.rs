//! Ticks and timers that are due.

use crate::{
    net::Kernel,
    reactor::{
        Reactor,
        connection::state::Phase,
        hub::Running,
        id::{ConnectionId, TimerId},
        recording::Recording,
        share::Share,
        timer::task::{Periodic, Task, following},
        turn_phase::TurnPhase,
    },
};

/// Calls of the application after which the time is looked at.
const CALLS_PER_LOOK: usize = 4;

impl<K: Kernel> Reactor<K> {
    /// Calls the ticks that were waiting before this call, within the budget. Ticks added meanwhile wait for the next
    /// turn.
    #[inline]
    pub(in crate::reactor) fn run_ticks(&mut self) {
        if !self.hub.deferred.ticks.is_empty() {
            self.run_waiting_ticks();
            self.end_phase(TurnPhase::Timers);
        }
    }

    #[inline(never)]
    fn run_waiting_ticks(&mut self) {
        self.hub.note(Recording::on_activity);
        let waiting = self.hub.deferred.ticks.len().min(self.config.timer_budget.max(1));
        let mut share = Share::of_long(waiting, CALLS_PER_LOOK);
        while self.hub.deliveries_left > 0
            && share.take(&self.hub.time_slice)
            && let Some(tick) = self.hub.deferred.ticks.pop_front()
        {
            self.call_hub(tick);
        }
    }

    /// Calls the timers that are due, within the budget.
    #[inline]
    pub(in crate::reactor) fn fire_timers(&mut self) {
        if self.hub.timers.next_deadline().is_some_and(|next| next <= self.hub.now) {
            self.fire_due_timers();
            self.end_phase(TurnPhase::Timers);
        }
    }

    #[inline(never)]
    fn fire_due_timers(&mut self) {
        self.hub.note(Recording::on_activity);
        let mut share = Share::of_long(self.config.timer_budget, CALLS_PER_LOOK);
        while self.hub.deliveries_left > 0 && share.take(&self.hub.time_slice) {
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
        if let Task::Idle(_) = task {
            return self.check_idle(timer);
        }
        match self.hub.timers.cancel(timer) {
            Some(Task::Deadline(id)) => self.check_deadlines(id),
            Some(Task::Connection(id)) => self.fire_connection_timer(id, timer),
            Some(Task::Once(Some(call))) => drop(self.call_hub(call)),
            Some(Task::Listener(id)) => self.listeners.unpark(id),
            Some(Task::Dial(id)) => self.begin_dial(id),
            Some(Task::NextAddress(id)) => self.try_next_address(id),
            Some(Task::Trim) => self.run_trim_pass(),
            Some(Task::EndShutdown) => self.hub.running = Running::Stopping,
            Some(Task::Farewell) => self.say_farewell(),
            Some(Task::Once(None) | Task::Periodic(_) | Task::ConnectionInterval(_) | Task::Idle(_)) | None => {}
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
}
