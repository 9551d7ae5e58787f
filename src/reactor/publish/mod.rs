//! Publishing: one message to all subscribers of a topic, encoded once.

pub(super) mod encoded;
pub(super) mod event;
pub(super) mod history;
mod keep;
mod latest;
mod many;
mod publisher;
pub(super) mod topics;
pub(super) mod watch;

use super::{
    callback_scope::NO_CONNECTION,
    connection::{outbound::Outbound, output_rule::Admission},
    group::publication::{Manner, Publication},
    hub::Hub,
    id::ConnectionId,
    publish::{
        event::{Numbering, PendingEvent},
        publisher::Publisher,
    },
};
use crate::{
    protocol::{Message, Outgoing, encoder::Encoder, message::Summary, outgoing::OutgoingKind},
    send_status::SendStatus,
};

/// Result of a publish, in numbers of subscribers. Subscribers that are closing are not counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The message is queued, on congested connections too.
    pub queued: usize,
    /// The message is queued on a connection whose output is above its high-water mark
    /// ([`SendStatus::Congested`](crate::SendStatus::Congested)). A part of `queued`.
    pub congested: usize,
    /// The message was dropped by policy ([`SendStatus::Dropped`](crate::SendStatus::Dropped)).
    pub dropped: usize,
    /// The connection was closed as a slow reader, because of
    /// [`OutputLimits::limit_bytes`](crate::OutputLimits::limit_bytes) or
    /// [`ReactorConfig::excess_output_bytes`](crate::ReactorConfig::excess_output_bytes).
    pub closed: usize,
    /// The message is binary, and the protocol version, or an event stream, has no binary messages
    /// ([`SendStatus::Unsupported`](crate::SendStatus::Unsupported)).
    pub unsupported: usize,
    /// Number of other reactors of the [group](crate::ReactorGroup) that the message is queued for. The counts above
    /// concern this reactor only.
    pub handed_on: usize,
    /// Number of other reactors that do not get the message, because too much waits for them
    /// ([`ReactorConfig::group_backlog`](field@crate::ReactorConfig::group_backlog)). If the topic has a history, and
    /// the first reactor of the group is the one that does not get it, no reactor does.
    pub refused: usize,
    /// Id of the message in the history of the topic, if that is [kept](crate::Hub::keep_history).
    pub event_id: Option<u64>,
}

impl Published {
    /// Counts a subscriber whose output does not admit the message. Returns whether that is so.
    #[inline]
    fn count_refused(&mut self, admission: Admission) -> bool {
        match admission {
            Admission::Accept | Admission::Congested => return false,
            Admission::Drop => self.dropped += 1,
            Admission::Close => self.closed += 1,
        }
        true
    }
}

