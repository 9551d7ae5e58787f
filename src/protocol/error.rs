//! Protocol violations by the peer, each with its close code.

use std::fmt;

use super::close_code::CloseCode;

/// A protocol violation by the peer. The violation fails the connection. RFC 6455 §7.1.7.
///
/// [`close_code`](Self::close_code) and [`close_reason`](Self::close_reason) give the contents of the close frame.
/// Versions before hybi-06 close without a code and a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit is set, and no negotiated extension defines the bit. RFC 6455 §5.2.
    ReservedBits,
    /// The op-code is reserved. RFC 6455 §5.2.
    UnknownOpCode(u8),
    /// A control frame is fragmented. RFC 6455 §5.5.
    FragmentedControl,
    /// A control frame has a payload of more than 125 bytes. RFC 6455 §5.5.
    ControlTooLong,
    /// A client sent an unmasked frame. Checked in [`Version::Rfc6455`](crate::Version::Rfc6455) only. RFC 6455 §5.1.
    Unmasked,
    /// A server sent a masked frame. Checked from hybi-07 on. RFC 6455 §5.1.
    Masked,
    /// A 64-bit length has its most significant bit set. RFC 6455 §5.2.
    LengthOverflow,
    /// A continuation frame arrived outside of a fragmented message. RFC 6455 §5.4.
    UnexpectedContinuation,
    /// A new text or binary frame arrived inside of a fragmented message. RFC 6455 §5.4.
    ExpectedContinuation,
    /// A text message or the reason of a close frame is not UTF-8. RFC 6455 §8.1.
    InvalidUtf8,
    /// A compressed message is not valid DEFLATE, or ends inside of a block. RFC 7692 §7.2.2.
    InvalidDeflate,
    /// A close frame has a body of one byte. Checked from hybi-06 on. RFC 6455 §5.5.1.
    ClosePayloadTooShort,
    /// A close frame has a code that must not be sent. Checked in [`Version::Rfc6455`](crate::Version::Rfc6455) only.
    /// RFC 6455 §7.4.
    InvalidCloseCode(u16),
    /// A frame or message exceeds a limit of [`MessageLimits`](crate::MessageLimits).
    TooBig {
        /// The exceeded limit, in bytes.
        limit: usize,
        /// Length in bytes, as announced by a header or as received so far.
        length: u64,
    },
}

impl ProtocolError {
    /// The code for the close frame: 1007 for invalid UTF-8 or DEFLATE, 1009 for size, else 1002. RFC 6455 §7.4.1.
    pub fn close_code(self) -> CloseCode {
        match self {
            ProtocolError::InvalidUtf8 | ProtocolError::InvalidDeflate => CloseCode::INVALID_DATA,
            ProtocolError::TooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// The reason text for the close frame.
    ///
    /// The text is that of em-websocket where em-websocket has one, because clients may compare it.
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
            ProtocolError::LengthOverflow => formatter.write_str("64-bit length with the most significant bit set"),
            ProtocolError::UnexpectedContinuation => {
                formatter.write_str("continuation frame without a message to continue")
            }
            ProtocolError::ExpectedContinuation => formatter.write_str("new message inside a fragmented message"),
            ProtocolError::InvalidUtf8 => formatter.write_str("invalid UTF-8"),
            ProtocolError::InvalidDeflate => formatter.write_str("invalid compressed data"),
            ProtocolError::ClosePayloadTooShort => formatter.write_str("close frame with a payload of one byte"),
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
    fn protocol_error_has_the_close_code_of_its_kind_and_the_reason_of_em_websocket() {
        let reported = |error: ProtocolError| (u16::from(error.close_code()), error.close_reason());
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
            assert_eq!(reported(error), (code, reason.to_owned()));
        }
    }
}
