//! The whole reactor under seeded faults, in virtual time: what must hold whatever the network, the peers and the handlers do.
//!
//! `SIMULATION_SEEDS=100000` tries more seeds, `SIMULATION_SEED=17` replays one.
#![allow(clippy::unwrap_used)]

use std::{
    cell::{RefCell, RefMut},
    collections::BTreeSet,
    env, panic,
    rc::Rc,
    sync::Once,
    time::Duration,
};

use wire::{Kind, is_hixie};
use ws_reactor::{
    CloseCode, CloseReason, ClosedBy, Config, ConnectionId, Error, Handler, Handshake, Hub, Message, Overflow,
    OwnedMessage, Published, Reactor, Sent, Server, Settings, TimerId, Version, WebSocket,
    net::{
        Kernel,
        sim::{Faults, PeerId, Random, Sim},
    },
};

#[cfg(feature = "tls")]
mod secure;
mod wire;

const DELIBERATE: &str = "deliberate: the handler of a simulation panics";
const TOPICS: [&str; 3] = ["0", "1", "2"];

/// What handlers and peers do besides their duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Nothing that loses a byte: pauses and slow readers only.
    Echo,
    /// Anything.
    Chaos,
}

/// What is known of a peer's connection on the side of the handlers.
#[derive(Debug, Default)]
struct Connection {
    /// Its version has no binary messages.
    text_only: bool,
    /// Messages whose first byte may have left the peer.
    sent: usize,
    received: usize,
    /// The peer has sent what is no protocol, and might mean anything.
    garbled: bool,
    opened: u32,
    closed: u32,
    /// Closed, cut or panicked: nothing but the end is to be told.
    ended: bool,
}

/// What all handlers share. An assertion in a handler would be caught by the reactor, so what is wrong is noted here.
#[derive(Debug)]
struct World {
    seed: u64,
    /// All of it is inside TLS.
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    secure: bool,
    /// Whether messages are compressed, and refer to those before them: the clients', the server's.
    compressed: Option<(bool, bool)>,
    mood: Mood,
    random: Random,
    connections: Vec<Connection>,
    /// Every id there ever was, so that stale ones are used too.
    ids: Vec<(ConnectionId, usize)>,
    /// Numbers what is told and published: every receiver gets them in this order.
    told: u64,
    subscribed: BTreeSet<(usize, usize)>,
    messages: u64,
    queued: u64,
    dropped: u64,
    panics: u64,
    protocol_errors: u64,
    timeouts: u64,
    trace: Vec<String>,
    wrong: Vec<String>,
}

type Shared = Rc<RefCell<World>>;

impl World {
    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }

    fn note_sent(&mut self, sent: Sent) {
        self.queued += u64::from(sent == Sent::Queued);
        self.dropped += u64::from(sent == Sent::Full);
    }

    fn panic(&mut self) {
        self.panics += 1;
        panic!("{DELIBERATE}");
    }

    fn padding(&mut self) -> String {
        let length = if self.random.one_in(4) { self.random.below(40_000) } else { self.random.below(200) };
        " ".repeat(length)
    }

    /// Sends to any connection that is or was.
    fn tell_somebody(&mut self, hub: &mut Hub) {
        let Some(last) = self.ids.len().checked_sub(1) else { return };
        let (id, peer) = self.ids[self.random.below(last + 1)];
        self.told += 1;
        let padding = self.padding();
        let text = format!("told {} {peer} {padding}", self.told);
        let open = hub.is_open(id);
        let sent = match self.random.one_in(2) {
            true => hub.send(id, &text),
            false => hub.send_owned(id, &OwnedMessage::text(text)),
        };
        self.note_sent(sent);
        let may_be = if open { sent == Sent::Queued || sent == Sent::Full } else { sent == Sent::Closed };
        self.check(may_be, || format!("a send to {id} is answered {sent:?}, open: {open}"));
        self.check(!open || self.connections[peer].closed == 0, || format!("{id} is open after its on_close"));
    }

    fn publish(&mut self, hub: &mut Hub, except: Option<ConnectionId>) {
        let topic = self.random.below(TOPICS.len());
        self.told += 1;
        let padding = self.padding();
        let text = format!("published {} {topic} {padding}", self.told);
        let Published { queued, dropped, .. } = match except {
            Some(id) => hub.publish_to_others(id, TOPICS[topic], &text),
            None => hub.publish_owned(TOPICS[topic], &OwnedMessage::text(text)),
        };
        (self.queued, self.dropped) = (self.queued + queued as u64, self.dropped + dropped as u64);
        let subscribers = hub.subscribers(TOPICS[topic]);
        self.check(queued + dropped <= subscribers, || format!("{queued} + {dropped} of {subscribers} subscribers"));
    }

    /// Ends any connection that is or was, in one of two ways.
    fn end_somebody(&mut self, hub: &mut Hub, (id, peer): (ConnectionId, usize)) {
        let (open, cutting) = (hub.is_open(id), self.random.one_in(2));
        let ended = if cutting { hub.cut(id) } else { hub.close(id, CloseCode::Normal, "enough").is_queued() };
        // What is closing already may still be cut.
        self.check(ended == open || cutting && ended, || format!("the end of {id}: {ended}, open: {open}"));
        self.check(!ended || self.connections[peer].closed == 0, || format!("{id} ended after its on_close"));
        self.connections[peer].ended |= ended;
    }
}

