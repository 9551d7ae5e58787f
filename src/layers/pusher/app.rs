//! An app on this node: its connections, and what all nodes know together.
//!
//! Everything that concerns more than one connection is a message on the app's topic, also where there is one node only.
//! Each node does what a message asks for when it arrives, and all see the messages in one order if the backplane has
//! one: see [`Redis::one_order`](crate::Redis::one_order).

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};

use super::{
    cache::Cache,
    envelope::{Envelope, Event, Message},
    local::Local,
    names::{self, Access, USER_PREFIX},
    options::AppOptions,
    packet::{self, MemberData, UserData},
    roster::{ALIVE_EVERY, Change, Effect, Outcome, Roster},
    sender::WebhookSender,
    signature::Credentials,
    webhooks,
};
use crate::{
    protocol::CloseCode,
    reactor::{ConnectionId, Hub, TopicWatch},
};

pub(super) struct App {
    pub(super) id: String,
    pub(super) credentials: Credentials,
    pub(super) options: AppOptions,
    topic: String,
    /// Names this node among the others.
    node: String,
    number: Cell<u64>,
    watch: Cell<Option<TopicWatch>>,
    pub(super) roster: RefCell<Roster>,
    pub(super) local: RefCell<Local>,
    pub(super) cache: RefCell<Cache>,
    webhooks: Option<Rc<WebhookSender>>,
}

impl App {
    pub(super) fn new(id: &str, credentials: Credentials, options: AppOptions, webhooks: Option<WebhookSender>) -> Rc<Self> {
        Rc::new(App {
            id: id.to_owned(),
            credentials,
            options,
            topic: format!("pusher/{id}"),
            node: String::new(),
            number: Cell::default(),
            watch: Cell::default(),
            roster: RefCell::new(Roster::new()),
            local: RefCell::default(),
            cache: RefCell::default(),
            webhooks: webhooks.map(Rc::new),
        })
    }

    /// Joins the other nodes.
    pub(super) fn start(self: &Rc<Self>, hub: &mut Hub) {
        let app = Rc::downgrade(self);
        let watch = hub.watch_topic(&self.topic, move |hub, message| {
            if let Some((app, text)) = app.upgrade().zip(message.as_text()) {
                app.on_topic(hub, text);
            }
        });
        self.watch.set(Some(watch));
        let app = Rc::downgrade(self);
        hub.when_live(&self.topic, move |hub| {
            if let Some(app) = app.upgrade() {
                app.publish(hub, Message::Hello);
            }
        });
        self.every(hub, ALIVE_EVERY, |app, hub| app.publish(hub, Message::Alive));
        self.every(hub, Duration::from_secs(5), |app, hub| app.end_expired(hub));
        let app = Rc::downgrade(self);
        hub.add_shutdown_hook(move |hub| {
            if let Some(app) = app.upgrade() {
                app.publish(hub, Message::Bye);
            }
        });
    }

    fn every(self: &Rc<Self>, hub: &mut Hub, interval: Duration, call: impl Fn(&Rc<Self>, &mut Hub) + 'static) {
        let app: Weak<App> = Rc::downgrade(self);
        hub.add_periodic_timer(interval, move |hub| {
            if let Some(app) = app.upgrade() {
                call(&app, hub);
            }
        });
    }

    /// Sends a message to all nodes, this one included.
    pub(super) fn publish(&self, hub: &mut Hub, message: Message) {
        let number = self.number.replace(self.number.get() + 1);
        let envelope = Envelope { node: self.node.clone(), number, message };
        hub.publish(&self.topic, envelope.encode());
    }

