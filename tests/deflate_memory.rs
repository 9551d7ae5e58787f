//! What compression may cost in memory: nothing for a message, little for a connection, and of a bomb no more than the
//! limit.
#![cfg(feature = "deflate")]
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use counting::live;
use socket2::SockRef;
use wire::deflate::{Deflate, RSV1};
use ws_reactor::{DeflateConfig, Reactor, Server, Version, on_message};

#[path = "it/support/counting.rs"]
mod counting;
#[path = "it/support/wire/mod.rs"]
mod wire;

const COMPRESSED_TEXT: u8 = 0x80 | RSV1 | 1;

fn echo(config: DeflateConfig) -> (Reactor, SocketAddr) {
    let mut reactor = Reactor::new().unwrap();
    let server = Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    });
    let addr = reactor.listen("127.0.0.1:0", server.deflate(config)).unwrap().addr;
    (reactor, addr)
}

/// A client that compresses; it is told when what came ends a message.
struct Client {
    stream: TcpStream,
    deflate: Deflate,
}

impl Client {
    fn connect(reactor: &mut Reactor, addr: SocketAddr) -> Client {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_nonblocking(true).unwrap();
        // What leaves is not to hold its port.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        stream.write_all(&wire::request(Version::Rfc6455, "/", offer)).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            receive(reactor, &mut stream, &mut answer);
        }
        Client { stream, deflate: Deflate::agreed(&String::from_utf8(answer).unwrap()).unwrap() }
    }

    fn say(&mut self, text: &str) {
        let frame = wire::raw(COMPRESSED_TEXT, &self.deflate.compress(text.as_bytes()));
        self.stream.write_all(&frame).unwrap();
    }

    /// Says something, and hears it back.
    fn exchange(&mut self, reactor: &mut Reactor, text: &str) {
        self.say(text);
        let mut answer = Vec::new();
        let payload = loop {
            match answer[..] {
                [COMPRESSED_TEXT, length @ 0..126, ref payload @ ..] if payload.len() >= length.into() => {
                    break payload;
                }
                [COMPRESSED_TEXT, 126, high, low, ref payload @ ..]
                    if payload.len() >= u16::from_be_bytes([high, low]).into() =>
                {
                    break payload;
                }
                _ => receive(reactor, &mut self.stream, &mut answer),
            }
        };
        assert_eq!(self.deflate.inflate(payload), text.as_bytes());
    }
}

fn receive(reactor: &mut Reactor, stream: &mut TcpStream, into: &mut Vec<u8>) {
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let mut buffer = [0; 4096];
    if let Ok(length) = stream.read(&mut buffer) {
        into.extend_from_slice(&buffer[..length]);
    }
}

fn record(number: usize) -> String {
    (0..20).map(|index| format!("{{\"id\":{},\"name\":\"user{}\"}}", number + index, number * index)).collect()
}

/// What so many connections keep that have compressed and been compressed to, each, in bytes. What the clients keep is
/// not counted.
fn kept_by_each(config: DeflateConfig, count: usize) -> usize {
    let (mut reactor, addr) = echo(config);
    Client::connect(&mut reactor, addr).exchange(&mut reactor, &record(0));
    let (before, mut streams) = (live(), Vec::with_capacity(count));
    let vector = live() - before;
    for number in 0..count {
        let mut client = Client::connect(&mut reactor, addr);
        for message in 0..60 {
            client.exchange(&mut reactor, &record(number * 100 + message));
        }
        streams.push(client.stream);
    }
    assert_eq!(reactor.hub().stats().connections, count);
    (live() - before - vector) / count
}

#[test]
fn a_connection_that_has_compressed_keeps_its_histories_and_little_else() {
    let shared = kept_by_each(DeflateConfig::shared(), 100);
    assert!(shared <= 2 * 1024, "{shared} bytes");
    let dedicated = kept_by_each(DeflateConfig::dedicated(), 100);
    // The server's window of 4 KiB, the client's of 32, and an eighth more.
    assert!((36 * 1024..shared + 40 * 1024 + 1024 + 512).contains(&dedicated), "{dedicated} bytes");
}

