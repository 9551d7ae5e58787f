//! A session: an open WebSocket of either side. It decodes input, answers control frames, and calls the handler.

use std::{any::Any, mem, rc::Rc};

use super::{
    client::stream::{ClientStream, Home},
    config::WebSocketConfig,
    handler::{Handler, NoHandler, WebSocket},
    liveness::{Liveness, Timeouts, Verdict},
};
use crate::{
    buffer::{LARGE_PAYLOAD_BYTES, SharedBlock},
    error::Error,
    protocol::{
        CloseCode, CloseReason, ClosedBy, Handshake, Message, MessageLimits, ProtocolError, Side, TimeoutKind, Version,
        decoder::{Decoded, Decoder, TextRun},
        deflate::{DeflateConfig, Deflation, Inflation},
        encoder::Encoder,
        framing::MAX_HEADER_BYTES,
        incoming::Incoming,
    },
    reactor::{Attempt, Phase, Pools, Retry, Share, Stream, StreamHandler, TimerId},
};

/// Bytes that compressed messages of one connection may inflate to in one turn.
const INFLATION_BUDGET_BYTES: usize = 256 * 1024;

/// An open WebSocket.
pub(super) struct Session {
    receiver: Receiver,
    decoder: Decoder,
    config: Rc<WebSocketConfig>,
    liveness: Liveness,
    /// For the beginning and the end; `None` once an accepted connection is open.
    ends: Option<Box<Ends>>,
}

/// State for the beginning and the end of a session.
#[derive(Default)]
struct Ends {
    /// The handshake of a session that is still to be opened, by `on_connect`.
    handshake: Option<Box<Handshake>>,
    /// The client whose connection this is. `None` on the server.
    client: Option<Rc<Home>>,
}

/// The handler, and what it sees of the session.
struct Receiver {
    handler: Box<dyn Handler>,
    version: Version,
    limits: MessageLimits,
    /// The connection has counters of its own.
    counted: bool,
}

impl Receiver {
    #[inline]
    fn call(&mut self, stream: &mut Stream<'_>, callback: impl FnOnce(&mut dyn Handler, &mut WebSocket<'_>)) {
        callback(&mut *self.handler, &mut WebSocket::new(stream, self.version, &mut self.limits));
    }

    /// Delivers a message, which lies in `block` or in the input. `inflates`: the message may have been compressed.
    #[inline(always)]
    fn on_message(
        &mut self,
        stream: &mut Stream<'_>,
        message: Message<'_>,
        block: Option<&SharedBlock>,
        inflates: bool,
    ) {
        log::trace!(target: "ws_reactor::websocket", "{} received {}", stream.id(), Incoming::Message(message));
        stream.hub.stats.messages_in += 1;
        if self.counted {
            stream.hub.count_received(stream.id());
        }
        let large = message.len() >= LARGE_PAYLOAD_BYTES;
        if large {
            // A large message is often followed by another. The size on the wire of a compressed message is not known
            // here.
            stream.hub.callback.input.expect(if inflates { 0 } else { message.len() + MAX_HEADER_BYTES });
            stream.hub.callback.set_message_buffer(block.cloned());
        }
        self.call(stream, |handler, ws| handler.on_message(ws, message));
        if large {
            stream.hub.callback.set_message_buffer(None);
        }
    }

    /// Answers a control frame. `open`: the handler is called.
    #[inline(never)]
    fn on_control(&mut self, stream: &mut Stream<'_>, incoming: Incoming<'_>, open: bool) {
        let id = stream.id();
        log::trace!(target: "ws_reactor::websocket", "{id} received {incoming}");
        match incoming {
            Incoming::Ping(data) => {
                stream.hub.pong(id, data);
                if open {
                    self.call(stream, |handler, ws| handler.on_ping(ws, data));
                }
            }
            Incoming::Pong(data) if open => {
                stream.hub.note_pong(id, data);
                self.call(stream, |handler, ws| handler.on_pong(ws, data));
            }
            Incoming::Close(frame) => stream.hub.answer_close(id, frame),
            Incoming::Message(_) | Incoming::Pong(_) => {}
        }
    }
}

/// Parameters of a new session, besides its handler.
pub(super) struct SessionParams<'a> {
    pub(super) side: Side,
    pub(super) limits: MessageLimits,
    pub(super) config: &'a Rc<WebSocketConfig>,
    pub(super) deflate: Option<&'a DeflateConfig>,
}

