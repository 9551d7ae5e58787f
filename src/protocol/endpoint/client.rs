//! The opening handshake of a client.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

#[cfg(feature = "deflate")]
use crate::protocol::DeflateConfig;
use crate::{
    http::{HeadError, HeadLimits, Request, credentials::basic},
    peer_addr::PeerAddr,
    protocol::{
        Handshake, MessageLimits, ResponseError, Version,
        endpoint::{Compression, Opened, UNKNOWN, shared_setters},
        handshake::{
            client::{ClientRequest, ExpectedReply, ProofReader, ResponseReader, parse_written, unfit_subprotocol},
            is_reserved,
        },
        mask::Masks,
        version::Side,
    },
    url::{Url, UrlError},
};

/// The opening handshake of a client, for one connection.
///
/// 1. Connect to [`host`](Self::host) and [`port`](Self::port), by TLS if [`is_secure`](Self::is_secure).
/// 2. [`send`](Self::send) writes the request.
/// 3. [`PendingResponse::receive`] returns the [`Opened`] connection.
///
/// See the [module](crate::protocol) for an example.
#[derive(Debug, Clone)]
#[must_use]
pub struct ClientHandshake {
    url: Url,
    version: Version,
    subprotocols: Vec<String>,
    lenient_subprotocol: bool,
    headers: HeaderMap,
    host: Option<HeaderValue>,
    origin: Option<HeaderValue>,
    compression: Compression,
    head: HeadLimits,
    limits: MessageLimits,
    peer_addr: PeerAddr,
}

impl ClientHandshake {
    /// Makes the handshake for a URL with the scheme `ws` or `wss`, in RFC 6455, without subprotocols and compression.
    ///
    /// User and password of the URL are sent as `Authorization: Basic`.
    ///
    /// # Errors
    ///
    /// The URL is invalid, or names a Unix socket ([`UrlError::Scheme`]).
    pub fn new(url: &str) -> Result<Self, UrlError> {
        let url = Url::parse(url)?;
        if url.socket.is_some() {
            return Err(UrlError::Scheme);
        }
        Ok(ClientHandshake {
            url,
            version: Version::Rfc6455,
            subprotocols: Vec::new(),
            lenient_subprotocol: false,
            headers: HeaderMap::new(),
            host: None,
            origin: None,
            compression: Compression::default(),
            head: HeadLimits::default(),
            limits: MessageLimits::default(),
            peer_addr: UNKNOWN,
        })
    }

    /// Sets the protocol version. Default [`Version::Rfc6455`].
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sets the subprotocols to offer, in order of preference. Default: none. RFC 6455 §1.9.
    pub fn subprotocols<S: Into<String>>(mut self, subprotocols: impl IntoIterator<Item = S>) -> Self {
        self.subprotocols = subprotocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets whether an empty `Sec-WebSocket-Protocol` header in the response counts as no header: no subprotocol is
    /// chosen. Default `false`: the response is rejected with [`ResponseError::Subprotocol`].
    ///
    /// For servers that send the header without a value instead of leaving it out. A subprotocol that was not offered
    /// is rejected with either setting. RFC 6455 §4.1.
    pub fn lenient_subprotocol(mut self, lenient: bool) -> Self {
        self.lenient_subprotocol = lenient;
        self
    }

    /// Adds a header to the request. `Host` and `Origin` replace the default values.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        match name {
            header::ORIGIN => self.origin = Some(value),
            header::HOST => self.host = Some(value),
            _ => _ = self.headers.append(name, value),
        }
        self
    }

    /// Offers permessage-deflate. Default: no compression. RFC 7692. Versions before [`Version::Rfc6455`] are not
    /// compressed.
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, config: DeflateConfig) -> Self {
        self.compression.config = Some(config);
        self
    }

    shared_setters!();

    /// Host of the URL: a name or an address, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.url.host
    }

    /// Zone of a link-local IPv6 address, such as `eth0`. RFC 4007 §11.
    pub fn zone(&self) -> Option<&str> {
        self.url.zone.as_deref()
    }

    /// Port of the URL. Default 80, for `wss` 443.
    pub fn port(&self) -> u16 {
        self.url.port
    }

    /// Returns `true` if the scheme of the URL is `wss`.
    pub fn is_secure(&self) -> bool {
        self.url.secure
    }

    /// Appends the request to `out`.
    ///
    /// `random` fills a buffer with unpredictable bytes: for the keys of the request, and for the masking keys of the
    /// connection. RFC 6455 §10.3. It is called for 1 KiB at a time.
    ///
    /// # Errors
    ///
    /// A subprotocol or a header cannot be sent. Nothing is appended.
    pub fn send(
        self,
        random: impl FnMut(&mut [u8]) + 'static,
        out: &mut Vec<u8>,
    ) -> Result<PendingResponse, RequestError> {
        if let Some(unfit) = unfit_subprotocol(&self.subprotocols) {
            return Err(RequestError::Subprotocol(unfit.clone()));
        }
        if let Some(reserved) = self.headers.keys().find(|name| is_reserved(name)) {
            return Err(RequestError::Header(reserved.clone()));
        }
        let mut masks = Masks::new(Box::new(random));
        let mut written = Vec::with_capacity(512);
        let proof = self.ask(|ask| ask.write(&mut masks, &mut written));
        let head = parse_written(&written, &self.headers).map_err(RequestError::Head)?;
        out.extend_from_slice(&written);
        let request = Request::new(head, self.peer_addr, None, self.url.secure).into();
        let state = State::Head { reader: ResponseReader::default(), request, proof };
        Ok(PendingResponse { client: self, masks: Some(masks), response: None, state })
    }

    fn ask<T>(&self, with: impl FnOnce(&ClientRequest<'_>) -> T) -> T {
        let (authority, location) = (self.url.authority(), self.url.location());
        let mut headers = self.headers.clone();
        if let Some(credentials) = &self.url.credentials {
            headers.entry(header::AUTHORIZATION).or_insert_with(|| basic(credentials));
        }
        with(&ClientRequest {
            version: self.version,
            target: &self.url.target,
            authority: &authority,
            location: &location,
            host: self.host.as_ref(),
            origin: self.origin.as_ref(),
            subprotocols: &self.subprotocols,
            lenient_subprotocol: self.lenient_subprotocol,
            headers: &headers,
            deflate: self.compression.config.as_ref().filter(|_| self.version.traits().compressible),
        })
    }
}

