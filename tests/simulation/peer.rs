//! The peers: what they send, and what they may receive.

use std::collections::BTreeSet;

use ws_reactor::{
    Version,
    net::sim::{PeerId, Random, Sim},
};

#[cfg(feature = "tls")]
use crate::secure;
use crate::{
    frames::{Frame, frame_at},
    link::Link,
    wire::{self, Kind, is_hixie},
    world::{Connection, Mood, World, payload},
};

/// A peer that checks every frame it receives.
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
    /// Kind and payload so far of a fragmented message.
    pub(crate) fragments: Option<(Kind, Vec<u8>)>,
    /// Whether the response was an upgrade, once it has arrived.
    pub(crate) upgraded: Option<bool>,
    /// The request was garbled and may be answered in any version.
    pub(crate) garbled_request: bool,
    pub(crate) echoed: usize,
    /// Received messages that were sent to this peer alone.
    pub(crate) delivered: usize,
    pub(crate) last_sequence: u64,
    pub(crate) pings: usize,
    pub(crate) pongs: BTreeSet<usize>,
    pub(crate) was_closed: bool,
    /// An answer waits in `outgoing`: a pong, or a close frame.
    owes_answer: bool,
    pub(crate) link: Link,
    /// The peer sends nothing any more.
    pub(crate) done: bool,
    /// The peer has reset its connection, so that data in flight is lost.
    pub(crate) reset: bool,
}

