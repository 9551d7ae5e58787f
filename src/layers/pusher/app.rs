//! An app on this node: its connections, and the state that all nodes share.
//!
//! Everything that concerns more than one connection is a message on the app's topic, also with a single node. Each
//! node applies a message when it arrives, and all nodes see the messages in one order if the backplane has one: see
//! [`Redis::one_order`](crate::Redis::one_order).

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};

use super::{
    api::{Info, Trigger},
    cache::{Cache, CachedEvent},
    envelope::{Envelope, Event, Message},
    events::PusherEvent,
    local::Local,
    names::{self, Access},
    options::PusherApp,
    packet,
    roster::{ALIVE_EVERY, Outcome, Roster},
    sender::WebhookSender,
};
use crate::{
    protocol::CloseCode,
    reactor::{ConnectionId, Hub},
};

/// Interval at which the ends of nodes and of cached events are noticed.
const EXPIRE_EVERY: Duration = Duration::from_secs(5);

/// Most bytes of cached events in a message to a new node, if there is more than one.
const CACHED_BYTES: usize = 256 * 1024;

/// Code and reason with which all connections are closed.
const RESTART: (u16, &str) = (4200, "the server restarts");

/// Called with the events of an app.
type EventHook = Rc<dyn Fn(&mut Hub, &PusherEvent)>;