#[test]
fn nothing_is_left_of_ten_thousand_clients_that_compressed() {
    let (mut reactor, addr) = echo(DeflateConfig::dedicated());
    let mut come_and_go = |rounds: usize| {
        for round in 0..rounds {
            let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(&mut reactor, addr)).collect();
            for client in &mut clients {
                client.exchange(&mut reactor, &record(round));
            }
            drop(clients);
            while reactor.hub().stats().connections > 0 {
                reactor.turn(Some(Duration::ZERO)).unwrap();
            }
        }
    };
    come_and_go(2);
    let baseline = live();
    come_and_go(100);
    assert!(live() <= baseline + 16 * 1024, "{} bytes above {baseline}", live() - baseline);
}

#[test]
fn a_large_message_that_is_published_is_there_once() {
    let mut reactor = Reactor::new().unwrap();
    let server = Server::new(|_| {
        on_message(|ws, message| {
            ws.subscribe("all");
            if message.len() > 10_000 {
                // Not the message itself, which lies in a block already.
                let text = format!("published: {}", message.as_text().unwrap());
                ws.publish("all", &text);
            }
        })
    });
    let addr = reactor.listen("127.0.0.1:0", server.deflate(DeflateConfig::dedicated())).unwrap().addr;
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(&mut reactor, addr)).collect();
    for client in &mut clients {
        client.say("here");
    }
    for _ in 0..100 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let text: String = (0..500).map(record).collect();
    clients[0].say(&text);
    let before = live();
    counting::forget_peak();
    let mut buffer = [0; 4096];
    while reactor.hub().stats().compressions < 50 || reactor.hub().stats().buffered_bytes > 0 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
        for client in &mut clients {
            while client.stream.read(&mut buffer).is_ok() {}
        }
    }
    let cost = counting::peak() - before;
    assert!(cost < 6 * text.len(), "{cost} bytes for {}", text.len());
}

#[test]
fn a_steady_echo_that_is_compressed_allocates_nothing() {
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let (mut reactor, addr) = echo(config);
        let mut clients = [Client::connect(&mut reactor, addr), Client::connect(&mut reactor, addr)];
        let mut frames: Vec<Vec<u8>> = Vec::new();
        for number in 0..600 {
            let text = record(number);
            frames.push(wire::raw(COMPRESSED_TEXT, &clients[number % 2].deflate.compress(text.as_bytes())));
        }
        let mut before = 0;
        for (number, frame) in frames.iter().enumerate() {
            if number == 200 {
                before = counting::allocations();
            }
            let stream = &mut clients[number % 2].stream;
            stream.write_all(frame).unwrap();
            let mut buffer = [0; 4096];
            loop {
                reactor.turn(Some(Duration::ZERO)).unwrap();
                if stream.read(&mut buffer).is_ok() {
                    break;
                }
            }
        }
        assert_eq!(counting::allocations() - before, 0, "{config:?}");
    }
}

#[test]
fn a_bomb_costs_no_more_than_the_limit() {
    const LIMIT: usize = 10 << 20;
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let (mut reactor, addr) = echo(config);
        let mut client = Client::connect(&mut reactor, addr);
        client.exchange(&mut reactor, &record(1));
        let bomb = wire::raw(COMPRESSED_TEXT, &client.deflate.compress(&vec![b' '; 256 << 20]));
        assert!(bomb.len() < 512 * 1024);
        let before = live();
        counting::forget_peak();
        let mut left = &bomb[..];
        let mut answer = [0; 4096];
        let code = loop {
            if let Ok(written) = client.stream.write(left) {
                left = &left[written..];
            }
            reactor.turn(Some(Duration::ZERO)).unwrap();
            if let Ok(4..) = client.stream.read(&mut answer) {
                break u16::from_be_bytes([answer[2], answer[3]]);
            }
        };
        assert_eq!((answer[0], code), (0x88, 1009));
        let cost = counting::peak() - before;
        // A buffer that grows is there twice while it moves.
        assert!(cost < 2 * LIMIT, "{cost} bytes");
        let mut other = Client::connect(&mut reactor, addr);
        other.exchange(&mut reactor, &record(2));
    }
}
