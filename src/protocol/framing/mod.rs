//! Frames: shared by all framings. A `FrameHeader` that exists is legal.

pub(super) mod hixie;
pub(super) mod hybi;
pub(super) mod hybi_early;

use super::{error::ProtocolError, mask::MaskingKey};

/// Type of a frame (RFC 6455 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpCode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl OpCode {
    pub(crate) fn is_control(self) -> bool {
        matches!(self, OpCode::Close | OpCode::Ping | OpCode::Pong)
    }
}

/// A frame header, legal by itself. The decoder checks the order of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) fin: bool,
    /// The frame begins a compressed message (RFC 7692 §6).
    pub(crate) compressed: bool,
    pub(crate) op_code: OpCode,
    /// The masking key, rotated so that its first octet masks the first octet of the payload.
    pub(crate) masking_key: Option<MaskingKey>,
    pub(crate) length: u64,
}

/// A header and its length in bytes, or `None` while incomplete.
pub(crate) type ParsedHeader = Result<Option<(FrameHeader, usize)>, ProtocolError>;

/// Longest header: two octets, a 64-bit length, a masking key.
pub(crate) const MAX_HEADER_BYTES: usize = 14;

/// Longest payload of a control frame (RFC 6455 §5.5).
pub(crate) const MAX_CONTROL_BYTES: usize = 125;

/// Reads the payload length from the seven bits `short` and the bytes that follow, and returns the rest; the same in
/// all of hybi.
///
/// A length in more octets than needed is accepted: only the sender must use the shortest form, and refusal gains
/// nothing.
fn parse_length(short: u8, op_code: OpCode, rest: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    if op_code.is_control() && usize::from(short) > MAX_CONTROL_BYTES {
        return Err(ProtocolError::ControlTooLong);
    }
    let (length, rest) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        short => (u64::from(short), rest),
    };
    if length >> 63 != 0 {
        return Err(ProtocolError::LengthOverflow);
    }
    Ok(Some((length, rest)))
}

/// An encoded header, on the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeaderBytes {
    bytes: [u8; MAX_HEADER_BYTES],
    length: usize,
}

impl HeaderBytes {
    /// A header that starts with `first`, with `mask` in the bit above the length.
    fn new(first: u8, mask: u8, length: usize) -> Self {
        let mut header = HeaderBytes { bytes: [0; MAX_HEADER_BYTES], length: 0 };
        header.push(&[first]);
        match length {
            0..=125 => header.push(&[mask | length as u8]),
            126..=0xffff => {
                header.push(&[mask | 126]);
                header.push(&(length as u16).to_be_bytes());
            }
            _ => {
                header.push(&[mask | 127]);
                header.push(&(length as u64).to_be_bytes());
            }
        }
        header
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}
