//! The client side of the opening handshake: writes the request and checks the response.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};

use crate::{
    http::{
        HeadError, HeadLimits,
        head::{HeadReader, MOST_INFORMATIONAL},
        response,
        token::is_token_octet,
    },
    protocol::{
        deflate::{self, DeflateConfig, DeflateParameters},
        handshake::{hixie76, hybi},
        mask::Masks,
        version::{Announced, Opening, Version},
    },
};

/// Why a client rejects the server's response. RFC 6455 §4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseError {
    /// The head of the response cannot be parsed.
    Head(HeadError),
    /// The server answered with a TLS alert: the URL says `ws`, and the port expects `wss`.
    Tls,
    /// The response has another status than 101, or more than 8 interim responses (1xx) came first.
    ///
    /// `on_error` receives this variant only for interim responses; other statuses arrive as
    /// [`Error::Refused`](crate::Error::Refused).
    Status(StatusCode),
    /// The response is not HTTP/1.1. Other versions have no upgrades.
    HttpVersion,
    /// The `Upgrade` header is not `websocket`.
    Upgrade,
    /// The `Connection` header does not contain `upgrade`.
    Connection,
    /// `Sec-WebSocket-Accept` is missing or does not match the key that was sent. The response may belong to another
    /// request.
    Accept,
    /// The 16 bytes after the head do not match the keys that were sent. hixie-76 §5.2.
    Proof,
    /// The location or origin in the response differs from the request. Checked up to hybi-03. hixie-76 §4.1.
    Location,
    /// The server chose a subprotocol that was not offered, or more than one.
    Subprotocol,
    /// The server answered with an empty `Sec-WebSocket-Protocol`. See
    /// [`ClientConfig::lenient_subprotocol`](field@crate::ClientConfig::lenient_subprotocol). RFC 6455 §4.1.
    EmptySubprotocol,
    /// The server chose an extension that was not offered or chose one twice, or the header is malformed.
    Extension,
    /// A parameter of permessage-deflate is unknown, repeated, or has an illegal value. RFC 7692 §7.1. Holds the name
    /// of the parameter, or `unknown`.
    ExtensionParameter(&'static str),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ResponseError::Head(_) => "the response cannot be read",
            ResponseError::Tls => "the server speaks TLS; the URL may need the scheme wss",
            ResponseError::Status(status) => return write!(formatter, "the server responded with {status}"),
            ResponseError::HttpVersion => "the response is not HTTP/1.1",
            ResponseError::Upgrade => "the response does not upgrade to a WebSocket",
            ResponseError::Connection => "the Connection header of the response does not contain upgrade",
            ResponseError::Accept => "the Sec-WebSocket-Accept of the response is missing or does not match the key",
            ResponseError::Proof => "the challenge response does not match the keys",
            ResponseError::Location => "the response names another location or origin",
            ResponseError::Subprotocol => "the server chose a subprotocol that was not offered",
            ResponseError::EmptySubprotocol => "the server chose an empty subprotocol (lenient_subprotocol accepts it)",
            ResponseError::Extension => {
                "the server chose an extension that was not offered or is repeated, or the header is malformed"
            }
            ResponseError::ExtensionParameter(name) => {
                return write!(formatter, "the server's permessage-deflate has a bad parameter: {name}");
            }
        })
    }
}

impl std::error::Error for ResponseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let ResponseError::Head(error) = self { Some(error) } else { None }
    }
}

/// The contents of a client's request.
#[derive(Debug)]
pub(crate) struct ClientRequest<'a> {
    pub(crate) version: Version,
    /// Path and query.
    pub(crate) target: &'a str,
    /// The host, with its port unless that is the default port.
    pub(crate) authority: &'a str,
    /// Replaces the authority in `Host`, if the application has set one.
    pub(crate) host: Option<&'a HeaderValue>,
    /// The whole URL, without credentials. A server of hixie repeats the URL.
    pub(crate) location: &'a str,
    pub(crate) origin: Option<&'a HeaderValue>,
    pub(crate) subprotocols: &'a [String],
    /// An empty header of the response counts as no subprotocol.
    pub(crate) lenient_subprotocol: bool,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) deflate: Option<&'a DeflateConfig>,
}

/// What the response must prove.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ExpectedReply {
    /// Nothing (hixie-75).
    Nothing,
    /// Octets after the head (hixie-76).
    Behind([u8; PROOF_BYTES]),
    /// `Sec-WebSocket-Accept` (RFC 6455 §4.1).
    Accept(String),
}

/// Length of the proof after the head.
pub(crate) const PROOF_BYTES: usize = 16;

/// The result of the negotiation.
#[derive(Debug, Default)]
pub(crate) struct Negotiated {
    pub(crate) subprotocol: Option<String>,
    pub(crate) compression: Option<DeflateParameters>,
}

/// Reads the head of the response.
#[derive(Debug, Default)]
pub(crate) struct ResponseReader {
    reader: HeadReader,
    /// Number of interim responses (1xx) so far.
    interim: usize,
}

