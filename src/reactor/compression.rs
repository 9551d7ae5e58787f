//! What is compressed before it is queued: small messages at once, large ones slice by slice.
//!
//! Connections with large messages stand in one line. In each turn of the loop the first of it gets on by the budget; when its message is done it goes to the end of the line, if it has
//! more. So 16 MiB are as many slices between which everybody else is served. What a connection says meanwhile comes behind its large message, but for pings and pongs: they go out
//! between the slices, each of which is a fragment.

use std::{collections::VecDeque, rc::Rc};

use super::{
    Reactor,
    outbox::{Outbox, Phase},
    pools::Pools,
};
use crate::{
    net::Kernel,
    protocol::{
        Message,
        block::{Blocks, SharedBlock, place},
        deflate::{DeflateSetting, Deflation},
        encoder::{Encoder, data_op_code},
        framing::OpCode,
        mask::MaskingKey,
    },
};

/// How a connection compresses, and what it has yet to compress.
#[derive(Debug)]
pub(super) struct Compression {
    pub(super) deflation: Deflation,
    line: VecDeque<Waiting>,
    /// Bytes in that line, and how many of them lie in blocks that others may hold, too.
    pub(super) waiting: usize,
    shared: usize,
}

/// What waits: `start..end` of a block.
#[derive(Debug)]
struct Waiting {
    step: Step,
    /// Some of it has been compressed.
    begun: bool,
    block: SharedBlock,
    /// The key of a message of which only the latest counts.
    key: Option<Rc<str>>,
    /// Others may hold the block, too.
    shared: bool,
    start: usize,
    end: usize,
}

/// What is to become of it; the op-code is that of its next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Compress(OpCode),
    Frame(OpCode),
    /// It is a frame already.
    Queue,
}

