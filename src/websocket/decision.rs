//! What becomes of a request: decided before there is a handler.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::decider::{Decider, Deferred};
use crate::protocol::Limits;

/// The answer to a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Decision {
    /// It becomes a WebSocket, if it asks for one. An ordinary request is told that this is a WebSocket endpoint (426).
    Accept(Accept),
    /// It is answered, and the connection ends.
    Respond(Response<Vec<u8>>),
    /// It waits until that is decided; see [`later`](Self::later).
    Later(Deferred),
}

impl Decision {
    /// Accepts, with nothing added.
    pub fn accept() -> Self {
        Accept::new().into()
    }

    /// Puts the decision off: who is to make it takes the [`Decider`] along, to another thread if need be. The other connections go on meanwhile; this one is not read, and has until
    /// [`Settings::opening_deadline`](crate::Settings::opening_deadline), then it is answered with 503.
    ///
    /// ```
    /// use std::thread;
    /// use ws_reactor::{Accept, Decision, Server, http::StatusCode, on_message};
    ///
    /// # fn may_come_in(token: &str) -> bool { token == "open sesame" }
    /// let server = Server::new(|_| on_message(|_, _| {})).on_request(|request| {
    ///     let token = request.header("authorization").unwrap_or_default().to_owned();
    ///     let (later, decider) = Decision::later();
    ///     thread::spawn(move || match may_come_in(&token) {
    ///         true => decider.decide(Accept::new()),
    ///         false => decider.decide(Decision::status(StatusCode::UNAUTHORIZED)),
    ///     });
    ///     later
    /// });
    /// ```
    pub fn later() -> (Self, Decider) {
        let (deferred, decider) = Deferred::new();
        (Decision::Later(deferred), decider)
    }

    /// Answers with a status and its usual text.
    pub fn status(status: StatusCode) -> Self {
        Decision::text(status, status.canonical_reason().unwrap_or_default())
    }

    /// Answers with a line of text.
    pub fn text(status: StatusCode, text: &str) -> Self {
        respond(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    /// Answers with a page.
    pub fn html(page: impl Into<String>) -> Self {
        respond(StatusCode::OK, "text/html; charset=utf-8", page.into())
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Decision {
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Decision::Respond(response)
}

impl From<Accept> for Decision {
    fn from(accept: Accept) -> Self {
        Decision::Accept(accept)
    }
}

impl From<Response<Vec<u8>>> for Decision {
    fn from(response: Response<Vec<u8>>) -> Self {
        Decision::Respond(response)
    }
}

/// What is added to an accepted handshake.
#[derive(Debug, Default)]
pub struct Accept {
    pub(super) headers: HeaderMap,
    pub(super) subprotocol: Option<String>,
    pub(super) limits: Option<Limits>,
    pub(super) uncompressed: bool,
}

impl Accept {
    /// Nothing.
    pub fn new() -> Self {
        Accept::default()
    }

    /// A header in the answer. Its types cannot hold CR, LF or NUL, so nothing can be smuggled in. The names that the handshake itself uses are left out.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        let hixie = ["websocket-origin", "websocket-location", "websocket-protocol"];
        let reserved = [header::CONNECTION, header::UPGRADE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        if reserved.contains(&name) || name.as_str().starts_with("sec-websocket-") || hixie.contains(&name.as_str()) {
            log::warn!(target: "ws_reactor::websocket", "{name} belongs to the handshake and is left out");
        } else {
            self.headers.append(name, value);
        }
        self
    }

    /// The subprotocol, in place of the server's own choice. It must be one that the client offers, else none is agreed upon.
    pub fn subprotocol(mut self, subprotocol: impl Into<String>) -> Self {
        self.subprotocol = Some(subprotocol.into());
        self
    }

    /// No compression on this connection, whatever the server would agree to.
    pub fn uncompressed(mut self) -> Self {
        self.uncompressed = true;
        self
    }

    /// Other limits for this connection.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }
}
