//! The HTTP side: handshakes, polls and the bodies of clients.

use std::rc::Rc;

use super::{
    admission::ConnectionError,
    engine::Engine,
    machine::{CloseReason, Transport},
    session::{PendingPoll, Session},
};
use crate::{
    http::{HeaderValue, Method, Request, StatusCode, cors::Cors, header},
    reactor::{CloseHook, Hub},
    server::{Reply, RequestBody, Upload},
    websocket::{Handler, Routes},
};

impl Engine {
    /// Adds the path of the sessions to routes.
    pub(super) fn mount<H: Handler + 'static>(
        self: &Rc<Self>,
        routes: Routes,
        cors: Option<Cors>,
        websocket: impl Fn() -> H + 'static,
    ) -> Routes {
        let path = &self.settings.path;
        let [for_upgrade, for_get, for_upload, for_others] = [(); 4].map(|()| Rc::clone(self));
        let small = Routes::new()
            .max_body_bytes(self.settings.max_payload as u64)
            .on_request(move |request, hub| for_upgrade.check_upgrade(request, hub))
            .websocket(path, move |_| websocket())
            .get(path, move |request, hub| for_get.get(request, hub))
            .any(path, move |request, _| for_others.refuse_method(request));
        // An upload counts its bytes itself: Node's answer to a body that is too long has no text.
        let uploads = Routes::new()
            .max_body_bytes(u64::MAX)
            .upload(path, move |request, hub| for_upload.begin_post(request, hub));
        let own = Routes::new().scope("", small).scope("", uploads);
        routes.scope(
            "",
            match cors {
                Some(cors) => own.cors(cors),
                None => own,
            },
        )
    }

    /// Decides on a WebSocket. Other requests pass.
    fn check_upgrade(self: &Rc<Self>, request: &Request, hub: &mut Hub) -> Reply {
        if !request.is_upgrade() {
            return Reply::pass();
        }
        let is_websocket = request.query_value("transport").as_deref() == Some("websocket");
        match self.check(request) {
            Err(error) => self.refuse(request, &error),
            Ok(_) if !is_websocket => self.refuse(request, &ConnectionError::BadRequest),
            Ok(Some(_)) => self.upgrade().into(),
            Ok(None) => self.admit(hub, request),
        }
    }

    /// The session that a request names, if it names one.
    fn check(&self, request: &Request) -> Result<Option<Rc<Session>>, ConnectionError> {
        let is_enabled = match request.query_value("transport").as_deref() {
            Some("polling") => self.settings.has_polling,
            Some("websocket") => self.settings.has_websocket,
            _ => false,
        };
        if !is_enabled {
            return Err(ConnectionError::UnknownTransport);
        }
        if request.names_origin() && request.origin().is_none() {
            return Err(ConnectionError::BadRequest);
        }
        let Some(sid) = request.query_value("sid") else { return Ok(None) };
        self.session(&sid).map(Some).ok_or(ConnectionError::UnknownSession)
    }

    /// The polling session that a request names.
    fn polling_session(&self, request: &Request) -> Result<Option<Rc<Session>>, ConnectionError> {
        let is_polling = |session: &Rc<Session>| session.transport() == Transport::Polling;
        let session = self.check(request)?;
        let has_own_transport = request.query_value("transport").as_deref() == Some("polling");
        match session {
            Some(session) if !has_own_transport || !is_polling(&session) => Err(ConnectionError::BadRequest),
            Some(session) => Ok(Some(session)),
            None if *request.method() != Method::GET => Err(ConnectionError::BadHandshakeMethod),
            None if !has_own_transport => Err(ConnectionError::BadRequest),
            None => Ok(None),
        }
    }

    /// Answers a `GET`: a handshake or a poll.
    fn get(self: &Rc<Self>, request: &Request, hub: &mut Hub) -> Reply {
        match self.polling_session(request) {
            Err(error) => self.refuse(request, &error),
            Ok(None) => self.admit(hub, request),
            // `HEAD` comes here, too.
            Ok(Some(_)) if *request.method() != Method::GET => self.refuse(request, &ConnectionError::BadRequest),
            Ok(Some(session)) => self.enter(hub, |hub| Engine::poll(&session, request, hub)),
        }
    }

    fn poll(session: &Rc<Session>, request: &Request, hub: &mut Hub) -> Reply {
        let (reply, responder) = Reply::hold();
        let (weak, id) = (Rc::downgrade(session), hub.current_connection());
        let cut = move |hub: &mut Hub| {
            if let Some(session) = weak.upgrade() {
                session.enter(hub, Session::poll_cut);
            }
        };
        let hook = id.and_then(|id| hub.when_closed(id, cut));
        let request = Rc::new(request.clone());
        match session.poll(hub, PendingPoll { responder, hook, request }) {
            Ok(()) => reply,
            Err(responder) => {
                let _ = responder.respond(Reply::empty(StatusCode::BAD_REQUEST));
                reply
            }
        }
    }

    fn begin_post(self: &Rc<Self>, request: &Request, hub: &mut Hub) -> Result<Post, Reply> {
        let session = match self.polling_session(request) {
            Ok(Some(session)) if *request.method() == Method::POST => session,
            Ok(_) => return Err(self.refuse(request, &ConnectionError::BadRequest)),
            Err(error) => return Err(self.refuse(request, &error)),
        };
        let is_octets = |value: &str| value.trim_start().starts_with("application/octet-stream");
        self.enter(hub, |hub| {
            if request.header("content-type").is_some_and(is_octets) {
                session.fail(hub, CloseReason::TransportError);
            } else if session.change(hub, |machine, _| machine.on_post()) {
                let request = Rc::new(request.clone());
                let weak = Rc::downgrade(&session);
                let cut = move |hub: &mut Hub| {
                    if let Some(session) = weak.upgrade() {
                        session.enter(hub, |session, hub| session.change(hub, |machine, _| machine.on_post_end(false)));
                    }
                };
                let hook = hub.current_connection().and_then(|id| hub.when_closed(id, cut));
                let session = Some(Rc::clone(&session));
                return Ok(Post { engine: Rc::clone(self), session, hook, request, body: Vec::new() });
            }
            Err(self.refuse(request, &ConnectionError::BadRequest))
        })
    }

    fn refuse_method(&self, request: &Request) -> Reply {
        let error = match self.polling_session(request) {
            Err(error) => error,
            Ok(_) => ConnectionError::BadRequest,
        };
        self.refuse(request, &error)
    }
}

