//! Endpoints of HTTP: the body of a request arrives, then the endpoint replies.

use std::{mem, rc::Rc};

use super::{HttpStream, State, body_receiver::BodyReceiver, pending_request::PendingRequest};
use crate::{
    http::connection::Step,
    reactor::Stream,
    server::site::{Endpoint, Found, Site, Target},
};

impl<S: Site> HttpStream<S> {
    /// Asks an endpoint of HTTP for its reply, or for the receiver of the body.
    pub(super) fn ask(
        &mut self,
        stream: &mut Stream<'_>,
        pending_request: Box<PendingRequest<S::Socket>>,
        endpoint: &Endpoint<S::Socket>,
    ) {
        let limit = endpoint.rules.max_body_bytes.unwrap_or(self.site.config().max_body_bytes);
        if let Err(error) = self.http.check_length(limit) {
            return self.refuse_request(stream, error);
        }
        let receiver = match &*endpoint.target {
            Target::Socket(_) => return,
            Target::Respond(_) => BodyReceiver::collecting(),
            Target::Upload(factory) => match stream.guard(|hub| factory(&pending_request.request, hub)) {
                Ok(Ok(upload)) => BodyReceiver::uploading(upload),
                Ok(Err(reply)) => return self.carry_out(stream, pending_request, reply),
                Err(message) => return self.on_panic(stream, message),
            },
            Target::Files(files) => {
                let response = files.response(&pending_request.request, endpoint.segments);
                return self.carry_out(stream, pending_request, response.into());
            }
        };
        let mut interim = Vec::new();
        if let Err(error) = self.http.want_body(limit, &mut interim) {
            return self.refuse_request(stream, error);
        }
        if !interim.is_empty() {
            stream.hub.write_handshake(stream.id(), &interim, true);
        }
        match self.http.step() {
            Step::Response => self.on_complete(stream, pending_request, endpoint, receiver),
            _ => self.state = State::Body(pending_request, receiver),
        }
    }

    /// A request is complete: asks its endpoint or its upload for the reply.
    pub(super) fn on_complete(
        &mut self,
        stream: &mut Stream<'_>,
        mut pending_request: Box<PendingRequest<S::Socket>>,
        endpoint: &Endpoint<S::Socket>,
        receiver: BodyReceiver,
    ) {
        match receiver.finish(stream, &mut pending_request.request, endpoint) {
            Ok(reply) => self.carry_out(stream, pending_request, reply),
            Err(message) => self.on_panic(stream, message),
        }
    }

    /// A part of the body of a request.
    pub(super) fn on_body(&mut self, stream: &mut Stream<'_>, data: &[u8]) {
        let State::Body(_, receiver) = &mut self.state else { return };
        match receiver.take(stream, data) {
            Ok(None) => self.body_waited |= stream.hub.is_reading_suspended(stream.id()),
            Ok(Some(reply)) => {
                let State::Body(pending_request, _) = mem::replace(&mut self.state, State::Head) else { return };
                self.carry_out(stream, pending_request, reply);
            }
            Err(message) => self.on_panic(stream, message),
        }
    }

    /// The body of a request is complete.
    pub(super) fn on_body_end(&mut self, stream: &mut Stream<'_>) {
        let (pending_request, receiver) = match mem::replace(&mut self.state, State::Head) {
            State::Body(pending_request, receiver) => (pending_request, receiver),
            other => return self.state = other,
        };
        let Found::Endpoint(endpoint) = &pending_request.found else { return };
        let endpoint = Rc::clone(endpoint);
        self.on_complete(stream, pending_request, &endpoint, receiver);
    }

    /// Hands the last byte of a body back if reading was suspended before the end of the body was passed on. Otherwise
    /// no input, and no callback, would follow once reading resumes.
    pub(super) fn repeat_last_byte(&mut self, is_used_up: bool) -> usize {
        self.is_repeated = is_used_up && matches!(self.state, State::Body(..)) && self.http.is_body_end_due();
        usize::from(self.is_repeated)
    }
}
