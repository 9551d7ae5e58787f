//! Close codes and reason texts of close frames.

use std::fmt;

/// Status code of a close frame. RFC 6455 §7.4.
///
/// Any `u16` can be held. [`is_sendable`](Self::is_sendable) is true if an application may send the code.
///
/// ```
/// use ws_reactor::CloseCode;
///
/// let kicked = CloseCode::new(4001);
/// assert!(kicked.is_sendable());
/// assert_eq!(u16::from(CloseCode::NORMAL), 1000);
/// match CloseCode::new(1001) {
///     CloseCode::NORMAL | CloseCode::GOING_AWAY => {}
///     other => panic!("{other}"),
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: normal closure; the purpose of the connection is fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the endpoint goes away. A server shuts down, or a browser leaves the page. Sent by a shutdown of the
    /// reactor.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1002: the peer broke the protocol. Sent by this crate only, never by the application.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// 1003: the endpoint does not accept this type of data.
    pub const UNSUPPORTED_DATA: CloseCode = CloseCode(1003);
    /// 1005: the close frame had no code. Never on the wire. RFC 6455 §7.1.5. Also the code of a raw stream that ended
    /// in order.
    pub const NO_STATUS: CloseCode = CloseCode(1005);
    /// 1006: the connection ended without a close frame. Never on the wire. RFC 6455 §7.1.5.
    pub const ABNORMAL: CloseCode = CloseCode(1006);
    /// 1007: text that is not UTF-8, or data that contradicts its type. Also sent for invalid compressed data.
    pub const INVALID_DATA: CloseCode = CloseCode(1007);
    /// 1008: the message violates a policy of the endpoint.
    pub const POLICY_VIOLATION: CloseCode = CloseCode(1008);
    /// 1009: a frame or message exceeds [`MessageLimits`](crate::MessageLimits).
    pub const MESSAGE_TOO_BIG: CloseCode = CloseCode(1009);
    /// 1010: the server did not accept an extension that the client requires.
    pub const MANDATORY_EXTENSION: CloseCode = CloseCode(1010);
    /// 1011: an internal error of this end. Sent in [`Version::Rfc6455`](crate::Version::Rfc6455) when a handler
    /// panics.
    pub const INTERNAL_ERROR: CloseCode = CloseCode(1011);
    /// 1012: the service restarts. Registered with IANA.
    pub const SERVICE_RESTART: CloseCode = CloseCode(1012);
    /// 1013: try again later. Registered with IANA. Sent to slow readers.
    pub const TRY_AGAIN_LATER: CloseCode = CloseCode(1013);
    /// 1014: a gateway received an invalid response. Registered with IANA.
    pub const BAD_GATEWAY: CloseCode = CloseCode(1014);

    /// Makes a close code from its number.
    ///
    /// 3000 to 3999 are for libraries and frameworks, 4000 to 4999 for applications. RFC 6455 §7.4.2.
    pub const fn new(number: u16) -> Self {
        CloseCode(number)
    }

    /// Returns `true` if an application may send the code: 1000, 1001, 1003, 1007 to 1014, and 3000 to 4999.
    ///
    /// 1002 is sent by this crate only, 1005 and 1006 are never on the wire, and all other numbers are reserved. RFC
    /// 6455 §7.4.
    pub const fn is_sendable(self) -> bool {
        self.0 != CloseCode::PROTOCOL_ERROR.0 && self.is_receivable()
    }

    /// Returns `true` if a close frame of RFC 6455 may carry the code (RFC 6455 §7.4).
    pub(crate) const fn is_receivable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl From<u16> for CloseCode {
    fn from(number: u16) -> Self {
        CloseCode(number)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> u16 {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Longest reason text in a close frame: 125 bytes less the code (RFC 6455 §5.5).
pub(crate) const MAX_REASON_BYTES: usize = 123;

/// Shortens `reason` at a character boundary to fit a close frame.
pub(crate) fn fitting(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_code_converts_to_its_number_and_back() {
        for code in 0..=5000 {
            assert_eq!(u16::from(CloseCode::from(code)), code);
        }
        assert_eq!(CloseCode::new(1000), CloseCode::NORMAL);
        assert!(!CloseCode::new(1002).is_sendable());
    }

    #[test]
    fn only_registered_and_private_close_codes_are_sendable() {
        let sendable: Vec<u16> = (0..3000).filter(|code| CloseCode::from(*code).is_sendable()).collect();
        assert_eq!(sendable, [1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]);
        assert!(CloseCode::new(3000).is_sendable() && CloseCode::new(4999).is_sendable());
        assert!(!CloseCode::new(5000).is_sendable() && !CloseCode::new(2999).is_sendable());
    }

    #[test]
    fn long_close_reason_is_truncated_at_a_character_boundary() {
        let reason = "é".repeat(100);
        assert_eq!(fitting(&reason).len(), 122);
        assert_eq!(fitting("short"), "short");
    }
}
