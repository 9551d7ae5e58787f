//! Flushing: writes output as far as sockets take it, and acts on the amount that is left.

use std::{
    io::{self, IoSlice},
    mem,
};

use crate::{
    net::{Kernel, transport::Written},
    protocol::ClosedBy,
    reactor::{
        Reactor,
        connection::{
            encoding::Encoding,
            outbound::queue::MAX_SLICES,
            output_rule::OutputRule,
            state::{Effect, Event},
        },
        id::ConnectionId,
        recording::Recording,
        share::{Share, WRITE_BYTES, WriteShare},
        turn_phase::TurnPhase,
    },
};

/// Connections flushed between two looks at the time.
const FLUSHES_PER_LOOK: usize = 8;

impl<K: Kernel> Reactor<K> {
    /// Writes queued output as far as the socket takes it, within the budget of the connection.
    pub(in crate::reactor) fn flush(&mut self, key: usize) {
        let (Some(inbound), Some(outbound)) = (self.inbounds.get_mut(key), self.hub.outbounds.at_mut(key)) else {
            return;
        };
        let (mut left, mut last, mut share) = (0, 0, WriteShare::default());
        while !outbound.blocked && !outbound.is_unwritten && !outbound.state.is_closed() {
            if last > 0 {
                if outbound.queued() == 0 && !inbound.transport.holds_output() {
                    break;
                }
                if share.is_spent_by(last, &self.hub.time_slice) {
                    outbound.is_unwritten = true;
                    self.hub.deferred.unwritten.push(key);
                    break;
                }
            }
            let written = match outbound.only_slice(&self.reader.buffer) {
                Some(bytes) => {
                    let bytes = &bytes[..bytes.len().min(WRITE_BYTES)];
                    inbound.transport.write(&mut self.kernel, &[IoSlice::new(bytes)])
                }
                None if outbound.queued() > 0 => {
                    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                    let count = outbound.slices(&self.reader.buffer, &mut slices);
                    inbound.transport.write(&mut self.kernel, &slices[..count])
                }
                None if inbound.transport.holds_output() => inbound.transport.flush(&mut self.kernel),
                None => break,
            };
            match written {
                Ok(Written { length, blocked, moved }) => {
                    self.hub.stats.bytes_out += length as u64;
                    outbound.count_written(length);
                    outbound.advance(length, &mut self.hub.pools);
                    outbound.blocked = blocked;
                    if let Some(recording) = &mut self.hub.recording {
                        recording.on_written(key, length, blocked);
                    }
                    (left, last) = (left + moved, length.max(moved));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => {
                        outbound.blocked = true;
                        if let Some(recording) = &mut self.hub.recording {
                            recording.on_written(key, 0, true);
                        }
                    }
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
        let Some(outbound) = self.hub.outbounds.at_mut(key) else { return };
        if outbound.blocked || outbound.is_unwritten || outbound.is_output_watched {
            self.update_rule_of_waiting(key, moved);
        }
    }

    #[cold]
    fn update_rule_of_waiting(&mut self, key: usize, moved: usize) {
        let (inbound, outbound, now) = (&self.inbounds[key], &mut self.hub.outbounds[key], self.hub.now);
        if outbound.state.is_closed() {
            return;
        }
        let waiting = outbound.buffered();
        let written = waiting == 0 && !inbound.transport.holds_output();
        if let Some(mark) = outbound.ping_mark_mut() {
            mark.on_moved(moved, written, now);
        } else if !written && mem::take(&mut self.hub.callback.has_pinged) {
            outbound.mark_ping(inbound.transport.holds_output(), now);
        }
        if written {
            if let Some(deadline) = outbound.on_all_written(now) {
                let id = outbound.id;
                self.hub.set_deadline(id, Some(deadline));
            }
            return;
        }
        // A connection that is connecting, in a TLS handshake or in its opening handshake has a deadline of its own.
        let established = !outbound.state.is_connecting() && !inbound.transport.is_handshaking();
        let opening = outbound.state.is_open() && outbound.encoding == Encoding::Opening;
        if !established || opening {
            return outbound.end_rule();
        }
        match outbound.rule_mut() {
            Some(_) => outbound.on_moved(moved, now),
            None => outbound.set_rule(Some(OutputRule::new(waiting, now))),
        }
        self.hub.set_deadline_timer(key);
    }

    /// Acts on the amount of output that is left.
    fn update_watermarks(&mut self, key: usize) {
        if self.hub.outbounds[key].congested {
            self.hub.recharge(key);
            let outbound = &mut self.hub.outbounds[key];
            outbound.congested = outbound.buffered() > outbound.config.output.congestion_mark();
        }
        let (inbound, outbound) = (&mut self.inbounds[key], &mut self.hub.outbounds[key]);
        let (buffered, output) = (outbound.buffered(), &outbound.config.output);
        if buffered > output.pause_reading_bytes {
            outbound.state.await_drain();
        } else if outbound.state.awaits_drain() && buffered <= output.low_mark() {
            outbound.state.on_drained();
            self.hub.deferred.drained.push(outbound.id);
        }
        if buffered > 0 || !outbound.state.ends_when_written() || inbound.transport.holds_output() {
            return;
        }
        let is_half = outbound.state.is_open();
        if is_half && (outbound.state.is_connecting() || inbound.transport.is_handshaking()) {
            // The flush that follows comes here again.
            return;
        }
        let finished = match is_half {
            true => inbound.transport.end_output(&mut self.kernel),
            false => inbound.transport.finish(&mut self.kernel),
        };
        match finished {
            Ok(true) => {}
            Ok(false) => {
                outbound.blocked = true;
                return;
            }
            Err(error) => return self.hub.mark_closed(key, ClosedBy::Network(error.kind())),
        }
        let event = if is_half { Event::HalfWritten } else { Event::Written { unread: inbound.readable } };
        if self.hub.apply(key, event, ClosedBy::Peer) != Effect::ShutDown {
            return;
        }
        if let Err(error) = inbound.transport.shutdown_write(&mut self.kernel) {
            self.hub.mark_closed(key, ClosedBy::Network(error.kind()));
        } else if inbound.readable {
            self.queue_reread(key);
        }
    }

    /// Writes what the last turn has left.
    #[inline]
    pub(in crate::reactor) fn write_unwritten(&mut self) {
        if !self.hub.deferred.unwritten.is_empty() {
            self.write_all_unwritten();
            self.end_phase(TurnPhase::Output);
        }
    }

    #[cold]
    fn write_all_unwritten(&mut self) {
        let mut unwritten = mem::take(&mut self.hub.deferred.unwritten);
        let (mut written, mut share) = (0, Share::of_long(unwritten.len(), 1));
        while written < unwritten.len() && share.take(&self.hub.time_slice) {
            let key = unwritten[written];
            written += 1;
            if let Some(outbound) = self.hub.outbounds.at_mut(key)
                && mem::take(&mut outbound.is_unwritten)
            {
                self.flush(key);
            }
        }
        unwritten.drain(..written);
        // Those written now that have still more come last.
        unwritten.append(&mut self.hub.deferred.unwritten);
        self.hub.deferred.unwritten = unwritten;
    }

    /// Returns `true` if the system has taken all output of a connection, or the connection has ended.
    pub(crate) fn is_flushed(&self, id: ConnectionId) -> bool {
        let holds = || self.inbounds.get(id.key()).is_some_and(|inbound| inbound.transport.holds_output());
        self.hub.outbound(id).is_none_or(|outbound| outbound.buffered() == 0 && !holds())
    }

    /// Writes all output as far as the sockets take it, whatever time that takes: the loop ends.
    pub(in crate::reactor) fn write_all(&mut self) {
        let mut keys = mem::take(&mut self.hub.deferred.touched);
        keys.append(&mut self.hub.deferred.unwritten);
        for key in keys {
            while let Some(outbound) = self.hub.outbounds.at_mut(key) {
                (outbound.touched, outbound.is_unwritten) = (false, false);
                self.flush(key);
                if !self.hub.outbounds.at_mut(key).is_some_and(|outbound| outbound.is_unwritten) {
                    break;
                }
            }
        }
        self.hub.deferred.unwritten.clear();
    }

    /// Flushes connections that were sent to outside their own callbacks, oldest first, within the budget.
    #[inline]
    pub(in crate::reactor) fn flush_touched(&mut self) {
        if !self.hub.deferred.touched.is_empty() {
            self.flush_oldest();
            self.end_phase(TurnPhase::Output);
        }
    }

    #[inline(never)]
    fn flush_oldest(&mut self) {
        let budget = self.config.write_budget.max(1);
        let mut touched = mem::take(&mut self.hub.deferred.touched);
        let (mut flushed, mut share) = (0, Share::of_long(budget, FLUSHES_PER_LOOK));
        while flushed < touched.len() && share.take(&self.hub.time_slice) {
            if let Some(outbound) = self.hub.outbounds.at_mut(touched[flushed]) {
                outbound.touched = false;
                self.flush(touched[flushed]);
            }
            flushed += 1;
        }
        touched.drain(..flushed);
        // Flushing calls no handler, so no connection was touched meanwhile.
        self.hub.deferred.touched = touched;
    }

    /// Calls `on_drain` of connections whose output has drained, and resumes reading from them.
    #[inline]
    pub(in crate::reactor) fn notify_drained(&mut self) {
        if !self.hub.deferred.drained.is_empty() {
            self.notify_all_drained();
            self.end_phase(TurnPhase::Output);
        }
    }

    #[inline(never)]
    fn notify_all_drained(&mut self) {
        self.hub.note(Recording::on_activity);
        let mut drained = mem::take(&mut self.hub.deferred.drained);
        for id in drained.drain(..) {
            let (key, Some(outbound)) = (id.key(), self.hub.outbound(id)) else { continue };
            if outbound.state.is_open() && !outbound.state.awaits_drain() {
                self.call(key, |handler, stream| handler.on_drain(stream));
            }
            self.hub.resume_relays_to(id);
            self.hub.continue_file(id);
            if let Some(outbound) = self.hub.outbounds.at_mut(key) {
                outbound.state.expect_reread();
            }
            self.hub.deferred.reread.push(key);
        }
        drained.append(&mut self.hub.deferred.drained);
        self.hub.deferred.drained = drained;
    }
}
