//! A complete server on a simulated system, and one client that the test plays.

use std::{cell::Cell, time::Duration};

use super::Received;
#[cfg(feature = "tls")]
use crate::net::tls::testing::Client;
use crate::{
    buffer::Blocks,
    net::sim::{PeerId, Sim},
    protocol::{
        CloseCode, Message, MessageLimits, Side, Version,
        decoder::PartialStates,
        decoder::{Decoded, Decoder},
        encoder::Encoder,
        handshake,
    },
    reactor::{Hub, Reactor, ReactorConfig},
    websocket::{handler::Handler, server::Server},
};

/// A server under test, and the client end of one connection. No real socket, no real time.
///
/// Each call returns after the server has handled everything that the call caused. Time moves only by
/// [`advance`](Self::advance) and [`reset_after`](Self::reset_after). The client does not answer pings or close frames
/// by itself.
///
/// ```
/// use std::time::Duration;
/// use ws_reactor::{CloseCode, Handler, Message, TestSocket, WebSocket};
///
/// struct Shout;
///
/// impl Handler for Shout {
///     fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
///         match message {
///             Message::Text(text) => ws.send(&text.to_uppercase()),
///             Message::Binary(_) => ws.close(CloseCode::UNSUPPORTED_DATA, "text only"),
///         };
///     }
/// }
///
/// let mut socket = TestSocket::open(Shout);
/// socket.send("hello");
/// assert_eq!(socket.received(), ["HELLO".into()]);
///
/// // The server pings a silent peer after 20 s, and terminates the connection after another 20 s.
/// socket.advance(Duration::from_secs(41));
/// assert!(socket.is_closed());
/// ```
#[derive(Debug)]
pub struct TestSocket {
    reactor: Reactor<Sim>,
    peer: PeerId,
    encoder: Encoder,
    decoder: Decoder,
    blocks: Blocks,
    partials: PartialStates,
    #[cfg(feature = "tls")]
    tls: Option<Box<Client>>,
    /// Received bytes that were not decoded yet.
    pending: Vec<u8>,
}

const ADDRESS: &str = "10.0.0.1:80";

/// A fixed masking key, so that tests are repeatable.
const KEY: [u8; 4] = [0x6b, 0x65, 0x79, 0x21];

