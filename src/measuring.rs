//! The pure parts as repeatable units of work for `benches/parts`, which counts their instructions.
//!
//! Built only with `--cfg measuring`.
#![allow(clippy::unwrap_used, missing_debug_implementations)]

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use ::http::HeaderMap;

use crate::{
    buffer::Blocks,
    http::{HeadLimits, Request, head::HeadReader},
    protocol::{
        Message, MessageLimits, Side, Version,
        decoder::Decoder,
        decoder::PartialStates,
        encoder::Encoder,
        handshake::{self, Handshake, sample_request},
        mask::unmask,
        utf8::Utf8Stream,
    },
    reactor::{IdSource, Reactor, Timers, Topics},
    websocket::{Server, on_message},
};

const KEY: [u8; 4] = [0x5a, 0x13, 0xc7, 0x88];

/// A unit of work, to prepare once and then repeat.
pub struct Part {
    /// Name of the part.
    pub name: String,
    prepare: Box<dyn FnOnce() -> Work>,
}

/// Runs the work once.
pub type Work = Box<dyn FnMut()>;

impl Part {
    /// Prepares the work.
    pub fn prepare(self) -> Work {
        (self.prepare)()
    }
}

fn part<W: FnMut() + 'static>(name: impl Into<String>, prepare: impl FnOnce() -> W + 'static) -> Part {
    Part { name: name.into(), prepare: Box::new(|| Box::new(prepare())) }
}

/// All parts.
pub fn parts() -> Vec<Part> {
    let mut parts = Vec::new();
    for bytes in [16, 125, 1024, 16 * 1024] {
        parts.push(part(format!("unmask {bytes} B"), move || {
            let mut payload = vec![7; bytes];
            move || unmask(&mut payload, KEY, 0)
        }));
    }
    for (name, text) in [("ASCII", "plain words ".repeat(1366)), ("mixed text", "naïve 日本 😀 ".repeat(630))] {
        parts.push(decoding(format!("decode a message of 16 KiB, {name}"), Version::Rfc6455, Side::Server, &text, 1));
        parts.push(part(format!("UTF-8 of 16 KiB in pieces, {name}"), move || pieces(&text)));
    }
    for version in [Version::Hixie76, Version::Hybi03, Version::Hybi05, Version::Hybi08, Version::Rfc6455] {
        for bytes in [16, 1024] {
            let text = "x".repeat(bytes);
            parts.push(decoding(format!("decode {bytes} B, {version}"), version, Side::Server, &text, 1));
            parts.push(encoding(format!("encode {bytes} B, {version}"), version, Side::Server, bytes));
        }
        parts.push(part(format!("handshake, {version}"), move || opening(version)));
    }
    for (name, side) in [("", Side::Server), (", client", Side::Client)] {
        parts.push(decoding(format!("decode 32 messages of 16 B{name}"), Version::Rfc6455, side, &"x".repeat(16), 32));
        parts.push(run_of_texts(format!("take 32 texts of 16 B in a row{name}"), side));
    }
    for bytes in [16, 125, 1024] {
        parts.push(encoding(format!("encode {bytes} B, client"), Version::Rfc6455, Side::Client, bytes));
    }
    for count in [1, 50] {
        parts.push(echoes(count));
    }
    parts.extend(slow());
    parts.extend(reactor());
    #[cfg(feature = "deflate")]
    parts.extend(deflate());
    parts
}

/// The frame of a text, appended to a buffer.
fn encoding(name: String, version: Version, side: Side, bytes: usize) -> Part {
    part(name, move || {
        let (encoder, text) = (Encoder::new(version, side), "x".repeat(bytes));
        let mut out = Vec::with_capacity(2 * bytes);
        move || {
            out.clear();
            encoder.message(Message::Text(&text), KEY, &mut out);
        }
    })
}

/// UTF-8 validation of a text in pieces.
fn pieces(text: &str) -> impl FnMut() + use<> {
    let chunks: Vec<Vec<u8>> = text.as_bytes().chunks(1000).map(<[u8]>::to_vec).collect();
    let mut out = String::with_capacity(2 * text.len());
    move || {
        out.clear();
        let mut stream = Utf8Stream::default();
        chunks.iter().for_each(|chunk| stream.push(chunk, &mut out).unwrap());
    }
}

/// Text messages in a row, taken by `side` as a session does.
fn run_of_texts(name: impl Into<String>, side: Side) -> Part {
    let (mut frames, sender) = (Vec::new(), Encoder::new(Version::Rfc6455, side.other()));
    (0..32).for_each(|_| sender.message(Message::Text("sixteen letters."), KEY, &mut frames));
    part(name, move || {
        let (mut input, decoder) = (frames.clone(), Decoder::new(Version::Rfc6455, side));
        move || {
            input.copy_from_slice(&frames);
            let run = decoder.text_run(&mut input, MessageLimits::default(), 32);
            let text = run.check(&input).unwrap();
            let bytes: usize = (0..32).map(|index| run.message(text, index).unwrap().len()).sum();
            assert_eq!(bytes, 32 * 16);
        }
    })
}

