//! Why a URL is not valid.

use std::fmt;

/// Why a URL of a WebSocket or a proxy is not valid. RFC 6455 §3, RFC 3986.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// An octet is not allowed in its part of the URL.
    Octet {
        /// Part of the URL.
        part: UrlPart,
        /// The octet.
        octet: u8,
        /// Offset of the octet, in bytes from the start of the URL.
        at: usize,
    },
    /// The scheme is not `ws`, `wss`, `ws+unix` or `wss+unix`. For a proxy: not `http`, `https`, `socks5` or `socks5h`.
    Scheme,
    /// The host is missing.
    Host,
    /// The brackets do not contain an IPv6 address, or one bracket is missing.
    Address,
    /// The port is not a number from 0 to 65535.
    Port,
    /// A `ws+unix` URL has no absolute path of a socket.
    Socket,
    /// The scheme is `wss`, and the crate was built without the feature `tls`.
    NoTls,
    /// The scheme is `wss`, and there are no trusted roots: `Client::tls` was not called, and the feature
    /// `bundled-roots` is off, or `platform-roots` is on and the system has no roots.
    NoRoots,
    /// The URL has a fragment. RFC 6455 §3.
    Fragment,
}

/// Part of a URL. RFC 3986 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlPart {
    /// User and password.
    Credentials,
    /// Host.
    Host,
    /// Port.
    Port,
    /// Path.
    Path,
    /// Query.
    Query,
}

impl fmt::Display for UrlPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            UrlPart::Credentials => "user and password",
            UrlPart::Host => "host",
            UrlPart::Port => "port",
            UrlPart::Path => "path",
            UrlPart::Query => "query",
        })
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            UrlError::Octet { part, octet, at } => {
                return write!(formatter, "the {part} has '{}' at byte {at}", octet.escape_ascii());
            }
            UrlError::Scheme => "the scheme is not one of ws, wss, ws+unix and wss+unix",
            UrlError::Host => "there is no host",
            UrlError::Address => "the brackets do not contain an IPv6 address",
            UrlError::Port => "the port is not a number from 0 to 65535",
            UrlError::Socket => "there is no absolute path of a socket",
            UrlError::NoTls => "wss needs the feature `tls`",
            UrlError::NoRoots => {
                "wss needs roots to trust: Client::tls, or the feature `bundled-roots` or `platform-roots`"
            }
            UrlError::Fragment => "there is a fragment",
        })
    }
}

impl std::error::Error for UrlError {}
