//! permessage-deflate as a client sees it, whose own is another implementation.
#![cfg(feature = "deflate")]

use crate::support::wire;
use std::{cell::RefCell, rc::Rc, time::Duration};

use crate::support::wire::{
    Kind,
    deflate::{Deflate, RSV1},
};
use ws_reactor::{
    Callbacks, DeflateConfig, Handler, Handshake, Message, OwnedMessage, Reactor, ReactorConfig, SendStatus, Server,
    TestSocket, Upgrade, Version, WebSocket,
    net::sim::{PeerId, Sim},
    on_message,
};

const ADDRESS: &str = "10.0.0.1:80";
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

fn echo() -> Server {
    Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    })
}

/// Every message is compressed, however short.
fn eager(config: DeflateConfig) -> DeflateConfig {
    config.threshold_bytes(0)
}

/// A simulated system with a server on it, and clients that compress.
struct World {
    reactor: Reactor<Sim>,
}

struct Client {
    peer: PeerId,
    answer: String,
    deflate: Option<Deflate>,
    pending: Vec<u8>,
}

/// A frame, as a server has sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    first: u8,
    payload: Vec<u8>,
}

impl World {
    fn new(server: Server) -> Self {
        World::with_config(server, ReactorConfig::default())
    }

    fn with_config(server: Server, config: ReactorConfig) -> Self {
        let mut reactor = Reactor::on(Sim::new(), config);
        reactor.listen(ADDRESS, server).unwrap();
        World { reactor }
    }

    fn connect(&mut self) -> Client {
        self.connect_with(OFFER)
    }

    fn connect_with(&mut self, lines: &str) -> Client {
        self.connect_to("/", lines)
    }

    fn connect_to(&mut self, target: &str, lines: &str) -> Client {
        let peer = self.reactor.kernel_mut().connect(ADDRESS.parse().unwrap()).unwrap();
        self.send_bytes(peer, &wire::request(Version::Rfc6455, target, lines));
        self.reactor.settle().unwrap();
        let answer = String::from_utf8(self.reactor.kernel_mut().received(peer)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        let deflate = Deflate::agreed(&answer);
        Client { peer, answer, deflate, pending: Vec::new() }
    }

    fn send_bytes(&mut self, peer: PeerId, bytes: &[u8]) {
        self.reactor.kernel_mut().send(peer, bytes);
    }

    /// Sends a compressed message.
    fn send(&mut self, client: &mut Client, kind: u8, message: &[u8]) {
        let compressed = client.deflate.as_mut().unwrap().compress(message);
        self.send_bytes(client.peer, &wire::raw(FIN | RSV1 | kind, &compressed));
    }

    /// All frames that have come.
    fn frames(&mut self, client: &mut Client) -> Vec<Frame> {
        self.reactor.settle().unwrap();
        self.frames_now(client)
    }

    fn frames_now(&mut self, client: &mut Client) -> Vec<Frame> {
        client.pending.extend(self.reactor.kernel_mut().received(client.peer));
        let mut frames = Vec::new();
        while let [first, length, rest @ ..] = &client.pending[..] {
            let (length, rest) = match (*length, rest) {
                (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
                (127, rest) if rest.len() >= 8 => {
                    (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..])
                }
                (length @ 0..126, rest) => (usize::from(length), rest),
                _ => break,
            };
            if rest.len() < length {
                break;
            }
            frames.push(Frame { first: *first, payload: rest[..length].to_vec() });
            client.pending = rest[length..].to_vec();
        }
        frames
    }

    /// The messages that have come, and whether each was compressed.
    fn messages(&mut self, client: &mut Client) -> Vec<(u8, Vec<u8>, bool)> {
        let frames = self.frames(client);
        assemble(client, frames)
    }

    /// The close code that has come, and nothing else.
    fn close_code(&mut self, client: &mut Client) -> u16 {
        let frames = self.frames(client);
        let [Frame { first: 0x88, payload }] = &frames[..] else { panic!("not closed: {frames:?}") };
        u16::from_be_bytes([payload[0], payload[1]])
    }

    fn stats(&mut self) -> ws_reactor::Stats {
        self.reactor.hub().stats()
    }
}

fn assemble(client: &mut Client, frames: Vec<Frame>) -> Vec<(u8, Vec<u8>, bool)> {
    let (mut messages, mut unfinished): (Vec<_>, Option<(u8, Vec<u8>)>) = (Vec::new(), None);
    for Frame { first, payload } in frames.into_iter().filter(|frame| frame.first & 0x08 == 0) {
        let (begun, whole) = match unfinished.take() {
            Some((begun, before)) => {
                assert_eq!(first & 0x7f, 0, "what continues has neither a type nor RSV1");
                (begun, [before, payload].concat())
            }
            None => (first, payload),
        };
        if first & FIN == 0 {
            unfinished = Some((begun, whole));
            continue;
        }
        let compressed = begun & RSV1 != 0;
        let message = if compressed { client.deflate.as_mut().unwrap().inflate(&whole) } else { whole };
        messages.push((begun & 0x0f, message, compressed));
    }
    assert!(unfinished.is_none(), "every message has come whole");
    messages
}

/// A text like those of services, different for each number.
fn record(number: usize) -> String {
    format!(
        "{{\"id\":{number},\"name\":\"user{}\",\"active\":{},\"tags\":[\"a\",\"b\"]}}",
        number * 7,
        number.is_multiple_of(2)
    )
}

/// Octets in which there is nothing to find.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn nothing_is_compressed_unless_it_is_turned_on_offered_and_of_today() {
    let mut world = World::new(echo());
    let mut client = world.connect();
    assert!(!client.answer.contains("Extensions"), "{}", client.answer);
    world.send_bytes(client.peer, &wire::raw(FIN | RSV1 | TEXT, &[0]));
    assert_eq!(world.close_code(&mut client), 1002);

