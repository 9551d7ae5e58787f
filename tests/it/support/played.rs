//! Clients for tests, on a simulated system: what they are told, and servers that a test plays.
#![allow(dead_code)]

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc};

use ws_reactor::{
    Callbacks, Client, ConnectionId, Reactor, ReactorConfig, Server,
    net::{
        Answer, Resolver,
        sim::{PeerId, Sim},
    },
    on_message,
};

pub(crate) const SERVER: &str = "10.0.0.1:80";
pub(crate) const URL: &str = "ws://10.0.0.1/chat?room=1";

pub(crate) type Log = Rc<RefCell<Vec<String>>>;

/// Notes all that it is told.
pub(crate) fn noting(log: &Log) -> Callbacks {
    let note = |log: &Log, what: String| log.borrow_mut().push(what);
    let logs: [Log; 5] = std::array::from_fn(|_| Rc::clone(log));
    let [open, message, pong, error, close] = logs;
    Callbacks::new()
        .on_open(move |ws, handshake| {
            note(&open, format!("open {} {:?} by {}", ws.version(), handshake.subprotocol(), ws.peer_addr()));
        })
        .on_message(move |_, message_in| note(&message, format!("message {message_in}")))
        .on_pong(move |_, data| note(&pong, format!("pong {}", data.escape_ascii())))
        .on_error(move |_, what| note(&error, format!("error {what:#}")))
        .on_close(move |_, reason| note(&close, format!("close {reason}")))
}

pub(crate) fn echo() -> Server {
    Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    })
}

pub(crate) fn world(server: Server) -> Reactor<Sim> {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.listen(SERVER, server).unwrap();
    reactor
}

pub(crate) fn taken(log: &Log) -> Vec<String> {
    log.take()
}

/// A client whose server is played by the test.
pub(crate) struct Played {
    pub(crate) reactor: Reactor<Sim>,
    pub(crate) peer: PeerId,
    pub(crate) id: ConnectionId,
    pub(crate) log: Log,
    pub(crate) request: String,
}

pub(crate) fn played(client: impl FnOnce(Callbacks) -> Client) -> Played {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().play(SERVER.parse().unwrap());
    let log = Log::default();
    let id = reactor.connect(URL, client(noting(&log))).unwrap();
    reactor.settle().unwrap();
    let (peer, _) = reactor.kernel_mut().dialed().unwrap();
    let request = String::from_utf8_lossy(&reactor.kernel_mut().received(peer)).into_owned();
    Played { reactor, peer, id, log, request }
}

impl Played {
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) -> Vec<String> {
        self.reactor.kernel_mut().send(self.peer, bytes.as_ref());
        self.reactor.settle().unwrap();
        taken(&self.log)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let line = self.request.lines().find(|line| line.starts_with(&format!("{name}: ")));
        line.map_or("", |line| line.split_once(": ").unwrap().1)
    }

    /// A good answer, with more lines.
    pub(crate) fn answer(&self, lines: &str) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n{lines}\r\n",
            accept(self.header("Sec-WebSocket-Key"))
        )
    }
}

/// RFC 6455 §4.2.2, by another implementation of SHA-1 than the crate's own use of it.
pub(crate) fn accept(key: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use sha1::{Digest, Sha1};
    STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")))
}

/// Knows some names, and answers when it is told to.
#[derive(Clone, Default)]
pub(crate) struct Names(pub(crate) Rc<RefCell<Vec<(String, Answer)>>>);

impl Resolver for Names {
    fn resolve(&self, name: &str, port: u16, answer: Answer) {
        self.0.borrow_mut().push((format!("{name}:{port}"), answer));
    }
}

impl Names {
    pub(crate) fn answer(&self, addresses: io::Result<&[&str]>) {
        let (_, answer) = self.0.borrow_mut().pop().unwrap();
        answer.give(addresses.map(|all| all.iter().map(|address| address.parse::<SocketAddr>().unwrap()).collect()));
    }
}

/// Knows every name at once: all are one host.
pub(crate) struct Here;

impl Resolver for Here {
    fn resolve(&self, _: &str, port: u16, answer: Answer) {
        answer.give(Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))]));
    }
}

/// A reactor on which every name is one host.
pub(crate) fn reactor() -> Reactor<Sim> {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.set_resolver(Here);
    reactor
}
