//! Deadlines of connections, and the end of slow readers.

use std::mem;

use super::{Reactor, ending::timeout_in, id::ConnectionId, outbox::Phase, output_rule::Passed};
use crate::{net::Kernel, protocol::ClosedBy};

impl<K: Kernel> Reactor<K> {
    /// Finds the deadline of a connection that has passed, and acts on it.
    pub(super) fn check_deadlines(&mut self, id: ConnectionId) {
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
                None => self.call(key, |handler, stream| handler.on_deadline(stream)),
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
}
