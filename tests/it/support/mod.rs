//! Helpers of the tests. Other test binaries include some of these files by path.

pub(crate) mod played;
#[cfg(feature = "tls")]
pub(crate) mod secure;
pub(crate) mod threaded;
pub(crate) mod wire;

use std::{cell::Cell, cell::RefCell, net::SocketAddr, panic, rc::Rc, sync::Once, time::Duration};

use ws_reactor::{
    Callbacks, ClosedBy, ConnectionId, Outgoing, Published, Reactor, ReactorConfig, SendStatus, Server, TestSocket,
    net::sim::{PeerId, Sim},
};

/// A handshake of RFC 6455, with the key of its §1.3.
pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Hides the reports of panics whose message begins with `deliberate: `.
pub(crate) fn silence_deliberate_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload_as_str().is_some_and(|message| message.starts_with("deliberate: ")) {
                report(info);
            }
        }));
    });
}

/// A socket to a server that does nothing, and the id of the connection on the server's side.
pub(crate) fn idle_socket() -> (TestSocket, ConnectionId) {
    let id = Rc::new(Cell::new(None));
    let opened = Rc::clone(&id);
    let socket = TestSocket::open(Callbacks::new().on_open(move |ws, _| opened.set(Some(ws.id()))));
    let id = id.get().expect("the connection is open");
    (socket, id)
}

/// The response to a client's request, computed without the crate's own code.
pub(crate) fn answer(request: &[u8]) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use sha1::{Digest, Sha1};
    let request = String::from_utf8_lossy(request);
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("the request has a key");
    let accept = STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}

/// The payloads of a server's frames after the head of its response.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a response") + 4;
    payloads(&bytes[head..])
}

/// The payloads of a server's frames, after the head of its response if that was not read before.
pub(crate) fn further_frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    if bytes.starts_with(b"HTTP/") { frames(bytes) } else { payloads(bytes) }
}

/// The payloads of a server's frames.
fn payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut payloads) = (bytes, Vec::new());
    while let [_, length, after @ ..] = rest {
        let (length, after) = match length {
            126 => (usize::from(u16::from_be_bytes([after[0], after[1]])), &after[2..]),
            127 => (u64::from_be_bytes(after[..8].try_into().expect("eight bytes")) as usize, &after[8..]),
            short => (usize::from(*short), after),
        };
        payloads.push(after[..length].to_vec());
        rest = &after[length..];
    }
    payloads
}

/// A server on a simulated system whose connections are all subscribed to one topic.
pub(crate) struct Crowd {
    pub(crate) reactor: Reactor<Sim>,
    pub(crate) addr: SocketAddr,
    pub(crate) peers: Vec<PeerId>,
    pub(crate) ids: Rc<RefCell<Vec<ConnectionId>>>,
    ends: Rc<RefCell<Vec<(usize, ClosedBy)>>>,
}

impl Crowd {
    pub(crate) fn new(config: ReactorConfig, members: usize, change: impl FnOnce(Server) -> Server) -> Self {
        let (ids, ends) = (Rc::<RefCell<Vec<ConnectionId>>>::default(), Rc::<RefCell<Vec<_>>>::default());
        let (opened, ended) = (Rc::clone(&ids), Rc::clone(&ends));
        let server = Server::new(move |_| {
            let (opened, ended) = (Rc::clone(&opened), Rc::clone(&ended));
            let member = opened.borrow().len();
            Callbacks::new()
                .on_open(move |ws, _| {
                    ws.subscribe("all");
                    opened.borrow_mut().push(ws.id());
                })
                .on_close(move |_, reason| ended.borrow_mut().push((member, reason.by)))
        });
        let mut reactor = Reactor::on(Sim::new(), config);
        let addr = reactor.listen("10.0.0.1:80", change(server)).unwrap().addr;
        let mut crowd = Crowd { reactor, addr, peers: Vec::new(), ids, ends };
        (0..members).for_each(|_| crowd.join());
        crowd
    }

    /// One more connection.
    pub(crate) fn join(&mut self) {
        let peer = self.reactor.kernel_mut().connect(self.addr).unwrap();
        self.reactor.kernel_mut().send(peer, REQUEST);
        self.reactor.settle().unwrap();
        self.reactor.kernel_mut().received(peer);
        self.peers.push(peer);
    }

    /// The member stops reading. The network holds `bytes` for it.
    pub(crate) fn hold(&mut self, member: usize, bytes: usize) {
        self.reactor.kernel_mut().hold(self.peers[member], bytes);
    }

    pub(crate) fn send<'m>(&mut self, member: usize, message: impl Into<Outgoing<'m>>) -> SendStatus {
        let id = self.ids.borrow()[member];
        self.reactor.hub().send(id, message)
    }

    pub(crate) fn publish<'m>(&mut self, message: impl Into<Outgoing<'m>>) -> Published {
        self.reactor.hub().publish("all", message)
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.reactor.advance(by).unwrap();
    }

    /// Whether each connection is open.
    pub(crate) fn open(&mut self) -> Vec<bool> {
        let ids = self.ids.borrow().clone();
        ids.into_iter().map(|id| self.reactor.hub().is_open(id)).collect()
    }

    /// The connections that have ended, and the side that closed each.
    pub(crate) fn ends(&self) -> Vec<(usize, ClosedBy)> {
        self.ends.borrow().clone()
    }
}
