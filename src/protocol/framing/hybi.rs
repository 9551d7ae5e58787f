//! The framing of RFC 6455 §5.2, and of the drafts from hybi-07 on.

use super::{FrameHeader, HeaderBytes, OpCode, ParsedHeader, parse_length};
use crate::protocol::{
    error::ProtocolError,
    mask::{MaskingKey, unmask},
    version::Side,
};

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const MASK: u8 = 0x80;

/// Reads the header at the start of `bytes`, as `side` gets it. What can be refused is refused by the first octet that shows it.
pub(crate) fn parse_header(bytes: &[u8], side: Side, masking_demanded: bool) -> ParsedHeader {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
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
    let header = FrameHeader { fin, op_code, masking_key, length };
    Ok(Some((header, bytes.len() - rest.len())))
}

fn op_code(first: u8) -> Result<OpCode, ProtocolError> {
    if first & RSV != 0 {
        return Err(ProtocolError::ReservedBits);
    }
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

/// The header of an unfragmented frame, masked if a key is given.
pub(crate) fn header(op_code: OpCode, length: usize, masking_key: Option<MaskingKey>) -> HeaderBytes {
    let mask = if masking_key.is_some() { MASK } else { 0 };
    let mut header = HeaderBytes::new(FIN | code(op_code), mask, length);
    if let Some(key) = masking_key {
        header.push(&key);
    }
    header
}

/// Appends a frame with its payload masked.
pub(crate) fn write_masked(op_code: OpCode, payload: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
    out.extend_from_slice(header(op_code, payload.len(), Some(key)).as_bytes());
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], key, 0);
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
        parse_header(bytes, Side::Server, true)
    }

    #[test]
    fn a_header_written_is_the_header_read_at_every_length() {
        for length in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, 0xffff_ffff] {
            for op_code in [OpCode::Text, OpCode::Binary] {
                let written = header(op_code, length, Some([1, 2, 3, 4]));
                let bytes = written.as_bytes();
                let expected =
                    FrameHeader { fin: true, op_code, masking_key: Some([1, 2, 3, 4]), length: length as u64 };
                assert_eq!(parse(bytes), Ok(Some((expected, bytes.len()))));
                for cut in 0..bytes.len() {
                    assert_eq!(parse(&bytes[..cut]), Ok(None), "length {length} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn the_first_octet_is_enough_to_refuse() {
        assert_eq!(parse(&[0xc1]), Err(ProtocolError::ReservedBits));
        assert_eq!(parse(&[0x91]), Err(ProtocolError::ReservedBits));
        assert_eq!(parse(&[0x83]), Err(ProtocolError::UnknownOpCode(3)));
        assert_eq!(parse(&[0x8f]), Err(ProtocolError::UnknownOpCode(15)));
        assert_eq!(parse(&[0x09]), Err(ProtocolError::FragmentedControl));
    }

    #[test]
    fn the_second_octet_is_enough_to_refuse() {
        assert_eq!(parse(&[0x81, 0x05]), Err(ProtocolError::Unmasked));
        assert_eq!(parse(&[0x89, 0xfe]), Err(ProtocolError::ControlTooLong));
        assert_eq!(parse_header(&[0x81, 0x85], Side::Client, true), Err(ProtocolError::Masked));
    }

    #[test]
    fn a_length_with_its_top_bit_set_is_refused_before_the_key() {
        let bytes = [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(parse(&bytes), Err(ProtocolError::LengthOverflow));
    }

    #[test]
    fn a_length_longer_than_it_needs_to_be_is_taken() {
        let bytes = [0x82, 0xfe, 0, 1, 0, 0, 0, 0];
        assert_eq!(parse(&bytes).unwrap().unwrap().0.length, 1);
    }
}
