//! What is compressed before it is queued: small messages at once, large ones slice by slice, in the order in which they were sent.
//!
//! Connections with large messages stand in one line, and in each turn of the loop the first of it gets on by the budget: 16 MiB are then as many slices between which
//! everybody else is served. Control frames do not wait; they go out between the slices, each of which is a fragment of its message.

use std::{collections::VecDeque, rc::Rc};

use super::{
    Reactor,
    outbox::{NO_KEY, Outbox, Pools, place},
};
use crate::{
    net::Kernel,
    protocol::{
        Message,
        block::{Blocks, SharedBlock},
        deflate::{DeflateSetting, Deflation},
        encoder::{Encoder, data_op_code},
        framing::OpCode,
    },
};

/// How a connection compresses, and what it has yet to compress.
#[derive(Debug)]
pub(super) struct Compression {
    pub(super) deflation: Deflation,
    /// A message above this length waits.
    slice_bytes: usize,
    line: VecDeque<Waiting>,
}

/// A message that waits; its payload is `start..end` of a block.
#[derive(Debug)]
struct Waiting {
    /// Of its next frame.
    op_code: OpCode,
    compress: bool,
    block: SharedBlock,
    start: usize,
    end: usize,
}

impl Waiting {
    /// The payload stays where it lies if that is the block `lent`.
    fn new(message: Message<'_>, compress: bool, lent: Option<&SharedBlock>, blocks: &mut Blocks) -> Self {
        let payload = message.as_bytes();
        let lying = lent.and_then(|block| Some((Rc::clone(block), place(block, payload)?)));
        let (block, start) = lying.unwrap_or_else(|| (blocks.take_copy(payload), 0));
        Waiting { op_code: data_op_code(message), compress, block, start, end: start + payload.len() }
    }
}

/// With whom a connection can share the frame of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shares {
    /// With all that do not compress it.
    Plain,
    /// With all that compress it so.
    Compressed(DeflateSetting),
    /// With nobody.
    Nothing,
}

impl Compression {
    pub(super) fn new(deflation: Deflation, slice_bytes: usize) -> Self {
        Compression { deflation, slice_bytes, line: VecDeque::new() }
    }
}

impl Outbox {
    /// Queues a message where compression was agreed upon; see [`message`](Self::message).
    #[inline(never)]
    pub(super) fn compressible(
        &mut self,
        encoder: Encoder,
        message: Message<'_>,
        compress: bool,
        lent: Option<&SharedBlock>,
        pools: &mut Pools,
    ) -> bool {
        let Some(compression) = &mut self.compression else { return false };
        let compress = compress && compression.deflation.wants(message.len());
        let large = compress && message.len() > compression.slice_bytes;
        if large || !compression.line.is_empty() {
            compression.line.push_back(Waiting::new(message, compress, lent, &mut pools.blocks));
            self.uncompressed += message.len();
            return compression.line.len() == 1;
        }
        if compress {
            let queue = self.queue.get_or_insert_with(|| pools.take_queue());
            let write = |out: &mut Vec<u8>| write_frame(encoder, Some(&mut compression.deflation), message, out);
            queue.append(&mut pools.blocks, message.len(), true, write);
        } else {
            self.plain(encoder, message, lent, pools);
        }
        false
    }

    /// Drops what waits to be compressed.
    pub(super) fn forget_uncompressed(&mut self, pools: &mut Pools) {
        self.uncompressed = 0;
        for waiting in self.compression.iter_mut().flat_map(|compression| compression.line.drain(..)) {
            pools.blocks.give(waiting.block);
        }
    }

    /// Whether messages wait to be compressed.
    pub(super) fn is_compressing(&self) -> bool {
        self.compression.as_ref().is_some_and(|compression| !compression.line.is_empty())
    }

    /// With whom a message of that length can be shared, if it is to be compressed where that is agreed upon.
    pub(super) fn shares(&self, length: usize, compress: bool) -> Shares {
        let Some(compression) = &self.compression else { return Shares::Plain };
        match (compress && compression.deflation.wants(length), compression.deflation.shares()) {
            _ if !compression.line.is_empty() => Shares::Nothing,
            (false, _) => Shares::Plain,
            (true, Some(setting)) => Shares::Compressed(setting),
            (true, None) => Shares::Nothing,
        }
    }

    /// Compresses and queues what waits, as far as `budget` goes, and says how much is left of that.
    pub(super) fn compress(&mut self, mut budget: usize, pools: &mut Pools) -> usize {
        let (Some(compression), Some(encoder)) = (&mut self.compression, self.encoder) else { return budget };
        while let Some(first) = compression.line.front_mut().filter(|_| budget > 0) {
            let length = if first.compress { (first.end - first.start).min(budget) } else { first.end - first.start };
            let piece = &first.block.as_bytes()[first.start..first.start + length];
            let is_last = first.start + length == first.end;
            if first.compress {
                budget -= length;
                let frame = compression.deflation.piece(piece, is_last);
                // A compressor may keep all of a piece to itself for the moment.
                if is_last || !frame.is_empty() {
                    let write = |out: &mut Vec<u8>| encoder.compressed(first.op_code, is_last, &frame, NO_KEY, out);
                    let queue = self.queue.get_or_insert_with(|| pools.take_queue());
                    queue.append(&mut pools.blocks, frame.len(), true, write);
                    first.op_code = OpCode::Continuation;
                }
                compression.deflation.recycle(frame);
            } else {
                let write = |out: &mut Vec<u8>| encoder.frame(first.op_code, piece, NO_KEY, out);
                let queue = self.queue.get_or_insert_with(|| pools.take_queue());
                queue.append(&mut pools.blocks, length, true, write);
            }
            first.start += length;
            self.uncompressed -= length;
            if is_last && let Some(done) = compression.line.pop_front() {
                pools.blocks.give(done.block);
            }
        }
        budget
    }
}

/// The payload of a message as a frame, compressed by `deflation` if that gains anything.
pub(super) fn write_frame(
    encoder: Encoder,
    deflation: Option<&mut Deflation>,
    message: Message<'_>,
    out: &mut Vec<u8>,
) {
    let compressed = deflation.and_then(|deflation| Some((deflation.message(message.as_bytes())?, deflation)));
    match compressed {
        Some((frame, deflation)) => {
            encoder.compressed(data_op_code(message), true, &frame, NO_KEY, out);
            deflation.recycle(frame);
        }
        None => encoder.message(message, NO_KEY, out),
    }
}

impl<K: Kernel> Reactor<K> {
    /// Gets on with the large messages that wait to be compressed, within the budget: the first that came is finished first.
    pub(super) fn compress_waiting(&mut self) {
        let mut budget = self.config.compression_budget_bytes.max(1);
        while let Some(id) = self.hub.compressing.front().copied().filter(|_| budget > 0) {
            if let Some(outbox) = self.hub.outboxes.get_mut(id.key()).filter(|outbox| outbox.id(id.key()) == id) {
                budget = outbox.compress(budget, &mut self.hub.pools);
                let unfinished = outbox.is_compressing();
                self.hub.touch(id.key());
                if unfinished {
                    return;
                }
            }
            self.hub.compressing.pop_front();
        }
    }
}
