//! The opening handshake: detects the version of a request, checks the request, and writes the response.

pub(crate) mod client;
mod hixie75;
mod hixie76;
mod hybi;
mod request;
pub(crate) mod server;

use std::{borrow::Cow, fmt};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, uri::PathAndQuery};

use super::{
    deflate::{self, DeflateConfig, DeflateParameters, Malformed},
    version::{Announced, Opening, Version},
};
use crate::{
    http::{Request, response, token::is_token_octet},
    peer_addr::PeerAddr,
    tls_info::TlsInfo,
};

/// Why a server refuses to upgrade a request to a WebSocket.
///
/// [`status`](Self::status) is the status of the response: 400 unless a variant names another. RFC 6455 §4.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The method is not `GET`. Answered with 405.
    Method,
    /// The request does not ask for an upgrade to `websocket`. Answered with 426.
    NotAnUpgrade,
    /// `Upgrade` is `websocket`, but `Connection` does not contain `upgrade`. Some proxies drop the option.
    Connection,
    /// The request is HTTP/1.0. RFC 6455 §4.2.1. Drafts before hybi-13 are exempt.
    HttpVersion,
    /// The `Host` header is missing. RFC 6455 §4.2.1. Drafts before hybi-13 are exempt.
    Host,
    /// The requested version is malformed or not supported by this server. Answered with 426 and the list of supported
    /// versions. RFC 6455 §4.4.
    Version,
    /// `Sec-WebSocket-Key` is missing, empty or repeated. From hybi-13 on also: the key is not 16 bytes in base64. RFC
    /// 6455 §4.2.1.
    Key,
    /// `Sec-WebSocket-Key1` or `-Key2` is missing, repeated, or hides no number: the digits must be divisible by the
    /// count of spaces. hixie-76 §5.2.
    Challenge,
    /// `Sec-WebSocket-Protocol` is empty or, from hybi-13 on, contains a member that is not a token. RFC 6455 §4.1.
    Subprotocol,
    /// `Sec-WebSocket-Extensions` is not a list of extensions. RFC 6455 §9.1. Checked only by servers with compression.
    Extensions,
    /// The origin of the page is not allowed. Answered with 403. See [`Server::origins`](crate::Server::origins).
    Origin,
    /// The request has a body.
    Body,
}

impl HandshakeError {
    /// Status of the response: 405, 426, 403 or 400.
    pub fn status(self) -> StatusCode {
        match self {
            HandshakeError::Method => StatusCode::METHOD_NOT_ALLOWED,
            HandshakeError::NotAnUpgrade | HandshakeError::Version => StatusCode::UPGRADE_REQUIRED,
            HandshakeError::Origin => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The whole response of a server that supports `versions`.
    pub(crate) fn response(self, versions: &[Version]) -> Response<Vec<u8>> {
        let mut response = response::text(self.status(), &self.to_string());
        let headers = response.headers_mut();
        match self.status() {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                if let Some(spoken) = spoken(versions) {
                    headers.insert(header::SEC_WEBSOCKET_VERSION, spoken);
                }
            }
            _ => {}
        }
        response
    }
}

/// The supported versions, as listed in `Sec-WebSocket-Version` (RFC 6455 §4.4): those that are announced by that
/// header.
fn spoken(versions: &[Version]) -> Option<HeaderValue> {
    let numbers: Vec<String> = versions
        .iter()
        .filter(|version| version.traits().announced == Announced::AsVersion)
        .map(|version| version.number().to_string())
        .collect();
    HeaderValue::try_from(numbers.join(", ")).ok().filter(|list| !list.is_empty())
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            HandshakeError::Method => "the method of an opening handshake is GET",
            HandshakeError::NotAnUpgrade => "this is a WebSocket endpoint",
            HandshakeError::Connection => "the Connection header does not contain upgrade; a proxy may have removed it",
            HandshakeError::HttpVersion => "an opening handshake requires HTTP/1.1",
            HandshakeError::Host => "an opening handshake requires a Host header",
            HandshakeError::Version => "this version of the WebSocket protocol is not supported",
            HandshakeError::Key => "Sec-WebSocket-Key is not one key of 16 bytes in base64",
            HandshakeError::Challenge => "Sec-WebSocket-Key1 and -Key2 are not a challenge",
            HandshakeError::Origin => "this origin is not allowed",
            HandshakeError::Subprotocol => "Sec-WebSocket-Protocol is not a list of tokens",
            HandshakeError::Extensions => "Sec-WebSocket-Extensions is not a list of extensions",
            HandshakeError::Body => "an opening handshake has no body",
        })
    }
}

