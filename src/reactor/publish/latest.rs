//! Messages of which only the latest counts: the next message of a key replaces a queued, unsent one in its place.

use std::rc::Rc;

use crate::{
    buffer::{Block, SharedBlock},
    protocol::{Message, Outgoing, encoder::Encoder, outgoing::OutgoingKind},
    reactor::{
        callback_scope::NO_CONNECTION,
        connection::{outbound::Outbound, output_rule::Admission},
        group::publication::{Manner, Publication},
        hub::Hub,
        id::ConnectionId,
        pools::Pools,
        publish::{
            Published,
            encoded::{EncodedFrame, ShareKey},
            event::{Numbering, PendingEvent},
        },
    },
    send_status::SendStatus,
};

/// A message and its key.
#[derive(Clone, Copy)]
struct Keyed<'m> {
    key: &'m str,
    message: Message<'m>,
}

impl Hub {
    /// Sends a message of which only the latest per key counts, such as a price.
    ///
    /// A queued message of the same key is replaced in its place, unless its first byte was written. A peer that reads
    /// slowly gets fewer messages and none that is out of date, and the queue stays bounded by the number of keys.
    /// A peer that takes nothing at all is still closed after
    /// [`stall_timeout`](crate::OutputLimits::stall_timeout). The new message takes the place of the old one, ahead of
    /// messages of other keys that were queued in between.
    /// [`Stats::conflated`](crate::Stats::conflated) counts the replaced messages.
    ///
    /// Output is written at the end of a turn, or when a callback returns that has received a message: several messages
    /// of one key in one turn are one message, for fast readers too. Use [`send`](Self::send) where each value counts.
    /// A value that is sent by `send` is never replaced, and arrives behind a newer one that takes an older place:
    /// send all values of a key in one way, and change the way only while [`buffered`](Self::buffered) is 0.
    ///
    /// With compression and context takeover the message is sent uncompressed, because a later message could refer to
    /// it.
    ///
    /// The results are those of [`send`](Self::send). A message that replaces another is never refused because of the
    /// output limits.
    ///
    /// ```
    /// use ws_reactor::{Hub, ConnectionId};
    ///
    /// fn quote(hub: &mut Hub, id: ConnectionId, symbol: &str, price: f64) {
    ///     hub.send_latest(id, symbol, format!("{symbol} {price}"));
    /// }
    /// ```
    pub fn send_latest<'m>(&mut self, id: ConnectionId, key: &str, message: impl Into<Outgoing<'m>>) -> SendStatus {
        with_message(message.into(), |message| self.send_keyed(id, Keyed { key, message }))
    }

    /// As [`send_latest`](Self::send_latest), for every subscriber of a topic. The message is encoded once for all
    /// connections with the same encoding.
    ///
    /// Keys belong to a connection, not to a topic: messages of two topics with the same key replace each other.
    pub fn publish_latest<'m>(&mut self, topic: &str, key: &str, message: impl Into<Outgoing<'m>>) -> Published {
        if self.is_joined {
            return self.publish_in_group(Publication::new(topic, message.into(), Manner::Latest(key.into())));
        }
        self.publish_latest_here(topic, key, message.into(), Numbering::Here)
    }

    /// Publishes a message of which only the latest counts to the subscribers on this reactor.
    pub(in crate::reactor) fn publish_latest_here(
        &mut self,
        topic: &str,
        key: &str,
        message: Outgoing<'_>,
        numbering: Numbering,
    ) -> Published {
        with_message(message, |message| self.publish_keyed(topic, Keyed { key, message }, numbering))
    }

    fn send_keyed(&mut self, id: ConnectionId, keyed: Keyed<'_>) -> SendStatus {
        let Some(outbound) = self.outbounds.open_mut(id) else { return SendStatus::Closed };
        let Some(encoder) = outbound.encoder().filter(|encoder| encoder.supports(keyed.message)) else {
            return self.send_pending_event(id, PendingEvent::new(keyed.message, Some(keyed.key)));
        };
        let admission = match outbound.admits_latest(keyed.key) {
            Some(admission) => admission,
            None => self.admit(id),
        };
        let mut status = SendStatus::from(admission);
        if status.is_queued() {
            self.queue_keyed(id.key(), encoder, keyed);
            self.touch(id.key());
            if !self.charge_excess(id.key()) {
                status = SendStatus::Closed;
            }
        }
        self.count(id.key(), status)
    }

    /// Queues a keyed message on an open connection.
    fn queue_keyed(&mut self, key: usize, encoder: Encoder, keyed: Keyed<'_>) {
        let outbound = &mut self.outbounds[key];
        let shares = outbound.shares_latest(keyed.message.len());
        let replaced = match outbound.is_compressing() {
            true => outbound.line_up_latest(keyed.key, keyed.message, &mut self.pools),
            false => {
                let frame = self.pools.latest_frame(outbound, encoder, shares, keyed.message);
                outbound.put_latest(keyed.key, frame, 0, &mut self.pools)
            }
        };
        self.stats.conflated += u64::from(replaced);
    }

    fn publish_keyed(&mut self, topic: &str, keyed: Keyed<'_>, numbering: Numbering) -> Published {
        let mut frames = Vec::new();
        let published = self.publish_with(
            topic,
            keyed.message,
            PendingEvent::new(keyed.message, Some(keyed.key)).numbered(numbering),
            NO_CONNECTION,
            |outbound| outbound.admits_latest(keyed.key),
            |hub, key, encoder| hub.deliver_keyed(key, encoder, keyed, &mut frames),
        );
        for (_, _, frame) in frames {
            self.pools.blocks.give(frame);
        }
        published
    }

    /// Queues a published message, in a frame that all connections with the same encoding share.
    fn deliver_keyed(&mut self, key: usize, encoder: Encoder, keyed: Keyed<'_>, frames: &mut Vec<KeyedFrame>) {
        let outbound = &mut self.outbounds[key];
        if outbound.is_compressing() || encoder.masks() {
            return self.queue_keyed(key, encoder, keyed);
        }
        let shares = outbound.shares_latest(keyed.message.len());
        let known = frames.iter().position(|frame| (frame.0, frame.1) == (encoder, shares));
        let index = known.unwrap_or_else(|| {
            let frame = self.pools.latest_frame(outbound, encoder, shares, keyed.message);
            frames.push((encoder, shares, frame));
            frames.len() - 1
        });
        let frame = &frames[index].2;
        let replaced = outbound.put_latest(keyed.key, Rc::clone(frame), frame.as_bytes().len(), &mut self.pools);
        self.stats.conflated += u64::from(replaced);
        let above = outbound.above_congestion_mark();
        if above > 0 {
            self.excess.add_shared(frame, above);
        }
    }
}

