//! WebSockets that carry sessions, or that want to.

use std::{borrow::Cow, rc::Rc};

use super::{admission::NewSid, engine::Engine, machine::Transport, session::Session};
use crate::{
    error::Error,
    protocol::{CloseCode, CloseReason, Handshake, Message, ProtocolError},
    websocket::{Handler, WebSocket},
};

pub(super) struct EngineSocket {
    engine: Rc<Engine>,
    session: Option<Rc<Session>>,
}

impl EngineSocket {
    pub(super) fn new(engine: &Rc<Engine>) -> Self {
        EngineSocket { engine: Rc::clone(engine), session: None }
    }
}

impl EngineSocket {
    /// The WebSocket has ended. `is_clean`: not by an error.
    fn end(&mut self, ws: &mut WebSocket<'_>, is_clean: bool) {
        let Some(session) = self.session.take() else { return };
        let id = ws.id();
        self.engine.enter(ws.hub(), |hub| session.websocket_ended(hub, id, is_clean));
    }
}

impl Handler for EngineSocket {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, handshake: &Handshake) {
        let (engine, id) = (Rc::clone(&self.engine), ws.id());
        let request = handshake.request();
        match handshake.extension::<NewSid>() {
            Some(NewSid(sid)) => {
                let (sid, request) = (Rc::from(&**sid), Rc::new(request.clone()));
                let packet = engine.open_packet(&sid, Transport::WebSocket);
                ws.send(packet);
                let session = engine.open(ws.hub(), sid, request, Some(id));
                self.session = Some(Rc::clone(&session));
                engine.enter(ws.hub(), |hub| engine.announce(hub, &session));
            }
            None => {
                let session = request.query_value("sid").and_then(|sid| engine.session(&sid));
                self.session = session.filter(|session| engine.enter(ws.hub(), |hub| session.begin_probe(hub, id)));
                if self.session.is_none() {
                    // The session has another WebSocket, or has ended since the request.
                    ws.close(CloseCode::NORMAL, "");
                }
            }
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let Some(session) = &self.session else { return };
        let id = ws.id();
        self.engine.enter(ws.hub(), |hub| match session.is_carried_by(id) {
            true => session.receive_message(hub, message),
            false => session.receive_probe(hub, id, message),
        });
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_>) {
        let id = ws.id();
        if let Some(session) = self.session.as_ref().filter(|session| session.is_carried_by(id)) {
            session.enter(ws.hub(), Session::drained);
        }
    }

    fn failure_reason(&self, _: ProtocolError) -> Cow<'static, str> {
        // As with Node's server.
        Cow::Borrowed("")
    }

    /// A violation of the protocol or a panic. The end of the connection may be long in coming.
    fn on_error(&mut self, ws: &mut WebSocket<'_>, error: &Error) {
        if !matches!(error, Error::Io(_)) {
            self.end(ws, false);
        }
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, _: &CloseReason) {
        self.end(ws, true);
    }
}
