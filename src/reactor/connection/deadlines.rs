//! Deadlines of connections, and the end of slow readers.

use std::{
    mem,
    time::{Duration, Instant},
};

use crate::{
    net::Kernel,
    protocol::{ClosedBy, TimeoutKind},
    reactor::{
        Reactor,
        connection::{inbound::Inbound, output_rule::Passed, state::Phase},
        hub::Hub,
        id::ConnectionId,
        timer::task::Task,
    },
};

/// A deadline that is noticed so late passed while the process was stopped, or in a long turn.
const LATE: Duration = Duration::from_secs(1);

/// Wait before a deadline is judged again.
const JUDGE_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// Most turns for which the end of a closing connection waits for the connection to be read.
const MAX_LOOKS: u8 = 50;

impl Hub {
    /// Sets the deadline of the connection's current phase. Moving it to a later time costs nothing.
    pub(crate) fn set_deadline(&mut self, id: ConnectionId, deadline: Option<Instant>) {
        let Some(outbound) = self.outbounds.get_mut(id) else {
            return;
        };
        outbound.deadline = deadline;
        (outbound.deadline_is_for_tls, outbound.deadline_looks) = (false, 0);
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
        let passed = self.hub.outbounds[key].deadline.is_some_and(|at| at <= now);
        let waits = passed && !self.was_read_since(id);
        let Some(outbound) = self.hub.outbounds.get_mut(id).filter(|outbound| !outbound.state.is_closed()) else {
            return;
        };
        // The read may have moved the deadline.
        let passed = outbound.deadline.is_some_and(|at| at <= now);
        if passed && waits {
            if let Some(earlier) = outbound.deadline_timer.take() {
                self.hub.timers.cancel(earlier);
            }
            let timer = self.hub.timers.insert(now + JUDGE_AGAIN_AFTER, Task::Deadline(id));
            self.hub.outbounds[key].deadline_timer = Some(timer);
            return;
        }
        if passed {
            // The handler decides on a deadline of an open connection.
            let closing = (!outbound.state.is_open()).then_some(TimeoutKind::Closing);
            let securing = outbound.deadline_is_for_tls.then_some(TimeoutKind::Securing);
            let passed = self.connect_timeout_kind(id).or(securing).or(closing).map(ClosedBy::Timeout);
            let outbound = &mut self.hub.outbounds[key];
            (outbound.deadline, outbound.deadline_looks) = (None, 0);
            match passed {
                Some(by) => self.hub.mark_closed(key, by),
                None => {
                    self.call(key, |handler, stream| handler.on_deadline(stream));
                    // The write after the callback has left no output.
                    self.hub.callback.has_pinged = false;
                }
            }
        }
        self.hub.set_deadline_timer(key);
    }

    /// Reads the socket once before a deadline that has passed is judged: its event may still wait in the system, after
    /// a pause of the process or behind the events of many other connections. A socket that is being connected is asked
    /// for its result.
    ///
    /// Returns `false` if the budget of the turn does not suffice, and input is left. The connection is then read in
    /// the next turn.
    fn was_read_since(&mut self, id: ConnectionId) -> bool {
        let key = id.key();
        if self.hub.outbounds[key].state.is_connecting() {
            self.advance_attempts(id);
            return true;
        }
        let outbound = &mut self.hub.outbounds[key];
        outbound.deadline_looks = outbound.deadline_looks.saturating_add(1);
        let (looks, most) = (outbound.deadline_looks, if outbound.state.is_open() { u8::MAX } else { MAX_LOOKS });
        if looks == 1 {
            self.inbounds[key].readable = true;
            let handshaking = self.inbounds[key].transport.is_handshaking();
            self.reader.tls_step_allowed = handshaking && self.reader.take_tls_step();
            self.read_from(key);
            self.reader.tls_step_allowed = false;
        }
        // Steps of TLS handshakes wait in a queue of their own.
        let is_read = |inbound: &Inbound<K::Stream>| !(inbound.tls_queued || inbound.reread_queued);
        looks >= most || self.inbounds.get(key).is_none_or(is_read)
    }

    /// Checks whether the output of a connection has waited too long.
    fn check_output(&mut self, key: usize) -> Option<Passed> {
        let now = self.hub.now;
        let outbound = &mut self.hub.outbounds[key];
        let mut excused = false;
        if outbound.blocked
            && let Some(deadline) = outbound.rule_deadline().filter(|at| *at <= now)
        {
            // A system reports room only when there is much of it. A write shows how much the peer has really taken.
            outbound.unblock(&mut self.hub.pools);
            let before = outbound.unsent();
            self.flush(key);
            // After a pause of the process the peer has taken all that the socket held, which may be little.
            let late = now.saturating_duration_since(deadline) >= LATE;
            excused = late && self.hub.outbounds[key].unsent() < before;
        }
        self.hub.outbounds[key].check_rule(excused, now)
    }

    /// Terminates the connections closed as slow readers.
    #[inline]
    pub(in crate::reactor) fn terminate_slow_readers(&mut self) {
        if !self.hub.deferred.slow_readers.is_empty() {
            self.terminate_all_slow_readers();
        }
    }

    #[inline(never)]
    fn terminate_all_slow_readers(&mut self) {
        for id in mem::take(&mut self.hub.deferred.slow_readers) {
            if self.hub.phase(id) == Phase::Draining {
                self.flush(id.key());
                self.hub.mark_closed(id.key(), ClosedBy::SlowReader);
            }
        }
    }
}
