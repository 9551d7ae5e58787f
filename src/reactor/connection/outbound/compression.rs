//! Compression before queueing: small messages at once, large ones slice by slice.
//!
//! Connections with large messages stand in one queue. Each turn compresses a slice of the first connection's message,
//! within the budget. When the message is done, the connection goes to the end of the queue if it has more. A message
//! of 16 MiB is thus done in many slices, between which all other connections are served. Later output of the
//! connection follows its large message, except pings and pongs, which are sent between the slices, because each slice
//! is a fragment.

use std::{collections::VecDeque, rc::Rc};

use crate::{
    buffer::{Blocks, SharedBlock, offset_in},
    net::Kernel,
    protocol::{
        Message,
        deflate::Deflation,
        encoder::{Encoder, data_op_code},
        framing::OpCode,
    },
    reactor::{
        Reactor,
        connection::outbound::{Outbound, Queued},
        pools::Pools,
        publish::encoded::ShareKey,
        recording::Recording,
        share::Share,
        turn_phase::TurnPhase,
    },
};

/// Compression state of a connection, and its messages that wait for compression.
#[derive(Debug)]
pub(in crate::reactor) struct Compression {
    pub(in crate::reactor) deflation: Deflation,
    line: VecDeque<Waiting>,
    /// Bytes in `line`, and the part of them in blocks that others may hold, too.
    pub(in crate::reactor) waiting: usize,
    shared: usize,
}

/// A waiting message or frame: `start..end` of a block.
#[derive(Debug)]
struct Waiting {
    step: Step,
    /// A part of it is compressed.
    begun: bool,
    block: SharedBlock,
    /// Key of a message of which only the latest counts.
    key: Option<Rc<str>>,
    /// Others may hold the block, too.
    shared: bool,
    start: usize,
    end: usize,
}

/// The next step for a waiting payload, with the opcode of its next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Compress(OpCode),
    Frame(OpCode),
    /// The block holds a whole frame.
    Queue,
}