    let mut world = World::new(echo().deflate(DeflateConfig::dedicated()));
    for lines in ["", "Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\n"] {
        let client = world.connect_with(lines);
        assert!(!client.answer.contains("Extensions"), "{}", client.answer);
    }
    for version in [Version::Hybi07, Version::Hybi08] {
        let server = echo().deflate(DeflateConfig::dedicated());
        let mut socket = TestSocket::request(server, wire::request(version, "/", OFFER));
        let answer = String::from_utf8(socket.received_bytes()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 ") && !answer.contains("Extensions"), "{answer}");
    }
}

#[test]
fn the_answer_and_the_handshake_say_what_was_agreed_upon() {
    let told = Rc::new(RefCell::new(Vec::new()));
    let shared = Rc::clone(&told);
    let server = Server::new(move |handshake: &Handshake| {
        shared.borrow_mut().push(handshake.deflate().map(|agreed| agreed.to_string()));
        Callbacks::new()
    });
    let mut world =
        World::new(server.deflate(DeflateConfig::dedicated()).on_request(|request, _| match request.path() {
            "/plain" => Upgrade::new().uncompressed(),
            _ => Upgrade::new(),
        }));
    let offers = "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_no_context_takeover";
    let client = world.connect_with(&format!("Sec-WebSocket-Extensions: {offers}\r\n"));
    let agreed = "permessage-deflate; server_no_context_takeover";
    assert!(client.answer.contains(&format!("\r\nSec-WebSocket-Extensions: {agreed}\r\n")), "{}", client.answer);
    assert_eq!(told.take(), [Some(agreed.to_owned())]);

    let peer = world.reactor.kernel_mut().connect(ADDRESS.parse().unwrap()).unwrap();
    world.send_bytes(peer, &wire::request(Version::Rfc6455, "/plain", OFFER));
    world.reactor.settle().unwrap();
    let answer = String::from_utf8(world.reactor.kernel_mut().received(peer)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 ") && !answer.contains("Extensions"), "{answer}");
    assert_eq!(told.take(), [None]);
}

#[test]
fn a_header_that_is_no_list_is_refused_where_it_is_read() {
    let broken = wire::request(Version::Rfc6455, "/", "Sec-WebSocket-Extensions: permessage-deflate; =\r\n");
    let server = echo().deflate(DeflateConfig::shared());
    let refused = String::from_utf8(TestSocket::request(server, &broken).received_bytes()).unwrap();
    assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("Sec-WebSocket-Extensions"), "{refused}");
    let taken = TestSocket::request(echo(), &broken).received_bytes();
    assert!(taken.starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn messages_of_any_length_come_back_and_are_fewer_bytes() {
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        for level in [1, 3, 9] {
            let mut world = World::new(echo().deflate(eager(config.level(level).unwrap())));
            let mut client = world.connect();
            let (mut said, mut sent) = (0, 0);
            for (number, length) in
                [0, 1, 5, 100, 125, 126, 1000, 5000, 65_535, 65_536, 200_000, 3].into_iter().enumerate()
            {
                let mut text: String = (0..=length / 50).map(|index| record(index * 31 + number)).collect();
                text.truncate(length);
                let kind = if number % 2 == 0 { TEXT } else { BINARY };
                world.send(&mut client, kind, text.as_bytes());
                let frames = world.frames(&mut client);
                sent += frames.iter().map(|frame| frame.payload.len()).sum::<usize>();
                said += length;
                let messages = assemble(&mut client, frames);
                let [(answered, answer, compressed)] = &messages[..] else { panic!("one echo of {length}") };
                assert!(*answered == kind && answer == text.as_bytes(), "{length} bytes");
                assert!(*compressed || length < 200, "{length} bytes gain");
            }
            assert!(sent * 5 < said, "{sent} of {said} bytes");
        }
    }
}

#[test]
fn messages_refer_to_those_before_them_if_contexts_are_taken_over() {
    let lengths = |config| {
        let mut world = World::new(echo().deflate(eager(config)));
        let mut client = world.connect();
        let lengths: Vec<usize> = (0..10)
            .map(|number| {
                world.send(&mut client, TEXT, record(number).as_bytes());
                let frames = world.frames(&mut client);
                let length = frames[0].payload.len();
                assert_eq!(assemble(&mut client, frames)[0].1, record(number).as_bytes());
                length
            })
            .collect();
        lengths
    };
    let (shared, dedicated) = (lengths(DeflateConfig::shared()), lengths(DeflateConfig::dedicated()));
    assert!(dedicated[9] * 2 < shared[9], "{dedicated:?} {shared:?}");
    // A client may ask the server to forget.
    let mut world = World::new(echo().deflate(eager(DeflateConfig::dedicated())));
    let mut client = world.connect_with("Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n");
    for (number, length) in shared.into_iter().enumerate() {
        world.send(&mut client, TEXT, record(number).as_bytes());
        let frames = world.frames(&mut client);
        assert_eq!(frames[0].payload.len(), length);
        assert_eq!(assemble(&mut client, frames)[0].1, record(number).as_bytes());
    }
}

#[test]
fn many_connections_keep_their_own_histories() {
    let mut world = World::new(echo().deflate(eager(DeflateConfig::dedicated())));
    let mut clients: Vec<Client> = (0..20).map(|_| world.connect()).collect();
    for round in 0..30 {
        for (index, client) in clients.iter_mut().enumerate() {
            for number in 0..(index + round) % 4 {
                world.send(client, TEXT, record(index * 1000 + number).as_bytes());
            }
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let messages = world.messages(client);
            let expected: Vec<_> = (0..(index + round) % 4)
                .map(|number| (TEXT, record(index * 1000 + number).into_bytes(), true))
                .collect();
            assert_eq!(messages, expected);
        }
    }
}

#[test]
fn a_message_in_fragments_is_one_stream_and_pings_between_are_not_compressed() {
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let mut world = World::new(echo().deflate(eager(config)));
        let mut client = world.connect();
        for (round, step) in [1, 2, 3, 100, 300].into_iter().enumerate() {
            let text: String = (0..200).map(|number| record(number * 17 + round * 12_345)).collect();
            let compressed = client.deflate.as_mut().unwrap().compress(text.as_bytes());
            let count = compressed.chunks(step).count();
            for (index, piece) in compressed.chunks(step).enumerate() {
                let first = if index == 0 { RSV1 | TEXT } else { 0 } | if index + 1 == count { FIN } else { 0 };
                world.send_bytes(client.peer, &wire::raw(first, piece));
                if index == 0 {
                    world.send_bytes(client.peer, &wire::raw(FIN | wire::late(Kind::Ping), b"between"));
                }
            }
            let frames = world.frames(&mut client);
            assert_eq!(frames[0], Frame { first: 0x8a, payload: b"between".to_vec() });
            assert_eq!(assemble(&mut client, frames), [(TEXT, text.clone().into_bytes(), true)], "{step} bytes each");
        }
        // Octet by octet, and compressed messages between those that are not.
        let bytes = [
            wire::raw(FIN | TEXT, b"plain"),
            wire::raw(
                FIN | RSV1 | BINARY,
                &client.deflate.as_mut().unwrap().compress(b"compressed, compressed, compressed"),
            ),
            wire::raw(TEXT, b"pla"),
            wire::raw(FIN, b"in"),
        ];
        for byte in bytes.concat() {
            world.send_bytes(client.peer, &[byte]);
            world.reactor.settle().unwrap();
        }
        let said: Vec<Vec<u8>> = world.messages(&mut client).into_iter().map(|(_, message, _)| message).collect();
        assert_eq!(said, [&b"plain"[..], b"compressed, compressed, compressed", b"plain"]);
    }
}

#[test]
fn the_reserved_bit_stands_nowhere_else() {
    for bytes in [
        wire::raw(FIN | RSV1, &[0]),
        [wire::raw(RSV1 | TEXT, &[0]), wire::raw(FIN | RSV1, &[0])].concat(),
        wire::raw(FIN | RSV1 | wire::late(Kind::Ping), b""),
        wire::raw(FIN | RSV1 | wire::late(Kind::Close), b""),
        wire::raw(FIN | 0x20 | TEXT, b""),
        wire::raw(FIN | 0x70 | TEXT, b""),
    ] {
        let mut world = World::new(echo().deflate(DeflateConfig::shared()));
        let mut client = world.connect();
        world.send_bytes(client.peer, &bytes);
        assert_eq!(world.close_code(&mut client), 1002, "{bytes:x?}");
    }
}

#[test]
fn what_is_no_deflate_fails_with_1007() {
    for takeover in [false, true] {
        let config = if takeover { DeflateConfig::dedicated() } else { DeflateConfig::shared() };
        for garbage in [&[0x07][..], &[0xff; 40], &[0xf2, 0x00, 0x11, 0x00, 0x00], &[0x00, 0x05, 0x00, 0xfa]] {
            let mut world = World::new(echo().deflate(config));
            let mut client = world.connect();
            world.send_bytes(client.peer, &wire::raw(FIN | RSV1 | BINARY, garbage));
            assert_eq!(world.close_code(&mut client), 1007, "{garbage:x?}, takeover {takeover}");
        }
    }
    // A stream that ends too soon, with nothing behind it.
    let mut world = World::new(echo().deflate(DeflateConfig::shared()));
    let mut client = world.connect();
    let whole = client.deflate.as_mut().unwrap().compress(&noise(1000));
    world.send_bytes(client.peer, &wire::raw(FIN | RSV1 | BINARY, &whole[..whole.len() / 2]));
    assert_eq!(world.close_code(&mut client), 1007);
}

#[test]
fn text_is_checked_when_it_is_inflated_and_at_once() {
    let mut world = World::new(echo().deflate(DeflateConfig::dedicated()));
    let mut client = world.connect();
    let compressed = client.deflate.as_mut().unwrap().compress(&[&b"fine so far "[..], b"\xff", &noise(500)].concat());
    // The message has not come whole, and never will.
    world.send_bytes(client.peer, &wire::raw(RSV1 | TEXT, &compressed[..200]));
    assert_eq!(world.close_code(&mut client), 1007);

    let mut client = world.connect();
    let cut_inside_a_character =
        client.deflate.as_mut().unwrap().compress("caf\u{e9}".as_bytes().split_last().unwrap().1);
    world.send_bytes(client.peer, &wire::raw(FIN | RSV1 | TEXT, &cut_inside_a_character));
    assert_eq!(world.close_code(&mut client), 1007);
}

#[test]
fn a_message_is_not_inflated_beyond_its_limit() {
    let limited = || echo().deflate(DeflateConfig::dedicated()).max_message_bytes(100_000);
    let mut world = World::new(limited());
    let mut client = world.connect();
    world.send(&mut client, BINARY, &vec![7; 100_000]);
    assert_eq!(world.messages(&mut client)[0].1, vec![7; 100_000]);
    world.send(&mut client, BINARY, &vec![7; 100_001]);
    assert_eq!(world.close_code(&mut client), 1009);
    // What cannot be made smaller is longer when it is compressed, and the limit is for the message.
    let mut world = World::new(limited());
    let mut client = world.connect();
    let loud = noise(100_000);
    world.send(&mut client, BINARY, &loud);
    assert_eq!(world.messages(&mut client)[0].1, loud);
    // In fragments, each of them harmless.
    let compressed = client.deflate.as_mut().unwrap().compress(&vec![0; 1_000_000]);
    for (index, piece) in compressed.chunks(10).enumerate() {
        world.send_bytes(client.peer, &wire::raw(if index == 0 { RSV1 | BINARY } else { 0 }, piece));
    }
    assert_eq!(world.close_code(&mut client), 1009);
}

#[test]
fn short_messages_go_as_they_are_and_so_do_those_that_are_to() {
    let server = Server::new(|_| {
        on_message(|ws, message| {
            match message.as_text() {
                Some("secret") => ws.send_uncompressed("secret ".repeat(100)),
                Some("publish") => {
                    ws.subscribe("topic");
                    let told = ws.hub().publish_uncompressed("topic", "secret ".repeat(100));
                    assert_eq!(told.queued, 1);
                    SendStatus::Queued
                }
                _ => ws.send(message),
            };
        })
    });
    let mut world = World::new(server.deflate(DeflateConfig::dedicated().threshold_bytes(100)));
    let mut client = world.connect();
    for (text, compressed) in
        [("a".repeat(99), false), ("a".repeat(100), true), ("secret".into(), false), ("publish".into(), false)]
    {
        world.send(&mut client, TEXT, text.as_bytes());
        let messages = world.messages(&mut client);
        let [(TEXT, _, was_compressed)] = messages[..] else { panic!("one answer to {text}") };
        assert_eq!(was_compressed, compressed, "{text}");
    }
    // What went as it was is not referred to.
    world.send(&mut client, TEXT, "a".repeat(500).as_bytes());
    assert_eq!(world.messages(&mut client), [(TEXT, "a".repeat(500).into_bytes(), true)]);
}

#[test]
fn what_gains_nothing_goes_as_it_is() {
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let mut world = World::new(echo().deflate(config));
        let mut client = world.connect();
        world.send(&mut client, BINARY, &noise(10_000));
        assert_eq!(world.messages(&mut client), [(BINARY, noise(10_000), false)]);
        world.send(&mut client, TEXT, "a".repeat(500).as_bytes());
        assert_eq!(world.messages(&mut client), [(TEXT, "a".repeat(500).into_bytes(), true)]);
    }
}