impl Peer {
    /// Most peers start with a request, some with a truncated or garbled one.
    pub(crate) fn new(id: PeerId, link: Link, world: &mut World, random: &mut Random) -> Peer {
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
            // Not in the path, which names the peer.
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
            garbled_request: garbled,
            echoed: 0,
            delivered: 0,
            last_sequence: 0,
            pings: 0,
            pongs,
            was_closed: false,
            owes_answer: false,
            link,
            done: false,
            reset: false,
        }
    }

    pub(crate) fn frame(&mut self, kind: Kind, fin: bool, payload: &[u8]) {
        self.outgoing.extend(wire::frame(self.version, kind, fin, payload));
    }

    fn answer(&mut self, kind: Kind, payload: &[u8]) {
        self.frame(kind, true, payload);
        self.owes_answer = true;
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
            _ if self.was_closed && world.mood == Mood::Slow => {}
            0..20 => (0..=random.below(3)).for_each(|_| self.message(world, random)),
            20..24 => self.ping(),
            24..27 if world.mood == Mood::Slow => {}
            24..27 => sim.hold(self.id, 512 + random.below(8192)),
            27..33 => self.link.release(sim, self.id),
            33 => {
                world.connections[self.number].garbled = true;
                let garbage: Vec<u8> = (0..random.below(40)).map(|_| random.number() as u8).collect();
                self.outgoing.extend(garbage);
            }
            34 => {
                self.frame(Kind::Close, true, &1000_u16.to_be_bytes());
                // The server ignores data after a close frame. A handler would report this text as a violation.
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
            // The peer vanishes without closing its connection.
            37 => {
                sim.hold(self.id, 4096);
                self.done = true;
            }
            _ => {}
        }
    }

    /// The bytes to send, encrypted with TLS.
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
            _ if self.owes_answer => outgoing,
            0 => random.below(outgoing + 1),
            _ => outgoing,
        };
        self.send(length, sim)
    }

    pub(crate) fn send_all(&mut self, sim: &mut Sim) -> usize {
        let length = if self.done { 0 } else { self.wire().len() };
        self.send(length, sim)
    }

    fn send(&mut self, length: usize, sim: &mut Sim) -> usize {
        let piece: Vec<u8> = self.wire().drain(..length).collect();
        sim.send(self.id, &piece);
        self.owes_answer &= !self.wire().is_empty();
        length
    }

    /// Reads and checks the received bytes, and answers pings.
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
            let timed_out = world.mood == Mood::Chaos && self.incoming.starts_with(b"HTTP/1.1 408 ");
            assert!(upgraded || timed_out || self.garbled_request, "peer {} was refused", self.number);
            let proof = if upgraded && matches!(self.version.number(), 76 | 1..=3) { 16 } else { 0 };
            if self.incoming.len() < end + 4 + proof {
                return received.len();
            }
            self.incoming.drain(..end + 4 + proof);
            self.upgraded = Some(upgraded);
        }
        if self.garbled_request {
            self.incoming.clear();
            return received.len();
        }
        if self.upgraded == Some(false) {
            // The body of an error response is not checked.
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

    /// The message that a frame completes, decompressed. A control frame is returned as it is.
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
                assert_ne!(frame.kind, Kind::Continuation, "a continuation without a message");
                assert!(frame.compressed, "a fragmented message without compression");
                (frame.kind, payload)
            }
        };
        if frame.fragment {
            self.fragments = Some((kind, whole));
            return None;
        }
        #[cfg(feature = "deflate")]
        let whole = self.deflate.as_mut().expect("compression was negotiated").inflate(&whole);
        Some((kind, whole))
    }

    fn take(&mut self, world: &mut World, kind: Kind, payload: &[u8]) {
        let text = String::from_utf8_lossy(&payload[..payload.len().min(60)]).into_owned();
        let what = format!("peer {}, after {} echoes, received {kind:?} {text:?}", self.number, self.echoed);
        match kind {
            Kind::Text | Kind::Binary => assert!(!self.was_closed, "data after a close frame: {what}"),
            Kind::Close => {
                assert!(!std::mem::replace(&mut self.was_closed, true), "a second close frame: {what}");
                let closing = world.connections[self.number].closing;
                assert!(world.mood == Mood::Chaos || self.done || closing, "{what}");
                if world.mood == Mood::Slow && !self.done {
                    self.answer(Kind::Close, payload);
                }
                return;
            }
            Kind::Ping if payload.is_empty() || payload == b"server" => return self.answer(Kind::Pong, payload),
            // The pong may answer a ping in the random bytes.
            Kind::Pong if world.connections[self.number].garbled => return,
            Kind::Pong => {
                let number: usize = text.parse().unwrap();
                assert!(number < self.pings && self.pongs.insert(number), "{what}");
                return;
            }
            _ => panic!("not a frame of a server: {what}"),
        }
        let mut words = text.split(' ');
        let (word, number, to) = (words.next(), words.next(), words.next());
        match (word, number.and_then(|word| word.parse().ok()), to.and_then(|word| word.parse().ok())) {
            (Some(word @ ("sent" | "published")), Some(number), Some(to)) => {
                let direct = word == "sent" && to == self.number;
                assert!(direct || world.subscribed.contains(&(self.number, to)) && word == "published", "{what}");
                assert!(number > self.last_sequence, "out of order: {what}");
                self.last_sequence = number;
                self.delivered += usize::from(direct);
            }
            _ => {
                let sent = world.connections[self.number].sent;
                let is_this = |number: &usize| self.payload_is(world, *number, kind, payload);
                let echo = (self.echoed..sent).find(is_this);
                // With `Mood::Chaos` the server may drop an echo to a slow reader: echoes may be missing, but not
                // reordered.
                let in_order = echo.is_some_and(|echo| world.mood == Mood::Chaos || echo == self.echoed);
                assert!(in_order || world.connections[self.number].garbled, "{what}, found {echo:?} of {sent}");
                self.echoed = echo.map_or(self.echoed, |echo| echo + 1);
                self.delivered += 1;
            }
        }
    }

    /// A partial frame at the end is the start of a message to this peer.
    pub(crate) fn check_partial_frame(&self, world: &World) {
        if self.upgraded != Some(true) {
            return;
        }
        let Some(Frame { kind, start, compressed, .. }) = frame_at(self.version, &self.incoming, 0) else { return };
        if !matches!(kind, Kind::Text | Kind::Binary) || compressed {
            return;
        }
        let partial = &self.incoming[start..];
        let text_only = is_hixie(self.version);
        let message = |number| payload(world.seed, self.number, number, text_only);
        let begins = |number| message(number).as_message().as_bytes().starts_with(partial);
        let other =
            [&b"sent "[..], b"published "].iter().any(|kind| kind.starts_with(&partial[..partial.len().min(5)]))
                || partial.iter().skip(40).all(|octet| *octet == b' ') && !partial.starts_with(b"#");
        let expected = other || (self.echoed..world.connections[self.number].sent).any(begins);
        let end = &partial[partial.len().saturating_sub(20)..];
        assert!(expected || world.connections[self.number].garbled, "partial {kind:?} frame ends with {end:?}");
    }

    fn payload_is(&self, world: &World, number: usize, kind: Kind, bytes: &[u8]) -> bool {
        let message = payload(world.seed, self.number, number, is_hixie(self.version));
        message.as_message().as_bytes() == bytes && message.as_message().is_text() == (kind == Kind::Text)
    }
}
