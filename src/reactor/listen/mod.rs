//! Listening: handlers for accepted connections, and opening and closing of listeners.

mod accept;
pub(super) mod admission;
pub(super) mod adopt;
pub(super) mod connection_counts;
pub(super) mod listeners;
#[cfg(feature = "proxy-protocol")]
pub(super) mod proxied;
mod raw_streams;

use std::{fmt, net::SocketAddr, rc::Rc};

use super::{Hub, StreamHandler, config::StreamConfig, id::ListenerId};
use crate::{
    error::{Error, ListenError},
    net::{Bind, tls::TlsAcceptor},
    peer_addr::PeerAddr,
};

/// Creates the handler of each connection that a listener accepts.
pub(crate) trait Service {
    fn stream(&self, peer: PeerAddr) -> Box<dyn StreamHandler>;
    fn config(&self) -> Rc<StreamConfig>;
    /// TLS that the connections have to speak first, if any.
    fn tls(&self) -> Option<&TlsAcceptor>;
    /// The limits of unfinished handshakes: in total, and of an address.
    #[cfg_attr(not(feature = "proxy-protocol"), allow(dead_code))]
    fn pending_limits(&self) -> (Option<usize>, Option<usize>) {
        (None, None)
    }
    /// Reports an error of a connection that no handler has yet.
    #[cfg_attr(not(feature = "proxy-protocol"), allow(dead_code))]
    fn report(&self, _peer: PeerAddr, _error: &Error) {}
}

/// An open listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Id of the listener, for [`Hub::close_listener`].
    pub id: ListenerId,
    /// Local address of the listener. If port 0 was requested, the port is the one that the system chose. `0.0.0.0:0`
    /// for a Unix socket.
    pub addr: SocketAddr,
}

/// Callback for the result of opening a listener.
pub(in crate::reactor) type Opened = Box<dyn FnOnce(&mut Hub, Result<Listening, ListenError>)>;

/// A listener to be opened.
pub(in crate::reactor) struct Opening {
    pub(in crate::reactor) bind: Bind,
    pub(in crate::reactor) service: Rc<dyn Service>,
    pub(in crate::reactor) then: Opened,
}

impl fmt::Debug for Opening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Opening").field(&self.bind).finish()
    }
}

impl Hub {
    pub(crate) fn open(&mut self, bind: Bind, service: Rc<dyn Service>, then: Opened) {
        self.deferred.openings.push(Opening { bind, service, then });
    }
}