/// Subscribes everybody, and publishes what the first says to all.
struct Fan;

impl Handler for Fan {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        ws.subscribe("all");
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        ws.publish("all", message);
    }
}

#[test]
fn what_is_published_is_compressed_once_for_each_set_of_parameters() {
    let mut world = World::new(Server::new(|_| Fan).deflate(DeflateConfig::shared()));
    let mut clients: Vec<Client> = (0..10).map(|_| world.connect()).collect();
    let smaller = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
    clients.extend((0..10).map(|_| world.connect_with(smaller)));
    clients.extend((0..10).map(|_| world.connect_with("")));
    let text: String = (0..30).map(record).collect();
    for round in 1..=3 {
        world.send(&mut clients[0], TEXT, text.as_bytes());
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(world.messages(client), [(TEXT, text.clone().into_bytes(), index < 20)]);
        }
        assert_eq!(world.stats().compressions, 2 * round);
    }
    // With context takeover there is no sharing.
    let mut world = World::new(Server::new(|_| Fan).deflate(DeflateConfig::dedicated()));
    let mut clients: Vec<Client> = (0..10).map(|_| world.connect()).collect();
    for _ in 0..3 {
        world.send(&mut clients[0], TEXT, text.as_bytes());
        for client in &mut clients {
            assert_eq!(world.messages(client), [(TEXT, text.clone().into_bytes(), true)]);
        }
    }
    assert_eq!(world.stats().compressions, 30);
}

