//! Relays: what arrives on one raw stream is written to another, below the callbacks of the application.
//!
//! A relay takes the place of the handler, and passes everything but input on to it. The state is shared with the
//! outbound half, so that the Hub can end the relay without the loop.

use std::{any::Any, mem, rc::Rc};

use super::{
    connection::{encoding::Encoding, outbound::Outbound, relaying::Relay},
    conversion::Conversion,
    dial::reconnect::{Attempt, Retry},
    hub::Hub,
    id::{ConnectionId, TimerId},
    stream::{Stream, StreamHandler},
};
use crate::{
    error::Error,
    protocol::{CloseCode, CloseReason},
    send_status::SendStatus,
};

/// The end of a relay of [`Hub::relay_to`], delivered to the handler of the stream that was relayed by `on_event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayEnded {
    /// The stream that was written to.
    pub to: ConnectionId,
    /// Bytes relayed.
    pub bytes: u64,
    /// `true` if all bytes were relayed that were asked for, `false` if the other stream has ended before.
    pub is_complete: bool,
}

/// The handler of a stream that is relayed.
pub(in crate::reactor) struct Relayed {
    pub(in crate::reactor) handler: Box<dyn StreamHandler>,
    pub(in crate::reactor) relay: Rc<Relay>,
}

impl StreamHandler for Relayed {
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        if !self.relay.is_active.get() {
            return self.handler.on_data(stream, data);
        }
        let (id, to) = (stream.id(), self.relay.to);
        let part = self.relay.part(data);
        match stream.hub().write(to, part) {
            SendStatus::Queued | SendStatus::Congested => self.relay.count(part.len()),
            // It comes again when there is room.
            SendStatus::Dropped => {
                stream.unread(data.len());
                return stream.hub().hold_relayed(id, to);
            }
            // The other stream is ending.
            SendStatus::Closed | SendStatus::Unsupported if self.relay.is_paired => return stream.close(),
            SendStatus::Closed | SendStatus::Unsupported => {
                stream.unread(data.len());
                return stream.hub().end_relay(id, false);
            }
        }
        stream.unread(data.len() - part.len());
        if self.relay.left.get() == Some(0) {
            stream.hub().end_relay(id, true);
        } else if !stream.hub().has_room(to) {
            stream.hub().hold_relayed(id, to);
        }
    }

    fn on_end(&mut self, stream: &mut Stream<'_>) {
        match self.relay.is_active.get() && self.relay.is_paired {
            true => _ = stream.hub().end_output(self.relay.to),
            false => self.handler.on_end(stream),
        }
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        self.handler.on_close(stream, reason);
    }

    fn on_dial(&mut self, stream: &mut Stream<'_>) {
        self.handler.on_dial(stream);
    }

    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        self.handler.on_connect(stream);
    }

    fn on_drain(&mut self, stream: &mut Stream<'_>) {
        self.handler.on_drain(stream);
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, timer: TimerId) {
        self.handler.on_timer(stream, timer);
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: &dyn Any) {
        self.handler.on_event(stream, event);
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        self.handler.on_deadline(stream);
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        self.handler.on_shutdown(stream);
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        self.handler.on_error(stream, error);
    }

    fn on_reconnect(&mut self, stream: &mut Stream<'_>, attempt: &Attempt<'_>) -> Retry {
        self.handler.on_reconnect(stream, attempt)
    }
}

impl Hub {
    /// Joins two raw streams: what arrives on each is written to the other, right after this callback, and neither
    /// handler gets it. For proxies and tunnels (EventMachine's `enable_proxy`, both ways).
    ///
    /// A stream is not read while the output of the other is above its
    /// [`pause_reading_bytes`](field@crate::OutputLimits::pause_reading_bytes), so that memory stays bounded. When a
    /// peer ends its side, the other stream's output ends as well if
    /// [`allow_half_open`](field@crate::StreamConfig::allow_half_open) is set on the first; otherwise the end of one
    /// stream closes the other once its output is written. The handlers get all other callbacks, `on_close` among them.
    /// Bytes that a handler hands back by [`unread`](Stream::unread) in the same callback are relayed.
    ///
    /// Returns `false`, without effect, unless both are open raw streams, or if one of them is relayed already.
    pub fn relay(&mut self, one: ConnectionId, other: ConnectionId) -> bool {
        let may = one != other && self.may_relay(one) && self.may_relay(other);
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
        let may = from != to && self.may_relay(from) && self.is_raw(to);
        if may {
            self.start_relay(from, to, bytes, false);
        }
        may
    }

