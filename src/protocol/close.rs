//! How a connection ended: close code, reason text, cause, and whether the end was clean.

use std::{fmt, io};

use http::StatusCode;

use super::{close_code::CloseCode, error::ProtocolError};

/// The timeout that ended a connection.
///
/// On a client, `Resolving` to `Opening` name the step that was not finished within the opening timeout (30 s by
/// default).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeoutKind {
    /// Name resolution of the server or the proxy.
    Resolving,
    /// No address of the server or the proxy accepted the TCP connection.
    Connecting,
    /// The proxy did not connect to the server.
    Tunnelling,
    /// A client's TLS handshake, with the server or with an `https` proxy.
    Securing,
    /// The opening handshake. On a client: the response of the server. On a server: the TLS handshake, the head of the
    /// first request, or the deferred reply to a WebSocket.
    Opening,
    /// A request of HTTP: its body or its deferred reply, or the head of a later request.
    Request,
    /// Keep-alive: nothing was received in time after a ping.
    Pong,
    /// Closing: the peer did not answer the close frame in time after that frame was sent, or closing took more than
    /// 60 s in all.
    Closing,
    /// Nothing was read from a raw stream or written to it for its idle time-out.
    Idle,
}

impl fmt::Display for TimeoutKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            TimeoutKind::Resolving => "name resolution timed out",
            TimeoutKind::Connecting => "connecting timed out",
            TimeoutKind::Tunnelling => "the proxy did not connect in time",
            TimeoutKind::Securing => "the TLS handshake timed out",
            TimeoutKind::Opening => "the opening handshake timed out",
            TimeoutKind::Request => "the request took too long",
            TimeoutKind::Pong => "the peer did not answer a ping",
            TimeoutKind::Closing => "the closing handshake timed out",
            TimeoutKind::Idle => "nothing moved for the idle time-out",
        })
    }
}

/// The cause of a connection's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosedBy {
    /// The peer sent a close frame, or ended the stream.
    Peer,
    /// The application called `close` or `terminate`.
    Application,
    /// The application called `reconnect`: the connection counts as lost.
    Reconnect,
    /// The application called `shutdown` or `stop` of the reactor.
    Shutdown,
    /// The peer broke the protocol, and this end failed the connection. RFC 6455 §7.1.7.
    Protocol(ProtocolError),
    /// A timeout passed.
    Timeout(TimeoutKind),
    /// The peer did not read the output in time. See [`OutputLimits`](crate::OutputLimits).
    SlowReader,
    /// A callback of the handler panicked.
    Panic,
    /// The opening handshake of a client failed: the response of the server or of a proxy was not valid. `on_error`
    /// receives the details.
    Handshake,
    /// The server responded with another status than 101. `on_error` receives the headers and the start of the body.
    Refused {
        /// Status of the response.
        status: StatusCode,
    },
    /// TLS failed: a certificate was not accepted, or the peer does not speak TLS. `on_error` receives the details.
    Tls,
    /// The connection could not be made, was reset, or was aborted by the system.
    Network(io::ErrorKind),
}

/// How a connection ended, as received by `on_close`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReason {
    /// Close code: that of the peer's close frame if one was received, else the code that this end sent.
    ///
    /// 1005 if the close frame had no code, 1006 if there was no close frame (RFC 6455 §7.1.5). Close frames before
    /// hybi-06 have no code. In hixie-75 and hixie-76 the code is always 1006.
    pub code: CloseCode,
    /// Reason text of the close frame. Empty if there was none.
    pub reason: String,
    /// `true` if the connection ended in order.
    ///
    /// A WebSocket: both close frames were exchanged (RFC 6455 §7.1.4). Always `false` in hixie-75 and hixie-76. A raw
    /// stream: one side ended the stream, and the closing timeout did not pass. In both, the system took all output of
    /// this side. `true` does not prove that the peer received every byte.
    pub clean: bool,
    /// Bytes of this side's output that the system had not taken when the connection ended; frame headers count, and
    /// over TLS also the encrypted bytes that waited. 0 if everything was sent.
    ///
    /// Messages that a send has accepted are sent in order, so the last ones are those that were lost.
    pub unsent: usize,
    /// The cause of the end.
    pub by: ClosedBy,
}

impl CloseReason {
    /// An end without a close frame: code 1006.
    pub(crate) fn abnormal(by: ClosedBy) -> Self {
        CloseReason { code: CloseCode::ABNORMAL, reason: String::new(), clean: false, unsent: 0, by }
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
            ClosedBy::Reconnect => formatter.write_str(", by the application, to reconnect"),
            ClosedBy::Shutdown => write!(formatter, ", by shutdown, {how}"),
            ClosedBy::Protocol(error) => write!(formatter, ", {error}"),
            ClosedBy::Timeout(deadline) => write!(formatter, ", {deadline}"),
            ClosedBy::SlowReader => formatter.write_str(", the peer did not read the output fast enough"),
            ClosedBy::Panic => formatter.write_str(", the handler panicked"),
            ClosedBy::Handshake => formatter.write_str(", the opening handshake failed"),
            ClosedBy::Refused { status } => write!(formatter, ", the server responded with {status}"),
            ClosedBy::Tls => formatter.write_str(", TLS failed"),
            ClosedBy::Network(kind) => write!(formatter, ", {kind}"),
        }?;
        if self.unsent > 0 { write!(formatter, ", {} bytes not sent", self.unsent) } else { Ok(()) }
    }
}
