//! What a callback may do: every action in every callback, each with one defined outcome.
//!
//! Four connections, told apart by the path they ask for. The *actor* does one thing, once, in one callback of its own
//! or in a function of the loop; the *other* is who it may do it to; the *bystander* echoes, and must never notice; the
//! *stale* one has gone before, and its place is the other's now. `expected` is the table, with one row for each
//! action; what each connection heard and received is compared as a whole.

use std::{
    collections::BTreeMap,
    panic,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use ws_reactor::{
    CloseCode, CloseReason, ConnectionId, Error, Handler, Handshake, Hub, Message, Reactor, ReactorConfig, Server,
    TimerId, Turn, WebSocket,
    net::{
        Kernel,
        sim::{PeerId, Sim},
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callback {
    Open,
    Message,
    Ping,
    Pong,
    Drain,
    Timer,
    /// `on_error` over what the peer did: the close frame is queued, the connection is not over.
    ErrorOfPeer,
    /// `on_error` over the network: the connection is over.
    ErrorOfNetwork,
    Close,
    HubTimer,
    NextTick,
    Remote,
}

const CALLBACKS: [Callback; 12] = [
    Callback::Open,
    Callback::Message,
    Callback::Ping,
    Callback::Pong,
    Callback::Drain,
    Callback::Timer,
    Callback::ErrorOfPeer,
    Callback::ErrorOfNetwork,
    Callback::Close,
    Callback::HubTimer,
    Callback::NextTick,
    Callback::Remote,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    SendToSelf,
    SendToOther,
    CloseSelf,
    CloseOther,
    CutSelf,
    CutOther,
    Publish,
    Subscribe,
    Unsubscribe,
    SetOwnTimer,
    CancelOwnTimer,
    AddTimer,
    CancelTimer,
    CancelPeriodicInItself,
    NextTick,
    Pause,
    PauseAndResume,
    Stop,
    Shutdown,
    SendToStale,
    Panic,
}

/// What the actor's own connection is when the callback runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    Open,
    /// Failed: its close frame is queued, and it can still be cut.
    Failed,
    /// The id is dead: nothing can be done with it any more.
    Dead,
}

impl Callback {
    fn own(self) -> Own {
        match self {
            Callback::ErrorOfPeer => Own::Failed,
            Callback::ErrorOfNetwork | Callback::Close => Own::Dead,
            _ => Own::Open,
        }
    }

    fn has_connection(self) -> bool {
        !matches!(self, Callback::HubTimer | Callback::NextTick | Callback::Remote)
    }

    /// What the actor hears up to the action.
    fn events(self) -> Vec<String> {
        let own = match self {
            Callback::Message => Some("message go"),
            Callback::Ping => Some("ping"),
            Callback::Pong => Some("pong"),
            Callback::Drain => Some("drain"),
            Callback::Timer => Some("timer"),
            Callback::ErrorOfPeer | Callback::ErrorOfNetwork => Some("error"),
            _ => None,
        };
        ["open"].into_iter().chain(own).map(str::to_owned).collect()
    }

    /// What the actor's peer receives for the callback's own sake.
    fn frames(self) -> Vec<Frame> {
        match self {
            Callback::Ping => vec![Frame::Pong],
            Callback::Drain => vec![Frame::Binary(FLOOD_BYTES)],
            Callback::ErrorOfPeer => vec![Frame::Close(1002)],
            Callback::Close => vec![Frame::Close(1000)],
            _ => Vec::new(),
        }
    }
}

/// How a connection comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not by the action: it takes one more message, and its peer closes it.
    Peer,
    /// By what brought about the callback.
    Callback,
    Close,
    Cut,
    Panic,
    Shutdown,
    Stop,
}

impl End {
    /// What `on_close` is told.
    fn reason(self, callback: Callback) -> &'static str {
        match (self, callback) {
            (End::Callback, Callback::ErrorOfPeer) => "close 1002 Protocol(UnknownOpCode(3)) false",
            (End::Callback, Callback::ErrorOfNetwork) => "close 1006 Network(ConnectionReset) false",
            (End::Peer | End::Callback, _) => "close 1000 Peer true",
            (End::Close, _) => "close 1000 Application true",
            (End::Cut, _) => "close 1006 Application false",
            (End::Panic, _) => "close 1011 Panic false",
            (End::Shutdown, _) => "close 1001 Shutdown true",
            (End::Stop, _) => "close 1006 Shutdown false",
        }
    }
}

