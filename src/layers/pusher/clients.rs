//! The clients of an app on this node: their subscriptions, and the messages that they get.

use super::{
    app::{App, close_all},
    cache::CachedEvent,
    envelope::{Event, Message},
    events::PusherEvent,
    holdings::{Change, Channel},
    names::{self, Access, USER_PREFIX},
    packet::{self, MemberData, UserData},
    roster::Effect,
};
use crate::reactor::{ConnectionId, Hub};

/// Code and reason with which the connections of a user are closed.
const TERMINATED: (u16, &str) = (4009, "the connection was terminated by the application");

/// Reason of a refused subscription to a presence channel.
pub(super) const TOO_MANY_MEMBERS: &str = "the channel has too many members";

impl App {
    /// Tells the clients of this node about a change. Returns the event for the application.
    pub(super) fn notify_clients(&self, hub: &mut Hub, effect: Effect) -> Option<PusherEvent> {
        Some(match effect {
            Effect::Occupied { channel } => PusherEvent::ChannelOccupied { channel },
            Effect::Vacated { channel } => PusherEvent::ChannelVacated { channel },
            Effect::MemberAdded { channel, member } => {
                self.send_to(hub, &channel, |channel| packet::member_added(channel, &member));
                PusherEvent::MemberAdded { channel, user_id: member.user_id }
            }
            Effect::MemberRemoved { channel, user } => {
                self.send_to(hub, &channel, |channel| packet::member_removed(channel, &user));
                PusherEvent::MemberRemoved { channel, user_id: user }
            }
            Effect::Count { channel } => {
                if let Some(text) = self.subscription_count(&channel) {
                    self.send_to(hub, &channel, |_| text);
                }
                return None;
            }
            Effect::Online { user } => {
                self.notify_watchers(hub, user, "online");
                return None;
            }
            Effect::Offline { user } => {
                self.notify_watchers(hub, user, "offline");
                return None;
            }
        })
    }

    /// The message about the number of subscriptions of a channel, if its subscribers get one.
    fn subscription_count(&self, channel: &str) -> Option<String> {
        let is_counted = self.options.subscription_count && Access::of(channel) != Access::Presence;
        let roster = self.roster.borrow();
        let channel_state = roster.channel(channel).filter(|_| is_counted)?;
        Some(packet::subscription_count(channel, channel_state.subscriptions))
    }

    fn notify_watchers(&self, hub: &mut Hub, user: String, name: &str) {
        let watchers = self.local.borrow().watchers(&user);
        if !watchers.is_empty() {
            hub.send_many(watchers, packet::watchlist(name, &[user]));
        }
    }

    /// Sends a text to the subscribers of a channel on this node, if there are any.
    fn send_to(&self, hub: &mut Hub, channel: &str, text: impl FnOnce(&str) -> String) {
        let subscribers = self.local.borrow().subscribers(channel);
        if !subscribers.is_empty() {
            hub.send_many(subscribers, text(channel));
        }
    }

    /// Delivers an event to its receivers on this node.
    pub(super) fn deliver(&self, hub: &mut Hub, event: &Event) {
        for channel in &event.channels {
            let receivers = self.receivers(channel, event.socket_id.as_deref());
            if !receivers.is_empty() {
                let text = packet::event(&event.name, Some(channel), &event.data, event.user.as_deref());
                hub.send_many(receivers, text);
            }
            if names::is_cache(channel) && !event.name.starts_with("client-") {
                let (name, data) = (event.name.clone(), event.data.clone());
                let cached = CachedEvent { channel: channel.clone(), name, data };
                self.cache.borrow_mut().put(cached, hub.now());
            }
        }
    }

    /// The connections on this node that get the events of a channel, without one of them.
    fn receivers(&self, channel: &str, excluded: Option<&str>) -> Vec<ConnectionId> {
        let local = self.local.borrow();
        let mut receivers = match channel.strip_prefix(USER_PREFIX) {
            Some(user) => local.of_user(user),
            None => local.subscribers(channel),
        };
        if let Some(excluded) = excluded.and_then(|id| local.by_socket_id(id)) {
            receivers.retain(|id| *id != excluded);
        }
        receivers
    }

    /// A subscription of this node has come back on the topic.
    pub(super) fn on_own_token(&self, hub: &mut Hub, token: u64) {
        // Without the change in the roster, the holdings of this node confirm it later.
        if self.roster.borrow().knows(self.node()) {
            self.confirm(hub, token);
        } else {
            self.local.borrow_mut().note_returned(token);
        }
    }

