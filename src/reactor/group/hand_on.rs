//! Publishing in a group: here at once, and on the other reactors by their command queues.

use std::sync::Arc;

use super::{
    HandedOn,
    publication::{Manner, Publication, Sequence},
};
use crate::{
    net::Kernel,
    protocol::{Outgoing, event_stream::Event},
    reactor::{
        Reactor,
        hub::Hub,
        publish::{Published, event::Numbering},
    },
};

impl Hub {
    /// Returns `true` if the reactor is in a group of several.
    #[inline]
    pub(in crate::reactor) fn is_in_group(&self) -> bool {
        self.membership.is_some()
    }

    /// Publishes a message here, and queues it for the other reactors of the group.
    #[cold]
    pub(in crate::reactor) fn publish_in_group(&mut self, mut publication: Publication) -> Published {
        let is_kept = self.histories.is_kept(&publication.topic);
        let Some(membership) = &mut self.membership else { return Published::default() };
        if is_kept && !membership.is_sequencer() {
            publication.sequence = Sequence::Wanted;
            let HandedOn { queued, refused } = membership.queue_for_sequencer(Arc::new(publication));
            return Published { handed_on: queued, refused, ..Published::default() };
        }
        let mut published = self.publish_shared(&publication, Numbering::Here);
        publication.sequence = Sequence::Done(published.event_id);
        if let Some(membership) = &mut self.membership {
            let handed_on = membership.queue(&Arc::new(publication));
            (published.handed_on, published.refused) = (handed_on.queued, handed_on.refused);
        }
        published
    }

    /// Passes what was published so far to the other reactors, so that what they are told next comes after it.
    #[cold]
    pub(super) fn hand_on(&mut self) {
        let clock = self.time_slice.clock;
        if let Some(membership) = self.membership.as_mut().filter(|membership| membership.has_output()) {
            membership.hand_on(clock.map(|clock| clock()));
        }
    }

    /// Publishes a message that another reactor of the group has handed on.
    pub(in crate::reactor) fn publish_handed_on(&mut self, publication: Arc<Publication>) {
        match publication.sequence {
            Sequence::Done(number) => drop(self.publish_shared(&publication, Numbering::Elsewhere(number))),
            Sequence::Wanted => {
                // It was queued for the sequencer alone.
                if let Some(publication) = Arc::into_inner(publication) {
                    self.publish_in_group(publication);
                }
            }
        }
    }

    /// Publishes a message of the group to the subscribers on this reactor.
    fn publish_shared(&mut self, publication: &Publication, numbering: Numbering) -> Published {
        let (topic, message) = (&*publication.topic, Outgoing::from(&publication.message));
        match &publication.manner {
            Manner::Message { except, compress } => self.publish_here(topic, message, *except, *compress, numbering),
            Manner::Latest(key) => self.publish_latest_here(topic, key, message, numbering),
            Manner::Event(name) => {
                let data = message.as_message().as_text().unwrap_or_default();
                self.publish_event_here(topic, Event { name: name.as_deref(), id: None, data }, numbering)
            }
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Passes what was published in this turn to the other reactors.
    #[inline]
    pub(in crate::reactor) fn hand_on_publications(&mut self) {
        if self.hub.is_in_group() {
            self.hub.hand_on();
        }
    }
}