/// The outcome of an action in a callback.
struct Expected {
    /// What the calls answered.
    answers: Vec<String>,
    actor_frames: Vec<Frame>,
    other_frames: Vec<Frame>,
    actor_end: End,
    other_end: End,
    /// What the actor hears after the action, and before anything else comes.
    actor_events: Vec<&'static str>,
    /// What functions of the loop did.
    loop_events: Vec<&'static str>,
    panics: u64,
}

/// The table.
fn expected(action: Action, callback: Callback) -> Expected {
    let own = callback.own();
    let open = own == Own::Open;
    let mut row = Expected {
        answers: Vec::new(),
        actor_frames: callback.frames(),
        other_frames: Vec::new(),
        actor_end: if open { End::Peer } else { End::Callback },
        other_end: End::Peer,
        actor_events: Vec::new(),
        loop_events: Vec::new(),
        panics: 0,
    };
    let sent = if open { "Queued" } else { "Closed" };
    let answer = |answers: &[&str]| answers.iter().map(|answer| (*answer).to_owned()).collect();
    match action {
        Action::SendToSelf => {
            row.answers = answer(&[sent]);
            row.actor_frames.extend(open.then(|| Frame::text("to self")));
        }
        Action::SendToOther => {
            row.answers = answer(&["Queued"]);
            row.other_frames.push(Frame::text("to other"));
        }
        Action::CloseSelf => {
            // What was sent before goes out; after it nothing is taken, not even a second close.
            row.answers = answer(&[sent, sent, "Closed", "Closed"]);
            if open {
                row.actor_frames.extend([Frame::text("last words"), Frame::Close(1000)]);
                row.actor_end = End::Close;
            }
        }
        Action::CloseOther => {
            row.answers = answer(&["Queued", "Queued", "Closed", "Closed"]);
            row.other_frames.extend([Frame::text("last words"), Frame::Close(1000)]);
            row.other_end = End::Close;
        }
        Action::CutSelf => {
            row.answers = answer(&[if own == Own::Dead { "false" } else { "true" }, "false", "Closed"]);
            if open {
                row.actor_end = End::Cut;
            }
            if matches!(callback, Callback::Ping | Callback::ErrorOfPeer) {
                // The answer was queued and had not left: a cut loses it.
                row.actor_frames.clear();
            }
        }
        Action::CutOther => {
            // What is sent to another connection leaves at the end of the turn: the cut is before it.
            row.answers = answer(&["Queued", "true", "false", "Closed"]);
            row.other_end = End::Cut;
        }
        Action::Publish => {
            row.answers = answer(&[if open { "2 0" } else { "1 0" }, "1 0", "0 0"]);
            row.actor_frames.extend(open.then(|| Frame::text("to all")));
            row.other_frames.extend([Frame::text("to all"), Frame::text("to others")]);
        }
        // What comes of these two is seen when the test publishes to both topics.
        Action::Subscribe | Action::Unsubscribe => {
            row.answers = answer(&[if open { "true" } else { "false" }, "false"]);
        }
        Action::SetOwnTimer => row.actor_events.extend((open && callback.has_connection()).then_some("timer")),
        // A dead id's timer can be cancelled before its connection is buried, and only once all the same.
        Action::CancelOwnTimer if callback.has_connection() => row.answers = answer(&["true", "false"]),
        Action::CancelOwnTimer => {}
        Action::AddTimer => row.loop_events = vec!["timer, cancelled in itself: false"],
        Action::CancelTimer => row.answers = answer(&["true", "false"]),
        Action::CancelPeriodicInItself => {
            row.loop_events = vec!["periodic", "periodic", "cancelled in itself: true", "again: false"];
        }
        Action::NextTick => row.loop_events = vec!["tick", "tick of a tick"],
        Action::Pause => row.answers = answer(&[if open { "true" } else { "false" }]),
        Action::PauseAndResume => row.answers = answer(&[if open { "true" } else { "false" }; 2]),
        Action::Stop => {
            // What is said in the turn that stops still leaves.
            row.answers = answer(&["Queued"]);
            row.other_frames.push(Frame::text("farewell"));
            row.other_end = End::Stop;
            if open {
                row.actor_end = End::Stop;
            }
        }
        Action::Shutdown => {
            row.answers = answer(&["Queued"]);
            row.other_frames.extend([Frame::text("farewell"), Frame::Close(1001)]);
            row.other_end = End::Shutdown;
            if open {
                row.actor_frames.push(Frame::Close(1001));
                row.actor_end = End::Shutdown;
            }
        }
        Action::SendToStale => row.answers = answer(&["Closed", "Closed", "false", "false", "false", "false"]),
        Action::Panic => {
            row.panics = 1;
            // A function of the loop belongs to no connection, and one that has failed or ended has its reason already.
            if open && callback.has_connection() {
                row.actor_frames.push(Frame::Close(1011));
                row.actor_end = End::Panic;
            }
        }
    }
    row
}