/// An echo that does other things at random.
struct Echo {
    world: Shared,
    peer: usize,
}

impl Echo {
    /// Every callback begins here.
    fn enter(&self, what: &str, ws: &WebSocket<'_>) -> RefMut<'_, World> {
        let mut world = self.world.borrow_mut();
        let (peer, id) = (self.peer, ws.id());
        world.trace.push(format!("{peer} {id} {what}"));
        let Connection { opened, closed, ended, .. } = world.connections[peer];
        let ending = what == "closed" || what == "error";
        world.check(opened == 1 && closed == 0, || format!("{what} at {peer}: opened {opened}, closed {closed}"));
        world.check(!ended || ending, || format!("{what} at {peer}, which has ended"));
        let known = world.ids.contains(&(id, peer));
        world.check(known, || format!("{what}: {id} is not of {peer}"));
        world
    }

    fn act(&self, world: &mut World, ws: &mut WebSocket<'_>) {
        let (id, peer) = (ws.id(), self.peer);
        let shared = Rc::clone(&self.world);
        let after = Duration::from_millis(world.random.below(1500) as u64);
        let choices = if world.mood == Mood::Chaos { 60 } else { 20 };
        match world.random.below(choices) {
            0 => {
                ws.pause();
                // Without this nothing of the connection would be heard again, not even its end.
                ws.hub().add_timer(after, move |hub| {
                    hub.resume(id);
                });
            }
            1 => drop(ws.set_timer(after)),
            2 => drop(ws.ping(b"server")),
            _ if world.mood == Mood::Echo => {}
            3 | 4 => world.end_somebody(ws.hub(), (id, peer)),
            5..=9 => {
                let topic = world.random.below(TOPICS.len());
                if ws.subscribe(TOPICS[topic]) {
                    world.subscribed.insert((peer, topic));
                }
            }
            10 => drop(ws.unsubscribe(TOPICS[1])),
            11..=14 => world.publish(ws.hub(), None),
            15 | 16 => world.publish(ws.hub(), Some(id)),
            17..=21 => world.tell_somebody(ws.hub()),
            22 => {
                let somebody = world.random.below(world.ids.len());
                let somebody = world.ids[somebody];
                world.end_somebody(ws.hub(), somebody);
            }
            23 => {
                world.connections[peer].ended = true;
                world.panic();
            }
            24 | 25 => drop(ws.hub().add_timer(after, move |hub| {
                let mut world = shared.borrow_mut();
                if world.random.one_in(5) {
                    world.panic();
                }
                world.tell_somebody(hub);
            })),
            26 => ws.hub().next_tick(move |hub| shared.borrow_mut().publish(hub, None)),
            _ => {}
        }
    }
}

impl Handler for Echo {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        let known = (ws.id(), self.peer);
        self.world.borrow_mut().ids.push(known);
        self.world.borrow_mut().connections[self.peer].opened += 1;
        let mut world = self.enter("open", ws);
        self.act(&mut world, ws);
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let mut world = self.enter(&format!("message {}", message.len()), ws);
        let (peer, seed) = (self.peer, world.seed);
        let Connection { sent, received, garbled, text_only, .. } = world.connections[peer];
        let right = garbled || received < sent && payload(seed, peer, received, text_only) == message;
        world.check(right, || format!("{peer}: message {received} of {sent} is {:.40?}", message.as_bytes()));
        world.connections[peer].received += 1;
        world.messages += 1;
        let sent = ws.send(message);
        world.note_sent(sent);
        let echoed = sent == Sent::Queued || world.mood == Mood::Chaos && sent == Sent::Full;
        world.check(echoed, || format!("{peer}: the echo is answered {sent:?}"));
        self.act(&mut world, ws);
    }

    fn on_ping(&mut self, ws: &mut WebSocket<'_>, _: &[u8]) {
        let mut world = self.enter("ping", ws);
        self.act(&mut world, ws);
    }

