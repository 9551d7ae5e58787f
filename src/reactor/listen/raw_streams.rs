//! Listeners for raw streams.

use std::rc::Rc;

use super::{Listening, Service};
use crate::{
    error::ListenError,
    net::{Bind, Kernel, tls::TlsAcceptor},
    peer_addr::PeerAddr,
    reactor::{Reactor, config::StreamConfig, hub::Hub, stream::StreamHandler},
};

/// Service for raw streams.
struct Streams<F> {
    factory: F,
    config: Rc<StreamConfig>,
    tls: Option<TlsAcceptor>,
}

impl<F: Fn(PeerAddr) -> H, H: StreamHandler + 'static> Service for Streams<F> {
    fn stream(&self, peer: PeerAddr) -> Box<dyn StreamHandler> {
        Box::new((self.factory)(peer))
    }

    fn config(&self) -> Rc<StreamConfig> {
        Rc::clone(&self.config)
    }

    fn tls(&self) -> Option<&TlsAcceptor> {
        self.tls.as_ref()
    }
}

impl<K: Kernel> Reactor<K> {
    /// Opens a listener for raw streams. `factory` creates the handler of each accepted connection from the peer's
    /// address.
    ///
    /// `bind` is an address as text, a [`SocketAddr`](std::net::SocketAddr), or a [`Bind`] with options.
    ///
    /// # Errors
    ///
    /// [`ListenError::Bind`] if the address cannot be resolved or no socket can be bound to it.
    pub fn listen_stream<H: StreamHandler + 'static>(
        &mut self,
        bind: impl Into<Bind>,
        factory: impl Fn(PeerAddr) -> H + 'static,
    ) -> Result<Listening, ListenError> {
        self.listen_stream_with(bind, StreamConfig::default(), factory)
    }

    /// As [`listen_stream`](Self::listen_stream), with a configuration for the streams.
    ///
    /// # Errors
    ///
    /// See [`listen_stream`](Self::listen_stream).
    pub fn listen_stream_with<H: StreamHandler + 'static>(
        &mut self,
        bind: impl Into<Bind>,
        config: StreamConfig,
        factory: impl Fn(PeerAddr) -> H + 'static,
    ) -> Result<Listening, ListenError> {
        self.open(bind.into(), Rc::new(Streams { factory, config: Rc::new(config), tls: None }))
    }

    /// As [`listen_stream_with`](Self::listen_stream_with), with TLS on each stream (EventMachine's `start_tls`).
    ///
    /// `on_connect` is called right after accept. Output waits until the TLS handshake is done;
    /// [`Stream::tls_info`](crate::Stream) is `None` until then.
    ///
    /// # Errors
    ///
    /// See [`listen_stream`](Self::listen_stream).
    #[cfg(feature = "tls")]
    pub fn listen_stream_over_tls<H: StreamHandler + 'static>(
        &mut self,
        bind: impl Into<Bind>,
        tls: impl Into<TlsAcceptor>,
        config: StreamConfig,
        factory: impl Fn(PeerAddr) -> H + 'static,
    ) -> Result<Listening, ListenError> {
        self.open(bind.into(), Rc::new(Streams { factory, config: Rc::new(config), tls: Some(tls.into()) }))
    }
}

impl Hub {
    /// Opens a listener for raw streams in the course of this turn, or in the next if it is called late in the turn.
    /// Then calls `then` with the result.
    ///
    /// The result is [`ListenError::Bind`] if the address cannot be resolved or no socket can be bound to it, and
    /// [`ListenError::ShuttingDown`] if the loop is ending.
    ///
    /// In a [group](crate::ReactorGroup) the listener is of this reactor alone, unlike one of
    /// [`Reactor::listen_stream`](crate::Reactor): set [`Bind::reuse_port`] if others listen at the same port.
    ///
    /// See [`Reactor::listen_stream`](crate::Reactor::listen_stream) for the other parameters.
    pub fn listen_stream<H: StreamHandler + 'static>(
        &mut self,
        bind: impl Into<Bind>,
        factory: impl Fn(PeerAddr) -> H + 'static,
        then: impl FnOnce(&mut Hub, Result<Listening, ListenError>) + 'static,
    ) {
        let config = Rc::default();
        self.open(bind.into(), Rc::new(Streams { factory, config, tls: None }), Box::new(then));
    }
}