/// Does it by the verbs of the WebSocket where it has them, else by those of the Hub.
fn act_on(ws: &mut WebSocket<'_>, scene: &Scene) {
    match scene.action {
        Action::SendToSelf => scene.answer(ws.send("to self")),
        Action::CloseSelf => {
            scene.answer(ws.send("last words"));
            scene.answer(ws.close(CloseCode::NORMAL, ""));
            scene.answer(ws.send("too late"));
            scene.answer(ws.close(CloseCode::NORMAL, ""));
        }
        Action::Publish => {
            scene.published(ws.publish("news", "to all"));
            scene.published(ws.publish_to_others("news", "to others"));
            scene.published(ws.publish("nobody's", "to nobody"));
        }
        Action::Subscribe => (0..2).for_each(|_| scene.answer(ws.subscribe("fresh"))),
        Action::Unsubscribe => (0..2).for_each(|_| scene.answer(ws.unsubscribe("news"))),
        Action::SetOwnTimer => drop(ws.set_timer(MOMENT)),
        Action::CancelOwnTimer => {
            let timer = ws.set_timer(MOMENT);
            (0..2).for_each(|_| scene.answer(ws.cancel_timer(timer)));
        }
        _ => act(ws.hub(), scene),
    }
}

fn act(hub: &mut Hub, scene: &Scene) {
    let (actor, other, stale) = (scene.id("/actor"), scene.id("/other"), scene.id("/stale"));
    match scene.action {
        Action::SendToSelf => scene.answer(hub.send(actor, "to self")),
        Action::SendToOther => scene.answer(hub.send(other, "to other")),
        Action::CloseSelf | Action::CloseOther => {
            let id = if scene.action == Action::CloseSelf { actor } else { other };
            scene.answer(hub.send(id, "last words"));
            scene.answer(hub.close(id, CloseCode::NORMAL, ""));
            scene.answer(hub.send(id, "too late"));
            scene.answer(hub.close(id, CloseCode::NORMAL, ""));
        }
        Action::CutSelf | Action::CutOther => {
            let id = if scene.action == Action::CutSelf { actor } else { other };
            if id == other {
                scene.answer(hub.send(id, "lost"));
            }
            (0..2).for_each(|_| scene.answer(hub.terminate(id)));
            scene.answer(hub.send(id, "too late"));
        }
        Action::Publish => {
            scene.published(hub.publish("news", "to all"));
            scene.published(hub.publish_to_others(actor, "news", "to others"));
            scene.published(hub.publish("nobody's", "to nobody"));
        }
        Action::Subscribe => (0..2).for_each(|_| scene.answer(hub.subscribe(actor, "fresh"))),
        Action::Unsubscribe => (0..2).for_each(|_| scene.answer(hub.unsubscribe(actor, "news"))),
        // Only a connection has timers of its own.
        Action::SetOwnTimer | Action::CancelOwnTimer => {}
        Action::AddTimer => {
            let inside = scene.clone();
            let timer = hub.add_timer(MOMENT, move |hub| {
                let cancelled = hub.cancel_timer(inside.timer());
                inside.note("loop", format!("timer, cancelled in itself: {cancelled}"));
            });
            scene.notes.lock().unwrap().timer = Some(timer);
        }
        Action::CancelTimer => {
            let inside = scene.clone();
            let timer = hub.add_timer(MOMENT, move |_| inside.note("loop", "cancelled, and called"));
            (0..2).for_each(|_| scene.answer(hub.cancel_timer(timer)));
        }
        Action::CancelPeriodicInItself => {
            let (inside, mut calls) = (scene.clone(), 0);
            let timer = hub.add_periodic_timer(MOMENT, move |hub| {
                inside.note("loop", "periodic");
                calls += 1;
                if calls == 2 {
                    inside.note("loop", format!("cancelled in itself: {}", hub.cancel_timer(inside.timer())));
                    inside.note("loop", format!("again: {}", hub.cancel_timer(inside.timer())));
                }
            });
            scene.notes.lock().unwrap().timer = Some(timer);
        }
        Action::NextTick => {
            let inside = scene.clone();
            hub.next_tick(move |hub| {
                inside.note("loop", "tick");
                hub.next_tick(move |_| inside.note("loop", "tick of a tick"));
            });
        }
        Action::Pause => scene.answer(hub.pause(actor)),
        Action::PauseAndResume => {
            scene.answer(hub.pause(actor));
            scene.answer(hub.resume(actor));
        }
        Action::Stop => {
            hub.stop();
            scene.answer(hub.send(other, "farewell"));
        }
        Action::Shutdown => {
            hub.shutdown(Duration::from_secs(60));
            scene.answer(hub.send(other, "farewell"));
        }
        Action::SendToStale => {
            scene.answer(hub.send(stale, "to the past"));
            scene.answer(hub.close(stale, CloseCode::NORMAL, ""));
            scene.answer(hub.terminate(stale));
            scene.answer(hub.subscribe(stale, "fresh"));
            scene.answer(hub.pause(stale));
            scene.answer(hub.unsubscribe(stale, "news"));
        }
        Action::Panic => panic!("{ON_PURPOSE}"),
    }
}

