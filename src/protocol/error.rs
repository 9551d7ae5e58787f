//! What a peer can do wrong; each error knows the close code it deserves.

use std::fmt;

use super::close::CloseCode;

/// A violation of the protocol by the peer. It fails the connection (RFC 6455 §7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit without an extension that gives it a meaning (RFC 6455 §5.2).
    ReservedBits,
    /// An op-code without a meaning (RFC 6455 §5.2).
    UnknownOpCode(u8),
    /// A ping, pong or close frame in fragments (RFC 6455 §5.5).
    FragmentedControl,
    /// A ping, pong or close frame of more than 125 bytes (RFC 6455 §5.5).
    ControlTooLong,
    /// A client's frame without a mask (RFC 6455 §5.1).
    Unmasked,
    /// A server's frame with a mask (RFC 6455 §5.1).
    Masked,
    /// A 64-bit length with its top bit set (RFC 6455 §5.2).
    LengthOverflow,
    /// A continuation frame, and nothing to continue (RFC 6455 §5.4).
    UnexpectedContinuation,
    /// A new data frame inside a fragmented message (RFC 6455 §5.4).
    ExpectedContinuation,
    /// Text, or the reason of a close frame, that is not UTF-8 (RFC 6455 §8.1).
    InvalidUtf8,
    /// A compressed message that is not DEFLATE, or does not end where it should (RFC 7692 §7.2.2).
    InvalidDeflate,
    /// A close frame with a body of one byte (RFC 6455 §5.5.1).
    ClosePayloadTooShort,
    /// A close frame with a code that must not travel (RFC 6455 §7.4).
    InvalidCloseCode(u16),
    /// A frame or message above its limit, in bytes.
    TooBig {
        /// The limit that was crossed.
        limit: usize,
        /// What was announced, or reached so far.
        length: u64,
    },
}

impl ProtocolError {
    /// The code that a close frame gives for it (RFC 6455 §7.4.1).
    pub fn close_code(self) -> CloseCode {
        match self {
            ProtocolError::InvalidUtf8 | ProtocolError::InvalidDeflate => CloseCode::INVALID_DATA,
            ProtocolError::TooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// The reason beside the code. It begins as em-websocket's, where that has one: clients may look for it.
    pub fn close_reason(self) -> String {
        match self {
            ProtocolError::UnknownOpCode(code) => format!("Unknown opcode {code}"),
            ProtocolError::UnexpectedContinuation => "Continuation frame not expected".to_owned(),
            ProtocolError::ExpectedContinuation => "Continuation frame expected".to_owned(),
            ProtocolError::FragmentedControl => "Control frames must not be fragmented".to_owned(),
            ProtocolError::InvalidUtf8 => "Invalid UTF8 data".to_owned(),
            ProtocolError::ClosePayloadTooShort => {
                "Close frames with a body must contain a 2 byte status code".to_owned()
            }
            ProtocolError::TooBig { length, limit } => {
                format!("Frame length too long ({length} bytes); the limit is {limit} bytes")
            }
            other => other.to_string(),
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtocolError::ReservedBits => formatter.write_str("reserved bits set"),
            ProtocolError::UnknownOpCode(code) => write!(formatter, "unknown op-code {code}"),
            ProtocolError::FragmentedControl => formatter.write_str("fragmented control frame"),
            ProtocolError::ControlTooLong => formatter.write_str("control frame over 125 bytes"),
            ProtocolError::Unmasked => formatter.write_str("frame not masked"),
            ProtocolError::Masked => formatter.write_str("frame masked"),
            ProtocolError::LengthOverflow => formatter.write_str("length with its top bit set"),
            ProtocolError::UnexpectedContinuation => formatter.write_str("continuation without a start"),
            ProtocolError::ExpectedContinuation => formatter.write_str("new message inside a fragmented one"),
            ProtocolError::InvalidUtf8 => formatter.write_str("invalid UTF-8"),
            ProtocolError::InvalidDeflate => formatter.write_str("invalid compressed data"),
            ProtocolError::ClosePayloadTooShort => formatter.write_str("close frame with half a code"),
            ProtocolError::InvalidCloseCode(code) => write!(formatter, "invalid close code {code}"),
            ProtocolError::TooBig { limit, length } => {
                write!(formatter, "message of {length} bytes, the limit is {limit}")
            }
        }
    }
}

impl std::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_the_code_of_its_kind_and_the_words_of_em_websocket() {
        let told = |error: ProtocolError| (u16::from(error.close_code()), error.close_reason());
        for (error, code, reason) in [
            (ProtocolError::UnknownOpCode(5), 1002, "Unknown opcode 5"),
            (ProtocolError::ExpectedContinuation, 1002, "Continuation frame expected"),
            (ProtocolError::InvalidUtf8, 1007, "Invalid UTF8 data"),
            (ProtocolError::InvalidDeflate, 1007, &ProtocolError::InvalidDeflate.to_string()),
            (
                ProtocolError::TooBig { limit: 9, length: 10 },
                1009,
                "Frame length too long (10 bytes); the limit is 9 bytes",
            ),
        ] {
            assert_eq!(told(error), (code, reason.to_owned()));
        }
    }
}