/// Says what it is asked to.
fn teller(large: OwnedMessage) -> Server {
    Server::new(move |_| {
        let large = large.clone();
        on_message(move |ws, message| match message.as_text() {
            Some("large") => drop(ws.send(&large)),
            Some("large, then close") => {
                ws.send(&large);
                ws.send("behind");
                ws.close(ws_reactor::CloseCode::NORMAL, "done");
            }
            Some("large, then publish") => {
                ws.subscribe("topic");
                ws.send(&large);
                ws.publish("topic", "published");
                ws.send_uncompressed("uncompressed");
            }
            Some("large, then panic") => {
                ws.send(&large);
                panic!("deliberate");
            }
            _ => drop(ws.send(message)),
        })
    })
}

/// More than ten slices, and less than the output takes.
fn large_text() -> String {
    (0..13_000).map(record).collect()
}

#[test]
fn a_large_message_is_compressed_in_slices_and_others_are_served_between() {
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let text = large_text();
        let mut world = World::new(teller(OwnedMessage::text(text.as_str())).deflate(config));
        let (mut large, mut small) = (world.connect(), world.connect());
        world.send(&mut large, TEXT, b"large");
        world.reactor.turn(Some(Duration::ZERO)).unwrap();
        let slices = text.len() / (64 * 1024);
        let (mut served, mut frames, mut buffered) = (0, Vec::new(), usize::MAX);
        for number in 0..slices - 1 {
            world.send(&mut small, TEXT, record(number).as_bytes());
            world.reactor.turn(Some(Duration::ZERO)).unwrap();
            served += world.frames_now(&mut small).len();
            frames.extend(world.frames_now(&mut large));
            let left = world.stats().buffered_bytes;
            assert!(left < buffered, "it gets on with every turn");
            buffered = left;
        }
        // What is written arrives a turn later.
        assert_eq!(served, slices - 2, "each turn serves the others");
        assert!(frames.len() > 2, "the message leaves while it is compressed");
        frames.extend(world.frames(&mut large));
        let messages = assemble(&mut large, frames);
        assert!(messages == [(TEXT, text.into_bytes(), true)], "it comes whole");
    }
}

