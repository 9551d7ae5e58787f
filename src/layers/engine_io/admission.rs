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
        if let Some(responder) = self.responder.take() {
            // The client may have gone.
            let _ = responder.respond(Refusal::Forbidden(message.to_owned()).reply(&self.request));
        }
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
            return Refusal::UnsupportedProtocol.reply(request);
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

    /// Accepts a WebSocket.
    pub(super) fn upgrade(&self) -> Upgrade {
        Upgrade::new().limits(MessageLimits::default().max_message_bytes(self.settings.max_payload))
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    UnknownTransport,
    UnknownSession,
    BadHandshakeMethod,
    BadRequest,
    Forbidden(String),
    UnsupportedProtocol,
}

impl Refusal {
    fn code(&self) -> u8 {
        match self {
            Refusal::UnknownTransport => 0,
            Refusal::UnknownSession => 1,
            Refusal::BadHandshakeMethod => 2,
            Refusal::BadRequest => 3,
            Refusal::Forbidden(_) => 4,
            Refusal::UnsupportedProtocol => 5,
        }
    }

    fn message(&self) -> &str {
        match self {
            Refusal::UnknownTransport => "Transport unknown",
            Refusal::UnknownSession => "Session ID unknown",
            Refusal::BadHandshakeMethod => "Bad handshake method",
            Refusal::BadRequest => "Bad request",
            Refusal::Forbidden(message) => message,
            Refusal::UnsupportedProtocol => "Unsupported protocol version",
        }
    }

    /// The response, as Node's server gives it: JSON for requests, text for WebSockets.
    pub(super) fn reply(&self, request: &Request) -> Reply {
        if request.is_upgrade() {
            let html = HeaderValue::from_static("text/html");
            return Reply::bytes(self.message().to_owned())
                .with_status(StatusCode::BAD_REQUEST)
                .header(header::CONTENT_TYPE, html);
        }
        let status = match self {
            Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        let json = serde_json::json!({"code": self.code(), "message": self.message()}).to_string();
        Reply::bytes(json)
            .with_status(status)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }
}
