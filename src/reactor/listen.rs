//! Listening: what makes protocols for accepted connections, and how a listener is opened and closed.

use std::{fmt, net::SocketAddr, rc::Rc};

use super::{
    Hub, StreamHandler,
    config::StreamConfig,
    id::{ListenerId, TimerId},
};
use crate::{
    error::ListenError,
    net::{Bind, tls::TlsAcceptor},
};

/// Makes the protocol for each connection that a listener accepts.
pub(crate) trait Service {
    fn stream(&self, peer: SocketAddr) -> Box<dyn StreamHandler>;
    fn config(&self) -> Rc<StreamConfig>;
    /// What its connections have to speak before anything else.
    fn tls(&self) -> Option<&TlsAcceptor>;
}

/// A service of raw streams.
pub(super) struct Streams<F> {
    pub(super) factory: F,
    pub(super) config: Rc<StreamConfig>,
    pub(super) tls: Option<TlsAcceptor>,
}

impl<F: Fn(SocketAddr) -> H, H: StreamHandler + 'static> Service for Streams<F> {
    fn stream(&self, peer: SocketAddr) -> Box<dyn StreamHandler> {
        Box::new((self.factory)(peer))
    }

    fn config(&self) -> Rc<StreamConfig> {
        Rc::clone(&self.config)
    }

    fn tls(&self) -> Option<&TlsAcceptor> {
        self.tls.as_ref()
    }
}

/// A listener that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Its name, by which it is closed.
    pub id: ListenerId,
    /// The address it got; the port is the one the system chose, if 0 was asked for.
    pub addr: SocketAddr,
}

/// What is called when a listener that a handler asked for was opened, or not.
pub(super) type Opened = Box<dyn FnOnce(&mut Hub, Result<Listening, ListenError>)>;

/// A listener that a handler asked for.
pub(super) struct Opening {
    pub(super) bind: Bind,
    pub(super) service: Rc<dyn Service>,
    pub(super) then: Opened,
}

impl fmt::Debug for Opening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Opening").field(&self.bind).finish()
    }
}

/// An open listener.
pub(super) struct Listener<L> {
    pub(super) id: ListenerId,
    pub(super) socket: L,
    pub(super) service: Rc<dyn Service>,
    /// Connections may wait that were not accepted; no event will tell again.
    pub(super) ready: bool,
    /// The system had no room for another connection; the timer tries again.
    pub(super) parked: Option<TimerId>,
    /// So many tries in a row have brought nothing.
    pub(super) failures: u32,
}

impl<L: fmt::Debug> fmt::Debug for Listener<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Listener")
            .field("socket", &self.socket)
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Opens a listener for raw streams in the course of this turn, and tells `then` how that went.
    pub fn listen_stream<H: StreamHandler + 'static>(
        &mut self,
        bind: impl Into<Bind>,
        factory: impl Fn(SocketAddr) -> H + 'static,
        then: impl FnOnce(&mut Hub, Result<Listening, ListenError>) + 'static,
    ) {
        let config = Rc::default();
        self.open(bind.into(), Rc::new(Streams { factory, config, tls: None }), Box::new(then));
    }

    pub(crate) fn open(&mut self, bind: Bind, service: Rc<dyn Service>, then: Opened) {
        self.openings.push(Opening { bind, service, then });
    }
}