impl TestSocket {
    /// Opens a connection to a server with default configuration, whose handler is `handler`. RFC 6455, target `/`.
    pub fn open<H: Handler + 'static>(handler: H) -> Self {
        let only = Cell::new(Some(handler));
        TestSocket::connect(Server::new(move |_| only.take().expect("there is one connection")), "/")
    }

    /// Opens a connection to a server, with a request for `target`. RFC 6455.
    ///
    /// # Panics
    ///
    /// If the server refuses the connection.
    pub fn connect(server: Server, target: &str) -> Self {
        TestSocket::connect_as(Version::Rfc6455, server, target)
    }

    /// Opens a connection of a protocol version.
    ///
    /// # Panics
    ///
    /// If the server refuses the connection.
    pub fn connect_as(version: Version, server: Server, target: &str) -> Self {
        TestSocket::idle(version, server).asking(version, target)
    }

    /// Opens a connection of a protocol version over TLS.
    ///
    /// The client expects the name `localhost` and trusts the PEM certificates in `trusted`.
    ///
    /// # Panics
    ///
    /// If the TLS handshake fails, or the server refuses the connection.
    #[cfg(feature = "tls")]
    pub fn connect_over_tls(version: Version, server: Server, target: &str, trusted: &[u8]) -> Self {
        let mut socket = TestSocket::idle(version, server);
        socket.tls = Some(Box::new(Client::new("localhost", trusted)));
        for _ in 0..10 {
            socket.send_bytes(b"");
        }
        assert!(socket.tls.as_ref().is_some_and(|tls| !tls.is_handshaking()), "the handshake comes to an end");
        socket.asking(version, target)
    }

    fn asking(mut self, version: Version, target: &str) -> Self {
        let socket = &mut self;
        socket.send_bytes(&handshake::sample_request(version, target, ""));
        let end = socket.pending.windows(4).position(|window| window == b"\r\n\r\n").map(|start| start + 4);
        let proof = handshake::sample_proof(version);
        match end {
            Some(end) if socket.pending.starts_with(b"HTTP/1.1 101 ") && socket.pending[end..].starts_with(proof) => {
                socket.pending.drain(..end + proof.len());
            }
            _ => panic!("the server refuses: {}", String::from_utf8_lossy(&socket.pending)),
        }
        self
    }

    /// Opens a connection and sends a raw request. [`received_bytes`](Self::received_bytes) returns the response, and
    /// has to be called before [`received`](Self::received). To open a WebSocket with headers, or to be refused, use
    /// [`Network::open_with`](crate::testing::Network::open_with) and
    /// [`try_open`](crate::testing::Network::try_open).
    pub fn request(server: Server, request: impl AsRef<[u8]>) -> Self {
        let mut socket = TestSocket::idle(Version::Rfc6455, server);
        socket.send_bytes(request.as_ref());
        socket
    }

    /// A connection without any bytes sent.
    fn idle(version: Version, server: Server) -> Self {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let listening = reactor.listen(ADDRESS, server).expect("a simulated address is free");
        let peer = reactor.kernel_mut().connect(listening.addr).expect("somebody listens");
        TestSocket {
            reactor,
            peer,
            encoder: Encoder::new(version, Side::Client),
            decoder: Decoder::new(version, Side::Client),
            blocks: Blocks::default(),
            partials: PartialStates::default(),
            #[cfg(feature = "tls")]
            tls: None,
            pending: Vec::new(),
        }
    }

    /// Sends a message.
    ///
    /// # Panics
    ///
    /// If the message is binary and the version has no binary messages.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) {
        let (message, mut bytes) = (message.into(), Vec::new());
        assert!(self.encoder.supports(message), "{} has no binary messages", self.encoder.version());
        self.encoder.message(message, KEY, &mut bytes);
        self.send_bytes(&bytes);
    }

    /// Sends a ping with at most 125 bytes of data. Further bytes are cut off.
    ///
    /// # Panics
    ///
    /// If the version has no pings.
    pub fn ping(&mut self, data: &[u8]) {
        self.expect_pings();
        let mut bytes = Vec::new();
        self.encoder.ping(data, KEY, &mut bytes);
        self.send_bytes(&bytes);
    }

    /// Sends a pong with at most 125 bytes of data. Further bytes are cut off.
    ///
    /// # Panics
    ///
    /// If the version has no pings.
    pub fn pong(&mut self, data: &[u8]) {
        self.expect_pings();
        let mut bytes = Vec::new();
        self.encoder.pong(data, KEY, &mut bytes);
        self.send_bytes(&bytes);
    }

    /// Sends a close frame, as far as the version has one.
    ///
    /// Before hybi-06 the frame carries neither code nor reason. hixie-75 sends nothing.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        let mut bytes = Vec::new();
        self.encoder.close(Some(code), reason, KEY, &mut bytes);
        self.send_bytes(&bytes);
    }

    /// Sends raw bytes, for a peer that breaks the protocol.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.say(bytes);
            let ciphertext = tls.outgoing();
            self.reactor.kernel_mut().send(self.peer, &ciphertext);
            return self.settle();
        }
        self.reactor.kernel_mut().send(self.peer, bytes);
        self.settle();
    }

    /// Ends the peer's side of the stream, without a close frame.
    pub fn finish(&mut self) {
        self.reactor.kernel_mut().finish(self.peer);
        self.settle();
    }

    /// Resets the connection.
    pub fn reset(&mut self) {
        self.reactor.kernel_mut().reset(self.peer);
        self.settle();
    }

    /// Moves time by `by`, then resets the connection. Timers due by then are due in the same turn as the reset.
    pub fn reset_after(&mut self, by: Duration) {
        self.reactor.kernel_mut().advance(by);
        self.reset();
    }

    /// Stops the peer from reading. The network holds `bytes` bytes for the peer, at least one.
    pub fn hold(&mut self, bytes: usize) {
        self.reactor.kernel_mut().hold(self.peer, bytes);
    }

    /// Resumes the peer's reading after [`hold`](Self::hold).
    pub fn release(&mut self) {
        self.reactor.kernel_mut().release(self.peer);
        self.settle();
    }

    /// Moves time by `by`. The server handles each timer at its own time.
    pub fn advance(&mut self, by: Duration) {
        self.reactor.advance(by).expect("a simulated poll does not fail");
        self.collect();
    }

    /// Takes the messages and control frames that the server sent since the last call.
    ///
    /// # Panics
    ///
    /// If the server breaks the protocol, or a response of HTTP was not taken before.
    pub fn received(&mut self) -> Vec<Received> {
        assert!(!self.pending.starts_with(b"HTTP/1.1 "), "`received_bytes` takes the response first");
        let mut received = Vec::new();
        let mut at = 0;
        loop {
            let decoded = self.decoder.next(
                &mut self.pending[at..],
                MessageLimits::default(),
                &mut self.blocks,
                &mut self.partials,
            );
            let Decoded { consumed, incoming, .. } = decoded.expect("the server keeps to the protocol");
            at += consumed;
            match incoming {
                Some(incoming) => received.push(Received::from(&incoming)),
                None => break,
            }
        }
        self.pending.clear();
        received
    }

    /// Takes the raw bytes that the server sent since the last call.
    pub fn received_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Returns `true` if the server has released the connection, and holds nothing of it. The peer may have output to
    /// read yet.
    pub fn is_closed(&mut self) -> bool {
        self.reactor.kernel_mut().is_closed(self.peer)
    }

    /// Returns `true` if the peer has read all output and the end of the stream. The server may wait for the peer yet.
    pub fn is_ended(&mut self) -> bool {
        self.reactor.kernel_mut().is_ended(self.peer)
    }

    /// The server's [`Hub`]. Requests to the Hub take effect in the next call that runs the server, such as
    /// [`settle`](Self::settle).
    pub fn hub(&mut self) -> &mut Hub {
        self.reactor.hub()
    }

    /// Runs the server until nothing is left to do at the present time.
    pub fn settle(&mut self) {
        self.reactor.settle().expect("a simulated poll does not fail");
        self.collect();
    }

    fn expect_pings(&self) {
        assert!(self.encoder.version().supports_ping(), "{} has no pings", self.encoder.version());
    }

    fn collect(&mut self) {
        let received = self.reactor.kernel_mut().received(self.peer);
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return self.pending.extend(tls.hear(&received));
        }
        self.pending.extend(received);
    }
}
