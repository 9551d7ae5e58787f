//! Publishing in a group: here at once, and on the other reactors by their command queues.

use std::sync::Arc;

use super::publication::{Manner, Publication};
use crate::{
    net::Kernel,
    protocol::{Outgoing, event_stream::Event},
    reactor::{Reactor, hub::Hub, publish::Published},
};

impl Hub {
    /// Returns `true` if the reactor is in a group of several.
    #[inline]
    pub(in crate::reactor) fn is_in_group(&self) -> bool {
        self.membership.is_some()
    }

    /// Publishes a message here, and queues it for the other reactors of the group.
    #[cold]
    pub(in crate::reactor) fn publish_in_group(&mut self, publication: Publication) -> Published {
        let publication = Arc::new(publication);
        let mut published = self.publish_shared(&publication);
        if let Some(membership) = &mut self.membership {
            let handed_on = membership.queue(&publication);
            (published.handed_on, published.refused) = (handed_on.queued, handed_on.refused);
        }
        published
    }

    /// Publishes a message of the group to the subscribers on this reactor.
    pub(in crate::reactor) fn publish_shared(&mut self, publication: &Publication) -> Published {
        let (topic, message) = (&*publication.topic, Outgoing::from(&publication.message));
        match &publication.manner {
            Manner::Message { except, compress } => self.publish_here(topic, message, *except, *compress),
            Manner::Latest(key) => self.publish_latest_here(topic, key, message),
            Manner::Event(name) => {
                let data = message.as_message().as_text().unwrap_or_default();
                self.publish_event_here(topic, Event { name: name.as_deref(), id: None, data })
            }
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Passes what was published in this turn to the other reactors.
    #[inline]
    pub(in crate::reactor) fn hand_on_publications(&mut self) {
        if let Some(membership) = &mut self.hub.membership
            && membership.has_output()
        {
            membership.hand_on(self.hub.time_slice.clock.map(|clock| clock()));
        }
    }
}
