//! Errors: one type per operation, and [`Error`] for connections.
//!
//! `Display` of an error does not repeat its [`source`](std::error::Error::source). The alternate form `{error:#}`
//! prints the whole chain in one line.

use std::{fmt, io};

use ::http::{HeaderMap, StatusCode};

#[cfg(feature = "server")]
use crate::http::route_error::RouteError;
#[cfg(feature = "tls")]
use crate::net::tls::TlsError;
#[cfg(feature = "deflate")]
use crate::protocol::DeflateConfigError;
use crate::{
    http::{BodyError, HeadError, connection::RequestError, origins::OriginError},
    network::NetworkError,
    protocol::{CloseReason, HandshakeError, ProtocolError, ResponseError, TimeoutKind},
    proxy::ProxyError,
    send_status::SendStatus,
    url::UrlError,
};

/// Any error of this crate: the argument of `on_error`, and the target of `?` for the errors of single operations.
///
/// `{error}` prints the error without its source; `{error:#}` prints the whole chain in one line.
///
/// ```no_run
/// use ws_reactor::{Error, Reactor, Server, on_message};
///
/// fn main() -> Result<(), Error> {
///     let mut reactor = Reactor::new()?;
///     reactor.listen("127.0.0.1:8080", Server::new(|_| on_message(|_, _| {})).origins(["https://example.com"])?)?;
///     Ok(reactor.run()?)
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A listener could not be opened.
    Listen(ListenError),
    /// A connection could not be made.
    Connect(ConnectError),
    /// The reactor could not be made, or could not wait for events.
    Poll(PollError),
    /// The system refused a call of the application, such as [`Reactor::on_signal`](crate::Reactor): any [`io::Error`]
    /// that `?` converts.
    System(io::Error),
    /// The peer broke the protocol. The connection is closed with [`ProtocolError::close_code`].
    Protocol(ProtocolError),
    /// The connection was reset, or the system refused to continue it. On a client also: the server or the proxy ended
    /// the stream before the handshake was complete.
    Io(io::Error),
    /// TLS failed: a certificate was not accepted, or the peer does not speak TLS; the source says so of plain HTTP. On
    /// a server also: the client speaks TLS where plain HTTP is expected.
    Tls(io::Error),
    /// A timeout passed. The connection ends.
    Timeout(TimeoutKind),
    /// The peer did not read fast enough. The connection is closed. See [`OutputLimits`](crate::OutputLimits).
    SlowReader,
    /// A server: the request head is invalid, and was answered with [`HeadError::status`]. A client: its own request is
    /// not valid, for example because of more than 256 headers.
    Head(HeadError),
    /// A server: the body of the request is invalid or too long, and was answered with [`BodyError::status`].
    Body(BodyError),
    /// A server: the request is not a valid WebSocket request, and was answered with [`HandshakeError::status`].
    Handshake(HandshakeError),
    /// A client: the proxy did not connect to the server.
    Proxy(ProxyError),
    /// A client: the server responded with a status other than 101.
    Refused(Box<Refusal>),
    /// A client: the server's response does not open a WebSocket.
    Response(ResponseError),
    /// A callback of the handler panicked. The value is the panic message, or `no message` if the payload is not a
    /// string.
    Panic(String),
    /// The connection of a [`BlockingSocket`](crate::BlockingSocket) has ended.
    Closed(CloseReason),
    /// A [`BlockingSocket`](crate::BlockingSocket) did not send the message: `Dropped` or `Unsupported`.
    Unsent(SendStatus),
    /// A command of a [`Remote`](crate::Remote) was refused.
    Remote(RemoteError),
    /// An origin pattern cannot match any origin.
    Origin(OriginError),
    /// The address of a network is invalid.
    Network(NetworkError),
    /// Routes conflict or are invalid.
    #[cfg(feature = "server")]
    Route(RouteError),
    /// A TLS configuration is invalid.
    #[cfg(feature = "tls")]
    TlsConfig(TlsError),
    /// A compression parameter is out of range.
    #[cfg(feature = "deflate")]
    DeflateConfig(DeflateConfigError),
}

/// A listener could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// The address could not be resolved, or no socket could be bound to it.
    Bind {
        /// The address in the caller's spelling.
        address: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The reactor is shutting down.
    ShuttingDown {
        /// The address in the caller's spelling.
        address: String,
    },
}

/// A connection could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL, or the URL of the proxy, cannot be connected to.
    Url {
        /// The URL, or the proxy, without user and password.
        url: String,
        /// The fault in the URL.
        source: UrlError,
    },
    /// A subprotocol is not a token, or is offered twice. The value is the subprotocol. RFC 6455 §4.1.
    Subprotocol(String),
    /// The address of a raw stream is neither `host:port` nor `unix:/path`.
    Address {
        /// The address in the caller's spelling.
        address: String,
        /// The fault in the address.
        source: io::Error,
    },
    /// The name could not be resolved, or no address accepted the connection.
    Network {
        /// Host and port, or the path of a Unix socket.
        address: String,
        /// The error of the system: of the name, or of the first address that failed.
        source: io::Error,
    },
    /// The reactor is shutting down.
    ShuttingDown {
        /// Host and port, or the path of a Unix socket.
        address: String,
    },
}