impl ResponseReader {
    /// Takes input. Returns how much was used, and the response once its head is complete. Interim responses are
    /// skipped (RFC 9110 §15.2).
    pub(crate) fn read(
        &mut self,
        input: &[u8],
        limits: &HeadLimits,
    ) -> Result<(usize, Option<Response<()>>), ResponseError> {
        if self.reader.is_empty() && is_tls_alert(input) {
            return Err(ResponseError::Tls);
        }
        let Some((response, used)) = self.reader.read_response(input, limits).map_err(ResponseError::Head)? else {
            return Ok((input.len(), None));
        };
        let status = response.status();
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok((used, Some(response)));
        }
        self.interim += 1;
        self.reader = HeadReader::default();
        if self.interim > MOST_INFORMATIONAL { Err(ResponseError::Status(status)) } else { Ok((used, None)) }
    }
}

/// Returns `true` if `data` starts with a TLS alert, the response of a `wss` server to plain HTTP (RFC 8446 §5.1, §6).
/// The first byte decides, so that the result is the same in any pieces: no HTTP response starts with it.
fn is_tls_alert(data: &[u8]) -> bool {
    data.first() == Some(&0x15)
}

/// Reads the proof behind the response head (hixie-76 §1.3).
#[derive(Debug)]
pub(crate) struct ProofReader {
    expected: [u8; PROOF_BYTES],
    received: usize,
}

impl ProofReader {
    pub(crate) fn new(expected: [u8; PROOF_BYTES]) -> Self {
        ProofReader { expected, received: 0 }
    }

    /// Takes input. Returns how much was used.
    pub(crate) fn read(&mut self, input: &[u8]) -> Result<usize, ResponseError> {
        let left = &self.expected[self.received..];
        let used = input.len().min(left.len());
        if input[..used] != left[..used] {
            return Err(ResponseError::Proof);
        }
        self.received += used;
        Ok(used)
    }

    /// Returns `true` once the whole proof has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.received == PROOF_BYTES
    }
}