    fn on_pong(&mut self, ws: &mut WebSocket<'_>, _: &[u8]) {
        drop(self.enter("pong", ws));
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_>) {
        let mut world = self.enter("drain", ws);
        self.act(&mut world, ws);
    }

    fn on_timer(&mut self, ws: &mut WebSocket<'_>, _: TimerId) {
        let mut world = self.enter("timer", ws);
        self.act(&mut world, ws);
    }

    fn on_error(&mut self, ws: &mut WebSocket<'_>, error: &Error) {
        let mut world = self.enter("error", ws);
        world.trace.push(error.to_string());
        world.connections[self.peer].ended = true;
        self.act(&mut world, ws);
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        let mut world = self.enter("closed", ws);
        world.trace.push(reason.to_string());
        let mood = world.mood;
        world.check(mood == Mood::Chaos || reason.by == ClosedBy::Peer, || format!("an echo ends: {reason}"));
        world.protocol_errors += u64::from(matches!(reason.by, ClosedBy::Protocol(_)));
        world.timeouts += u64::from(matches!(reason.by, ClosedBy::Timeout(_) | ClosedBy::SlowReader));
        let sent = ws.send("too late");
        world.check(sent == Sent::Closed, || format!("a send in on_close is answered {sent:?}"));
        world.connections[self.peer].closed += 1;
        self.act(&mut world, ws);
    }
}

/// The message of that number of a peer, by which both ends know it whole.
fn payload(seed: u64, peer: usize, number: usize, text_only: bool) -> OwnedMessage {
    let mut random = Random::new(seed ^ (peer as u64) << 48 ^ (number as u64) << 32);
    let length = match random.below(16) {
        0 => 0,
        1 => random.below(100 * 1024),
        2 => 16 * 1024 - 2 + random.below(4),
        3 => 124 + random.below(4),
        _ => random.below(400),
    };
    let mut text = format!("#{peer}.{number} ");
    text.push_str(&"Zwölf Boxkämpfer jagen Viktor. ".repeat(length / 30));
    text.truncate(text.floor_char_boundary(length));
    if random.one_in(2) || text_only { OwnedMessage::text(text) } else { OwnedMessage::binary(text.into_bytes()) }
}

/// A far end, which reads every frame that comes and knows what it may be.
struct Peer {
    id: PeerId,
    version: Version,
    number: usize,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    #[cfg(feature = "tls")]
    tls: Option<secure::Client>,
    #[cfg(feature = "deflate")]
    deflate: Option<wire::deflate::Deflate>,
    /// What has come of a message in pieces.
    fragments: Option<(Kind, Vec<u8>)>,
    /// It was answered with a WebSocket; `Some(false)` otherwise.
    upgraded: Option<bool>,
    /// Its request was garbled, and may be answered in any version.
    unsure: bool,
    echoed: usize,
    last_told: u64,
    pings: usize,
    pongs: BTreeSet<usize>,
    was_closed: bool,
    /// It says nothing any more.
    done: bool,
}

