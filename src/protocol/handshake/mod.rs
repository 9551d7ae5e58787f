//! The opening handshake: which version a request asks for, whether it is sound, and the answer.

mod hybi;

use std::fmt;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::version::Version;
use crate::http::Request;

/// Why a request does not become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A method other than `GET`: answered with 405.
    Method,
    /// An ordinary request: answered with 426.
    NotAnUpgrade,
    /// `Upgrade: websocket`, but `Connection` does not name the upgrade; some proxies drop it.
    Connection,
    /// HTTP/1.0 (RFC 6455 §4.1).
    HttpVersion,
    /// A `Sec-WebSocket-Version` that is not spoken here: answered with 426 and the list of those that are.
    Version,
    /// `Sec-WebSocket-Key` is missing, given twice, or not 16 bytes of base64.
    Key,
    /// A subprotocol that is no token (RFC 6455 §4.1).
    Subprotocol,
    /// A request to upgrade that has a body.
    Body,
}

impl HandshakeError {
    /// The status that answers it.
    pub fn status(self) -> StatusCode {
        match self {
            HandshakeError::Method => StatusCode::METHOD_NOT_ALLOWED,
            HandshakeError::NotAnUpgrade | HandshakeError::Version => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The whole answer.
    pub(crate) fn response(self) -> Response<Vec<u8>> {
        let mut response = Response::new(format!("{self}\n").into_bytes());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        match self.status() {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
            }
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, spoken());
            }
            _ => {}
        }
        response
    }
}

/// The versions spoken, as `Sec-WebSocket-Version` lists them (RFC 6455 §4.4).
fn spoken() -> HeaderValue {
    let numbers: Vec<String> = Version::ALL.iter().map(|version| version.number().to_string()).collect();
    HeaderValue::try_from(numbers.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("13"))
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            HandshakeError::Method => "a WebSocket is opened by GET",
            HandshakeError::NotAnUpgrade => "this is a WebSocket endpoint",
            HandshakeError::Connection => "Connection does not name the upgrade; a proxy may have dropped it",
            HandshakeError::HttpVersion => "a WebSocket is opened by HTTP/1.1",
            HandshakeError::Version => "this version of the WebSocket protocol is not spoken here",
            HandshakeError::Key => "Sec-WebSocket-Key is not one key of 16 bytes",
            HandshakeError::Subprotocol => "Sec-WebSocket-Protocol is not a list of tokens",
            HandshakeError::Body => "a request to upgrade has no body",
        })
    }
}

impl std::error::Error for HandshakeError {}

/// Which version `request` asks for, if it may become a WebSocket.
pub(crate) fn detect(request: &Request) -> Result<Version, HandshakeError> {
    if request.method() != Method::GET {
        return Err(HandshakeError::Method);
    }
    if !request.names_websocket() {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if !request.is_upgrade() {
        return Err(HandshakeError::Connection);
    }
    if has_body(request.headers()) {
        return Err(HandshakeError::Body);
    }
    if !offers_are_tokens(request.headers()) {
        return Err(HandshakeError::Subprotocol);
    }
    let version = hybi::version(request)?;
    hybi::check(request)?;
    Ok(version)
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// A subprotocol is echoed into the answer, so what is no token must not come near it (RFC 6455 §4.1 item 10).
fn offers_are_tokens(headers: &HeaderMap) -> bool {
    let token = |member: &str| {
        let member = member.trim_matches([' ', '\t']);
        !member.is_empty() && member.bytes().all(is_token_octet)
    };
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .all(|line| line.to_str().is_ok_and(|line| line.split(',').all(token)))
}

fn is_token_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

/// An accepted handshake, as `on_open` gets it.
#[derive(Debug)]
pub struct Handshake {
    request: Request,
    version: Version,
    subprotocol: Option<String>,
}

impl Handshake {
    pub(crate) fn new(request: Request, version: Version, subprotocol: Option<String>) -> Self {
        Handshake { request, version, subprotocol }
    }

    /// The request: path, query, headers, origin, peer.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The path of the target, without the query.
    pub fn path(&self) -> &str {
        self.request.path()
    }

    /// The query of the target as it was sent, without the question mark.
    pub fn query_string(&self) -> Option<&str> {
        self.request.query_string()
    }

    /// The first value of a header, if it is visible ASCII. `name` may be in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.header(name)
    }

    /// The page that opened the connection, as browsers say.
    pub fn origin(&self) -> Option<&str> {
        self.request.origin()
    }

    /// Whether the connection came over TLS.
    pub fn is_secure(&self) -> bool {
        self.request.is_secure()
    }

    /// The version agreed upon.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The subprotocol agreed upon.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Appends the answer, with the headers that the application adds.
    pub(crate) fn answer(&self, headers: &HeaderMap, out: &mut Vec<u8>) {
        match self.version {
            Version::Rfc6455 => hybi::answer(self, headers, out),
        }
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
