//! Whispers: messages of a client to the others of a stream, which no channel sees and no history has.

use std::rc::{Rc, Weak};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    super::{packet::Ignored, random_name},
    Member, Streams,
};
use crate::{
    protocol::Message,
    reactor::{ConnectionId, Hub, TopicWatch},
};

/// The whispers of other processes on a stream.
pub(super) struct Whispers {
    watch: TopicWatch,
    /// Subscriptions that get them.
    holders: usize,
}

/// A whisper on its topic.
#[derive(Deserialize)]
struct Whisper<'w> {
    #[serde(borrow)]
    data: &'w RawValue,
}

impl Streams {
    /// Lets the client of a subscription whisper to the others of a stream.
    pub(in super::super) fn allow_whispers(&mut self, hub: &mut Hub, member: &Member, stream: &str) {
        self.release_whispers(hub, member);
        let stream: Rc<str> = stream.into();
        if member.protocol.is_extended() {
            self.hold_whispers(hub, &stream);
        }
        *member.whispers.borrow_mut() = Some(stream);
    }

    fn hold_whispers(&mut self, hub: &mut Hub, stream: &Rc<str>) {
        if let Some(known) = self.whispers.get_mut(stream) {
            known.holders += 1;
            return;
        }
        let (own, name) = (Weak::clone(&self.own), Rc::clone(stream));
        let watch = hub.watch_topic(&topic(stream), move |hub, message| {
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().whisper_from_elsewhere(hub, &name, message);
            }
        });
        self.whispers.insert(Rc::clone(stream), Whispers { watch, holders: 1 });
    }

    pub(super) fn release_whispers(&mut self, hub: &mut Hub, member: &Member) {
        let Some(stream) = member.whispers.take().filter(|_| member.protocol.is_extended()) else { return };
        let Some(known) = self.whispers.get_mut(&stream) else { return };
        known.holders -= 1;
        if known.holders == 0
            && let Some(gone) = self.whispers.remove(&stream)
        {
            hub.unwatch_topic(gone.watch);
        }
    }

    /// Sends a whisper of a client to the others: JSON text.
    pub(in super::super) fn whisper(&mut self, hub: &mut Hub, member: &Member, json: &str) -> Result<(), Ignored> {
        let stream = member.whispers.borrow().clone().filter(|_| member.is_confirmed()).ok_or(Ignored::NotAllowed)?;
        self.deliver_whisper(hub, &stream, json, Some(member.id.get()));
        let text = format!("{}{json}}}", self.head(hub));
        hub.publish(&topic(&stream), Message::Text(&text));
        Ok(())
    }

    /// The beginning of a whisper of this process.
    fn head(&mut self, hub: &mut Hub) -> String {
        format!(r#"{{"node":"{}","data":"#, self.node(hub))
    }

    fn whisper_from_elsewhere(&mut self, hub: &mut Hub, stream: &str, message: Message<'_>) {
        let Some(text) = message.as_text() else { return };
        if text.starts_with(&self.head(hub)) {
            return;
        }
        if let Ok(Whisper { data }) = serde_json::from_str(text) {
            self.deliver_whisper(hub, stream, data.get(), None);
        }
    }

    fn deliver_whisper(&self, hub: &mut Hub, stream: &str, json: &str, sender: Option<ConnectionId>) {
        for group in self.streams.get(stream).into_iter().flat_map(|known| known.groups.values()) {
            group.send(hub, sender, json, None);
        }
    }

    /// A name for this cable that no other one has.
    pub(super) fn node(&mut self, hub: &mut Hub) -> Rc<str> {
        Rc::clone(self.node.get_or_insert_with(|| random_name(hub)))
    }
}

fn topic(stream: &str) -> String {
    format!("action_cable/whisper/{stream}")
}
