//! permessage-deflate: negotiation, compressed messages in both directions, limits.
#![cfg(feature = "deflate")]

mod client_negotiation;
mod contexts;
mod fragments;
mod invalid_data;
mod large_messages;
mod limits;
mod messages;
mod server_negotiation;

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Callbacks, CloseCode, DeflateConfig, Handler, Handshake, Message, OwnedMessage, Reactor, ReactorConfig, SendStatus,
    Server, Stats, TestSocket, Upgrade, Version, WebSocket,
    net::sim::{PeerId, Sim},
    on_message,
};

use crate::support::{
    self,
    played::echo,
    wire::{
        self, Kind,
        deflate::{Deflate, RSV1},
    },
};

const ADDRESS: &str = "10.0.0.1:80";
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// The configuration, with a threshold of 0 bytes.
fn compress_all(config: DeflateConfig) -> DeflateConfig {
    config.threshold_bytes(0)
}

/// A server on a simulated network, for clients that compress.
struct World {
    reactor: Reactor<Sim>,
}

/// The state of one client; `deflate` is `None` if the server did not agree to compression.
struct Client {
    peer: PeerId,
    response: String,
    deflate: Option<Deflate>,
    pending: Vec<u8>,
}

/// A frame from the server; `first` is its first octet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    first: u8,
    payload: Vec<u8>,
}

impl World {
    fn new(server: Server) -> Self {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
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
        let response = String::from_utf8(self.reactor.kernel_mut().received(peer)).unwrap();
        assert!(response.starts_with("HTTP/1.1 101 ") && response.ends_with("\r\n\r\n"), "{response}");
        let deflate = Deflate::from_response(&response);
        Client { peer, response, deflate, pending: Vec::new() }
    }

    fn send_bytes(&mut self, peer: PeerId, bytes: &[u8]) {
        self.reactor.kernel_mut().send(peer, bytes);
    }

    /// Sends a compressed message.
    fn send(&mut self, client: &mut Client, kind: u8, message: &[u8]) {
        let compressed = client.deflate.as_mut().unwrap().compress(message);
        self.send_bytes(client.peer, &wire::raw(FIN | RSV1 | kind, &compressed));
    }

    /// Settles the reactor and takes the frames received.
    fn frames(&mut self, client: &mut Client) -> Vec<Frame> {
        self.reactor.settle().unwrap();
        self.available_frames(client)
    }

    /// Takes the frames received so far.
    fn available_frames(&mut self, client: &mut Client) -> Vec<Frame> {
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

    /// Settles the reactor and takes the messages received: opcode, payload, whether it was compressed.
    fn messages(&mut self, client: &mut Client) -> Vec<(u8, Vec<u8>, bool)> {
        let frames = self.frames(client);
        assemble(client, frames)
    }

    /// The code of the close frame, which must be the only frame received.
    fn close_code(&mut self, client: &mut Client) -> u16 {
        let frames = self.frames(client);
        let [Frame { first: 0x88, payload }] = &frames[..] else { panic!("expected one close frame: {frames:?}") };
        u16::from_be_bytes([payload[0], payload[1]])
    }

    fn stats(&mut self) -> Stats {
        self.reactor.hub().stats()
    }
}

/// Joins fragments, skips control frames, and inflates compressed messages.
fn assemble(client: &mut Client, frames: Vec<Frame>) -> Vec<(u8, Vec<u8>, bool)> {
    let (mut messages, mut unfinished): (Vec<_>, Option<(u8, Vec<u8>)>) = (Vec::new(), None);
    for Frame { first, payload } in frames.into_iter().filter(|frame| frame.first & 0x08 == 0) {
        let (first_octet, whole) = match unfinished.take() {
            Some((first_octet, start)) => {
                assert_eq!(first & 0x7f, 0, "a continuation frame has opcode 0 and no RSV1");
                (first_octet, [start, payload].concat())
            }
            None => (first, payload),
        };
        if first & FIN == 0 {
            unfinished = Some((first_octet, whole));
            continue;
        }
        let compressed = first_octet & RSV1 != 0;
        let message = if compressed { client.deflate.as_mut().unwrap().inflate(&whole) } else { whole };
        messages.push((first_octet & 0x0f, message, compressed));
    }
    assert!(unfinished.is_none(), "the last message is complete");
    messages
}

/// A short JSON text, different for each number.
fn record(number: usize) -> String {
    format!(
        "{{\"id\":{number},\"name\":\"user{}\",\"active\":{},\"tags\":[\"a\",\"b\"]}}",
        number * 7,
        number.is_multiple_of(2)
    )
}

/// Incompressible octets.
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
