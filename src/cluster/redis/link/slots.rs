//! The link as one of several to the nodes of a cluster.

use super::{Link, NodeNews};
use crate::{
    cluster::redis::{resp::Reply, slot_map::read_slots},
    reactor::Hub,
};

impl Link {
    /// Has the cluster find out which node has which slots.
    pub(super) fn ask_cluster(&self, hub: &mut Hub) {
        self.tell(hub, NodeNews::IsOutdated);
    }

    fn tell(&self, hub: &mut Hub, news: NodeNews) {
        if let Some(on_news) = &self.on_news {
            on_news(hub, news);
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
        if let Some(slots) = read_slots(reply, &self.address, &self.node_id) {
            self.tell(hub, NodeNews::Slots(slots));
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
