//! How a client gets what is sent to it.

use super::{extended, packet};
use crate::{
    protocol::event_stream::Event,
    reactor::{ConnectionId, Hub},
    send_status::SendStatus,
};

/// The protocol of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    /// That of Rails, `actioncable-v1-json`.
    Rails,
    /// `actioncable-v1-ext-json`.
    Extended,
    /// An event stream: each message is an event, named by its type.
    Events,
    /// An event stream of the messages of a subscription alone, without anything around them.
    RawEvents,
}

/// Where a message is in its stream.
pub(super) struct Place<'p> {
    pub(super) stream: &'p str,
    pub(super) epoch: &'p str,
    pub(super) offset: u64,
}

impl Protocol {
    pub(super) fn is_extended(self) -> bool {
        self == Protocol::Extended
    }

    pub(super) fn is_events(self) -> bool {
        matches!(self, Protocol::Events | Protocol::RawEvents)
    }

    /// A message of a subscription. `identifier` and `json` are JSON texts.
    pub(super) fn message(self, identifier: &str, json: &str, place: Option<&Place<'_>>) -> String {
        match (self, place) {
            (Protocol::RawEvents, _) => json.to_owned(),
            (Protocol::Extended | Protocol::Events, Some(Place { stream, epoch, offset })) => {
                extended::message(identifier, json, &packet::quoted(stream), epoch, *offset)
            }
            _ => packet::message(identifier, json),
        }
    }

    /// Sends a message of a subscription.
    pub(super) fn send(self, hub: &mut Hub, id: ConnectionId, text: &str, place: Option<&Place<'_>>) -> SendStatus {
        if !self.is_events() {
            return hub.send(id, text);
        }
        let event_id = place.map(|Place { stream, epoch, offset }| format!("{offset}/{epoch}/{stream}"));
        let event = Event::new(text);
        // A stream whose name has a line break has no places.
        let with_id = event_id.as_deref().and_then(|event_id| event.id(event_id).ok());
        hub.send_event(id, with_id.unwrap_or(event))
    }

    /// Sends anything else, of a type.
    pub(super) fn tell(self, hub: &mut Hub, id: ConnectionId, kind: &'static str, text: &str) -> SendStatus {
        match self {
            Protocol::Rails | Protocol::Extended => hub.send(id, text),
            Protocol::Events => {
                let event = Event::new(text);
                hub.send_event(id, event.name(kind).unwrap_or(event))
            }
            Protocol::RawEvents => SendStatus::Queued,
        }
    }
}
