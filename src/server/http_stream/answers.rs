//! Responses of a connection, and its end.

use std::time::SystemTime;

use http::{Response, StatusCode};

use super::{HttpStream, State, body_sender::Sending};
use crate::{
    error::Error,
    http::{
        Request,
        connection::{Next, RequestError, ResponseHead},
        response,
    },
    protocol::ClosedBy,
    reactor::Stream,
    server::{
        reply::body::Body,
        site::{Refusal, Site},
    },
};

impl<S: Site> HttpStream<S> {
    /// Counts a WebSocket that was answered otherwise, and has the connection close: bytes of a handshake may follow
    /// the head.
    pub(super) fn count_refused(&mut self, stream: &mut Stream<'_>, request: &Request) {
        if request.names_websocket() {
            stream.hub.stats.refused += 1;
            self.http.close_after();
        }
    }

    /// Begins a response, and sends what there is room for.
    pub(super) fn respond(&mut self, stream: &mut Stream<'_>, response: Response<Body>) {
        let (parts, body) = response.into_parts();
        let head =
            ResponseHead { status: parts.status, content_type: None, headers: Some(&parts.headers), added: None };
        self.respond_with(stream, head, body);
    }

    pub(super) fn respond_with(&mut self, stream: &mut Stream<'_>, mut head: ResponseHead<'_>, body: Body) {
        self.pending = None;
        if head.status.is_informational() {
            log::error!(target: "ws_reactor::server", "{} does not complete a response", head.status);
            head.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        let length = body.length();
        let (id, http, site) = (stream.id(), &mut self.http, &self.site);
        let head = ResponseHead { added: self.added_headers.as_deref(), ..head };
        let mut next = None;
        stream.hub.append(id, 256, |out| {
            site.config().date.with(SystemTime::now(), |date| http.begin_response(head, length, date, out));
            let short = if http.takes_body() { body.as_short() } else { Some(&[][..]) };
            if let Some(bytes) = short {
                http.write_body(bytes, out);
                next = Some(http.end_response(out));
            }
        });
        match next {
            Some(next) => self.on_responded(stream, next),
            // The application has ended the connection.
            None if !stream.hub.is_alive(id) => self.state = State::Ended,
            None => {
                stream.pause();
                self.state = State::Responding(Box::new(body.0));
                self.send_body(stream);
            }
        }
    }

    /// Sends parts of the body of the present response.
    pub(super) fn send_body(&mut self, stream: &mut Stream<'_>) {
        let State::Responding(source) = &mut self.state else { return };
        match self.sender.send(source, &self.http, stream) {
            Sending::Waits => {}
            Sending::Complete => {
                let (http, mut next) = (&mut self.http, Next::Close);
                stream.hub.append(stream.id(), 8, |out| next = http.end_response(out));
                stream.resume();
                self.on_responded(stream, next);
            }
            Sending::Failed(error) => {
                // The client sees that the response is incomplete.
                self.state = State::Ended;
                stream.terminate();
                self.report(stream, &error);
            }
        }
    }

    /// A response is complete.
    pub(super) fn on_responded(&mut self, stream: &mut Stream<'_>, next: Next) {
        self.added_headers = None;
        match next {
            Next::Request => self.state = State::Head,
            Next::Close => self.end(stream),
        }
    }

    /// Answers with an error, closes, and reports the error.
    pub(super) fn fail(&mut self, stream: &mut Stream<'_>, status: StatusCode, text: &str, error: &Error) {
        self.http.close_after();
        stream.hub.stats.refused += 1;
        self.respond(stream, response::text(status, text).map(Body::from));
        self.report(stream, error);
    }

    /// The request is faulty.
    pub(super) fn refuse_request(&mut self, stream: &mut Stream<'_>, error: RequestError) {
        self.fail(stream, error.status(), &error.to_string(), &error.into());
    }

    /// The rules of the server refuse the request. `closes`: bytes of a handshake may follow the head.
    pub(super) fn refuse(&mut self, stream: &mut Stream<'_>, closes: bool, refusal: Refusal) {
        let Refusal { response, error } = refusal;
        if closes {
            self.http.close_after();
        }
        stream.hub.stats.refused += 1;
        self.respond(stream, response.map(Body::from));
        self.report(stream, &error);
    }

    /// A callback of the application panicked.
    pub(super) fn on_panic(&mut self, stream: &mut Stream<'_>, message: String) {
        self.fail(stream, StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error", &Error::Panic(message));
    }

    /// Reports an error, after the response: a panic of the callback has no effect on it.
    pub(super) fn report(&self, stream: &mut Stream<'_>, error: &Error) {
        log::debug!(target: "ws_reactor::server", "{}: {error}", stream.id());
        let peer = stream.peer_addr();
        let _ = stream.guard(|_| self.site.report(peer, error));
    }

    /// Ends our side, and lingers so that the response arrives.
    pub(super) fn end(&mut self, stream: &mut Stream<'_>) {
        self.state = State::Ended;
        self.pending = None;
        stream.hub.linger(stream.id(), self.site.config().linger_timeout, ClosedBy::Application);
    }
}
