//! Deadlines of connections, and the end of slow readers.

use std::{mem, time::Instant};

use crate::{
    net::Kernel,
    protocol::{ClosedBy, TimeoutKind},
    reactor::{
        Reactor,
        connection::{output_rule::Passed, state::Phase},
        hub::Hub,
        id::ConnectionId,
        timer::task::Task,
    },
};

impl Hub {
    /// Sets the deadline of the connection's current phase. Moving it to a later time costs nothing.
    pub(crate) fn set_deadline(&mut self, id: ConnectionId, deadline: Option<Instant>) {
        let Some(outbound) = self.outbounds.get_mut(id) else {
            return;
        };
        (outbound.deadline, outbound.deadline_is_for_tls) = (deadline, false);
        self.set_deadline_timer(id.key());
    }

    /// Keeps the timer no later than the connection's next deadline. A timer that fires early is set again then.
    pub(super) fn set_deadline_timer(&mut self, key: usize) {
        let outbound = &mut self.outbounds[key];
        let Some(next) = outbound.deadline.into_iter().chain(outbound.rule_deadline()).min() else {
            if let Some(timer) = outbound.deadline_timer.take() {
                self.timers.cancel(timer);
            }
            return;
        };
        match outbound.deadline_timer {
            Some(timer) if self.timers.deadline(timer).is_some_and(|at| at <= next) => {}
            Some(timer) => _ = self.timers.reschedule(timer, next),
            None => outbound.deadline_timer = Some(self.timers.insert(next, Task::Deadline(outbound.id))),
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Finds the deadline of a connection that has passed, and acts on it.
    pub(in crate::reactor) fn check_deadlines(&mut self, id: ConnectionId) {
        let key = id.key();
        let now = self.hub.now;
        let Some(outbound) = self.hub.outbounds.get_mut(id) else {
            return;
        };
        outbound.deadline_timer = None;
        if outbound.state.is_closed() {
            return;
        }
        match self.check_output(key) {
            Some(Passed::Stalled) => return self.hub.abort_slow_reader(id),
            Some(Passed::ReadAnyway) => self.hub.deferred.reread.push(key),
            None => {}
        }
        let outbound = &mut self.hub.outbounds[key];
        if outbound.deadline.is_some_and(|at| at <= now) {
            // The handler decides on a deadline of an open connection.
            let closing = (!outbound.state.is_open()).then_some(TimeoutKind::Closing);
            let passed = self.connect_timeout_kind(id).or(closing).map(ClosedBy::Timeout);
            self.hub.outbounds[key].deadline = None;
            match passed {
                Some(by) => self.hub.mark_closed(key, by),
                None => self.call(key, |handler, stream| handler.on_deadline(stream)),
            }
        }
        self.hub.set_deadline_timer(key);
    }

    /// Checks whether the output of a connection has waited too long.
    fn check_output(&mut self, key: usize) -> Option<Passed> {
        let outbound = &mut self.hub.outbounds[key];
        if outbound.blocked && outbound.rule_deadline().is_some_and(|at| at <= self.hub.now) {
            // A system reports room only when there is much of it. A write shows how much the peer has really taken.
            outbound.blocked = false;
            self.flush(key);
        }
        let (outbound, now) = (&mut self.hub.outbounds[key], self.hub.now);
        let (timeout, suspended, waiting) =
            (outbound.config.output.stall_timeout, outbound.state.is_held_by_output(), outbound.buffered());
        let blocked = outbound.blocked;
        let rule = outbound.rule_mut()?;
        if !blocked {
            // The socket has room: the output waits for the compressor, or for the writes of this turn.
            rule.excuse(waiting, now);
        }
        rule.on_time(timeout, suspended, now)
    }

    /// Terminates the connections closed as slow readers.
    pub(in crate::reactor) fn terminate_slow_readers(&mut self) {
        for id in mem::take(&mut self.hub.deferred.slow_readers) {
            if self.hub.phase(id) == Phase::Draining {
                self.flush(id.key());
                self.hub.mark_closed(id.key(), ClosedBy::SlowReader);
            }
        }
    }
}
