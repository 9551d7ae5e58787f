//! A server's end of a stream: HTTP first, then, after the handshake, a WebSocket session.

use std::{any::Any, io, mem, rc::Rc};

use http::{Method, Response, StatusCode};

use crate::{
    error::Error,
    http::{
        Request,
        head::{HeadError, HeadReader},
        origins::Origins,
        response,
    },
    protocol::{
        ClosedBy, Handshake, HandshakeError, MessageLimits, Side, TimeoutKind, Version,
        handshake::{
            self,
            server::{Challenge, is_offered},
        },
    },
    reactor::{PendingHandshake, Stream, StreamHandler, Wakeup},
    websocket::{
        config::{ServerConfig, WebSocketConfig},
        server::{
            Server,
            preamble::{PreambleScanner, Scan},
            reply::{Reply, ReplyKind, Upgrade, responder::Deferred},
        },
        session::{Session, SessionParams},
    },
};

/// The protocol of a server's connection.
pub(in crate::websocket) struct ServerStream {
    server: Rc<Server>,
    websocket: Rc<WebSocketConfig>,
    state: State,
    /// The method of the request, once its head is complete.
    method: Method,
    /// Counts as a pending handshake until the request is answered.
    pending: Option<PendingHandshake>,
}

enum State {
    /// The request head is incomplete.
    Opening { scanner: PreambleScanner, reader: HeadReader, begun: bool },
    /// The request is complete; the reply is deferred.
    Deferred(Box<Question>),
    /// The response head is sent; the challenge behind the request is incomplete (hixie-76 §1.3).
    Challenged(Box<Challenge>, MessageLimits),
    /// The request was answered with an HTTP response.
    Answered,
    /// The stream is handed over to a session.
    HandedOver,
}

struct Question {
    request: Request,
    version: Result<Version, HandshakeError>,
    deferred: Deferred,
}

impl ServerStream {
    pub(in crate::websocket) fn new(server: Rc<Server>, websocket: Rc<WebSocketConfig>) -> Self {
        let ServerConfig { flash_policy, healthcheck, .. } = server.config;
        let scanner = PreambleScanner::Nothing { flash_policy, healthcheck };
        let state = State::Opening { scanner, reader: HeadReader::default(), begun: false };
        ServerStream { server, websocket, state, method: Method::GET, pending: None }
    }

    /// Takes bytes of the request head, and returns how many were used.
    fn read_request(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let State::Opening { scanner, reader, begun } = &mut self.state else { return 0 };
        *begun = true;
        match scanner.read(data) {
            Scan::Http => {}
            Scan::Policy => return data.len(),
            Scan::Nonsense => {
                self.refuse_head(stream, HeadError::Malformed);
                return data.len();
            }
            Scan::Tls => {
                let error = io::Error::new(io::ErrorKind::InvalidData, "the client speaks TLS to a plain HTTP port");
                if stream.hub.may_warn() {
                    log::warn!(target: "ws_reactor::websocket", "{}: {error}", stream.id());
                }
                // In plain text: the client of this crate, for one, recognizes that and names the cause.
                self.answer_text(stream, StatusCode::BAD_REQUEST, &error.to_string());
                self.report(stream, &Error::Tls(error));
                return data.len();
            }
            Scan::Preamble(preamble) => {
                stream.hub.write_handshake(stream.id(), preamble.answer(), true);
                self.end(stream);
                return data.len();
            }
        }
        match reader.read(data, &self.server.config.head) {
            Ok(None) => data.len(),
            Err(error) => {
                self.refuse_head(stream, error);
                data.len()
            }
            Ok(Some((head, used))) => {
                let proxied = self.server.config.secure_proxy;
                let (peer_addr, secured) = (stream.peer_addr(), stream.tls_info());
                let request = Request { head, peer_addr, secured, proxied };
                match request.check_host() {
                    Ok(()) => self.decide(stream, request),
                    Err(error) => self.refuse_head(stream, error),
                }
                used
            }
        }
    }

