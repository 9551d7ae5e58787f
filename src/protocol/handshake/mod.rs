//! The opening handshake: which version a request asks for, whether it is sound, and the answer.

pub(crate) mod client;
mod hixie75;
mod hixie76;
mod hybi;

use std::{borrow::Cow, fmt, net::SocketAddr};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, uri::PathAndQuery};

use super::{
    deflate::{self, DeflateConfig, DeflateParameters, Malformed},
    version::{Announced, Opening, Version},
};
use crate::{
    http::{Request, response},
    tls_info::TlsInfo,
};

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
    /// HTTP/1.0 (RFC 6455 §4.1). Drafts before hybi-13 are not held to it.
    HttpVersion,
    /// No `Host` (RFC 6455 §4.2.1). Drafts before hybi-13 are not held to it.
    Host,
    /// A `Sec-WebSocket-Version` that is not spoken here: answered with 426 and the list of those that are.
    Version,
    /// `Sec-WebSocket-Key` is missing, empty or given twice, or, from hybi-13 on, not 16 bytes of base64.
    Key,
    /// `Sec-WebSocket-Key1` and `-Key2` are not one challenge each: digits that their spaces divide (hixie-76 §5.2).
    Challenge,
    /// A subprotocol that is no token (RFC 6455 §4.1), or none where one is announced.
    Subprotocol,
    /// `Sec-WebSocket-Extensions` is no list of extensions (RFC 6455 §9.1). It is not looked at unless compression is turned on.
    Extensions,
    /// A page whose origin may not connect: answered with 403. See [`Server::origins`](crate::Server::origins).
    Origin,
    /// A request to upgrade that has a body.
    Body,
}

impl HandshakeError {
    /// The status that answers it.
    pub fn status(self) -> StatusCode {
        match self {
            HandshakeError::Method => StatusCode::METHOD_NOT_ALLOWED,
            HandshakeError::NotAnUpgrade | HandshakeError::Version => StatusCode::UPGRADE_REQUIRED,
            HandshakeError::Origin => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The whole answer of a server that speaks `versions`.
    pub(crate) fn response(self, versions: &[Version]) -> Response<Vec<u8>> {
        let mut response = Response::new(format!("{self}\n").into_bytes());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
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

/// The versions spoken, as `Sec-WebSocket-Version` lists them (RFC 6455 §4.4): those that announce themselves by it.
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
            HandshakeError::Method => "a WebSocket is opened by GET",
            HandshakeError::NotAnUpgrade => "this is a WebSocket endpoint",
            HandshakeError::Connection => "Connection does not name the upgrade; a proxy may have dropped it",
            HandshakeError::HttpVersion => "a WebSocket is opened by HTTP/1.1",
            HandshakeError::Host => "a WebSocket is opened with a Host header",
            HandshakeError::Version => "this version of the WebSocket protocol is not spoken here",
            HandshakeError::Key => "Sec-WebSocket-Key is not one key of 16 bytes",
            HandshakeError::Challenge => "Sec-WebSocket-Key1 and -Key2 are no challenge",
            HandshakeError::Origin => "this origin may not connect",
            HandshakeError::Subprotocol => "Sec-WebSocket-Protocol is not a list of tokens",
            HandshakeError::Extensions => "Sec-WebSocket-Extensions is not a list of extensions",
            HandshakeError::Body => "a request to upgrade has no body",
        })
    }
}

impl std::error::Error for HandshakeError {}

