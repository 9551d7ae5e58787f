//! A server's end of a stream: first HTTP, then, once the handshake is done, a WebSocket session.

use std::rc::Rc;

use http::{Response, StatusCode};

use super::{
    decision::{Accept, Decision},
    server::Server,
    session::Session,
};
use crate::{
    error::Error,
    http::{
        Request,
        head::{HeadError, HeadReader},
        response,
    },
    protocol::{
        CloseReason, ClosedBy, Deadline, Handshake, HandshakeError, Side, Version, encoder::Encoder, handshake,
    },
    reactor::{Phase, Stream, StreamHandler, TimerId},
};

/// The protocol of a server's connection.
pub(super) struct ServerStream {
    server: Rc<Server>,
    state: State,
}

enum State {
    /// The request is coming.
    Opening { reader: HeadReader, begun: bool },
    /// The handshake is done.
    Open(Box<Session>),
    /// The request was answered otherwise.
    Answered,
}

impl ServerStream {
    pub(super) fn new(server: Rc<Server>) -> Self {
        ServerStream { server, state: State::Opening { reader: HeadReader::default(), begun: false } }
    }

    /// A request has come whole: it becomes a session, or is answered otherwise.
    fn decide(&mut self, stream: &mut Stream<'_>, request: Request) {
        let version = handshake::detect(&request);
        let accept = match self.decision(&request, version.is_ok()) {
            Decision::Accept(accept) => accept,
            Decision::Respond(response) => return self.answer(stream, &response),
        };
        match version {
            Ok(version) => self.open(stream, request, version, accept),
            Err(error) => self.refuse(stream, error),
        }
    }

    fn decision(&self, request: &Request, is_websocket: bool) -> Decision {
        if let (Some(origins), Some(origin), true) = (&self.server.origins, request.origin(), is_websocket)
            && !origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
        {
            return Decision::text(StatusCode::FORBIDDEN, "this origin may not connect");
        }
        self.server.on_request.as_ref().map_or_else(Decision::accept, |decide| decide(request))
    }

    fn open(&mut self, stream: &mut Stream<'_>, request: Request, version: Version, accept: Accept) {
        let subprotocol = self.subprotocol(&request, accept.subprotocol);
        let handshake = Handshake::new(request, version, subprotocol);
        let handler = (self.server.factory)(&handshake);
        let mut answer = Vec::with_capacity(256);
        handshake.answer(&accept.headers, &mut answer);
        stream.write(&answer);
        stream.hub.speak(stream.id(), Encoder::new(version, Side::Server));
        log::debug!(target: "ws_reactor::websocket", "{} open: {} {}", stream.id(), handshake.path(), version);
        let limits = accept.limits.unwrap_or(self.server.settings.limits);
        self.state =
            State::Open(Box::new(Session::new(handler, version, limits, Rc::clone(&self.server), stream.hub.now())));
        if let State::Open(session) = &mut self.state {
            session.on_open(stream, &handshake);
        }
    }

    /// The subprotocol agreed upon: the application's choice, else the first of the server's that is offered.
    fn subprotocol(&self, request: &Request, chosen: Option<String>) -> Option<String> {
        let offered = |subprotocol: &str| request.subprotocols().any(|offer| offer == subprotocol);
        match chosen {
            Some(chosen) if offered(&chosen) => Some(chosen),
            Some(chosen) => {
                log::warn!(target: "ws_reactor::websocket", "subprotocol {chosen:?} was not offered and is left out");
                None
            }
            None => self.server.subprotocols.iter().find(|subprotocol| offered(subprotocol)).cloned(),
        }
    }

    fn refuse(&mut self, stream: &mut Stream<'_>, error: HandshakeError) {
        log::debug!(target: "ws_reactor::websocket", "{} refused: {error}", stream.id());
        self.answer(stream, &error.response());
    }

    fn refuse_head(&mut self, stream: &mut Stream<'_>, error: HeadError) {
        log::debug!(target: "ws_reactor::websocket", "{} refused: {error}", stream.id());
        self.answer_text(stream, error.status(), &error.to_string());
    }

    fn answer_text(&mut self, stream: &mut Stream<'_>, status: StatusCode, text: &str) {
        if let Decision::Respond(response) = Decision::text(status, text) {
            self.answer(stream, &response);
        }
    }

    /// Answers, ends our side, and stays long enough for the answer to arrive.
    fn answer(&mut self, stream: &mut Stream<'_>, response: &Response<Vec<u8>>) {
        let mut bytes = Vec::new();
        response::write(response, &mut bytes);
        stream.write(&bytes);
        stream.hub.stats.refused += 1;
        self.state = State::Answered;
        let deadline = stream.hub.after(self.server.settings.lingering);
        stream.hub.linger(stream.id(), deadline, ClosedBy::Application);
    }
}

impl StreamHandler for ServerStream {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        let deadline = stream.hub.after(self.server.settings.opening_deadline);
        stream.set_deadline(Some(deadline));
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let rest = match &mut self.state {
            State::Open(session) => return session.on_data(stream, data),
            State::Answered => return,
            State::Opening { reader, begun } => {
                *begun = true;
                match reader.read(data, &self.server.settings.head) {
                    Ok(None) => return,
                    Err(error) => return self.refuse_head(stream, error),
                    Ok(Some((head, used))) => {
                        let request = Request { head, peer_addr: stream.peer_addr(), secure: false };
                        self.decide(stream, request);
                        &mut data[used..]
                    }
                }
            }
        };
        // What came behind the request belongs to the WebSocket.
        if let State::Open(session) = &mut self.state
            && !rest.is_empty()
        {
            session.on_data(stream, rest);
        }
    }

    fn on_drain(&mut self, stream: &mut Stream<'_>) {
        if let State::Open(session) = &mut self.state {
            session.on_drain(stream);
        }
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, timer: TimerId) {
        if let State::Open(session) = &mut self.state {
            session.on_timer(stream, timer);
        }
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        match &mut self.state {
            State::Open(session) => session.on_deadline(stream),
            State::Opening { begun: true, .. } => {
                self.answer_text(stream, StatusCode::REQUEST_TIMEOUT, "the request took too long");
            }
            State::Opening { .. } | State::Answered => {
                stream.hub.cut_by(stream.id(), ClosedBy::Timeout(Deadline::Opening));
            }
        }
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        match &mut self.state {
            State::Open(session) => session.on_shutdown(stream),
            State::Opening { begun: true, .. } => {
                self.answer_text(stream, StatusCode::SERVICE_UNAVAILABLE, "shutting down");
            }
            State::Opening { .. } => stream.cut(),
            State::Answered => {}
        }
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        if let State::Open(session) = &mut self.state {
            session.on_error(stream, error);
        }
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        debug_assert_eq!(stream.hub.phase(stream.id()), Phase::Dead);
        if let State::Open(session) = &mut self.state {
            session.on_close(stream, reason);
        }
    }
}