/// Frames of the other side, decoded by `side`.
fn decoding(name: impl Into<String>, version: Version, side: Side, text: &str, count: usize) -> Part {
    let (mut frames, sender) = (Vec::new(), Encoder::new(version, side.other()));
    (0..count).for_each(|_| sender.message(Message::Text(text), KEY, &mut frames));
    part(name, move || {
        let (mut input, mut blocks, mut partials) = (frames.clone(), Blocks::default(), PartialStates::default());
        let mut decoder = Decoder::new(version, side);
        move || {
            // Decoding unmasks in place.
            input.copy_from_slice(&frames);
            let (mut at, mut decoded_items) = (0, 0);
            while let decoded =
                decoder.next(&mut input[at..], MessageLimits::default(), &mut blocks, &mut partials).unwrap()
                && decoded.incoming.is_some()
            {
                at += decoded.consumed;
                decoded_items += 1;
            }
            assert_eq!(decoded_items, count);
        }
    })
}

/// A turn of a server that echoes `count` messages of 125 B, with the client's own calls. The system's part of the work
/// has no instructions here.
fn echoes(count: usize) -> Part {
    part(format!("turn with echoes of 125 B: {count}"), move || {
        let mut reactor = Reactor::new().unwrap();
        let echo = Server::new(|_| {
            on_message(|ws, message| {
                ws.send(message);
            })
        });
        let mut client = TcpStream::connect(reactor.listen("127.0.0.1:0", echo).unwrap().addr).unwrap();
        client.set_nodelay(true).unwrap();
        client.write_all(&sample_request(Version::Rfc6455, "/", "")).unwrap();
        while reactor.hub().stats().opened == 0 {
            reactor.turn(None).unwrap();
        }
        client.set_nonblocking(true).unwrap();
        let mut input = [0; 64 * 1024];
        while client.read(&mut input).is_err() {}
        let mut frames = Vec::new();
        let sender = Encoder::new(Version::Rfc6455, Side::Client);
        (0..count).for_each(|_| sender.message(Message::Text(&"x".repeat(125)), KEY, &mut frames));
        move || {
            client.write_all(&frames).unwrap();
            let before = reactor.hub().stats().messages_in;
            reactor.turn(None).unwrap();
            assert_eq!(reactor.hub().stats().messages_in - before, count as u64);
            assert_eq!(client.read(&mut input).unwrap(), count * 127);
        }
    })
}

/// A request, parsed and answered.
fn opening(version: Version) -> impl FnMut() {
    let request = sample_request(version, "/chat?room=1", "Origin: http://example.com\r\nUser-Agent: somebody\r\n");
    let mut out = Vec::new();
    move || {
        let (head, used) = HeadReader::default().read(&request, &HeadLimits::default()).unwrap().unwrap();
        let parsed = Request::new(head, std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into(), None, false);
        let version = handshake::detect(&parsed, Version::ALL).unwrap();
        let handshake = Handshake::new(parsed, version, None, None);
        out.clear();
        handshake.answer(&HeaderMap::new(), &mut out);
        if handshake.challenge_bytes() > 0 {
            out.extend(handshake.prove(&request[used..]));
        }
    }
}

/// Input designed to be slow to parse.
fn slow() -> [Part; 2] {
    let head_by_octet = part("a head of 64 KiB, octet by octet", || {
        let request = sample_request(Version::Rfc6455, "/", &format!("Cookie: {}\r\n", "c".repeat(64 * 1024)));
        let limits = HeadLimits { max_bytes: request.len(), ..HeadLimits::default() };
        move || {
            let mut reader = HeadReader::default();
            let mut octets = request.chunks(1);
            while reader.read(octets.next().unwrap(), &limits).unwrap().is_none() {}
        }
    });
    let lists = part("three lists of 14 KiB without a meaning", || {
        let lists = ["a; b=\"".to_owned() + &"\\".repeat(14_000), "a;".repeat(7000), ",".repeat(14_000)];
        let requests = lists.map(|list| {
            let names = ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "X-Forwarded-For"];
            sample_request(Version::Rfc6455, "/", &names.map(|name| format!("{name}: {list}\r\n")).concat())
        });
        let limits = HeadLimits { max_bytes: 64 * 1024, ..HeadLimits::default() };
        move || {
            for request in &requests {
                let (head, _) = HeadReader::default().read(request, &limits).unwrap().unwrap();
                let parsed = Request::new(head, std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into(), None, false);
                let _ = handshake::detect(&parsed, Version::ALL);
                std::hint::black_box(parsed.subprotocols().count());
                #[cfg(feature = "deflate")]
                {
                    let lines = parsed.headers().get_all("Sec-WebSocket-Extensions").into_iter();
                    let lines = lines.map(http::HeaderValue::as_bytes);
                    let _ = crate::protocol::deflate::agree(lines, &crate::DeflateConfig::dedicated());
                }
            }
        }
    });
    [head_by_octet, lists]
}