/// Which of `versions` the request asks for, if it may become a WebSocket.
pub(crate) fn detect(request: &Request, versions: &[Version]) -> Result<Version, HandshakeError> {
    // `HEAD` asks what `GET` would be answered (RFC 9110 §9.3.2), and that is 426; but it opens nothing.
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

/// Which of the drafts before hybi-04 the client speaks.
static DRAFT: HeaderName = HeaderName::from_static("sec-websocket-draft");

/// The version that the request asks for, spoken here or not.
fn announced(request: &Request) -> Result<Version, HandshakeError> {
    for (name, how) in [(&header::SEC_WEBSOCKET_VERSION, Announced::AsVersion), (&DRAFT, Announced::AsDraft)] {
        let mut named = request.headers().get_all(name).iter();
        let Some(number) = named.next() else { continue };
        // Digits, without a sign or a zero before them (RFC 6455 §4.3).
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
    // A key is younger than the header that should be beside it.
    if has(&header::SEC_WEBSOCKET_KEY) { Err(HandshakeError::Version) } else { Ok(Version::Hixie75) }
}

/// What is agreed upon of compression, by a server that wants `config`.
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

/// What a client offers is echoed into the answer, so what is no token must not come near it (RFC 6455 §4.1 item 10). The drafts took
/// any visible characters.
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

/// Whether the octet may stand in a token (RFC 9110 §5.6.2).
pub(super) fn is_token_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

/// An accepted handshake, as `on_open` gets it.
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

    /// Pairs of the query, split at `&` and the first `=`, not decoded.
    pub fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        self.request.query()
    }

    /// Pairs of the query, decoded. See [`Request::query_pairs`].
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.request.query_pairs()
    }

    /// First value of that name in the query, decoded.
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.request.query_value(name)
    }

    /// Segments of the path, decoded. See [`Request::path_segments`].
    pub fn path_segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.request.path_segments()
    }

    /// Value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.request.cookie(name)
    }

    /// The address of the peer, as it was at accept.
    pub fn peer_addr(&self) -> SocketAddr {
        self.request.peer_addr()
    }

    /// Whether the connection came over TLS, or through a proxy that took it off; see [`Server::secure_proxy`](crate::Server::secure_proxy).
    pub fn is_secure(&self) -> bool {
        self.request.is_secure()
    }

    /// What the TLS handshake has shown; `None` if the connection is plain.
    pub fn tls_info(&self) -> Option<&TlsInfo> {
        self.request.tls_info()
    }

    /// The version agreed upon.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The subprotocol agreed upon.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// What a server has answered: its status and headers. `None` on the server's own side.
    pub fn response(&self) -> Option<&Response<()>> {
        self.response.as_ref()
    }

    /// Notes what the server has answered.
    pub(crate) fn answered_by(&mut self, response: Response<()>) {
        self.response = Some(response);
    }

    /// The value that `on_request` has handed over by [`Upgrade::extension`](crate::Upgrade::extension). `None` if it handed over none of that type, and on a client.
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.extensions.get()
    }

    /// Takes over the values that `on_request` has handed over.
    pub(crate) fn extend(&mut self, extensions: Extensions) {
        self.extensions.extend(extensions);
    }

    /// What was agreed upon of compression.
    pub(crate) fn compression(&self) -> Option<&DeflateParameters> {
        self.compression.as_ref()
    }

    /// Appends the answer, with the headers that the application adds.
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

    /// How many bytes behind the request the rest of the answer depends on; none but in the drafts with a challenge.
    pub(crate) fn challenge_bytes(&self) -> usize {
        match self.version.traits().opening {
            Opening::Hixie76 => hixie76::THIRD_KEY_BYTES,
            Opening::Hixie75 | Opening::Hybi { .. } => 0,
        }
    }

    /// The rest of the answer, once those bytes have come.
    pub(crate) fn prove(&self, challenge: &[u8]) -> [u8; 16] {
        hixie76::proof(&self.request, challenge)
    }

    /// Hixie-75 has a name of its own; a client that used the newer one gets that back.
    fn subprotocol_header(&self) -> &'static str {
        let older = self.request.subprotocol_header() == "websocket-protocol";
        match self.version.traits().opening {
            Opening::Hixie75 if older => "WebSocket-Protocol",
            _ => "Sec-WebSocket-Protocol",
        }
    }

    /// Where the client believes to be connected, as hixie wants to hear it: with the scheme, the host and the target that it used.
    fn write_location(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.is_secure() { b"wss://" } else { b"ws://" });
        out.extend_from_slice(self.raw_header(header::HOST));
        let target = self.request.http().uri().path_and_query();
        out.extend_from_slice(target.map_or("/", PathAndQuery::as_str).as_bytes());
    }

    /// A header as it came; nothing if it did not come.
    fn raw_header(&self, name: HeaderName) -> &[u8] {
        self.request.headers().get(name).map_or(&[], HeaderValue::as_bytes)
    }
}

#[cfg(feature = "deflate")]
impl Handshake {
    /// How messages are compressed; `None` if they are not.
    pub fn deflate(&self) -> Option<DeflateParameters> {
        self.compression
    }
}

/// A request for `target` such as a client of that version makes, with more header lines, and the keys of that draft's examples.
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

/// What has to follow the head of the answer to a [`sample_request`].
pub(crate) fn sample_proof(version: Version) -> &'static [u8] {
    match version.traits().opening {
        Opening::Hixie76 => hixie76::SAMPLE_PROOF,
        Opening::Hixie75 | Opening::Hybi { .. } => &[],
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
