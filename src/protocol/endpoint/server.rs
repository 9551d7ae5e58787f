//! The opening handshake of a server.

use http::{HeaderMap, Method, Response};

use super::{Compression, Opened, UNKNOWN, shared_setters};
#[cfg(feature = "deflate")]
use crate::protocol::DeflateConfig;
use crate::{
    http::{HeadError, HeadLimits, Request, head::HeadReader, response},
    peer_addr::PeerAddr,
    protocol::{
        Handshake, HandshakeError, MessageLimits, Version,
        handshake::{
            self,
            server::{Challenge, Subprotocols, is_offered},
        },
        version::Side,
    },
};

/// The opening handshake of a server, for one connection.
///
/// Pass input to [`receive`](Self::receive). It returns the [`Request`], which the application answers by
/// [`accept`](Self::accept) or [`refuse`](Self::refuse), and then the [`Opened`] connection:
///
/// ```
/// use std::io::{self, Read, Write};
/// use ws_reactor::protocol::{Opened, ServerHandshake, ServerStep};
///
/// /// After success, the rest of `input` belongs to the decoder. After either outcome, `out` is to be sent: it may
/// /// have the end of the response, or the refusal.
/// fn open(
///     socket: &mut (impl Read + Write),
///     input: &mut Vec<u8>,
///     out: &mut Vec<u8>,
/// ) -> Result<Opened, Box<dyn std::error::Error>> {
///     let mut handshake = ServerHandshake::new().subprotocols(["chat"]);
///     loop {
///         let (used, step) = handshake.receive(input, out)?;
///         input.drain(..used);
///         match step {
///             Some(ServerStep::Request(request)) => handshake.accept(request, out)?,
///             Some(ServerStep::Open(opened)) => return Ok(opened),
///             None => {
///                 // Some clients send the rest of the request only after the start of the response.
///                 socket.write_all(out)?;
///                 out.clear();
///                 let mut buffer = [0; 4096];
///                 match socket.read(&mut buffer)? {
///                     0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
///                     length => input.extend_from_slice(&buffer[..length]),
///                 }
///             }
///         }
///     }
/// }
/// # let mut request = io::Cursor::new(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
/// #     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".to_vec());
/// # open(&mut request, &mut Vec::new(), &mut Vec::new())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Configure one value and clone it for each connection of a thread: the clones share their compressors. A connection
/// without context takeover then keeps nothing between messages; with context takeover it keeps one window for each
/// direction.
#[derive(Debug, Clone)]
#[must_use]
pub struct ServerHandshake {
    versions: Vec<Version>,
    subprotocols: Subprotocols,
    compression: Compression,
    head: HeadLimits,
    limits: MessageLimits,
    peer_addr: PeerAddr,
    secure: bool,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// The request head is incomplete.
    Head(HeadReader),
    /// The request was returned; the application decides.
    Asked,
    /// The request was accepted; the challenge behind the request may be incomplete (hixie-76 §1.3).
    Accepted(Box<Challenge>),
    /// The connection was returned, or the request was refused. A request that cannot be parsed has an error.
    Done(Option<HeadError>),
}

/// Progress of a [`ServerHandshake`].
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made twice in the life of a connection")]
pub enum ServerStep {
    /// The request is complete: accept or refuse it.
    Request(Request),
    /// The handshake is complete.
    Open(Opened),
}

impl ServerHandshake {
    /// Makes a handshake that accepts every version, without subprotocols and compression.
    pub fn new() -> Self {
        ServerHandshake {
            versions: Version::ALL.to_vec(),
            subprotocols: Subprotocols::Preferred(Vec::new()),
            compression: Compression::default(),
            head: HeadLimits::default(),
            limits: MessageLimits::default(),
            peer_addr: UNKNOWN,
            secure: false,
            state: State::Head(HeadReader::default()),
        }
    }

    /// Sets the versions that are accepted. Default [`Version::ALL`].
    pub fn versions(mut self, versions: impl IntoIterator<Item = Version>) -> Self {
        self.versions = versions.into_iter().collect();
        self
    }

    /// Sets the subprotocols, in order of preference. Default: none. RFC 6455 §1.9.
    ///
    /// The first one that the client offers is chosen.
    pub fn subprotocols<S: Into<String>>(mut self, subprotocols: impl IntoIterator<Item = S>) -> Self {
        self.subprotocols = Subprotocols::Preferred(subprotocols.into_iter().map(Into::into).collect());
        self
    }

