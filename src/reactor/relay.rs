//! Relays: what arrives on one raw stream is written to another, below the callbacks of the application.

use std::mem;

use super::{
    Reactor,
    connection::{
        encoding::Encoding,
        inbound::Backlog,
        outbound::Outbound,
        reason::End,
        relaying::{Relay, RelayEnded},
        state::Phase,
    },
    hub::Hub,
    id::ConnectionId,
};
use crate::{
    net::Kernel,
    protocol::{CloseCode, ClosedBy},
    send_status::SendStatus,
};

impl Hub {
    /// Joins two raw streams: what arrives on each is written to the other, right after this callback, and neither
    /// handler gets it. For proxies and tunnels (EventMachine's `enable_proxy`, both ways).
    ///
    /// A stream is not read while the output of the other is above its
    /// [`pause_reading_bytes`](field@crate::OutputLimits::pause_reading_bytes), so that memory stays bounded.
    ///
    /// When a peer ends its side of a stream that [allows it](field@crate::StreamConfig::allow_half_open), the other
    /// stream's output ends as well. Otherwise the end of one stream ends the other, for the same reason: in order once
    /// its output is written, or at once if the first one has failed. A client does not reconnect then. The handlers
    /// get all other callbacks, `on_close` among them. Bytes that a handler hands back by
    /// [`unread`](crate::Stream::unread) in the same callback are relayed.
    ///
    /// Returns `false`, without effect, unless both are open raw streams, or if one of them is relayed already.
    pub fn relay(&mut self, one: ConnectionId, other: ConnectionId) -> bool {
        let may = one != other && self.may_relay(one, other) && self.may_relay(other, one);
        if may {
            self.start_relay(one, other, None, true);
            self.start_relay(other, one, None, true);
        }
        may
    }

    /// Writes what arrives on the raw stream `from` to the raw stream `to`, as [`relay`](Self::relay) in one direction,
    /// at most `bytes` of it.
    ///
    /// When `bytes` have been relayed, or `to` has ended, [`RelayEnded`] is delivered to the handler of `from` by
    /// `on_event`, and it gets later input again. Nothing is closed.
    ///
    /// Returns `false`, without effect, unless both are open raw streams, or if `from` is relayed already.
    pub fn relay_to(&mut self, from: ConnectionId, to: ConnectionId, bytes: Option<u64>) -> bool {
        let may = from != to && self.may_relay(from, to);
        if may {
            self.start_relay(from, to, bytes, false);
            if bytes == Some(0) {
                self.end_relay(from, true);
            }
        }
        may
    }

    /// Ends the relay of a stream, in one direction. Its handler gets later input again. Returns the number of bytes
    /// that were relayed; `None` if the stream is not relayed.
    ///
    /// The other direction of a pair goes on as one of [`relay_to`](Self::relay_to).
    pub fn stop_relay(&mut self, from: ConnectionId) -> Option<u64> {
        let relay = self.take_relay(from)?;
        if let Some(other) = self.outbounds.get_mut(relay.to).and_then(Outbound::relay_mut)
            && other.to == from
        {
            other.is_paired = false;
        }
        self.release_relay(from, false);
        Some(relay.moved)
    }

    /// Bytes that were relayed from a stream so far. `None` if the stream is not relayed.
    pub fn relayed_bytes(&self, from: ConnectionId) -> Option<u64> {
        Some(self.outbound(from)?.relay()?.moved)
    }

    fn is_raw(&self, id: ConnectionId) -> bool {
        self.is_open(id) && self.outbound(id).is_some_and(|outbound| outbound.encoding == Encoding::Raw)
    }

    fn may_relay(&self, from: ConnectionId, to: ConnectionId) -> bool {
        self.is_raw(from)
            && self.is_raw(to)
            && self.outbound(from).is_some_and(|outbound| outbound.relay().is_none())
            && self.outbound(to).is_some_and(|outbound| !outbound.state.is_output_ended())
    }

    fn start_relay(&mut self, from: ConnectionId, to: ConnectionId, bytes: Option<u64>, is_paired: bool) {
        if let Some(outbound) = self.outbounds.get_mut(to) {
            outbound.relay_sources_mut().push(from);
        }
        let Some(outbound) = self.outbounds.get_mut(from) else { return };
        outbound.set_relay(Relay::new(to, bytes, is_paired));
        outbound.state.begin_relay();
        if is_paired && outbound.state.is_input_ended() {
            self.end_output(to);
        }
    }

    fn take_relay(&mut self, from: ConnectionId) -> Option<Relay> {
        let relay = self.outbounds.get_mut(from)?.take_relay()?;
        self.forget_relay_source(relay.to, from);
        Some(relay)
    }

    fn forget_relay_source(&mut self, to: ConnectionId, from: ConnectionId) {
        if let Some(outbound) = self.outbounds.get_mut(to).filter(|outbound| outbound.has_relay_sources()) {
            outbound.relay_sources_mut().retain(|source| *source != from);
        }
    }