pub(super) struct App {
    pub(super) options: PusherApp,
    topic: String,
    /// Name of this node. Empty until the app is started.
    node: OnceCell<String>,
    /// The number of the next message.
    number: Cell<u64>,
    has_left: Cell<bool>,
    pub(super) roster: RefCell<Roster>,
    pub(super) local: RefCell<Local>,
    pub(super) cache: RefCell<Cache>,
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
            roster: RefCell::new(Roster::new()),
            local: RefCell::default(),
            cache: RefCell::new(Cache::new(options.cache_ttl, options.max_cache_bytes)),
            webhooks: options.webhook.clone().map(sender),
            hook: RefCell::default(),
            options,
        })
    }

    pub(super) fn set_hook(&self, hook: EventHook) {
        *self.hook.borrow_mut() = Some(hook);
    }

    /// Joins the other nodes, unless that is done.
    pub(super) fn start(self: &Rc<Self>, hub: &mut Hub) {
        if self.node.get().is_some() {
            return;
        }
        let mut random = [0; 16];
        hub.random(&mut random);
        self.node.get_or_init(|| format!("{:032x}", u128::from_ne_bytes(random)));
        let app = Rc::downgrade(self);
        hub.watch_topic(&self.topic, move |hub, message| {
            if let Some((app, text)) = app.upgrade().zip(message.as_text()) {
                app.on_topic(hub, text);
            }
        });
        let app = Rc::downgrade(self);
        hub.when_live(&self.topic, move |hub| {
            if let Some(app) = app.upgrade() {
                app.publish(hub, Message::Hello);
            }
        });
        self.every(hub, ALIVE_EVERY, |app, hub| app.publish(hub, Message::Alive));
        self.every(hub, EXPIRE_EVERY, |app, hub| app.expire(hub));
    }

    fn every(self: &Rc<Self>, hub: &mut Hub, interval: Duration, call: impl Fn(&Rc<Self>, &mut Hub) + 'static) {
        let app: Weak<App> = Rc::downgrade(self);
        hub.add_periodic_timer(interval, move |hub| {
            if let Some(app) = app.upgrade() {
                call(&app, hub);
            }
        });
    }

    /// The name of this node. Empty before [`start`](Self::start).
    fn node(&self) -> &str {
        self.node.get().map_or("", String::as_str)
    }

    /// Sends a message to all nodes, this one included.
    pub(super) fn publish(&self, hub: &mut Hub, message: Message) {
        if self.has_left.get() {
            return;
        }
        let number = self.number.replace(self.number.get() + 1);
        let envelope = Envelope { node: self.node().to_owned(), number, message };
        hub.publish(&self.topic, envelope.encode());
    }

    fn on_topic(self: &Rc<Self>, hub: &mut Hub, text: &str) {
        let Some(Envelope { node, number, message }) = Envelope::decode(text) else {
            if hub.may_warn() {
                log::warn!(target: super::LOG, "dropped a malformed message on the topic {:?}", self.topic);
            }
            return;
        };
        let is_own = node == self.node();
        self.update_roster(hub, &node, number, &message);
        match message {
            Message::Event(event) => self.deliver(hub, &event),
            // Without the change in the roster, its own holdings confirm it later.
            Message::Change { token: Some(token), .. } if is_own && self.roster.borrow().knows(&node) => {
                self.confirm(hub, token);
            }
            Message::Holdings { last_token, .. } if is_own => {
                let tokens = self.local.borrow().pending(last_token);
                tokens.into_iter().for_each(|token| self.confirm(hub, token));
            }
            Message::Terminate { user } => self.terminate_local(hub, &user),
            Message::Hello if !is_own => {
                self.publish_holdings(hub);
                self.publish_cached(hub, &node);
            }
            Message::Ask { node } if node == self.node() => self.publish_holdings(hub),
            Message::Cached { events } if !is_own => {
                let now = hub.now();
                for (event, left_ms) in events {
                    self.cache.borrow_mut().restore(event, Duration::from_millis(left_ms), now);
                }
            }
            _ => {}
        }
    }

    /// Applies a message to the roster, and carries out the effects.
    fn update_roster(&self, hub: &mut Hub, node: &str, number: u64, message: &Message) {
        let (is_own, now) = (node == self.node(), hub.now());
        let mut roster = self.roster.borrow_mut();
        let (effects, reports) = match message {
            Message::Holdings { holdings, .. } => (roster.on_holdings(node, number, holdings.clone(), now), is_own),
            Message::Bye => {
                let effects = roster.on_bye(node);
                let reports = if is_own { roster.is_empty() } else { roster.is_first(self.node()) };
                (effects, reports)
            }
            _ => {
                let change = match message {
                    Message::Change { change, .. } => Some(change),
                    _ => None,
                };
                let Outcome { effects, asks } = roster.on_message(node, number, change, now);
                drop(roster);
                match asks {
                    true if is_own => self.publish_holdings(hub),
                    true => self.publish(hub, Message::Ask { node: node.to_owned() }),
                    false => {}
                }
                return self.carry_out(hub, &effects, is_own);
            }
        };
        drop(roster);
        self.carry_out(hub, &effects, reports);
    }

    fn publish_holdings(&self, hub: &mut Hub) {
        let message = {
            let local = self.local.borrow();
            Message::Holdings { holdings: local.holdings(), last_token: local.last_token() }
        };
        self.publish(hub, message);
    }

    /// Sends the cached events to a new node, if this node is the first one of the others.
    fn publish_cached(&self, hub: &mut Hub, new: &str) {
        if !self.roster.borrow().is_first_without(self.node(), new) {
            return;
        }
        let mut messages: Vec<(Vec<(CachedEvent, u64)>, usize)> = Vec::new();
        for (event, left) in self.cache.borrow().all(hub.now()) {
            let bytes = event.data.len() + event.name.len() + event.channel.len();
            match messages.last_mut() {
                Some((events, total)) if *total + bytes <= CACHED_BYTES => {
                    events.push((event.clone(), left.as_millis() as u64));
                    *total += bytes;
                }
                _ => messages.push((vec![(event.clone(), left.as_millis() as u64)], bytes)),
            }
        }
        messages.into_iter().for_each(|(events, _)| self.publish(hub, Message::Cached { events }));
    }

    fn expire(&self, hub: &mut Hub) {
        let now = hub.now();
        self.cache.borrow_mut().expire(now);
        let expired = self.roster.borrow().expired(self.node(), now);
        let mut effects = Vec::new();
        for node in expired {
            log::warn!(target: super::LOG, "no message from node {node} of app {}: it has ended", self.options.id);
            effects.extend(self.roster.borrow_mut().on_bye(&node));
        }
        let reports = self.roster.borrow().is_first(self.node());
        self.carry_out(hub, &effects, reports);
    }

    /// Publishes an event of the application.
    pub(super) fn trigger(&self, hub: &mut Hub, trigger: Trigger) {
        let Trigger { name, channels, data, socket_id, .. } = trigger;
        let data = packet::quoted(&data);
        self.publish(hub, Message::Event(Event { name, channels, socket_id, user: None, data }));
    }

    /// Publishes an event of a client, and reports it. `data`: JSON text.
    pub(super) fn client_event(&self, hub: &mut Hub, sender: ClientEvent<'_>) {
        let ClientEvent { socket_id, user, channel, name, data } = sender;
        self.report(
            hub,
            &PusherEvent::ClientEvent {
                channel: channel.to_owned(),
                event: name.to_owned(),
                data: packet::text_of(data),
                socket_id: socket_id.to_owned(),
                user_id: user.map(str::to_owned),
            },
        );
        self.publish(
            hub,
            Message::Event(Event {
                name: name.to_owned(),
                channels: vec![channel.to_owned()],
                socket_id: Some(socket_id.to_owned()),
                user: user.map(str::to_owned),
                data: data.to_owned(),
            }),
        );
    }

    /// Closes the connections of a user on all nodes.
    pub(super) fn terminate(&self, hub: &mut Hub, user: &str) {
        self.publish(hub, Message::Terminate { user: user.to_owned() });
    }

    /// Leaves the other nodes, and closes all connections.
    pub(super) fn leave(&self, hub: &mut Hub) {
        if self.node.get().is_some() && !self.has_left.get() {
            self.publish(hub, Message::Bye);
            self.has_left.set(true);
        }
        let ids = self.local.borrow().ids();
        close_all(hub, ids, RESTART);
    }

    /// The attributes of a channel, as JSON.
    pub(super) fn attributes(&self, hub: &Hub, name: &str, info: Info) -> serde_json::Map<String, serde_json::Value> {
        let roster = self.roster.borrow();
        let channel = roster.channel(name);
        let mut attributes = serde_json::Map::new();
        if info.user_count && Access::of(name) == Access::Presence {
            attributes.insert("user_count".to_owned(), channel.map_or(0, |channel| channel.user_count()).into());
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
