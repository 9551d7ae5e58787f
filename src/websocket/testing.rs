//! Testing a handler without sockets: the whole server on a simulated system, and one peer to play.

use std::{cell::Cell, time::Duration};

use super::{handler::Handler, server::Server};
use crate::{
    net::sim::{PeerId, Sim},
    protocol::{
        CloseCode, Limits, Message, OwnedMessage, Side, Version,
        block::Blocks,
        decoder::{Decoded, Decoder, Incoming},
        encoder::Encoder,
    },
    reactor::{Config, Hub, Reactor},
};

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Message(OwnedMessage),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame, with its code and reason if it had any.
    Close(Option<(CloseCode, String)>),
}

impl From<&str> for Received {
    fn from(text: &str) -> Self {
        Received::Message(text.into())
    }
}

/// A handler under test, and its peer in the hand of the test. What the peer does has been handled when the call returns; time moves by
/// [`advance`](Self::advance).
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
///             Message::Binary(_) => ws.close(CloseCode::Unsupported, "text only"),
///         };
///     }
/// }
///
/// let mut socket = TestSocket::open(Shout);
/// socket.send("hello");
/// assert_eq!(socket.received(), ["HELLO".into()]);
///
/// // A peer that stays silent is pinged, and given up in the end.
/// socket.advance(Duration::from_secs(41));
/// assert!(socket.is_closed());
/// ```
#[derive(Debug)]
pub struct TestSocket {
    reactor: Reactor<Sim>,
    peer: PeerId,
    decoder: Decoder,
    blocks: Blocks,
    /// Received and not yet whole.
    pending: Vec<u8>,
}

const ADDRESS: &str = "10.0.0.1:80";

/// Masking hides nothing from a simulated network.
const KEY: [u8; 4] = [0x6b, 0x65, 0x79, 0x21];

impl TestSocket {
    /// An open connection to a server that has this handler for it.
    pub fn open<H: Handler + 'static>(handler: H) -> Self {
        let only = Cell::new(Some(handler));
        TestSocket::connect(Server::new(move |_| only.take().expect("there is one connection")), "/")
    }

    /// An open connection to a server, asking for `target`.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub fn connect(server: Server, target: &str) -> Self {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut socket = TestSocket::request(server, request);
        let answer = String::from_utf8_lossy(&socket.pending).into_owned();
        assert!(answer.starts_with("HTTP/1.1 101 "), "the server refuses: {answer}");
        let head = answer.find("\r\n\r\n").map_or(answer.len(), |end| end + 4);
        socket.pending.drain(..head);
        socket
    }

    /// Sends a request as it stands; the answer is to be had by [`received_bytes`](Self::received_bytes).
    pub fn request(server: Server, request: impl AsRef<[u8]>) -> Self {
        let mut reactor = Reactor::on(Sim::new(), Config::default());
        let listening = reactor.listen(ADDRESS, server).expect("a simulated address is free");
        let peer = reactor.kernel_mut().connect(listening.addr).expect("somebody listens");
        let decoder = Decoder::new(Version::Rfc6455, Side::Client, Limits::default());
        let mut socket = TestSocket { reactor, peer, decoder, blocks: Blocks::default(), pending: Vec::new() };
        socket.send_bytes(request.as_ref());
        socket
    }

    /// Sends a message.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) {
        let mut bytes = Vec::new();
        encoder().message(message.into(), KEY, &mut bytes);
        self.send_bytes(&bytes);
    }

    /// Sends a ping.
    pub fn ping(&mut self, data: &[u8]) {
        let mut bytes = Vec::new();
        encoder().ping(data, KEY, &mut bytes);
        self.send_bytes(&bytes);
    }

    /// Sends a pong.
    pub fn pong(&mut self, data: &[u8]) {
        let mut bytes = Vec::new();
        encoder().pong(data, KEY, &mut bytes);
        self.send_bytes(&bytes);
    }

    /// Sends a close frame.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        let mut bytes = Vec::new();
        encoder().close(Some(code), reason, KEY, &mut bytes);
        self.send_bytes(&bytes);
    }

    /// Sends bytes as they are, for what a well-behaved peer would not say.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.reactor.kernel_mut().send(self.peer, bytes);
        self.settle();
    }

    /// Ends the peer's side of the stream without a close frame.
    pub fn finish(&mut self) {
        self.reactor.kernel_mut().finish(self.peer);
        self.settle();
    }

    /// Breaks the connection.
    pub fn reset(&mut self) {
        self.reactor.kernel_mut().reset(self.peer);
        self.settle();
    }

    /// Breaks the connection at the very time that `by` from now is: whatever is due then is due in the same turn.
    pub fn reset_after(&mut self, by: Duration) {
        self.reactor.kernel_mut().advance(by);
        self.reset();
    }

    /// Has the peer stop reading; the network holds so many bytes for it.
    pub fn hold(&mut self, bytes: usize) {
        self.reactor.kernel_mut().hold(self.peer, bytes);
    }

    /// Has the peer read again.
    pub fn release(&mut self) {
        self.reactor.kernel_mut().release(self.peer);
        self.settle();
    }

    /// Moves time on.
    pub fn advance(&mut self, by: Duration) {
        self.reactor.advance(by).expect("a simulated poll does not fail");
        self.collect();
    }

    /// What the server has said since the last call.
    ///
    /// # Panics
    ///
    /// If it broke the protocol.
    pub fn received(&mut self) -> Vec<Received> {
        let mut received = Vec::new();
        let mut at = 0;
        loop {
            let decoded = self.decoder.decode(&mut self.pending[at..], &mut self.blocks);
            let Decoded { consumed, incoming, .. } = decoded.expect("the server keeps to the protocol");
            at += consumed;
            received.push(match incoming {
                Some(Incoming::Message(message)) => Received::Message(message.to_owned()),
                Some(Incoming::Ping(data)) => Received::Ping(data.to_vec()),
                Some(Incoming::Pong(data)) => Received::Pong(data.to_vec()),
                Some(Incoming::Close(said)) => Received::Close(said.map(|(code, reason)| (code, reason.to_owned()))),
                None => break,
            });
        }
        self.pending.clear();
        received
    }

    /// The bytes the server has sent since the last call, as they are.
    pub fn received_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Whether the server has let go of the connection.
    pub fn is_closed(&mut self) -> bool {
        self.reactor.kernel_mut().is_closed(self.peer)
    }

    /// Whether the peer has seen the end of the stream.
    pub fn is_ended(&mut self) -> bool {
        self.reactor.kernel_mut().is_ended(self.peer)
    }

    /// The server's Hub. What is asked of it is carried out by the next call that lets the server run.
    pub fn hub(&mut self) -> &mut Hub {
        self.reactor.hub()
    }

    /// Lets the server run until nothing is left to do.
    pub fn settle(&mut self) {
        self.reactor.settle().expect("a simulated poll does not fail");
        self.collect();
    }

    fn collect(&mut self) {
        let received = self.reactor.kernel_mut().received(self.peer);
        self.pending.extend(received);
    }
}

fn encoder() -> Encoder {
    Encoder::new(Version::Rfc6455, Side::Client)
}