/// Says something large as soon as there is room for it.
struct Flood(OwnedMessage);

impl Handler for Flood {
    fn on_message(&mut self, ws: &mut WebSocket<'_>, _: Message<'_>) {
        ws.send(&self.0);
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_>) {
        ws.send(&self.0);
    }
}

#[test]
fn a_connection_that_always_has_more_to_compress_does_not_keep_others_waiting() {
    let record: String = (0..10_000).map(record).collect();
    for length in [66_000, 4 * 64 * 1024, 290_000] {
        let text = OwnedMessage::text(&record[..length]);
        let server = Server::new(move |handshake| -> Box<dyn Handler> {
            let text = text.clone();
            match handshake.path() {
                "/flood" => Box::new(Flood(text)),
                _ => Box::new(on_message(move |ws, _| {
                    ws.send(&text);
                })),
            }
        });
        let mut world = World::new(server.deflate(DeflateConfig::dedicated()));
        let (mut flooded, mut other) = (world.connect_to("/flood", OFFER), world.connect());
        world.send(&mut flooded, TEXT, b"go");
        for _ in 0..5 {
            world.send(&mut other, TEXT, b"go");
            let mut frames = Vec::new();
            for _ in 0..40 {
                world.reactor.turn(Some(Duration::ZERO)).unwrap();
                frames.extend(world.frames_now(&mut other));
                world.frames_now(&mut flooded);
            }
            assert_eq!(assemble(&mut other, frames).len(), 1, "{length} bytes");
        }
    }
}