    fn on_topic(self: &Rc<Self>, hub: &mut Hub, text: &str) {
        let Some(Envelope { node, number, message }) = Envelope::decode(text) else {
            if hub.may_warn() {
                log::warn!(target: super::LOG, "a message on {:?} is not understood", self.topic);
            }
            return;
        };
        let is_own = node == self.node;
        let (change, token) = match &message {
            Message::Change { change, token } => (Some(change), *token),
            _ => (None, None),
        };
        let effects = match &message {
            Message::Holdings { holdings, .. } => {
                self.roster.borrow_mut().on_holdings(&node, number, holdings.clone(), hub.now())
            }
            Message::Bye => self.roster.borrow_mut().on_bye(&node),
            _ => {
                let Outcome { effects, asks } = self.roster.borrow_mut().on_message(&node, number, change, hub.now());
                if asks && !is_own {
                    self.publish(hub, Message::Ask { node: node.clone() });
                }
                effects
            }
        };
        // Of what a node has left behind, the first of the others tells.
        let tells = is_own || change.is_none() && self.roster.borrow().is_first(&self.node);
        effects.iter().for_each(|effect| self.carry_out(hub, effect, tells));
        match message {
            Message::Event(event) => self.deliver(hub, &event),
            Message::Change { change: Change::Join { channel, .. }, .. } if is_own => {
                if let Some(token) = token {
                    self.confirm(hub, &channel, token);
                }
            }
            Message::Terminate { user } => self.terminate_local(hub, &user),
            Message::Hello if !is_own => self.publish_holdings(hub),
            Message::Ask { node } if node == self.node => self.publish_holdings(hub),
            _ => {}
        }
    }

    fn publish_holdings(&self, hub: &mut Hub) {
        let holdings = self.roster.borrow().holdings(&self.node);
        self.publish(hub, Message::Holdings { holdings });
    }

    fn end_expired(self: &Rc<Self>, hub: &mut Hub) {
        let expired = self.roster.borrow().expired(&self.node, hub.now());
        for node in expired {
            log::warn!(target: super::LOG, "node {node} of app {} is silent, and counts as gone", self.id);
            let effects = self.roster.borrow_mut().on_bye(&node);
            let tells = self.roster.borrow().is_first(&self.node);
            effects.iter().for_each(|effect| self.carry_out(hub, effect, tells));
        }
    }

    /// Does what a change of all nodes together means for the clients of this one. `tells`: this node sends webhooks.
    fn carry_out(&self, hub: &mut Hub, effect: &Effect, tells: bool) {
        let webhook = match effect {
            Effect::Occupied { channel } => Some(webhooks::Event::Occupied { channel: channel.clone() }),
            Effect::Vacated { channel } => Some(webhooks::Event::Vacated { channel: channel.clone() }),
            Effect::MemberAdded { channel, member } => {
                self.send_to(hub, channel, &packet::member_added(channel, member));
                Some(webhooks::Event::MemberAdded { channel: channel.clone(), user: member.user_id.clone() })
            }
            Effect::MemberRemoved { channel, user } => {
                self.send_to(hub, channel, &packet::member_removed(channel, user));
                Some(webhooks::Event::MemberRemoved { channel: channel.clone(), user: user.clone() })
            }
            Effect::Count { channel } => {
                if self.options.subscription_count && Access::of(channel) != Access::Presence {
                    let count = self.roster.borrow().channel(channel).map_or(0, |channel| channel.subscriptions);
                    self.send_to(hub, channel, &packet::subscription_count(channel, count));
                }
                None
            }
            Effect::Online { user } => {
                self.tell_watchers(hub, user, "online");
                None
            }
            Effect::Offline { user } => {
                self.tell_watchers(hub, user, "offline");
                None
            }
        };
        if let Some(webhook) = webhook.filter(|_| tells) {
            self.tell(hub, &webhook);
        }
    }

    /// Queues a webhook.
    pub(super) fn tell(&self, hub: &mut Hub, event: &webhooks::Event) {
        if let Some(webhooks) = &self.webhooks {
            webhooks.push(hub, &self.credentials, event);
        }
    }

    fn tell_watchers(&self, hub: &mut Hub, user: &str, name: &str) {
        let watchers = self.local.borrow().watchers(user);
        hub.send_many(watchers, packet::watchlist(name, &[user.to_owned()]));
    }

    /// Sends a text to the subscribers of a channel on this node.
    fn send_to(&self, hub: &mut Hub, channel: &str, text: &str) {
        let subscribers = self.local.borrow().subscribers(channel);
        hub.send_many(subscribers, text);
    }

