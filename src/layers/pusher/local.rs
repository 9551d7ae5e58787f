//! The connections of this node, their subscriptions and their users. Pure but for ids.

use std::collections::{HashMap, HashSet};

use super::packet::MemberData;
use crate::reactor::ConnectionId;

/// A connection of a client.
pub(super) struct Connection {
    pub(super) socket_id: String,
    pub(super) user: Option<String>,
    watchlist: Vec<String>,
    pub(super) subscriptions: HashMap<String, Subscription>,
}

/// A subscription of a connection.
#[derive(Debug, Clone)]
pub(super) struct Subscription {
    pub(super) member: Option<MemberData>,
    /// Names it among all that there were.
    token: u64,
    /// Its client knows, and gets events.
    pub(super) is_confirmed: bool,
}

/// All connections of an app on this node.
#[derive(Default)]
pub(super) struct Local {
    connections: HashMap<ConnectionId, Connection>,
    by_socket_id: HashMap<String, ConnectionId>,
    /// Connections with a confirmed subscription, by channel.
    channels: HashMap<String, HashSet<ConnectionId>>,
    /// Connections of users that have signed in.
    users: HashMap<String, HashSet<ConnectionId>>,
    /// Connections with a user in their watchlist.
    watchers: HashMap<String, HashSet<ConnectionId>>,
    last_token: u64,
}

/// Removes a connection from the list of a name.
fn remove(lists: &mut HashMap<String, HashSet<ConnectionId>>, name: &str, id: ConnectionId) {
    if let Some(list) = lists.get_mut(name) {
        list.remove(&id);
        if list.is_empty() {
            lists.remove(name);
        }
    }
}

impl Local {
    pub(super) fn open(&mut self, id: ConnectionId, socket_id: String) {
        self.by_socket_id.insert(socket_id.clone(), id);
        let connection =
            Connection { socket_id, user: None, watchlist: Vec::new(), subscriptions: HashMap::new() };
        self.connections.insert(id, connection);
    }

    /// Removes a connection. Returns what it had.
    pub(super) fn close(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        self.by_socket_id.remove(&connection.socket_id);
        connection.subscriptions.keys().for_each(|channel| remove(&mut self.channels, channel, id));
        connection.user.iter().for_each(|user| remove(&mut self.users, user, id));
        connection.watchlist.iter().for_each(|user| remove(&mut self.watchers, user, id));
        Some(connection)
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// The connection with a socket id.
    pub(super) fn by_socket_id(&self, socket_id: &str) -> Option<ConnectionId> {
        self.by_socket_id.get(socket_id).copied()
    }

    /// Begins a subscription. Returns its token; `None` if there is one already.
    pub(super) fn subscribe(&mut self, id: ConnectionId, channel: &str, member: Option<MemberData>) -> Option<u64> {
        let connection = self.connections.get_mut(&id)?;
        if connection.subscriptions.contains_key(channel) {
            return None;
        }
        self.last_token += 1;
        let subscription = Subscription { member, token: self.last_token, is_confirmed: false };
        connection.subscriptions.insert(channel.to_owned(), subscription);
        Some(self.last_token)
    }

    /// Confirms the subscription with a token, if its client still wants it. Returns its connection.
    pub(super) fn confirm(&mut self, channel: &str, token: u64) -> Option<ConnectionId> {
        let mut connections = self.connections.iter_mut();
        let (id, subscription) = connections.find_map(|(id, connection)| {
            let subscription = connection.subscriptions.get_mut(channel)?;
            (subscription.token == token).then_some((*id, subscription))
        })?;
        subscription.is_confirmed = true;
        self.channels.entry(channel.to_owned()).or_default().insert(id);
        Some(id)
    }

    /// Ends a subscription. Returns it if there was one.
    pub(super) fn unsubscribe(&mut self, id: ConnectionId, channel: &str) -> Option<Subscription> {
        let subscription = self.connections.get_mut(&id)?.subscriptions.remove(channel)?;
        remove(&mut self.channels, channel, id);
        Some(subscription)
    }

    /// A user has signed in. Returns `false` if the connection has one already.
    pub(super) fn sign_in(&mut self, id: ConnectionId, user: &str, watchlist: Vec<String>) -> bool {
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.user.is_none()) else {
            return false;
        };
        connection.user = Some(user.to_owned());
        self.users.entry(user.to_owned()).or_default().insert(id);
        for user in &watchlist {
            self.watchers.entry(user.clone()).or_default().insert(id);
        }
        connection.watchlist = watchlist;
        true
    }

    /// The subscribers of a channel.
    pub(super) fn subscribers(&self, channel: &str) -> Vec<ConnectionId> {
        self.channels.get(channel).into_iter().flatten().copied().collect()
    }

    /// The connections of a user.
    pub(super) fn of_user(&self, user: &str) -> Vec<ConnectionId> {
        self.users.get(user).into_iter().flatten().copied().collect()
    }

    /// The connections that watch a user.
    pub(super) fn watchers(&self, user: &str) -> Vec<ConnectionId> {
        self.watchers.get(user).into_iter().flatten().copied().collect()
    }
}