/// The body of a client's request.
struct Post {
    engine: Rc<Engine>,
    /// `None` once the request has ended.
    session: Option<Rc<Session>>,
    /// Ends the session if the request is cut.
    hook: Option<CloseHook>,
    request: Rc<Request>,
    body: Vec<u8>,
}

impl Upload for Post {
    fn on_chunk(&mut self, body: &mut RequestBody<'_>, data: &[u8]) -> Result<(), Reply> {
        if body.received() <= self.engine.settings.max_payload as u64 {
            self.body.extend_from_slice(data);
            return Ok(());
        }
        let reply = Reply::empty(StatusCode::PAYLOAD_TOO_LARGE);
        self.end(body.hub());
        Err(self.engine.with_headers(&self.request, reply))
    }

    fn on_end(&mut self, body: &mut RequestBody<'_>) -> Reply {
        let Some(session) = self.session.clone() else { return StatusCode::BAD_REQUEST.into() };
        let hub = body.hub();
        self.end(hub);
        session.receive_body(hub, &self.request, &self.body);
        let reply = Reply::bytes("ok").header(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        self.engine.with_headers(&self.request, reply)
    }
}

impl Post {
    /// The request has ended, with a response.
    fn end(&mut self, hub: &mut Hub) {
        if let Some(hook) = self.hook.take() {
            hub.cancel_close_hook(hook);
        }
        if let Some(session) = self.session.take() {
            session.enter(hub, |session, hub| session.change(hub, |machine, _| machine.on_post_end(true)));
        }
    }
}