    /// Takes bytes of the challenge, and returns how many were used.
    fn read_challenge(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> usize {
        let State::Challenged(challenge, _) = &mut self.state else { return 0 };
        let used = challenge.read(data);
        if challenge.is_complete() {
            self.open(stream);
        }
        used
    }

    /// The request is complete: accepts or answers it.
    fn decide(&mut self, stream: &mut Stream<'_>, request: Request) {
        self.method = request.method().clone();
        let version = handshake::detect(&request, &self.server.config.versions);
        if version.is_ok() && !self.may_connect(&request) {
            if stream.hub.may_warn() {
                let origin = request.origin().unwrap_or("that is not ASCII");
                log::warn!(target: "ws_reactor::websocket", "{}: origin {origin:?} is not allowed (Server::origins)", stream.peer_addr());
            }
            return self.refuse(stream, HandshakeError::Origin);
        }
        let reply = self.server.on_request.as_ref().map_or_else(Reply::upgrade, |reply| reply(&request, stream.hub));
        self.carry_out(stream, reply, request, version);
    }

    fn carry_out(
        &mut self,
        stream: &mut Stream<'_>,
        reply: Reply,
        request: Request,
        version: Result<Version, HandshakeError>,
    ) {
        match (reply.0, version) {
            (ReplyKind::Respond(response), _) => self.answer(stream, &response),
            (ReplyKind::Upgrade(upgrade), Ok(version)) => self.accept(stream, request, version, *upgrade),
            (ReplyKind::Upgrade(_), Err(error)) => self.refuse(stream, error),
            (ReplyKind::Later(deferred), _) => match deferred.wait(stream.hub.remote(), stream.id()) {
                Some(reply) => self.carry_out(stream, reply, request, version),
                None => {
                    // Bytes behind the request stay in the network until the reply.
                    stream.pause();
                    self.state = State::Deferred(Box::new(Question { request, version, deferred }));
                }
            },
        }
    }

    /// Carries out a deferred reply. `false` if none was given yet.
    fn carry_out_deferred(&mut self, stream: &mut Stream<'_>) -> bool {
        if let State::Deferred(question) = &self.state
            && let Some(reply) = question.deferred.take()
            && let State::Deferred(question) = mem::replace(&mut self.state, State::Answered)
        {
            stream.resume();
            self.carry_out(stream, reply, question.request, question.version);
            return true;
        }
        false
    }

    /// Returns `true` if the request's origin is allowed. A client without an `Origin` header is not a browser.
    fn may_connect(&self, request: &Request) -> bool {
        match request.origin() {
            Some(origin) => self.server.origins.allow(origin),
            None => !request.names_origin() || self.server.origins == Origins::Any,
        }
    }

    /// Sends the response head, and opens the session unless the client has to send a challenge first.
    fn accept(&mut self, stream: &mut Stream<'_>, request: Request, version: Version, upgrade: Upgrade) {
        let subprotocol = self.subprotocol(&request, upgrade.subprotocol);
        let config = self.server.deflate.as_ref().filter(|_| !upgrade.uncompressed);
        let compression = match handshake::compression(&request, version, config) {
            Ok(compression) => compression,
            Err(error) => return self.refuse(stream, error),
        };
        let mut handshake = Handshake::new(request, version, subprotocol, compression);
        handshake.extend(upgrade.extensions);
        let mut answer = Vec::with_capacity(256);
        handshake.answer(&upgrade.headers, &mut answer);
        let challenge = Challenge::new(handshake);
        let complete = challenge.is_complete();
        stream.hub.write_handshake(stream.id(), &answer, complete);
        let limits = upgrade.limits.unwrap_or(self.server.config.websocket.limits);
        self.state = State::Challenged(Box::new(challenge), limits);
        if complete {
            self.open(stream);
        }
    }

    /// The handshake is complete.
    fn open(&mut self, stream: &mut Stream<'_>) {
        let State::Challenged(challenge, _) = &self.state else { return };
        self.pending = None;
        if !stream.hub.is_alive(stream.id()) {
            // `on_request` may close connections, this one included.
            self.state = State::Answered;
            return;
        }
        let handler = (self.server.factory)(&challenge.handshake);
        let State::Challenged(challenge, limits) = mem::replace(&mut self.state, State::HandedOver) else { return };
        if let Some(proof) = challenge.proof() {
            stream.hub.write_handshake(stream.id(), &proof, true);
        }
        let handshake = challenge.handshake;
        let (config, deflate) = (&self.websocket, self.server.deflate.as_ref());
        let params = SessionParams { side: Side::Server, limits, config, deflate };
        let session = Session::begin(stream, handler, &handshake, params);
        stream.hand_over(session.open_on_connect(handshake));
    }

    /// The negotiated subprotocol: the application's choice, else the server's first one that is offered.
    fn subprotocol(&self, request: &Request, chosen: Option<String>) -> Option<String> {
        match chosen {
            Some(chosen) if is_offered(request, &chosen) => Some(chosen),
            Some(chosen) => {
                log::warn!(target: "ws_reactor::websocket", "subprotocol {chosen:?} was not offered and is left out");
                None
            }
            None => self.server.subprotocols.choose(request),
        }
    }

    fn refuse(&mut self, stream: &mut Stream<'_>, error: HandshakeError) {
        self.answer(stream, &error.response(&self.server.config.versions));
        self.report(stream, &Error::Handshake(error));
    }

    fn refuse_head(&mut self, stream: &mut Stream<'_>, error: HeadError) {
        self.answer_text(stream, error.status(), &error.to_string());
        self.report(stream, &Error::Head(error));
    }

    /// Reports an error that no handler receives to `Server::on_error`.
    fn report(&self, stream: &Stream<'_>, error: &Error) {
        log::debug!(target: "ws_reactor::websocket", "{} not opened: {error}", stream.id());
        if let Some(callback) = &self.server.on_error {
            callback(stream.peer_addr(), error);
        }
    }

    fn answer_text(&mut self, stream: &mut Stream<'_>, status: StatusCode, text: &str) {
        if let ReplyKind::Respond(response) = Reply::text(status, text).0 {
            self.answer(stream, &response);
        }
    }

    fn answer(&mut self, stream: &mut Stream<'_>, response: &Response<Vec<u8>>) {
        let mut bytes = Vec::new();
        response::write(response, &self.method, &mut bytes);
        stream.hub.write_handshake(stream.id(), &bytes, true);
        stream.hub.stats.refused += 1;
        self.end(stream);
    }

    /// Ends our side, and lingers so that the response arrives.
    fn end(&mut self, stream: &mut Stream<'_>) {
        self.state = State::Answered;
        self.pending = None;
        stream.hub.linger(stream.id(), self.server.config.linger_timeout, ClosedBy::Application);
    }
}

impl StreamHandler for ServerStream {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        let ServerConfig { opening_timeout, pending_handshakes, pending_handshakes_per_address, .. } =
            self.server.config;
        let address = stream.peer_addr().ip();
        self.pending = stream.hub.begin_handshake(address, pending_handshakes, pending_handshakes_per_address);
        if self.pending.is_none() {
            if stream.hub.may_warn() {
                log::warn!(target: "ws_reactor::websocket", "{address} rejected: too many handshakes are pending");
            }
            return stream.terminate();
        }
        stream.hub.reserve(stream.id(), Side::Server);
        let deadline = stream.hub.after(opening_timeout);
        stream.set_deadline(Some(deadline));
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let mut at = 0;
        // Bytes behind the request belong to the challenge, and bytes behind that to the WebSocket.
        while at < data.len() {
            at += match &mut self.state {
                State::Opening { .. } => self.read_request(stream, &data[at..]),
                State::Challenged(..) => self.read_challenge(stream, &data[at..]),
                State::Deferred(_) => {
                    // The application may have resumed the connection through the Hub.
                    stream.pause();
                    return stream.unread(data.len() - at);
                }
                State::Answered => return,
                State::HandedOver => return stream.unread(data.len() - at),
            };
        }
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: &dyn Any) {
        if event.is::<Wakeup>() {
            self.carry_out_deferred(stream);
        }
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        match &mut self.state {
            State::Opening { begun: true, .. } => {
                self.answer_text(stream, StatusCode::REQUEST_TIMEOUT, "the request took too long");
                self.report(stream, &Error::Timeout(TimeoutKind::Opening));
            }
            State::Deferred(_) => {
                // The reply may be given already, and its wake-up still wait in the command queue.
                if !self.carry_out_deferred(stream) {
                    self.answer_text(stream, StatusCode::SERVICE_UNAVAILABLE, "the decision took too long");
                    self.report(stream, &Error::Timeout(TimeoutKind::Opening));
                }
            }
            State::Opening { .. } | State::Challenged(..) | State::Answered | State::HandedOver => {
                stream.hub.terminate_with(stream.id(), ClosedBy::Timeout(TimeoutKind::Opening));
            }
        }
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        match &mut self.state {
            State::Opening { begun: true, .. } | State::Deferred(_) => {
                self.answer_text(stream, StatusCode::SERVICE_UNAVAILABLE, "shutting down");
            }
            State::Opening { .. } | State::Challenged(..) => stream.terminate(),
            State::Answered | State::HandedOver => {}
        }
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        match &mut self.state {
            State::Opening { begun: true, .. } | State::Deferred(_) | State::Challenged(..) => {
                self.report(stream, error);
            }
            // A failed TLS handshake is reported even before the first byte of a request.
            State::Opening { .. } if matches!(error, Error::Tls(_)) => self.report(stream, error),
            // An idle connection that ends is not an error, and an answered one was reported before.
            State::Opening { .. } | State::Answered | State::HandedOver => {}
        }
    }
}