impl Peer {
    /// Most begin with a handshake; some only begin it, or say something else.
    fn new(id: PeerId, world: &mut World, random: &mut Random) -> Peer {
        let number = world.connections.len();
        let version = match random.one_in(2) {
            true => Version::Rfc6455,
            false => Version::ALL[random.below(Version::ALL.len())],
        };
        let offers = world.compressed.is_some() && random.one_in(2);
        let offer = if offers { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
        let mut outgoing = wire::request(version, &format!("/{number}"), offer);
        let garbled = world.mood == Mood::Chaos && random.one_in(15);
        if garbled {
            // Behind the path, lest it speak for another.
            let at = 14 + random.below(outgoing.len() - 14);
            outgoing[at] = random.number() as u8;
            outgoing.truncate(at + random.below(100));
        }
        world.connections.push(Connection { garbled, text_only: is_hixie(version), ..Connection::default() });
        let (incoming, pongs) = (Vec::new(), BTreeSet::new());
        Peer {
            id,
            version,
            number,
            outgoing,
            incoming,
            #[cfg(feature = "tls")]
            tls: world.secure.then(secure::client),
            #[cfg(feature = "deflate")]
            deflate: world
                .compressed
                .filter(|_| offers && version == Version::Rfc6455)
                .map(|(keeps, server_keeps)| wire::deflate::Deflate::new(keeps, server_keeps)),
            fragments: None,
            upgraded: None,
            unsure: garbled,
            echoed: 0,
            last_told: 0,
            pings: 0,
            pongs,
            was_closed: false,
            done: false,
        }
    }

    fn frame(&mut self, kind: Kind, fin: bool, payload: &[u8]) {
        self.outgoing.extend(wire::frame(self.version, kind, fin, payload));
    }

    fn ping(&mut self) {
        if !is_hixie(self.version) {
            self.frame(Kind::Ping, true, self.pings.to_string().as_bytes());
            self.pings += 1;
        }
    }

    /// The next message, in one frame or several, with pings between them.
    fn message(&mut self, world: &mut World, random: &mut Random) {
        let connection = &mut world.connections[self.number];
        let message = payload(world.seed, self.number, connection.sent, connection.text_only);
        connection.sent += 1;
        let message = message.as_message();
        let mut kind = if message.is_text() { Kind::Text } else { Kind::Binary };
        #[cfg(feature = "deflate")]
        if let Some(deflate) = self.deflate.as_mut().filter(|_| !random.one_in(4)) {
            let compressed = deflate.compress(message.as_bytes());
            return self.compressed(random, kind, &compressed);
        }
        let mut rest = message.as_bytes();
        while !is_hixie(self.version) && random.one_in(3) {
            let (part, behind) = rest.split_at(random.below(rest.len() + 1));
            self.frame(kind, false, part);
            (rest, kind) = (behind, Kind::Continuation);
            if random.one_in(4) {
                self.ping();
            }
        }
        self.frame(kind, true, rest);
    }

    /// A compressed message, in one frame or several, with pings between them.
    #[cfg(feature = "deflate")]
    fn compressed(&mut self, random: &mut Random, kind: Kind, mut rest: &[u8]) {
        let mut first = wire::late(kind) | wire::deflate::RSV1;
        while random.one_in(3) {
            let (part, behind) = rest.split_at(random.below(rest.len() + 1));
            self.outgoing.extend(wire::raw(first, part));
            (rest, first) = (behind, 0);
            if random.one_in(4) {
                self.ping();
            }
        }
        self.outgoing.extend(wire::raw(first | 0x80, rest));
    }

    fn act(&mut self, world: &mut World, random: &mut Random, sim: &mut Sim) {
        match random.below(if world.mood == Mood::Chaos { 40 } else { 30 }) {
            0..20 => (0..=random.below(3)).for_each(|_| self.message(world, random)),
            20..24 => self.ping(),
            24..27 => sim.hold(self.id, 512 + random.below(8192)),
            27..33 => sim.release(self.id),
            33 => {
                world.connections[self.number].garbled = true;
                let garbage: Vec<u8> = (0..random.below(40)).map(|_| random.number() as u8).collect();
                self.outgoing.extend(garbage);
            }
            34 => {
                self.frame(Kind::Close, true, &1000_u16.to_be_bytes());
                // What follows a close frame is not looked at; a handler would find this to be none of its messages.
                self.frame(Kind::Text, true, b"late");
            }
            35 => {
                sim.finish(self.id);
                self.done = true;
            }
            36 => {
                sim.reset(self.id);
                self.done = true;
            }
            _ => {}
        }
    }

    /// What is to be sent, as it is on the wire.
    fn wire(&mut self) -> &mut Vec<u8> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.encrypt(&mut self.outgoing);
        }
        &mut self.outgoing
    }

    fn send_a_piece(&mut self, random: &mut Random, sim: &mut Sim) -> usize {
        let outgoing = self.wire().len();
        let length = match random.below(3) {
            _ if self.done => 0,
            0 => random.below(outgoing + 1),
            _ => outgoing,
        };
        let piece: Vec<u8> = self.wire().drain(..length).collect();
        sim.send(self.id, &piece);
        length
    }

    /// Reads what has come, and answers pings.
    fn read(&mut self, world: &mut World, sim: &mut Sim) -> usize {
        let received = sim.received(self.id);
        #[cfg(feature = "tls")]
        match &mut self.tls {
            Some(tls) => tls.decrypt(&received, &mut self.incoming),
            None => self.incoming.extend(&received),
        }
        #[cfg(not(feature = "tls"))]
        self.incoming.extend(&received);
        if self.upgraded.is_none() {
            let head = self.incoming.windows(4).position(|window| window == b"\r\n\r\n");
            let Some(end) = head else { return received.len() };
            let upgraded = self.incoming.starts_with(b"HTTP/1.1 101 ");
            let proof = if upgraded && matches!(self.version.number(), 76 | 1..=3) { 16 } else { 0 };
            if self.incoming.len() < end + 4 + proof {
                return received.len();
            }
            self.incoming.drain(..end + 4 + proof);
            self.upgraded = Some(upgraded);
        }
        if self.unsure {
            self.incoming.clear();
            return received.len();
        }
        if self.upgraded == Some(false) {
            // What a refused peer gets is for people.
            assert!(world.connections[self.number].garbled, "peer {} was refused", self.number);
            return received.len();
        }
        let mut at = 0;
        while let Some(frame) = frame_at(self.version, &self.incoming, at).filter(|frame| frame.whole) {
            let payload = self.incoming[frame.start..frame.end].to_vec();
            at = frame.next;
            if let Some((kind, payload)) = self.whole(&frame, payload) {
                self.take(world, kind, &payload);
            }
        }
        self.incoming.drain(..at);
        received.len()
    }

    /// The message that a frame completes, as it was before it was compressed; control frames are whole.
    fn whole(&mut self, frame: &Frame, payload: Vec<u8>) -> Option<(Kind, Vec<u8>)> {
        if !frame.fragment && self.fragments.is_none() && !frame.compressed || !frame.kind.is_data() {
            return Some((frame.kind, payload));
        }
        let (kind, whole) = match self.fragments.take() {
            Some((kind, before)) => {
                assert_eq!(frame.kind, Kind::Continuation, "a message inside another");
                (kind, [before, payload].concat())
            }
            None => {
                assert_ne!(frame.kind, Kind::Continuation, "what continues has begun");
                assert!(frame.compressed, "only what is compressed comes in pieces");
                (frame.kind, payload)
            }
        };
        if frame.fragment {
            self.fragments = Some((kind, whole));
            return None;
        }
        #[cfg(feature = "deflate")]
        let whole = self.deflate.as_mut().expect("it was agreed upon").inflate(&whole);
        Some((kind, whole))
    }

    fn take(&mut self, world: &mut World, kind: Kind, payload: &[u8]) {
        let text = String::from_utf8_lossy(&payload[..payload.len().min(60)]).into_owned();
        let what = format!("peer {}, having {} echoes, got {kind:?} {text:?}", self.number, self.echoed);
        match kind {
            Kind::Text | Kind::Binary => assert!(!self.was_closed, "data behind a close frame: {what}"),
            Kind::Close => {
                assert!(!std::mem::replace(&mut self.was_closed, true), "a second close frame: {what}");
                assert!(world.mood == Mood::Chaos || self.done, "{what}");
                return;
            }
            Kind::Ping if payload.is_empty() || payload == b"server" => return self.frame(Kind::Pong, true, payload),
            // One that was garbled may have got its garbage back.
            Kind::Pong if world.connections[self.number].garbled => return,
            Kind::Pong => {
                let number: usize = text.parse().unwrap();
                assert!(number < self.pings && self.pongs.insert(number), "{what}");
                return;
            }
            _ => panic!("no frame of a server: {what}"),
        }
        let mut words = text.split(' ');
        let (word, number, to) = (words.next(), words.next(), words.next());
        match (word, number.and_then(|word| word.parse().ok()), to.and_then(|word| word.parse().ok())) {
            (Some(word @ ("told" | "published")), Some(number), Some(to)) => {
                let told = word == "told" && to == self.number;
                assert!(told || world.subscribed.contains(&(self.number, to)) && word == "published", "{what}");
                assert!(number > self.last_told, "what is told comes in order: {what}");
                self.last_told = number;
            }
            _ => {
                let sent = world.connections[self.number].sent;
                let is_this = |number: &usize| self.payload_is(world, *number, kind, payload);
                let echo = (self.echoed..sent).find(is_this);
                // Under chaos an echo may be refused because the peer does not read; then there is a gap, but no disorder.
                let in_turn = echo.is_some_and(|echo| world.mood == Mood::Chaos || echo == self.echoed);
                assert!(in_turn || world.connections[self.number].garbled, "{what}, found {echo:?} of {sent}");
                self.echoed = echo.map_or(self.echoed, |echo| echo + 1);
            }
        }
    }

    /// A frame that was cut short has at least begun as one that was meant for this peer.
    fn check_torso(&self, world: &World) {
        if self.upgraded.is_none() {
            return;
        }
        let Some(Frame { kind, start, compressed, .. }) = frame_at(self.version, &self.incoming, 0) else { return };
        if !matches!(kind, Kind::Text | Kind::Binary) || compressed {
            return;
        }
        let torso = &self.incoming[start..];
        let text_only = is_hixie(self.version);
        let message = |number| payload(world.seed, self.number, number, text_only);
        let begins = |number| message(number).as_message().as_bytes().starts_with(torso);
        let other = [&b"told "[..], b"published "].iter().any(|kind| kind.starts_with(&torso[..torso.len().min(5)]))
            || torso.iter().skip(40).all(|octet| *octet == b' ') && !torso.starts_with(b"#");
        let whole = other || (self.echoed..world.connections[self.number].sent).any(begins);
        let end = &torso[torso.len().saturating_sub(20)..];
        assert!(whole || world.connections[self.number].garbled, "{kind:?}, cut short, ends with {end:?}");
    }

    fn payload_is(&self, world: &World, number: usize, kind: Kind, bytes: &[u8]) -> bool {
        let message = payload(world.seed, self.number, number, is_hixie(self.version));
        message.as_message().as_bytes() == bytes && message.as_message().is_text() == (kind == Kind::Text)
    }
}

