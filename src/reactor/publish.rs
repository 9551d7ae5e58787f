//! Publishing: one message to all who subscribed, encoded once.

use super::{
    compression::Shares,
    encoded::EncodedFrame,
    hub::{Hub, NOBODY, find},
    id::ConnectionId,
    outbox::Phase,
};
use crate::protocol::{Message, OwnedMessage, block::place};

/// Whom a publish reached.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Subscribers for whom the message is queued.
    pub queued: usize,
    /// Subscribers for whom it was dropped, because they do not read what they have (`Sent::Full`).
    pub dropped: usize,
    /// Subscribers whose version has no binary messages (`Sent::Unsupported`).
    pub unsupported: usize,
}

impl Hub {
    /// Subscribes a WebSocket to a topic; `false` if it was, or has gone. Subscriptions end with the connection.
    pub fn subscribe(&mut self, id: ConnectionId, topic: &str) -> bool {
        let speaks = find(&mut self.outboxes, id).is_some_and(|outbox| outbox.encoder().is_some());
        speaks && self.topics.subscribe(id.key(), topic)
    }

    /// Ends a subscription; `false` if there was none.
    pub fn unsubscribe(&mut self, id: ConnectionId, topic: &str) -> bool {
        find(&mut self.outboxes, id).is_some() && self.topics.unsubscribe(id.key(), topic)
    }

    /// How many connections are subscribed to a topic.
    pub fn subscribers(&self, topic: &str) -> usize {
        self.topics.members(topic).len()
    }

    /// Sends a message to every subscriber of a topic. It is encoded once; each connection gets messages in the order of publishing.
    ///
    /// Where messages are compressed it is compressed once too, and at once, however large it is, for all that have no context takeover and the same
    /// window. With context takeover a message refers to what that one connection was told before, so it is compressed for each:
    /// for many subscribers `DeflateConfig::shared` is the choice.
    pub fn publish<'m>(&mut self, topic: &str, message: impl Into<Message<'m>>) -> Published {
        self.publish_except(topic, message.into(), NOBODY, true)
    }

    /// As [`publish`](Self::publish), as it is even where messages are compressed.
    pub fn publish_uncompressed<'m>(&mut self, topic: &str, message: impl Into<Message<'m>>) -> Published {
        self.publish_except(topic, message.into(), NOBODY, false)
    }

    /// As [`publish`](Self::publish), for a message that the application owns: a large one is not copied.
    pub fn publish_owned(&mut self, topic: &str, message: &OwnedMessage) -> Published {
        self.lending(message, |hub| hub.publish(topic, message))
    }

    /// As [`publish`](Self::publish), to everybody but `except`.
    pub fn publish_to_others<'m>(
        &mut self,
        except: ConnectionId,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> Published {
        let except = self.outbox(except).map_or(NOBODY, |_| except.key());
        self.publish_except(topic, message.into(), except, true)
    }

    fn publish_except(&mut self, topic: &str, message: Message<'_>, except: usize, compress: bool) -> Published {
        let mut published = Published::default();
        let mut frames = std::mem::take(&mut self.frames);
        let mut copy = None;
        for index in 0..self.topics.members(topic).len() {
            let key = self.topics.members(topic)[index].connection as usize;
            let outbox = &mut self.outboxes[key];
            let Some(encoder) = outbox.encoder().filter(|_| outbox.phase == Phase::Open && key != except) else {
                continue;
            };
            if !encoder.can_say(message) {
                published.unsupported += 1;
                continue;
            }
            if !outbox.has_room() {
                self.overflow(key);
                published.dropped += 1;
                continue;
            }
            log::trace!(target: "ws_reactor::reactor", "{} is published {message}", outbox.id);
            let (lent, pools) = (self.lent.as_ref(), &mut self.pools);
            let shares = outbox.shares(message.len(), compress);
            let known = frames.iter().position(|frame| (frame.encoder, frame.shares) == (encoder, shares));
            match known {
                _ if shares == Shares::Nothing => {
                    // Where many have it wait, they wait for the same bytes.
                    let large = message.len() > pools.slice_bytes;
                    let lies = lent.is_some_and(|block| place(block, message.as_bytes()).is_some());
                    let copy =
                        (large && !lies).then(|| &*copy.get_or_insert_with(|| pools.blocks.take_message(message)));
                    let (message, lent) = copy.map_or((message, lent), |copy| (copy.message(), Some(copy)));
                    if outbox.message(encoder, message, compress, lent, pools) {
                        self.compressing.push_back(outbox.id);
                    }
                }
                Some(known) => outbox.encoded(&frames[known], pools),
                None => {
                    let frame = EncodedFrame::new(outbox, encoder, shares, message, lent, &mut pools.blocks);
                    outbox.encoded(&frame, pools);
                    frames.push(frame);
                }
            }
            published.queued += 1;
            self.touch(key);
        }
        for frame in frames.drain(..) {
            frame.release(&mut self.pools.blocks);
        }
        if let Some(copy) = copy {
            self.pools.blocks.give(copy);
        }
        self.frames = frames;
        self.stats.messages_out += published.queued as u64;
        published
    }
}
