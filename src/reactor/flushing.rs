//! Output: written as far as sockets take it, and what follows from how much is left.

use std::{
    io::{self, IoSlice},
    mem,
};

use super::{Reactor, id::ConnectionId, outbox::Phase, queue::MAX_SLICES};
use crate::{
    net::{Kernel, transport::Written},
    protocol::ClosedBy,
};

impl<K: Kernel> Reactor<K> {
    /// Writes what is queued, as far as the socket takes it.
    pub(super) fn flush(&mut self, key: usize) {
        let (Some(link), Some(outbox)) = (self.links.get_mut(key), self.hub.outboxes.get_mut(key)) else { return };
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
                    outbox.moving |= moved;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => outbox.blocked = true,
                    kind => return self.hub.kill(key, ClosedBy::Network(kind)),
                },
            }
        }
        self.note_level(key);
    }

    /// What follows from how much is still queued.
    fn note_level(&mut self, key: usize) {
        let (link, outbox) = (&mut self.links[key], &mut self.hub.outboxes[key]);
        let (buffered, output) = (outbox.buffered(), &outbox.settings.output);
        if buffered > output.pause_reading_bytes {
            outbox.above_mark = true;
        } else if outbox.above_mark && buffered <= output.low_mark() {
            outbox.above_mark = false;
            outbox.forget_grace();
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

    /// Flushes every connection that was sent to in this turn, but for those flushed in their own callbacks.
    pub(super) fn flush_touched(&mut self) {
        if self.hub.touched.is_empty() {
            return;
        }
        let mut touched = mem::take(&mut self.hub.touched);
        for key in touched.drain(..) {
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
