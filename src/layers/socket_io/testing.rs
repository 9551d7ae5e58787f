//! Tests of servers without sockets and without real time.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{SocketIo, SocketIoHandle, packet, parser::Encoding, payload::Payload};
use crate::{
    protocol::OwnedMessage,
    reactor::Hub,
    websocket::{Received, Routes, Server, TestSocket},
};

/// A server under test, and one client in one namespace, by a WebSocket.
///
/// Each call returns after the server has handled what it caused. Time moves only by [`advance`](Self::advance); the
/// client answers pings.
///
/// ```
/// use serde_json::json;
/// use ws_reactor::socket_io::{SocketIo, SocketIoTest};
///
/// let io = SocketIo::new();
/// io.of("/").on_connection(|socket| {
///     socket.on_with_ack("add", |socket, (a, b): (i64, i64), ack| ack.send(socket.hub(), &(a + b)));
///     socket.on("join", |socket, room: String| socket.join(&room));
/// });
/// let mut client = SocketIoTest::connect(io, "/", &json!({"token": "x"})).expect("the client is let in");
/// assert_eq!(client.emit_with_ack("add", &(1, 2)), Some(vec![json!(3)]));
/// client.emit("join", &"news");
/// let all = client.server().of("/");
/// all.to(client.hub(), "news").emit("headline", &("nothing", 1));
/// assert_eq!(client.received(), [("headline".to_owned(), vec![json!("nothing"), json!(1)])]);
/// ```
#[derive(Debug)]
pub struct SocketIoTest {
    socket: TestSocket,
    handle: SocketIoHandle,
    namespace: String,
    events: Vec<(String, Vec<Value>)>,
    acks: Vec<(u64, Vec<Value>)>,
    next_ack: u64,
    is_connected: bool,
}

impl SocketIoTest {
    /// Connects a client to a namespace, with its `auth`.
    ///
    /// # Errors
    ///
    /// The client's `connect_error`: an object with `message`, and `data` if there is any.
    ///
    /// # Panics
    ///
    /// If the server has another path than `/socket.io/`, or refuses the request.
    pub fn connect(io: SocketIo, namespace: &str, auth: &Value) -> Result<Self, Value> {
        let handle = io.handle();
        let server = Server::routes(io.mount(Routes::new())).unwrap_or_else(|error| panic!("{error}"));
        let socket = TestSocket::connect(server, "/socket.io/?EIO=4&transport=websocket");
        let mut test = SocketIoTest {
            socket,
            handle,
            namespace: namespace.to_owned(),
            events: Vec::new(),
            acks: Vec::new(),
            next_ack: 0,
            is_connected: false,
        };
        let connect = packet::head(packet::Kind::Connect, 0, namespace, None) + &auth.to_string();
        test.socket.send(&*connect);
        match test.read() {
            Some(error) => Err(error),
            None => Ok(test),
        }
    }

    /// Returns `true` while the client is in the namespace.
    pub fn is_connected(&mut self) -> bool {
        self.read();
        self.is_connected
    }

    /// Emits an event, with arguments as [`Socket::emit`](super::Socket::emit) takes them.
    ///
    /// # Panics
    ///
    /// If the arguments cannot be written as JSON.
    pub fn emit<T: Serialize + ?Sized>(&mut self, event: &str, args: &T) {
        self.send(event, args, None);
    }

    /// Emits an event, and returns the arguments of the server's answer if there is one.
    ///
    /// # Panics
    ///
    /// If the arguments cannot be written as JSON.
    pub fn emit_with_ack<T: Serialize + ?Sized>(&mut self, event: &str, args: &T) -> Option<Vec<Value>> {
        let number = self.next_ack;
        self.next_ack += 1;
        self.send(event, args, Some(number));
        self.read();
        let index = self.acks.iter().position(|(known, _)| *known == number)?;
        Some(self.acks.swap_remove(index).1)
    }

    fn send<T: Serialize + ?Sized>(&mut self, event: &str, args: &T, ack: Option<u64>) {
        let payload = Payload::new(Some(event), args).expect("the arguments can be written as JSON");
        for packet in Encoding::Text.encode(packet::Kind::Event, &self.namespace, &payload, ack) {
            self.socket.send(packet.as_message());
        }
    }

    /// Takes the events that the client has received since the last call. A binary value is a placeholder.
    pub fn received(&mut self) -> Vec<(String, Vec<Value>)> {
        self.read();
        std::mem::take(&mut self.events)
    }

    /// Moves time forward: for timers and time-outs.
    pub fn advance(&mut self, by: Duration) {
        let end = self.socket.hub().now() + by;
        // The client answers each ping in time.
        while self.socket.hub().now() < end {
            let rest = end - self.socket.hub().now();
            self.socket.advance(rest.min(Duration::from_secs(1)));
            self.read();
        }
    }

    /// The client leaves the namespace.
    pub fn disconnect(&mut self) {
        let packet = packet::head(packet::Kind::Disconnect, 0, &self.namespace, None);
        self.socket.send(&*packet);
        self.is_connected = false;
    }

    /// The connection of the client is cut.
    pub fn cut(&mut self) {
        self.socket.reset();
        self.is_connected = false;
    }

    /// The server.
    pub fn server(&self) -> SocketIoHandle {
        self.handle.clone()
    }

    /// The Hub of the reactor.
    pub fn hub(&mut self) -> &mut Hub {
        self.socket.hub()
    }

    /// Reads what the server has sent. Returns an error that refuses the client.
    fn read(&mut self) -> Option<Value> {
        self.socket.settle();
        let mut refusal = None;
        for received in self.socket.received() {
            match received {
                Received::Message(OwnedMessage::Text(text)) => match text.as_str() {
                    "2" => self.socket.send("3"),
                    text => refusal = self.on_packet(text.strip_prefix('4').unwrap_or_default()).or(refusal),
                },
                Received::Close(_) => self.is_connected = false,
                _ => {}
            }
        }
        refusal
    }

    fn on_packet(&mut self, text: &str) -> Option<Value> {
        let header = packet::Header::parse(text, usize::MAX).ok()?;
        let values = || serde_json::from_str::<Vec<Value>>(header.payload).unwrap_or_default();
        match header.kind {
            packet::Kind::Connect => self.is_connected = true,
            packet::Kind::Disconnect => self.is_connected = false,
            packet::Kind::ConnectError => return serde_json::from_str(header.payload).ok(),
            packet::Kind::Event | packet::Kind::BinaryEvent => {
                let mut values = values().into_iter();
                let name = values.next().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
                self.events.push((name, values.collect()));
            }
            packet::Kind::Ack | packet::Kind::BinaryAck => self.acks.push((header.ack?, values())),
        }
        None
    }
}