impl Waiting {
    /// The payload stays where it lies if that is the block `lent`.
    fn new(message: Message<'_>, compress: bool, lent: Option<&SharedBlock>, blocks: &mut Blocks) -> Self {
        let (payload, op_code) = (message.as_bytes(), data_op_code(message));
        let lying = lent.and_then(|block| Some((Rc::clone(block), place(block, payload)?)));
        let shared = lying.is_some();
        let (block, start) = lying.unwrap_or_else(|| (blocks.take_copy(payload), 0));
        let step = if compress { Step::Compress(op_code) } else { Step::Frame(op_code) };
        Waiting { step, begun: false, block, key: None, shared, start, end: start + payload.len() }
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    fn has_key(&self, key: &str) -> bool {
        !self.begun && self.key.as_deref() == Some(key)
    }

    fn shared_len(&self) -> usize {
        if self.shared { self.len() } else { 0 }
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
    pub(super) fn new(deflation: Deflation) -> Self {
        Compression { deflation, line: VecDeque::new(), waiting: 0, shared: 0 }
    }

    /// Bytes that wait and that no other connection holds.
    pub(super) fn own_waiting(&self) -> usize {
        self.waiting - self.shared
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
        let large = compress && message.len() > pools.slice_bytes;
        if large || !compression.line.is_empty() {
            let waiting = Waiting::new(message, compress, lent, &mut pools.blocks);
            return self.line_up(waiting);
        }
        if compress {
            let key = pools.key(encoder);
            let queue = self.queue.get_or_insert_with(|| pools.take_queue());
            let write = |out: &mut Vec<u8>| write_frame(encoder, Some(&mut compression.deflation), message, key, out);
            queue.append(&mut pools.blocks, message.len(), true, write);
        } else {
            self.plain(encoder, message, lent, pools);
        }
        false
    }

    /// Has something wait. `true` if it is the first that does.
    fn line_up(&mut self, waiting: Waiting) -> bool {
        let Some(compression) = &mut self.compression else { return false };
        compression.waiting += waiting.len();
        compression.shared += waiting.shared_len();
        compression.line.push_back(waiting);
        compression.line.len() == 1
    }

    /// Has a frame wait that is to come behind all that does.
    pub(super) fn line_up_frame(&mut self, pools: &mut Pools, write: impl FnOnce(&mut Vec<u8>)) {
        let mut block = pools.blocks.take(0);
        if let Some(frame) = Rc::get_mut(&mut block) {
            write(frame.bytes_mut());
        }
        let end = block.as_bytes().len();
        self.line_up(Waiting { step: Step::Queue, begun: false, block, key: None, shared: false, start: 0, end });
    }

    /// Whether a message with that key waits, and nothing of it was compressed.
    pub(super) fn has_latest_in_line(&self, key: &str) -> bool {
        self.compression.as_ref().is_some_and(|compression| compression.line.iter().any(|waiting| waiting.has_key(key)))
    }

    /// Has a message of which only the latest counts wait, in the place of that with the same key; says whether there was one.
    pub(super) fn line_up_latest(&mut self, key: &str, message: Message<'_>, pools: &mut Pools) -> bool {
        let waiting = Waiting { key: Some(key.into()), ..Waiting::new(message, false, None, &mut pools.blocks) };
        let line = self.compression.as_mut().map(|compression| (&mut compression.line, &mut compression.waiting));
        if let Some((line, bytes)) = line
            && let Some(known) = line.iter_mut().find(|known| known.has_key(key))
        {
            *bytes = *bytes + waiting.len() - known.len();
            let replaced = std::mem::replace(known, waiting);
            pools.blocks.give(replaced.block);
            return true;
        }
        self.line_up(waiting);
        false
    }

    /// Drops what waits to be compressed.
    pub(super) fn forget_uncompressed(&mut self, pools: &mut Pools) {
        let Some(compression) = &mut self.compression else { return };
        (compression.waiting, compression.shared) = (0, 0);
        for waiting in compression.line.drain(..) {
            pools.blocks.give(waiting.block);
        }
    }

    /// Whether messages wait to be compressed.
    pub(super) fn is_compressing(&self) -> bool {
        self.compression.as_ref().is_some_and(|compression| !compression.line.is_empty())
    }

    /// With whom a message of that length can be shared, if it is to be compressed where that is agreed upon.
    pub(super) fn shares(&self, length: usize, compress: bool) -> Shares {
        if self.encoder.is_some_and(Encoder::masks) {
            return Shares::Nothing;
        }
        let Some(compression) = &self.compression else { return Shares::Plain };
        match (compress && compression.deflation.wants(length), compression.deflation.shares()) {
            _ if !compression.line.is_empty() => Shares::Nothing,
            (false, _) => Shares::Plain,
            (true, Some(setting)) => Shares::Compressed(setting),
            (true, None) => Shares::Nothing,
        }
    }

    /// Whether a message has been compressed in part.
    fn is_amidst(&self) -> bool {
        self.compression.as_ref().and_then(|compression| compression.line.front()).is_some_and(|first| first.begun)
    }

    /// Gets on with the first message that waits to be compressed, as far as `budget` goes, and says how much is left of that. What is behind it, up to the next
    /// that is to be compressed, is queued with its end.
    fn compress(&mut self, mut budget: usize, pools: &mut Pools) -> usize {
        let (Some(compression), Some(encoder)) = (&mut self.compression, self.encoder) else { return budget };
        let mut done = false;
        while let Some(first) = compression.line.front_mut() {
            let to_compress = matches!(first.step, Step::Compress(_));
            if to_compress && (done || budget == 0) {
                break;
            }
            let length = if to_compress { first.len().min(budget) } else { first.len() };
            let piece = &first.block.as_bytes()[first.start..first.start + length];
            let is_last = length == first.len();
            match first.step {
                Step::Compress(op_code) => {
                    budget -= length;
                    (done, first.begun) = (is_last, true);
                    let frame = compression.deflation.piece(piece, is_last);
                    // A compressor may keep all of a piece to itself for the moment.
                    if is_last || !frame.is_empty() {
                        let key = pools.key(encoder);
                        let queue = self.queue.get_or_insert_with(|| pools.take_queue());
                        let write = |out: &mut Vec<u8>| encoder.compressed(op_code, is_last, &frame, key, out);
                        queue.append(&mut pools.blocks, frame.len(), true, write);
                        first.step = Step::Compress(OpCode::Continuation);
                    }
                    compression.deflation.recycle(frame);
                }
                Step::Frame(op_code) => {
                    let key = pools.key(encoder);
                    let queue = self.queue.get_or_insert_with(|| pools.take_queue());
                    let write = |out: &mut Vec<u8>| encoder.frame(op_code, piece, key, out);
                    queue.append(&mut pools.blocks, length, true, write);
                }
                Step::Queue => {
                    let queue = self.queue.get_or_insert_with(|| pools.take_queue());
                    queue.append(&mut pools.blocks, length, true, |out| out.extend_from_slice(piece));
                }
            }
            first.start += length;
            compression.waiting -= length;
            compression.shared -= if first.shared { length } else { 0 };
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
    key: MaskingKey,
    out: &mut Vec<u8>,
) {
    let compressed = deflation.and_then(|deflation| Some((deflation.message(message.as_bytes())?, deflation)));
    match compressed {
        Some((frame, deflation)) => {
            encoder.compressed(data_op_code(message), true, &frame, key, out);
            deflation.recycle(frame);
        }
        None => encoder.message(message, key, out),
    }
}

impl<K: Kernel> Reactor<K> {
    /// Gets on with the large messages that wait to be compressed, within the budget: one that is begun is finished first, then the next connection has its turn.
    pub(super) fn compress_waiting(&mut self) {
        let mut budget = self.hub.pools.slice_bytes;
        while budget > 0
            && let Some(id) = self.hub.compressing.pop_front()
        {
            let alive = |outbox: &&mut Outbox| outbox.id == id && outbox.phase != Phase::Dead;
            let Some(outbox) = self.hub.outboxes.get_mut(id.key()).filter(alive) else { continue };
            budget = outbox.compress(budget, &mut self.hub.pools);
            match outbox.is_compressing() {
                true if outbox.is_amidst() => self.hub.compressing.push_front(id),
                true => self.hub.compressing.push_back(id),
                false => {}
            }
            self.hub.touch(id.key());
        }
    }
}