    /// Delivers an event to the subscribers on this node.
    fn deliver(&self, hub: &mut Hub, event: &Event) {
        for channel in &event.channels {
            let text = packet::event(&event.name, Some(channel), &event.data, event.user.as_deref());
            let receivers = {
                let local = self.local.borrow();
                let excluded = event.socket_id.as_ref().and_then(|id| local.by_socket_id(id));
                let mut receivers = match channel.strip_prefix(USER_PREFIX) {
                    Some(user) => local.of_user(user),
                    None => local.subscribers(channel),
                };
                receivers.retain(|id| Some(*id) != excluded);
                receivers
            };
            hub.send_many(receivers, text.as_str());
            let is_of_client = event.name.starts_with("client-");
            if names::is_cache(channel) && !is_of_client {
                self.cache.borrow_mut().put(channel, text, hub.now());
            }
        }
    }

    /// A subscription of this node is known to all.
    fn confirm(&self, hub: &mut Hub, channel: &str, token: u64) {
        let Some(id) = self.local.borrow_mut().confirm(channel, token) else { return };
        let data = match Access::of(channel) {
            Access::Presence => {
                let roster = self.roster.borrow();
                packet::presence(roster.channel(channel).into_iter().flat_map(|channel| channel.members()))
            }
            _ => "{}".to_owned(),
        };
        hub.send(id, packet::subscribed(channel, &data));
        if names::is_cache(channel) {
            let cached = self.cache.borrow_mut().get(channel, hub.now());
            match cached {
                Some(text) => _ = hub.send(id, text),
                None => {
                    hub.send(id, packet::cache_miss(channel));
                    self.tell(hub, &webhooks::Event::CacheMiss { channel: channel.to_owned() });
                }
            }
        }
    }

    /// Subscribes a connection, once all nodes know. Without effect if it is subscribed already.
    pub(super) fn subscribe(&self, hub: &mut Hub, id: ConnectionId, channel: &str, member: Option<MemberData>) {
        let token = self.local.borrow_mut().subscribe(id, channel, member.clone());
        if token.is_some() {
            let change = Change::Join { channel: channel.to_owned(), member };
            self.publish(hub, Message::Change { change, token });
        }
    }

    pub(super) fn unsubscribe(&self, hub: &mut Hub, id: ConnectionId, channel: &str) {
        let subscription = self.local.borrow_mut().unsubscribe(id, channel);
        if let Some(subscription) = subscription {
            self.publish_leave(hub, channel, subscription.member);
        }
    }

    fn publish_leave(&self, hub: &mut Hub, channel: &str, member: Option<MemberData>) {
        let change = Change::Leave { channel: channel.to_owned(), user: member.map(|member| member.user_id) };
        self.publish(hub, Message::Change { change, token: None });
    }

    /// A user has signed in by a connection. Returns `false` if it has one already.
    pub(super) fn sign_in(&self, hub: &mut Hub, id: ConnectionId, user: UserData) -> bool {
        let UserData { id: user, watchlist } = user;
        if !self.local.borrow_mut().sign_in(id, &user, watchlist.clone()) {
            return false;
        }
        let online: Vec<String> = {
            let roster = self.roster.borrow();
            watchlist.into_iter().filter(|user| roster.is_online(user)).collect()
        };
        if !online.is_empty() {
            hub.send(id, packet::watchlist("online", &online));
        }
        self.publish(hub, Message::Change { change: Change::SignIn { user }, token: None });
        true
    }

    /// A connection has ended.
    pub(super) fn close(&self, hub: &mut Hub, id: ConnectionId) {
        let connection = self.local.borrow_mut().close(id);
        let Some(connection) = connection else { return };
        for (channel, subscription) in connection.subscriptions {
            self.publish_leave(hub, &channel, subscription.member);
        }
        if let Some(user) = connection.user {
            self.publish(hub, Message::Change { change: Change::SignOut { user }, token: None });
        }
    }

    /// Closes the connections of a user on this node.
    fn terminate_local(&self, hub: &mut Hub, user: &str) {
        let message = "the connection was terminated by the application";
        for id in self.local.borrow().of_user(user) {
            hub.send(id, packet::error(Some(4009), message));
            hub.close(id, CloseCode::new(4009).unwrap_or(CloseCode::NORMAL), message);
        }
    }
}
