//! Taking over connected sockets, in the loop.

use std::{io, mem};

use crate::{
    net::{ConnectedSocket, Kernel},
    reactor::{
        Reactor,
        connection::inbound::Backlog,
        id::ConnectionId,
        listen::{
            Service,
            adopt::{Adoption, OneStream},
        },
        panic::catch_panic,
        stream::StreamHandler,
    },
};

impl<K: Kernel> Reactor<K> {
    /// Takes over a connected socket as a raw stream. `received`: bytes that were read from it already; the handler
    /// gets them first.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use ws_reactor::{Reactor, Stream, StreamHandler};
    ///
    /// struct Echo;
    ///
    /// impl StreamHandler for Echo {
    ///     fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
    ///         stream.write(data);
    ///     }
    /// }
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let (accepted, _) = listener.accept()?;
    /// let mut reactor = Reactor::new()?;
    /// let id = reactor.adopt_stream(accepted, "read before", Echo)?;
    /// assert!(reactor.hub().is_open(id));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The socket is not connected, the system cannot use it, or the reactor is shutting down.
    pub fn adopt_stream(
        &mut self,
        socket: impl Into<ConnectedSocket>,
        received: impl Into<Vec<u8>>,
        handler: impl StreamHandler + 'static,
    ) -> io::Result<ConnectionId> {
        self.adopt_for(socket.into(), &received.into(), &*OneStream::service(handler))
    }

    pub(crate) fn adopt_for(
        &mut self,
        socket: ConnectedSocket,
        received: &[u8],
        service: &dyn Service,
    ) -> io::Result<ConnectionId> {
        if !self.hub.may_dial() {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the reactor is shutting down"));
        }
        let (stream, peer) = self.kernel.adopt(socket)?;
        let handler = catch_panic(self.config.panic_policy, || service.stream(peer)).map_err(|_| {
            self.hub.stats.panics += 1;
            io::Error::other("the factory of the handler panicked")
        })?;
        let id = self.begin(stream, peer, service.tls(), service.config(), handler)?;
        if !received.is_empty()
            && let Some(inbound) = self.inbounds.get_mut(id.key())
        {
            if inbound.transport.take_first_bytes(received) {
                inbound.readable = true;
            } else {
                inbound.backlog = Some(Backlog::new(received));
            }
            self.queue_reread(id.key());
        }
        Ok(id)
    }

    /// Takes over the sockets that were passed to the Hub.
    #[inline]
    pub(in crate::reactor) fn adopt_requested(&mut self) {
        for Adoption { socket, received, service } in mem::take(&mut self.hub.deferred.adoptions) {
            if let Err(error) = self.adopt_for(socket, &received, &*service) {
                log::warn!(target: "ws_reactor::net", "a socket cannot be taken over: {error}");
            }
            self.drop_guarded(service);
        }
    }
}
