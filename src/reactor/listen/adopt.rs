//! Taking over connected sockets.

use std::{cell::Cell, fmt, rc::Rc};

use super::Service;
use crate::{
    net::{ConnectedSocket, tls::TlsAcceptor},
    peer_addr::PeerAddr,
    reactor::{config::StreamConfig, hub::Hub, stream::StreamHandler},
};

/// A socket to take over.
pub(in crate::reactor) struct Adoption {
    pub(in crate::reactor) socket: ConnectedSocket,
    /// Bytes that were read from the socket.
    pub(in crate::reactor) received: Vec<u8>,
    pub(in crate::reactor) service: Rc<dyn Service>,
}

impl fmt::Debug for Adoption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Adoption").field(&self.socket).finish()
    }
}

/// Service of one stream.
pub(in crate::reactor) struct OneStream(Cell<Option<Box<dyn StreamHandler>>>);

/// Takes the place of a handler that has been taken.
struct Nothing;

impl StreamHandler for Nothing {}

impl OneStream {
    pub(in crate::reactor) fn service(handler: impl StreamHandler + 'static) -> Rc<dyn Service> {
        Rc::new(OneStream(Cell::new(Some(Box::new(handler)))))
    }
}

impl Service for OneStream {
    fn stream(&self, _: PeerAddr) -> Box<dyn StreamHandler> {
        self.0.take().unwrap_or_else(|| Box::new(Nothing))
    }

    fn config(&self) -> Rc<StreamConfig> {
        Rc::default()
    }

    fn tls(&self) -> Option<&TlsAcceptor> {
        None
    }
}

impl Hub {
    /// Takes over a connected socket as a raw stream, in the course of this turn. `received`: bytes that were read from
    /// it already; the handler gets them first.
    ///
    /// For sockets that another part of the program has accepted or connected; another thread passes them by
    /// [`Remote::run`](crate::Remote::run). A socket that cannot be used is closed, and a warning is logged.
    /// [`Reactor::adopt_stream`](crate::Reactor::adopt_stream) returns the error.
    pub fn adopt_stream(
        &mut self,
        socket: impl Into<ConnectedSocket>,
        received: impl Into<Vec<u8>>,
        handler: impl StreamHandler + 'static,
    ) {
        self.adopt_for(socket.into(), received.into(), OneStream::service(handler));
    }

    pub(crate) fn adopt_for(&mut self, socket: ConnectedSocket, received: Vec<u8>, service: Rc<dyn Service>) {
        self.deferred.adoptions.push(Adoption { socket, received, service });
    }
}
