//! Streams: raw bytes and the protocol that speaks them, EventMachine's Connection.

use std::{
    any::Any,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    hub::Hub,
    id::{ConnectionId, TimerId},
    send_status::SendStatus,
};
#[cfg(feature = "tls")]
use crate::net::tls::TlsConnector;
use crate::{
    error::Error,
    protocol::{CloseCode, CloseReason},
    tls_info::TlsInfo,
};

/// A protocol on a raw stream: one value for each connection, called when something happens to it.
///
/// Every method has an empty default. The WebSocket server is such a protocol itself.
///
/// ```
/// use ws_reactor::{Stream, StreamHandler};
///
/// struct Echo;
///
/// impl StreamHandler for Echo {
///     fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
///         stream.write(data);
///     }
/// }
/// ```
#[allow(unused_variables)]
pub trait StreamHandler {
    /// The connection is to be made: it has its name, and nothing else. Only for those that this end opens.
    fn on_dial(&mut self, stream: &mut Stream<'_>) {}

    /// The connection has been accepted, or made.
    fn on_connect(&mut self, stream: &mut Stream<'_>) {}

    /// Bytes have come. They are in the reactor's shared buffer and may be changed there; what is to be kept must be copied.
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {}

    /// Output was above its mark, or refused, and has fallen to the low mark.
    fn on_drain(&mut self, stream: &mut Stream<'_>) {}

    /// A timer set by [`Stream::set_timer`] is due.
    fn on_timer(&mut self, stream: &mut Stream<'_>, timer: TimerId) {}

    /// [`Hub::notify`] or [`Hub::notify_topic`] has handed over a value: `event.downcast_ref()` tells which.
    fn on_event(&mut self, stream: &mut Stream<'_>, event: &dyn Any) {}

    /// The deadline set by [`Stream::set_deadline`] has passed. The default ends the connection.
    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        stream.terminate();
    }

    /// The reactor shuts down. The default closes the connection once what is queued has left.
    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        stream.close();
    }

    /// The network failed, a deadline passed, or the handler panicked. `on_close` follows.
    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {}

    /// What it waits for elsewhere is there; see [`Remote::wake`](crate::Remote).
    #[doc(hidden)]
    fn on_wake(&mut self, stream: &mut Stream<'_>) {}

    /// The connection has ended, and there may be something to tell before that.
    #[doc(hidden)]
    fn before_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {}

    /// It has been told of its end, and there may be something to do.
    #[doc(hidden)]
    fn after_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {}

    /// The connection has ended. Called once, last. `reason.clean` says whether the stream ended in order, and `reason.by` who ended it;
    /// a raw stream has no codes (1005, or 1006 if it was not clean).
    fn on_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {}
}

impl<H: StreamHandler + ?Sized> StreamHandler for Box<H> {
    fn on_dial(&mut self, stream: &mut Stream<'_>) {
        (**self).on_dial(stream);
    }

    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        (**self).on_connect(stream);
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        (**self).on_data(stream, data);
    }

    fn on_drain(&mut self, stream: &mut Stream<'_>) {
        (**self).on_drain(stream);
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, timer: TimerId) {
        (**self).on_timer(stream, timer);
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: &dyn Any) {
        (**self).on_event(stream, event);
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        (**self).on_deadline(stream);
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        (**self).on_shutdown(stream);
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        (**self).on_error(stream, error);
    }

    fn on_wake(&mut self, stream: &mut Stream<'_>) {
        (**self).on_wake(stream);
    }

    fn before_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        (**self).before_close(stream, reason);
    }

    fn after_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        (**self).after_close(stream, reason);
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        (**self).on_close(stream, reason);
    }
}

/// A connection, as its [`StreamHandler`] sees it during a callback.
#[derive(Debug)]
pub struct Stream<'a> {
    pub(crate) hub: &'a mut Hub,
    id: ConnectionId,
    unread: usize,
}

impl<'a> Stream<'a> {
    pub(super) fn new(hub: &'a mut Hub, id: ConnectionId) -> Self {
        Stream { hub, id, unread: 0 }
    }

    /// The connection's name, by which the [`Hub`] reaches it from anywhere.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The address of the peer.
    pub fn peer_addr(&self) -> SocketAddr {
        self.hub.outbox(self.id).expect("a callback runs while its connection is there").peer_addr()
    }

    /// What the TLS handshake has shown; `None` if the connection is plain.
    pub fn tls_info(&self) -> Option<Rc<TlsInfo>> {
        self.hub.outbox(self.id)?.tls_info().cloned()
    }

    /// Lays TLS on the connection right after this callback, as the client of a server of that name; what is written waits for the handshake. To be called in `on_connect`, or when
    /// the peer has agreed to it (STARTTLS).
    #[cfg(feature = "tls")]
    pub fn start_tls(&mut self, tls: &TlsConnector, name: &str) {
        self.hub.start_tls(self.id, Some(tls), name);
    }

    /// Writes bytes.
    pub fn write(&mut self, bytes: &[u8]) -> SendStatus {
        self.hub.write(self.id, bytes)
    }

    /// Hands back the last `bytes` of what `on_data` was given: they come again, before what follows, in the next turn, or when reading is resumed.
    ///
    /// For a handler that stops in the middle: to let others have their turn, or because it was paused.
    pub fn unread(&mut self, bytes: usize) {
        self.unread = bytes;
    }

    /// Ends the connection once what is queued has left. Nothing is delivered any more.
    pub fn close(&mut self) {
        self.hub.close(self.id, CloseCode::NORMAL, "");
    }

    /// Ends the connection at once; what is queued is lost.
    pub fn terminate(&mut self) {
        self.hub.terminate(self.id);
    }

    /// Stops reading: the peer fills the network's buffers and then waits.
    pub fn pause(&mut self) {
        self.hub.pause(self.id);
    }

    /// Reads on.
    pub fn resume(&mut self) {
        self.hub.resume(self.id);
    }

    /// Bytes queued and not yet taken by the system.
    pub fn buffered(&self) -> usize {
        self.hub.buffered(self.id)
    }

    /// Has `on_timer` called once, `after` from now. The timer goes with the connection.
    pub fn set_timer(&mut self, after: Duration) -> TimerId {
        self.hub.set_timer(self.id, after)
    }

    /// Has `on_timer` called again and again, the first time `every` from now. The timer goes with the connection.
    pub fn set_periodic_timer(&mut self, every: Duration) -> TimerId {
        self.hub.set_periodic_timer(self.id, every)
    }

    /// Cancels a timer for good.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.hub.cancel_timer(timer)
    }

    /// Has `on_deadline` called at `at`. There is one deadline; setting it again moves it, and moving it later costs nothing,
    /// so it may be moved with each sign of life.
    pub fn set_deadline(&mut self, at: Option<Instant>) {
        // A connection that is ending has a deadline of its own.
        if self.hub.is_alive(self.id) {
            self.hub.set_deadline(self.id, at);
        }
    }

    /// Everything else: other connections, topics, timers, the loop.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }

    pub(super) fn handed_back(&self) -> usize {
        self.unread
    }
}
