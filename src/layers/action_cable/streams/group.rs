//! Connections that get the same bytes.

use std::collections::{HashMap, hash_map::Entry};

use super::super::protocol::{Place, Protocol};
use crate::reactor::{ConnectionId, Hub};

/// Connections in no order, with constant time for each change.
#[derive(Default)]
pub(super) struct Group {
    /// The identifier of their subscriptions, as JSON text.
    quoted: String,
    protocol: Option<Protocol>,
    ids: Vec<ConnectionId>,
    positions: HashMap<ConnectionId, usize>,
}

impl Group {
    pub(super) fn new(quoted: String, protocol: Protocol) -> Self {
        Group { quoted, protocol: Some(protocol), ..Group::default() }
    }

    pub(super) fn insert(&mut self, id: ConnectionId) {
        if let Entry::Vacant(entry) = self.positions.entry(id) {
            entry.insert(self.ids.len());
            self.ids.push(id);
        }
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> bool {
        let Some(position) = self.positions.remove(&id) else { return false };
        self.ids.swap_remove(position);
        if let Some(moved) = self.ids.get(position) {
            self.positions.insert(*moved, position);
        }
        true
    }

    pub(super) fn ids(&self) -> &[ConnectionId] {
        &self.ids
    }

    /// Sends a message to all of them, or to all but one. A closing connection with many subscriptions costs nothing.
    pub(super) fn send(&self, hub: &mut Hub, except: Option<ConnectionId>, json: &str, place: Option<&Place<'_>>) {
        let mut others = self.ids.iter().copied().filter(|id| Some(*id) != except);
        let Some(protocol) = self.protocol.filter(|_| others.clone().any(|id| hub.is_open(id))) else { return };
        let text = protocol.message(&self.quoted, json, place);
        if protocol.is_events() {
            others.for_each(|id| _ = protocol.send(hub, id, &text, place));
        } else {
            hub.send_many(&mut others, text);
        }
    }

    /// Sends a text to all of them.
    pub(super) fn tell(&self, hub: &mut Hub, text: impl FnOnce(&str) -> String) {
        hub.send_many(self.ids.iter().copied(), text(&self.quoted));
    }
}
