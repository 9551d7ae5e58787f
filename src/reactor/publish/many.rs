//! One message to a list of connections.

use super::{
    Published,
    event::{Numbering, PendingEvent},
    publisher::Publisher,
};
use crate::{
    protocol::{Message, Outgoing, outgoing::OutgoingKind},
    reactor::{
        connection::{outbound::Outbound, output_rule::Admission},
        hub::Hub,
        id::ConnectionId,
    },
};

impl Hub {
    /// Sends a message to several connections of this reactor. It is encoded once for all with the same encoding, as in
    /// [`publish`](Self::publish), and counted so. Connections that are not open get nothing and are not counted. An
    /// event stream gets it as an event without an id.
    pub fn send_many<'m>(
        &mut self,
        ids: impl IntoIterator<Item = ConnectionId>,
        message: impl Into<Outgoing<'m>>,
    ) -> Published {
        match message.into().0 {
            OutgoingKind::Borrowed(message) => self.send_to_each(ids, message),
            OutgoingKind::Owned(payload) => self.with_payload(payload, |hub, message| hub.send_to_each(ids, message)),
        }
    }

    fn send_to_each(&mut self, ids: impl IntoIterator<Item = ConnectionId>, message: Message<'_>) -> Published {
        let mut event = PendingEvent::new(message, None).numbered(Numbering::Elsewhere(None));
        let mut publisher = Publisher::new(message, true, &mut self.pools);
        let mut published = Published::default();
        let admit = |outbound: &mut Outbound| outbound.has_room().then_some(Admission::Accept);
        for id in ids {
            if self.outbounds.open_mut(id).is_some_and(|outbound| outbound.encoding.is_publishable()) {
                self.deliveries_left = self.deliveries_left.saturating_sub(1);
                let deliver = &mut |hub: &mut Hub, key, encoder| publisher.deliver(hub, key, encoder);
                self.publish_to(id.key(), message, &mut event, &mut published, &admit, deliver);
            }
        }
        publisher.finish(&mut self.pools);
        event.finish(&mut self.pools);
        self.stats.messages_out += published.queued as u64;
        published
    }
}
