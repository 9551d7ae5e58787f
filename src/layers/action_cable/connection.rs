//! A connection of a client, and its subscriptions.

use std::{any::Any, borrow::Cow, collections::HashMap, fmt, rc::Rc};

use super::{
    Cable,
    channel::{Action, Channel, Subscription, SubscriptionState},
    http,
    jwt::JwtError,
    packet::{self, Command, CommandKind, Ignored},
};
use crate::{
    http::Request,
    protocol::{CloseCode, CloseReason, Handshake, Message},
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

impl Connect<'_> {
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
    fn reason(self) -> &'static str {
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
    /// `None` unless the connect hook has let it in.
    user: Option<Rc<dyn Any>>,
    /// The topic by which it may be ended from elsewhere.
    user_stream: Option<String>,
    /// By identifier.
    subscriptions: HashMap<Rc<str>, Entry>,
    /// Bytes of all identifiers.
    identifier_bytes: usize,
}

/// A subscription. It stays in the map while its channel is called, so that a panic leaves it to be ended.
struct Entry {
    /// `None` while it is called, and after it has panicked.
    channel: Option<Box<dyn Channel>>,
    state: SubscriptionState,
}

impl CableConnection {
    pub(super) fn new(cable: &Rc<Cable>) -> Self {
        CableConnection {
            cable: Rc::clone(cable),
            user: None,
            user_stream: None,
            subscriptions: HashMap::new(),
            identifier_bytes: 0,
        }
    }

    /// Handles a message of the client. An error says why it is ignored.
    fn handle(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) -> Result<(), Ignored> {
        let command = Command::parse(message.as_text().ok_or(Ignored::NoCommand)?)?;
        match command.kind {
            CommandKind::Subscribe => self.subscribe(ws, &command.identifier),
            CommandKind::Unsubscribe => self.unsubscribe(ws, &command.identifier),
            CommandKind::Message => self.perform(ws, &command),
        }
    }

    fn subscribe(&mut self, ws: &mut WebSocket<'_>, identifier: &str) -> Result<(), Ignored> {
        if let Some(entry) = self.subscriptions.get(identifier) {
            // A client repeats it until it is confirmed.
            let id = ws.id();
            entry.state.gate.confirm(ws.hub(), id, identifier);
            return Ok(());
        }
        let limits = &self.cable.limits;
        let bytes = self.identifier_bytes + identifier.len();
        if bytes > limits.identifier_bytes || self.subscriptions.len() >= limits.subscriptions {
            reject(ws, identifier);
            return Err(Ignored::TooMuch);
        }
        let name = packet::channel_of(identifier)?;
        let make = self.cable.channels.get(&*name).ok_or(Ignored::UnknownChannel)?;
        let entry = Entry { channel: Some(make()), state: SubscriptionState::new(identifier) };
        let key = Rc::clone(&entry.state.identifier);
        self.subscriptions.insert(Rc::clone(&key), entry);
        self.identifier_bytes = bytes;
        self.cable.streams.borrow_mut().counters().subscriptions += 1;
        self.call(ws, &key, |channel, subscription| channel.subscribed(subscription));
        let Some(entry) = self.subscriptions.get(&key) else { return Ok(()) };
        if entry.state.is_rejected {
            self.end(ws, &key);
            reject(ws, identifier);
            return Ok(());
        }
        let id = ws.id();
        entry.state.gate.open(ws.hub(), id, identifier);
        Ok(())
    }

    fn unsubscribe(&mut self, ws: &mut WebSocket<'_>, identifier: &str) -> Result<(), Ignored> {
        let (key, _) = self.subscriptions.get_key_value(identifier).ok_or(Ignored::NoSubscription)?;
        let key = Rc::clone(key);
        self.end(ws, &key);
        Ok(())
    }

    fn perform(&mut self, ws: &mut WebSocket<'_>, command: &Command<'_>) -> Result<(), Ignored> {
        let (key, _) = self.subscriptions.get_key_value(&*command.identifier).ok_or(Ignored::NoSubscription)?;
        let (key, json) = (Rc::clone(key), command.data.as_deref().ok_or(Ignored::NoData)?);
        let action = Action { name: packet::action_of(json)?, json };
        self.call(ws, &key, |channel, subscription| channel.perform(subscription, &action));
        Ok(())
    }