impl std::error::Error for HandshakeError {}

/// The version of `versions` that the request asks for, if the request may become a WebSocket.
pub(crate) fn detect(request: &Request, versions: &[Version]) -> Result<Version, HandshakeError> {
    // `HEAD` is answered like `GET` (RFC 9110 §9.3.2), which is 426 here, and opens nothing.
    let asks = request.method() == Method::HEAD && !request.names_websocket();
    if request.method() != Method::GET && !asks {
        return Err(HandshakeError::Method);
    }
    if !request.names_websocket() {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if !request.names_upgrade() {
        return Err(HandshakeError::Connection);
    }
    if has_body(request.headers()) {
        return Err(HandshakeError::Body);
    }
    let version = announced(request)?;
    if !versions.contains(&version) {
        return Err(HandshakeError::Version);
    }
    match version.traits().opening {
        Opening::Hixie75 => {}
        Opening::Hixie76 => hixie76::check(request)?,
        Opening::Hybi { strict } => hybi::check(request, strict)?,
    }
    if !offers_are_sound(request, version) {
        return Err(HandshakeError::Subprotocol);
    }
    Ok(version)
}

/// Names the draft, for drafts before hybi-04.
static DRAFT: HeaderName = HeaderName::from_static("sec-websocket-draft");

/// The version that the request announces, supported here or not.
fn announced(request: &Request) -> Result<Version, HandshakeError> {
    for (name, how) in [(&header::SEC_WEBSOCKET_VERSION, Announced::AsVersion), (&DRAFT, Announced::AsDraft)] {
        let mut named = request.headers().get_all(name).iter();
        let Some(number) = named.next() else { continue };
        // Digits, without a sign or a leading zero (RFC 6455 §4.3).
        let number = number
            .to_str()
            .ok()
            .map(str::trim)
            .filter(|number| number.starts_with(|first| ('1'..='9').contains(&first)));
        let number = number.and_then(|number| number.parse().ok());
        let version = number.and_then(Version::from_number).filter(|version| version.traits().announced == how);
        return version.filter(|_| named.next().is_none()).ok_or(HandshakeError::Version);
    }
    let has = |name: &HeaderName| request.headers().contains_key(name);
    if has(&hixie76::KEY1) || has(&hixie76::KEY2) {
        return Ok(Version::Hixie76);
    }
    // `Sec-WebSocket-Key` is newer than the version header that is missing.
    if has(&header::SEC_WEBSOCKET_KEY) { Err(HandshakeError::Version) } else { Ok(Version::Hixie75) }
}

/// The compression parameters accepted by a server with `config`.
pub(crate) fn compression(
    request: &Request,
    version: Version,
    config: Option<&DeflateConfig>,
) -> Result<Option<DeflateParameters>, HandshakeError> {
    let Some(config) = config.filter(|_| version.traits().compressible) else { return Ok(None) };
    let lines = request.headers().get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().map(HeaderValue::as_bytes);
    deflate::agree(lines, config).map_err(|Malformed| HandshakeError::Extensions)
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// Checks the offered subprotocols. An offer is echoed into the response, so only tokens may pass (RFC 6455 §4.1 item
/// 10). Drafts allowed any visible characters.
fn offers_are_sound(request: &Request, version: Version) -> bool {
    let strict = matches!(version.traits().opening, Opening::Hybi { strict: true });
    let visible = |line: &str| line.bytes().any(|octet| octet.is_ascii_graphic() && octet != b',');
    let token = |member: &str| {
        let member = member.trim_matches([' ', '\t']);
        !member.is_empty() && member.bytes().all(is_token_octet)
    };
    let sound = |line: &str| if strict { line.split(',').all(token) } else { visible(line) };
    let offers = request.headers().get_all(request.subprotocol_header());
    offers.iter().all(|line| line.to_str().is_ok_and(sound))
}

/// Returns `true` for headers that the handshake writes, so that the application must not.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    let own = [header::UPGRADE, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    let hixie = ["websocket-origin", "websocket-location", "websocket-protocol"];
    own.contains(name) || name.as_str().starts_with("sec-websocket-") || hixie.contains(&name.as_str())
}

/// A completed opening handshake, as received by `on_open`.
///
/// On a client, the methods that read the request describe the request that the client sent.
///
/// ```
/// use ws_reactor::{Handler, Handshake, WebSocket};
///
/// struct Greeter;
///
/// impl Handler for Greeter {
///     fn on_open(&mut self, ws: &mut WebSocket<'_>, handshake: &Handshake) {
///         let name = handshake.query_value("name").unwrap_or("guest".into());
///         ws.send(format!("hello, {name}"));
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Handshake {
    request: Request,
    version: Version,
    subprotocol: Option<String>,
    compression: Option<DeflateParameters>,
    response: Option<Response<()>>,
    extensions: Extensions,
}

impl Handshake {
    pub(crate) fn new(
        request: Request,
        version: Version,
        subprotocol: Option<String>,
        compression: Option<DeflateParameters>,
    ) -> Self {
        Handshake { request, version, subprotocol, compression, response: None, extensions: Extensions::new() }
    }

    /// The request: path, query, headers, origin and peer address.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Path of the request target, without the query, not decoded.
    pub fn path(&self) -> &str {
        self.request.path()
    }

    /// Query of the request target, without the question mark, not decoded. `None` if there is no question mark.
    pub fn query_string(&self) -> Option<&str> {
        self.request.query_string()
    }

    /// First value of a header, if the value is visible ASCII. The case of `name` does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.header(name)
    }

    /// Origin of the page that opened the connection, as sent by browsers. See [`Request::origin`].
    pub fn origin(&self) -> Option<&str> {
        self.request.origin()
    }

    /// Name-value pairs of the query, split at `&` and the first `=`, not decoded.
    pub fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        self.request.query()
    }

    /// Name-value pairs of the query, decoded. See [`Request::query_pairs`].
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.request.query_pairs()
    }

    /// First value of the parameter `name` in the query, decoded.
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.request.query_value(name)
    }

    /// Segments of the path, decoded. See [`Request::path_segments`].
    pub fn path_segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.request.path_segments()
    }

    /// Value of the first cookie with this name.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.request.cookie(name)
    }

    /// Address of the peer. See [`Request::peer_addr`].
    pub fn peer_addr(&self) -> PeerAddr {
        self.request.peer_addr()
    }

    /// Returns `true` if the connection uses TLS, to this process or to a proxy in front. See
    /// [`Server::secure_proxy`](crate::Server::secure_proxy).
    pub fn is_secure(&self) -> bool {
        self.request.is_secure()
    }

    /// Result of the TLS handshake. `None` if this process uses no TLS for the connection.
    pub fn tls_info(&self) -> Option<&TlsInfo> {
        self.request.tls_info()
    }

    /// The negotiated protocol version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The negotiated subprotocol. `None` if there is none. RFC 6455 §1.9.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Status and headers of the server's response. `None` on a server.
    pub fn response(&self) -> Option<&Response<()>> {
        self.response.as_ref()
    }

    /// Stores the server's response.
    pub(crate) fn answered_by(&mut self, response: Response<()>) {
        self.response = Some(response);
    }

    /// The value of type `T` that `on_request` attached by [`Upgrade::extension`](crate::Upgrade::extension).
    ///
    /// `None` if no value of the type was attached, and on a client.
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.extensions.get()
    }

    /// Adds the values attached by `on_request`.
    pub(crate) fn extend(&mut self, extensions: Extensions) {
        self.extensions.extend(extensions);
    }

    /// The negotiated compression parameters.
    pub(crate) fn compression(&self) -> Option<&DeflateParameters> {
        self.compression.as_ref()
    }

    /// Appends the response, with the headers added by the application.
    pub(crate) fn answer(&self, headers: &HeaderMap, out: &mut Vec<u8>) {
        match self.version.traits().opening {
            Opening::Hixie75 => hixie75::answer(self, out),
            Opening::Hixie76 => hixie76::answer(self, out),
            Opening::Hybi { .. } => hybi::answer(self, out),
        }
        if let Some(subprotocol) = self.subprotocol() {
            response::write_line(self.subprotocol_header(), subprotocol.as_bytes(), out);
        }
        if let Some(parameters) = self.compression() {
            response::write_line("Sec-WebSocket-Extensions", parameters.to_string().as_bytes(), out);
        }
        response::write_headers(headers, out);
        out.extend_from_slice(b"\r\n");
    }

    /// Bytes after the request that the rest of the response depends on. 0 in versions without a challenge.
    pub(crate) fn challenge_bytes(&self) -> usize {
        match self.version.traits().opening {
            Opening::Hixie76 => hixie76::THIRD_KEY_BYTES,
            Opening::Hixie75 | Opening::Hybi { .. } => 0,
        }
    }

    /// The rest of the response, once those bytes have arrived.
    pub(crate) fn prove(&self, challenge: &[u8]) -> [u8; 16] {
        hixie76::proof(&self.request, challenge)
    }

    /// hixie-75 has its own header name; a client that used the newer name gets the newer name back.
    fn subprotocol_header(&self) -> &'static str {
        let older = self.request.subprotocol_header() == "websocket-protocol";
        match self.version.traits().opening {
            Opening::Hixie75 if older => "WebSocket-Protocol",
            _ => "Sec-WebSocket-Protocol",
        }
    }

    /// The location for hixie: scheme, host and target as used by the client.
    fn write_location(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.is_secure() { b"wss://" } else { b"ws://" });
        out.extend_from_slice(self.raw_header(header::HOST));
        let target = self.request.http().uri().path_and_query();
        out.extend_from_slice(target.map_or("/", PathAndQuery::as_str).as_bytes());
    }

    /// Raw value of a header, or an empty value.
    fn raw_header(&self, name: HeaderName) -> &[u8] {
        self.request.headers().get(name).map_or(&[], HeaderValue::as_bytes)
    }
}