impl Session {
    /// Starts a session on a stream whose handshake is complete. The handler is not called yet.
    pub(super) fn begin(
        stream: &mut Stream<'_>,
        handler: Box<dyn Handler>,
        handshake: &Handshake,
        params: SessionParams<'_>,
    ) -> Self {
        let SessionParams { side, limits, config, deflate } = params;
        let (id, version, agreed) = (stream.id(), handshake.version(), handshake.compression());
        let deflation = agreed.zip(deflate);
        let deflation = deflation.map(|(agreed, deflate)| Deflation::new(agreed, deflate, side, stream.hub.contexts()));
        // The configuration of the stream decides, not the one of this server or client.
        let counted = stream.stats().is_some();
        let mut session = Session {
            receiver: Receiver { handler, version, limits, counted },
            decoder: Decoder::new(version, side),
            config: Rc::clone(config),
            liveness: Liveness::new(stream.hub.micros()),
            ends: None,
        };
        if let Some(inflation) = agreed.map(|agreed| Inflation::new(agreed, side, stream.hub.contexts())) {
            session.decoder.inflate_by(inflation);
        }
        stream.hub.start_websocket(id, Encoder::new(version, side), deflation);
        log::debug!(target: "ws_reactor::websocket", "{id} open: {} {version}", handshake.path());
        session
    }

    /// Has `on_connect` open the session, for a handler that a stream is handed over to.
    pub(super) fn open_on_connect(mut self, handshake: Handshake) -> Self {
        self.ends.get_or_insert_default().handshake = Some(Box::new(handshake));
        self
    }

    /// Makes the session one of a client, which may reconnect after the end.
    pub(super) fn reconnect_to(mut self, client: Rc<Home>) -> Self {
        self.ends.get_or_insert_default().client = Some(client);
        self
    }

    fn on_open(&mut self, stream: &mut Stream<'_>, handshake: &Handshake) {
        // Later frames only update `liveness`, so moving the deadline costs nothing per frame.
        let deadline = self.config.ping_after.map(|ping_after| stream.hub.after(ping_after));
        stream.set_deadline(deadline);
        self.call(stream, |handler, ws| handler.on_open(ws, handshake));
    }

    /// Handles input that is one simple message, as most is. Returns `false` if it is anything else.
    #[inline(always)]
    fn deliver_single(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) -> bool {
        if stream.hub.read_gate(stream.id()) != (Phase::Open, false) {
            return false;
        }
        let whole = self.decoder.whole_message(data, self.receiver.limits);
        let Some(whole) = whole.filter(|whole| whole.end == data.len()) else { return false };
        match self.decoder.message(&whole, data) {
            Ok(message) => {
                self.receiver.on_message(stream, message, None, false);
                self.liveness.on_frame(stream.hub.rough_micros());
            }
            Err(error) => self.fail(stream, error),
        }
        true
    }

    /// Decodes input within the budget, until a pause or the output limit; the rest is handed back.
    #[inline(never)]
    fn deliver_many(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let id = stream.id();
        let (mut at, mut share) = (0, Share::new(self.config.message_budget));
        let (mut heard, mut in_runs) = (false, true);
        self.decoder.renew_inflation(stream.hub.turn() as u32, INFLATION_BUDGET_BYTES);
        while at < data.len() {
            let (phase, waits) = stream.hub.read_gate(id);
            if !matches!(phase, Phase::Open | Phase::Closing) {
                break;
            }
            if waits || share.is_spent(&stream.hub.time_slice) {
                stream.unread(data.len() - at);
                break;
            }
            // After `close` the handler gets no more messages, but the close frame of the peer must still be found.
            let (open, rest) = (phase == Phase::Open, &mut data[at..]);
            let Some(whole) = self.decoder.whole_message(rest, self.receiver.limits) else {
                share.spend(1);
                if mem::take(&mut heard) {
                    self.liveness.on_frame(stream.hub.rough_micros());
                }
                let Some((consumed, item)) = self.decode(stream, rest, open) else { break };
                at += consumed;
                if !item {
                    stream.unread(data.len() - at);
                    break;
                }
                continue;
            };
            if open && in_runs && TextRun::can_begin(&whole, rest) {
                let (used, count) = self.deliver_run(stream, rest, share.items());
                share.spend(count);
                at += used;
                // Text that is not UTF-8 is found by decoding the messages one by one.
                (heard, in_runs) = (heard || count > 0, count > 0);
                continue;
            }
            share.spend(1);
            let message = match self.decoder.message(&whole, rest) {
                Ok(message) => message,
                Err(error) => {
                    self.fail(stream, error);
                    break;
                }
            };
            (at, heard) = (at + whole.end, true);
            if open {
                self.receiver.on_message(stream, message, None, false);
            }
        }
        if heard {
            self.liveness.on_frame(stream.hub.rough_micros());
        }
        if data.len() >= LARGE_PAYLOAD_BYTES
            && let Some(missing) = self.decoder.missing()
        {
            stream.hub.callback.input.expect(missing);
        }
        let Pools { blocks, partials, .. } = &mut stream.hub.pools;
        self.decoder.release(blocks, partials);
    }

    /// Delivers short text messages in a row, at most `max_messages`, until the handler closes or pauses the
    /// connection. Returns how many bytes and messages were used: none if a message is not UTF-8.
    #[inline(never)]
    fn deliver_run(&mut self, stream: &mut Stream<'_>, data: &mut [u8], max_messages: usize) -> (usize, usize) {
        let (id, limits) = (stream.id(), self.receiver.limits);
        let run = self.decoder.text_run(data, limits, max_messages);
        let mut count = 0;
        if let Some(text) = run.check(data) {
            while let Some(message) = run.message(text, count) {
                self.receiver.on_message(stream, Message::Text(message), None, false);
                count += 1;
                // The handler may have changed all this.
                if stream.hub.read_gate(id) != (Phase::Open, false) || self.receiver.limits != limits {
                    break;
                }
            }
        }
        (run.give_back(data, count), count)
    }