/// What is to be done where, and what has come of it. `Send`, because a remote takes it along.
#[derive(Clone)]
struct Scene {
    callback: Callback,
    action: Action,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    events: BTreeMap<String, Vec<String>>,
    answers: Vec<String>,
    ids: BTreeMap<String, ConnectionId>,
    timer: Option<TimerId>,
    acted: bool,
}

impl Scene {
    fn note(&self, who: &str, event: impl Into<String>) {
        self.notes.lock().unwrap().events.entry(who.to_owned()).or_default().push(event.into());
    }

    fn answer(&self, answer: impl std::fmt::Debug) {
        self.notes.lock().unwrap().answers.push(format!("{answer:?}"));
    }

    fn published(&self, published: ws_reactor::Published) {
        self.notes.lock().unwrap().answers.push(format!("{} {}", published.queued, published.dropped));
    }

    fn id(&self, who: &str) -> ConnectionId {
        self.notes.lock().unwrap().ids[who]
    }

    fn timer(&self) -> TimerId {
        self.notes.lock().unwrap().timer.unwrap()
    }

    fn events(&self, who: &str) -> Vec<String> {
        self.notes.lock().unwrap().events.get(who).cloned().unwrap_or_default()
    }

    /// Whether it is to be done now. It is done once: what comes later must find an ordinary handler.
    fn is_cue(&self, who: &str, callback: Callback) -> bool {
        who == "/actor" && callback == self.callback && !std::mem::replace(&mut self.notes.lock().unwrap().acted, true)
    }
}

struct Actor {
    who: String,
    scene: Scene,
}