impl ClientRequest<'_> {
    /// Appends the request, with keys from `masks`, and returns what the response must prove.
    pub(crate) fn write(&self, masks: &mut Masks, out: &mut Vec<u8>) -> ExpectedReply {
        let hixie = !matches!(self.version.traits().opening, Opening::Hybi { .. });
        out.extend_from_slice(format!("GET {} HTTP/1.1\r\n", self.target).as_bytes());
        let line = |name: &str, value: &[u8], out: &mut Vec<u8>| response::write_line(name, value, out);
        // hixie requires these lines first, in this order and spelling.
        line("Upgrade", if hixie { b"WebSocket" } else { b"websocket" }, out);
        line("Connection", b"Upgrade", out);
        line("Host", self.host.map_or(self.authority.as_bytes(), HeaderValue::as_bytes), out);
        if let Some(origin) = self.origin() {
            let early = matches!(self.version.number(), 5..=8);
            line(if early { "Sec-WebSocket-Origin" } else { "Origin" }, origin.as_bytes(), out);
        }
        if !self.subprotocols.is_empty() {
            let name = if self.is_hixie_75() { "WebSocket-Protocol" } else { "Sec-WebSocket-Protocol" };
            line(name, self.subprotocols.join(", ").as_bytes(), out);
        }
        let number = self.version.number().to_string();
        match self.version.traits().announced {
            Announced::AsVersion => line("Sec-WebSocket-Version", number.as_bytes(), out),
            Announced::AsDraft => line("Sec-WebSocket-Draft", number.as_bytes(), out),
            Announced::ByNothing | Announced::ByKeys => {}
        }
        if let Some(config) = self.deflate {
            line("Sec-WebSocket-Extensions", deflate::offer(config).as_bytes(), out);
        }
        response::write_headers(self.headers, out);
        match self.version.traits().opening {
            Opening::Hixie75 => {
                out.extend_from_slice(b"\r\n");
                ExpectedReply::Nothing
            }
            Opening::Hixie76 => {
                let (first, second) = (hixie76::Key::new(masks), hixie76::Key::new(masks));
                line("Sec-WebSocket-Key1", first.text.as_bytes(), out);
                line("Sec-WebSocket-Key2", second.text.as_bytes(), out);
                out.extend_from_slice(b"\r\n");
                let mut third = [0; hixie76::THIRD_KEY_BYTES];
                masks.fill(&mut third);
                out.extend_from_slice(&third);
                ExpectedReply::Behind(hixie76::proof_of([first.number, second.number], &third))
            }
            Opening::Hybi { .. } => {
                let mut nonce = [0; 16];
                masks.fill(&mut nonce);
                let key = STANDARD.encode(nonce);
                line("Sec-WebSocket-Key", key.as_bytes(), out);
                out.extend_from_slice(b"\r\n");
                ExpectedReply::Accept(hybi::accept(key.as_bytes()))
            }
        }
    }

    /// Checks the head of the response and returns the negotiated values. Every field is checked (RFC 6455 §4.1).
    pub(crate) fn check(&self, response: &Response<()>, proof: &ExpectedReply) -> Result<Negotiated, ResponseError> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ResponseError::Status(response.status()));
        }
        if response.version() != http::Version::HTTP_11 {
            return Err(ResponseError::HttpVersion);
        }
        let headers = response.headers();
        let one = |name: &str| only(headers, name);
        let mut upgrades = list(headers, &header::UPGRADE).peekable();
        if upgrades.peek().is_none() || !upgrades.all(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
            return Err(ResponseError::Upgrade);
        }
        if !list(headers, &header::CONNECTION).any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
            return Err(ResponseError::Connection);
        }
        match proof {
            ExpectedReply::Accept(accept) if one("sec-websocket-accept") != Some(accept.as_bytes()) => {
                return Err(ResponseError::Accept);
            }
            ExpectedReply::Accept(_) => {}
            ExpectedReply::Nothing => self.check_location(one("websocket-location"), one("websocket-origin"))?,
            ExpectedReply::Behind(_) => {
                self.check_location(one("sec-websocket-location"), one("sec-websocket-origin"))?;
            }
        }
        Ok(Negotiated { subprotocol: self.subprotocol(headers)?, compression: self.compression(headers)? })
    }

    fn check_location(&self, location: Option<&[u8]>, origin: Option<&[u8]>) -> Result<(), ResponseError> {
        let same = location == Some(self.location.as_bytes()) && origin == self.origin().as_ref().map(String::as_bytes);
        if same { Ok(()) } else { Err(ResponseError::Location) }
    }

    /// The origin. hixie clients must send one.
    fn origin(&self) -> Option<String> {
        let given = self.origin.map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned());
        let needed = !matches!(self.version.traits().opening, Opening::Hybi { .. });
        let scheme = if self.location.starts_with("wss:") { "https" } else { "http" };
        given.or_else(|| needed.then(|| format!("{scheme}://{}", self.authority)))
    }

    fn is_hixie_75(&self) -> bool {
        self.version.traits().opening == Opening::Hixie75
    }

    /// The chosen subprotocol, which must be one of those offered.
    fn subprotocol(&self, headers: &HeaderMap) -> Result<Option<String>, ResponseError> {
        let name = if self.is_hixie_75() { "websocket-protocol" } else { "sec-websocket-protocol" };
        if !headers.contains_key(name) {
            return Ok(None);
        }
        let chosen = only(headers, name).ok_or(ResponseError::Subprotocol)?;
        if chosen.is_empty() {
            return if self.lenient_subprotocol { Ok(None) } else { Err(ResponseError::EmptySubprotocol) };
        }
        let offered = self.subprotocols.iter().find(|offered| offered.as_bytes() == chosen);
        offered.cloned().map(Some).ok_or(ResponseError::Subprotocol)
    }

    fn compression(&self, headers: &HeaderMap) -> Result<Option<DeflateParameters>, ResponseError> {
        let mut lines = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().map(HeaderValue::as_bytes).peekable();
        match (self.deflate, lines.peek()) {
            (_, None) => Ok(None),
            (None, Some(_)) => Err(ResponseError::Extension),
            (Some(config), Some(_)) => deflate::take_answer(lines, config)
                .map_err(|bad| bad.parameter().map_or(ResponseError::Extension, ResponseError::ExtensionParameter)),
        }
    }
}

/// The members of a list, over all lines of the header (RFC 9110 §5.3).
fn list<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(name).into_iter().flat_map(|line| line.as_bytes().split(|octet| *octet == b','));
    lines.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// The value of a header that occurs exactly once.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

/// The first subprotocol that cannot be offered: not a token, or repeated (RFC 6455 §4.1).
pub(crate) fn unfit_subprotocol(subprotocols: &[String]) -> Option<&String> {
    let is_token = |text: &str| !text.is_empty() && text.bytes().all(is_token_octet);
    let mut indexed = subprotocols.iter().enumerate();
    indexed.find(|(index, text)| !is_token(text) || subprotocols[..*index].contains(text)).map(|(_, text)| text)
}

/// Parses a request that this client has written, so that the application can read it. Headers that are secret or
/// marked as sensitive are not shown by `Debug`.
pub(crate) fn parse_written(written: &[u8], given: &HeaderMap) -> Result<Request<()>, HeadError> {
    let limits = HeadLimits { max_bytes: written.len() * 2, max_headers: 256 };
    let parsed = HeadReader::default().read(written, &limits)?;
    let (mut request, _) = parsed.ok_or(HeadError::Malformed)?;
    for (name, value) in request.headers_mut() {
        let secret = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION].contains(name);
        if secret || given.get_all(name).iter().any(HeaderValue::is_sensitive) {
            value.set_sensitive(true);
        }
    }
    Ok(request)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
