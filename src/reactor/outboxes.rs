//! The outbound halves of all connections, and the only allocator of connection keys.

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::{
    id::{ConnectionId, IdSource},
    outbox::{Outbox, Phase},
};

/// Outboxes by key. An id is valid while the connection that it was created for is here.
///
/// The inbound half of a connection lies at the same key in [`Links`](super::links::Links), from the start of the
/// connection or, for an outgoing one, from the turn's next [`start_dials`](super::Reactor::start_dials).
pub(super) struct Outboxes {
    slab: Slab<Outbox>,
    ids: IdSource,
}

impl Outboxes {
    pub(super) fn new(ids: IdSource) -> Self {
        Outboxes { slab: Slab::new(), ids }
    }

    /// Key of the next connection.
    pub(super) fn next_key(&self) -> usize {
        self.slab.vacant_key()
    }

    /// Adds the outbox that `create` makes for the id of a new connection, at [`next_key`](Self::next_key).
    pub(super) fn insert(&mut self, create: impl FnOnce(ConnectionId) -> Outbox) -> &mut Outbox {
        let entry = self.slab.vacant_entry();
        let id = self.ids.connection(entry.key());
        entry.insert(create(id))
    }

    /// Removes the outbox at a key, which may be reused from now on.
    pub(super) fn remove(&mut self, key: usize) -> Outbox {
        self.slab.remove(key)
    }

    /// Frees unused capacity.
    pub(super) fn shrink(&mut self) {
        self.slab.shrink_to_fit();
    }

    /// The outbox of a connection.
    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Outbox> {
        self.slab.get_mut(id.key()).filter(|outbox| outbox.id == id)
    }

    /// The outbox of a connection that has not begun to close.
    #[inline]
    pub(super) fn open_mut(&mut self, id: ConnectionId) -> Option<&mut Outbox> {
        self.slab.get_mut(id.key()).filter(|outbox| outbox.id == id && outbox.phase == Phase::Open)
    }

    /// The outbox at a key.
    #[inline]
    pub(super) fn at_mut(&mut self, key: usize) -> Option<&mut Outbox> {
        self.slab.get_mut(key)
    }

    /// The outbox of a connection.
    #[inline]
    pub(super) fn get(&self, id: ConnectionId) -> Option<&Outbox> {
        self.slab.get(id.key()).filter(|outbox| outbox.id == id)
    }

    /// The outboxes of all connections, in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Outbox> {
        self.slab.iter().map(|(_, outbox)| outbox)
    }

    /// Number of connections.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }
}

impl Index<usize> for Outboxes {
    type Output = Outbox;

    #[inline]
    fn index(&self, key: usize) -> &Outbox {
        &self.slab[key]
    }
}

impl IndexMut<usize> for Outboxes {
    #[inline]
    fn index_mut(&mut self, key: usize) -> &mut Outbox {
        &mut self.slab[key]
    }
}
