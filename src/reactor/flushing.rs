//! Flushing: writes output as far as sockets take it, and acts on the amount that is left.

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
    /// Writes queued output as far as the socket takes it.
    pub(super) fn flush(&mut self, key: usize) {
        let (Some(link), Some(outbox)) = (self.links.get_mut(key), self.hub.outboxes.at_mut(key)) else { return };
        let mut left = 0;
        while !outbox.blocked && outbox.phase != Phase::Closed {
            let written = match outbox.only_slice(&self.reader.buffer) {
                Some(bytes) => link.transport.write(&mut self.kernel, &[IoSlice::new(bytes)]),
                None if outbox.queued() > 0 => {
                    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                    let count = outbox.slices(&self.reader.buffer, &mut slices);
                    link.transport.write(&mut self.kernel, &slices[..count])
                }
                None if link.transport.holds_output() => link.transport.flush(&mut self.kernel),
                None => break,
            };
            match written {
                Ok(Written { length, blocked, moved }) => {
                    self.hub.stats.bytes_out += length as u64;
                    outbox.count_written(length);
                    outbox.advance(length, &mut self.hub.pools);
                    outbox.blocked = blocked;
                    left += moved;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => outbox.blocked = true,
                    kind => return self.hub.mark_closed(key, ClosedBy::Network(kind)),
                },
            }
        }
        self.update_watermarks(key);
        self.update_rule(key, left);
    }

    /// Updates the output rule after `moved` bytes have left.
    #[inline]
    fn update_rule(&mut self, key: usize, moved: usize) {
        let Some(outbox) = self.hub.outboxes.at_mut(key) else { return };
        if outbox.blocked || outbox.rule().is_some() {
            self.update_rule_of_waiting(key, moved);
        }
    }

    #[cold]
    fn update_rule_of_waiting(&mut self, key: usize, moved: usize) {
        let (link, outbox, now) = (&self.links[key], &mut self.hub.outboxes[key], self.hub.now);
        let waiting = outbox.buffered();
        // A connection that is connecting, opening, in a TLS handshake or closing has a deadline of its own.
        let opening = outbox.reserved && outbox.encoder().is_none();
        let judged = outbox.phase == Phase::Open && !opening && !outbox.dialing && !link.transport.is_handshaking();
        if !judged || waiting == 0 && !link.transport.holds_output() {
            return outbox.set_rule(None);
        }
        match outbox.rule_mut() {
            Some(rule) => rule.on_moved(moved, waiting, now),
            None => outbox.set_rule(Some(OutputRule::new(waiting, now))),
        }
        self.hub.set_deadline_timer(key);
    }

    /// Acts on the amount of output that is left.
    fn update_watermarks(&mut self, key: usize) {
        if self.hub.outboxes[key].congested {
            self.hub.recharge(key);
            let outbox = &mut self.hub.outboxes[key];
            outbox.congested = outbox.buffered() > outbox.config.output.congestion_mark();
        }
        let (link, outbox) = (&mut self.links[key], &mut self.hub.outboxes[key]);
        let (buffered, output) = (outbox.buffered(), &outbox.config.output);
        if buffered > output.pause_reading_bytes {
            outbox.awaits_drain = true;
        } else if outbox.awaits_drain && buffered <= output.low_mark() {
            outbox.awaits_drain = false;
            self.hub.deferred.drained.push(outbox.id);
        }
        if buffered > 0 || outbox.shut || link.transport.holds_output() {
            return;
        }
        match outbox.phase {
            Phase::Draining | Phase::Lingering => {}
            Phase::Open | Phase::Closing | Phase::AwaitingEof | Phase::Closed => return,
        }
        match link.transport.finish(&mut self.kernel) {
            Ok(true) => {}
            Ok(false) => {
                outbox.blocked = true;
                return;
            }
            Err(error) => return self.hub.mark_closed(key, ClosedBy::Network(error.kind())),
        }
        match outbox.phase {
            // Unread input would make the system reset the connection, and our last output with it.
            Phase::Draining if link.readable => outbox.phase = Phase::Lingering,
            Phase::Draining => return self.hub.mark_closed(key, ClosedBy::Peer),
            _ => {}
        }
        outbox.shut = true;
        if let Err(error) = link.transport.shutdown_write(&mut self.kernel) {
            self.hub.mark_closed(key, ClosedBy::Network(error.kind()));
        } else if link.readable {
            self.queue_reread(key);
        }
    }

    /// Whether the system has taken all output of a connection, or the connection has ended.
    pub(crate) fn is_flushed(&self, id: ConnectionId) -> bool {
        let holds = || self.links.get(id.key()).is_some_and(|link| link.transport.holds_output());
        self.hub.outbox(id).is_none_or(|outbox| outbox.buffered() == 0 && !holds())
    }

    /// Flushes connections that were sent to outside their own callbacks, oldest first, within the budget.
    #[inline]
    pub(super) fn flush_touched(&mut self) {
        if !self.hub.deferred.touched.is_empty() {
            self.flush_oldest(self.config.write_budget.max(1));
        }
    }

    /// Flushes at most `budget` connections.
    #[inline(never)]
    pub(super) fn flush_oldest(&mut self, budget: usize) {
        let mut touched = mem::take(&mut self.hub.deferred.touched);
        let count = touched.len().min(budget);
        for key in touched.drain(..count) {
            if let Some(outbox) = self.hub.outboxes.at_mut(key) {
                outbox.touched = false;
                self.flush(key);
            }
        }
        // Flushing calls no handler, so no connection was touched meanwhile.
        self.hub.deferred.touched = touched;
    }

    /// Calls `on_drain` of connections whose output has drained, and resumes reading from them.
    #[inline]
    pub(super) fn notify_drained(&mut self) {
        if !self.hub.deferred.drained.is_empty() {
            self.notify_all_drained();
        }
    }

    #[inline(never)]
    fn notify_all_drained(&mut self) {
        let mut drained = mem::take(&mut self.hub.deferred.drained);
        for id in drained.drain(..) {
            let (key, Some(outbox)) = (id.key(), self.hub.outbox(id)) else { continue };
            if outbox.phase == Phase::Open && !outbox.awaits_drain {
                self.call(key, |handler, stream| handler.on_drain(stream));
            }
            if let Some(outbox) = self.hub.outboxes.at_mut(key) {
                outbox.reread_due = true;
            }
            self.hub.deferred.reread.push(key);
        }
        drained.append(&mut self.hub.deferred.drained);
        self.hub.deferred.drained = drained;
    }
}
