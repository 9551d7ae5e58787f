//! Connections that get the same bytes.

use std::collections::HashMap;

use crate::reactor::{ConnectionId, Hub};

/// Connections in no order, with constant time for each change.
#[derive(Default)]
pub(super) struct Group {
    /// The identifier of their subscriptions, as JSON text.
    pub(super) quoted: String,
    ids: Vec<ConnectionId>,
    positions: HashMap<ConnectionId, usize>,
}

impl Group {
    pub(super) fn new(quoted: String) -> Self {
        Group { quoted, ..Group::default() }
    }

    pub(super) fn insert(&mut self, id: ConnectionId) {
        if self.positions.insert(id, self.ids.len()).is_none() {
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

    /// Sends a text to all of them, or to all but one. A closing connection with many subscriptions costs nothing.
    pub(super) fn send(&self, hub: &mut Hub, except: Option<ConnectionId>, text: impl FnOnce(&str) -> String) {
        let mut others = self.ids.iter().copied().filter(|id| Some(*id) != except);
        if others.clone().any(|id| hub.is_open(id)) {
            hub.send_many(&mut others, text(&self.quoted));
        }
    }
}