fn reactor() -> Vec<Part> {
    let moving = part("move one of 10,000 timers", || {
        let (start, mut timers) = (Instant::now(), Timers::new(IdSource::new()));
        let due = move |number: u64| start + Duration::from_millis(number);
        let ids: Vec<_> = (0..10_000).map(|number| timers.insert(due(number), number)).collect();
        let mut turn = 0;
        move || {
            turn += 7919;
            timers.reschedule(ids[turn % ids.len()], due(turn as u64 + 20_000));
        }
    });
    let firing = part("set and fire 100 timers", || {
        let (start, mut timers) = (Instant::now(), Timers::new(IdSource::new()));
        let due = move |number: u64| start + Duration::from_millis(number);
        move || {
            (0..100).for_each(|number| _ = timers.insert(due(number * 37 % 100), number));
            while let Some(first) = timers.next_due(due(1000)) {
                timers.cancel(first).unwrap();
            }
        }
    });
    let joining_members = part("join a topic of 10,000 members, and leave it", || {
        let mut topics = Topics::default();
        // Not a literal: if the linker puts that at the end of a page, comparing it costs nine instructions more.
        let name = "all".to_owned();
        (0..10_000).for_each(|connection| _ = topics.subscribe(connection, &name));
        move || {
            topics.subscribe(10_000, &name);
            topics.unsubscribe(10_000, &name);
        }
    });
    let joining_topics = part("join one of 10,000 topics of a connection, and leave it", || {
        let mut topics = Topics::default();
        let names: Vec<String> = (0..10_000).map(|number| format!("topic {number}")).collect();
        names.iter().for_each(|name| _ = topics.subscribe(0, name));
        let mut turn = 0;
        move || {
            turn = (turn + 7919) % names.len();
            topics.unsubscribe(0, &names[turn]);
            topics.subscribe(0, &names[turn]);
        }
    });
    vec![moving, firing, joining_members, joining_topics]
}

#[cfg(feature = "deflate")]
fn deflate() -> Vec<Part> {
    let configs = [("dedicated", crate::DeflateConfig::dedicated()), ("shared", crate::DeflateConfig::shared())];
    configs.into_iter().flat_map(|(name, config)| deflate_by(name, config)).collect()
}

#[cfg(feature = "deflate")]
fn deflate_by(name: &str, config: crate::DeflateConfig) -> [Part; 2] {
    use crate::protocol::deflate::{Deflation, Inflation, SharedContexts, agree, offer};
    let agreed = agree([offer(&config).as_bytes()].into_iter(), &config).ok().flatten().unwrap();
    let deflating = part(format!("deflate 1 KiB of JSON, {name}"), move || {
        let mut deflation = Deflation::new(&agreed, &config, Side::Server, &SharedContexts::default());
        let texts: Vec<String> = (0..64).map(sample_json).collect();
        let mut turn = 0;
        move || {
            turn = (turn + 1) % texts.len();
            let deflated = deflation.message(texts[turn].as_bytes()).unwrap();
            deflation.recycle(deflated);
        }
    });
    let inflating = part(format!("inflate 1 KiB of JSON, {name}"), move || {
        let mut deflation = Deflation::new(&agreed, &config, Side::Client, &SharedContexts::default());
        let deflated = deflation.message(sample_json(1).as_bytes()).unwrap();
        let mut inflation = Inflation::new(&agreed, Side::Server, &SharedContexts::default());
        move || {
            let mut bytes = 0;
            let mut take = |piece: &[u8]| {
                bytes += piece.len();
                Ok(())
            };
            inflation.push(&deflated, &mut take).unwrap();
            inflation.finish(&mut take).unwrap();
            assert!(bytes >= 1024);
        }
    });
    [deflating, inflating]
}

/// JSON such as a service sends.
#[cfg(feature = "deflate")]
fn sample_json(number: u32) -> String {
    let mut text = String::from("{\"items\":[");
    let mut state = number;
    while text.len() < 1024 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += &format!("{{\"id\":{},\"name\":\"user{}\",\"active\":{}}},", state >> 20, state >> 16, state & 2 == 0);
    }
    text
}
