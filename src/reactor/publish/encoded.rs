//! Messages encoded once for many connections.

use std::rc::Rc;

use crate::{
    buffer::{Blocks, LARGE_PAYLOAD_BYTES, SharedBlock, offset_in},
    protocol::{
        Message,
        deflate::{DeflateSetting, Deflation},
        encoder::Encoder,
        mask::MaskingKey,
    },
};

/// The connections with which a connection can share the frame of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum ShareKey {
    /// All that do not compress the message.
    Plain,
    /// All that compress the message with this setting.
    Compressed(DeflateSetting),
    /// No other connection.
    Nothing,
}

/// A published frame up to this length is copied behind a non-empty queue, because a segment of its own would cost as
/// much.
pub(in crate::reactor) const SMALL_FRAME_BYTES: usize = 1024;

/// A server does not mask.
const NO_KEY: MaskingKey = [0; 4];

/// A message encoded once for many connections. `head` holds the header, and the payload unless `body` holds it.
#[derive(Debug)]
pub(crate) struct EncodedFrame {
    pub(in crate::reactor) encoder: Encoder,
    pub(in crate::reactor) shares: ShareKey,
    pub(in crate::reactor) head: SharedBlock,
    pub(in crate::reactor) body: Option<(SharedBlock, usize, usize)>,
}

impl EncodedFrame {
    /// Encodes a message for all connections with this encoder and share key. `deflation`: of one of them, if the
    /// message is compressed.
    pub(in crate::reactor) fn new(
        deflation: Option<&mut Deflation>,
        encoder: Encoder,
        shares: ShareKey,
        message: Message<'_>,
        message_buffer: Option<&SharedBlock>,
        blocks: &mut Blocks,
    ) -> Self {
        debug_assert!(!encoder.masks(), "what is masked is not shared");
        let deflation = deflation.filter(|_| shares != ShareKey::Plain);
        let payload = message.as_bytes();
        let mut head = blocks.take(payload.len());
        let mut body = None;
        if let Some(out) = Rc::get_mut(&mut head) {
            let lying = message_buffer.filter(|_| payload.len() >= LARGE_PAYLOAD_BYTES && deflation.is_none());
            let lying =
                lying.and_then(|block| Some((block, offset_in(block, payload)?, encoder.message_header(message)?)));
            match lying {
                Some((block, start, header)) => {
                    out.bytes_mut().extend_from_slice(header.as_bytes());
                    body = Some((Rc::clone(block), start, start + payload.len()));
                }
                None => encoder.message_with(deflation, message, NO_KEY, out.bytes_mut()),
            }
        }
        EncodedFrame { encoder, shares, head, body }
    }

    /// Blocks that are queued without a copy.
    pub(in crate::reactor) fn shared_blocks(&self) -> impl Iterator<Item = &SharedBlock> {
        shared(&self.head).into_iter().chain(self.body.as_ref().map(|(block, _, _)| block))
    }

    pub(in crate::reactor) fn release(self, blocks: &mut Blocks) {
        blocks.give(self.head);
    }
}

/// A block, if it is queued without a copy.
pub(super) fn shared(block: &SharedBlock) -> Option<&SharedBlock> {
    Some(block).filter(|block| block.as_bytes().len() > SMALL_FRAME_BYTES)
}
