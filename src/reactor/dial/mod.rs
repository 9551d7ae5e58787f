//! Outgoing connections: requesting them. The loop carries the requests out in `attempts`.
//!
//! The connection has its id from the start. Its outbound half behaves as if its socket were blocked.
//! The inbound half has no socket until an attempt succeeds; then the handler's `on_connect` is called.

mod attempts;
pub(super) mod dialer;
pub(super) mod reconnect;
mod renew;
pub(super) mod target;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
};

use super::{
    config::StreamConfig,
    connection::outbound::Outbound,
    dial::{reconnect::Reconnection, target::Target},
    hub::{Hub, Running},
    id::ConnectionId,
    stream::StreamHandler,
};
use crate::{error::ConnectError, peer_addr::PeerAddr, protocol::Side};

/// Address of a peer that is not connected yet, or has no IP address.
const UNCONNECTED: PeerAddr = PeerAddr::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));

/// A requested connection. Started right after the callback, or at the beginning of the next turn.
pub(in crate::reactor) struct Dial {
    pub(in crate::reactor) id: ConnectionId,
    pub(in crate::reactor) target: Target,
    /// `None` if an existing connection is connected to another address.
    pub(in crate::reactor) handler: Option<Box<dyn StreamHandler>>,
}

impl fmt::Debug for Dial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Dial({} to {})", self.id, self.target)
    }
}

impl Hub {
    /// Connects a raw stream to `example.com:80`, `[::1]:80` or `unix:/run/example.sock` (EventMachine's `connect`).
    ///
    /// The returned id is valid at once. The handler's `on_connect` is called when the connection is established; bytes
    /// written before are queued. If the connection fails, the handler's `on_error` is called with the cause, then
    /// `on_close`. The time-out is [`StreamConfig::connect_timeout`], 20 s by default. With
    /// [`StreamConfig::reconnect`](field@StreamConfig::reconnect) the connection is made again after each end, with the
    /// same handler and under the same id.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Address`] if `to` is not an address of one of these forms, [`ConnectError::ShuttingDown`] if the
    /// loop is ending.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use ws_reactor::{Reactor, Stream, StreamHandler};
    ///
    /// struct Whois;
    ///
    /// impl StreamHandler for Whois {
    ///     fn on_connect(&mut self, stream: &mut Stream<'_>) {
    ///         stream.write(b"example.com\r\n");
    ///     }
    ///
    ///     fn on_data(&mut self, _: &mut Stream<'_>, data: &mut [u8]) {
    ///         print!("{}", String::from_utf8_lossy(data));
    ///     }
    /// }
    ///
    /// let mut reactor = Reactor::new()?;
    /// reactor.connect_stream("whois.iana.org:43", Whois)?;
    /// reactor.run()?;
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn connect_stream(
        &mut self,
        to: &str,
        handler: impl StreamHandler + 'static,
    ) -> Result<ConnectionId, ConnectError> {
        self.connect_stream_with(to, StreamConfig::default(), handler)
    }

    /// As [`connect_stream`](Self::connect_stream), with a configuration for the stream.
    ///
    /// # Errors
    ///
    /// See [`connect_stream`](Self::connect_stream).
    pub fn connect_stream_with(
        &mut self,
        to: &str,
        config: StreamConfig,
        handler: impl StreamHandler + 'static,
    ) -> Result<ConnectionId, ConnectError> {
        if !self.may_dial() {
            return Err(ConnectError::ShuttingDown { address: to.to_owned() });
        }
        let target = to.parse().map_err(|source| ConnectError::Address { address: to.to_owned(), source })?;
        Ok(self.dial_raw(target, Rc::new(config), Box::new(handler)))
    }

    /// Connects, for a WebSocket. Until the connection is established, its peer address is unspecified.
    pub(crate) fn dial(
        &mut self,
        target: Target,
        config: Rc<StreamConfig>,
        handler: Box<dyn StreamHandler>,
    ) -> ConnectionId {
        let id = self.dial_raw(target, config, handler);
        self.reserve(id, Side::Client);
        id
    }

    fn dial_raw(&mut self, target: Target, config: Rc<StreamConfig>, handler: Box<dyn StreamHandler>) -> ConnectionId {
        let policy = config.reconnect;
        let outbound = self.outbounds.insert(|id| Outbound::new(id, UNCONNECTED, config));
        outbound.await_connection();
        if let Some(policy) = policy {
            outbound.set_reconnection(Reconnection::new(policy, target.clone()));
        }
        let id = outbound.id;
        self.deferred.dials.push_back(Dial { id, target, handler: Some(handler) });
        id
    }

    /// Connects an existing outgoing connection to another address, right after this callback. The id stays; queued
    /// output is dropped, and `on_connect` is called again.
    pub(crate) fn redial(&mut self, id: ConnectionId, target: Target) {
        if let Some(outbound) = self.outbounds.open_mut(id) {
            outbound.release(&mut self.pools);
            outbound.await_connection();
            outbound.set_peer_addr(UNCONNECTED);
            outbound.forget_tls_info();
            outbound.deadline_is_for_tls = false;
            self.deferred.dials.push_back(Dial { id, target, handler: None });
        }
    }

    /// Returns `true` if new connections are allowed: the loop is not ending.
    pub(crate) fn may_dial(&self) -> bool {
        matches!(self.running, Running::Yes | Running::Stopped)
    }

    /// Returns `true` if the connection's name is being resolved.
    pub(crate) fn is_resolving(&self, id: ConnectionId) -> bool {
        self.outbound(id).is_some_and(|outbound| outbound.state.is_resolving())
    }
}
