//! Errors: of the outermost calls, and of connections as `on_error` gets them.

use std::{fmt, io};

use ::http::{HeaderMap, StatusCode};

use crate::{
    http::{HeadError, UrlError},
    protocol::{AnswerError, CloseReason, Deadline, HandshakeError, ProtocolError, ProxyError},
    reactor::Sent,
};

/// What went wrong, and with what.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A listener could not be opened.
    Bind {
        /// The address as it was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A URL that cannot be connected to.
    Url {
        /// The URL as it was given, but for its user and password.
        url: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// A subprotocol that cannot be offered: it is no token, or was offered before (RFC 6455 §4.1).
    Subprotocol(String),
    /// A connection could not be made.
    Connect {
        /// The host and port that were asked for.
        place: String,
        /// What the system said, of the first address that was tried, or of the name.
        source: io::Error,
    },
    /// The system's poll failed.
    Poll(io::Error),
    /// The peer broke the protocol; the connection is failed with [`ProtocolError::close_code`].
    Protocol(ProtocolError),
    /// The connection was reset, or the system refused to go on with it.
    Io(io::Error),
    /// The peer did not do in time what it had to; the connection is cut.
    Timeout(Deadline),
    /// A request could not be read; it was answered with [`HeadError::status`].
    Head(HeadError),
    /// A request did not become a WebSocket; it was answered with [`HandshakeError::status`].
    Handshake(HandshakeError),
    /// A proxy did not connect to the server.
    Proxy(ProxyError),
    /// A server answered with something else than a WebSocket.
    Refused(Box<Refusal>),
    /// A server's answer is not one to what was asked.
    Answer(AnswerError),
    /// The handler panicked, with this message.
    Panic(String),
    /// A [`BlockingSocket`](crate::BlockingSocket) has ended.
    Closed(CloseReason),
    /// What a [`BlockingSocket`](crate::BlockingSocket) was to say was dropped.
    Unsent(Sent),
}

impl Error {
    /// The same once more. What the system said is repeated by its kind and its words.
    pub(crate) fn again(&self) -> Error {
        let repeated = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
        match self {
            Error::Bind { address, source } => Error::Bind { address: address.clone(), source: repeated(source) },
            Error::Url { url, source } => Error::Url { url: url.clone(), source: *source },
            Error::Subprotocol(name) => Error::Subprotocol(name.clone()),
            Error::Connect { place, source } => Error::Connect { place: place.clone(), source: repeated(source) },
            Error::Poll(source) => Error::Poll(repeated(source)),
            Error::Protocol(error) => Error::Protocol(*error),
            Error::Io(source) => Error::Io(repeated(source)),
            Error::Timeout(deadline) => Error::Timeout(*deadline),
            Error::Head(error) => Error::Head(*error),
            Error::Handshake(error) => Error::Handshake(*error),
            Error::Proxy(error) => Error::Proxy(*error),
            Error::Refused(refusal) => Error::Refused(refusal.clone()),
            Error::Answer(error) => Error::Answer(*error),
            Error::Panic(message) => Error::Panic(message.clone()),
            Error::Closed(reason) => Error::Closed(reason.clone()),
            Error::Unsent(sent) => Error::Unsent(*sent),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bind { address, source } => write!(formatter, "cannot listen on {address}: {source}"),
            Error::Url { url, source } => write!(formatter, "cannot connect to {url}: {source}"),
            Error::Subprotocol(name) => write!(formatter, "the subprotocol {name:?} cannot be offered"),
            Error::Proxy(error) => error.fmt(formatter),
            Error::Refused(refusal) => write!(formatter, "the server answers {}", refusal.status),
            Error::Answer(error) => write!(formatter, "handshake failed: {error}"),
            Error::Connect { place, source } => write!(formatter, "cannot connect to {place}: {source}"),
            Error::Poll(source) => write!(formatter, "cannot wait for events: {source}"),
            Error::Protocol(error) => write!(formatter, "protocol error: {error}"),
            Error::Io(source) => write!(formatter, "connection failed: {source}"),
            Error::Timeout(deadline) => deadline.fmt(formatter),
            Error::Head(error) => write!(formatter, "bad request: {error}"),
            Error::Handshake(error) => write!(formatter, "handshake refused: {error}"),
            Error::Panic(message) => write!(formatter, "the handler panicked: {message}"),
            Error::Closed(reason) => write!(formatter, "the connection has ended: {reason}"),
            Error::Unsent(Sent::Full) => formatter.write_str("not sent: the output is at its limit"),
            Error::Unsent(_) => formatter.write_str("not sent: this connection cannot say it"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Bind { source, .. } | Error::Connect { source, .. } | Error::Poll(source) | Error::Io(source) => {
                Some(source)
            }
            Error::Url { source, .. } => Some(source),
            Error::Answer(error) => Some(error),
            Error::Proxy(error) => Some(error),
            Error::Protocol(error) => Some(error),
            Error::Head(error) => Some(error),
            Error::Handshake(error) => Some(error),
            Error::Subprotocol(_) | Error::Refused(_) | Error::Timeout(_) | Error::Panic(_) => None,
            Error::Closed(_) | Error::Unsent(_) => None,
        }
    }
}

/// What a server says that refuses to open a WebSocket.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The start of the body, at most 4 KiB.
    pub body: Vec<u8>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, headers: HeaderMap) -> Self {
        Refusal { status, headers, body: Vec::new() }
    }
}
