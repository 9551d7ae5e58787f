//! An app on this node: its connections, and the state that all nodes share.
//!
//! Everything that concerns more than one connection is a message on the app's topic, also with a single node. Each
//! node applies a message when it arrives, and all nodes see the messages in one order if the backplane has one: see
//! [`Redis::one_order`](crate::Redis::one_order).

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
};

use super::{
    answers::Answers,
    api::{Info, Trigger, TriggerError},
    backlog::Backlog,
    cache::Cache,
    envelope::{Envelope, Event, Message},
    events::PusherEvent,
    holdings::Channel,
    liveness::Liveness,
    local::Local,
    names::{self, Access},
    options::PusherApp,
    packet,
    parts::PartSender,
    roster::Roster,
    sender::WebhookSender,
};
use crate::{
    protocol::CloseCode,
    reactor::{ConnectionId, Hub},
};

/// Code and reason with which all connections are closed.
pub(super) const RESTART: (u16, &str) = (4200, "the server restarts");

/// Called with the events of an app.
type EventHook = Rc<dyn Fn(&mut Hub, &PusherEvent)>;

/// Called when a node is ready.
type WaitingCall = Box<dyn FnOnce(&mut Hub)>;

pub(super) struct App {
    pub(super) options: PusherApp,
    pub(super) topic: String,
    /// Name of this node. Empty until the app is started.
    pub(super) node: OnceCell<String>,
    /// The number of the next message.
    number: Cell<u64>,
    pub(super) has_left: Cell<bool>,
    pub(super) roster: RefCell<Roster>,
    pub(super) local: RefCell<Local>,
    pub(super) cache: RefCell<Cache>,
    pub(super) backlog: RefCell<Backlog>,
    pub(super) answers: RefCell<Answers>,
    pub(super) parts: RefCell<PartSender>,
    pub(super) liveness: RefCell<Liveness>,
    /// Calls that wait until this node is ready. `None` once it is.
    pub(super) waiting_calls: RefCell<Option<Vec<WaitingCall>>>,
    /// Events that are not reported yet, until the holdings of the other nodes are known.
    pub(super) early: RefCell<Option<Vec<PusherEvent>>>,
    pub(super) webhooks: Option<Rc<WebhookSender>>,
    pub(super) hook: RefCell<Option<EventHook>>,
}

impl App {
    pub(super) fn new(options: PusherApp) -> Rc<Self> {
        let sender = |url| Rc::new(WebhookSender::new(url, options.credentials.clone()));
        Rc::new(App {
            topic: format!("pusher/{}", options.id),
            node: OnceCell::new(),
            number: Cell::default(),
            has_left: Cell::default(),
            roster: RefCell::default(),
            local: RefCell::default(),
            cache: RefCell::new(Cache::new(options.cache_ttl, options.max_cache_bytes)),
            backlog: RefCell::default(),
            answers: RefCell::default(),
            parts: RefCell::default(),
            liveness: RefCell::default(),
            waiting_calls: RefCell::new(Some(Vec::new())),
            early: RefCell::new(Some(Vec::new())),
            webhooks: options.webhook.clone().map(sender),
            hook: RefCell::default(),
            options,
        })
    }

    pub(super) fn set_hook(&self, hook: EventHook) {
        *self.hook.borrow_mut() = Some(hook);
    }

    /// The name of this node. Empty before it is [started](Self::start).
    pub(super) fn node(&self) -> &str {
        self.node.get().map_or("", String::as_str)
    }

    /// Sends a message to all nodes, this one included. Returns its number, or `None` if a reactor of the group has no
    /// room for it.
    pub(super) fn publish(&self, hub: &mut Hub, message: Message) -> Option<u64> {
        if self.has_left.get() {
            return None;
        }
        let number = self.number.replace(self.number.get() + 1);
        let text = Envelope { node: self.node().to_owned(), number, message }.encode();
        self.backlog.borrow_mut().push(number, text.len());
        let published = hub.publish(&self.topic, text);
        (published.refused == 0).then_some(number)
    }