impl Waiting {
    /// A payload inside the block `message_buffer` is not copied.
    fn new(message: Message<'_>, compress: bool, message_buffer: Option<&SharedBlock>, blocks: &mut Blocks) -> Self {
        let (payload, op_code) = (message.as_bytes(), data_op_code(message));
        let lying = message_buffer.and_then(|block| Some((Rc::clone(block), offset_in(block, payload)?)));
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

impl Compression {
    pub(in crate::reactor) fn new(deflation: Deflation) -> Self {
        Compression { deflation, line: VecDeque::new(), waiting: 0, shared: 0 }
    }

    /// Waiting bytes that no other connection holds.
    pub(in crate::reactor) fn own_waiting(&self) -> usize {
        self.waiting - self.shared
    }
}

impl Outbound {
    /// Queues a message on a connection with compression; see [`message`](Self::message).
    #[inline(never)]
    pub(in crate::reactor) fn compressible(
        &mut self,
        encoder: Encoder,
        message: Message<'_>,
        compress: bool,
        message_buffer: Option<&SharedBlock>,
        pools: &mut Pools,
    ) -> Queued {
        let Some(compression) = &mut self.compression else { return Queued::ToWrite };
        let compress = compress && compression.deflation.wants(message.len());
        let large = compress && message.len() > pools.slice_bytes;
        if large || !compression.line.is_empty() {
            let waiting = Waiting::new(message, compress, message_buffer, &mut pools.blocks);
            return self.line_up(waiting);
        }
        if compress {
            let key = pools.key(encoder);
            let queue = self.queue.get_or_insert_with(|| pools.take_queue());
            let write = |out: &mut Vec<u8>| encoder.message_with(Some(&mut compression.deflation), message, key, out);
            queue.append(&mut pools.blocks, message.len(), true, write);
        } else {
            self.plain(encoder, message, message_buffer, pools);
        }
        Queued::ToWrite
    }

    /// Adds to the line.
    fn line_up(&mut self, waiting: Waiting) -> Queued {
        let Some(compression) = &mut self.compression else { return Queued::ToWrite };
        compression.waiting += waiting.len();
        compression.shared += waiting.shared_len();
        compression.line.push_back(waiting);
        if compression.line.len() == 1 { Queued::ToCompress } else { Queued::ToWrite }
    }

    /// Adds a frame that has to follow everything in the line.
    pub(in crate::reactor) fn line_up_frame(&mut self, pools: &mut Pools, write: impl FnOnce(&mut Vec<u8>)) {
        let mut block = pools.blocks.take(0);
        if let Some(frame) = Rc::get_mut(&mut block) {
            write(frame.bytes_mut());
        }
        let end = block.as_bytes().len();
        self.line_up(Waiting { step: Step::Queue, begun: false, block, key: None, shared: false, start: 0, end });
    }

    /// Returns `true` if the line holds a message with the key of which nothing is compressed yet.
    pub(in crate::reactor) fn has_latest_in_line(&self, key: &str) -> bool {
        self.compression.as_ref().is_some_and(|compression| compression.line.iter().any(|waiting| waiting.has_key(key)))
    }

    /// Adds a keyed message to the line, in the place of a message with the same key. Returns whether there was one.
    pub(in crate::reactor) fn line_up_latest(&mut self, key: &str, message: Message<'_>, pools: &mut Pools) -> bool {
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

    /// Drops everything that waits for compression.
    pub(in crate::reactor) fn forget_uncompressed(&mut self, pools: &mut Pools) {
        let Some(compression) = &mut self.compression else { return };
        (compression.waiting, compression.shared) = (0, 0);
        for waiting in compression.line.drain(..) {
            pools.blocks.give(waiting.block);
        }
    }

    /// Returns `true` if messages wait for compression.
    pub(in crate::reactor) fn is_compressing(&self) -> bool {
        self.compression.as_ref().is_some_and(|compression| !compression.line.is_empty())
    }

    /// The compressor of the connection. `None` unless compression was negotiated.
    pub(in crate::reactor) fn deflation(&mut self) -> Option<&mut Deflation> {
        self.compression.as_mut().map(|compression| &mut compression.deflation)
    }

    /// The connections that can share a message of that length; `compress` says whether it is compressed where
    /// negotiated.
    pub(in crate::reactor) fn shares(&self, length: usize, compress: bool) -> ShareKey {
        if self.encoder().is_some_and(Encoder::masks) {
            return ShareKey::Nothing;
        }
        let Some(compression) = &self.compression else { return ShareKey::Plain };
        match (compress && compression.deflation.wants(length), compression.deflation.shares()) {
            _ if !compression.line.is_empty() => ShareKey::Nothing,
            (false, _) => ShareKey::Plain,
            (true, Some(setting)) => ShareKey::Compressed(setting),
            (true, None) => ShareKey::Nothing,
        }
    }

    /// Returns `true` if a part of the first message is compressed.
    fn is_amidst(&self) -> bool {
        self.compression.as_ref().and_then(|compression| compression.line.front()).is_some_and(|first| first.begun)
    }

    /// Compresses the first waiting message as far as `budget` goes, and returns the rest of the budget. When the
    /// message is done, everything behind it up to the next one to be compressed is queued, too.
    fn compress(&mut self, mut budget: usize, pools: &mut Pools) -> usize {
        let (Some(compression), Some(encoder)) = (&mut self.compression, self.encoding.encoder()) else {
            return budget;
        };
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
                    // A compressor may hold back the whole output of a piece.
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

/// Bytes compressed between two looks at the time.
const STEP_BYTES: usize = 16 * 1024;

impl<K: Kernel> Reactor<K> {
    /// Compresses large messages within the budget. A message in progress is finished first; then the next connection
    /// follows.
    #[inline]
    pub(in crate::reactor) fn compress_waiting(&mut self) {
        if !self.hub.deferred.compressing.is_empty() {
            self.compress_a_slice();
            self.end_phase(TurnPhase::Compression);
        }
    }

    #[inline(never)]
    fn compress_a_slice(&mut self) {
        self.hub.note(Recording::on_activity);
        let (mut budget, mut share) = (self.hub.pools.slice_bytes, Share::of_long(usize::MAX, 1));
        while budget > 0
            && share.take(&self.hub.time_slice)
            && let Some(id) = self.hub.deferred.compressing.pop_front()
        {
            let alive = |outbound: &&mut Outbound| outbound.id == id && !outbound.state.is_closed();
            let Some(outbound) = self.hub.outbounds.get_mut(id).filter(alive) else { continue };
            let step = budget.min(STEP_BYTES);
            budget -= step - outbound.compress(step, &mut self.hub.pools);
            match outbound.is_compressing() {
                true if outbound.is_amidst() => self.hub.deferred.compressing.push_front(id),
                true => self.hub.deferred.compressing.push_back(id),
                false => {}
            }
            self.hub.touch(id.key());
        }
    }
}