    /// Ends the relay of a stream, in one direction. Its handler gets later input again. Returns the number of bytes
    /// that were relayed; `None` if the stream is not relayed.
    pub fn stop_relay(&mut self, from: ConnectionId) -> Option<u64> {
        let relay = self.outbounds.get_mut(from)?.take_relay()?;
        relay.is_active.set(false);
        self.forget_relay_source(relay.to, from);
        if relay.is_held.get() {
            self.resume(from);
        }
        Some(relay.moved.get())
    }

    /// Bytes that were relayed from a stream so far. `None` if the stream is not relayed.
    pub fn relayed_bytes(&self, from: ConnectionId) -> Option<u64> {
        Some(self.outbound(from)?.relay()?.moved.get())
    }

    fn is_raw(&self, id: ConnectionId) -> bool {
        self.is_open(id) && self.outbound(id).is_some_and(|outbound| outbound.encoding == Encoding::Raw)
    }

    fn may_relay(&self, from: ConnectionId) -> bool {
        self.is_raw(from) && self.outbound(from).is_some_and(|outbound| outbound.relay().is_none())
    }

    fn start_relay(&mut self, from: ConnectionId, to: ConnectionId, bytes: Option<u64>, is_paired: bool) {
        let relay = Rc::new(Relay::new(to, bytes, is_paired));
        if let Some(outbound) = self.outbounds.get_mut(from) {
            outbound.set_relay(Rc::clone(&relay));
        }
        if let Some(outbound) = self.outbounds.get_mut(to) {
            outbound.relay_sources_mut().push(from);
        }
        self.deferred.conversions.push((from, Conversion::Relay(relay)));
    }

    /// Stops reading a relayed stream until the output of the other has drained.
    fn hold_relayed(&mut self, from: ConnectionId, to: ConnectionId) {
        if let Some(relay) = self.outbound(from).and_then(Outbound::relay) {
            relay.is_held.set(true);
        }
        self.pause(from);
        self.await_drain(to);
    }

    /// Ends a relay, and reports its end to the handler.
    fn end_relay(&mut self, from: ConnectionId, is_complete: bool) {
        let Some(to) = self.outbound(from).and_then(Outbound::relay).map(|relay| relay.to) else { return };
        if let Some(bytes) = self.stop_relay(from) {
            self.notify(from, RelayEnded { to, bytes, is_complete });
        }
    }

    fn forget_relay_source(&mut self, to: ConnectionId, from: ConnectionId) {
        if let Some(outbound) = self.outbounds.get_mut(to).filter(|outbound| outbound.has_relay_sources()) {
            outbound.relay_sources_mut().retain(|source| *source != from);
        }
    }

    /// The output of a stream has drained: streams that are relayed to it are read again.
    pub(in crate::reactor) fn resume_relays_to(&mut self, to: ConnectionId) {
        let Some(outbound) = self.outbounds.get_mut(to).filter(|outbound| outbound.has_relay_sources()) else { return };
        for from in outbound.relay_sources_mut().clone() {
            let relay = self.outbound(from).and_then(Outbound::relay);
            if relay.is_some_and(|relay| relay.is_held.take()) {
                self.resume(from);
            }
        }
    }

    /// A stream has ended: ends its relays. The other stream of a pair is closed.
    pub(in crate::reactor) fn end_relays_of(&mut self, id: ConnectionId) {
        let Some(outbound) = self.outbounds.get_mut(id).filter(|outbound| outbound.is_relayed()) else { return };
        let sources = mem::take(outbound.relay_sources_mut());
        let relay = outbound.take_relay();
        for from in sources {
            let is_paired = self.outbound(from).and_then(Outbound::relay).is_some_and(|relay| relay.is_paired);
            match is_paired {
                true => drop(self.stop_relay(from)),
                false => self.end_relay(from, false),
            }
        }
        if let Some(relay) = relay {
            relay.is_active.set(false);
            self.forget_relay_source(relay.to, id);
            if relay.is_paired {
                self.close(relay.to, CloseCode::NORMAL, "");
            }
        }
    }
}
