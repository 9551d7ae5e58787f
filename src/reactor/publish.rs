//! Publishing: one message to all who subscribed, encoded once.

use super::{
    hub::{Hub, NOBODY, find},
    id::ConnectionId,
    outbox::{EncodedFrame, Phase},
};
use crate::protocol::{Message, OwnedMessage};

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
    pub fn publish<'m>(&mut self, topic: &str, message: impl Into<Message<'m>>) -> Published {
        self.publish_except(topic, message.into(), NOBODY)
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
        self.publish_except(topic, message.into(), except)
    }

    fn publish_except(&mut self, topic: &str, message: Message<'_>, except: usize) -> Published {
        let mut published = Published::default();
        let mut frames = std::mem::take(&mut self.frames);
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
            let frame = match frames.iter().position(|frame| frame.encoder == encoder) {
                Some(known) => known,
                None => {
                    frames.push(EncodedFrame::new(encoder, message, self.lent.as_ref(), &mut self.pools.blocks));
                    frames.len() - 1
                }
            };
            log::trace!(target: "ws_reactor::reactor", "{} is published {message}", outbox.id(key));
            outbox.encoded(&frames[frame], &mut self.pools);
            published.queued += 1;
            self.touch(key);
        }
        for frame in frames.drain(..) {
            frame.release(&mut self.pools.blocks);
        }
        self.frames = frames;
        self.stats.messages_out += published.queued as u64;
        published
    }
}
