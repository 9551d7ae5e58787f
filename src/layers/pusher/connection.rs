//! A connection of a client: its opening, its messages, and its time-outs.

use std::{rc::Rc, time::Instant};

use super::{
    Apps,
    app::{App, ClientEvent, RESTART, close_all},
    clients::TOO_MANY_MEMBERS,
    names::{self, Access, USER_PREFIX},
    packet::{self, Command, MemberData, UserData},
    rate::Rate,
    signature,
};
use crate::{
    protocol::{CloseReason, Handshake, Message},
    reactor::{Hub, TimerId},
    websocket::{Handler, WebSocket},
};

/// The versions of the protocol that are served.
const PROTOCOLS: std::ops::RangeInclusive<u32> = 5..=7;

/// Most users in a watchlist.
const MAX_WATCHED: usize = 100;

/// Subscriptions of a connection in a second.
const SUBSCRIPTIONS_PER_SECOND: u32 = 100;

/// A code and a reason: of an error, and of the close frame if the connection ends.
type Refusal = (u16, &'static str);

/// The handler of a connection.
pub(super) struct PusherConnection {
    app: Result<Rc<App>, Refusal>,
    socket_id: String,
    rates: Rates,
    /// Time of the last message of the client.
    heard_at: Option<Instant>,
    /// The timer of the next ping, or of the answer to it.
    timer: Option<TimerId>,
    /// A ping was sent since the last message.
    is_pinged: bool,
}

impl PusherConnection {
    /// Accepts a connection, or refuses it with an error once it is open.
    pub(super) fn new(apps: &Apps, handshake: &Handshake) -> Self {
        let request = handshake.request();
        let app = match request.query_value("protocol") {
            None => Err((4008, "the query has no protocol")),
            Some(version) if !version.parse().is_ok_and(|version| PROTOCOLS.contains(&version)) => {
                Err((4007, "the protocol version is not supported: it is 5, 6 or 7"))
            }
            Some(_) => apps.by_key(request.param("key")).cloned().ok_or((4001, "no app has this key")),
        };
        PusherConnection {
            app,
            socket_id: String::new(),
            rates: Rates::default(),
            heard_at: None,
            timer: None,
            is_pinged: false,
        }
    }
}

/// The rates of a client that has used them.
#[derive(Default)]
struct Rates {
    client_events: Option<Rate>,
    subscriptions: Option<Rate>,
}

/// The messages of a connection whose app is known.
struct Client<'c, 'w> {
    app: &'c Rc<App>,
    socket_id: &'c str,
    rates: &'c mut Rates,
    ws: &'c mut WebSocket<'w>,
}

impl Client<'_, '_> {
    fn handle(&mut self, command: Command<'_>) {
        match command {
            Command::Ping => _ = self.ws.send(packet::PONG),
            Command::Pong => {}
            Command::Subscribe { channel, auth, channel_data } => {
                if let Err(error) = self.subscribe(&channel, auth.as_deref(), channel_data.as_deref()) {
                    let SubscriptionError { kind, message, status } = error;
                    self.ws.send(packet::subscription_error(&channel, kind, message, status));
                }
            }
            Command::Unsubscribe { channel } => {
                let id = self.ws.id();
                self.app.unsubscribe(self.ws.hub(), id, &channel);
            }
            Command::SignIn { auth, user_data } => self.sign_in(&auth, &user_data),
            Command::ClientEvent { event, channel, data } => {
                if let Err((code, message)) = self.client_event(&event, &channel, data) {
                    self.ws.send(packet::error(Some(code), message));
                }
            }
        }
    }

    fn subscribe(
        &mut self,
        channel: &str,
        auth: Option<&str>,
        channel_data: Option<&str>,
    ) -> Result<(), SubscriptionError> {
        let (app, id, now) = (self.app, self.ws.id(), self.ws.hub().now());
        let burst = u32::try_from(app.options.max_channels).unwrap_or(u32::MAX).saturating_mul(2);
        let burst = burst.max(SUBSCRIPTIONS_PER_SECOND);
        let rate = self.rates.subscriptions.get_or_insert_with(|| Rate::new(SUBSCRIPTIONS_PER_SECOND, burst, now));
        if !rate.take(now) {
            return Err(SubscriptionError::limit("the connection has subscribed too often in a short time"));
        }
        if let Some(user) = channel.strip_prefix(USER_PREFIX) {
            // The client of a user that has signed in gets these events without a subscription.
            return match app.local.borrow().user(id) == Some(user) {
                true => {
                    self.ws.send(packet::subscribed(channel, "{}"));
                    Ok(())
                }
                false => Err(SubscriptionError::unauthorized("the user has not signed in")),
            };
        }
        if !names::is_channel(channel) {
            return Err(SubscriptionError::invalid("the channel name is not valid"));
        }
        let access = Access::of(channel);
        if access.needs_signature() {
            let text = signature::of_subscription(self.socket_id, channel, channel_data);
            if !auth.is_some_and(|auth| app.options.credentials.is_auth(auth, &text)) {
                return Err(SubscriptionError::unauthorized("the signature is missing or wrong"));
            }
        }
        let member = match access {
            Access::Presence => Some(self.member(channel, channel_data)?),
            _ => None,
        };
        let is_full = {
            let local = app.local.borrow();
            local.get(id).is_some_and(|connection| {
                connection.subscriptions.len() >= app.options.max_channels
                    && !connection.subscriptions.contains_key(channel)
            })
        };
        if is_full {
            return Err(SubscriptionError::limit("the connection has too many subscriptions"));
        }
        app.subscribe(self.ws.hub(), id, channel, member);
        Ok(())
    }

    /// The member with which a client subscribes to a presence channel.
    fn member(&self, channel: &str, channel_data: Option<&str>) -> Result<MemberData, SubscriptionError> {
        let options = &self.app.options;
        let Some(data) = channel_data.filter(|data| data.len() <= options.max_member_bytes) else {
            return Err(SubscriptionError::invalid("channel_data is missing or too long"));
        };
        let member = MemberData::parse(data).ok_or(SubscriptionError::invalid("channel_data has no user_id"))?;
        let roster = self.app.roster.borrow();
        let is_full = roster
            .channel(channel)
            .is_some_and(|channel| channel.user_count() >= options.max_members && !channel.has_member(&member.user_id));
        match is_full {
            true => Err(SubscriptionError::limit(TOO_MANY_MEMBERS)),
            false => Ok(member),
        }
    }

    fn sign_in(&mut self, auth: &str, user_data: &str) {
        let (app, id) = (self.app, self.ws.id());
        let text = signature::of_user(self.socket_id, user_data);
        let user = UserData::parse(user_data).filter(|_| app.options.credentials.is_auth(auth, &text));
        let Some(mut user) = user else {
            return close_all(self.ws.hub(), vec![id], (4009, "the sign-in is not authorized"));
        };
        if user.watchlist.len() > MAX_WATCHED {
            user.watchlist.clear();
            self.ws.send(packet::error(Some(4302), "the watchlist is ignored: it has more than 100 users"));
        }
        let known = app.local.borrow().user(id).map(str::to_owned);
        if known.as_ref().is_some_and(|known| *known != user.id) {
            self.ws.send(packet::error(None, "another user has signed in on this connection"));
            return;
        }
        self.ws.send(packet::signed_in(user_data));
        if known.is_none() {
            app.sign_in(self.ws.hub(), id, user);
        }
    }

    /// Publishes the event of a client, or returns the error that it gets.
    fn client_event(&mut self, event: &str, channel: &str, data: &str) -> Result<(), Refusal> {
        let (app, id, now) = (self.app, self.ws.id(), self.ws.hub().now());
        let rate = app.options.client_events_per_second;
        if !self.rates.client_events.get_or_insert_with(|| Rate::new(rate, rate, now)).take(now) {
            return Err((4301, "the event is dropped: too many client events"));
        }
        let limits = &app.options.events;
        if !limits.is_event_name(event)
            || data.len() > limits.data_bytes && packet::text_of(data).len() > limits.data_bytes
        {
            return Err((4301, "the event is dropped: its name or its data is too long"));
        }
        if !Access::of(channel).takes_client_events() {
            return Err((4301, "the event is dropped: only private and presence channels take client events"));
        }
        let user = {
            let local = app.local.borrow();
            let subscription = local.get(id).and_then(|connection| connection.subscriptions.get(channel));
            let Some(subscription) = subscription.filter(|subscription| subscription.is_confirmed) else {
                return Err((4301, "the event is dropped: the connection is not subscribed to the channel"));
            };
            subscription.member.as_ref().map(|member| member.user_id.clone())
        };
        let (socket_id, user) = (self.socket_id, user.as_deref());
        match app.client_event(self.ws.hub(), ClientEvent { socket_id, user, channel, name: event, data }) {
            true => Ok(()),
            false => Err((4301, "the event is dropped: too many events are on their way")),
        }
    }
}

/// The refusal of a subscription, as its client gets it.
struct SubscriptionError {
    kind: &'static str,
    message: &'static str,
    status: u16,
}

impl SubscriptionError {
    fn unauthorized(message: &'static str) -> Self {
        SubscriptionError { kind: "AuthError", message, status: 401 }
    }

    fn invalid(message: &'static str) -> Self {
        SubscriptionError { kind: "Invalid", message, status: 400 }
    }

    fn limit(message: &'static str) -> Self {
        SubscriptionError { kind: "LimitReached", message, status: 403 }
    }
}

impl Handler for PusherConnection {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        let id = ws.id();
        if let Ok(app) = &self.app {
            app.start(ws.hub());
            if app.has_left.get() {
                return close_all(ws.hub(), vec![id], RESTART);
            }
            if app.local.borrow().len() >= app.options.max_connections {
                self.app = Err((4004, "the app has too many connections"));
            }
        }
        let app = match &self.app {
            Ok(app) => app,
            Err(refusal) => return close_all(ws.hub(), vec![id], *refusal),
        };
        self.socket_id = new_socket_id(ws.hub());
        self.heard_at = Some(ws.hub().now());
        app.local.borrow_mut().open(id, self.socket_id.clone());
        ws.send(packet::established(&self.socket_id, app.options.activity_seconds()));
        self.timer = Some(ws.set_timer(app.options.activity_timeout));
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let Ok(app) = &self.app else { return };
        self.heard_at = Some(ws.hub().now());
        if std::mem::take(&mut self.is_pinged) {
            self.timer.take().map(|timer| ws.cancel_timer(timer));
            self.timer = Some(ws.set_timer(app.options.activity_timeout));
        }
        let parsed = message.as_text().map_or(Ok(None), Command::parse);
        let (socket_id, rates) = (&*self.socket_id, &mut self.rates);
        match parsed {
            Ok(Some(command)) => Client { app, socket_id, rates, ws }.handle(command),
            Ok(None) => log::debug!(target: super::LOG, "{} has sent an unknown message", ws.id()),
            Err(packet::Malformed(reason)) => _ = ws.send(packet::error(None, reason)),
        }
    }

    fn on_timer(&mut self, ws: &mut WebSocket<'_>, _: TimerId) {
        let Some((app, heard_at)) = self.app.as_ref().ok().zip(self.heard_at) else { return };
        let (options, id) = (&app.options, ws.id());
        let silence = ws.hub().now().saturating_duration_since(heard_at);
        if self.is_pinged {
            return close_all(ws.hub(), vec![id], (4201, "no answer to a ping"));
        }
        if silence < options.activity_timeout {
            self.timer = Some(ws.set_timer(options.activity_timeout - silence));
            return;
        }
        self.is_pinged = true;
        ws.send(packet::PING);
        self.timer = Some(ws.set_timer(options.pong_timeout));
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, _: &CloseReason) {
        if let Ok(app) = &self.app {
            let id = ws.id();
            app.close(ws.hub(), id);
        }
    }
}

/// An id of two random numbers, unique among all nodes.
fn new_socket_id(hub: &mut Hub) -> String {
    let mut random = [0; 8];
    hub.random(&mut random);
    let number = u64::from_ne_bytes(random);
    format!("{}.{}", number >> 32, number as u32)
}
