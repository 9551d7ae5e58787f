//! Raw streams and their handlers: EventMachine's `Connection`.

use std::{
    any::Any,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    connection::outbound::counts::ConnectionStats,
    dial::reconnect::{Attempt, Retry},
    hub::Hub,
    id::{ConnectionId, TimerId},
    panic::{Panicked, catch_panic},
};
#[cfg(feature = "tls")]
use crate::net::tls::{TlsAcceptor, TlsConnector};
use crate::{
    error::Error,
    peer_addr::PeerAddr,
    protocol::{CloseCode, CloseReason},
    send_status::SendStatus,
    tls_info::TlsInfo,
};

/// Protocol of a raw stream: one value per connection, called for each event of the connection.
///
/// Every method has a default: `on_deadline` terminates the connection, `on_shutdown` closes it, all others do nothing.
/// The WebSocket server and client are implemented as stream handlers.
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
    /// Called before the name of an outgoing connection is resolved, also at each reconnect after the wait. Not called
    /// for accepted connections.
    fn on_dial(&mut self, stream: &mut Stream<'_>) {}

    /// Called when the connection is accepted, when an outgoing connection is established, or when another handler has
    /// [handed the connection over](Stream::hand_over).
    ///
    /// On a TLS connection the handshake is not done yet; output waits for it.
    fn on_connect(&mut self, stream: &mut Stream<'_>) {}

    /// Called with bytes that have arrived.
    ///
    /// `data` lies in a buffer of the reactor, may be changed in place, and is valid only during the call.
    /// [`Stream::unread`] hands a part of `data` back.
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {}

    /// Called when the output has fallen to the low-water mark after it was above
    /// [`pause_reading_bytes`](crate::OutputLimits::pause_reading_bytes), or after a send returned
    /// [`Congested`](SendStatus::Congested) or [`Dropped`](SendStatus::Dropped). Sending may resume.
    fn on_drain(&mut self, stream: &mut Stream<'_>) {}

    /// Called when the peer has ended its side of a raw stream that
    /// [allows it](field@crate::StreamConfig::allow_half_open). No more data arrives, and output may still be sent;
    /// [`Stream::end_output`] ends the connection once it is written, which is the default.
    fn on_end(&mut self, stream: &mut Stream<'_>) {
        stream.end_output();
    }

    /// Called when a timer set by [`Stream::set_timer`] or [`Stream::set_periodic_timer`] is due. Not called once the
    /// connection is closing.
    fn on_timer(&mut self, stream: &mut Stream<'_>, timer: TimerId) {}

    /// Called with a value of [`Hub::notify`] or [`Hub::notify_topic`]. `event.downcast_ref()` returns the value by its
    /// type, if it matches.
    fn on_event(&mut self, stream: &mut Stream<'_>, event: &dyn Any) {}

    /// Called when the deadline set by [`Stream::set_deadline`] has passed, and the socket was read once since. The
    /// default terminates the connection.
    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        stream.terminate();
    }

    /// Called when a [shutdown](Hub::shutdown) begins. The default closes the connection once its output is written.
    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        stream.close();
    }

    /// Called when the connection fails: the network or TLS failed, connecting or closing timed out, the peer is a slow
    /// reader, or the handler panicked. `on_close` follows.
    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {}

    /// Called once, last, when the connection has ended.
    ///
    /// When the peer ends its side of a raw stream, the connection ends once the queued output is written, unless
    /// [`StreamConfig::allow_half_open`](field@crate::StreamConfig::allow_half_open) is set.
    ///
    /// `reason.clean` says whether the stream ended in order, and `reason.by` names the cause. A raw stream carries no
    /// close code; `reason.code` is 1005 for an end in order or a closing that timed out, 1013 for a slow reader, and
    /// 1006 otherwise.
    fn on_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {}

    /// Called after `on_close` of an outgoing connection with [`Reconnect`](crate::Reconnect), before the wait for the
    /// next attempt. Returns whether to try. The default returns [`Attempt::default`](field@Attempt::default).
    ///
    /// The stream keeps its id. Until `on_connect`, writes return [`Closed`](SendStatus::Closed). Closing the stream
    /// meanwhile cancels this attempt and all later ones, and `on_close` follows. A panic ends this attempt, and the
    /// next one follows.
    fn on_reconnect(&mut self, stream: &mut Stream<'_>, attempt: &Attempt<'_>) -> Retry {
        attempt.default
    }
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

    fn on_end(&mut self, stream: &mut Stream<'_>) {
        (**self).on_end(stream);
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

    fn on_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        (**self).on_close(stream, reason);
    }

    fn on_reconnect(&mut self, stream: &mut Stream<'_>, attempt: &Attempt<'_>) -> Retry {
        (**self).on_reconnect(stream, attempt)
    }
}

/// Handle of a connection during a callback of its [`StreamHandler`].
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

    /// Id of the connection, by which the [`Hub`] addresses it.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Address of the peer; see [`Hub::peer_addr`].
    pub fn peer_addr(&self) -> PeerAddr {
        self.hub.outbound(self.id).expect("a callback runs while its connection is there").peer_addr()
    }

    /// Result of the TLS handshake. `None` without TLS, and before the handshake is done.
    pub fn tls_info(&self) -> Option<Rc<TlsInfo>> {
        self.hub.outbound(self.id)?.tls_info().cloned()
    }

    /// Starts TLS right after this callback, as a client of the server `name`. Output waits for the handshake.
    ///
    /// Call this method in `on_connect`, or when the peer has agreed to TLS (STARTTLS). A failure ends the connection:
    /// `on_error` and `on_close` follow. Bytes handed back by [`unread`](Self::unread) in the same callback are such a
    /// failure, because they arrived before TLS.
    #[cfg(feature = "tls")]
    pub fn start_tls(&mut self, tls: &TlsConnector, name: &str) {
        self.hub.start_tls(self.id, Some(tls), name);
    }

    /// Starts TLS right after this callback, as the server, when the client has asked for it (STARTTLS). What was
    /// written before this call leaves as plaintext; later output waits for the handshake.
    ///
    /// A failure ends the connection: `on_error` and `on_close` follow. Such failures are bytes handed back by
    /// [`unread`](Self::unread) in the same callback, because they arrived before TLS, and earlier output that the
    /// system does not take at once.
    ///
    /// ```
    /// use ws_reactor::{Stream, StreamHandler, TlsAcceptor};
    ///
    /// struct Mail(TlsAcceptor);
    ///
    /// impl StreamHandler for Mail {
    ///     fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
    ///         if data == b"STARTTLS\r\n" {
    ///             stream.write(b"220 ready\r\n");
    ///             stream.start_tls_as_server(&self.0);
    ///         }
    ///     }
    /// }
    /// ```
    #[cfg(feature = "tls")]
    pub fn start_tls_as_server(&mut self, tls: &TlsAcceptor) {
        self.hub.start_tls_as_server(self.id, tls);
    }

    /// Queues bytes; see [`Hub::write`].
    pub fn write(&mut self, bytes: &[u8]) -> SendStatus {
        self.hub.write(self.id, bytes)
    }

    /// Hands the last `bytes` of `data` back to the reactor, when called in [`on_data`](StreamHandler::on_data). The
    /// bytes are delivered again, before later ones, in the next turn or after the connection is resumed; a handler
    /// that the connection is handed over to gets them at once.
    ///
    /// For a handler that stops in the middle of its input, to let other connections proceed or because the connection
    /// is paused. A later call in the same callback replaces an earlier one. In other callbacks the method has no
    /// effect.
    pub fn unread(&mut self, bytes: usize) {
        self.unread = bytes;
    }

    /// Hands the connection over to another handler, right after this callback: `next.on_connect` is called, then
    /// `next.on_data` with the bytes that this callback has handed back by [`unread`](Self::unread) and with all later
    /// input.
    ///
    /// For protocols that begin with another one: a prefix, a handshake, an upgrade. The present handler is dropped;
    /// its `on_close` is not called. Queued output, timers, the deadline, a pause and the configuration of the stream
    /// stay.
    ///
    /// If this callback has handed all of its input back, or the connection is paused, `next.on_data` is called in the
    /// next turn or after the connection is resumed. In [`on_dial`](StreamHandler::on_dial), `next.on_connect` is
    /// called when the connection is established.
    ///
    /// If the connection is closing at the end of the callback, or the callback panics, the present handler stays and
    /// `next` is dropped. A later call in the same callback replaces an earlier one. More than 16 hand-overs in a row,
    /// each in `on_connect`, terminate the connection.
    ///
    /// ```
    /// use ws_reactor::{Stream, StreamHandler};
    ///
    /// /// Reads a line with a name.
    /// #[derive(Default)]
    /// struct Greeting(Vec<u8>);
    ///
    /// /// Repeats what it receives, after that name.
    /// struct Parrot(Vec<u8>);
    ///
    /// impl StreamHandler for Greeting {
    ///     fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
    ///         let end = data.iter().position(|byte| *byte == b'\n');
    ///         self.0.extend_from_slice(&data[..end.unwrap_or(data.len())]);
    ///         if let Some(end) = end {
    ///             stream.unread(data.len() - end - 1);
    ///             stream.hand_over(Parrot(std::mem::take(&mut self.0)));
    ///         }
    ///     }
    /// }
    ///
    /// impl StreamHandler for Parrot {
    ///     fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
    ///         stream.write(&self.0);
    ///         stream.write(data);
    ///     }
    /// }
    /// ```
    pub fn hand_over(&mut self, next: impl StreamHandler + 'static) {
        self.hub.callback.successor = Some(Box::new(next));
    }

    /// Closes the connection once its output is written. No more data is delivered. See [`Hub::close`].
    pub fn close(&mut self) {
        self.hub.close(self.id, CloseCode::NORMAL, "");
    }

    /// Ends the output once it is written, and goes on reading; see [`Hub::end_output`].
    pub fn end_output(&mut self) -> SendStatus {
        self.hub.end_output(self.id)
    }

    /// Ends the connection at once. Queued output is lost. See [`Hub::terminate`].
    pub fn terminate(&mut self) {
        self.hub.terminate(self.id);
    }

    /// Ends the connection as if it was lost: an outgoing one with a policy connects again. See [`Hub::reconnect`].
    pub fn reconnect(&mut self) {
        self.hub.reconnect(self.id);
    }

    /// Stops reading; see [`Hub::pause`].
    pub fn pause(&mut self) {
        self.hub.pause(self.id);
    }

    /// Resumes reading; see [`Hub::resume`].
    pub fn resume(&mut self) {
        self.hub.resume(self.id);
    }

    /// Bytes queued and not yet taken by the operating system; see [`Hub::buffered`].
    pub fn buffered(&self) -> usize {
        self.hub.buffered(self.id)
    }

    /// Counters of the connection; see [`Hub::connection_stats`].
    pub fn stats(&self) -> Option<ConnectionStats> {
        self.hub.connection_stats(self.id)
    }

    /// Calls `on_timer` once, `after` the start of this turn. The timer ends with the connection.
    pub fn set_timer(&mut self, after: Duration) -> TimerId {
        self.hub.set_timer(self.id, after)
    }

    /// Calls `on_timer` every `every`, the first time `every` after the start of this turn. Calls missed by a busy loop
    /// are skipped. A period of zero counts as 1 µs. The timer ends with the connection.
    pub fn set_periodic_timer(&mut self, every: Duration) -> TimerId {
        self.hub.set_periodic_timer(self.id, every)
    }

    /// Cancels a timer. Returns `false` if the timer has fired or was cancelled.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.hub.cancel_timer(timer)
    }

    /// Sets, moves or removes the deadline of the connection. `on_deadline` is called once when it passes.
    ///
    /// A connection has one deadline. Moving it to a later time costs nothing, so it may be moved with every received
    /// message. The call has no effect while the connection is closing.
    pub fn set_deadline(&mut self, at: Option<Instant>) {
        // A closing connection has a deadline of its own.
        if self.hub.is_alive(self.id) {
            self.hub.set_deadline(self.id, at);
        }
    }

    /// Returns the [`Hub`]: other connections, topics, timers and the loop.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }

    /// Calls user code that makes a value for the protocol of the connection. A panic is counted, and its message
    /// returned.
    pub(crate) fn guard<T>(&mut self, call: impl FnOnce(&mut Hub) -> T) -> Result<T, String> {
        let policy = self.hub.panic_policy;
        catch_panic(policy, || call(self.hub)).map_err(|Panicked(message)| {
            self.hub.stats.panics += 1;
            message
        })
    }

    /// Returns `true` if this callback hands the connection over.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.hub.callback.successor.is_some()
    }

    pub(super) fn handed_back(&self) -> usize {
        self.unread
    }
}