/// A frame of a server, as far as it has come.
struct Frame {
    kind: Kind,
    /// It begins a compressed message.
    compressed: bool,
    /// Its message goes on.
    fragment: bool,
    /// Where its payload lies.
    start: usize,
    end: usize,
    /// Where the next begins.
    next: usize,
    whole: bool,
}

/// The frame at a place, once it tells what it is.
fn frame_at(version: Version, bytes: &[u8], at: usize) -> Option<Frame> {
    let first = *bytes.get(at)?;
    if is_hixie(version) {
        if first == 0xff {
            assert_eq!(bytes.get(at + 1).unwrap_or(&0), &0, "what begins with FF is FF 00");
            let (start, next) = (at + 2, at + 2);
            let (kind, whole) = (Kind::Close, bytes.len() >= next);
            return Some(Frame { kind, compressed: false, fragment: false, start, end: start, next, whole });
        }
        assert_eq!(first, 0, "a text begins with 00");
        let length = bytes[at + 1..].iter().position(|octet| *octet == 0xff);
        let end = length.map_or(bytes.len(), |length| at + 1 + length);
        let (kind, start, next, whole) = (Kind::Text, at + 1, end + 1, length.is_some());
        return Some(Frame { kind, compressed: false, fragment: false, start, end, next, whole });
    }
    let compressed = version == Version::Rfc6455 && matches!(first & 0x7f, 0x41 | 0x42);
    let fragment = version == Version::Rfc6455 && first & 0x80 == 0;
    let first = if compressed { first & !0x40 } else { first } | if fragment { 0x80 } else { 0 };
    let fin = if version < Version::Hybi05 { 0 } else { 0x80 };
    let early = [Kind::Continuation, Kind::Close, Kind::Ping, Kind::Pong, Kind::Text, Kind::Binary];
    let kind = match (version < Version::Hybi07, first ^ fin) {
        (true, code @ 1..=5) => early[usize::from(code)],
        (false, 0) => Kind::Continuation,
        (false, 1) => Kind::Text,
        (false, 2) => Kind::Binary,
        (false, 8) => Kind::Close,
        (false, 9) => Kind::Ping,
        (false, 10) => Kind::Pong,
        _ => panic!("no frame of a server of {version}: {first:#x}"),
    };
    let (start, length) = match *bytes.get(at + 1)? {
        length @ 0..126 => (at + 2, usize::from(length)),
        126 => (at + 4, usize::from(u16::from_be_bytes(bytes.get(at + 2..at + 4)?.try_into().unwrap()))),
        127 => (at + 10, u64::from_be_bytes(bytes.get(at + 2..at + 10)?.try_into().unwrap()) as usize),
        masked => panic!("a server masks nothing: {masked:#x}"),
    };
    let end = start.saturating_add(length);
    Some(Frame { kind, compressed, fragment, start, end, next: end, whole: end <= bytes.len() })
}

