//! The link as one of several to the nodes of a cluster.

use std::{collections::VecDeque, rc::Rc};

use super::{Link, NodeNews, deliver};
use crate::{
    cluster::redis::{
        channels::{Kept, Outcome},
        resp::Reply,
        slot_map::read_slots,
    },
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
        let slots = read_slots(reply, &self.address, &self.node_id);
        self.tell(hub, slots.map_or(NodeNews::NoSlots, NodeNews::Slots));
    }

    /// Subscribes channels that were refused once more.
    pub(in crate::cluster::redis) fn try_refused_again(&mut self, hub: &mut Hub) {
        if self.counters.is_connected {
            self.channels.try_refused_again(&mut self.commands);
            self.flush(hub);
        }
    }

    /// Closes the connections, and makes no further attempt. Returns what is kept for when there is a connection.
    pub(in crate::cluster::redis) fn leave(&mut self, hub: &mut Hub) -> VecDeque<Kept> {
        self.end();
        self.is_active = false;
        if let Some(sentinel) = self.sentinel.take() {
            hub.terminate(sentinel);
        }
        self.drop_connections(hub);
        self.counters.is_connected = false;
        if let Some(outage) = self.outage.take() {
            self.report_gap(hub, outage.topics, outage.since);
        }
        self.channels.take_kept()
    }

    /// Takes over what another node was to publish.
    pub(in crate::cluster::redis) fn publish_kept(&mut self, hub: &mut Hub, kept: Kept) {
        let outcome = self.channels.publish_kept(kept, &mut self.commands);
        self.counters.lost += u64::from(outcome == Outcome::Lost);
        self.flush(hub);
    }

    /// Gives a topic up to another node: what is held of it is delivered, and what others publish may be missed.
    pub(in crate::cluster::redis) fn give_up(&mut self, hub: &mut Hub, topic: &Rc<str>) {
        deliver(hub, self.held.take_topic(topic));
        if self.channels.is_subscribed(topic) {
            self.report_gap(hub, vec![Rc::clone(topic)], hub.now());
        }
        self.unsubscribe(hub, topic);
    }

    /// Subscribes the patterns, which only one node does.
    pub(in crate::cluster::redis) fn subscribe_patterns(&mut self, hub: &mut Hub) {
        let patterns = self.settings.pattern_names();
        self.channels.set_patterns(patterns, &mut self.commands);
        self.flush(hub);
    }
}

/// Returns `true` if the refusal of a command is temporary: another node has the slot, or no node has it.
pub(super) fn may_pass(error: &str) -> bool {
    ["MOVED", "CLUSTERDOWN", "TRYAGAIN"].iter().any(|kind| error.starts_with(kind))
}
