//! The inbound half of a connection, and reading from sockets.

use std::{io, mem, net::SocketAddr};

use super::{
    Reactor,
    callback_scope::Input,
    dial::Dialing,
    listen::Service,
    outbox::{LARGE_PAYLOAD_BYTES, Outbox, Phase},
    panic::{Panicked, catch_panic},
    stream::{Stream, StreamHandler},
    token::Token,
};
use crate::{
    error::Error,
    net::{
        Kernel, Readiness,
        transport::{Arrived, Transport},
    },
    protocol::{CloseReason, ClosedBy},
};

/// The inbound half: socket, handler, and input that the handler has not taken yet.
pub(super) struct Link<S> {
    pub(super) transport: Transport<S>,
    /// Progress of connecting; `None` once connected.
    pub(super) dialing: Option<Box<Dialing>>,
    handler: Box<dyn StreamHandler>,
    /// Bytes that the handler has handed back. The socket is not read while there are any.
    backlog: Option<Box<Backlog>>,
    /// The socket may have input; no further event reports it.
    pub(super) readable: bool,
    /// The peer has ended its side, so a short read is not the last one.
    hangup: bool,
    /// The connection is in `handshakes`.
    pub(super) tls_queued: bool,
    /// The connection is in `reread_queue`.
    pub(super) reread_queued: bool,
    /// Number of bytes that the handler expects next and that belong together.
    expected: u32,
}

impl<S> Link<S> {
    fn new(transport: Transport<S>, dialing: Option<Box<Dialing>>, handler: Box<dyn StreamHandler>) -> Self {
        Link {
            transport,
            dialing,
            handler,
            backlog: None,
            readable: false,
            hangup: false,
            tls_queued: false,
            reread_queued: false,
            expected: 0,
        }
    }

    /// A link that is not connected yet.
    pub(super) fn dialing(handler: Box<dyn StreamHandler>, dialing: Box<Dialing>) -> Self {
        Link::new(Transport::Dialing, Some(dialing), handler)
    }

    /// Drops the socket, to connect another one.
    pub(super) fn dial_again(&mut self, dialing: Box<Dialing>) {
        (self.transport, self.dialing, self.backlog) = (Transport::Dialing, Some(dialing), None);
        (self.readable, self.hangup, self.expected) = (false, false, 0);
    }
}

#[derive(Debug)]
struct Backlog {
    bytes: Vec<u8>,
    start: usize,
}

impl<S: std::fmt::Debug> std::fmt::Debug for Link<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let backlog = self.backlog.as_ref().map_or(0, |backlog| backlog.bytes.len() - backlog.start);
        formatter
            .debug_struct("Link")
            .field("transport", &self.transport)
            .field("backlog", &backlog)
            .finish_non_exhaustive()
    }
}

/// Bytes of a read, unless more are expected.
const DEFAULT_READ: usize = 64 * 1024;

/// Bytes of a read inside a frame that does not fit the buffer, and about the bytes read of it per turn. The frame
/// arrives in pieces anyway; small ones keep the wait of other connections short.
const OVERSIZE_READ: usize = 256 * 1024;

/// Bytes read from a connection when the budget of the turn is spent.
const OVER_BUDGET_READ: usize = 16 * 1024;

impl<K: Kernel> Reactor<K> {
    /// Adds an accepted connection.
    pub(super) fn admit(&mut self, mut stream: K::Stream, peer: SocketAddr, service: &dyn Service) -> io::Result<()> {
        let Ok(handler) = catch_panic(self.config.panic_policy, || service.stream(peer)) else {
            self.hub.stats.panics += 1;
            return Ok(());
        };
        let key = self.hub.outboxes.next_key();
        self.kernel.register(&mut stream, Token::Link(key).into())?;
        let transport = Transport::accepted(stream, service.tls())?;
        self.hub.outboxes.insert(|id| Outbox::new(id, peer, service.config()));
        self.links.insert(key, Link::new(transport, None, handler));
        self.hub.stats.accepted += 1;
        self.call(key, |handler, stream| handler.on_connect(stream));
        self.limit_tls_handshake(key);
        Ok(())
    }

