//! The memory that compression uses: per message, per connection, and for a compression bomb.
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

/// A client that compresses its messages.
struct Client {
    stream: TcpStream,
    deflate: Deflate,
}

impl Client {
    fn connect(reactor: &mut Reactor, addr: SocketAddr) -> Client {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_nonblocking(true).unwrap();
        // A connection that leaves must not keep its port in TIME_WAIT.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        stream.write_all(&wire::request(Version::Rfc6455, "/", offer)).unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            receive(reactor, &mut stream, &mut response);
        }
        Client { stream, deflate: Deflate::from_response(&String::from_utf8(response).unwrap()).unwrap() }
    }

    fn send(&mut self, text: &str) {
        let frame = wire::raw(COMPRESSED_TEXT, &self.deflate.compress(text.as_bytes()));
        self.stream.write_all(&frame).unwrap();
    }

    /// Sends a message and checks its echo.
    fn exchange(&mut self, reactor: &mut Reactor, text: &str) {
        self.send(text);
        let mut received = Vec::new();
        let payload = loop {
            match received[..] {
                [COMPRESSED_TEXT, length @ 0..126, ref payload @ ..] if payload.len() >= length.into() => {
                    break payload;
                }
                [COMPRESSED_TEXT, 126, high, low, ref payload @ ..]
                    if payload.len() >= u16::from_be_bytes([high, low]).into() =>
                {
                    break payload;
                }
                _ => receive(reactor, &mut self.stream, &mut received),
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

/// The bytes that each of `count` connections keeps after both directions have compressed. The memory of the clients is
/// not included.
fn bytes_per_connection(config: DeflateConfig, count: usize) -> usize {
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
fn connection_that_has_compressed_keeps_its_contexts_and_little_else() {
    let shared = bytes_per_connection(DeflateConfig::shared(), 100);
    assert!(shared <= 2 * 1024, "{shared} bytes");
    let dedicated = bytes_per_connection(DeflateConfig::dedicated(), 100);
    // The server's window of 4 KiB, the client's of 32 KiB, and an eighth more.
    assert!((36 * 1024..shared + 40 * 1024 + 1024 + 512).contains(&dedicated), "{dedicated} bytes");
}

#[test]
fn memory_of_ten_thousand_compressing_clients_is_freed_after_they_leave() {
    let (mut reactor, addr) = echo(DeflateConfig::dedicated());
    let mut connect_and_leave = |rounds: usize| {
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
    connect_and_leave(2);
    let baseline = live();
    connect_and_leave(100);
    assert!(live() <= baseline + 16 * 1024, "{} bytes above {baseline}", live() - baseline);
}

#[test]
fn large_published_message_is_in_memory_once() {
    let mut reactor = Reactor::new().unwrap();
    let server = Server::new(|_| {
        on_message(|ws, message| {
            ws.subscribe("all");
            if message.len() > 10_000 {
                // A new text: the received message already lies in a block of its own.
                let text = format!("published: {}", message.as_text().unwrap());
                ws.publish("all", &text);
            }
        })
    });
    let addr = reactor.listen("127.0.0.1:0", server.deflate(DeflateConfig::dedicated())).unwrap().addr;
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(&mut reactor, addr)).collect();
    for client in &mut clients {
        client.send("here");
    }
    for _ in 0..100 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let text: String = (0..500).map(record).collect();
    clients[0].send(&text);
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
    assert!(cost < 6 * text.len(), "{cost} bytes for a message of {}", text.len());
}

#[test]
fn steady_compressed_echo_allocates_nothing() {
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
fn bomb_allocates_less_than_twice_the_message_limit() {
    const LIMIT: usize = 10 << 20;
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let (mut reactor, addr) = echo(config);
        let mut client = Client::connect(&mut reactor, addr);
        client.exchange(&mut reactor, &record(1));
        let bomb = wire::raw(COMPRESSED_TEXT, &client.deflate.compress(&vec![b' '; 256 << 20]));
        assert!(bomb.len() < 512 * 1024);
        let before = live();
        counting::forget_peak();
        let mut unsent = &bomb[..];
        let mut close = [0; 4096];
        let code = loop {
            if let Ok(written) = client.stream.write(unsent) {
                unsent = &unsent[written..];
            }
            reactor.turn(Some(Duration::ZERO)).unwrap();
            if let Ok(4..) = client.stream.read(&mut close) {
                break u16::from_be_bytes([close[2], close[3]]);
            }
        };
        assert_eq!((close[0], code), (0x88, 1009));
        let cost = counting::peak() - before;
        // A growing buffer exists twice while its contents move.
        assert!(cost < 2 * LIMIT, "{cost} bytes");
        let mut other = Client::connect(&mut reactor, addr);
        other.exchange(&mut reactor, &record(2));
    }
}
