//! The framing of RFC 6455 §5.2, and of the drafts since hybi-07.

use super::{FrameHeader, HeaderBytes, MAX_CONTROL_BYTES, MAX_HEADER_BYTES, OpCode, ParsedHeader, parse_length};
use crate::protocol::{
    error::ProtocolError,
    mask::{MaskingKey, append_masked, unmask},
    message::Message,
    version::Side,
};

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const RSV1: u8 = 0x40;
const RSV1_TEXT: u8 = 0x41;
const RSV1_BINARY: u8 = 0x42;
const MASK: u8 = 0x80;

/// First octets of a whole message: FIN and the op-code.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// Reads the header at the start of `bytes`, received by `side`. `compression` allows RSV1. An illegal header is
/// refused at the first octet that shows the fault.
pub(crate) fn parse_header(bytes: &[u8], side: Side, masking_demanded: bool, compression: bool) -> ParsedHeader {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let compressed = first & RSV != 0;
    if compressed && !(compression && matches!(first & !FIN, RSV1_TEXT | RSV1_BINARY)) {
        return Err(ProtocolError::ReservedBits);
    }
    let op_code = op_code(first)?;
    let fin = first & FIN != 0;
    if op_code.is_control() && !fin {
        return Err(ProtocolError::FragmentedControl);
    }
    let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
    let masked = second & MASK != 0;
    match side {
        Side::Server if !masked && masking_demanded => return Err(ProtocolError::Unmasked),
        Side::Client if masked => return Err(ProtocolError::Masked),
        _ => {}
    }
    let Some((length, rest)) = parse_length(second & !MASK, op_code, rest)? else { return Ok(None) };
    let (masking_key, rest) = match (masked, rest.split_first_chunk::<4>()) {
        (false, _) => (None, rest),
        (true, Some((key, rest))) => (Some(*key), rest),
        (true, None) => return Ok(None),
    };
    let header = FrameHeader { fin, compressed, op_code, masking_key, length };
    Ok(Some((header, bytes.len() - rest.len())))
}

/// A simple message in one frame: uncompressed, shorter than 64 KiB, masked if a server receives it.
pub(crate) struct WholeMessage {
    pub(crate) is_text: bool,
    /// Start of the payload, directly after the masking key if there is one.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl WholeMessage {
    /// Unmasks the payload in place, for a server. The message must lie at the start of `bytes`.
    #[inline(always)]
    pub(crate) fn unmask(&self, bytes: &mut [u8], side: Side) {
        let (header, payload) = bytes[..self.end].split_at_mut(self.start);
        if side == Side::Server
            && let Some(key) = header.last_chunk()
        {
            unmask(payload, *key, 0);
        }
    }

    /// The message, unmasked in place for a server. It must lie at the start of `bytes`.
    #[inline(always)]
    pub(crate) fn message<'m>(&self, bytes: &'m mut [u8], side: Side) -> Result<Message<'m>, ProtocolError> {
        self.unmask(bytes, side);
        let payload = &bytes[self.start..self.end];
        if self.is_text { Message::checked_text(payload) } else { Ok(Message::Binary(payload)) }
    }
}

/// Writes the header of a simple text message for `side` over one of the same length, with a masking key of zeros for a
/// server. Where the former header had an extended length, so has the new one, even if it needs none.
pub(crate) fn rewrite_text_header(header: &mut [u8], length: usize, side: Side) {
    let (mask, short) = match side {
        Side::Server => (MASK, 6),
        Side::Client => (0, 2),
    };
    let extended = (length as u16).to_be_bytes();
    let start = match header.len() > short {
        true => [TEXT, mask | 126, extended[0], extended[1]],
        false => [TEXT, mask | length as u8, 0, 0],
    };
    header.fill(0);
    header.iter_mut().zip(start).for_each(|(byte, new)| *byte = new);
}

