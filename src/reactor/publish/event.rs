//! Server-sent events: sending one to an event stream, and publishing one, encoded once for all of them.

use std::{rc::Rc, time::Duration};

use super::{Published, encoded::shared};
use crate::{
    buffer::{Blocks, SharedBlock},
    protocol::{
        Message,
        event_stream::{Event, write_part, write_retry},
    },
    reactor::{
        callback_scope::NO_CONNECTION,
        connection::{encoding::Encoding, outbound::Outbound, output_rule::Admission},
        group::publication::Publication,
        hub::Hub,
        id::ConnectionId,
        pools::Pools,
    },
    send_status::SendStatus,
};

/// Bytes around the data of a short event: field names and the framing of a chunk.
const FRAMING_BYTES: usize = 48;

/// Where a published message gets its id in the history of its topic.
#[derive(Debug, Clone, Copy)]
pub(in crate::reactor) enum Numbering {
    /// Here, if the history is kept.
    Here,
    /// On another reactor, which has given it this id, or none.
    Elsewhere(Option<u64>),
}

/// A message for event streams.
pub(in crate::reactor) struct PendingEvent<'m> {
    /// `None`: the message is binary.
    event: Option<Event<'m>>,
    /// The id of an event that is in a history.
    number: Option<u64>,
    /// Another reactor decides whether the event gets an id.
    is_numbered_elsewhere: bool,
    /// Key of a message of which only the latest counts.
    latest: Option<&'m str>,
    /// The event as it is, and as a chunk, once a stream needs it.
    blocks: [Option<SharedBlock>; 2],
    /// Keys of the connections whose polls were woken.
    woken: Vec<usize>,
}

impl<'m> PendingEvent<'m> {
    #[inline]
    pub(in crate::reactor) fn new(message: Message<'m>, latest: Option<&'m str>) -> Self {
        let event = if let Message::Text(text) = message { Some(Event::new(text)) } else { None };
        let blocks = [None, None];
        PendingEvent { event, number: None, is_numbered_elsewhere: false, latest, blocks, woken: Vec::new() }
    }

    /// Sets the origin of the id.
    pub(super) fn numbered(mut self, numbering: Numbering) -> Self {
        if let Numbering::Elsewhere(number) = numbering {
            (self.number, self.is_numbered_elsewhere) = (number, true);
        }
        self
    }

    /// The id of the event in the history.
    pub(super) fn number(&self) -> Option<u64> {
        self.number
    }

    fn encode(event: Event<'_>, number: Option<u64>, in_chunks: bool, blocks: &mut Blocks) -> SharedBlock {
        let mut block = blocks.take(event.data.len() + FRAMING_BYTES);
        if let Some(block) = Rc::get_mut(&mut block) {
            write_part(in_chunks, block.bytes_mut(), |out| event.write(number, out));
            block.freeze();
        }
        block
    }

    /// Returns the buffer of the event to the pool.
    #[inline]
    pub(super) fn finish(self, pools: &mut Pools) {
        for block in self.blocks.into_iter().flatten() {
            pools.blocks.give(block);
        }
    }
}

impl<'m> From<Event<'m>> for PendingEvent<'m> {
    fn from(event: Event<'m>) -> Self {
        PendingEvent { event: Some(event), ..PendingEvent::new(Message::Binary(&[]), None) }
    }
}

impl Hub {
    /// Sends an event to an event stream. [`send`](Self::send) sends a text as an event without a name.
    ///
    /// The results are those of `send`: [`Unsupported`](SendStatus::Unsupported) if the connection is not an event
    /// stream.
    ///
    /// ```
    /// use ws_reactor::{ConnectionId, Event, EventError, Hub};
    ///
    /// fn welcome(hub: &mut Hub, id: ConnectionId, user: &str) -> Result<(), EventError> {
    ///     hub.send_event(id, Event::new(user).name("welcome")?);
    ///     Ok(())
    /// }
    /// ```
    pub fn send_event(&mut self, id: ConnectionId, event: Event<'_>) -> SendStatus {
        self.send_pending_event(id, event.into())
    }

    /// Tells the client of an event stream after which time to connect again, when the stream has ended: a very long
    /// one if it shall not. The results are those of [`send_event`](Self::send_event).
    pub fn send_retry(&mut self, id: ConnectionId, after: Duration) -> SendStatus {
        let Some(outbound) = self.outbounds.open_mut(id) else { return SendStatus::Closed };
        let Encoding::EventStream { in_chunks } = outbound.encoding else { return outbound.unsupported() };
        self.append(id, 64, |out| write_part(in_chunks, out, |out| write_retry(after, out)));
        SendStatus::Queued
    }

