//! Clients for tests on a simulated system: their events, name resolvers, and servers that a test plays.
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

/// Events, one line each.
pub(crate) type Log = Rc<RefCell<Vec<String>>>;

/// A handler that writes its events to `log`.
pub(crate) fn recording(log: &Log) -> Callbacks {
    let push = |log: &Log, event: String| log.borrow_mut().push(event);
    let logs: [Log; 5] = std::array::from_fn(|_| Rc::clone(log));
    let [open, message, pong, error, close] = logs;
    Callbacks::new()
        .on_open(move |ws, handshake| {
            push(&open, format!("open {} {:?} via {}", ws.version(), handshake.subprotocol(), ws.peer_addr()));
        })
        .on_message(move |_, received| push(&message, format!("message {received}")))
        .on_pong(move |_, payload| push(&pong, format!("pong {}", payload.escape_ascii())))
        .on_error(move |_, cause| push(&error, format!("error {cause:#}")))
        .on_close(move |_, reason| push(&close, format!("close {reason}")))
}

/// Takes the events logged since the last call.
pub(crate) fn drain(log: &Log) -> Vec<String> {
    log.take()
}

pub(crate) fn echo() -> Server {
    Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    })
}

/// A reactor with `server` on [`SERVER`].
pub(crate) fn reactor_serving(server: Server) -> Reactor<Sim> {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.listen(SERVER, server).unwrap();
    reactor
}

/// A reactor on which every name resolves to the host of [`SERVER`].
pub(crate) fn reactor() -> Reactor<Sim> {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.set_resolver(FixedResolver);
    reactor
}

/// A server that the test plays, and the client that has dialed it.
pub(crate) struct FakeServer {
    pub(crate) reactor: Reactor<Sim>,
    pub(crate) peer: PeerId,
    /// The client's connection.
    pub(crate) id: ConnectionId,
    /// The client's events.
    pub(crate) log: Log,
    pub(crate) request: String,
}

impl FakeServer {
    /// Receives the request of a client. `client` builds it from the handler that logs its events.
    pub(crate) fn dialed_by(client: impl FnOnce(Callbacks) -> Client) -> FakeServer {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        reactor.kernel_mut().play(SERVER.parse().unwrap());
        let log = Log::default();
        let id = reactor.connect(URL, client(recording(&log))).unwrap();
        reactor.settle().unwrap();
        let (peer, _) = reactor.kernel_mut().dialed().unwrap();
        let request = String::from_utf8_lossy(&reactor.kernel_mut().received(peer)).into_owned();
        FakeServer { reactor, peer, id, log, request }
    }

    /// Sends bytes to the client and returns the events that follow.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> Vec<String> {
        self.reactor.kernel_mut().send(self.peer, bytes.as_ref());
        self.reactor.settle().unwrap();
        drain(&self.log)
    }

    /// The value of a header of the request, or an empty string.
    pub(crate) fn header(&self, name: &str) -> &str {
        let line = self.request.lines().find(|line| line.starts_with(&format!("{name}: ")));
        line.map_or("", |line| line.split_once(": ").unwrap().1)
    }

    /// A valid response with additional header lines.
    pub(crate) fn response(&self, lines: &str) -> String {
        let accept = accept_key(self.header("Sec-WebSocket-Key"));
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
        )
    }
}

/// The value of `Sec-WebSocket-Accept` (RFC 6455 §4.2.2), computed without the crate's own code.
pub(crate) fn accept_key(key: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use sha1::{Digest, Sha1};
    STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")))
}

/// Queues its queries until the test answers them.
#[derive(Clone, Default)]
pub(crate) struct ManualResolver(pub(crate) Rc<RefCell<Vec<(String, Answer)>>>);

impl Resolver for ManualResolver {
    fn resolve(&self, name: &str, port: u16, answer: Answer) {
        self.0.borrow_mut().push((format!("{name}:{port}"), answer));
    }
}

impl ManualResolver {
    /// Answers the newest query.
    pub(crate) fn answer(&self, addresses: io::Result<&[&str]>) {
        let (_, answer) = self.0.borrow_mut().pop().unwrap();
        answer.give(addresses.map(|all| all.iter().map(|address| address.parse::<SocketAddr>().unwrap()).collect()));
    }
}

/// Resolves every name to the host of [`SERVER`] at once.
pub(crate) struct FixedResolver;

impl Resolver for FixedResolver {
    fn resolve(&self, _: &str, port: u16, answer: Answer) {
        answer.give(Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))]));
    }
}