/// Reason why a command of a [`Remote`](crate::Remote) was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemoteError {
    /// The queue holds [`ReactorConfig::remote_commands`](crate::ReactorConfig::remote_commands) commands. Try again
    /// later.
    Full,
    /// The reactor was dropped. From a [`Responder`](crate::Responder): the request no longer waits for a reply.
    Closed,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            RemoteError::Full => "too many commands wait for the reactor",
            RemoteError::Closed => "the reactor was dropped, or the request no longer waits for a reply",
        })
    }
}

impl std::error::Error for RemoteError {}

/// The reactor could not be made, or could not wait for events. The source is the error of the system.
#[derive(Debug)]
pub struct PollError(pub(crate) io::Error);

impl Error {
    /// A copy. An error of the system is copied as its kind and text.
    pub(crate) fn duplicate(&self) -> Error {
        match self {
            Error::Listen(ListenError::Bind { address, source }) => {
                Error::Listen(ListenError::Bind { address: address.clone(), source: copied(source) })
            }
            Error::Listen(ListenError::ShuttingDown { address }) => {
                Error::Listen(ListenError::ShuttingDown { address: address.clone() })
            }
            Error::Connect(error) => Error::Connect(error.duplicate()),
            Error::Poll(PollError(source)) => Error::Poll(PollError(copied(source))),
            Error::Protocol(error) => Error::Protocol(*error),
            Error::System(source) => Error::System(copied(source)),
            Error::Io(source) => Error::Io(copied(source)),
            Error::Tls(source) => Error::Tls(copied(source)),
            Error::Timeout(kind) => Error::Timeout(*kind),
            Error::SlowReader => Error::SlowReader,
            Error::Head(error) => Error::Head(*error),
            Error::Body(error) => Error::Body(*error),
            Error::Handshake(error) => Error::Handshake(*error),
            Error::Proxy(error) => Error::Proxy(*error),
            Error::Refused(refusal) => Error::Refused(refusal.clone()),
            Error::Response(error) => Error::Response(*error),
            Error::Panic(message) => Error::Panic(message.clone()),
            Error::Closed(reason) => Error::Closed(reason.clone()),
            Error::Unsent(status) => Error::Unsent(*status),
            Error::Remote(error) => Error::Remote(*error),
            Error::Origin(error) => Error::Origin(error.clone()),
            Error::Network(error) => Error::Network(error.clone()),
            #[cfg(feature = "server")]
            Error::Route(error) => Error::Route(error.clone()),
            #[cfg(feature = "tls")]
            Error::TlsConfig(error) => Error::Tls(io::Error::other(error.to_string())),
            #[cfg(feature = "deflate")]
            Error::DeflateConfig(error) => Error::DeflateConfig(*error),
        }
    }

    /// The wrapped error, if this variant prints as that error.
    fn inner(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            Error::Listen(error) => error,
            Error::Connect(error) => error,
            Error::Poll(error) => error,
            Error::Proxy(error) => error,
            Error::Remote(error) => error,
            Error::Origin(error) => error,
            Error::Network(error) => error,
            #[cfg(feature = "server")]
            Error::Route(error) => error,
            #[cfg(feature = "tls")]
            Error::TlsConfig(error) => error,
            #[cfg(feature = "deflate")]
            Error::DeflateConfig(error) => error,
            _ => return None,
        })
    }
}

impl ConnectError {
    fn duplicate(&self) -> ConnectError {
        match self {
            ConnectError::Url { url, source } => ConnectError::Url { url: url.clone(), source: *source },
            ConnectError::Subprotocol(name) => ConnectError::Subprotocol(name.clone()),
            ConnectError::Address { address, source } => {
                ConnectError::Address { address: address.clone(), source: copied(source) }
            }
            ConnectError::Network { address, source } => {
                ConnectError::Network { address: address.clone(), source: copied(source) }
            }
            ConnectError::ShuttingDown { address } => ConnectError::ShuttingDown { address: address.clone() },
        }
    }
}

fn copied(source: &io::Error) -> io::Error {
    io::Error::new(source.kind(), source.to_string())
}