fn faults(random: &mut Random, mood: Mood) -> Faults {
    match random.below(4) {
        0 => Faults::default(),
        1 => Faults { pieces: 1, busy: 2, spurious: 1, reset: 0, accept: 2 },
        2 if mood == Mood::Chaos => Faults { reset: 500, ..Faults::ROUGH },
        _ => Faults::ROUGH,
    }
}

fn config(random: &mut Random) -> Config {
    // In tiny reads nothing may be overlooked between two of them.
    let read_buffer_bytes = [16, 1000, 64 * 1024][random.below(3)];
    let read_budget_bytes = read_buffer_bytes * [1, 4, 100][random.below(3)];
    let (accept_budget, timer_budget) = (1 + random.below(4), 1 + random.below(10));
    let compression_budget_bytes = [100, 5000, 64 * 1024][random.below(3)];
    Config {
        read_buffer_bytes,
        read_budget_bytes,
        accept_budget,
        timer_budget,
        compression_budget_bytes,
        ..Config::default()
    }
}

fn settings(random: &mut Random, mood: Mood) -> Settings {
    let mut settings = Settings { message_budget: [1, 3, 256][random.below(3)], ..Settings::default() };
    let output = &mut settings.stream.output;
    output.pause_reading_bytes = [100, 4096, 64 * 1024][random.below(3)];
    // A TLS handshake in pieces of a byte takes its time, too.
    settings.opening_deadline = Duration::from_secs(if mood == Mood::Chaos { 10 } else { 1000 });
    let output = &mut settings.stream.output;
    if mood == Mood::Chaos {
        output.limit_bytes = output.pause_reading_bytes * [1, 2, 16][random.below(3)];
        output.overflow = if random.one_in(2) { Overflow::Drop } else { Overflow::Close };
        output.grace = Duration::from_millis(300);
        settings.ping_after = [None, Some(Duration::from_millis(700))][random.below(2)];
        settings.pong_deadline = Duration::from_secs(1);
    }
    settings
}

