//! The far ends: what they send, and what may come to them.

use std::collections::BTreeSet;

use ws_reactor::{
    Version,
    net::sim::{PeerId, Random, Sim},
};

#[cfg(feature = "tls")]
use crate::secure;
use crate::{
    wire::{self, Kind, is_hixie},
    world::{Connection, Mood, World, payload},
};

/// A far end, which reads every frame that comes and knows what it may be.
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) version: Version,
    pub(crate) number: usize,
    pub(crate) outgoing: Vec<u8>,
    pub(crate) incoming: Vec<u8>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<secure::Client>,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<wire::deflate::Deflate>,
    /// What has come of a message in pieces.
    pub(crate) fragments: Option<(Kind, Vec<u8>)>,
    /// It was answered with a WebSocket; `Some(false)` otherwise.
    pub(crate) upgraded: Option<bool>,
    /// Its request was garbled, and may be answered in any version.
    pub(crate) unsure: bool,
    pub(crate) echoed: usize,
    /// Messages to this peer alone that have come.
    pub(crate) taken: usize,
    pub(crate) last_told: u64,
    pub(crate) pings: usize,
    pub(crate) pongs: BTreeSet<usize>,
    pub(crate) was_closed: bool,
    /// It says nothing any more.
    pub(crate) done: bool,
    /// It has reset its connection, and what was on the way is gone.
    pub(crate) reset: bool,
}

impl Peer {
    /// Most begin with a handshake; some only begin it, or say something else.
    pub(crate) fn new(id: PeerId, world: &mut World, random: &mut Random) -> Peer {
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
            taken: 0,
            last_told: 0,
            pings: 0,
            pongs,
            was_closed: false,
            done: false,
            reset: false,
        }
    }

    pub(crate) fn frame(&mut self, kind: Kind, fin: bool, payload: &[u8]) {
        self.outgoing.extend(wire::frame(self.version, kind, fin, payload));
    }

    fn ping(&mut self) {
        if !is_hixie(self.version) {
            self.frame(Kind::Ping, true, self.pings.to_string().as_bytes());
            self.pings += 1;
        }
    }

    pub(crate) fn has_last_pong(&self) -> bool {
        self.pings == 0 || self.pongs.contains(&(self.pings - 1))
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

    pub(crate) fn act(&mut self, world: &mut World, random: &mut Random, sim: &mut Sim) {
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
                (self.done, self.reset) = (true, true);
            }
            // Its power is gone, and nobody tells.
            37 => {
                sim.hold(self.id, 4096);
                self.done = true;
            }
            _ => {}
        }
    }

    /// What is to be sent, as it is on the wire.
    pub(crate) fn wire(&mut self) -> &mut Vec<u8> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.encrypt(&mut self.outgoing);
        }
        &mut self.outgoing
    }

    pub(crate) fn send_a_piece(&mut self, random: &mut Random, sim: &mut Sim) -> usize {
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
    pub(crate) fn read(&mut self, world: &mut World, sim: &mut Sim) -> usize {
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
            let late = world.mood == Mood::Chaos && self.incoming.starts_with(b"HTTP/1.1 408 ");
            assert!(upgraded || late || self.unsure, "peer {} was refused", self.number);
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
                self.taken += usize::from(told);
            }
            _ => {
                let sent = world.connections[self.number].sent;
                let is_this = |number: &usize| self.payload_is(world, *number, kind, payload);
                let echo = (self.echoed..sent).find(is_this);
                // Under chaos an echo may be refused because the peer does not read; then there is a gap, but no
                // disorder.
                let in_turn = echo.is_some_and(|echo| world.mood == Mood::Chaos || echo == self.echoed);
                assert!(in_turn || world.connections[self.number].garbled, "{what}, found {echo:?} of {sent}");
                self.echoed = echo.map_or(self.echoed, |echo| echo + 1);
                self.taken += 1;
            }
        }
    }

    /// A frame that was cut short has at least begun as one that was meant for this peer.
    pub(crate) fn check_torso(&self, world: &World) {
        if self.upgraded != Some(true) {
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