#[test]
fn nobody_is_given_up_because_the_server_is_slow_to_compress() {
    let text = OwnedMessage::text((0..80_000).map(record).collect::<String>());
    let mut world = World::new(teller(text).deflate(DeflateConfig::dedicated()));
    let mut clients: Vec<Client> = (0..4).map(|_| world.connect()).collect();
    let mut frames = vec![Vec::new(); clients.len()];
    for client in &mut clients {
        world.send(client, TEXT, b"large, then publish");
    }
    for _ in 0..500 {
        world.reactor.turn(Some(Duration::ZERO)).unwrap();
        world.reactor.kernel_mut().advance(Duration::from_millis(120));
        for (client, frames) in clients.iter_mut().zip(&mut frames) {
            frames.extend(world.frames_now(client));
        }
    }
    assert_eq!(world.stats().dropped, 0);
    for (client, frames) in clients.iter_mut().zip(frames) {
        assert!(frames.iter().all(|frame| frame.first != 0x88), "closed");
        // The large one, what was sent behind it, and what those published who came later.
        assert!(assemble(client, frames).len() >= 3);
    }
}

#[test]
fn what_is_said_behind_a_large_message_comes_behind_it() {
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let text = large_text();
        let mut world = World::new(teller(OwnedMessage::text(text.as_str())).deflate(eager(config)));
        let mut client = world.connect();
        for word in ["large", "one", "large, then publish", "two"] {
            world.send(&mut client, TEXT, word.as_bytes());
        }
        let messages = world.messages(&mut client);
        let said: Vec<&[u8]> = messages.iter().map(|(_, message, _)| &message[..]).collect();
        let all = [text.as_bytes(), b"one", text.as_bytes(), b"published", b"uncompressed", b"two"];
        assert!(said == all, "{:?}", said.iter().map(|message| message.len()).collect::<Vec<_>>());
    }
}

