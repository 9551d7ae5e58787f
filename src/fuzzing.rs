//! Fuzz targets: invariants that hold for any input, one function per part, for the fuzzer, the corpus and random
//! input.
//!
//! Built for tests and fuzzers only (`--cfg fuzzing`). `fuzz/run` starts the fuzzers.

#![allow(clippy::unwrap_used, missing_debug_implementations)]

mod codec;
mod events;
mod http;
mod parts;
mod protocol;
mod reference;
mod whole;

/// Checks the invariants of a part with this input. Panics on a violation.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: [(&str, Target); 26] = [
    ("request_head", protocol::request_head),
    ("response_head", protocol::response_head),
    ("handshake", protocol::handshake),
    ("codec", codec::codec),
    ("rfc6455_frames", protocol::rfc6455_frames),
    ("early_frames", protocol::early_frames),
    ("hixie_frames", protocol::hixie_frames),
    ("round_trip", protocol::round_trip),
    ("deflate", protocol::deflate),
    ("negotiation", protocol::negotiation),
    ("utf8", parts::utf8),
    ("url", parts::url),
    ("proxy", parts::proxy),
    ("body", parts::body),
    ("timers", parts::timers),
    ("topics", parts::topics),
    ("requests", http::requests),
    ("files", http::files),
    ("event_stream", events::event_stream),
    ("proxy_header", events::proxy_header),
    ("resp", parts::resp),
    ("action_cable", parts::action_cable),
    ("pusher", parts::pusher),
    ("socket_io", parts::socket_io),
    ("server", whole::server),
    ("client", whole::client),
];

/// An item decoded by this crate's decoder or by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame and its body.
    Close(Vec<u8>),
    /// A protocol violation with this close code.
    Failed(u16),
}

/// Decodes a client's frames as a server (RFC 6455).
pub fn heard(bytes: &[u8]) -> Vec<Event> {
    protocol::heard(bytes)
}

/// Input bytes as a source of choices. After the last byte every choice is 0.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn octet(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        let wide = if end > 256 { usize::from(self.octet()) << 8 } else { 0 };
        (wide | usize::from(self.octet())) % end.max(1)
    }

    /// At most `most` bytes.
    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// Cuts `bytes` into pieces by these choices, which are not used up.
    fn pieces<'b>(&self, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let (mut cuts, mut pieces) = (Choices(self.0), Vec::new());
        while !bytes.is_empty() {
            let most = usize::from(cuts.octet()) % 7 + usize::from(cuts.octet()) % 60 * (pieces.len() % 2);
            let (piece, rest) = bytes.split_at(most.max(1).min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::net::sim::Random;

    #[test]
    fn every_target_holds_for_its_corpus() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let files = fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("no corpus for {name}: {error}"));
            let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            assert!(!files.is_empty(), "empty corpus for {name}");
            files.iter().for_each(|file| target(&fs::read(file).unwrap()));
        }
    }

    #[test]
    fn every_target_holds_for_random_input() {
        let mut random = Random::new(0);
        for (_, target) in TARGETS {
            for _ in 0..300 {
                let bytes: Vec<u8> = (0..random.below(300)).map(|_| random.number() as u8).collect();
                target(&bytes);
            }
        }
    }
}