impl Actor {
    fn heard(&self, ws: &mut WebSocket<'_>, callback: Callback, event: &str) {
        self.scene.note(&self.who, event);
        if self.scene.is_cue(&self.who, callback) {
            act_on(ws, &self.scene);
        }
    }
}

impl Handler for Actor {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        self.scene.notes.lock().unwrap().ids.insert(self.who.clone(), ws.id());
        if matches!(&*self.who, "/actor" | "/other") {
            ws.subscribe("news");
        }
        if self.who == "/actor" && self.scene.callback == Callback::Timer {
            ws.set_timer(MOMENT);
        }
        self.heard(ws, Callback::Open, "open");
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        if self.who == "/bystander" {
            ws.send(message);
        }
        self.heard(ws, Callback::Message, &format!("message {}", message.as_text().unwrap()));
    }

    fn on_ping(&mut self, ws: &mut WebSocket<'_>, _: &[u8]) {
        self.heard(ws, Callback::Ping, "ping");
    }

    fn on_pong(&mut self, ws: &mut WebSocket<'_>, _: &[u8]) {
        self.heard(ws, Callback::Pong, "pong");
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_>) {
        self.heard(ws, Callback::Drain, "drain");
    }

    fn on_timer(&mut self, ws: &mut WebSocket<'_>, _: TimerId) {
        self.heard(ws, Callback::Timer, "timer");
    }

    fn on_error(&mut self, ws: &mut WebSocket<'_>, error: &Error) {
        let callback = if matches!(error, Error::Io(_)) { Callback::ErrorOfNetwork } else { Callback::ErrorOfPeer };
        self.heard(ws, callback, "error");
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        let event = format!("close {} {:?} {}", reason.code, reason.by, reason.clean);
        self.heard(ws, Callback::Close, &event);
    }
}

/// A frame of the server, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Frame {
    Text(String),
    Binary(usize),
    Pong,
    Close(u16),
}

impl Frame {
    fn text(text: &str) -> Self {
        Frame::Text(text.to_owned())
    }
}

/// Reads what a server says: unmasked frames, and nothing left over.
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
            _ => panic!("a server does not say {first:#x} here"),
        });
        bytes = rest;
    }
    assert_eq!(bytes, b"", "half a frame");
    frames
}

/// A client's frame of at most 125 bytes, masked with zeros, which change nothing.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

const MOMENT: Duration = Duration::from_millis(100);
const FLOOD_BYTES: usize = 100_000;
const ON_PURPOSE: &str = "on purpose";

struct World {
    reactor: Reactor<Sim>,
    scene: Scene,
    peers: BTreeMap<&'static str, PeerId>,
    received: BTreeMap<&'static str, Vec<Frame>>,
}

impl World {
    fn new(action: Action, callback: Callback) -> Self {
        let scene = Scene { callback, action, notes: Arc::default() };
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let inside = scene.clone();
        let server = Server::new(move |handshake| Actor { who: handshake.path().to_owned(), scene: inside.clone() });
        reactor.listen("10.0.0.1:80", server).unwrap();
        World { reactor, scene, peers: BTreeMap::new(), received: BTreeMap::new() }
    }