#[test]
fn a_close_waits_for_the_large_message_before_it() {
    for word in ["large, then close", "large, then panic"] {
        let text = large_text();
        let mut world = World::new(teller(OwnedMessage::text(text.as_str())).deflate(DeflateConfig::dedicated()));
        let mut client = world.connect();
        world.send(&mut client, TEXT, word.as_bytes());
        let frames = world.frames(&mut client);
        assert_eq!(frames.last().unwrap().first, 0x88);
        let messages = assemble(&mut client, frames);
        assert!(messages[0].1 == text.as_bytes(), "{word}");
        assert_eq!(messages.len(), if word.ends_with("close") { 2 } else { 1 });
    }
}

#[test]
fn a_connection_that_ends_forgets_what_it_had_to_compress() {
    let mut world = World::new(teller(OwnedMessage::text(large_text())).deflate(DeflateConfig::dedicated()));
    let (mut leaving, mut staying) = (world.connect(), world.connect());
    world.send(&mut leaving, TEXT, b"large");
    world.send(&mut staying, TEXT, b"large");
    world.reactor.turn(Some(Duration::ZERO)).unwrap();
    world.reactor.kernel_mut().reset(leaving.peer);
    assert_eq!(world.messages(&mut staying).len(), 1);
    assert_eq!((world.stats().connections, world.stats().buffered_bytes), (1, 0));
    let mut next = world.connect();
    world.send(&mut next, TEXT, b"small");
    assert_eq!(world.messages(&mut next), [(TEXT, b"small".to_vec(), false)]);
}

