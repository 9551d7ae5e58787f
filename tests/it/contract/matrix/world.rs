//! The simulated server, its peers, and the record of what happened.

use super::*;

/// The action, its callback, and the records. It is `Send`, because a remote call carries it.
#[derive(Clone)]
pub(super) struct Scenario {
    pub(super) callback: Callback,
    pub(super) action: Action,
    records: Arc<Mutex<Records>>,
}

#[derive(Default)]
struct Records {
    /// By the path of the connection, or `loop` for functions of the loop.
    events: BTreeMap<String, Vec<String>>,
    results: Vec<String>,
    ids: BTreeMap<String, ConnectionId>,
    timer: Option<TimerId>,
    acted: bool,
}

impl Scenario {
    pub(super) fn record(&self, path: &str, event: impl Into<String>) {
        self.records.lock().unwrap().events.entry(path.to_owned()).or_default().push(event.into());
    }

    /// Records what a call returned.
    pub(super) fn result(&self, result: impl std::fmt::Debug) {
        self.records.lock().unwrap().results.push(format!("{result:?}"));
    }

    pub(super) fn published(&self, published: ws_reactor::Published) {
        self.records.lock().unwrap().results.push(format!("{} {}", published.queued, published.dropped));
    }

    pub(super) fn set_timer(&self, timer: TimerId) {
        self.records.lock().unwrap().timer = Some(timer);
    }

    pub(super) fn timer(&self) -> TimerId {
        self.records.lock().unwrap().timer.unwrap()
    }

    pub(super) fn id(&self, path: &str) -> ConnectionId {
        self.records.lock().unwrap().ids[path]
    }

    pub(super) fn events(&self, path: &str) -> Vec<String> {
        self.records.lock().unwrap().events.get(path).cloned().unwrap_or_default()
    }

    pub(super) fn results(&self) -> Vec<String> {
        self.records.lock().unwrap().results.clone()
    }

    /// Whether the action is due. It is due once: the handler behaves as an ordinary one afterwards.
    fn is_due(&self, path: &str, callback: Callback) -> bool {
        path == "/actor"
            && callback == self.callback
            && !std::mem::replace(&mut self.records.lock().unwrap().acted, true)
    }
}

/// The handler of every connection.
struct Role {
    path: String,
    scenario: Scenario,
}

impl Role {
    /// Records a call of a callback and acts if the action is due.
    fn called(&self, ws: &mut WebSocket<'_>, callback: Callback, event: &str) {
        self.scenario.record(&self.path, event);
        if self.scenario.is_due(&self.path, callback) {
            act_on(ws, &self.scenario);
        }
    }
}

impl Handler for Role {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        self.scenario.records.lock().unwrap().ids.insert(self.path.clone(), ws.id());
        if matches!(&*self.path, "/actor" | "/other") {
            ws.subscribe("news");
        }
        if self.path == "/actor" && self.scenario.callback == Callback::Timer {
            ws.set_timer(DELAY);
        }
        self.called(ws, Callback::Open, "open");
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        if self.path == "/bystander" {
            ws.send(message);
        }
        self.called(ws, Callback::Message, &format!("message {}", message.as_text().unwrap()));
    }

    fn on_ping(&mut self, ws: &mut WebSocket<'_>, _: &[u8]) {
        self.called(ws, Callback::Ping, "ping");
    }

    fn on_pong(&mut self, ws: &mut WebSocket<'_>, _: &[u8]) {
        self.called(ws, Callback::Pong, "pong");
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_>) {
        self.called(ws, Callback::Drain, "drain");
    }

    fn on_timer(&mut self, ws: &mut WebSocket<'_>, _: TimerId) {
        self.called(ws, Callback::Timer, "timer");
    }

    fn on_error(&mut self, ws: &mut WebSocket<'_>, error: &Error) {
        let callback = if matches!(error, Error::Io(_)) { Callback::ErrorOfNetwork } else { Callback::ErrorOfPeer };
        self.called(ws, callback, "error");
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        let event = format!("close {} {:?} {}", reason.code, reason.by, reason.clean);
        self.called(ws, Callback::Close, &event);
    }
}

/// A frame of the server, with the parts that the table compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    Text(String),
    Binary(usize),
    Pong,
    Close(u16),
}

impl Frame {
    pub(super) fn text(text: &str) -> Self {
        Frame::Text(text.to_owned())
    }
}

/// Decodes the output of a server, which consists of whole unmasked frames.
fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (length, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            length => (usize::from(*length), rest),
        };
        let (payload, rest) = rest.split_at(length);
        frames.push(match first {
            0x81 => Frame::Text(String::from_utf8(payload.to_vec()).unwrap()),
            0x82 => Frame::Binary(length),
            0x88 => Frame::Close(u16::from_be_bytes([payload[0], payload[1]])),
            0x8a => Frame::Pong,
            _ => panic!("unexpected first byte of a frame: {first:#x}"),
        });
        bytes = rest;
    }
    assert_eq!(bytes, b"", "the last frame is incomplete");
    frames
}