    fn connect(&mut self, who: &'static str) -> Turn {
        let peer = self.reactor.kernel_mut().connect("10.0.0.1:80".parse().unwrap()).unwrap();
        self.peers.insert(who, peer);
        let request = format!(
            "GET {who} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.send(who, request.as_bytes())
    }

    fn send(&mut self, who: &str, bytes: &[u8]) -> Turn {
        self.reactor.kernel_mut().send(self.peers[who], bytes);
        self.reactor.settle().unwrap()
    }

    fn received(&mut self, who: &'static str) -> Vec<Frame> {
        // A reactor that has stopped polls no more, but what it wrote is still under way.
        if self.reactor.settle().unwrap() == Turn::Stopped {
            self.reactor.kernel_mut().poll(&mut Vec::new(), None).unwrap();
        }
        let mut bytes = self.reactor.kernel_mut().received(self.peers[who]);
        if bytes.starts_with(b"HTTP/1.1 101 ") {
            let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
            bytes.drain(..head);
        }
        let all = self.received.entry(who).or_default();
        all.extend(frames(&bytes));
        all.clone()
    }

    /// Brings the callback about.
    fn cue(&mut self) -> Turn {
        let scene = self.scene.clone();
        let call = move |hub: &mut Hub| act(hub, &scene);
        let turn = self.connect("/actor");
        let (peer, id) = (self.peers["/actor"], self.scene.id("/actor"));
        match self.scene.callback {
            Callback::Open => return turn,
            Callback::Message => return self.send("/actor", &masked(0x81, b"go")),
            Callback::Ping => return self.send("/actor", &masked(0x89, b"")),
            Callback::Pong => return self.send("/actor", &masked(0x8a, b"")),
            Callback::ErrorOfPeer => return self.send("/actor", &masked(0x83, b"")),
            Callback::Close => return self.send("/actor", &masked(0x88, &1000_u16.to_be_bytes())),
            Callback::Drain => {
                self.reactor.kernel_mut().hold(peer, 1024);
                self.reactor.hub().send(id, vec![0; FLOOD_BYTES]);
                self.reactor.settle().unwrap();
                // Now the rest goes in one piece, so that nothing is half sent when the action comes.
                self.reactor.kernel_mut().hold(peer, 2 * FLOOD_BYTES);
                self.reactor.kernel_mut().release(peer);
            }
            Callback::ErrorOfNetwork => self.reactor.kernel_mut().reset(peer),
            Callback::Timer => return self.reactor.advance(MOMENT).unwrap(),
            Callback::HubTimer => {
                self.reactor.hub().add_timer(MOMENT, call);
                return self.reactor.advance(MOMENT).unwrap();
            }
            Callback::NextTick => self.reactor.hub().next_tick(call),
            Callback::Remote => drop(self.reactor.remote().run(call)),
        }
        self.reactor.settle().unwrap()
    }

    /// A message comes, which is delivered unless the connection is on its way to its end; the peer closes, or answers,
    /// and ends its side.
    fn finish(&mut self, who: &'static str) -> Turn {
        self.send(who, &masked(0x81, b"late"));
        if let ("/actor", Action::Pause) = (who, self.scene.action) {
            let late = "message late".to_owned();
            assert!(!self.scene.events(who).contains(&late), "a paused connection is not read");
            let id = self.scene.id(who);
            self.reactor.hub().resume(id);
            self.reactor.settle().unwrap();
        }
        let said = self.received(who).iter().rev().find_map(|frame| match frame {
            Frame::Close(code) => Some(*code),
            _ => None,
        });
        self.send(who, &masked(0x88, &said.unwrap_or(1000).to_be_bytes()));
        self.reactor.kernel_mut().finish(self.peers[who]);
        self.reactor.settle().unwrap()
    }
}

fn check(action: Action, callback: Callback) {
    let Expected { answers, actor_frames, other_frames, actor_end, other_end, actor_events, loop_events, panics } =
        expected(action, callback);
    let mut world = World::new(action, callback);
    world.connect("/stale");
    let stale = world.scene.id("/stale");
    world.reactor.hub().terminate(stale);
    world.reactor.settle().unwrap();
    world.connect("/other");
    world.connect("/bystander");

    let turn = world.cue();
    assert_eq!(turn == Turn::Stopped, action == Action::Stop, "only stop ends the loop at once");
    assert_eq!(world.scene.notes.lock().unwrap().answers, answers, "what the calls answered");
    world.reactor.advance(10 * MOMENT).unwrap();
    let mut heard = callback.events();
    heard.extend(actor_events.into_iter().map(str::to_owned));
    // The handler is told of its panic, unless it has heard its last.
    if action == Action::Panic && callback.has_connection() && callback.own() != Own::Dead {
        heard.push("error".to_owned());
    }
    // The others that end still have a close frame to exchange.
    if callback.own() == Own::Dead || matches!(action, Action::Stop | Action::CutSelf) {
        heard.push(actor_end.reason(callback).to_owned());
    }
    assert_eq!(world.scene.events("/actor"), heard, "what the actor heard");
    assert_eq!(world.scene.events("loop"), loop_events, "what functions of the loop did");
    assert_eq!(world.reactor.hub().stats().panics, panics);

    world.reactor.hub().publish("news", "news");
    world.reactor.hub().publish("fresh", "fresh");
    world.reactor.settle().unwrap();
    let ends_loop = matches!(action, Action::Stop | Action::Shutdown);
    let bystander_end = if ends_loop { other_end } else { End::Peer };
    let bystander_frames = match bystander_end {
        End::Shutdown => vec![Frame::Close(1001)],
        End::Peer => vec![Frame::text("late")],
        _ => Vec::new(),
    };
    let ends = [
        ("/actor", actor_end, actor_frames),
        ("/other", other_end, other_frames),
        ("/bystander", bystander_end, bystander_frames),
    ];
    let mut last = turn;
    for (who, end, mut frames) in ends {
        let mut events = if who == "/actor" { heard.clone() } else { vec!["open".to_owned()] };
        if end == End::Peer {
            let subscribed = who == "/other" || who == "/actor" && action != Action::Unsubscribe;
            frames.extend(subscribed.then(|| Frame::text("news")));
            frames.extend(((who, action) == ("/actor", Action::Subscribe)).then(|| Frame::text("fresh")));
            frames.push(Frame::Close(1000));
            events.push("message late".to_owned());
        }
        if !events.iter().any(|event| event.starts_with("close")) {
            events.push(end.reason(callback).to_owned());
        }
        last = world.finish(who);
        assert_eq!(world.received(who), frames, "what {who} received");
        assert_eq!(world.scene.events(who), events, "what {who} heard");
        assert!(world.reactor.kernel_mut().is_closed(world.peers[who]));
    }
    assert!(world.received("/stale").is_empty(), "what is sent to the past reaches nobody");
    assert_eq!(last == Turn::Stopped, ends_loop, "the loop ends with the last connection, or not at all");
}

fn check_in_every_callback(action: Action) {
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(ON_PURPOSE) {
                usual(info);
            }
        }));
    });
    let failed: Vec<Callback> =
        CALLBACKS.into_iter().filter(|callback| panic::catch_unwind(|| check(action, *callback)).is_err()).collect();
    assert!(failed.is_empty(), "{action:?} in {failed:?}");
}