#[test]
fn a_bomb_within_the_limit_is_inflated_in_slices_and_others_are_served_between() {
    let mut world = World::new(
        Server::new(|_| {
            on_message(|ws, message| {
                ws.send(message.len().to_string());
            })
        })
        .deflate(DeflateConfig::shared()),
    );
    let (mut bomber, mut other) = (world.connect(), world.connect());
    world.send(&mut bomber, BINARY, &vec![0; 10 << 20]);
    world.send(&mut bomber, BINARY, b"and another");
    let (mut turns, mut served) = (0, 0);
    let answer = loop {
        turns += 1;
        world.send(&mut other, TEXT, b"here");
        world.reactor.turn(Some(Duration::ZERO)).unwrap();
        served += world.frames_now(&mut other).len();
        let frames = world.frames_now(&mut bomber);
        if !frames.is_empty() {
            break assemble(&mut bomber, frames);
        }
    };
    assert!(turns >= 40 && served + 1 >= turns, "{served} served in {turns} turns, in which 10 MiB were inflated");
    assert_eq!(answer[0].1, b"10485760");
    let rest = if answer.len() == 2 { answer[1..].to_vec() } else { world.messages(&mut bomber) };
    assert_eq!(rest, [(TEXT, b"11".to_vec(), false)]);
}

#[test]
fn many_small_bombs_in_one_segment_take_turns_too() {
    let handled = Rc::new(RefCell::new(0));
    let counted = Rc::clone(&handled);
    let server = Server::new(move |_| {
        let counted = Rc::clone(&counted);
        on_message(move |_, _| *counted.borrow_mut() += 1)
    });
    let mut world = World::new(server.deflate(DeflateConfig::shared()));
    let mut client = world.connect();
    let bomb = client.deflate.as_mut().unwrap().compress(&vec![0; 100_000]);
    let segment: Vec<u8> = (0..100).flat_map(|_| wire::raw(FIN | RSV1 | BINARY, &bomb)).collect();
    world.send_bytes(client.peer, &segment);
    let mut most = 0;
    while *handled.borrow() < 100 {
        let before = *handled.borrow();
        world.reactor.turn(Some(Duration::ZERO)).unwrap();
        most = most.max(*handled.borrow() - before);
    }
    assert!(most <= 4, "{most} messages of 100 kB in one turn");
}

#[test]
fn a_peer_that_does_not_read_is_given_up_in_the_middle_of_a_large_message() {
    let text = large_text();
    let mut world = World::new(teller(OwnedMessage::text(text.as_str())).deflate(DeflateConfig::dedicated()));
    let mut client = world.connect();
    world.reactor.kernel_mut().hold(client.peer, 1000);
    for _ in 0..3 {
        world.send(&mut client, TEXT, b"large");
    }
    world.reactor.advance(Duration::from_secs(60)).unwrap();
    assert_eq!((world.stats().connections, world.stats().buffered_bytes), (0, 0));
}
