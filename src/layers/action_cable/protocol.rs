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
    /// The head of an event stream: nothing is sent.
    EventsHead,
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
        matches!(self, Protocol::Events | Protocol::RawEvents | Protocol::EventsHead)
    }

    /// A message of a subscription. `identifier` and `json` are JSON texts.
    pub(super) fn message(self, identifier: &str, json: &str, place: Option<&Place<'_>>) -> String {
        match (self, place) {
            (Protocol::RawEvents | Protocol::EventsHead, _) => json.to_owned(),
            (Protocol::Extended | Protocol::Events, Some(Place { stream, epoch, offset })) => {
                extended::message(identifier, json, &packet::quoted(stream), epoch, *offset)
            }
            _ => packet::message(identifier, json),
        }
    }

    /// Sends a message of a subscription.
    pub(super) fn send(self, hub: &mut Hub, id: ConnectionId, text: &str, place: Option<&Place<'_>>) -> SendStatus {
        match self {
            Protocol::Rails | Protocol::Extended => hub.send(id, text),
            Protocol::Events | Protocol::RawEvents => send_event(hub, id, None, text, place),
            Protocol::EventsHead => SendStatus::Queued,
        }
    }

    /// Sends anything else, of a type.
    pub(super) fn tell(self, hub: &mut Hub, id: ConnectionId, kind: &'static str, text: &str) -> SendStatus {
        self.tell_at(hub, id, kind, text, None)
    }

    /// The same, with the place from which on an event stream goes on.
    pub(super) fn tell_at(
        self,
        hub: &mut Hub,
        id: ConnectionId,
        kind: &'static str,
        text: &str,
        place: Option<&Place<'_>>,
    ) -> SendStatus {
        match self {
            Protocol::Rails | Protocol::Extended => hub.send(id, text),
            Protocol::Events => send_event(hub, id, Some(kind), text, place),
            Protocol::RawEvents | Protocol::EventsHead => SendStatus::Queued,
        }
    }
}

/// Sends an event. While the reply to the request is being made there is no stream yet: the event follows then.
fn send_event(
    hub: &mut Hub,
    id: ConnectionId,
    kind: Option<&'static str>,
    text: &str,
    place: Option<&Place<'_>>,
) -> SendStatus {
    let event_id = place.map(|Place { stream, epoch, offset }| format!("{offset}/{epoch}/{stream}"));
    let send = move |hub: &mut Hub, text: &str| {
        let event = Event::new(text);
        let event = kind.and_then(|kind| event.name(kind).ok()).unwrap_or(event);
        // A stream whose name has a line break has no places.
        let with_id = event_id.as_deref().and_then(|event_id| event.id(event_id).ok());
        hub.send_event(id, with_id.unwrap_or(event))
    };
    match send(hub, text) {
        SendStatus::Unsupported => {
            let text = text.to_owned();
            hub.next_tick(move |hub| _ = send(hub, &text));
            SendStatus::Queued
        }
        status => status,
    }
}
