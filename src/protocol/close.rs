//! How a connection ended: the code, the reason, who ended it, and whether it was clean.

use std::{fmt, io};

use http::StatusCode;

use super::error::ProtocolError;

/// Status code of a close frame (RFC 6455 §7.4).
///
/// Any number is a code. Which of them a close frame may carry is for [`is_sendable`](Self::is_sendable) to say.
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
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the server goes down, or the browser leaves the page.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1002: the peer broke the protocol. Sent by this crate alone.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// 1003: a type of data that this end does not accept.
    pub const UNSUPPORTED_DATA: CloseCode = CloseCode(1003);
    /// 1005: the close frame carried no code. Never on the wire.
    pub const NO_STATUS: CloseCode = CloseCode(1005);
    /// 1006: the connection ended without a close frame. Never on the wire.
    pub const ABNORMAL: CloseCode = CloseCode(1006);
    /// 1007: text that is not UTF-8, or data that contradicts its type.
    pub const INVALID_DATA: CloseCode = CloseCode(1007);
    /// 1008: a policy was violated.
    pub const POLICY_VIOLATION: CloseCode = CloseCode(1008);
    /// 1009: the message is too big to process.
    pub const MESSAGE_TOO_BIG: CloseCode = CloseCode(1009);
    /// 1010: the client needs an extension that the server did not accept.
    pub const MANDATORY_EXTENSION: CloseCode = CloseCode(1010);
    /// 1011: an unexpected condition at this end.
    pub const INTERNAL_ERROR: CloseCode = CloseCode(1011);
    /// 1012: the service restarts.
    pub const SERVICE_RESTART: CloseCode = CloseCode(1012);
    /// 1013: try again later.
    pub const TRY_AGAIN_LATER: CloseCode = CloseCode(1013);
    /// 1014: a gateway received an invalid response.
    pub const BAD_GATEWAY: CloseCode = CloseCode(1014);

    /// The code of that number: 3000 to 3999 for libraries and frameworks, 4000 to 4999 for applications.
    pub const fn new(number: u16) -> Self {
        CloseCode(number)
    }

    /// Whether an application may send the code: 1000, 1001, 1003, 1007 to 1014, and 3000 to 4999.
    ///
    /// 1002 is sent by the protocol alone, 1005 and 1006 are never on the wire, and the others have no meaning (RFC 6455 §7.4.2).
    pub const fn is_sendable(self) -> bool {
        self.0 != CloseCode::PROTOCOL_ERROR.0 && self.is_receivable()
    }

    /// Whether a close frame may carry the code (RFC 6455 §7.4).
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

/// Which time-out ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeoutKind {
    /// The name of the server, or of the proxy, was not resolved in time.
    Resolving,
    /// No address of the server, or of the proxy, accepted the connection in time.
    Connecting,
    /// The proxy did not connect to the server in time.
    Tunnelling,
    /// The TLS handshake was not finished in time.
    Securing,
    /// The request, or the server's response, was not complete in time.
    Opening,
    /// Nothing was received after a ping.
    Pong,
    /// The peer did not answer the close frame, or did not read what was queued before it.
    Closing,
}

impl fmt::Display for TimeoutKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            TimeoutKind::Resolving => "name resolution timed out",
            TimeoutKind::Connecting => "connecting timed out",
            TimeoutKind::Tunnelling => "the proxy did not connect in time",
            TimeoutKind::Securing => "the TLS handshake timed out",
            TimeoutKind::Opening => "the opening handshake timed out",
            TimeoutKind::Pong => "the peer did not answer a ping",
            TimeoutKind::Closing => "the closing handshake timed out",
        })
    }
}

