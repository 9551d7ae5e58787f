//! Publishing in a group: here at once, and on the other reactors by their command queues.

use std::sync::Arc;

use super::publication::{HistoryChange, Manner, Publication, Sequence};
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

    /// Publishes a message here, and queues it for the backplane and the other reactors of the group.
    #[cold]
    pub(in crate::reactor) fn publish_in_group(&mut self, mut publication: Publication) -> Published {
        let mut published = Published::default();
        let is_kept = self.histories.is_kept(&publication.topic);
        let is_held = !publication.is_from_outside && self.backplane_rules.hold(is_kept);
        let handed_on = if (is_kept || is_held) && self.has_sequencer_elsewhere() {
            publication.sequence = Sequence::Wanted;
            self.take_edges();
            self.membership.as_mut().map(|membership| membership.queue_for_sequencer(Arc::new(publication)))
        } else if is_held && self.backplane.is_some() {
            self.pass_to_backplane(&Arc::new(publication));
            None
        } else {
            published = self.publish_shared(&publication, self.numbering(publication.sequence));
            publication.sequence = Sequence::Done(published.event_id);
            let publication = Arc::new(publication);
            self.pass_to_backplane(&publication);
            self.take_edges();
            self.membership.as_mut().map(|membership| membership.queue(&publication))
        };
        let handed_on = handed_on.unwrap_or_default();
        (published.handed_on, published.refused) = (handed_on.queued, handed_on.refused);
        if handed_on.refused > 0 {
            self.note_refused(handed_on.refused);
        }
        published
    }

    /// Where a publication gets its id, on the reactor that gives the ids.
    pub(in crate::reactor) fn numbering(&self, sequence: Sequence) -> Numbering {
        match sequence {
            Sequence::Done(Some(id)) => Numbering::Elsewhere(Some(id)),
            _ if self.backplane_rules.keeps_histories => Numbering::Elsewhere(None),
            _ => Numbering::Here,
        }
    }

    /// Counts and logs reactors that do not get a message.
    fn note_refused(&mut self, refused: usize) {
        self.stats.group_refused += refused as u64;
        if self.may_warn() {
            log::warn!(
                target: "ws_reactor::cluster",
                "{refused} reactors do not get a message, because too much waits for them (group_backlog)"
            );
        }
    }

    /// Passes a change of the histories to the other reactors.
    pub(in crate::reactor) fn hand_on_change(&mut self, change: HistoryChange) {
        self.tell_backplane_of_history(&change);
        if let Some(membership) = &mut self.membership {
            match &change {
                HistoryChange::Keep { topic, .. } => membership.group.kept.insert(topic),
                HistoryChange::Forget(topic) => membership.group.kept.remove(topic),
                HistoryChange::Missed(_) | HistoryChange::Restored { .. } => {}
            }
            membership.queue_change(&Arc::new(change));
        }
    }

    /// Has threads pass what they publish on a topic to the sequencer, which is asked to keep its history.
    pub(in crate::reactor) fn announce_history(&self, topic: &str) {
        if let Some(membership) = &self.membership {
            membership.group.kept.insert(topic);
        }
    }

    /// Publishes a message that a thread has passed to all reactors of the group.
    pub(in crate::reactor) fn publish_passed_to_all(&mut self, publication: &Arc<Publication>) {
        self.publish_shared(publication, Numbering::Elsewhere(None));
        self.pass_to_backplane(publication);
    }

    /// The events that this reactor has missed are noted: others may be told of now.
    pub(in crate::reactor) fn end_gap(&mut self) {
        if let Some(membership) = &self.membership {
            membership.end_gap();
        }
        self.tell_sequencer(|hub| {
            if let Some(membership) = &mut hub.membership {
                membership.has_output = true;
            }
        });
    }

    /// Passes what was published so far to the other reactors, so that what they are told next comes after it.
    #[cold]
    pub(super) fn hand_on(&mut self) {
        self.take_edges();
        let clock = self.time_slice.clock;
        if let Some(membership) = self.membership.as_mut().filter(|membership| membership.has_output()) {
            membership.hand_on(clock.map(|clock| clock()));
        }
    }

    /// Publishes a message that another reactor of the group has handed on.
    pub(in crate::reactor) fn publish_handed_on(&mut self, publication: Arc<Publication>) {
        match publication.sequence {
            Sequence::Done(number) => {
                self.publish_shared(&publication, Numbering::Elsewhere(number));
                self.pass_to_backplane(&publication);
            }
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
            Manner::Event { name, id } => {
                let data = message.as_message().as_text().unwrap_or_default();
                self.publish_event_here(topic, Event { name: name.as_deref(), id: id.as_deref(), data }, numbering)
            }
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Passes what was published in this turn to the backplane, and to the other reactors.
    #[inline]
    pub(in crate::reactor) fn pass_on_publications(&mut self) {
        if self.hub.is_joined {
            self.call_backplane();
            self.hub.hand_on();
        }
    }
}
