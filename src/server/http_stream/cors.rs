//! Requests of pages of other origins.

use std::{mem, rc::Rc};

use http::{Method, Response, StatusCode, header};

use super::HttpStream;
use crate::{
    http::{
        Request,
        cors::{Cors, is_preflight},
        response,
    },
    reactor::Stream,
    server::{
        reply::body::Body,
        site::{Found, Site},
    },
};

impl<S: Site> HttpStream<S> {
    /// The policy of the route of a request.
    fn cors(&self, found: &Found<S::Socket>) -> Option<Rc<Cors>> {
        match found {
            Found::Endpoint(endpoint) => endpoint.rules.cors.clone(),
            Found::Reply(_) => self.site.cors().cloned(),
        }
    }

    /// Answers a preflight request, by the policy of the route for the method that it asks about. `false` if it is not
    /// one, or if there is no policy.
    pub(super) fn answers_preflight(&mut self, stream: &mut Stream<'_>, request: &mut Request) -> bool {
        if !is_preflight(request) || request.require_host().is_err() {
            return false;
        }
        let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
        let Some(asked) = asked.and_then(|method| Method::from_bytes(method.as_bytes()).ok()) else { return false };
        let own = mem::replace(request.head.method_mut(), asked);
        let found = self.site.find(request);
        *request.head.method_mut() = own;
        let Some(cors) = self.cors(&found) else { return false };
        match cors.preflight_headers(request) {
            Some(headers) => {
                let mut answer = Response::new(Body::empty());
                (*answer.status_mut(), *answer.headers_mut()) = (StatusCode::NO_CONTENT, headers);
                self.respond(stream, answer);
            }
            None => self.refuse_origin(stream, request),
        }
        true
    }

    /// Notes the headers that a policy adds to the response. `false` if the request was refused.
    pub(super) fn applies_cors(
        &mut self,
        stream: &mut Stream<'_>,
        request: &Request,
        found: &Found<S::Socket>,
    ) -> bool {
        let Some(cors) = self.cors(found) else { return true };
        self.added_headers = Some(Box::new(cors.response_headers(request)));
        // A WebSocket is checked by its own rules.
        let is_socket = matches!(found, Found::Endpoint(endpoint) if endpoint.socket().is_some());
        let is_refused = cors.refuses(request) && !is_socket;
        if is_refused {
            self.refuse_origin(stream, request);
        }
        !is_refused
    }

    fn refuse_origin(&mut self, stream: &mut Stream<'_>, request: &Request) {
        if stream.hub.may_warn() {
            let (peer, origin) = (request.peer_addr(), request.origin().unwrap_or("that is not ASCII"));
            log::warn!(target: "ws_reactor::server", "{peer}: origin {origin:?} is not allowed (Routes::cors)");
        }
        stream.hub.stats.refused += 1;
        self.respond(stream, response::text(StatusCode::FORBIDDEN, "the origin is not allowed").map(Body::from));
    }
}