/// Why a client's request cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// A subprotocol is not a token, or is offered twice. RFC 6455 §4.1.
    Subprotocol(String),
    /// The header belongs to the handshake: `Upgrade`, `Connection`, `Content-Length`, `Transfer-Encoding`,
    /// `Sec-WebSocket-*`, `WebSocket-Origin`, `WebSocket-Location`, `WebSocket-Protocol`.
    Header(HeaderName),
    /// The request is not valid. For example, it has more than 256 headers.
    Head(HeadError),
}

impl fmt::Display for RequestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Subprotocol(name) => {
                write!(formatter, "subprotocol {name:?} is not a token, or is offered twice")
            }
            RequestError::Header(name) => write!(formatter, "header {name} belongs to the handshake"),
            RequestError::Head(_) => formatter.write_str("the request is not valid"),
        }
    }
}

impl std::error::Error for RequestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let RequestError::Head(error) = self { Some(error) } else { None }
    }
}

/// A request that was sent, and the response as far as it has arrived.
#[derive(Debug)]
#[must_use = "the response is read by `receive`"]
pub struct PendingResponse {
    client: ClientHandshake,
    /// `None` once the connection was returned.
    masks: Option<Masks>,
    response: Option<Response<()>>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The response head is incomplete.
    Head { reader: ResponseReader, request: Box<Request>, proof: ExpectedReply },
    /// The proof behind the head is incomplete (hixie-76 §1.3).
    Proof { reader: ProofReader, handshake: Box<Handshake> },
    /// The connection was returned, or the response was rejected with this error.
    Done(Option<ResponseError>),
}

impl PendingResponse {
    /// Takes the response. Returns how many bytes were used, and the connection once the response is complete.
    ///
    /// Without a connection all input was used, and more is needed. With a connection, bytes that were not used belong
    /// to the decoder. After the connection was returned, no bytes are used, and no connection is returned.
    ///
    /// # Errors
    ///
    /// The response does not open a WebSocket: end the stream. Each further call returns the same error. For
    /// [`ResponseError::Status`], [`response`](Self::response) has the headers, unless the status is an interim one.
    pub fn receive(&mut self, input: &[u8]) -> Result<(usize, Option<Opened>), ResponseError> {
        let mut at = 0;
        loop {
            match self.read(&input[at..]) {
                // An interim response, or the head before a proof.
                Ok((used, None)) if used > 0 && at + used < input.len() => at += used,
                Ok((used, opened)) => return Ok((at + used, opened)),
                Err(error) => {
                    self.state = State::Done(Some(error));
                    return Err(error);
                }
            }
        }
    }

    /// Status and headers of a response that was refused. `None` before, and after the connection opened.
    pub fn response(&self) -> Option<&Response<()>> {
        self.response.as_ref()
    }

    /// Takes one part of the response.
    fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Opened>), ResponseError> {
        match &mut self.state {
            State::Done(Some(error)) => Err(*error),
            State::Done(None) => Ok((0, None)),
            State::Head { reader, .. } => match reader.read(input, &self.client.head)? {
                (used, None) => Ok((used, None)),
                (used, Some(response)) => Ok((used, self.on_response(response)?)),
            },
            State::Proof { reader, .. } => {
                let used = reader.read(input)?;
                let complete = reader.is_complete();
                match std::mem::replace(&mut self.state, State::Done(None)) {
                    State::Proof { handshake, .. } if complete => Ok((used, self.open(*handshake))),
                    unfinished => {
                        self.state = unfinished;
                        Ok((used, None))
                    }
                }
            }
        }
    }

    /// Checks the head of the response.
    fn on_response(&mut self, response: Response<()>) -> Result<Option<Opened>, ResponseError> {
        let State::Head { request, proof, .. } = std::mem::replace(&mut self.state, State::Done(None)) else {
            return Ok(None);
        };
        let agreed = match self.client.ask(|ask| ask.check(&response, &proof)) {
            Ok(agreed) => agreed,
            Err(error) => {
                self.response = Some(response);
                return Err(error);
            }
        };
        let mut handshake = Handshake::new(*request, self.client.version, agreed.subprotocol, agreed.compression);
        handshake.answered_by(response);
        match proof {
            ExpectedReply::Nothing | ExpectedReply::Accept(_) => Ok(self.open(handshake)),
            ExpectedReply::Behind(expected) => {
                self.state = State::Proof { reader: ProofReader::new(expected), handshake: Box::new(handshake) };
                Ok(None)
            }
        }
    }

    fn open(&mut self, handshake: Handshake) -> Option<Opened> {
        let masks = self.masks.take()?;
        Some(Opened::new(handshake, Side::Client, self.client.limits, Some(masks), &self.client.compression))
    }
}