macro_rules! matrix {
    ($($sentence:ident: $action:ident;)*) => {
        $(#[test] fn $sentence() { check_in_every_callback(Action::$action); })*
    };
}

matrix! {
    a_message_to_oneself_arrives_while_the_connection_is_open: SendToSelf;
    a_message_to_another_arrives: SendToOther;
    a_close_is_the_last_word_and_on_close_the_last_callback: CloseSelf;
    another_connection_can_be_closed: CloseOther;
    a_cut_ends_the_connection_in_the_same_turn: CutSelf;
    another_connection_can_be_cut: CutOther;
    a_publish_reaches_every_open_subscriber_and_nobody_else: Publish;
    a_subscription_holds_from_the_next_publish_on: Subscribe;
    who_has_unsubscribed_gets_no_more: Unsubscribe;
    a_timer_of_a_connection_fires_while_it_is_open: SetOwnTimer;
    a_cancelled_timer_of_a_connection_is_silent: CancelOwnTimer;
    a_timer_fires_once_and_has_then_gone: AddTimer;
    a_cancelled_timer_is_silent: CancelTimer;
    a_periodic_timer_can_end_itself: CancelPeriodicInItself;
    a_tick_comes_once: NextTick;
    a_paused_connection_hears_nothing_until_it_is_resumed: Pause;
    a_pause_that_is_taken_back_loses_nothing: PauseAndResume;
    a_stop_ends_the_loop_after_every_on_close: Stop;
    a_shutdown_closes_everybody_and_then_ends_the_loop: Shutdown;
    an_id_of_the_past_reaches_nobody: SendToStale;
    a_panic_ends_its_own_connection_and_no_other: Panic;
}
