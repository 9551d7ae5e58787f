//! The handler of a connection, and the connection as it sees it.

use std::{
    any::Any,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    protocol::{CloseCode, CloseReason, Handshake, Message, MessageLimits, Outgoing, Version},
    reactor::{ConnectionId, Hub, Published, SendStatus, Stream, TimerId},
};

/// What an application does with a connection: one value for each, called when something happens to it.
///
/// Every method has an empty default. They are called on the reactor's thread, one at a time; none may block.
///
/// ```
/// use ws_reactor::{CloseReason, Handler, Handshake, Message, WebSocket};
///
/// struct Chat {
///     room: String,
/// }
///
/// impl Handler for Chat {
///     fn on_open(&mut self, ws: &mut WebSocket<'_>, handshake: &Handshake) {
///         self.room = handshake.path().to_owned();
///         ws.subscribe(&self.room);
///     }
///
///     fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
///         ws.publish(&self.room, message);
///     }
/// }
/// ```
#[allow(unused_variables)]
pub trait Handler {
    /// The handshake is done; the answer is queued before anything that is sent here.
    fn on_open(&mut self, ws: &mut WebSocket<'_>, handshake: &Handshake) {}

    /// A whole message has come. It is borrowed: what is to be kept must be copied.
    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {}

    /// A ping has come. The pong is already queued.
    fn on_ping(&mut self, ws: &mut WebSocket<'_>, data: &[u8]) {}

    /// A pong has come, asked for or not.
    fn on_pong(&mut self, ws: &mut WebSocket<'_>, data: &[u8]) {}

    /// Output was above its mark, or refused, and has fallen to the low mark: there is room again.
    fn on_drain(&mut self, ws: &mut WebSocket<'_>) {}

    /// A timer set by [`WebSocket::set_timer`] is due.
    fn on_timer(&mut self, ws: &mut WebSocket<'_>, timer: TimerId) {}

    /// [`Hub::notify`] or [`Hub::notify_topic`] has handed over a value: `event.downcast_ref()` tells which.
    fn on_event(&mut self, ws: &mut WebSocket<'_>, event: &dyn Any) {}

    /// Something went wrong: the peer broke the protocol or missed a deadline, the network failed, or a callback of this handler panicked.
    /// `on_close` follows.
    fn on_error(&mut self, ws: &mut WebSocket<'_>, error: &Error) {}

    /// The connection has ended. Called exactly once for each `on_open`, last, and for a client's connection that could not be opened; sends are answered
    /// `Closed`, and the id names nothing afterwards.
    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {}

    /// A client with [`Reconnect`](crate::Reconnect) comes back, in its `attempt`th attempt in a row, after `wait`. Called after `on_close`; `ws` is the connection that will
    /// be made then, with a name of its own, and closing it meanwhile ends the wait. `false` has the client stay away, and nothing follows; a panic
    /// costs this connection, and the next attempt follows.
    fn on_reconnect(&mut self, ws: &mut WebSocket<'_>, attempt: u32, wait: Duration) -> bool {
        true
    }
}

impl<H: Handler + ?Sized> Handler for Box<H> {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, handshake: &Handshake) {
        (**self).on_open(ws, handshake);
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        (**self).on_message(ws, message);
    }

    fn on_ping(&mut self, ws: &mut WebSocket<'_>, data: &[u8]) {
        (**self).on_ping(ws, data);
    }

    fn on_pong(&mut self, ws: &mut WebSocket<'_>, data: &[u8]) {
        (**self).on_pong(ws, data);
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_>) {
        (**self).on_drain(ws);
    }

    fn on_timer(&mut self, ws: &mut WebSocket<'_>, timer: TimerId) {
        (**self).on_timer(ws, timer);
    }

    fn on_event(&mut self, ws: &mut WebSocket<'_>, event: &dyn Any) {
        (**self).on_event(ws, event);
    }

    fn on_error(&mut self, ws: &mut WebSocket<'_>, error: &Error) {
        (**self).on_error(ws, error);
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        (**self).on_close(ws, reason);
    }

    fn on_reconnect(&mut self, ws: &mut WebSocket<'_>, attempt: u32, wait: Duration) -> bool {
        (**self).on_reconnect(ws, attempt, wait)
    }
}

/// A connection, as its [`Handler`] sees it during a callback. From elsewhere it is reached by its [`id`](Self::id) through the [`Hub`].
#[derive(Debug)]
pub struct WebSocket<'a> {
    hub: &'a mut Hub,
    id: ConnectionId,
    version: Version,
    pub(super) limits: MessageLimits,
}

impl<'a> WebSocket<'a> {
    pub(super) fn new<'s: 'a>(stream: &'a mut Stream<'s>, version: Version, limits: MessageLimits) -> Self {
        let id = stream.id();
        WebSocket { hub: stream.hub(), id, version, limits }
    }

    /// Sends a message: `&str` and `&String` as text, bytes as binary, and a [`Message`] as what it is.
    ///
    /// It leaves at the end of this callback, together with all that is sent in it. It is compressed if that was agreed upon; a message of more than 64 KiB then
    /// in slices ([`ReactorConfig::compression_budget_bytes`](crate::ReactorConfig::compression_budget_bytes)), in this turn of the loop and those that follow.
    pub fn send<'m>(&mut self, message: impl Into<Outgoing<'m>>) -> SendStatus {
        self.hub.send(self.id, message)
    }

    /// Sends a message as it is, even where messages are compressed: one that is compressed already, or has a secret in it.
    pub fn send_uncompressed<'m>(&mut self, message: impl Into<Outgoing<'m>>) -> SendStatus {
        self.hub.send_uncompressed(self.id, message)
    }

    /// Sends a message of which only the latest of its key counts: it replaces one that is queued and not written yet. See [`Hub::send_latest`].
    pub fn send_latest<'m>(&mut self, key: &str, message: impl Into<Outgoing<'m>>) -> SendStatus {
        self.hub.send_latest(self.id, key, message)
    }

    /// Sends a ping of at most 125 bytes; what is above is left out.
    pub fn ping(&mut self, data: &[u8]) -> SendStatus {
        self.hub.ping(self.id, data)
    }

    /// Sends a pong of at most 125 bytes. Pings are answered without it.
    pub fn pong(&mut self, data: &[u8]) -> SendStatus {
        self.hub.pong(self.id, data)
    }

    /// Closes the connection by the closing handshake. From here on no message is taken or delivered; `on_close` is next.
    /// See [`Hub::close`].
    pub fn close(&mut self, code: CloseCode, reason: &str) -> SendStatus {
        self.hub.close(self.id, code, reason)
    }

    /// Ends the connection at once, without a closing handshake; what is queued is lost.
    pub fn terminate(&mut self) {
        self.hub.terminate(self.id);
    }

    /// Subscribes to a topic; `false` if it was subscribed. Subscriptions end with the connection.
    pub fn subscribe(&mut self, topic: &str) -> bool {
        self.hub.subscribe(self.id, topic)
    }

    /// Ends a subscription; `false` if there was none.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        self.hub.unsubscribe(self.id, topic)
    }

    /// Sends a message to every subscriber of a topic, to this connection too if it is one.
    pub fn publish<'m>(&mut self, topic: &str, message: impl Into<Outgoing<'m>>) -> Published {
        self.hub.publish(topic, message)
    }