/// Who ended a connection, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosedBy {
    /// The peer: by a close frame, or by ending the stream.
    Peer,
    /// This application: by `close` or `terminate`.
    Application,
    /// This application: by `shutdown` or `stop`.
    Shutdown,
    /// This end, because the peer broke the protocol.
    Protocol(ProtocolError),
    /// This end, because a time-out passed.
    Timeout(TimeoutKind),
    /// This end, because the peer did not read what was sent to it.
    SlowReader,
    /// This end, because a handler panicked.
    Panic,
    /// This end, because the opening handshake failed: the response, or a proxy's, was not valid. `on_error` has the details.
    Handshake,
    /// The server, by a response with another status than 101. `on_error` has its headers and the start of its body.
    Refused {
        /// Status of the response.
        status: StatusCode,
    },
    /// TLS failed: a certificate was not accepted, or the peer does not speak TLS. `on_error` has the details.
    Tls,
    /// The network: the connection could not be made, or was reset, or the system refused to continue it.
    Network(io::ErrorKind),
}

/// How a connection ended, as `on_close` receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReason {
    /// The peer's code if its close frame was received, else the code that this end sent. 1005 for a close frame without a code, 1006 where there was no close frame
    /// (RFC 6455 §7.1.5). Close frames before hybi-06 have no code; in hixie-75 and hixie-76 it is always 1006.
    pub code: CloseCode,
    /// The text of the close frame.
    pub reason: String,
    /// Both close frames were exchanged; for a raw stream: all bytes were delivered (RFC 6455 §7.1.4). Always `false` in hixie-75 and hixie-76.
    pub clean: bool,
    /// Who ended the connection, and why.
    pub by: ClosedBy,
}

impl CloseReason {
    /// An end without a close frame: 1006.
    pub(crate) fn abnormal(by: ClosedBy) -> Self {
        CloseReason { code: CloseCode::ABNORMAL, reason: String::new(), clean: false, by }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.code)?;
        if !self.reason.is_empty() {
            write!(formatter, " ({})", self.reason)?;
        }
        let how = if self.clean { "clean" } else { "not clean" };
        match self.by {
            ClosedBy::Peer => write!(formatter, ", by the peer, {how}"),
            ClosedBy::Application => write!(formatter, ", by the application, {how}"),
            ClosedBy::Shutdown => write!(formatter, ", by shutdown, {how}"),
            ClosedBy::Protocol(error) => write!(formatter, ", {error}"),
            ClosedBy::Timeout(deadline) => write!(formatter, ", {deadline}"),
            ClosedBy::SlowReader => formatter.write_str(", the peer did not read what was sent"),
            ClosedBy::Panic => formatter.write_str(", the handler panicked"),
            ClosedBy::Handshake => formatter.write_str(", the opening handshake failed"),
            ClosedBy::Refused { status } => write!(formatter, ", the server answered {status}"),
            ClosedBy::Tls => formatter.write_str(", TLS failed"),
            ClosedBy::Network(kind) => write!(formatter, ", {kind}"),
        }
    }
}

/// The longest reason a close frame holds: 125 bytes less the code (RFC 6455 §5.5).
pub(crate) const MAX_REASON_BYTES: usize = 123;

/// `reason`, shortened at a character so that it fits a close frame.
pub(crate) fn fitting(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_survives_the_way_there_and_back() {
        for code in 0..=5000 {
            assert_eq!(u16::from(CloseCode::from(code)), code);
        }
        assert_eq!(CloseCode::new(1000), CloseCode::NORMAL);
        assert!(!CloseCode::new(1002).is_sendable());
    }

    #[test]
    fn only_codes_with_a_meaning_may_be_sent() {
        let sendable: Vec<u16> = (0..3000).filter(|code| CloseCode::from(*code).is_sendable()).collect();
        assert_eq!(sendable, [1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]);
        assert!(CloseCode::new(3000).is_sendable() && CloseCode::new(4999).is_sendable());
        assert!(!CloseCode::new(5000).is_sendable() && !CloseCode::new(2999).is_sendable());
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = "é".repeat(100);
        assert_eq!(fitting(&reason).len(), 122);
        assert_eq!(fitting("short"), "short");
    }
}
