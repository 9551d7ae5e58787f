//! The framings of hybi-01 to hybi-03 (§4: a MORE bit, no masking) and of hybi-05 and hybi-06 (§4: a FIN bit, and a
//! client masks whole frames). Both use op-codes 0 to 5.
//!
//! Control frames and reserved bits are checked as in later drafts. These drafts leave the rules to the sender, and no
//! shipped implementation differs.

use super::{FrameHeader, HeaderBytes, OpCode, ParsedHeader, parse_length};
use crate::protocol::{
    error::ProtocolError,
    mask::{MaskingKey, append_masked, unmask},
};

/// MORE in the first drafts, FIN in later ones: the same bit with the opposite meaning.
const FLAG: u8 = 0x80;
const RSV: u8 = 0x70;
const RSV4: u8 = 0x80;

/// Reads the header of an unmasked frame. With `flag_ends` the flag is FIN, otherwise MORE.
pub(crate) fn parse_header(bytes: &[u8], flag_ends: bool) -> ParsedHeader {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let op_code = op_code(first)?;
    let fin = (first & FLAG != 0) == flag_ends;
    if op_code.is_control() && !fin {
        return Err(ProtocolError::FragmentedControl);
    }
    let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
    if second & RSV4 != 0 {
        return Err(ProtocolError::ReservedBits);
    }
    let Some((length, rest)) = parse_length(second, op_code, rest)? else { return Ok(None) };
    let header = FrameHeader { fin, compressed: false, op_code, masking_key: None, length };
    Ok(Some((header, bytes.len() - rest.len())))
}

/// Reads the header of a frame that is masked as a whole, after its key (hybi-05 §4.3).
pub(crate) fn parse_masked_header(bytes: &[u8]) -> ParsedHeader {
    let Some((key, masked)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let mut plain = [0; 10];
    let plain = &mut plain[..masked.len().min(10)];
    plain.copy_from_slice(&masked[..plain.len()]);
    unmask(plain, *key, 0);
    let Some((header, length)) = parse_header(plain, true)? else { return Ok(None) };
    let mut payload_key = *key;
    payload_key.rotate_left(length % 4);
    Ok(Some((FrameHeader { masking_key: Some(payload_key), ..header }, key.len() + length)))
}

fn op_code(first: u8) -> Result<OpCode, ProtocolError> {
    if first & RSV != 0 {
        return Err(ProtocolError::ReservedBits);
    }
    match first & 0x0f {
        0 => Ok(OpCode::Continuation),
        1 => Ok(OpCode::Close),
        2 => Ok(OpCode::Ping),
        3 => Ok(OpCode::Pong),
        4 => Ok(OpCode::Text),
        5 => Ok(OpCode::Binary),
        unknown => Err(ProtocolError::UnknownOpCode(unknown)),
    }
}

/// The header of an unfragmented, unmasked frame.
pub(crate) fn header(op_code: OpCode, length: usize, flag_ends: bool) -> HeaderBytes {
    let code = match op_code {
        OpCode::Continuation => 0,
        OpCode::Close => 1,
        OpCode::Ping => 2,
        OpCode::Pong => 3,
        OpCode::Text => 4,
        OpCode::Binary => 5,
    };
    HeaderBytes::new(if flag_ends { FLAG | code } else { code }, 0, length)
}

/// Appends a frame that is masked as a whole, after its key.
pub(crate) fn write_masked(op_code: OpCode, payload: &[u8], key: MaskingKey, out: &mut Vec<u8>) {
    out.extend_from_slice(&key);
    let header = header(op_code, payload.len(), true);
    append_masked(header.as_bytes(), key, 0, out);
    append_masked(payload, key, header.as_bytes().len(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_of_any_length_is_parsed_as_written() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000, 0xffff_ffff] {
            for flag_ends in [false, true] {
                let written = header(OpCode::Text, length, flag_ends);
                let bytes = written.as_bytes();
                let expected = FrameHeader {
                    fin: true,
                    compressed: false,
                    op_code: OpCode::Text,
                    masking_key: None,
                    length: length as u64,
                };
                assert_eq!(parse_header(bytes, flag_ends), Ok(Some((expected, bytes.len()))));
                for cut in 0..bytes.len() {
                    assert_eq!(parse_header(&bytes[..cut], flag_ends), Ok(None), "length {length} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn masked_frame_is_masked_from_its_header_on() {
        for length in [0, 5, 126, 70_000] {
            let payload: Vec<u8> = (0..length).map(|index: usize| index as u8).collect();
            let mut bytes = Vec::new();
            write_masked(OpCode::Binary, &payload, [1, 20, 90, 200], &mut bytes);
            let (header, used) = parse_masked_header(&bytes).unwrap().unwrap();
            unmask(&mut bytes[used..], header.masking_key.unwrap(), 0);
            assert_eq!(bytes[used..], payload);
            for cut in 0..used {
                assert_eq!(parse_masked_header(&bytes[..cut]), Ok(None), "length {length} cut at {cut}");
            }
        }
    }

    #[test]
    fn header_with_a_reserved_or_invalid_value_is_refused() {
        assert_eq!(parse_header(&[0x44], false), Err(ProtocolError::ReservedBits));
        assert_eq!(parse_header(&[0x04, 0x85], false), Err(ProtocolError::ReservedBits));
        assert_eq!(parse_header(&[0x06], false), Err(ProtocolError::UnknownOpCode(6)));
        assert_eq!(parse_header(&[0x81], false), Err(ProtocolError::FragmentedControl));
        assert_eq!(parse_header(&[0x01], true), Err(ProtocolError::FragmentedControl));
        assert_eq!(parse_header(&[0x02, 126], false), Err(ProtocolError::ControlTooLong));
        assert_eq!(parse_header(&[0x04, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], false), Err(ProtocolError::LengthOverflow));
    }
}
