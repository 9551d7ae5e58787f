//! The handler of a connection, and the connection as its handler sees it.

use std::{
    any::Any,
    borrow::Cow,
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    peer_addr::PeerAddr,
    protocol::{CloseCode, CloseReason, Handshake, Message, MessageLimits, Outgoing, ProtocolError, Version},
    reactor::{Attempt, ConnectionId, ConnectionStats, Hub, Published, Retry, Stream, TimerId},
    send_status::SendStatus,
};

/// Callbacks of one WebSocket connection, of a server or a client.
///
/// Each connection has a handler of its own. Every method has an empty default. All methods run on the reactor's
/// thread, one at a time. A method that blocks stalls every connection of the reactor.
///
/// Callbacks never re-enter: no method of [`WebSocket`] or [`Hub`] calls a handler.
///
/// A panic in a method closes this connection with 1011, unless [`PanicPolicy`](crate::PanicPolicy) says otherwise.
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
///
///     fn on_close(&mut self, _: &mut WebSocket<'_>, reason: &CloseReason) {
///         println!("left {}: {reason}", self.room);
///     }
/// }
/// ```
#[allow(unused_variables)]
pub trait Handler {
    /// The opening handshake is complete.
    ///
    /// A server's response is queued before any message that is sent here.
    fn on_open(&mut self, ws: &mut WebSocket<'_>, handshake: &Handshake) {}

    /// A complete message arrived. The payload is borrowed: copy what must outlive the call.
    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {}

    /// A ping arrived. The pong is already queued. RFC 6455 §5.5.2.
    fn on_ping(&mut self, ws: &mut WebSocket<'_>, data: &[u8]) {}

    /// A pong arrived, solicited or not. RFC 6455 §5.5.3.
    fn on_pong(&mut self, ws: &mut WebSocket<'_>, data: &[u8]) {}

    /// Buffered output fell to the low-water mark; sending may resume.
    ///
    /// Called after the output was above [`pause_reading_bytes`](field@crate::OutputLimits::pause_reading_bytes) at the
    /// end of a write, or after a send answered `Congested` or `Dropped`. The low-water mark is half of
    /// `pause_reading_bytes`, or half of `limit_bytes` if that is lower. Default 32 KiB.
    fn on_drain(&mut self, ws: &mut WebSocket<'_>) {}

    /// A timer of [`WebSocket::set_timer`] or [`WebSocket::set_periodic_timer`] is due.
    fn on_timer(&mut self, ws: &mut WebSocket<'_>, timer: TimerId) {}

    /// A value of [`Hub::notify`] or [`Hub::notify_topic`] arrived. `event.downcast_ref()` gives its type.
    fn on_event(&mut self, ws: &mut WebSocket<'_>, event: &dyn Any) {}

    /// The connection failed: a protocol violation, a timeout, a slow reader, a network or TLS error, or a panic in
    /// this handler.
    ///
    /// `on_close` follows. An orderly close is not an error.
    fn on_error(&mut self, ws: &mut WebSocket<'_>, error: &Error) {}

    /// The reason text of the close frame for a violation of the protocol. Default:
    /// [`ProtocolError::close_reason`]. At most 123 bytes of it are sent. Called before
    /// [`on_error`](Self::on_error).
    fn failure_reason(&self, error: ProtocolError) -> Cow<'static, str> {
        error.close_reason().into()
    }

    /// The connection has ended.
    ///
    /// Called exactly once for each `on_open`, and once for each client connection that did not open. It is the last
    /// call for this connection; `on_reconnect` of a client may follow. Sends
    /// answer `Closed`; `publish` works and no longer reaches this connection. `ws.id()` is not used again, except by
    /// the same client when it reconnects.
    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {}

    /// A client with [`Reconnect`](crate::Reconnect) will try again after `attempt.wait`. Returns whether to try. The
    /// default is [`Attempt::default`](field@Attempt::default): a client that was refused with 401 or 404, that was
    /// closed with 1000, or has made all its attempts, ends.
    ///
    /// Called after each `on_close`, except those of an end by this application: `close`, `terminate`, `shutdown`,
    /// `stop`. `attempt` names the last end and its cause. The client keeps its id for its whole life;
    /// queued messages, timers and subscriptions ended with the last connection. Until the next `on_open` sends answer
    /// `Closed`. Closing the client meanwhile cancels the attempt and all later ones, and `on_close` follows.
    ///
    /// [`Retry::No`] ends the client: no method is called afterwards. A panic ends this attempt, and the next one
    /// follows.
    ///
    /// ```
    /// use ws_reactor::{Attempt, Handler, Retry, WebSocket};
    ///
    /// struct Feed;
    ///
    /// impl Handler for Feed {
    ///     fn on_reconnect(&mut self, _: &mut WebSocket<'_>, attempt: &Attempt<'_>) -> Retry {
    ///         eprintln!("{}; attempt {} in {:?}", attempt.reason, attempt.number, attempt.wait);
    ///         if attempt.number > 10 { Retry::No } else { attempt.default }
    ///     }
    /// }
    /// ```
    fn on_reconnect(&mut self, ws: &mut WebSocket<'_>, attempt: &Attempt<'_>) -> Retry {
        attempt.default
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

    fn failure_reason(&self, error: ProtocolError) -> Cow<'static, str> {
        (**self).failure_reason(error)
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        (**self).on_close(ws, reason);
    }

    fn on_reconnect(&mut self, ws: &mut WebSocket<'_>, attempt: &Attempt<'_>) -> Retry {
        (**self).on_reconnect(ws, attempt)
    }
}

/// Placeholder for a handler that was moved to the next holder of its connection.
pub(super) struct NoHandler;

impl Handler for NoHandler {}

/// The connection of a [`Handler`], during a callback.
///
/// Outside a callback, use the [`Hub`] with the connection's [`id`](Self::id).
#[derive(Debug)]
pub struct WebSocket<'a> {
    hub: &'a mut Hub,
    id: ConnectionId,
    version: Version,
    limits: &'a mut MessageLimits,
}

impl<'a> WebSocket<'a> {
    pub(super) fn new<'s: 'a>(stream: &'a mut Stream<'s>, version: Version, limits: &'a mut MessageLimits) -> Self {
        let id = stream.id();
        WebSocket { hub: stream.hub(), id, version, limits }
    }

    /// Sends a message: strings as text, bytes as binary, and a [`Message`] as its own type.
    ///
    /// The message is written when this callback returns, together with everything else that the callback sends. It is
    /// compressed if compression was negotiated. A message above 32 KiB is compressed in slices, in this turn and the
    /// following ones ([`ReactorConfig::compression_budget_bytes`](crate::ReactorConfig::compression_budget_bytes)).
    pub fn send<'m>(&mut self, message: impl Into<Outgoing<'m>>) -> SendStatus {
        self.hub.send(self.id, message)
    }

    /// Sends a message to every subscriber of a topic, including this connection if it is subscribed.
    pub fn publish<'m>(&mut self, topic: &str, message: impl Into<Outgoing<'m>>) -> Published {
        self.hub.publish(topic, message)
    }

    /// Starts the closing handshake. RFC 6455 §7.1.2.
    ///
    /// Messages queued before are still sent. No message is accepted or delivered afterwards; the only callbacks that
    /// follow are `on_error`, if closing fails, and `on_close`.
    ///
    /// Answers `Unsupported` if `code` is not [sendable](CloseCode::is_sendable), and `Closed` if the connection is
    /// closing already. A reason above 123 bytes is shortened at a character.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> SendStatus {
        self.hub.close(self.id, code, reason)
    }

    /// Sends a message to every subscriber of a topic except this connection.
    pub fn publish_to_others<'m>(&mut self, topic: &str, message: impl Into<Outgoing<'m>>) -> Published {
        self.hub.publish_to_others(self.id, topic, message)
    }

    /// Sends a message that replaces a queued, unwritten message of the same key. See [`Hub::send_latest`].
    pub fn send_latest<'m>(&mut self, key: &str, message: impl Into<Outgoing<'m>>) -> SendStatus {
        self.hub.send_latest(self.id, key, message)
    }

