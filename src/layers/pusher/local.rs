//! The connections of this node, their subscriptions and their users. Pure but for ids.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    holdings::{Change, Holdings},
    packet::MemberData,
};
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
    /// Identifies it among all subscriptions of the node, past ones included.
    token: u64,
    /// Its client has been told, and gets events.
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
    /// Subscriptions that are not confirmed, by token.
    pending: BTreeMap<u64, (ConnectionId, String)>,
    last_token: u64,
    /// The newest token that has come back on the topic.
    returned_token: u64,
    /// Subscriptions of all connections.
    subscriptions: usize,
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
        let connection = Connection { socket_id, user: None, watchlist: Vec::new(), subscriptions: HashMap::new() };
        self.connections.insert(id, connection);
    }

    /// Removes a connection, and returns it.
    pub(super) fn close(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        self.by_socket_id.remove(&connection.socket_id);
        self.subscriptions -= connection.subscriptions.len();
        for (channel, subscription) in &connection.subscriptions {
            self.pending.remove(&subscription.token);
            remove(&mut self.channels, channel, id);
        }
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
        self.pending.insert(self.last_token, (id, channel.to_owned()));
        self.subscriptions += 1;
        Some(self.last_token)
    }

    /// Confirms the subscription with a token. Returns its connection and channel, unless it has ended.
    pub(super) fn confirm(&mut self, token: u64) -> Option<(ConnectionId, String)> {
        let (id, channel) = self.pending.remove(&token)?;
        self.connections.get_mut(&id)?.subscriptions.get_mut(&channel)?.is_confirmed = true;
        self.channels.entry(channel.clone()).or_default().insert(id);
        Some((id, channel))
    }

    /// Notes a subscription that is to be confirmed with the holdings of this node.
    pub(super) fn note_returned(&mut self, token: u64) {
        self.returned_token = self.returned_token.max(token);
    }

    /// The tokens of subscriptions that are not confirmed, up to a token or the last one that was
    /// [noted](Self::note_returned).
    pub(super) fn pending(&self, last: u64) -> Vec<u64> {
        self.pending.range(..=last.max(self.returned_token)).map(|(token, _)| *token).collect()
    }

    /// The token of the newest subscription.
    pub(super) fn last_token(&self) -> u64 {
        self.last_token
    }

    /// Ends a subscription. Returns it if there was one.
    pub(super) fn unsubscribe(&mut self, id: ConnectionId, channel: &str) -> Option<Subscription> {
        let subscription = self.connections.get_mut(&id)?.subscriptions.remove(channel)?;
        self.subscriptions -= 1;
        self.pending.remove(&subscription.token);
        remove(&mut self.channels, channel, id);
        Some(subscription)
    }

    /// All subscriptions and users of the node.
    pub(super) fn holdings(&self) -> Holdings {
        let mut holdings = Holdings::default();
        let of_connection = |connection: &Connection| connection.subscriptions.clone();
        let mut subscriptions: Vec<(String, Subscription)> =
            self.connections.values().flat_map(of_connection).collect();
        // The oldest subscription of a user has the user's data, as in the rosters.
        subscriptions.sort_by_key(|(_, subscription)| subscription.token);
        for (channel, Subscription { member, .. }) in subscriptions {
            holdings.apply(&Change::Join { channel, member });
        }
        for user in self.connections.values().filter_map(|connection| connection.user.clone()) {
            holdings.apply(&Change::SignIn { user });
        }
        holdings
    }

    pub(super) fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// All connections.
    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.connections.keys().copied().collect()
    }

    /// The user that has signed in on a connection.
    pub(super) fn user(&self, id: ConnectionId) -> Option<&str> {
        self.connections.get(&id)?.user.as_deref()
    }

    /// Signs a user in on a connection that has none.
    pub(super) fn sign_in(&mut self, id: ConnectionId, user: &str, watchlist: Vec<String>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.user = Some(user.to_owned());
        self.users.entry(user.to_owned()).or_default().insert(id);
        for user in &watchlist {
            self.watchers.entry(user.clone()).or_default().insert(id);
        }
        connection.watchlist = watchlist;
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
