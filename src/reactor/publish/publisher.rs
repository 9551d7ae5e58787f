//! Delivering one message to many connections: a frame for all that share an encoding, or the message for each.

use std::mem;

use crate::{
    buffer::{SharedBlock, offset_in},
    protocol::{Message, encoder::Encoder},
    reactor::{
        connection::outbound::Queued,
        hub::Hub,
        pools::Pools,
        publish::encoded::{EncodedFrame, ShareKey},
    },
};

/// A message that is being published.
pub(super) struct Publisher<'m> {
    message: Message<'m>,
    compress: bool,
    /// Frames made so far, one per encoding.
    frames: Vec<EncodedFrame>,
    /// Copy of a large message, for the connections that have to wait with it.
    copy: Option<SharedBlock>,
}

impl<'m> Publisher<'m> {
    pub(super) fn new(message: Message<'m>, compress: bool, pools: &mut Pools) -> Self {
        Publisher { message, compress, frames: mem::take(&mut pools.frames), copy: None }
    }

    /// Queues the message for a connection that admits it.
    #[inline]
    pub(super) fn deliver(&mut self, hub: &mut Hub, key: usize, encoder: Encoder) {
        match hub.outbounds[key].shares(self.message.len(), self.compress) {
            ShareKey::Nothing => self.deliver_alone(hub, key, encoder),
            shares => self.deliver_frame(hub, key, encoder, shares),
        }
    }

    /// Queues a frame that other connections share.
    #[inline]
    fn deliver_frame(&mut self, hub: &mut Hub, key: usize, encoder: Encoder, shares: ShareKey) {
        let (outbound, pools) = (&mut hub.outbounds[key], &mut hub.pools);
        let known = self.frames.iter().position(|frame| (frame.encoder, frame.shares) == (encoder, shares));
        let index = known.unwrap_or_else(|| {
            let message_buffer = hub.callback.message_buffer.as_ref();
            let frame = EncodedFrame::new(
                outbound.deflation(),
                encoder,
                shares,
                self.message,
                message_buffer,
                &mut pools.blocks,
            );
            self.frames.push(frame);
            self.frames.len() - 1
        });
        let frame = &self.frames[index];
        outbound.encoded(frame, pools);
        let above = outbound.above_congestion_mark();
        if above > 0 {
            frame.shared_blocks().for_each(|block| hub.excess.add_shared(block, above));
        }
    }

    /// Queues the message for a connection that shares its frames with no other. Connections that have to wait with the
    /// message wait with the same copy of it.
    fn deliver_alone(&mut self, hub: &mut Hub, key: usize, encoder: Encoder) {
        let (outbound, pools) = (&mut hub.outbounds[key], &mut hub.pools);
        let message_buffer = hub.callback.message_buffer.as_ref();
        let in_buffer = message_buffer.is_some_and(|block| offset_in(block, self.message.as_bytes()).is_some());
        let (message, message_buffer) = if self.message.len() > pools.slice_bytes && !in_buffer {
            let copy = &*self.copy.get_or_insert_with(|| self.message.to_block(&mut pools.blocks));
            (Message::from(&**copy), Some(copy))
        } else {
            (self.message, message_buffer)
        };
        if outbound.message(encoder, message, self.compress, message_buffer, pools) == Queued::ToCompress {
            hub.deferred.compressing.push_back(outbound.id);
        }
        let above = outbound.above_congestion_mark();
        if let Some(block) = message_buffer.filter(|_| above > 0) {
            hub.excess.add_shared(block, above);
        }
    }

    /// Returns the buffers of the message to the pools.
    pub(super) fn finish(mut self, pools: &mut Pools) {
        for frame in self.frames.drain(..) {
            frame.release(&mut pools.blocks);
        }
        if let Some(copy) = self.copy {
            pools.blocks.give(copy);
        }
        pools.frames = self.frames;
    }
}
