//! Sending to one connection, and the handling of messages for which the output has no room.

use super::{
    connection::{
        encoding::Encoding,
        outbound::{Outbound, Queued},
        output_rule::Admission,
        state::Phase,
    },
    hub::Hub,
    id::ConnectionId,
    pools::Pools,
    publish::event::PendingEvent,
};
use crate::{
    buffer::{Block, LARGE_PAYLOAD_BYTES, SharedBlock},
    protocol::{
        Message, Outgoing,
        encoder::Encoder,
        message::{Excerpt, Summary},
        outgoing::{OutgoingKind, OwnedPayload},
    },
    send_status::SendStatus,
};

impl Hub {
    /// Sends a message: a string as text, bytes as binary. The message is compressed if compression was negotiated. On
    /// an event stream a text is an event, and a binary message is [`Unsupported`](SendStatus::Unsupported).
    ///
    /// See [`SendStatus`] for the results and [`OutputLimits`](crate::OutputLimits) for back-pressure.
    #[inline]
    pub fn send<'m>(&mut self, id: ConnectionId, message: impl Into<Outgoing<'m>>) -> SendStatus {
        self.send_outgoing(id, message.into(), true)
    }

    /// As [`send`](Self::send), uncompressed even where compression was negotiated: for data that is compressed already
    /// or contains a secret.
    #[inline]
    pub fn send_uncompressed<'m>(&mut self, id: ConnectionId, message: impl Into<Outgoing<'m>>) -> SendStatus {
        self.send_outgoing(id, message.into(), false)
    }

    #[inline]
    fn send_outgoing(&mut self, id: ConnectionId, message: Outgoing<'_>, compress: bool) -> SendStatus {
        match message.0 {
            OutgoingKind::Borrowed(message) => self.send_message(id, message, compress),
            OutgoingKind::Owned(payload) => {
                self.with_payload(payload, |hub, message| hub.send_message(id, message, compress))
            }
        }
    }

    /// Almost all of the work for a short message is inlined here, because a call would cost more than the work.
    #[inline(never)]
    fn send_message(&mut self, id: ConnectionId, message: Message<'_>, compress: bool) -> SendStatus {
        let Some(outbound) = self.outbounds.open_mut(id) else { return SendStatus::Closed };
        let Some(encoder) = outbound.encoder().filter(|encoder| encoder.supports(message)) else {
            return self.send_pending_event(id, PendingEvent::new(message, None));
        };
        log::trace!(target: "ws_reactor::reactor", "{id} send {}", Summary(message));
        if !outbound.has_room() {
            return self.send_message_congested(id, encoder, message, compress);
        }
        if outbound.short_message(encoder, message, &mut self.pools) {
            outbound.count_sent(SendStatus::Queued);
            self.stats.messages_out += 1;
        } else if self.queue_message_slow(id, encoder, message, compress) {
            self.count(id.key(), SendStatus::Queued);
        } else {
            return self.count(id.key(), SendStatus::Closed);
        }
        self.touch(id.key());
        SendStatus::Queued
    }

    #[cold]
    fn send_message_congested(
        &mut self,
        id: ConnectionId,
        encoder: Encoder,
        message: Message<'_>,
        compress: bool,
    ) -> SendStatus {
        let status = self.send_congested(id, |hub| hub.queue_message_slow(id, encoder, message, compress));
        self.count(id.key(), status)
    }

    /// Counts a message by the status of its send.
    #[inline]
    pub(super) fn count(&mut self, key: usize, status: SendStatus) -> SendStatus {
        match status.is_queued() {
            true => self.stats.messages_out += 1,
            false => self.stats.dropped += 1,
        }
        self.outbounds[key].count_sent(status);
        status
    }

    /// Queues a message of any kind on an open connection.
    ///
    /// Returns `false` if the connection was closed, because all connections together hold too much output.
    #[inline(never)]
    fn queue_message_slow(&mut self, id: ConnectionId, encoder: Encoder, message: Message<'_>, compress: bool) -> bool {
        let outbound = &mut self.outbounds[id.key()];
        if message.len() >= LARGE_PAYLOAD_BYTES
            && self.callback.is_of(id.key())
            && let Some(start) = self.callback.input.send_from(message.as_bytes())
            && outbound.message_in_input(encoder, message, start, &mut self.pools)
        {
            // The payload is written from the input buffer, right after the callback.
            return true;
        }
        let message_buffer = self.callback.message_buffer.as_ref();
        if outbound.message(encoder, message, compress, message_buffer, &mut self.pools) == Queued::ToCompress {
            self.deferred.compressing.push_back(id);
        }
        let above = outbound.above_congestion_mark();
        if let Some(block) = message_buffer.filter(|_| above > 0 && message.len() >= LARGE_PAYLOAD_BYTES) {
            self.excess.add_shared(block, above);
        }
        self.charge_excess(id.key())
    }

    /// Queues bytes on a raw stream. [`Unsupported`](SendStatus::Unsupported) on a WebSocket, also during its
    /// handshake.
    pub fn write(&mut self, id: ConnectionId, bytes: &[u8]) -> SendStatus {
        let Some(outbound) = self.outbounds.writable_mut(id) else { return SendStatus::Closed };
        if outbound.encoding != Encoding::Raw || outbound.is_away() {
            return outbound.unsupported();
        }
        let queue = |hub: &mut Hub| {
            hub.outbounds[id.key()].write(bytes, true, &mut hub.pools);
            hub.charge_excess(id.key())
        };
        if !outbound.has_room() {
            return self.send_congested(id, queue);
        }
        if !queue(self) {
            return SendStatus::Closed;
        }
        self.touch(id.key());
        SendStatus::Queued
    }

    /// Sends a ping with at most 125 bytes of data; further bytes are cut off (RFC 6455 §5.5).
    ///
    /// [`Unsupported`](SendStatus::Unsupported) on a raw stream, before `on_open`, and in hixie-75 and hixie-76.
    pub fn ping(&mut self, id: ConnectionId, data: &[u8]) -> SendStatus {
        log::trace!(target: "ws_reactor::reactor", "{id} send ping {}", Excerpt(data));
        let now = self.now;
        let queue = |hub: &mut Hub| {
            hub.control(id, |outbound, encoder, pools| {
                outbound.ping(encoder, data, pools);
                outbound.note_ping(data, now);
            })
        };
        let supports = |encoder: Encoder| encoder.version().supports_ping();
        match self.outbounds.open_mut(id) {
            Some(outbound) if !outbound.has_room() && outbound.encoder().is_some_and(supports) => {
                match self.admit(id) {
                    Admission::Congested => match queue(self) {
                        SendStatus::Queued => SendStatus::Congested,
                        other => other,
                    },
                    Admission::Accept => queue(self),
                    refused => refused.into(),
                }
            }
            _ => queue(self),
        }
    }

    /// Sends an unsolicited pong with at most 125 bytes of data, as a heartbeat (RFC 6455 §5.5.3). Pings are answered
    /// without this method.
    ///
    /// The output limits do not apply. While the socket takes no bytes, only the newest pong is kept.
    /// [`Unsupported`](SendStatus::Unsupported) as for [`ping`](Self::ping).
    pub fn pong(&mut self, id: ConnectionId, data: &[u8]) -> SendStatus {
        log::trace!(target: "ws_reactor::reactor", "{id} send pong {}", Excerpt(data));
        self.control(id, |outbound, encoder, pools| outbound.pong(encoder, data, pools))
    }

    fn control(&mut self, id: ConnectionId, queue: impl FnOnce(&mut Outbound, Encoder, &mut Pools)) -> SendStatus {
        let outbound = self.outbounds.get_mut(id);
        // A control frame may follow our close frame until the peer's has arrived (RFC 6455 §5.5.1).
        let Some(outbound) = outbound.filter(|outbound| matches!(outbound.state.phase(), Phase::Open | Phase::Closing))
        else {
            return SendStatus::Closed;
        };
        match outbound.encoder() {
            Some(encoder) if encoder.version().supports_ping() => queue(outbound, encoder, &mut self.pools),
            _ => return outbound.unsupported(),
        }
        self.touch(id.key());
        SendStatus::Queued
    }

    /// Sends on an open connection whose output is above a mark. `queue` queues the message if it is admitted, and
    /// returns whether the connection is still open.
    #[cold]
    pub(super) fn send_congested(&mut self, id: ConnectionId, queue: impl FnOnce(&mut Hub) -> bool) -> SendStatus {
        let status = SendStatus::from(self.admit(id));
        if !status.is_queued() {
            return status;
        }
        if !queue(self) {
            return SendStatus::Closed;
        }
        self.touch(id.key());
        status
    }

    /// Status of a further message on an open connection. A connection at its limit is closed if that is its policy.
    pub(super) fn admit(&mut self, id: ConnectionId) -> Admission {
        let outbound = &mut self.outbounds[id.key()];
        let admission = outbound.config.output.admit(outbound.buffered());
        match admission {
            Admission::Accept => {}
            Admission::Congested if outbound.state.is_open() => outbound.state.await_drain(),
            Admission::Congested => {}
            Admission::Drop => {
                // `on_drain` follows when there is room again.
                outbound.state.await_drain();
                self.touch(id.key());
            }
            Admission::Close => self.abort_slow_reader(id),
        }
        admission
    }

    /// Calls `send` with the message of an owned payload. A large payload becomes the message buffer, so that it is
    /// shared instead of copied.
    #[inline(never)]
    pub(super) fn with_payload<T>(
        &mut self,
        payload: OwnedPayload<'_>,
        send: impl FnOnce(&mut Self, Message<'_>) -> T,
    ) -> T {
        if payload.as_message().len() < LARGE_PAYLOAD_BYTES {
            return send(self, payload.as_message());
        }
        let message = payload.into_owned();
        let block = SharedBlock::new(Block::from(&message));
        let message_buffer = self.callback.message_buffer.replace(block);
        let sent = send(self, message.as_message());
        self.callback.message_buffer = message_buffer;
        sent
    }
}