    /// Reports the end of a connection to its handler, and removes the connection.
    pub(super) fn remove(&mut self, key: usize) {
        let ending = self.hub.outboxes[key].take_ending();
        let reason = ending.unwrap_or_else(|| CloseReason::abnormal(ClosedBy::Peer));
        log::debug!(target: "ws_reactor::reactor", "{} closed: {reason}", self.hub.outboxes[key].id);
        let dialing = self.links[key].dialing.take();
        if let Some(dialing) = &dialing {
            self.drop_attempts(self.hub.outboxes[key].id, dialing);
        }
        let error = match (reason.by, dialing) {
            (ClosedBy::Network(kind), Some(dialing)) => Some((*dialing).error(kind)),
            (ClosedBy::Network(kind), None) => {
                Some(Error::Io(self.hub.outboxes[key].failure().take().unwrap_or(kind.into())))
            }
            // The protocol that found the error has called `on_error` itself.
            (ClosedBy::Tls, _) => self.hub.outboxes[key].failure().take().map(Error::Tls),
            (ClosedBy::Timeout(kind), _) => Some(Error::Timeout(kind)),
            (ClosedBy::SlowReader, _) => Some(Error::SlowReader),
            _ => None,
        };
        if let Some(error) = error {
            self.call(key, |handler, stream| handler.on_error(stream, &error));
        }
        // Separate calls, so that a panic in one does not skip the others.
        self.call(key, |handler, stream| handler.before_close(stream, &reason));
        self.call(key, |handler, stream| handler.on_close(stream, &reason));
        self.call(key, |handler, stream| handler.after_close(stream, &reason));
        let mut link = self.links.remove(key);
        if let Some(link) = link.as_mut().filter(|_| reason.clean) {
            // Sends the end of TLS, if the socket has room.
            let _ = link.transport.finish(&mut self.kernel);
        }
        let mut outbox = self.hub.outboxes.remove(key);
        outbox.release(&mut self.hub.pools);
        for timer in outbox.into_timers() {
            self.hub.timers.cancel(timer);
        }
        self.drop_guarded(link);
    }

    /// Drops a value of user code under [`catch_panic`], because its destructor may panic.
    pub(super) fn drop_guarded<T>(&mut self, what: T) {
        if catch_panic(self.config.panic_policy, || drop(what)).is_err() {
            self.hub.stats.panics += 1;
        }
    }

    /// Handles an event of a connection.
    pub(super) fn on_readiness(&mut self, key: usize, readiness: Readiness) {
        // An event may be stale; the code below relies only on the connection's existence.
        let Some(link) = self.links.get_mut(key) else { return };
        link.readable |= readiness.readable;
        link.hangup |= readiness.hangup || readiness.failed;
        // With edge triggers each event for input also reports room for output.
        let outbox = &mut self.hub.outboxes[key];
        if readiness.writable && (outbox.blocked || link.transport.holds_output()) {
            if outbox.blocked {
                outbox.unblock(&mut self.hub.pools);
            }
            self.flush(key);
        }
        if readiness.failed && !self.hub.outboxes[key].may_read() {
            self.hub.mark_closed(key, ClosedBy::Network(io::ErrorKind::ConnectionReset));
        }
        if readiness.readable {
            self.read_from(key);
        }
    }

