//! Servers of Engine.IO and Socket.IO, and their clients as the tests play them.

mod acks;
mod broadcasts;
mod cluster;
mod engine;
mod hooks;
#[cfg(feature = "socket-io-msgpack")]
mod msgpack;
mod namespaces;
mod polling;
mod recovery;
mod shared_recovery;

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Reactor, ReactorConfig, Routes, Server,
    net::sim::{PeerId, Sim},
    socket_io::{SocketIo, SocketIoHandle},
};

use crate::support::{further_frames, played::SERVER};

type Log = Rc<RefCell<Vec<String>>>;

struct World {
    reactor: Reactor<Sim>,
    /// Bytes that were received ahead of being asked for.
    early: Vec<(Ws, Vec<u8>)>,
}

/// A client with a WebSocket.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ws(PeerId);

impl World {
    fn new(routes: Routes) -> Self {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::new());
        reactor.listen(SERVER, Server::routes(routes).unwrap().ping_after(None)).unwrap();
        World { reactor, early: Vec::new() }
    }

    fn of(io: SocketIo) -> (Self, SocketIoHandle) {
        let handle = io.handle();
        (World::new(io.mount(Routes::new())), handle)
    }

    /// Sends a request on a connection of its own.
    fn request(&mut self, method: &str, target: &str, headers: &str, body: &str) -> PeerId {
        let kernel = self.reactor.kernel_mut();
        let peer = kernel.connect(SERVER.parse().unwrap()).unwrap();
        self.further_request(peer, method, target, headers, body);
        peer
    }

    /// Sends a request on a connection that is there.
    fn further_request(&mut self, peer: PeerId, method: &str, target: &str, headers: &str, body: &str) {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\n", body.len()) };
        let head = format!("{method} {target} HTTP/1.1\nHost: example.com\n{length}{headers}\n").replace('\n', "\r\n");
        self.reactor.kernel_mut().send(peer, format!("{head}{body}").as_bytes());
        self.reactor.settle().unwrap();
    }

    /// What a client has received.
    fn raw(&mut self, peer: PeerId) -> String {
        String::from_utf8_lossy(&self.reactor.kernel_mut().received(peer)).into_owned()
    }

    /// The status and the body of a response.
    fn response(&mut self, peer: PeerId) -> (u16, String) {
        let text = self.raw(peer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    fn get(&mut self, target: &str) -> (u16, String) {
        let peer = self.request("GET", target, "", "");
        self.response(peer)
    }

    /// A WebSocket with the head of its response.
    fn upgrade(&mut self, target: &str, headers: &str) -> (Ws, String) {
        let headers = format!(
            "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n{headers}"
        );
        let peer = self.request("GET", target, &headers, "");
        let received = self.reactor.kernel_mut().received(peer);
        let end = received.windows(4).position(|window| window == b"\r\n\r\n").expect("a response") + 4;
        let head = String::from_utf8_lossy(&received[..end]).into_owned();
        self.early.push((Ws(peer), received[end..].to_vec()));
        (Ws(peer), head)
    }

    /// A session that begins with a WebSocket.
    fn open(&mut self, path: &str) -> Ws {
        let (ws, head) = self.upgrade(&format!("{path}?EIO=4&transport=websocket"), "");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let open = self.texts(ws);
        assert!(open.len() == 1 && open[0].starts_with("0{\"sid\":\""), "{open:?}");
        ws
    }

    /// A socket in a namespace, and its id.
    fn join(&mut self, namespace: &str, auth: &str) -> (Ws, String) {
        let ws = self.open("/socket.io/");
        let id = self.join_with(ws, namespace, auth);
        (ws, id)
    }

    fn join_with(&mut self, ws: Ws, namespace: &str, auth: &str) -> String {
        let prefix = if namespace == "/" { String::new() } else { format!("{namespace},") };
        self.send(ws, &format!("40{prefix}{auth}"));
        let texts = self.texts(ws);
        let answer = texts.iter().find_map(|text| text.strip_prefix(&format!("40{prefix}")));
        let answer: serde_json::Value = serde_json::from_str(answer.unwrap_or_else(|| panic!("{texts:?}"))).unwrap();
        answer["sid"].as_str().unwrap().to_owned()
    }

    fn frame(&mut self, ws: Ws, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length @ 126..=0xffff => frame.extend([0x80 | 126, (length >> 8) as u8, length as u8]),
            length => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.reactor.kernel_mut().send(ws.0, &frame);
        self.reactor.settle().unwrap();
    }

    fn send(&mut self, ws: Ws, text: &str) {
        self.frame(ws, 1, text.as_bytes());
    }

    fn send_binary(&mut self, ws: Ws, bytes: &[u8]) {
        self.frame(ws, 2, bytes);
    }

    /// The payloads that a WebSocket has received.
    fn frames(&mut self, ws: Ws) -> Vec<Vec<u8>> {
        let mut bytes = Vec::new();
        self.early.retain(|(early, received)| {
            if *early == ws {
                bytes.extend(received);
            }
            *early != ws
        });
        bytes.extend(self.reactor.kernel_mut().received(ws.0));
        // A head would be looked for otherwise.
        further_frames(&bytes)
    }

    fn texts(&mut self, ws: Ws) -> Vec<String> {
        self.frames(ws).into_iter().map(|frame| String::from_utf8_lossy(&frame).into_owned()).collect()
    }

    fn sleep(&mut self, time: Duration) {
        self.reactor.advance(time).unwrap();
    }

    fn settle(&mut self) {
        self.reactor.settle().unwrap();
    }

    fn cut(&mut self, peer: PeerId) {
        self.reactor.kernel_mut().reset(peer);
        self.settle();
    }

    fn is_closed(&mut self, peer: PeerId) -> bool {
        self.reactor.kernel_mut().is_closed(peer)
    }

    /// Opens a session by polling. Returns its id.
    fn handshake(&mut self, path: &str) -> String {
        let (status, body) = self.get(&format!("{path}?EIO=4&transport=polling"));
        assert_eq!(status, 200, "{body}");
        let open: serde_json::Value = serde_json::from_str(body.strip_prefix('0').unwrap()).unwrap();
        open["sid"].as_str().unwrap().to_owned()
    }

    fn poll(&mut self, path: &str, sid: &str) -> PeerId {
        self.request("GET", &format!("{path}?EIO=4&transport=polling&sid={sid}"), "", "")
    }

    fn post(&mut self, path: &str, sid: &str, body: &str) -> (u16, String) {
        let headers = "Content-Type: text/plain;charset=UTF-8\n";
        let peer = self.request("POST", &format!("{path}?EIO=4&transport=polling&sid={sid}"), headers, body);
        self.response(peer)
    }
}
