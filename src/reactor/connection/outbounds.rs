//! The outbound halves of all connections, and the only allocator of connection keys.

use std::ops::{Index, IndexMut};

use slab::Slab;

use crate::reactor::{
    connection::outbound::Outbound,
    id::{ConnectionId, IdSource},
    slack::{Peak, shrink_slab},
};

/// Outbound halves by key. An id is valid while the connection that it was created for is here.
///
/// The inbound half of a connection lies at the same key in [`Inbounds`](super::inbounds::Inbounds), from the start of
/// the connection or, for an outgoing one, from the turn's next [`start_dials`](crate::reactor::Reactor::start_dials).
pub(in crate::reactor) struct Outbounds {
    slab: Slab<Outbound>,
    ids: IdSource,
    peak: Peak,
}

impl Outbounds {
    pub(in crate::reactor) fn new(ids: IdSource) -> Self {
        Outbounds { slab: Slab::new(), ids, peak: Peak::default() }
    }

    /// Key of the next connection.
    pub(in crate::reactor) fn next_key(&self) -> usize {
        self.slab.vacant_key()
    }

    /// Adds the half that `create` makes for the id of a new connection, at [`next_key`](Self::next_key).
    pub(in crate::reactor) fn insert(&mut self, create: impl FnOnce(ConnectionId) -> Outbound) -> &mut Outbound {
        self.peak.note(self.slab.len() + 1);
        let entry = self.slab.vacant_entry();
        let id = self.ids.connection(entry.key());
        entry.insert(create(id))
    }

    /// Removes the half at a key, which may be reused from now on.
    pub(in crate::reactor) fn remove(&mut self, key: usize) -> Outbound {
        self.slab.remove(key)
    }

    /// Returns `true` if the table has become much larger than its contents.
    pub(in crate::reactor) fn has_excess(&self) -> bool {
        self.peak.is_past(self.slab.len(), self.slab.capacity())
    }

    /// Frees unused capacity.
    pub(in crate::reactor) fn shrink(&mut self) {
        shrink_slab(&mut self.slab);
        self.peak.reset(self.slab.len());
    }

    /// The half of a connection.
    #[inline]
    pub(in crate::reactor) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Outbound> {
        self.slab.get_mut(id.key()).filter(|outbound| outbound.id == id)
    }

    /// The half of a connection that has not begun to close.
    #[inline]
    pub(in crate::reactor) fn open_mut(&mut self, id: ConnectionId) -> Option<&mut Outbound> {
        self.slab.get_mut(id.key()).filter(|outbound| outbound.id == id && outbound.state.is_open())
    }

    /// The half of an open stream whose output has not ended.
    pub(in crate::reactor) fn writable_mut(&mut self, id: ConnectionId) -> Option<&mut Outbound> {
        self.open_mut(id).filter(|outbound| !outbound.state.is_output_ended())
    }

    /// The half at a key.
    #[inline]
    pub(in crate::reactor) fn at_mut(&mut self, key: usize) -> Option<&mut Outbound> {
        self.slab.get_mut(key)
    }

    /// The half of a connection.
    #[inline]
    pub(in crate::reactor) fn get(&self, id: ConnectionId) -> Option<&Outbound> {
        self.slab.get(id.key()).filter(|outbound| outbound.id == id)
    }

    /// The halves of all connections, in the order of their keys.
    pub(in crate::reactor) fn iter(&self) -> impl Iterator<Item = &Outbound> {
        self.slab.iter().map(|(_, outbound)| outbound)
    }

    /// Number of connections.
    pub(in crate::reactor) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(in crate::reactor) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }
}

impl Index<usize> for Outbounds {
    type Output = Outbound;

    #[inline]
    fn index(&self, key: usize) -> &Outbound {
        &self.slab[key]
    }
}

impl IndexMut<usize> for Outbounds {
    #[inline]
    fn index_mut(&mut self, key: usize) -> &mut Outbound {
        &mut self.slab[key]
    }
}