/// The simple message at the start of `bytes`, received by `side`, if complete. [`parse_header`] handles all other
/// input.
#[inline(always)]
pub(crate) fn whole_message(bytes: &[u8], side: Side) -> Option<WholeMessage> {
    let (first, second, rest) = match bytes {
        [first, second, rest @ ..] => (*first, *second, rest),
        _ => return None,
    };
    let is_text = match first {
        TEXT => true,
        BINARY => false,
        _ => return None,
    };
    // The bit of the wrong side makes the length too large.
    let (mask, key_bytes) = match side {
        Side::Server => (MASK, 4),
        Side::Client => (0, 0),
    };
    let (length, rest) = match second ^ mask {
        length @ 0..=0x7d => (usize::from(length), rest),
        0x7e => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    let rest = rest.get(key_bytes..)?;
    let start = bytes.len() - rest.len();
    if length > rest.len() { None } else { Some(WholeMessage { is_text, start, end: start + length }) }
}

fn op_code(first: u8) -> Result<OpCode, ProtocolError> {
    match first & 0x0f {
        0x0 => Ok(OpCode::Continuation),
        0x1 => Ok(OpCode::Text),
        0x2 => Ok(OpCode::Binary),
        0x8 => Ok(OpCode::Close),
        0x9 => Ok(OpCode::Ping),
        0xa => Ok(OpCode::Pong),
        unknown => Err(ProtocolError::UnknownOpCode(unknown)),
    }
}

/// The header of an unfragmented frame, masked if there is a key.
pub(crate) fn header(op_code: OpCode, length: usize, masking_key: Option<MaskingKey>) -> HeaderBytes {
    header_from(FIN | code(op_code), length, masking_key)
}

/// The header of a frame of a compressed message: RSV1 is set in the first frame only (RFC 7692 §6.1).
pub(crate) fn compressed_header(
    op_code: OpCode,
    fin: bool,
    length: usize,
    masking_key: Option<MaskingKey>,
) -> HeaderBytes {
    let rsv1 = if op_code == OpCode::Continuation { 0 } else { RSV1 };
    let fin = if fin { FIN } else { 0 };
    header_from(fin | rsv1 | code(op_code), length, masking_key)
}

fn header_from(first: u8, length: usize, masking_key: Option<MaskingKey>) -> HeaderBytes {
    let mask = if masking_key.is_some() { MASK } else { 0 };
    let mut header = HeaderBytes::new(first, mask, length);
    if let Some(key) = masking_key {
        header.push(&key);
    }
    header
}

/// Appends an unmasked frame.
#[inline]
pub(crate) fn write(op_code: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    match short_header(op_code, payload.len()) {
        Some(header) => out.extend_from_slice(&header),
        None => {
            out.reserve(MAX_HEADER_BYTES + payload.len());
            out.extend_from_slice(header(op_code, payload.len(), None).as_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// The header of an unmasked frame, if two octets suffice.
#[inline]
pub(crate) fn short_header(op_code: OpCode, length: usize) -> Option<[u8; 2]> {
    (length <= MAX_CONTROL_BYTES).then(|| [FIN | code(op_code), length as u8])
}

/// Appends a frame with a payload masked by `key`, which `header` contains.
pub(crate) fn write_masked(header: &HeaderBytes, payload: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
    out.extend_from_slice(header.as_bytes());
    append_masked(payload, key, 0, out);
}

fn code(op_code: OpCode) -> u8 {
    match op_code {
        OpCode::Continuation => 0x0,
        OpCode::Text => 0x1,
        OpCode::Binary => 0x2,
        OpCode::Close => 0x8,
        OpCode::Ping => 0x9,
        OpCode::Pong => 0xa,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> ParsedHeader {
        parse_header(bytes, Side::Server, true, false)
    }

    #[test]
    fn header_of_any_length_is_parsed_as_written() {
        for length in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, 0xffff_ffff] {
            for op_code in [OpCode::Text, OpCode::Binary] {
                let written = header(op_code, length, Some([1, 2, 3, 4]));
                let bytes = written.as_bytes();
                let expected = FrameHeader {
                    fin: true,
                    compressed: false,
                    op_code,
                    masking_key: Some([1, 2, 3, 4]),
                    length: length as u64,
                };
                assert_eq!(parse(bytes), Ok(Some((expected, bytes.len()))));
                for cut in 0..bytes.len() {
                    assert_eq!(parse(&bytes[..cut]), Ok(None), "length {length} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn whole_message_finds_a_short_unfragmented_message_on_both_sides() {
        for (side, key) in [(Side::Server, Some([1, 2, 3, 4])), (Side::Client, None)] {
            for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
                let mut bytes = header(OpCode::Binary, length, key).as_bytes().to_vec();
                let start = bytes.len();
                bytes.resize(start + length, 7);
                let found = whole_message(&bytes, side).map(|found| (found.is_text, found.start, found.end));
                let short = length <= 0xffff;
                assert_eq!(found, short.then_some((false, start, start + length)), "{length}");
                let payload = whole_message(&bytes, side)
                    .map(|found| found.message(&mut bytes.clone(), side).unwrap().as_bytes().to_vec());
                let key = key.unwrap_or_default();
                let expected = || (0..length).map(|index| 7 ^ key[index % 4]).collect::<Vec<u8>>();
                assert_eq!(payload, short.then(expected), "{length}");
                assert!(whole_message(&bytes[..bytes.len() - 1], side).is_none(), "{length}, cut");
                bytes[0] = 0x81;
                assert_eq!(whole_message(&bytes, side).map(|found| found.is_text), short.then_some(true), "{length}");
            }
        }
        for first in [0x01, 0x80, 0x88, 0x89, 0x8a, 0xc1, 0x83] {
            assert!(whole_message(&[first, 0x80, 1, 2, 3, 4], Side::Server).is_none(), "{first:x}");
            assert!(whole_message(&[first, 0x00], Side::Client).is_none(), "{first:x}");
        }
        assert!(whole_message(&[0x81, 0x01, 7, 7, 7, 7, 7], Side::Server).is_none(), "not masked");
        assert!(whole_message(&[0x81, 0x81, 1, 2, 3, 4, 7], Side::Client).is_none(), "masked");
    }

    #[test]
    fn invalid_first_octet_is_refused_without_the_second() {
        assert_eq!(parse(&[0xc1]), Err(ProtocolError::ReservedBits));
        assert_eq!(parse(&[0x91]), Err(ProtocolError::ReservedBits));
        assert_eq!(parse(&[0x83]), Err(ProtocolError::UnknownOpCode(3)));
        assert_eq!(parse(&[0x8f]), Err(ProtocolError::UnknownOpCode(15)));
        assert_eq!(parse(&[0x09]), Err(ProtocolError::FragmentedControl));
    }

    #[test]
    fn rsv1_is_accepted_only_with_compression_and_in_the_first_frame_of_a_message() {
        let parse = |first: u8| parse_header(&[first, 0x80, 1, 2, 3, 4], Side::Server, true, true);
        for (first, op_code) in [(0xc1, OpCode::Text), (0x42, OpCode::Binary)] {
            let (header, _) = parse(first).unwrap().unwrap();
            assert!(header.compressed && header.op_code == op_code);
        }
        assert!(!parse(0x81).unwrap().unwrap().0.compressed);
        for first in [0xc0, 0x40, 0xc8, 0xc9, 0xca, 0xe1, 0xa1, 0x91, 0xf2] {
            assert_eq!(parse(first), Err(ProtocolError::ReservedBits), "{first:x}");
        }
    }

    #[test]
    fn compressed_header_sets_rsv1_only_in_the_first_frame() {
        let first = |op_code, fin| compressed_header(op_code, fin, 0, None).as_bytes()[0];
        assert_eq!([first(OpCode::Text, true), first(OpCode::Binary, false)], [0xc1, 0x42]);
        assert_eq!([first(OpCode::Continuation, false), first(OpCode::Continuation, true)], [0x00, 0x80]);
    }

    #[test]
    fn invalid_second_octet_is_refused_without_the_rest() {
        assert_eq!(parse(&[0x81, 0x05]), Err(ProtocolError::Unmasked));
        assert_eq!(parse(&[0x89, 0xfe]), Err(ProtocolError::ControlTooLong));
        assert_eq!(parse_header(&[0x81, 0x85], Side::Client, true, false), Err(ProtocolError::Masked));
    }

    #[test]
    fn length_with_its_top_bit_set_is_refused_before_the_masking_key() {
        let bytes = [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(parse(&bytes), Err(ProtocolError::LengthOverflow));
    }

    #[test]
    fn length_in_a_longer_form_than_needed_is_accepted() {
        let bytes = [0x82, 0xfe, 0, 1, 0, 0, 0, 0];
        assert_eq!(parse(&bytes).unwrap().unwrap().0.length, 1);
    }
}
