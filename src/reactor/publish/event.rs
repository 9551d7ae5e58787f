//! Delivering a message to event streams: encoded once, as an event, for all of them.

use std::rc::Rc;

use super::{Published, encoded::shared};
use crate::{
    buffer::{Blocks, SharedBlock},
    protocol::{Message, event_stream::write_event},
    reactor::{
        connection::{encoding::Encoding, outbound::Outbound, output_rule::Admission},
        hub::Hub,
        pools::Pools,
    },
};

/// A published message for subscribers that are event streams.
pub(super) struct PublishedEvent<'m> {
    pub(super) message: Message<'m>,
    /// Key of a message of which only the latest counts.
    latest: Option<&'m str>,
    /// The event, once a subscriber needs it.
    block: Option<SharedBlock>,
}

impl<'m> PublishedEvent<'m> {
    #[inline]
    pub(super) fn new(message: Message<'m>, latest: Option<&'m str>) -> Self {
        PublishedEvent { message, latest, block: None }
    }

    /// Returns the buffer of the event to the pool.
    #[inline]
    pub(super) fn finish(self, pools: &mut Pools) {
        if let Some(block) = self.block {
            pools.blocks.give(block);
        }
    }

    fn encode(text: &str, blocks: &mut Blocks) -> SharedBlock {
        let mut block = blocks.take(text.len());
        if let Some(block) = Rc::get_mut(&mut block) {
            write_event(text, block.bytes_mut());
            block.freeze();
        }
        block
    }
}

impl Hub {
    /// Queues an event for a subscriber, unless it is refused. `admission`: `None` if the output limits have to decide.
    #[cold]
    pub(super) fn publish_event(
        &mut self,
        key: usize,
        admission: Option<Admission>,
        event: &mut PublishedEvent<'_>,
        published: &mut Published,
    ) {
        let Message::Text(text) = event.message else {
            published.unsupported += 1;
            return;
        };
        let admission = admission.unwrap_or_else(|| self.admit_published(key));
        if published.count_refused(admission) {
            return;
        }
        let (outbound, pools) = (&mut self.outbounds[key], &mut self.pools);
        let block = &*event.block.get_or_insert_with(|| PublishedEvent::encode(text, &mut pools.blocks));
        let is_shared = match event.latest {
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
        self.settle_published(key, admission, published);
    }
}

impl Outbound {
    /// Returns `true` if the connection is an open event stream.
    pub(super) fn is_event_stream(&self) -> bool {
        self.encoding == Encoding::EventStream && self.state.is_open()
    }
}
