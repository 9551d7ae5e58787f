//! The connections of a server: those that its listeners accept, those that are adopted, and those of other protocols
//! that hand over.

use std::rc::Rc;

use super::{Server, site::WebSocketSite};
use crate::{
    error::{Error, ListenError},
    net::{Bind, ConnectedSocket, Kernel, tls::TlsAcceptor},
    peer_addr::PeerAddr,
    reactor::{Hub, Listening, Reactor, Service, StreamConfig, StreamHandler},
    server::{HttpStream, Site},
};

/// A WebSocket server for streams that another protocol hands over. Made by [`Server::into_stream_server`]. A clone is
/// the same server.
#[derive(Debug, Clone)]
pub struct StreamServer {
    site: Rc<WebSocketSite>,
}

impl StreamServer {
    pub(super) fn new(site: Rc<WebSocketSite>) -> Self {
        StreamServer { site }
    }

    /// Creates the handler of one connection, for [`Stream::hand_over`](crate::Stream::hand_over). The opening timeout
    /// begins with its `on_connect`.
    pub fn stream_handler(&self) -> impl StreamHandler + use<> {
        HttpStream::new(Rc::clone(&self.site))
    }

    fn service(&self) -> Rc<dyn Service> {
        let stream = Rc::new(self.site.server.config.websocket.stream.clone());
        Rc::new(ServerService { server: self.clone(), stream })
    }
}

struct ServerService {
    server: StreamServer,
    stream: Rc<StreamConfig>,
}

impl Service for ServerService {
    fn stream(&self, _: PeerAddr) -> Box<dyn StreamHandler> {
        Box::new(self.server.stream_handler())
    }

    fn config(&self) -> Rc<StreamConfig> {
        Rc::clone(&self.stream)
    }

    fn tls(&self) -> Option<&TlsAcceptor> {
        self.server.site.server.tls.as_ref()
    }

    fn pending_limits(&self) -> (Option<usize>, Option<usize>) {
        let config = &self.server.site.server.config;
        (config.pending_handshakes, config.pending_handshakes_per_address)
    }

    fn report(&self, peer: PeerAddr, error: &Error) {
        self.server.site.report(peer, error);
    }
}

impl<K: Kernel> Reactor<K> {
    /// Listens for WebSockets at an address: text, a [`SocketAddr`](std::net::SocketAddr), or a [`Bind`] with options.
    ///
    /// # Errors
    ///
    /// [`ListenError::Bind`]: the address cannot be resolved, or no socket can be bound to it.
    pub fn listen(&mut self, bind: impl Into<Bind>, server: Server) -> Result<Listening, ListenError> {
        self.open(bind.into(), server.into_stream_server().service())
    }
}

impl Hub {
    /// Takes over a connected socket as a connection of a server, in the course of this turn. `received`: bytes that
    /// were read from it already, such as a request. See [`adopt_stream`](Self::adopt_stream).
    ///
    /// ```no_run
    /// use std::net::TcpListener;
    /// use ws_reactor::{Reactor, Server, on_message};
    ///
    /// let mut reactor = Reactor::new()?;
    /// let remote = reactor.remote();
    /// std::thread::spawn(move || {
    ///     let listener = TcpListener::bind("127.0.0.1:8080").unwrap();
    ///     for socket in listener.incoming().flatten() {
    ///         remote.run(move |hub| {
    ///             let server = Server::new(|_| on_message(|ws, message| { ws.send(message); }));
    ///             hub.adopt(socket, "", &server.into_stream_server());
    ///         }).unwrap();
    ///     }
    /// });
    /// reactor.run()?;
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn adopt(&mut self, socket: impl Into<ConnectedSocket>, received: impl Into<Vec<u8>>, server: &StreamServer) {
        self.adopt_for(socket.into(), received.into(), server.service());
    }

    /// Listens for WebSockets. The listener opens later in this turn; then `then` is called with the result.
    ///
    /// In a [group](crate::ReactorGroup) the listener is of this reactor alone, unlike one of
    /// [`Reactor::listen`](crate::Reactor): set [`Bind::reuse_port`] if others listen at the same port.
    ///
    /// # Errors
    ///
    /// `then` gets [`ListenError::Bind`] if the address cannot be resolved or bound, and [`ListenError::ShuttingDown`]
    /// if the reactor is shutting down.
    pub fn listen(
        &mut self,
        bind: impl Into<Bind>,
        server: Server,
        then: impl FnOnce(&mut Hub, Result<Listening, ListenError>) + 'static,
    ) {
        self.open(bind.into(), server.into_stream_server().service(), Box::new(then));
    }
}