    /// The holdings of this node have come back on the topic, with the subscriptions up to a token.
    pub(super) fn confirm_pending(&self, hub: &mut Hub, last_token: u64) {
        let tokens = self.local.borrow().pending(last_token);
        tokens.into_iter().for_each(|token| self.confirm(hub, token));
    }

    fn confirm(&self, hub: &mut Hub, token: u64) {
        let confirmed = self.local.borrow_mut().confirm(token);
        let Some((id, channel)) = confirmed else { return };
        let members = self.roster.borrow().channel(&channel).map_or(0, Channel::user_count);
        if Access::of(&channel) == Access::Presence && members > self.options.max_members {
            // The limit was reached while the subscription was on its way.
            self.unsubscribe(hub, id, &channel);
            hub.send(id, packet::subscription_error(&channel, "LimitReached", TOO_MANY_MEMBERS, 403));
            return;
        }
        self.notify_subscribed(hub, id, &channel);
    }

    /// Tells a client that it is subscribed, and sends it the cached event.
    fn notify_subscribed(&self, hub: &mut Hub, id: ConnectionId, channel: &str) {
        let text = self.subscribed(channel);
        hub.send(id, text);
        if let Some(text) = self.subscription_count(channel) {
            hub.send(id, text);
        }
        if names::is_cache(channel) {
            let cached = self
                .cache
                .borrow()
                .get(channel, hub.now())
                .map(|(event, _)| packet::event(&event.name, Some(channel), &event.data, None));
            match cached {
                Some(text) => _ = hub.send(id, text),
                None => {
                    hub.send(id, packet::cache_miss(channel));
                    self.report(hub, PusherEvent::CacheMiss { channel: channel.to_owned() });
                }
            }
        }
    }

    /// The message that confirms a subscription, with the members of a presence channel.
    fn subscribed(&self, channel: &str) -> String {
        if Access::of(channel) != Access::Presence {
            return packet::subscribed(channel, "{}");
        }
        let roster = self.roster.borrow();
        let members = roster.channel(channel).into_iter().flat_map(Channel::members);
        packet::subscribed(channel, &packet::presence(members))
    }

    /// Ids of the users of a presence channel, sorted.
    pub(super) fn users(&self, channel: &str) -> Vec<String> {
        let roster = self.roster.borrow();
        let members = roster.channel(channel).into_iter().flat_map(Channel::members);
        members.map(|member| member.user_id.clone()).collect()
    }

    /// Subscribes a connection. The confirmation follows when the subscription has come back on the topic. A connection
    /// that is subscribed already gets the confirmation again.
    pub(super) fn subscribe(&self, hub: &mut Hub, id: ConnectionId, channel: &str, member: Option<MemberData>) {
        let token = self.local.borrow_mut().subscribe(id, channel, member.clone());
        match token {
            Some(token) => {
                let change = Change::Join { channel: channel.to_owned(), member };
                self.publish(hub, Message::Change { change, token: Some(token) });
            }
            None if self.is_subscribed(id, channel) => {
                let text = self.subscribed(channel);
                hub.send(id, text);
            }
            None => {}
        }
    }

    fn is_subscribed(&self, id: ConnectionId, channel: &str) -> bool {
        let local = self.local.borrow();
        let subscription = local.get(id).and_then(|connection| connection.subscriptions.get(channel));
        subscription.is_some_and(|subscription| subscription.is_confirmed)
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

    /// Signs a user in on a connection that has none, and tells it the users of its watchlist that are online.
    pub(super) fn sign_in(&self, hub: &mut Hub, id: ConnectionId, user: UserData) {
        let UserData { id: user, watchlist } = user;
        self.local.borrow_mut().sign_in(id, &user, watchlist.clone());
        let online: Vec<String> = {
            let roster = self.roster.borrow();
            watchlist.into_iter().filter(|user| roster.is_online(user)).collect()
        };
        if !online.is_empty() {
            hub.send(id, packet::watchlist("online", &online));
        }
        self.publish(hub, Message::Change { change: Change::SignIn { user }, token: None });
    }

    /// Ends the subscriptions of a connection that has closed.
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

    pub(super) fn terminate_local(&self, hub: &mut Hub, user: &str) {
        let ids = self.local.borrow().of_user(user);
        close_all(hub, ids, TERMINATED);
    }
}