    /// As [`publish`](Self::publish), as it is even where messages are compressed.
    pub fn publish_uncompressed<'m>(&mut self, topic: &str, message: impl Into<Outgoing<'m>>) -> Published {
        self.hub.publish_uncompressed(topic, message)
    }

    /// Sends a message to every subscriber of a topic but this connection.
    pub fn publish_to_others<'m>(&mut self, topic: &str, message: impl Into<Outgoing<'m>>) -> Published {
        self.hub.publish_to_others(self.id, topic, message)
    }

    /// Has `on_timer` called once, `after` from now. The timer goes with the connection.
    pub fn set_timer(&mut self, after: Duration) -> TimerId {
        self.hub.set_timer(self.id, after)
    }

    /// Has `on_timer` called again and again, the first time `every` from now. Calls that a busy loop has missed are left out. The timer goes with the connection.
    pub fn set_periodic_timer(&mut self, every: Duration) -> TimerId {
        self.hub.set_periodic_timer(self.id, every)
    }

    /// Cancels a timer for good; `false` if it has fired or was cancelled.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.hub.cancel_timer(timer)
    }

    /// Stops reading: the peer fills the network's buffers and then waits. No message is delivered until [`resume`](Self::resume).
    pub fn pause(&mut self) {
        self.hub.pause(self.id);
    }

    /// Reads on.
    pub fn resume(&mut self) {
        self.hub.resume(self.id);
    }

    /// Changes the largest frame that is accepted, in bytes, from the next frame on.
    pub fn set_max_frame_bytes(&mut self, bytes: usize) {
        self.limits.max_frame_bytes = bytes;
    }

    /// Changes the largest message that is accepted, in bytes, from the next frame on. (A compressed message that has begun is held to it, too.)
    pub fn set_max_message_bytes(&mut self, bytes: usize) {
        self.limits.max_message_bytes = bytes;
    }

    /// Everything else: other connections, timers, the loop.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }

    /// The connection's name, by which the [`Hub`] and a [`Remote`](crate::Remote) reach it from anywhere.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The address of the peer, as it was at accept.
    pub fn peer_addr(&self) -> SocketAddr {
        self.hub.peer_addr(self.id).expect("a callback runs while its connection is there")
    }

    /// The version agreed upon.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the version has pings.
    pub fn supports_ping(&self) -> bool {
        self.version.supports_ping()
    }

    /// Whether the version has close codes.
    pub fn supports_close_codes(&self) -> bool {
        self.version.supports_close_codes()
    }

    /// Bytes queued and not yet taken by the system, whose own buffers are not counted.
    pub fn buffered(&self) -> usize {
        self.hub.buffered(self.id)
    }

    /// The time at the start of this turn of the loop.
    pub fn now(&self) -> Instant {
        self.hub.now()
    }
}