    /// Reads input within the budget and passes it to the handler.
    pub(super) fn read_from(&mut self, key: usize) {
        let whole = self.config.read_budget_bytes.max(1);
        let mut budget = whole;
        if let Some(outbox) = self.hub.outboxes.at_mut(key) {
            outbox.reread_due = false;
        }
        loop {
            let Some(link) = self.links.get_mut(key) else { return };
            let outbox = &mut self.hub.outboxes[key];
            // The handshake of the transport proceeds even if the connection is not read, because output waits for it.
            let handshaking = link.transport.is_handshaking() && outbox.phase != Phase::Closed;
            if !outbox.may_read() && !handshaking {
                return;
            }
            let discarding = matches!(outbox.phase, Phase::Lingering | Phase::AwaitingEof);
            if let Some(backlog) = link.backlog.take().filter(|_| !discarding) {
                if self.deliver_backlog(key, backlog) {
                    return;
                }
                continue;
            }
            if !link.readable {
                return;
            }
            // Each connection is read once, however busy the others are, which completes a short message. A connection
            // that expects more waits in the run queue with those in the middle of a message; its silence does not
            // count meanwhile.
            let (crowded, expected) = (self.turn_budget == 0, link.expected as usize);
            let waits = crowded && expected > OVER_BUDGET_READ;
            let in_pieces = expected > self.read_buffer.len();
            let spent = whole - budget;
            if budget == 0 || waits || crowded && spent > 0 || in_pieces && spent >= OVERSIZE_READ {
                outbox.reread_due |= waits;
                return self.queue_reread(key);
            }
            if handshaking {
                // A handshake costs as much as a hundred messages, so all of them stand in one queue.
                if !mem::take(&mut self.tls_step_allowed) {
                    return self.queue_tls_step(key);
                }
            }
            let wanted = match (crowded, in_pieces) {
                (true, _) => OVER_BUDGET_READ,
                (_, true) => OVERSIZE_READ,
                _ => expected + DEFAULT_READ,
            };
            let most = self.read_buffer.len().min(budget.max(DEFAULT_READ)).min(outbox.read_limit());
            let buffer = &mut self.read_buffer[..wanted.min(most)];
            match link.transport.read(&mut self.kernel, buffer, &mut self.ciphertext) {
                Ok(Arrived::END) => {
                    link.readable = false;
                    let held = link.transport.holds_output();
                    return self.hub.peer_ended(key, held);
                }
                Ok(Arrived { length, taken, more }) => {
                    link.readable = more || link.hangup;
                    outbox.count_read(length);
                    if let Some(secured) = link.transport.tls_info() {
                        outbox.set_tls_info(secured);
                        if mem::take(&mut outbox.deadline_is_for_tls) {
                            outbox.deadline = None;
                        }
                        // Output that waited for the handshake may be sent now.
                        outbox.unblock(&mut self.hub.pools);
                        self.flush(key);
                    }
                    self.hub.stats.bytes_in += length as u64;
                    budget = budget.saturating_sub(taken.max(1));
                    self.turn_budget = self.turn_budget.saturating_sub(taken);
                    if discarding || length == 0 {
                        continue;
                    }
                    if handshaking && !self.hub.outboxes[key].may_read() {
                        self.links[key].backlog =
                            Some(Box::new(Backlog { bytes: self.read_buffer[..length].to_vec(), start: 0 }));
                        return;
                    }
                    if self.deliver(key, length) {
                        return;
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => {
                        link.readable = false;
                        return;
                    }
                    // A WebSocket has its own closing handshake; without it the end is unclean, however the stream
                    // ends.
                    io::ErrorKind::UnexpectedEof if outbox.encoder().is_some() || outbox.phase != Phase::Open => {
                        link.readable = false;
                        let held = link.transport.holds_output();
                        return self.hub.peer_ended(key, held);
                    }
                    kind => {
                        link.readable = false;
                        if kind == io::ErrorKind::InvalidData && self.hub.may_warn() {
                            let id = self.hub.outboxes[key].id;
                            log::warn!(target: "ws_reactor::net", "{id}: {error}");
                        }
                        return self.hub.mark_failed(key, error);
                    }
                },
            }
        }
    }

    /// Passes input to the handler. Returns whether the handler has handed a part back.
    fn deliver(&mut self, key: usize, length: usize) -> bool {
        let mut buffer = mem::take(&mut self.read_buffer);
        let large = length >= LARGE_PAYLOAD_BYTES;
        if large {
            self.hub.callback.input = Input::new(&buffer[..length]);
        }
        let unread =
            self.run_callback(key, |handler, stream| handler.on_data(stream, &mut buffer[..length])).min(length);
        self.read_buffer = buffer;
        let (mut expected, mut was_sent_from) = (0, false);
        if large {
            let input = mem::take(&mut self.hub.callback.input);
            (expected, was_sent_from) = (input.expected(), input.was_sent_from());
        }
        self.links[key].expected = expected;
        self.hub.outboxes[key].use_allowance(length - unread);
        self.after_callback(key);
        if was_sent_from {
            self.hub.outboxes[key].keep_input(&self.read_buffer, &mut self.hub.pools);
        }
        if unread > 0 && !self.fail_input_before_tls(key) {
            let bytes = self.read_buffer[length - unread..length].to_vec();
            self.links[key].backlog = Some(Box::new(Backlog { bytes, start: 0 }));
            self.queue_reread(key);
        }
        unread > 0
    }

    /// Passes a backlog to the handler. Returns whether a part of it is left.
    fn deliver_backlog(&mut self, key: usize, mut backlog: Box<Backlog>) -> bool {
        let left = backlog.bytes.len() - backlog.start;
        let data = &mut backlog.bytes[backlog.start..][..left.min(self.hub.outboxes[key].read_limit())];
        let length = data.len();
        let unread = self.call(key, |handler, stream| handler.on_data(stream, data)).min(length);
        self.links[key].expected = mem::take(&mut self.hub.callback.input).expected();
        self.hub.outboxes[key].use_allowance(length - unread);
        backlog.start += length - unread;
        let left = backlog.start < backlog.bytes.len();
        if left && !self.fail_input_before_tls(key) {
            self.links[key].backlog = Some(backlog);
            self.queue_reread(key);
        }
        left
    }

    /// Fails the connection if bytes that the handler has handed back arrived before TLS was started. Those bytes must
    /// not pass for bytes received within TLS.
    fn fail_input_before_tls(&mut self, key: usize) -> bool {
        let before = self.links[key].transport.is_handshaking();
        if before {
            let error = io::Error::new(io::ErrorKind::InvalidData, "the peer spoke before TLS began");
            self.hub.mark_failed(key, error);
        }
        before
    }

    /// Calls a callback of a connection, flushes its output, and returns the number of bytes handed back.
    ///
    /// A panic ends only the connection. `on_error` is called with it, unless the connection had ended before.
    pub(super) fn call(&mut self, key: usize, callback: impl FnOnce(&mut dyn StreamHandler, &mut Stream<'_>)) -> usize {
        let unread = self.run_callback(key, callback);
        self.after_callback(key);
        unread
    }

    /// The callback alone; [`after_callback`](Self::after_callback) has to be the next access to the connection.
    #[inline]
    fn run_callback(&mut self, key: usize, callback: impl FnOnce(&mut dyn StreamHandler, &mut Stream<'_>)) -> usize {
        let id = self.hub.outboxes[key].id;
        self.hub.callback.enter(key);
        let began = self.begin_callback();
        let mut stream = Stream::new(&mut self.hub, id);
        let handler = &mut *self.links[key].handler;
        let outcome = catch_panic(self.config.panic_policy, || callback(handler, &mut stream));
        let mut unread = stream.handed_back();
        if let Err(Panicked(message)) = outcome {
            unread = 0;
            self.hub.stats.panics += 1;
            self.hub.callback.set_message_buffer(None);
            let dead = self.hub.phase(id) == Phase::Closed;
            self.hub.fail_panicked(id);
            let (mut stream, error) = (Stream::new(&mut self.hub, id), Error::Panic(message));
            if !dead && catch_panic(self.config.panic_policy, || handler.on_error(&mut stream, &error)).is_err() {
                self.hub.stats.panics += 1;
            }
        }
        if let Some(began) = began {
            self.end_callback(id, began);
        }
        if let Some(successor) = self.hub.callback.successor.take() {
            // The former handler may hold the last reference to its server.
            let former = mem::replace(&mut self.links[key].handler, successor);
            self.drop_guarded(former);
        }
        unread
    }

    /// Carries out what a callback has requested.
    #[inline]
    fn after_callback(&mut self, key: usize) {
        self.start_tls();
        self.flush(key);
        self.hub.callback.leave();
        self.start_dials();
    }

    /// Schedules reading from the connection in the next turn, without an event.
    pub(super) fn queue_reread(&mut self, key: usize) {
        let link = &mut self.links[key];
        if !link.reread_queued {
            link.reread_queued = true;
            self.reread_queue.push(key);
        }
    }
}
