//! Segments of an output queue.

use std::{ops::Range, rc::Rc};

use crate::{
    buffer::{Block, Blocks, SharedBlock},
    protocol::framing::MAX_HEADER_BYTES,
};

/// A segment does not grow beyond this size for a further frame; a new segment starts instead. Unused capacity of a
/// segment counts for no limit, so it has to be small compared with the default one.
const SEGMENT_BYTES: usize = 64 * 1024;

/// A piece of waiting output: a range of a block, or of the input being handled.
#[derive(Debug)]
pub(super) struct Segment {
    /// `None` for bytes in the input being handled.
    pub(super) block: Option<SharedBlock>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Bytes of the segment that others may hold, too.
    pub(super) shared: usize,
    /// A frame ends with the segment, so that another frame may follow.
    pub(super) ends_frame: bool,
}

impl Segment {
    pub(super) fn new(block: Option<SharedBlock>, range: Range<usize>, ends_frame: bool) -> Self {
        Segment { block, start: range.start, end: range.end, shared: 0, ends_frame }
    }

    /// Returns `true` if a frame with that many payload bytes may be appended: the block is not shared, and it has
    /// room, or may be doubled without growing too large.
    pub(super) fn has_room_for(&mut self, bytes: usize) -> bool {
        let Some(Block::Bytes(all)) = self.block.as_mut().and_then(Rc::get_mut) else { return false };
        let (needed, most) = (self.end + MAX_HEADER_BYTES + bytes, SEGMENT_BYTES);
        let room = needed <= all.capacity() || 2 * all.capacity() <= most && needed <= most;
        room && all.len() == self.end
    }

    /// Bytes of the segment without the first `skip`.
    pub(super) fn bytes<'q>(&'q self, input: &'q [u8], skip: usize) -> &'q [u8] {
        &self.block.as_ref().map_or(input, |block| block.as_bytes())[self.start + skip..self.end]
    }

    pub(super) fn release(self, blocks: &mut Blocks) {
        if let Some(block) = self.block {
            blocks.give(block);
        }
    }
}