/// Moves time on, from deadline to deadline, with so many turns at each, though not all may be done then.
///
/// `Reactor::advance` would: it never comes back while a listener rests that has connections waiting.
fn advance(reactor: &mut Reactor<Sim>, milliseconds: u64, turns: usize) {
    let end = reactor.kernel_mut().now() + Duration::from_millis(milliseconds);
    loop {
        for _ in 0..turns {
            reactor.turn(Some(Duration::ZERO)).unwrap();
            let due = reactor.next_deadline().is_some_and(|deadline| deadline <= reactor.kernel_mut().now());
            if !due && reactor.kernel_mut().is_quiet() {
                break;
            }
        }
        let now = reactor.kernel_mut().now();
        if now >= end {
            return;
        }
        let next = reactor.next_deadline().unwrap_or(end).clamp(now + Duration::from_millis(1), end);
        reactor.kernel_mut().advance(next - now);
    }
}

/// What a simulation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    Anything,
    /// The same thing each time. TLS does not: it draws its keys elsewhere.
    TheSame,
}

/// Lives through one seed, and says all that handlers were told and what the peers got.
fn simulate(seed: u64, mood: Mood, telling: Telling) -> Vec<String> {
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9) ^ mood as u64);
    let faults = faults(&mut random, mood);
    let mut reactor = Reactor::on(Sim::with_faults(seed, faults), config(&mut random));
    let secure = cfg!(feature = "tls") && telling == Telling::Anything && random.one_in(4);
    let compressed = cfg!(feature = "deflate") && random.one_in(2);
    let compressed = compressed.then(|| (random.one_in(2), random.one_in(2)));
    let world = Rc::new(RefCell::new(World {
        seed,
        secure,
        compressed,
        mood,
        random: random.clone(),
        connections: Vec::new(),
        ids: Vec::new(),
        told: 0,
        subscribed: BTreeSet::new(),
        messages: 0,
        queued: 0,
        dropped: 0,
        panics: 0,
        protocol_errors: 0,
        timeouts: 0,
        trace: Vec::new(),
        wrong: Vec::new(),
    }));
    let shared = Rc::clone(&world);
    let server = Server::new(move |handshake| Echo {
        world: Rc::clone(&shared),
        peer: handshake.path().trim_start_matches('/').parse().unwrap(),
    });
    let server = server.settings(settings(&mut random, mood));
    #[cfg(feature = "deflate")]
    let server = match compressed {
        Some((client_context_takeover, server_context_takeover)) => server.deflate(ws_reactor::DeflateConfig {
            client_context_takeover,
            server_context_takeover,
            threshold_bytes: [0, 20, 1000][random.below(3)],
            server_max_window_bits: 9 + random.below(7) as u8,
            ..Default::default()
        }),
        None => server,
    };
    #[cfg(feature = "tls")]
    let server = if secure { secure::server(server) } else { server };
    let address = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let (mut peers, count) = (Vec::<Peer>::new(), 2 + random.below(11));
    let (mut received, mut sent) = (0, 0);
    // At first anything may happen; then everybody listens.
    let steps = 40 + random.below(60);
    for step in 0..steps + 1000 {
        // Tiny reads take their time.
        let served = |peer: &Peer| peer.echoed == world.borrow().connections[peer.number].sent;
        if step > steps + 60 && (mood == Mood::Chaos || peers.iter().all(served)) {
            break;
        }
        if peers.len() < count && (random.one_in(3) || step >= steps) {
            let id = reactor.kernel_mut().connect(address).unwrap();
            peers.push(Peer::new(id, &mut world.borrow_mut(), &mut random));
        }
        for peer in &mut peers {
            let (world, sim) = (&mut *world.borrow_mut(), reactor.kernel_mut());
            if step >= steps {
                sim.release(peer.id);
            } else if !peer.done && random.one_in(3) {
                peer.act(world, &mut random, sim);
            }
            sent += peer.send_a_piece(&mut random, sim);
            received += peer.read(world, sim);
        }
        let by = match random.below(8) {
            _ if step >= steps => 500,
            0..4 => 0,
            4 => random.below(2000),
            _ => random.below(50),
        };
        advance(&mut reactor, by as u64, if step >= steps { 400 } else { 1 + random.below(20) });
    }
    for peer in &mut peers {
        let world = world.borrow();
        let connection = &world.connections[peer.number];
        if mood == Mood::Echo {
            let (pings, said) = (peer.pings, (peer.number, connection.sent));
            assert_eq!((peer.echoed, connection.received), (said.1, said.1), "peer {} got its echoes", said.0);
            // Pongs may be left out while nothing can leave, but not the last (RFC 6455 §5.5.3).
            assert!(pings == 0 || peer.pongs.contains(&(pings - 1)), "peer {} got its last pong", said.0);
            assert!(peer.incoming.is_empty(), "peer {} got half a frame", said.0);
            if random.one_in(2) {
                peer.frame(Kind::Close, true, &[]);
            }
            let last = std::mem::take(peer.wire());
            reactor.kernel_mut().send(peer.id, &last);
            sent += last.len();
        }
        peer.done = true;
        reactor.kernel_mut().finish(peer.id);
    }
    reactor.advance(Duration::from_secs(120)).unwrap();
    for peer in &mut peers {
        assert!(reactor.kernel_mut().is_closed(peer.id), "peer {} was let go", peer.number);
        received += peer.read(&mut world.borrow_mut(), reactor.kernel_mut());
        peer.check_torso(&world.borrow());
    }
    let world = world.borrow();
    assert_eq!(world.wrong, Vec::<String>::new(), "what handlers found wrong");
    for (peer, Connection { opened, closed, garbled, .. }) in world.connections.iter().enumerate() {
        assert_eq!(opened, closed, "peer {peer} opened and closed as often");
        assert!(mood == Mood::Chaos || *opened == 1 && !garbled, "peer {peer} was served");
    }
    let stats = reactor.hub().stats();
    assert_eq!((stats.connections, stats.buffered_bytes), (0, 0), "nobody and nothing is left");
    assert!(TOPICS.iter().all(|topic| reactor.hub().subscribers(topic) == 0), "subscriptions end with connections");
    assert_eq!(stats.accepted, peers.len() as u64, "accepted");
    assert_eq!(stats.opened, world.ids.len() as u64, "opened");
    assert_eq!((stats.messages_in, stats.messages_out), (world.messages, world.queued), "messages in and out");
    assert_eq!((stats.dropped, stats.panics), (world.dropped, world.panics), "dropped messages and panics");
    assert_eq!(stats.protocol_errors, world.protocol_errors, "protocol errors");
    assert!(stats.timed_out >= world.timeouts, "{} of {} timeouts", stats.timed_out, world.timeouts);
    // What is encrypted is more.
    let counted = stats.bytes_in <= sent as u64 && (secure || stats.bytes_out >= received as u64);
    assert!(counted, "{stats:?}, {sent}, {received}");
    let lossless = (stats.bytes_in, stats.bytes_out) == (sent as u64, received as u64);
    assert!(lossless || secure || mood == Mood::Chaos, "{stats:?}, {sent}, {received}");
    let mut trace = world.trace.clone();
    trace.extend([format!("{stats:?}"), format!("{sent} {received} {}", random.number())]);
    trace
}

/// Tries the seeds that are asked for, or as many as are usual, and names the one that fails.
fn for_each_seed(usual: u64, try_seed: impl Fn(u64) + panic::RefUnwindSafe) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<String>().is_none_or(|message| message != DELIBERATE) {
                report(info);
            }
        }));
    });
    let number = |name: &str| env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(usual),
    };
    for seed in seeds {
        if let Err(payload) = panic::catch_unwind(|| try_seed(seed)) {
            let message = payload.downcast_ref::<String>().cloned();
            panic!("SIMULATION_SEED={seed}: {}", message.unwrap_or_default());
        }
    }
}

#[test]
fn every_byte_of_an_echo_comes_back_once_and_in_order() {
    for_each_seed(150, |seed| drop(simulate(seed, Mood::Echo, Telling::Anything)));
}

#[test]
fn every_connection_ends_once_whatever_handlers_and_peers_do() {
    for_each_seed(250, |seed| drop(simulate(seed, Mood::Chaos, Telling::Anything)));
}

#[test]
fn a_seed_always_tells_the_same_story() {
    let story = |seed| simulate(seed, Mood::Chaos, Telling::TheSame);
    for_each_seed(20, |seed| assert_eq!(story(seed), story(seed)));
}