    /// Accepts permessage-deflate. Default: no compression. RFC 7692.
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, config: DeflateConfig) -> Self {
        self.compression.config = Some(config);
        self
    }

    /// Sets whether the connection uses TLS. Default `false`. hixie-75 to hybi-03 answer with a `wss` location then.
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    shared_setters!();

    /// Takes input. Returns how many bytes were used, and the next step.
    ///
    /// Without a step all input was used, and more is needed. With a step, call again with the bytes that were not
    /// used; after [`ServerStep::Open`] they belong to the decoder. No bytes are used between [`ServerStep::Request`]
    /// and the decision, nor after the end of the handshake.
    ///
    /// # Errors
    ///
    /// The request cannot be parsed. The response, 400, 414 or 431, is appended to `out`: send it, and end the stream.
    /// Each further call returns the same error.
    pub fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Option<ServerStep>), HeadError> {
        match &mut self.state {
            State::Head(reader) => {
                let request = match reader.read(input, &self.head) {
                    Ok(None) => return Ok((input.len(), None)),
                    Ok(Some((head, used))) => {
                        let request = Request::new(head, self.peer_addr, None, self.secure);
                        request.check_host().map(|()| (used, request))
                    }
                    Err(error) => Err(error),
                };
                match request {
                    Ok((used, request)) => {
                        self.state = State::Asked;
                        Ok((used, Some(ServerStep::Request(request))))
                    }
                    Err(error) => {
                        self.state = State::Done(Some(error));
                        let refusal = response::text(error.status(), &error.to_string());
                        response::write(&refusal, &Method::GET, out);
                        Err(error)
                    }
                }
            }
            State::Accepted(challenge) => {
                let used = challenge.read(input);
                let Some(opened) = self.open(out) else { return Ok((used, None)) };
                Ok((used, Some(ServerStep::Open(opened))))
            }
            State::Done(Some(error)) => Err(*error),
            State::Asked | State::Done(None) => Ok((0, None)),
        }
    }

    /// Accepts the request: appends the response to `out`. Then call [`receive`](Self::receive) again.
    ///
    /// # Errors
    ///
    /// The request does not open a WebSocket. The response, for example 426 to an ordinary `GET`, is appended to `out`:
    /// send the response, and end the stream.
    ///
    /// # Panics
    ///
    /// If no request waits for a decision.
    pub fn accept(&mut self, request: Request, out: &mut Vec<u8>) -> Result<(), HandshakeError> {
        let subprotocol = self.subprotocols.choose(&request);
        self.respond(request, subprotocol, &HeaderMap::new(), out)
    }

    /// Accepts the request with a subprotocol and further response headers of the application's choice. The subprotocol
    /// replaces the choice by [`subprotocols`](Self::subprotocols); `None` chooses none.
    ///
    /// Left out are: a subprotocol that the client did not offer, and headers that belong to the handshake or to a
    /// body, such as `Connection`, `Content-Length` or `Sec-WebSocket-Accept`.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    ///
    /// # Panics
    ///
    /// As [`accept`](Self::accept).
    pub fn accept_with(
        &mut self,
        request: Request,
        subprotocol: Option<&str>,
        headers: &HeaderMap,
        out: &mut Vec<u8>,
    ) -> Result<(), HandshakeError> {
        let subprotocol = subprotocol.filter(|chosen| is_offered(&request, chosen)).map(str::to_owned);
        let mut fit = headers.clone();
        for name in headers.keys().filter(|name| handshake::is_reserved(name)) {
            fit.remove(name);
        }
        self.respond(request, subprotocol, &fit, out)
    }

    /// Refuses the request with any response. `Content-Length` and `Connection: close` are added. End the stream after
    /// the response.
    pub fn refuse(&mut self, request: &Request, response: &Response<Vec<u8>>, out: &mut Vec<u8>) {
        self.state = State::Done(None);
        response::write(response, request.method(), out);
    }

    fn respond(
        &mut self,
        request: Request,
        subprotocol: Option<String>,
        headers: &HeaderMap,
        out: &mut Vec<u8>,
    ) -> Result<(), HandshakeError> {
        assert!(matches!(self.state, State::Asked), "no request waits for a decision");
        let agreed = handshake::detect(&request, &self.versions).and_then(|version| {
            let compression = handshake::compression(&request, version, self.compression.config.as_ref())?;
            Ok((version, compression))
        });
        match agreed {
            Ok((version, compression)) => {
                let handshake = Handshake::new(request, version, subprotocol, compression);
                handshake.answer(headers, out);
                self.state = State::Accepted(Box::new(Challenge::new(handshake)));
                Ok(())
            }
            Err(error) => {
                self.refuse(&request, &error.response(&self.versions), out);
                Err(error)
            }
        }
    }

    /// The connection, once the challenge is complete. Appends the proof.
    fn open(&mut self, out: &mut Vec<u8>) -> Option<Opened> {
        match std::mem::replace(&mut self.state, State::Done(None)) {
            State::Accepted(challenge) if challenge.is_complete() => {
                out.extend(challenge.proof().into_iter().flatten());
                Some(Opened::new(challenge.handshake, Side::Server, self.limits, None, &self.compression))
            }
            unfinished => {
                self.state = unfinished;
                None
            }
        }
    }
}

impl Default for ServerHandshake {
    fn default() -> Self {
        ServerHandshake::new()
    }
}
