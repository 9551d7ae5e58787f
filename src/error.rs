//! Errors: of the outermost calls, and of connections as `on_error` gets them.

use std::{fmt, io};

use crate::{
    http::HeadError,
    protocol::{Deadline, HandshakeError, ProtocolError},
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
    /// The handler panicked, with this message.
    Panic(String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bind { address, source } => write!(formatter, "cannot listen on {address}: {source}"),
            Error::Poll(source) => write!(formatter, "cannot wait for events: {source}"),
            Error::Protocol(error) => write!(formatter, "protocol error: {error}"),
            Error::Io(source) => write!(formatter, "connection failed: {source}"),
            Error::Timeout(deadline) => deadline.fmt(formatter),
            Error::Head(error) => write!(formatter, "bad request: {error}"),
            Error::Handshake(error) => write!(formatter, "handshake refused: {error}"),
            Error::Panic(message) => write!(formatter, "the handler panicked: {message}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Bind { source, .. } | Error::Poll(source) | Error::Io(source) => Some(source),
            Error::Protocol(error) => Some(error),
            Error::Head(error) => Some(error),
            Error::Handshake(error) => Some(error),
            Error::Timeout(_) | Error::Panic(_) => None,
        }
    }
}