    /// Publishes an event of the application. Returns the number of the message.
    pub(super) fn trigger(&self, hub: &mut Hub, trigger: Trigger) -> Result<u64, TriggerError> {
        let Trigger { name, channels, data, socket_id, .. } = trigger;
        let data = packet::quoted(&data);
        let event = Event { name, channels, socket_id, user: None, data };
        self.publish_event(hub, event).ok_or_else(TriggerError::busy)
    }

    /// Publishes an event. Returns the number of the message, or `None` if too many are on their way.
    fn publish_event(&self, hub: &mut Hub, event: Event) -> Option<u64> {
        let is_full = self.backlog.borrow().is_full();
        if is_full { None } else { self.publish(hub, Message::Event(event)) }
    }

    /// Publishes an event of a client, and reports it. Returns `false` if too many events are on their way.
    pub(super) fn client_event(&self, hub: &mut Hub, sender: ClientEvent<'_>) -> bool {
        let ClientEvent { socket_id, user, channel, name, data } = sender;
        let event = Event {
            name: name.to_owned(),
            channels: vec![channel.to_owned()],
            socket_id: Some(socket_id.to_owned()),
            user: user.map(str::to_owned),
            data: data.to_owned(),
        };
        if self.publish_event(hub, event).is_none() {
            return false;
        }
        if self.has_listener() {
            let event = PusherEvent::ClientEvent {
                channel: channel.to_owned(),
                event: name.to_owned(),
                data: packet::text_of(data),
                socket_id: socket_id.to_owned(),
                user_id: user.map(str::to_owned),
            };
            self.report(hub, event);
        }
        true
    }

    /// Closes the connections of a user on all nodes. Returns the number of the message.
    pub(super) fn terminate(&self, hub: &mut Hub, user: &str) -> Result<u64, TriggerError> {
        self.publish(hub, Message::Terminate { user: user.to_owned() }).ok_or_else(TriggerError::busy)
    }

    /// The attributes of a channel, as JSON.
    pub(super) fn attributes(&self, hub: &Hub, name: &str, info: Info) -> serde_json::Map<String, serde_json::Value> {
        let roster = self.roster.borrow();
        let channel = roster.channel(name);
        let mut attributes = serde_json::Map::new();
        if info.user_count && Access::of(name) == Access::Presence {
            attributes.insert("user_count".to_owned(), channel.map_or(0, Channel::user_count).into());
        }
        if info.subscription_count {
            let count = channel.map_or(0, |channel| channel.subscriptions);
            attributes.insert("subscription_count".to_owned(), count.into());
        }
        if info.cache && names::is_cache(name) {
            let cached =
                self.cache.borrow().get(name, hub.now()).map(
                    |(event, left)| serde_json::json!({"data": packet::text_of(&event.data), "ttl": left.as_secs()}),
                );
            attributes.insert("cache".to_owned(), cached.into());
        }
        attributes
    }

    /// Events that are cached, events of webhooks that wait, and those that were dropped.
    pub(super) fn waiting(&self) -> (usize, usize, u64) {
        let (webhooks, dropped) = self.webhooks.as_ref().map_or((0, 0), |webhooks| webhooks.waiting());
        (self.cache.borrow().len(), webhooks, dropped)
    }
}

/// An event of a client.
pub(super) struct ClientEvent<'a> {
    pub(super) socket_id: &'a str,
    /// The user, in a presence channel.
    pub(super) user: Option<&'a str>,
    pub(super) channel: &'a str,
    pub(super) name: &'a str,
    /// JSON text.
    pub(super) data: &'a str,
}

/// Sends an error to connections, and closes them with its code.
pub(super) fn close_all(hub: &mut Hub, ids: Vec<ConnectionId>, (code, message): (u16, &str)) {
    hub.send_many(ids.iter().copied(), packet::error(Some(code), message));
    for id in ids {
        hub.close(id, CloseCode::new(code), message);
    }
}
