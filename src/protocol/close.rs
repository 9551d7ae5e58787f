//! How a connection ended: the code, the reason, who ended it, and whether it was clean.

use std::{fmt, io};

use super::error::ProtocolError;

/// A status code of a close frame (RFC 6455 §7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1000: the purpose is fulfilled.
    Normal,
    /// 1001: the server goes down, or the browser leaves the page.
    GoingAway,
    /// 1002: the peer broke the protocol.
    Protocol,
    /// 1003: a type of data that this end does not take.
    Unsupported,
    /// 1005: the close frame carried no code. Never on the wire.
    NoStatus,
    /// 1006: the connection ended without a close frame. Never on the wire.
    Abnormal,
    /// 1007: text that is not UTF-8, or data that contradicts its type.
    InvalidData,
    /// 1008: a policy was violated.
    Policy,
    /// 1009: a message too big to process.
    TooBig,
    /// 1010: the client misses an extension that the server did not agree to.
    MandatoryExtension,
    /// 1011: something unexpected happened at this end.
    Internal,
    /// 1012: the service restarts.
    ServiceRestart,
    /// 1013: try again later.
    TryAgainLater,
    /// 1014: a gateway got a bad answer.
    BadGateway,
    /// Any other: 3000 to 3999 for libraries and frameworks, 4000 to 4999 for applications.
    Other(u16),
}

impl CloseCode {
    /// Whether an application may send it: 1000, 1001, 1003, 1007 to 1014, and 3000 to 4999.
    ///
    /// 1002 is left to the protocol, 1005 and 1006 never travel, and the rest means nothing (RFC 6455 §7.4.2).
    pub fn may_be_sent(self) -> bool {
        self != CloseCode::Protocol && self.may_be_received()
    }

    /// Whether a close frame may carry it (RFC 6455 §7.4).
    pub(crate) fn may_be_received(self) -> bool {
        matches!(u16::from(self), 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        match code {
            1000 => CloseCode::Normal,
            1001 => CloseCode::GoingAway,
            1002 => CloseCode::Protocol,
            1003 => CloseCode::Unsupported,
            1005 => CloseCode::NoStatus,
            1006 => CloseCode::Abnormal,
            1007 => CloseCode::InvalidData,
            1008 => CloseCode::Policy,
            1009 => CloseCode::TooBig,
            1010 => CloseCode::MandatoryExtension,
            1011 => CloseCode::Internal,
            1012 => CloseCode::ServiceRestart,
            1013 => CloseCode::TryAgainLater,
            1014 => CloseCode::BadGateway,
            other => CloseCode::Other(other),
        }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> u16 {
        match code {
            CloseCode::Normal => 1000,
            CloseCode::GoingAway => 1001,
            CloseCode::Protocol => 1002,
            CloseCode::Unsupported => 1003,
            CloseCode::NoStatus => 1005,
            CloseCode::Abnormal => 1006,
            CloseCode::InvalidData => 1007,
            CloseCode::Policy => 1008,
            CloseCode::TooBig => 1009,
            CloseCode::MandatoryExtension => 1010,
            CloseCode::Internal => 1011,
            CloseCode::ServiceRestart => 1012,
            CloseCode::TryAgainLater => 1013,
            CloseCode::BadGateway => 1014,
            CloseCode::Other(code) => code,
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        u16::from(*self).fmt(formatter)
    }
}

/// A deadline that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// The addresses of a server's name, or a proxy's, were not found in time.
    Resolving,
    /// The connection was not made in time: no address answered.
    Connecting,
    /// The proxy did not connect to the server in time.
    Tunnelling,
    /// The TLS handshake with a server, or with a proxy, was not done in time.
    Securing,
    /// The request, or a server's answer, was not complete in time.
    Opening,
    /// Nothing came after a ping.
    Pong,
    /// The peer did not answer the close frame, or did not take what was queued.
    Closing,
}

impl fmt::Display for Deadline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Deadline::Resolving => "the name was not found in time",
            Deadline::Tunnelling => "the proxy did not connect in time",
            Deadline::Connecting => "the connection was not made in time",
            Deadline::Securing => "the TLS handshake was not done in time",
            Deadline::Opening => "the handshake was not done in time",
            Deadline::Pong => "the peer did not answer a ping",
            Deadline::Closing => "the peer did not close in time",
        })
    }
}

/// Who ended a connection, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosedBy {
    /// The peer: by a close frame, or by ending the stream.
    Peer,
    /// This application: by `close` or `cut`.
    Application,
    /// This application: by `shutdown` or `stop`.
    Shutdown,
    /// This end, because the peer broke the protocol.
    Protocol(ProtocolError),
    /// This end, because a deadline passed.
    Timeout(Deadline),
    /// This end, because the peer did not read what was sent to it.
    SlowReader,
    /// This end, because a handler panicked.
    Panic,
    /// The network: the connection was reset, or the system refused to go on with it.
    Network(io::ErrorKind),
}

/// The end of a connection, as `on_close` gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// The peer's code if its close frame came, else the code this end sent; 1005 for a frame without code, 1006 where there was none
    /// (RFC 6455 §7.1.5). Before hybi-06 no frame has a code, and in the versions of Hixie it is always 1006.
    pub code: CloseCode,
    /// The text beside the code.
    pub reason: String,
    /// Both close frames were exchanged, or, for a raw stream, its bytes were all delivered (RFC 6455 §7.1.4). Never in the versions of Hixie.
    pub clean: bool,
    /// Who began it.
    pub by: ClosedBy,
}

impl CloseReason {
    /// An end without a close frame: 1006.
    pub(crate) fn abnormal(by: ClosedBy) -> Self {
        CloseReason { code: CloseCode::Abnormal, reason: String::new(), clean: false, by }
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
    }

    #[test]
    fn only_codes_with_a_meaning_may_be_sent() {
        let sendable: Vec<u16> = (0..3000).filter(|code| CloseCode::from(*code).may_be_sent()).collect();
        assert_eq!(sendable, [1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]);
        assert!(CloseCode::Other(3000).may_be_sent() && CloseCode::Other(4999).may_be_sent());
        assert!(!CloseCode::Other(5000).may_be_sent() && !CloseCode::Other(2999).may_be_sent());
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = "é".repeat(100);
        assert_eq!(fitting(&reason).len(), 122);
        assert_eq!(fitting("short"), "short");
    }
}
