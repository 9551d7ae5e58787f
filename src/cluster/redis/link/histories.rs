//! Histories in a stream of Redis: what the connection that reads it brings, to the Hub.

use std::slice;

use super::{Complaint, Link, Loss, deliver};
use crate::{
    cluster::redis::{
        log::{Entry, Log, Read},
        resp::Reply,
    },
    reactor::Hub,
};

impl Link {
    pub(in crate::cluster::redis) fn keep_history(&mut self, hub: &mut Hub, topic: &str) {
        let past = self.log.as_mut().and_then(|log| log.keep(topic));
        if let Some((events, missing_to)) = past {
            restore(hub, topic, &events, Some(missing_to));
        }
    }

    pub(in crate::cluster::redis) fn forget_history(&mut self, topic: &str) {
        if let Some(log) = &mut self.log {
            log.forget(topic);
        }
    }

    /// Handles a reply of the connection that reads the stream of histories.
    pub(in crate::cluster::redis) fn read_log(
        &mut self,
        hub: &mut Hub,
        reply: &Reply<'_>,
        text: &str,
    ) -> Result<(), Loss> {
        let Some(log) = &mut self.log else { return Ok(()) };
        match log.on_reply(reply, &mut self.commands.reader) {
            Read::Nothing => {}
            Read::Entries { loaded, entries } => {
                if let Some(to) = loaded {
                    for topic in log.kept() {
                        if let Some((events, missing_to)) = log.past_of(&topic, to) {
                            restore(hub, &topic, &events, Some(missing_to));
                        }
                    }
                }
                entries.into_iter().for_each(|entry| self.deliver_entry(hub, &entry));
            }
            Read::Missed(to) => log.kept().iter().for_each(|topic| restore(hub, topic, &[], Some(to))),
            Read::Refused => {
                self.complain(hub, Complaint::Refused, &format!("the stream of histories cannot be read: {text}"));
                self.deliver_all_held(hub);
            }
            Read::Unexpected => return Err(Loss::unexpected()),
        }
        self.flush(hub);
        self.deliver_overtaken(hub);
        Ok(())
    }

    /// Notes that Redis has appended a publication.
    pub(in crate::cluster::redis) fn on_appended(&mut self, hub: &mut Hub, number: u64, reply: &Reply<'_>) {
        if let Some(log) = &mut self.log {
            log.on_appended(number, reply);
        }
        self.deliver_overtaken(hub);
    }

    /// Delivers what does not come back, because Redis has removed it before it was read.
    fn deliver_overtaken(&mut self, hub: &mut Hub) {
        for number in self.log.as_mut().map(Log::overtaken).unwrap_or_default() {
            deliver(hub, self.held.settle(number, None));
        }
    }

    /// Delivers an entry of the stream of histories.
    fn deliver_entry(&mut self, hub: &mut Hub, entry: &Entry) {
        match (entry.own, entry.event()) {
            (Some(number), event) if self.held.contains(number) => {
                deliver(hub, self.held.settle(number, event.map(|_| entry.id)));
            }
            // Subscribers have it.
            (Some(_), _) => restore(hub, &entry.topic, slice::from_ref(entry), None),
            (None, Some(event)) => {
                self.counters.received += 1;
                hub.deliver_event_with_id(&entry.topic, event, entry.id);
            }
            (None, None) => {
                self.counters.received += 1;
                hub.deliver(&entry.topic, &entry.message);
            }
        }
    }

    /// Delivers what is held, in the order of publishing: nothing comes back of it.
    pub(in crate::cluster::redis) fn deliver_all_held(&mut self, hub: &mut Hub) {
        deliver(hub, self.held.take_all());
    }
}

/// Adds entries to the history of a topic.
fn restore(hub: &mut Hub, topic: &str, entries: &[Entry], missing_to: Option<u64>) {
    let events = entries.iter().filter_map(|entry| Some((entry.id, entry.event()?)));
    hub.restore_history(topic, events, missing_to);
}
