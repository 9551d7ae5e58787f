//! The bytes of each protocol version, encoded here and not by the crate under test.
#![allow(dead_code)]

#[cfg(feature = "deflate")]
pub(crate) mod deflate;

use ws_reactor::{CloseCode, ClosedBy, Received, Version};

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Kind {
    pub(crate) fn is_data(self) -> bool {
        matches!(self, Kind::Continuation | Kind::Text | Kind::Binary)
    }
}

/// The masking key of every frame.
const KEY: [u8; 4] = [0x11, 0xa2, 0x33, 0xc4];

/// Whether the version is hixie-75 or hixie-76, which have text messages only.
pub(crate) fn is_hixie(version: Version) -> bool {
    version <= Version::Hixie76
}

/// A frame as a client sends it.
pub(crate) fn frame(version: Version, kind: Kind, fin: bool, payload: &[u8]) -> Vec<u8> {
    match (version.number(), kind) {
        (75 | 76, Kind::Text) => [&[0], payload, &[0xff]].concat(),
        (75 | 76, Kind::Close) => vec![0xff, 0],
        (75 | 76, _) => panic!("{version} has no {kind:?}"),
        (1..=3, _) => [head(early(kind) | if fin { 0 } else { 0x80 }, 0, payload.len()), payload.to_vec()].concat(),
        (5 | 6, _) => {
            let head = head(early(kind) | if fin { 0x80 } else { 0 }, 0, payload.len());
            [KEY.to_vec(), masked(&[&head, payload].concat())].concat()
        }
        _ => raw(late(kind) | if fin { 0x80 } else { 0 }, payload),
    }
}

/// A masked frame in the format since hybi-07, with any first octet.
pub(crate) fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    [head(first, 0x80, payload.len()), KEY.to_vec(), masked(payload)].concat()
}

/// A whole text message.
pub(crate) fn text(version: Version, text: impl AsRef<[u8]>) -> Vec<u8> {
    frame(version, Kind::Text, true, text.as_ref())
}

/// A frame with an unassigned opcode, if the version has opcodes.
pub(crate) fn unknown(version: Version) -> Option<Vec<u8>> {
    match version.number() {
        75 | 76 => None,
        1..=3 => Some(vec![7, 1, b'x']),
        5 | 6 => Some([KEY.to_vec(), masked(&[0x87, 1, b'x'])].concat()),
        _ => Some(raw(0x83, b"x")),
    }
}

/// The opcode of a kind before hybi-07.
fn early(kind: Kind) -> u8 {
    match kind {
        Kind::Continuation => 0,
        Kind::Close => 1,
        Kind::Ping => 2,
        Kind::Pong => 3,
        Kind::Text => 4,
        Kind::Binary => 5,
    }
}

/// The opcode of a kind since hybi-07.
pub(crate) fn late(kind: Kind) -> u8 {
    match kind {
        Kind::Continuation => 0,
        Kind::Text => 1,
        Kind::Binary => 2,
        Kind::Close => 8,
        Kind::Ping => 9,
        Kind::Pong => 10,
    }
}

fn head(first: u8, mask: u8, length: usize) -> Vec<u8> {
    match length {
        0..=125 => vec![first, mask | length as u8],
        126..=0xffff => [&[first, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, mask | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}

fn masked(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}

/// The frames of a server that closes: none in hixie-75, without the code where the version does not send it.
pub(crate) fn closed(version: Version, code: CloseCode, reason: &str) -> Vec<Received> {
    match version.number() {
        75 => vec![],
        76 | 1..=5 => vec![Received::Close(None)],
        _ => vec![Received::Close(Some((code, reason.to_owned())))],
    }
}

/// The frames of a server that fails the connection: none in hixie-75 and hixie-76.
pub(crate) fn failed(version: Version, code: CloseCode, reason: &str) -> Vec<Received> {
    if is_hixie(version) { vec![] } else { closed(version, code, reason) }
}

/// The log line of `on_close` after the peer sent a close frame with this code.
pub(crate) fn peers_end(version: Version, code: u16, reason: &str, by: ClosedBy) -> String {
    match version.number() {
        75 | 76 => format!("close 1006 \"\" {by:?} unclean"),
        1..=5 => format!("close 1005 \"\" {by:?} clean"),
        _ => format!("close {code} {reason:?} {by:?} clean"),
    }
}

/// The log line of `on_close` after only the server sent a close frame with this code.
pub(crate) fn our_end(version: Version, code: CloseCode, reason: &str, by: ClosedBy) -> String {
    match version.number() {
        75 | 76 | 1..=5 => format!("close 1006 \"\" {by:?} unclean"),
        _ => format!("close {code} {reason:?} {by:?} unclean"),
    }
}

/// An upgrade request with the headers and keys of the draft's examples and more header `lines`. The third key
/// follows in the versions that have one.
pub(crate) fn request(version: Version, target: &str, lines: &str) -> Vec<u8> {
    let number = version.number();
    let own = match number {
        75 => String::new(),
        76 => KEYS.to_owned(),
        1..=3 => format!("{KEYS}Sec-WebSocket-Draft: {number}\r\n"),
        _ => format!("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: {number}\r\n"),
    };
    let upgrade = "Upgrade: WebSocket\r\nConnection: Upgrade\r\nHost: example.com\r\n";
    let third = if matches!(number, 76 | 1..=3) { "^n:ds[4U" } else { "" };
    format!("GET {target} HTTP/1.1\r\n{upgrade}{own}{lines}\r\n{third}").into_bytes()
}

const KEYS: &str = "Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nSec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n";

/// The whole response to [`request`] with this origin and no other lines.
pub(crate) fn answer(version: Version, scheme: &str, target: &str, origin: &str) -> Vec<u8> {
    let upgrade = "Upgrade: WebSocket\r\nConnection: Upgrade\r\n";
    match version.number() {
        75 => format!(
            "HTTP/1.1 101 Web Socket Protocol Handshake\r\n{upgrade}WebSocket-Origin: {origin}\r\n\
             WebSocket-Location: {scheme}://example.com{target}\r\n\r\n"
        ),
        76 | 1..=3 => format!(
            "HTTP/1.1 101 WebSocket Protocol Handshake\r\n{upgrade}\
             Sec-WebSocket-Location: {scheme}://example.com{target}\r\nSec-WebSocket-Origin: {origin}\r\n\r\n\
             8jKS'y:G*Co,Wxa-"
        ),
        _ => "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_owned(),
    }
    .into_bytes()
}
