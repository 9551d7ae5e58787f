//! The decision on a handshake, which may come later.

use std::{
    fmt,
    rc::{Rc, Weak},
};

use super::engine::Engine;
use crate::{
    http::{HeaderValue, Request, StatusCode, header},
    protocol::MessageLimits,
    reactor::Hub,
    server::{Reply, Responder, Upgrade},
};

/// The decision on a handshake, for [`EngineIo::allow_request`](super::EngineIo::allow_request). One that is dropped
/// refuses.
#[must_use = "a handshake waits for the decision"]
pub struct Admission {
    engine: Weak<Engine>,
    request: Rc<Request>,
    /// `None` once it is decided.
    responder: Option<Responder>,
}

impl Admission {
    pub(super) fn new(engine: &Rc<Engine>, request: &Rc<Request>, responder: Responder) -> Self {
        Admission { engine: Rc::downgrade(engine), request: Rc::clone(request), responder: Some(responder) }
    }

    /// Lets the client in, after the running callback.
    pub fn allow(mut self, hub: &mut Hub) {
        let Some((responder, engine)) = self.responder.take().zip(self.engine.upgrade()) else { return };
        let (request, of_task) = (Rc::clone(&self.request), Rc::clone(&engine));
        engine.task(
            hub,
            Box::new(move |hub| {
                if !responder.is_closed() {
                    let reply = of_task.let_in(hub, &request);
                    let _ = responder.respond(reply);
                }
            }),
        );
    }

    /// Refuses the client: 403 with code 4 and a message, for which Node's server has `Forbidden`.
    pub fn deny(mut self, message: &str) {
        self.refuse(message);
    }

    fn refuse(&mut self, message: &str) {
        let Some((responder, engine)) = self.responder.take().zip(self.engine.upgrade()) else { return };
        let error = ConnectionError::Forbidden(message.to_owned());
        // The client may have gone.
        let _ = responder.respond(engine.refuse(&self.request, &error));
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.refuse("Forbidden");
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Admission").field("peer", &self.request.peer_addr()).finish_non_exhaustive()
    }
}

/// The id of a session that a WebSocket opens, for its handler.
#[derive(Clone)]
pub(super) struct NewSid(pub(super) String);

impl Engine {
    /// Decides on a request that opens a session.
    pub(super) fn admit(self: &Rc<Self>, hub: &mut Hub, request: &Request) -> Reply {
        let request = Rc::new(request.clone());
        let Some(allow) = &self.settings.allow_request else { return self.let_in(hub, &request) };
        let (reply, responder) = Reply::later();
        allow(&request, hub, Admission::new(self, &request, responder));
        reply
    }

    /// The reply to a request that opens a session.
    fn let_in(self: &Rc<Self>, hub: &mut Hub, request: &Rc<Request>) -> Reply {
        if request.query_value("EIO").as_deref() != Some("4") {
            return self.refuse(request, &ConnectionError::UnsupportedProtocol);
        }
        if self.is_full(hub) {
            return StatusCode::SERVICE_UNAVAILABLE.into();
        }
        let sid = Engine::new_sid(hub);
        let headers = self.initial_headers(request, &sid);
        if request.is_upgrade() {
            let upgrade = self.upgrade().extension(NewSid(sid.to_string()));
            let add =
                |upgrade: Upgrade, (name, value): (&_, &HeaderValue)| upgrade.header(Clone::clone(name), value.clone());
            return headers.iter().fold(upgrade, add).into();
        }
        let body = self.open_packet(&sid, super::machine::Transport::Polling);
        let session = self.open(hub, sid, Rc::clone(request), None);
        self.enter(hub, |hub| self.announce(hub, &session));
        let reply = self.text_reply(request, body, true);
        headers.iter().fold(reply, |reply, (name, value)| reply.header(name.clone(), value.clone()))
    }

    /// The reply to a request that is refused.
    pub(super) fn refuse(&self, request: &Request, error: &ConnectionError) -> Reply {
        if let Some(call) = &self.settings.on_connection_error {
            call(request, error);
        }
        match request.is_upgrade() {
            true => error.reply(request),
            false => self.with_headers(request, error.reply(request)),
        }
    }

    /// Accepts a WebSocket.
    pub(super) fn upgrade(&self) -> Upgrade {
        Upgrade::new().limits(MessageLimits::default().max_message_bytes(self.settings.max_payload))
    }
}

/// A request that was refused, with the code and the message that its client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionError {
    /// Code 0: the transport is missing, unknown or not enabled.
    UnknownTransport,
    /// Code 1: the id of the session is unknown. The session may have ended.
    UnknownSession,
    /// Code 2: a request without a session that is no `GET`.
    BadHandshakeMethod,
    /// Code 3: a request with another transport than its session, or a malformed one.
    BadRequest,
    /// Code 4: [`Admission`] was denied, with this message.
    Forbidden(String),
    /// Code 5: a version of the protocol other than 4.
    UnsupportedProtocol,
}

impl ConnectionError {
    /// The code of Node's server.
    pub fn code(&self) -> u8 {
        match self {
            ConnectionError::UnknownTransport => 0,
            ConnectionError::UnknownSession => 1,
            ConnectionError::BadHandshakeMethod => 2,
            ConnectionError::BadRequest => 3,
            ConnectionError::Forbidden(_) => 4,
            ConnectionError::UnsupportedProtocol => 5,
        }
    }

    fn message(&self) -> &str {
        match self {
            ConnectionError::UnknownTransport => "Transport unknown",
            ConnectionError::UnknownSession => "Session ID unknown",
            ConnectionError::BadHandshakeMethod => "Bad handshake method",
            ConnectionError::BadRequest => "Bad request",
            ConnectionError::Forbidden(message) => message,
            ConnectionError::UnsupportedProtocol => "Unsupported protocol version",
        }
    }

    /// The response, as Node's server gives it: JSON for requests, text for WebSockets.
    fn reply(&self, request: &Request) -> Reply {
        if request.is_upgrade() {
            let html = HeaderValue::from_static("text/html");
            return Reply::bytes(self.message().to_owned())
                .with_status(StatusCode::BAD_REQUEST)
                .header(header::CONTENT_TYPE, html);
        }
        let status = match self {
            ConnectionError::Forbidden(_) => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        let json = serde_json::json!({"code": self.code(), "message": self.message()}).to_string();
        Reply::bytes(json)
            .with_status(status)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message())
    }
}

impl std::error::Error for ConnectionError {}