    /// Publishes an event: event streams get it with its name and id, WebSockets get the data as a text message.
    ///
    /// If the [history](Self::keep_history) of the topic is kept, the id is [`Published::event_id`].
    pub fn publish_event(&mut self, topic: &str, event: Event<'_>) -> Published {
        if self.is_joined {
            return self.publish_in_group(Publication::of_event(topic, event));
        }
        self.publish_event_here(topic, event, Numbering::Here)
    }

    /// Publishes an event to the subscribers on this reactor.
    pub(in crate::reactor) fn publish_event_here(
        &mut self,
        topic: &str,
        event: Event<'_>,
        numbering: Numbering,
    ) -> Published {
        let pending = PendingEvent::from(event).numbered(numbering);
        self.publish_once(topic, Message::Text(event.data), pending, NO_CONNECTION, true)
    }

    /// Sends to a connection that is no WebSocket, or whose version has no binary messages.
    #[cold]
    pub(in crate::reactor) fn send_pending_event(
        &mut self,
        id: ConnectionId,
        mut pending: PendingEvent<'_>,
    ) -> SendStatus {
        let Some(outbound) = self.outbounds.open_mut(id) else { return SendStatus::Closed };
        if pending.event.is_none() || !outbound.is_event_stream() {
            return outbound.unsupported();
        }
        let admission = match pending.latest {
            Some(latest) => outbound.admits_latest(latest),
            None => outbound.has_room().then_some(Admission::Accept),
        };
        let mut status = SendStatus::from(admission.unwrap_or_else(|| self.admit(id)));
        if status.is_queued() {
            self.queue_event(id.key(), &mut pending);
            self.touch(id.key());
            if !self.charge_excess(id.key()) {
                status = SendStatus::Closed;
            }
        }
        pending.finish(&mut self.pools);
        self.count(id.key(), status)
    }

    /// Delivers a published message to a subscriber that is no open WebSocket. `admission`: `None` if the output limits
    /// have to decide.
    #[cold]
    pub(super) fn publish_to_http(
        &mut self,
        key: usize,
        admission: Option<Admission>,
        pending: &mut PendingEvent<'_>,
        published: &mut Published,
    ) {
        let outbound = &self.outbounds[key];
        if !outbound.state.is_open() {
            return;
        }
        if pending.event.is_none() {
            published.unsupported += 1;
            return;
        }
        if outbound.encoding == Encoding::Http {
            // A poll: it finds the event in the history.
            if pending.is_numbered_elsewhere && pending.number.is_none() {
                return;
            }
            self.wake(outbound.id);
            pending.woken.push(key);
            published.queued += 1;
            return;
        }
        let admission = admission.unwrap_or_else(|| self.admit_published(key));
        if published.count_refused(admission) {
            return;
        }
        self.queue_event(key, pending);
        self.settle_published(key, admission, published);
    }

    /// Queues an event for an open event stream.
    fn queue_event(&mut self, key: usize, pending: &mut PendingEvent<'_>) {
        let (outbound, pools) = (&mut self.outbounds[key], &mut self.pools);
        let (Some(event), Encoding::EventStream { in_chunks }) = (pending.event, outbound.encoding) else { return };
        let number = pending.number;
        let encode = || PendingEvent::encode(event, number, in_chunks, &mut pools.blocks);
        let block = &*pending.blocks[usize::from(in_chunks)].get_or_insert_with(encode);
        let is_shared = match pending.latest {
            Some(latest) => {
                let replaced = outbound.put_latest(latest, Rc::clone(block), block.as_bytes().len(), pools);
                self.stats.conflated += u64::from(replaced);
                true
            }
            None => {
                outbound.shared_block(block, true, pools);
                shared(block).is_some()
            }
        };
        let above = outbound.above_congestion_mark();
        if is_shared && above > 0 {
            self.excess.add_shared(block, above);
        }
    }

    /// Adds an event to the history of its topic, if that is kept.
    #[inline]
    pub(super) fn record(&mut self, topic: &str, pending: &mut PendingEvent<'_>) {
        if !self.histories.is_empty() {
            self.record_kept(topic, pending);
        }
    }

    /// Ends the publication of an event. A poll that was woken takes one event, and waits no longer.
    #[inline]
    pub(super) fn end_publication(&mut self, topic: &str, pending: PendingEvent<'_>) {
        for key in &pending.woken {
            self.topics.unsubscribe(*key, topic);
        }
        pending.finish(&mut self.pools);
    }

    #[cold]
    fn record_kept(&mut self, topic: &str, pending: &mut PendingEvent<'_>) {
        let Some(event) = pending.event else { return };
        match (pending.is_numbered_elsewhere, pending.number) {
            (false, _) => pending.number = self.push_history(topic, event),
            (true, Some(number)) => self.store_history(topic, number, event),
            (true, None) => {}
        }
    }
}

impl Outbound {
    /// Returns `true` if the connection is an event stream.
    fn is_event_stream(&self) -> bool {
        matches!(self.encoding, Encoding::EventStream { .. })
    }
}
