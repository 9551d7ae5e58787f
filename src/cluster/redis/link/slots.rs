//! The link as one of several to the nodes of a cluster.

use std::rc::Weak;

use super::Link;
use crate::{
    cluster::redis::{resp::Reply, shards::read_slots},
    reactor::Hub,
};

impl Link {
    /// Has the cluster find out which node has which slots. Not within this call, in which the link is in use.
    pub(super) fn ask_shards(&self, hub: &mut Hub) {
        if let Some(shards) = self.shards.as_ref().and_then(Weak::upgrade) {
            hub.next_tick(move |hub| shards.borrow_mut().ask_soon(hub));
        }
    }

    pub(in crate::cluster::redis) fn ask_for_slots(&mut self, hub: &mut Hub) {
        self.channels.ask_for_slots(&mut self.commands);
        self.flush(hub);
    }

    /// Notes the id of the node.
    pub(in crate::cluster::redis) fn set_node_id(&mut self, reply: &Reply<'_>) {
        self.node_id = reply.as_bytes().unwrap_or_default().to_vec();
    }

    /// Passes the slots of the nodes on.
    pub(in crate::cluster::redis) fn set_slots(&self, hub: &mut Hub, reply: &Reply<'_>) {
        let slots = read_slots(reply, &self.address, &self.node_id);
        if let (Some(shards), Some(slots)) = (self.shards.as_ref().and_then(Weak::upgrade), slots) {
            hub.next_tick(move |hub| shards.borrow_mut().set_slots(hub, slots));
        }
    }

    /// Subscribes channels that were refused once more.
    pub(in crate::cluster::redis) fn try_refused_again(&mut self, hub: &mut Hub) {
        if self.counters.is_connected {
            self.channels.try_refused_again(&mut self.commands);
            self.flush(hub);
        }
    }

    /// Closes the connections, and makes no further attempt.
    pub(in crate::cluster::redis) fn leave(&mut self, hub: &mut Hub) {
        self.end();
        self.is_active = false;
        if let Some(pair) = self.pair.take() {
            pair.ids.iter().for_each(|id| _ = hub.terminate(*id));
        }
        self.deliver_all_held(hub);
    }
}

/// Whether a node has refused a command because another node has the slot.
pub(super) fn is_moved(error: &str) -> bool {
    error.starts_with("MOVED")
}