/// A frame, the encoder that it is for, and the connections that share it.
type KeyedFrame = (Encoder, ShareKey, SharedBlock);

/// Calls `send` with the message, borrowed or owned; a frame is made in either case.
fn with_message<T>(message: Outgoing<'_>, send: impl FnOnce(Message<'_>) -> T) -> T {
    match message.0 {
        OutgoingKind::Borrowed(message) => send(message),
        OutgoingKind::Owned(payload) => send(payload.as_message()),
    }
}

impl Outbound {
    /// Admission of a keyed message that the limits need not decide: there is room, or the message replaces another.
    pub(super) fn admits_latest(&mut self, key: &str) -> Option<Admission> {
        if self.has_room() {
            return Some(Admission::Accept);
        }
        let queued = self.queue.as_ref().is_some_and(|queue| queue.latest_index(key).is_some());
        if !queued && !self.has_latest_in_line(key) {
            return None;
        }
        // `on_drain` follows when there is room again.
        self.state.await_drain();
        Some(Admission::Congested)
    }

    /// The connections that can share the frame of a keyed message. The frame refers to no other message, so that it
    /// can be replaced.
    fn shares_latest(&self, length: usize) -> ShareKey {
        match self.shares(length, true) {
            ShareKey::Nothing => ShareKey::Plain,
            shares => shares,
        }
    }

    /// Queues a frame in the place of a waiting frame with the same key. Returns whether there was one.
    pub(super) fn put_latest(&mut self, key: &str, frame: SharedBlock, shared: usize, pools: &mut Pools) -> bool {
        let before = self.queued();
        let queue = self.queue.get_or_insert_with(|| pools.take_queue());
        let replaced = queue.put_latest(&mut pools.blocks, key, frame, shared);
        if replaced {
            self.note_inserted(before);
        }
        replaced
    }
}

impl Pools {
    /// Encodes a whole frame in a block of its own, to which nothing is appended.
    fn latest_frame(
        &mut self,
        outbound: &mut Outbound,
        encoder: Encoder,
        shares: ShareKey,
        message: Message<'_>,
    ) -> SharedBlock {
        if encoder.masks() {
            let key = self.key(encoder);
            let mut bytes = Vec::new();
            encoder.message(message, key, &mut bytes);
            return Rc::new(Block::Frozen(bytes));
        }
        let EncodedFrame { mut head, .. } =
            EncodedFrame::new(outbound.deflation(), encoder, shares, message, None, &mut self.blocks);
        if let Some(block) = Rc::get_mut(&mut head) {
            block.freeze();
        }
        head
    }
}