    /// Moves input to the other stream. Returns how many bytes were used; the rest waits, or is for the handler.
    fn relay_input(&mut self, from: ConnectionId, data: &[u8]) -> usize {
        let Some(relay) = self.outbound(from).and_then(Outbound::relay) else { return 0 };
        let (to, is_paired, length) = (relay.to, relay.is_paired, relay.share_of(data.len()));
        if !self.has_relay_room(to) {
            self.hold_relay(from, to);
            return 0;
        }
        match self.write(to, &data[..length]) {
            SendStatus::Queued | SendStatus::Congested => {}
            SendStatus::Dropped => {
                self.hold_relay(from, to);
                return 0;
            }
            // The other stream is ending, and nobody takes this.
            SendStatus::Closed | SendStatus::Unsupported if is_paired => return data.len(),
            SendStatus::Closed | SendStatus::Unsupported => {
                self.end_relay(from, false);
                return 0;
            }
        }
        let relay = self.outbounds.get_mut(from).and_then(Outbound::relay_mut);
        if relay.is_some_and(|relay| relay.count(length)) {
            self.end_relay(from, true);
        } else if !self.has_relay_room(to) {
            self.hold_relay(from, to);
        }
        length
    }

    /// Returns `true` if the output of a stream is below the marks at which it is held back, or if it has ended.
    fn has_relay_room(&self, to: ConnectionId) -> bool {
        self.outbound(to).is_none_or(|outbound| {
            let output = &outbound.config.output;
            outbound.buffered() < output.pause_reading_bytes.min(output.limit_bytes).max(1)
        })
    }

    /// Stops reading a relayed stream until the output of the other has drained.
    fn hold_relay(&mut self, from: ConnectionId, to: ConnectionId) {
        if let Some(outbound) = self.outbounds.get_mut(from) {
            outbound.state.hold_relay();
        }
        self.await_drain(to);
    }

    /// Goes on reading a stream whose relay was held, or has ended.
    pub(in crate::reactor) fn release_relay(&mut self, from: ConnectionId, goes_on: bool) {
        if let Some(outbound) = self.outbounds.get_mut(from)
            && outbound.state.release_relay(goes_on)
        {
            outbound.state.expect_reread();
            self.deferred.reread.push(from.key());
        }
    }

    /// Ends a relay, and reports its end to the handler, which gets input again only then.
    fn end_relay(&mut self, from: ConnectionId, is_complete: bool) {
        let Some(relay) = self.take_relay(from) else { return };
        if let Some(outbound) = self.outbounds.get_mut(from) {
            outbound.state.hold_relay();
        }
        self.report_relay_end(from, RelayEnded { to: relay.to, bytes: relay.moved, is_complete });
    }

    /// The output of a stream has drained: streams that are relayed to it are read again.
    pub(in crate::reactor) fn resume_relays_to(&mut self, to: ConnectionId) {
        let Some(outbound) = self.outbounds.get_mut(to).filter(|outbound| outbound.has_relay_sources()) else { return };
        for from in outbound.relay_sources_mut().clone() {
            self.release_relay(from, true);
        }
    }

    /// The peer has ended its side of a stream that stays open for output. Returns `true` if the stream is one of a
    /// pair: then the output of the other ends, and the handler is not called.
    pub(in crate::reactor) fn end_relayed_input(&mut self, id: ConnectionId) -> bool {
        let relay = self.outbound(id).and_then(Outbound::relay).filter(|relay| relay.is_paired);
        let to = relay.map(|relay| relay.to);
        if let Some(to) = to {
            self.end_output(to);
        }
        to.is_some()
    }

    /// A stream has ended: ends its relays. The other stream of a pair ends for the same reason.
    pub(in crate::reactor) fn end_relays_of(&mut self, id: ConnectionId, end: &End) {
        let Some(outbound) = self.outbounds.get_mut(id).filter(|outbound| outbound.is_relayed()) else { return };
        for from in mem::take(outbound.relay_sources_mut()) {
            let is_paired = self.outbound(from).and_then(Outbound::relay).is_some_and(|relay| relay.is_paired);
            if !is_paired {
                self.end_relay(from, false);
            }
        }
        let Some(relay) = self.take_relay(id).filter(|relay| relay.is_paired) else { return };
        let is_in_order = match end.by {
            ClosedBy::Peer => true,
            ClosedBy::Application => end.phase != Phase::Open,
            _ => false,
        };
        match is_in_order {
            true => _ = self.close_by(relay.to, CloseCode::NORMAL, "", end.by),
            false => _ = self.terminate_with(relay.to, end.by),
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Moves the first `length` bytes of the read buffer to the other stream, or discards them if the connection is
    /// closing. Returns `true` if all of them were used.
    #[cold]
    pub(in crate::reactor) fn relay_or_discard(&mut self, key: usize, length: usize) -> bool {
        let outbound = &self.hub.outbounds[key];
        if outbound.state.discards_input() {
            return true;
        }
        let id = outbound.id;
        let used = self.hub.relay_input(id, &self.reader.buffer[..length]);
        if used < length {
            self.inbounds[key].backlog = Some(Backlog::new(&self.reader.buffer[used..length]));
        }
        used == length
    }

    /// Moves the backlog to the other stream. Returns `true` if all of it was used.
    #[cold]
    pub(in crate::reactor) fn relay_backlog(&mut self, key: usize) -> bool {
        let id = self.hub.outbounds[key].id;
        let Some(mut backlog) = self.inbounds[key].backlog.take() else { return true };
        backlog.start += self.hub.relay_input(id, &backlog.bytes[backlog.start..]);
        let is_used = backlog.start == backlog.bytes.len();
        if !is_used {
            self.inbounds[key].backlog = Some(backlog);
        }
        is_used
    }
}