/// Writes the sources of an error behind it, in the alternate form only.
fn write_chain(formatter: &mut fmt::Formatter<'_>, error: &dyn std::error::Error) -> fmt::Result {
    let mut source = error.source().filter(|_| formatter.alternate());
    while let Some(error) = source {
        write!(formatter, ": {error}")?;
        source = error.source();
    }
    Ok(())
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(inner) = self.inner() {
            write!(formatter, "{inner}")?;
            return write_chain(formatter, inner);
        }
        match self {
            Error::Protocol(_) => formatter.write_str("protocol error"),
            Error::System(_) => formatter.write_str("the system refused"),
            Error::Io(_) => formatter.write_str("connection failed"),
            Error::Tls(_) => formatter.write_str("TLS failed"),
            Error::Timeout(kind) => kind.fmt(formatter),
            Error::SlowReader => formatter.write_str("the peer did not read the output fast enough"),
            Error::Head(_) | Error::Body(_) => formatter.write_str("bad request"),
            Error::Handshake(_) => formatter.write_str("opening handshake refused"),
            Error::Refused(refusal) => write!(formatter, "the server responded with {}", refusal.status),
            Error::Response(_) => formatter.write_str("opening handshake failed"),
            Error::Panic(message) => write!(formatter, "the handler panicked: {message}"),
            Error::Closed(reason) => write!(formatter, "the connection has ended: {reason}"),
            Error::Unsent(SendStatus::Dropped) => formatter.write_str("not sent: the output is at its limit"),
            Error::Unsent(_) => formatter.write_str("not sent: this connection cannot send it"),
            _ => Ok(()),
        }?;
        write_chain(formatter, self)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Some(inner) = self.inner() {
            return inner.source();
        }
        match self {
            Error::System(source) | Error::Io(source) | Error::Tls(source) => Some(source),
            Error::Protocol(error) => Some(error),
            Error::Head(error) => Some(error),
            Error::Body(error) => Some(error),
            Error::Handshake(error) => Some(error),
            Error::Response(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Bind { address, .. } => write!(formatter, "cannot listen on {address}")?,
            ListenError::ShuttingDown { address } => {
                write!(formatter, "cannot listen on {address}: the reactor is shutting down")?;
            }
        }
        write_chain(formatter, self)
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ListenError::Bind { source, .. } => Some(source),
            ListenError::ShuttingDown { .. } => None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Url { url, .. } => write!(formatter, "cannot connect to {url:?}")?,
            ConnectError::Subprotocol(name) => write!(formatter, "subprotocol {name:?} cannot be offered")?,
            ConnectError::Address { address, .. } | ConnectError::Network { address, .. } => {
                write!(formatter, "cannot connect to {address}")?;
            }
            ConnectError::ShuttingDown { address } => {
                write!(formatter, "cannot connect to {address}: the reactor is shutting down")?;
            }
        }
        write_chain(formatter, self)
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConnectError::Url { source, .. } => Some(source),
            ConnectError::Address { source, .. } | ConnectError::Network { source, .. } => Some(source),
            ConnectError::Subprotocol(_) | ConnectError::ShuttingDown { .. } => None,
        }
    }
}

impl fmt::Display for PollError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("cannot wait for events")?;
        write_chain(formatter, self)
    }
}

impl std::error::Error for PollError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// `From` of single errors, so that `?` turns them into an [`Error`].
macro_rules! from {
    ($($(#[$meta:meta])* $variant:ident($type:ty),)*) => {
        $(
            $(#[$meta])*
            impl From<$type> for Error {
                fn from(error: $type) -> Self {
                    Error::$variant(error)
                }
            }
        )*
    };
}

from! {
    Listen(ListenError),
    Connect(ConnectError),
    Poll(PollError),
    System(io::Error),
    Protocol(ProtocolError),
    Proxy(ProxyError),
    Remote(RemoteError),
    Origin(OriginError),
    Network(NetworkError),
    #[cfg(feature = "server")]
    Route(RouteError),
    #[cfg(feature = "tls")]
    TlsConfig(TlsError),
    #[cfg(feature = "deflate")]
    DeflateConfig(DeflateConfigError),
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Head(error) => Error::Head(error),
            RequestError::Body(error) => Error::Body(error),
        }
    }
}

/// Response of a server that refuses to open a WebSocket.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Refusal {
    /// Status of the response.
    pub status: StatusCode,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// Start of the body, at most 4 KiB. Bytes that arrive more than 1 s after the head are left out.
    pub body: Vec<u8>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, headers: HeaderMap) -> Self {
        Refusal { status, headers, body: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_displays_its_source_in_the_alternate_form_only() {
        let network = || ConnectError::Network {
            address: "example.com:80".to_owned(),
            source: io::Error::new(io::ErrorKind::ConnectionRefused, "refused"),
        };
        for error in [Error::from(network()), Error::from(network()).duplicate()] {
            assert_eq!(error.to_string(), "cannot connect to example.com:80");
            assert_eq!(format!("{error:#}"), "cannot connect to example.com:80: refused");
            let source = std::error::Error::source(&error).unwrap();
            assert_eq!((source.to_string().as_str(), source.source().is_none()), ("refused", true));
        }
        assert_eq!(format!("{:#}", network()), "cannot connect to example.com:80: refused");
        let protocol = Error::Protocol(ProtocolError::ReservedBits);
        assert_eq!(format!("{protocol} | {protocol:#}"), "protocol error | protocol error: reserved bits set");
        assert_eq!(format!("{:#}", Error::Timeout(TimeoutKind::Pong)), TimeoutKind::Pong.to_string());
    }
}