impl Hub {
    /// Sends a message to every subscriber of a topic. The message is encoded once for all connections with the same
    /// encoding. Each connection receives messages in the order of publishing.
    ///
    /// With compression the message is also compressed once, at once and whatever its length, for all connections
    /// without context takeover that have the same window. With context takeover it is compressed for each connection,
    /// because it refers to earlier messages of that connection; `DeflateConfig::shared` suits many subscribers better.
    pub fn publish<'m>(&mut self, topic: &str, message: impl Into<Outgoing<'m>>) -> Published {
        self.publish_outgoing(topic, message.into(), None, true)
    }

    /// As [`publish`](Self::publish), to the subscribers on this reactor only: not on the others of its
    /// [group](crate::ReactorGroup). In a group of several, the [history](Self::keep_history) of the topic does not
    /// have the message, because it is the same on all of them.
    pub fn publish_local<'m>(&mut self, topic: &str, message: impl Into<Outgoing<'m>>) -> Published {
        let is_elsewhere = self.is_in_group() || self.backplane_rules.keeps_histories;
        let numbering = if is_elsewhere { Numbering::Elsewhere(None) } else { Numbering::Here };
        self.publish_here(topic, message.into(), None, true, numbering)
    }

    /// As [`publish`](Self::publish), uncompressed even where compression was negotiated.
    pub fn publish_uncompressed<'m>(&mut self, topic: &str, message: impl Into<Outgoing<'m>>) -> Published {
        self.publish_outgoing(topic, message.into(), None, false)
    }

    /// As [`publish`](Self::publish), to every subscriber except `except`. The [history](Self::keep_history) of the
    /// topic makes no exception.
    pub fn publish_to_others<'m>(
        &mut self,
        except: ConnectionId,
        topic: &str,
        message: impl Into<Outgoing<'m>>,
    ) -> Published {
        self.publish_outgoing(topic, message.into(), Some(except), true)
    }

    /// Subscribes an open WebSocket or event stream to a topic. The subscription ends with the connection.
    ///
    /// Returns `false` if the connection is subscribed already, and if the connection is a raw stream, not open yet,
    /// closing or ended.
    pub fn subscribe(&mut self, id: ConnectionId, topic: &str) -> bool {
        let takes_messages = self.outbounds.open_mut(id).is_some_and(|outbound| outbound.encoding.is_publishable());
        takes_messages && self.topics.subscribe(id.key(), topic)
    }

    /// Ends a subscription. Returns `false` if there is none, or if the connection is closing or has ended.
    pub fn unsubscribe(&mut self, id: ConnectionId, topic: &str) -> bool {
        self.outbounds.open_mut(id).is_some() && self.topics.unsubscribe(id.key(), topic)
    }

    /// Number of connections of this reactor subscribed to a topic. A closing connection counts until it has ended.
    pub fn subscribers(&self, topic: &str) -> usize {
        self.topics.members(topic).len()
    }

    fn publish_outgoing(
        &mut self,
        topic: &str,
        message: Outgoing<'_>,
        except: Option<ConnectionId>,
        compress: bool,
    ) -> Published {
        if self.is_joined {
            let manner = Manner::Message { except, compress };
            return self.publish_in_group(Publication::new(topic, message, manner));
        }
        self.publish_here(topic, message, except, compress, Numbering::Here)
    }

    /// Publishes a message to the subscribers on this reactor.
    pub(in crate::reactor) fn publish_here(
        &mut self,
        topic: &str,
        message: Outgoing<'_>,
        except: Option<ConnectionId>,
        compress: bool,
        numbering: Numbering,
    ) -> Published {
        let except = except.filter(|id| self.outbound(*id).is_some()).map_or(NO_CONNECTION, ConnectionId::key);
        match message.0 {
            OutgoingKind::Borrowed(message) => {
                let event = PendingEvent::new(message, None).numbered(numbering);
                self.publish_once(topic, message, event, except, compress)
            }
            OutgoingKind::Owned(payload) => self.with_payload(payload, |hub, message| {
                let event = PendingEvent::new(message, None).numbered(numbering);
                hub.publish_once(topic, message, event, except, compress)
            }),
        }
    }

    /// Publishes a message to WebSockets and an event to event streams.
    fn publish_once(
        &mut self,
        topic: &str,
        message: Message<'_>,
        event: PendingEvent<'_>,
        except: usize,
        compress: bool,
    ) -> Published {
        let mut publisher = Publisher::new(message, compress, &mut self.pools);
        let published = self.publish_with(
            topic,
            message,
            event,
            except,
            |outbound| outbound.has_room().then_some(Admission::Accept),
            |hub, key, encoder| publisher.deliver(hub, key, encoder),
        );
        publisher.finish(&mut self.pools);
        published
    }

    /// Has `deliver` queue a message for every subscriber that admits it. `admit` decides on subscribers that the
    /// output limits need not decide on.
    #[inline(always)]
    fn publish_with(
        &mut self,
        topic: &str,
        message: Message<'_>,
        mut event: PendingEvent<'_>,
        except: usize,
        admit: impl Fn(&mut Outbound) -> Option<Admission>,
        mut deliver: impl FnMut(&mut Hub, usize, Encoder),
    ) -> Published {
        self.record(topic, &mut event);
        if !self.watches.is_empty() {
            self.call_watches(topic, message, event.number());
        }
        let mut published = Published { event_id: event.number(), ..Published::default() };
        let members = self.topics.members(topic).len();
        self.deliveries_left = self.deliveries_left.saturating_sub(members);
        for index in 0..members {
            let key = self.topics.members(topic)[index].connection as usize;
            if key != except {
                self.publish_to(key, message, &mut event, &mut published, &admit, &mut deliver);
            }
        }
        self.end_publication(topic, event);
        self.stats.messages_out += published.queued as u64;
        published
    }

    /// Has `deliver` queue a message for a subscriber, if that admits it.
    #[inline(always)]
    fn publish_to(
        &mut self,
        key: usize,
        message: Message<'_>,
        event: &mut PendingEvent<'_>,
        published: &mut Published,
        admit: &impl Fn(&mut Outbound) -> Option<Admission>,
        deliver: &mut impl FnMut(&mut Hub, usize, Encoder),
    ) {
        let outbound = &mut self.outbounds[key];
        let Some(encoder) = outbound.encoder().filter(|_| outbound.state.is_open()) else {
            if !outbound.encoding.is_websocket() {
                let admission = admit(outbound);
                self.publish_to_http(key, admission, event, published);
            }
            return;
        };
        if !encoder.supports(message) {
            published.unsupported += 1;
            return;
        }
        let admission = match admit(outbound) {
            Some(admission) => admission,
            None => self.admit_published(key),
        };
        if published.count_refused(admission) {
            return;
        }
        log::trace!(target: "ws_reactor::reactor", "{} send {}, published", self.outbounds[key].id, Summary(message));
        deliver(self, key, encoder);
        self.settle_published(key, admission, published);
    }

    /// Flushes and charges a subscriber for which a published message was queued, and counts the message.
    #[inline]
    fn settle_published(&mut self, key: usize, admission: Admission, published: &mut Published) {
        self.touch(key);
        if self.charge_excess(key) {
            published.queued += 1;
            published.congested += usize::from(admission == Admission::Congested);
            self.outbounds[key].count_sent(SendStatus::Queued);
        } else {
            self.stats.dropped += 1;
            published.closed += 1;
            self.outbounds[key].count_sent(SendStatus::Closed);
        }
    }

    /// Status of a published message for a subscriber whose output is above a mark.
    #[cold]
    fn admit_published(&mut self, key: usize) -> Admission {
        let admission = self.admit(self.outbounds[key].id);
        if matches!(admission, Admission::Drop | Admission::Close) {
            self.stats.dropped += 1;
            self.outbounds[key].count_sent(admission.into());
        }
        admission
    }
}
