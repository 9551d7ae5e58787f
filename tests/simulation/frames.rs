//! Frames of the server, as a peer reads them.

use ws_reactor::Version;

use crate::wire::{Kind, is_hixie};

/// A frame of the server, possibly incomplete.
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// The frame begins a compressed message.
    pub(crate) compressed: bool,
    /// More frames of the message follow.
    pub(crate) fragment: bool,
    /// Position of the payload.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Position of the next frame.
    pub(crate) next: usize,
    pub(crate) whole: bool,
}

/// The frame at a position, once its header is complete.
pub(crate) fn frame_at(version: Version, bytes: &[u8], at: usize) -> Option<Frame> {
    let first = *bytes.get(at)?;
    if is_hixie(version) {
        if first == 0xff {
            assert_eq!(bytes.get(at + 1).unwrap_or(&0), &0, "FF is not followed by 00");
            let (start, next) = (at + 2, at + 2);
            let (kind, whole) = (Kind::Close, bytes.len() >= next);
            return Some(Frame { kind, compressed: false, fragment: false, start, end: start, next, whole });
        }
        assert_eq!(first, 0, "first octet of a hixie text frame");
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
        _ => panic!("not a frame of a server of {version}: {first:#x}"),
    };
    let (start, length) = match *bytes.get(at + 1)? {
        length @ 0..126 => (at + 2, usize::from(length)),
        126 => (at + 4, usize::from(u16::from_be_bytes(bytes.get(at + 2..at + 4)?.try_into().unwrap()))),
        127 => (at + 10, u64::from_be_bytes(bytes.get(at + 2..at + 10)?.try_into().unwrap()) as usize),
        masked => panic!("masked frame of the server: {masked:#x}"),
    };
    let end = start.saturating_add(length);
    Some(Frame { kind, compressed, fragment, start, end, next: end, whole: end <= bytes.len() })
}