/// A client's frame of at most 125 bytes, with a masking key of zeros.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

pub(super) struct World {
    pub(super) reactor: Reactor<Sim>,
    pub(super) scenario: Scenario,
    pub(super) peers: BTreeMap<&'static str, PeerId>,
    received: BTreeMap<&'static str, Vec<Frame>>,
}

impl World {
    pub(super) fn new(action: Action, callback: Callback) -> Self {
        let scenario = Scenario { callback, action, records: Arc::default() };
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let shared = scenario.clone();
        let server = Server::new(move |handshake| Role { path: handshake.path().to_owned(), scenario: shared.clone() });
        reactor.listen("10.0.0.1:80", server).unwrap();
        World { reactor, scenario, peers: BTreeMap::new(), received: BTreeMap::new() }
    }

    pub(super) fn connect(&mut self, path: &'static str) -> Turn {
        let peer = self.reactor.kernel_mut().connect("10.0.0.1:80".parse().unwrap()).unwrap();
        self.peers.insert(path, peer);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.send(path, request.as_bytes())
    }

    fn send(&mut self, path: &str, bytes: &[u8]) -> Turn {
        self.reactor.kernel_mut().send(self.peers[path], bytes);
        self.reactor.settle().unwrap()
    }

    /// All frames that the peer has received so far.
    pub(super) fn received(&mut self, path: &'static str) -> Vec<Frame> {
        // A stopped reactor no longer polls, but its last output is still in flight.
        if self.reactor.settle().unwrap() == Turn::Stopped {
            self.reactor.kernel_mut().poll(&mut Vec::new(), None).unwrap();
        }
        let mut bytes = self.reactor.kernel_mut().received(self.peers[path]);
        if bytes.starts_with(b"HTTP/1.1 101 ") {
            let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
            bytes.drain(..head);
        }
        let all = self.received.entry(path).or_default();
        all.extend(frames(&bytes));
        all.clone()
    }

    /// Connects the actor and makes its callback run.
    pub(super) fn trigger(&mut self) -> Turn {
        let scenario = self.scenario.clone();
        let call = move |hub: &mut Hub| act(hub, &scenario);
        let turn = self.connect("/actor");
        let (peer, id) = (self.peers["/actor"], self.scenario.id("/actor"));
        match self.scenario.callback {
            Callback::Open => return turn,
            Callback::Message => return self.send("/actor", &masked(0x81, b"go")),
            Callback::Ping => return self.send("/actor", &masked(0x89, b"")),
            Callback::Pong => return self.send("/actor", &masked(0x8a, b"")),
            Callback::ErrorOfPeer => return self.send("/actor", &masked(0x83, b"")),
            Callback::Close => return self.send("/actor", &masked(0x88, &1000_u16.to_be_bytes())),
            Callback::Drain => {
                self.reactor.kernel_mut().hold(peer, 1024);
                self.reactor.hub().send(id, vec![0; LARGE_MESSAGE_BYTES]);
                self.reactor.settle().unwrap();
                // The rest is written in one piece, so that no frame is partly written when the action runs.
                self.reactor.kernel_mut().hold(peer, 2 * LARGE_MESSAGE_BYTES);
                self.reactor.kernel_mut().release(peer);
            }
            Callback::ErrorOfNetwork => self.reactor.kernel_mut().reset(peer),
            Callback::Timer => return self.reactor.advance(DELAY).unwrap(),
            Callback::HubTimer => {
                self.reactor.hub().add_timer(DELAY, call);
                return self.reactor.advance(DELAY).unwrap();
            }
            Callback::NextTick => self.reactor.hub().next_tick(call),
            Callback::Remote => drop(self.reactor.remote().run(call)),
        }
        self.reactor.settle().unwrap()
    }

    /// The peer sends a message, which is delivered unless the connection is closing or has ended. The peer then sends
    /// its close frame, or the answer to the server's, and ends its side of the stream.
    pub(super) fn finish(&mut self, path: &'static str) -> Turn {
        self.send(path, &masked(0x81, b"late"));
        if let ("/actor", Action::Pause) = (path, self.scenario.action) {
            let late = "message late".to_owned();
            assert!(!self.scenario.events(path).contains(&late), "a paused connection is not read");
            let id = self.scenario.id(path);
            self.reactor.hub().resume(id);
            self.reactor.settle().unwrap();
        }
        let code = self.received(path).iter().rev().find_map(|frame| match frame {
            Frame::Close(code) => Some(*code),
            _ => None,
        });
        self.send(path, &masked(0x88, &code.unwrap_or(1000).to_be_bytes()));
        self.reactor.kernel_mut().finish(self.peers[path]);
        self.reactor.settle().unwrap()
    }
}