    /// Decodes and handles the next item of any kind. Returns how many bytes were used, and whether there was an item;
    /// `None` after an error, for which the connection has failed.
    #[inline(never)]
    fn decode(&mut self, stream: &mut Stream<'_>, data: &mut [u8], open: bool) -> Option<(usize, bool)> {
        let inflates = self.decoder.inflates();
        let Pools { blocks, partials, .. } = &mut stream.hub.pools;
        let decoded = match self.decoder.next(data, self.receiver.limits, blocks, partials) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.fail(stream, error);
                return None;
            }
        };
        let Decoded { consumed, incoming, block, fragments } = decoded;
        if let Some(Incoming::Pong(_)) = incoming
            && let Some(round_trip) = self.liveness.round_trip(stream.hub.micros())
        {
            stream.hub.latencies.ping.record(round_trip);
        }
        match (&incoming, fragments) {
            (None, false) => self.liveness.on_bytes(consumed, stream.hub.rough_micros()),
            _ => self.liveness.on_frame(stream.hub.rough_micros()),
        }
        let item = incoming.is_some();
        match incoming {
            Some(Incoming::Message(message)) if open => self.receiver.on_message(stream, message, block, inflates),
            Some(other) => self.receiver.on_control(stream, other, open),
            None => {}
        }
        Some((consumed, item))
    }

    fn fail(&mut self, stream: &mut Stream<'_>, error: ProtocolError) {
        log::debug!(target: "ws_reactor::websocket", "{} failed: {error}", stream.id());
        let reason = self.receiver.handler.failure_reason(error);
        stream.hub.fail(stream.id(), error, &reason);
        self.on_error(stream, &Error::Protocol(error));
    }

    fn call(&mut self, stream: &mut Stream<'_>, callback: impl FnOnce(&mut dyn Handler, &mut WebSocket<'_>)) {
        self.receiver.call(stream, callback);
    }
}

impl StreamHandler for Session {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        let Some(ends) = &mut self.ends else { return };
        let handshake = ends.handshake.take();
        self.ends.take_if(|ends| ends.client.is_none());
        if let Some(handshake) = handshake {
            self.on_open(stream, &handshake);
        }
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        if !self.deliver_single(stream, data) {
            self.deliver_many(stream, data);
        }
    }

    fn on_drain(&mut self, stream: &mut Stream<'_>) {
        self.call(stream, |handler, ws| handler.on_drain(ws));
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, timer: TimerId) {
        self.call(stream, |handler, ws| handler.on_timer(ws, timer));
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: &dyn Any) {
        self.call(stream, |handler, ws| handler.on_event(ws, event));
    }

    /// Pings a silent peer, and ends the connection if no sign of life follows.
    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        let Some(ping_after) = self.config.ping_after else { return };
        let (id, now) = (stream.id(), stream.hub.micros());
        // Without pings, only the output rule can tell whether the peer is alive.
        if stream.hub.is_reading_suspended(id) || !self.receiver.version.supports_ping() {
            self.liveness.excuse(now);
        }
        let pong_timeout = self.config.pong_timeout;
        let timeouts = Timeouts { ping_after, pong_timeout };
        let wait = match self.liveness.check(timeouts, stream.hub.ping_progress(id), now) {
            Verdict::Wait(left) => left,
            Verdict::Ping => {
                // An unsolicited pong without data must not pass for the answer where round trips are measured.
                let number = stream.hub.turn().to_be_bytes();
                stream.hub.ping_silent(id, if self.receiver.counted { &number } else { b"" });
                pong_timeout.min(ping_after)
            }
            Verdict::Dead => {
                stream.hub.terminate_with(id, ClosedBy::Timeout(TimeoutKind::Pong));
                return;
            }
        };
        let deadline = stream.hub.after(wait);
        stream.set_deadline(Some(deadline));
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        stream.hub.close_by(stream.id(), CloseCode::GOING_AWAY, "", ClosedBy::Shutdown);
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        self.call(stream, |handler, ws| handler.on_error(ws, error));
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        self.call(stream, |handler, ws| handler.on_close(ws, reason));
    }

    /// The next connection of a client begins with a handshake.
    fn on_reconnect(&mut self, stream: &mut Stream<'_>, attempt: &Attempt<'_>) -> Retry {
        let Receiver { handler, version, limits, .. } = &mut self.receiver;
        let retry = handler.on_reconnect(&mut WebSocket::new(stream, *version, limits), attempt);
        if retry == Retry::Yes
            && stream.hub.is_alive(stream.id())
            && let Some(client) = self.ends.as_mut().and_then(|ends| ends.client.take())
        {
            stream.hand_over(ClientStream::new(client, mem::replace(handler, Box::new(NoHandler))));
        }
        retry
    }
}