    /// Publishes a message that replaces queued, unwritten messages of the same key. See [`Hub::publish_latest`].
    pub fn publish_latest<'m>(&mut self, topic: &str, key: &str, message: impl Into<Outgoing<'m>>) -> Published {
        self.hub.publish_latest(topic, key, message)
    }

    /// Sends a message without compression, for a payload that is compressed already or contains a secret.
    pub fn send_uncompressed<'m>(&mut self, message: impl Into<Outgoing<'m>>) -> SendStatus {
        self.hub.send_uncompressed(self.id, message)
    }

    /// Sends a message to every subscriber of a topic, without compression.
    pub fn publish_uncompressed<'m>(&mut self, topic: &str, message: impl Into<Outgoing<'m>>) -> Published {
        self.hub.publish_uncompressed(topic, message)
    }

    /// Subscribes to a topic. `false` if the connection is subscribed already, or not open.
    ///
    /// Subscriptions end with the connection.
    pub fn subscribe(&mut self, topic: &str) -> bool {
        self.hub.subscribe(self.id, topic)
    }

    /// Ends a subscription. `false` if there is none.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        self.hub.unsubscribe(self.id, topic)
    }

    /// Ends the connection at once, without a closing handshake. Queued output is lost.
    pub fn terminate(&mut self) {
        self.hub.terminate(self.id);
    }

    /// Ends the connection at once, as if it was lost: a client with a policy to reconnect connects again. See
    /// [`Hub::reconnect`].
    pub fn reconnect(&mut self) {
        self.hub.reconnect(self.id);
    }

    /// Sends a ping with at most 125 bytes of data. Further bytes are cut off. RFC 6455 §5.5.2.
    pub fn ping(&mut self, data: &[u8]) -> SendStatus {
        self.hub.ping(self.id, data)
    }

    /// Sends a pong with at most 125 bytes of data. Further bytes are cut off.
    ///
    /// Pings are answered automatically; an unsolicited pong is a heartbeat. RFC 6455 §5.5.3.
    pub fn pong(&mut self, data: &[u8]) -> SendStatus {
        self.hub.pong(self.id, data)
    }

    /// Calls `on_timer` once, `after` from now. The timer ends with the connection.
    pub fn set_timer(&mut self, after: Duration) -> TimerId {
        self.hub.set_timer(self.id, after)
    }

    /// Calls `on_timer` periodically, first `every` from now. The timer ends with the connection.
    ///
    /// Calls that a busy loop missed are skipped. Periods below 1 µs count as 1 µs.
    pub fn set_periodic_timer(&mut self, every: Duration) -> TimerId {
        self.hub.set_periodic_timer(self.id, every)
    }

    /// Cancels a timer. `false` if the timer has fired or was cancelled.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.hub.cancel_timer(timer)
    }

    /// Stops reading from the connection until [`resume`](Self::resume).
    ///
    /// No message is delivered, not even one that was read already, and no pong timeout runs. The peer fills the
    /// buffers of the network, then waits. A peer that vanishes is noticed only after `resume`.
    pub fn pause(&mut self) {
        self.hub.pause(self.id);
    }

    /// Resumes reading after [`pause`](Self::pause).
    pub fn resume(&mut self) {
        self.hub.resume(self.id);
    }

    /// Sets the largest frame accepted on this connection, in bytes. Applies from the next frame on.
    pub fn set_max_frame_bytes(&mut self, bytes: usize) {
        self.limits.max_frame_bytes = bytes;
    }

    /// Sets the largest message accepted on this connection, in bytes. Applies from the next frame on.
    ///
    /// The limit also applies to the rest of a compressed message that has begun.
    pub fn set_max_message_bytes(&mut self, bytes: usize) {
        self.limits.max_message_bytes = bytes;
    }

    /// The [`Hub`]: other connections, topics, timers, the loop.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }

    /// The id of the connection, for the [`Hub`] and for a [`Remote`](crate::Remote).
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The address of the peer; of the proxy, where a client uses one.
    ///
    /// `0.0.0.0:0` before a client is connected.
    pub fn peer_addr(&self) -> PeerAddr {
        self.hub.peer_addr(self.id).expect("a callback runs while its connection is there")
    }

    /// The negotiated protocol version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns `true` if the version has pings and pongs.
    pub fn supports_ping(&self) -> bool {
        self.version.supports_ping()
    }

    /// Returns `true` if the version has close codes.
    pub fn supports_close_codes(&self) -> bool {
        self.version.supports_close_codes()
    }

    /// Output that is queued and not yet written to the socket, in bytes. See [`Hub::buffered`].
    pub fn buffered(&self) -> usize {
        self.hub.buffered(self.id)
    }

    /// Counters of the connection, with the round trip of the last ping. `None` unless
    /// [`StreamConfig::connection_stats`](field@crate::StreamConfig::connection_stats) is set.
    pub fn stats(&self) -> Option<ConnectionStats> {
        self.hub.connection_stats(self.id)
    }

    /// The time at the start of this turn of the loop.
    pub fn now(&self) -> Instant {
        self.hub.now()
    }
}
