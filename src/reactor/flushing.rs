//! Output: written as far as sockets take it, and what follows from how much is left.

use std::{
    io::{self, IoSlice},
    mem,
};

use super::{Reactor, id::ConnectionId, outbox::Phase, output_rule::OutputRule, queue::MAX_SLICES};
use crate::{
    net::{Kernel, transport::Written},
    protocol::ClosedBy,
};

impl<K: Kernel> Reactor<K> {
    /// Writes what is queued, as far as the socket takes it.
    pub(super) fn flush(&mut self, key: usize) {
        let (Some(link), Some(outbox)) = (self.links.get_mut(key), self.hub.outboxes.get_mut(key)) else { return };
        let mut left = 0;
        while !outbox.blocked && outbox.phase != Phase::Dead {
            let written = match outbox.only_slice(&self.read_buffer) {
                Some(bytes) => link.transport.write(&mut self.kernel, &[IoSlice::new(bytes)]),
                None if outbox.queued() > 0 => {
                    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                    let count = outbox.slices(&self.read_buffer, &mut slices);
                    link.transport.write(&mut self.kernel, &slices[..count])
                }
                None if link.transport.holds_output() => link.transport.flush(&mut self.kernel),
                None => break,
            };
            match written {
                Ok(Written { length, blocked, moved }) => {
                    self.hub.stats.bytes_out += length as u64;
                    outbox.advance(length, &mut self.hub.pools);
                    outbox.blocked = blocked;
                    left += moved;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => outbox.blocked = true,
                    kind => return self.hub.kill(key, ClosedBy::Network(kind)),
                },
            }
        }
        self.update_watermarks(key);
        self.update_rule(key, left);
    }

    /// Notes progress of output that waits for the peer. `moved` bytes have left just now.
    #[inline]
    fn update_rule(&mut self, key: usize, moved: usize) {
        let Some(outbox) = self.hub.outboxes.get_mut(key) else { return };
        if outbox.blocked || outbox.rule().is_some() {
            self.update_rule_of_waiting(key, moved);
        }
    }

    #[cold]
    fn update_rule_of_waiting(&mut self, key: usize, moved: usize) {
        let (link, outbox, now) = (&self.links[key], &mut self.hub.outboxes[key], self.hub.now);
        let waiting = outbox.buffered();
        // While a connection is made, opened or secured, or closes, a deadline of its own runs.
        let opening = outbox.reserved && outbox.encoder().is_none();
        let judged = outbox.phase == Phase::Open && !opening && !outbox.dialing && !link.transport.is_handshaking();
        if !judged || waiting == 0 && !link.transport.holds_output() {
            return outbox.set_rule(None);
        }
        match outbox.rule_mut() {
            Some(rule) => rule.on_moved(moved, waiting, now),
            None => outbox.set_rule(Some(OutputRule::new(waiting, now))),
        }
        self.hub.set_alarm(key);
    }

    /// What follows from how much is still queued.
    fn update_watermarks(&mut self, key: usize) {
        if self.hub.outboxes[key].congested {
            self.hub.recharge(key);
            let outbox = &mut self.hub.outboxes[key];
            outbox.congested = outbox.buffered() > outbox.config.output.congestion_mark();
        }
        let (link, outbox) = (&mut self.links[key], &mut self.hub.outboxes[key]);
        let (buffered, output) = (outbox.buffered(), &outbox.config.output);
        if buffered > output.pause_reading_bytes {
            outbox.above_mark = true;
        } else if outbox.above_mark && buffered <= output.low_mark() {
            outbox.above_mark = false;
            self.drained.push(outbox.id);
        }
        if buffered > 0 || outbox.shut || link.transport.holds_output() {
            return;
        }
        match outbox.phase {
            Phase::Draining | Phase::Lingering => {}
            Phase::Open | Phase::Closing | Phase::Parting | Phase::Dead => return,
        }
        match link.transport.finish(&mut self.kernel) {
            Ok(true) => {}
            Ok(false) => {
                outbox.blocked = true;
                return;
            }
            Err(error) => return self.hub.kill(key, ClosedBy::Network(error.kind())),
        }
        match outbox.phase {
            // What the peer sent and nobody read would make the system reset the connection, and our last words with it.
            Phase::Draining if link.readable => outbox.phase = Phase::Lingering,
            Phase::Draining => return self.hub.kill(key, ClosedBy::Peer),
            _ => {}
        }
        outbox.shut = true;
        if let Err(error) = link.transport.shutdown_write(&mut self.kernel) {
            self.hub.kill(key, ClosedBy::Network(error.kind()));
        } else if link.readable {
            self.enqueue(key);
        }
    }

    /// Whether the system has taken all that was said on a connection, or it has gone.
    pub(crate) fn is_flushed(&self, id: ConnectionId) -> bool {
        let holds = || self.links.get(id.key()).is_some_and(|link| link.transport.holds_output());
        self.hub.outbox(id).is_none_or(|outbox| outbox.buffered() == 0 && !holds())
    }

    /// Flushes the connections that were sent to and not flushed in their own callbacks: those that have waited longest, within the budget.
    pub(super) fn flush_touched(&mut self) {
        self.flush_oldest(self.config.write_budget.max(1));
    }

    /// Flushes at most so many connections.
    pub(super) fn flush_oldest(&mut self, budget: usize) {
        if self.hub.touched.is_empty() {
            return;
        }
        let mut touched = mem::take(&mut self.hub.touched);
        let count = touched.len().min(budget);
        for key in touched.drain(..count) {
            if let Some(outbox) = self.hub.outboxes.get_mut(key) {
                outbox.touched = false;
                self.flush(key);
            }
        }
        // Nothing calls a handler meanwhile, so nobody was touched.
        self.hub.touched = touched;
    }

    /// Tells those whose output has drained, and reads from them again.
    pub(super) fn tell_drained(&mut self) {
        if self.drained.is_empty() {
            return;
        }
        let mut drained = mem::take(&mut self.drained);
        for id in drained.drain(..) {
            let (key, Some(outbox)) = (id.key(), self.hub.outbox(id)) else { continue };
            if outbox.phase == Phase::Open && !outbox.above_mark {
                self.call(key, |handler, stream| handler.on_drain(stream));
            }
            if let Some(outbox) = self.hub.outboxes.get_mut(key) {
                outbox.resuming = true;
            }
            self.hub.resumed.push(key);
        }
        drained.append(&mut self.drained);
        self.drained = drained;
    }
}
