//! A connection of a client: who may connect, and the session that it has.

use std::{any::Any, borrow::Cow, fmt, rc::Rc};

use super::{
    Cable, extended, http,
    jwt::JwtError,
    packet,
    protocol::Protocol,
    session::Session,
    sessions::{Sessions, Slot},
    streams::Ending,
};
use crate::{
    http::Request,
    protocol::{CloseCode, CloseReason, ClosedBy, Handshake, Message},
    reactor::{ConnectionId, Hub, TimerId},
    websocket::{Handler, WebSocket},
};

/// A connection whose connect hook decides: the request that opened it, and who it is.
pub struct Connect<'a> {
    hub: &'a mut Hub,
    id: ConnectionId,
    request: &'a Request,
    identifiers: Vec<String>,
}

impl<'a> Connect<'a> {
    pub(super) fn new(hub: &'a mut Hub, id: ConnectionId, request: &'a Request) -> Self {
        Connect { hub, id, request, identifiers: Vec::new() }
    }

    /// The topic by which the connection may be ended from elsewhere.
    pub(super) fn user_stream(self) -> Option<String> {
        super::user_stream(self.identifiers)
    }

    /// The request: its cookies, query and headers.
    pub fn request(&self) -> &Request {
        self.request
    }

    /// The token of the request, as clients of AnyCable send it: the parameter `jid` of the query, the header `X-JID`,
    /// or the subprotocol `anycable-token.TOKEN`.
    ///
    /// ```
    /// use ws_reactor::action_cable::{ActionCable, Denied, JwtKey};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Claims {
    ///     sub: String,
    /// }
    ///
    /// let key = JwtKey::new("a secret of 32 bytes, or of more");
    /// let cable = ActionCable::new().connect(move |connect| {
    ///     let claims: Claims = key.verify(&connect.token().ok_or(Denied::Unauthorized)?)?;
    ///     connect.identify(&*claims.sub);
    ///     Ok(claims)
    /// });
    /// ```
    pub fn token(&self) -> Option<String> {
        let of_query = self.request.query_value("jid").map(Cow::into_owned);
        let of_header = || self.request.header("x-jid").map(str::to_owned);
        of_query.or_else(of_header).or_else(|| http::token(self.request))
    }

    /// Identifies the connection, by a name or an id of the user. [`disconnect_user`](super::disconnect_user) ends all
    /// connections with the same identifiers, in all processes.
    ///
    /// Several identifiers count together, sorted, as those of `identified_by` in Rails.
    pub fn identify(&mut self, identifier: impl Into<String>) {
        self.identifiers.push(identifier.into());
    }

    /// The id of the connection.
    pub fn connection_id(&self) -> ConnectionId {
        self.id
    }

    /// The Hub of the reactor.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }
}

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connect").field("id", &self.id).field("identifiers", &self.identifiers).finish()
    }
}

/// Why a connection is turned away. Its client is told, and does not connect again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// `unauthorized`: the client may not connect.
    Unauthorized,
    /// `token_expired`: the client needs a new token. Clients of AnyCable ask for one.
    TokenExpired,
}

impl Denied {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Denied::Unauthorized => "unauthorized",
            Denied::TokenExpired => "token_expired",
        }
    }
}

impl From<JwtError> for Denied {
    fn from(error: JwtError) -> Self {
        match error {
            JwtError::Expired => Denied::TokenExpired,
            JwtError::Invalid => Denied::Unauthorized,
        }
    }
}

/// The handler of a connection.
pub(super) struct CableConnection {
    cable: Rc<Cable>,
    /// Empty until the connect hook has let the client in, and once another connection has the session.
    slot: Slot,
}

impl CableConnection {
    pub(super) fn new(cable: &Rc<Cable>) -> Self {
        CableConnection { cable: Rc::clone(cable), slot: Slot::default() }
    }

    /// Opens the session of a client that was let in, or takes up the one that it had.
    fn welcome(&self, ws: &mut WebSocket<'_>, handshake: &Handshake, user: Rc<dyn Any>, user_stream: Option<String>) {
        let (id, cable) = (ws.id(), &self.cable);
        if handshake.subprotocol() != Some(http::EXTENDED) {
            *self.slot.borrow_mut() = Some(Session::open(cable, ws.hub(), id, user, user_stream, Protocol::Rails));
            ws.send(packet::WELCOME);
            return;
        }
        let sid = super::random_name(ws.hub());
        let wanted = http::restored_sid(handshake.request());
        let restored = wanted.and_then(|old| Sessions::take(cable, ws.hub(), &old, user_stream.as_deref()));
        let is_restored = restored.is_some();
        let session = match restored {
            Some(mut session) => {
                ws.send(extended::welcome(&sid, Some(&session.restored(cable))));
                session.resume(cable, ws.hub(), id, user, Rc::clone(&sid));
                session
            }
            None => {
                ws.send(extended::welcome(&sid, None));
                let mut session = Session::open(cable, ws.hub(), id, user, user_stream, Protocol::Extended);
                session.sid = Some(Rc::clone(&sid));
                session
            }
        };
        *self.slot.borrow_mut() = Some(session);
        cable.sessions.borrow_mut().add(sid, &self.slot);
        if is_restored && let Some(session) = &mut *self.slot.borrow_mut() {
            session.tell_resumed(cable, ws.hub());
        }
    }
}

impl Handler for CableConnection {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, handshake: &Handshake) {
        let id = ws.id();
        let mut connect = Connect::new(ws.hub(), id, handshake.request());
        match (self.cable.connect)(&mut connect) {
            Ok(user) => {
                let user_stream = connect.user_stream();
                self.welcome(ws, handshake, user, user_stream);
            }
            Err(denied) => {
                ws.send(packet::disconnect(denied.reason(), false));
                ws.close(CloseCode::NORMAL, "");
            }
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let mut slot = self.slot.borrow_mut();
        let Some(session) = &mut *slot else { return };
        if let Err(ignored) = session.handle(&self.cable, ws.hub(), message) {
            self.cable.streams.borrow_mut().counters().ignored += 1;
            log::debug!(target: "ws_reactor::action_cable", "{} is ignored: {}", ws.id(), ignored.reason());
        }
    }

    fn on_timer(&mut self, ws: &mut WebSocket<'_>, timer: TimerId) {
        if let Some(session) = &mut *self.slot.borrow_mut() {
            session.on_timer(&self.cable, ws.hub(), timer);
        }
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        let ending = self.cable.streams.borrow_mut().forget(ws.id());
        let Some(session) = self.slot.take() else { return };
        let was_cut = match ending {
            Some(ending) => ending == Ending::Silent,
            None => !matches!(reason.by, ClosedBy::Application | ClosedBy::Panic | ClosedBy::Shutdown),
        };
        Sessions::leave(&self.cable, ws.hub(), session, &self.slot, was_cut);
    }
}
