//! Allocations: once the buffers are warm, an echo and a publish need none.

#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use ws_reactor::{Callbacks, Reactor, Server};

#[path = "it/support/counting.rs"]
mod counting;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A client with buffers that are allocated before counting begins.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(reactor: &mut Reactor, addr: SocketAddr) -> Client {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.write_all(REQUEST).unwrap();
        let mut client = Client { stream, buffer: vec![0; 256 * 1024] };
        client.await_bytes(reactor, 129);
        client
    }

    /// Runs turns until `bytes` have arrived.
    fn await_bytes(&mut self, reactor: &mut Reactor, bytes: usize) {
        let mut received = 0;
        while received < bytes {
            reactor.turn(Some(Duration::ZERO)).unwrap();
            if let Ok(length) = self.stream.read(&mut self.buffer) {
                received += length;
            }
        }
        assert_eq!(received, bytes);
    }
}

/// A masked frame with a key of zeros, which leaves the payload as it is.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = match payload.len() {
        length @ 0..=125 => vec![0x82, 0x80 | length as u8],
        length => [&[0x82, 0xfe][..], &(length as u16).to_be_bytes()].concat(),
    };
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The allocations of `messages` messages. The first client sends each, and `receivers` clients await it.
fn allocations(
    reactor: &mut Reactor,
    clients: &mut [Client],
    receivers: usize,
    payload: usize,
    messages: usize,
) -> u64 {
    let frame = frame(&vec![7; payload]);
    let echoed = frame.len() - 4;
    let before = counting::allocations();
    for _ in 0..messages {
        clients[0].stream.write_all(&frame).unwrap();
        for client in clients.iter_mut().take(receivers) {
            client.await_bytes(reactor, echoed);
        }
    }
    // The frame itself was made before counting began.
    counting::allocations() - before
}

#[test]
fn steady_echo_allocates_nothing() {
    let mut reactor = Reactor::new().unwrap();
    let echo = Server::new(|_| {
        Callbacks::new().on_message(|ws, message| {
            ws.send(message);
        })
    });
    let addr = reactor.listen("127.0.0.1:0", echo).unwrap().addr;
    let mut clients = [Client::connect(&mut reactor, addr)];
    for payload in [16, 1024, 20_000] {
        allocations(&mut reactor, &mut clients, 1, payload, 50);
        assert_eq!(allocations(&mut reactor, &mut clients, 1, payload, 200), 0, "{payload} bytes");
    }
}

#[test]
fn steady_publish_allocates_nothing() {
    let mut reactor = Reactor::new().unwrap();
    let multicast = Server::new(|_| {
        Callbacks::new()
            .on_open(|ws, _| {
                ws.subscribe("all");
            })
            .on_message(|ws, message| {
                ws.publish("all", message);
                ws.publish("nobody", message);
            })
    });
    let addr = reactor.listen("127.0.0.1:0", multicast).unwrap().addr;
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(&mut reactor, addr)).collect();
    for payload in [16, 1024, 20_000] {
        allocations(&mut reactor, &mut clients, 20, payload, 50);
        assert_eq!(allocations(&mut reactor, &mut clients, 20, payload, 200), 0, "{payload} bytes");
    }
}