    /// Ends a subscription.
    fn end(&mut self, ws: &mut WebSocket<'_>, identifier: &Rc<str>) {
        let id = ws.id();
        if let Some(entry) = self.subscriptions.get_mut(identifier) {
            entry.state.end(ws.hub(), id, &self.cable.streams);
        }
        self.call(ws, identifier, |channel, subscription| channel.unsubscribed(subscription));
        if let Some(mut entry) = self.subscriptions.remove(identifier) {
            // It may have begun new streams and timers.
            entry.state.end(ws.hub(), id, &self.cable.streams);
            self.identifier_bytes -= identifier.len();
            self.cable.streams.borrow_mut().counters().subscriptions -= 1;
        }
    }

    /// Calls a channel.
    fn call(
        &mut self,
        ws: &mut WebSocket<'_>,
        identifier: &Rc<str>,
        call: impl FnOnce(&mut dyn Channel, &mut Subscription<'_>),
    ) {
        let (Some(user), Some(entry)) = (&self.user, self.subscriptions.get_mut(identifier)) else { return };
        let Some(mut channel) = entry.channel.take() else { return };
        let (id, shared, state) = (ws.id(), &self.cable.streams, &mut entry.state);
        call(&mut *channel, &mut Subscription { hub: ws.hub(), id, user, shared, state });
        entry.channel = Some(channel);
    }

    /// Releases what the connection holds in the streams, before any channel is called that may panic.
    fn release(&mut self, ws: &mut WebSocket<'_>) {
        let id = ws.id();
        for entry in self.subscriptions.values_mut() {
            entry.state.end(ws.hub(), id, &self.cable.streams);
        }
        let mut streams = self.cable.streams.borrow_mut();
        streams.counters().subscriptions -= self.subscriptions.len();
        streams.counters().connections -= usize::from(self.user.is_some());
        if let Some(stream) = self.user_stream.take() {
            streams.remove_user(ws.hub(), &stream, id);
        }
    }
}

/// Tells the client that it is not subscribed.
fn reject(ws: &mut WebSocket<'_>, identifier: &str) {
    ws.send(packet::answer(&packet::quoted(identifier), false));
}

impl Handler for CableConnection {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, handshake: &Handshake) {
        let id = ws.id();
        let mut connect = Connect { hub: ws.hub(), id, request: handshake.request(), identifiers: Vec::new() };
        let user = match (self.cable.connect)(&mut connect) {
            Ok(user) => user,
            Err(denied) => {
                ws.send(packet::disconnect(denied.reason(), false));
                ws.close(CloseCode::NORMAL, "");
                return;
            }
        };
        self.user_stream = super::user_stream(connect.identifiers);
        self.user = Some(user);
        let mut streams = self.cable.streams.borrow_mut();
        if let Some(stream) = &self.user_stream {
            streams.add_user(ws.hub(), stream, id);
        }
        streams.counters().connections += 1;
        streams.ping(ws.hub(), id);
        ws.send(packet::WELCOME);
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        if self.user.is_none() {
            return;
        }
        if let Err(ignored) = self.handle(ws, message) {
            self.cable.streams.borrow_mut().counters().ignored += 1;
            log::debug!(target: "ws_reactor::action_cable", "{} is ignored: {}", ws.id(), ignored.reason());
        }
    }

    fn on_timer(&mut self, ws: &mut WebSocket<'_>, timer: TimerId) {
        let mut all = self.subscriptions.iter();
        let Some((identifier, _)) = all.find(|(_, entry)| entry.state.timers.contains(&timer)) else { return };
        let identifier = Rc::clone(identifier);
        self.call(ws, &identifier, |channel, subscription| channel.on_timer(subscription, timer));
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, _: &CloseReason) {
        self.release(ws);
        let identifiers: Vec<Rc<str>> = self.subscriptions.keys().cloned().collect();
        let id = ws.id();
        for identifier in identifiers {
            self.call(ws, &identifier, |channel, subscription| channel.unsubscribed(subscription));
            if let Some(mut entry) = self.subscriptions.remove(&identifier) {
                entry.state.end(ws.hub(), id, &self.cable.streams);
            }
        }
        let Some(user) = self.user.take() else { return };
        if let Some(disconnected) = &self.cable.disconnected {
            disconnected(ws.hub(), id, &user);
        }
    }
}