#[cfg(feature = "deflate")]
impl Handshake {
    /// The negotiated compression parameters. `None` if the connection does not compress.
    pub fn deflate(&self) -> Option<DeflateParameters> {
        self.compression
    }
}

/// A sample request of a client of that version, with extra header lines and the keys of the draft's examples.
pub(crate) fn sample_request(version: Version, target: &str, lines: &str) -> Vec<u8> {
    let (opening, number) = (version.traits().opening, version.number());
    let protocol = if matches!(opening, Opening::Hybi { .. }) { "websocket" } else { "WebSocket" };
    let mut request = format!("GET {target} HTTP/1.1\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\nHost: test\r\n");
    match version.traits().announced {
        Announced::AsDraft => request += &format!("Sec-WebSocket-Draft: {number}\r\n"),
        Announced::AsVersion => request += &format!("Sec-WebSocket-Version: {number}\r\n"),
        Announced::ByNothing | Announced::ByKeys => {}
    }
    request += match opening {
        Opening::Hixie75 => "",
        Opening::Hixie76 => hixie76::SAMPLE_KEYS,
        Opening::Hybi { .. } => hybi::SAMPLE_KEY,
    };
    request += lines;
    request += "\r\n";
    if opening == Opening::Hixie76 {
        request += hixie76::SAMPLE_THIRD_KEY;
    }
    request.into_bytes()
}

/// The bytes that follow the head of the response to a [`sample_request`].
pub(crate) fn sample_proof(version: Version) -> &'static [u8] {
    match version.traits().opening {
        Opening::Hixie76 => hixie76::SAMPLE_PROOF,
        Opening::Hixie75 | Opening::Hybi { .. } => &[],
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
