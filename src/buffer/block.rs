//! Blocks: recycled buffers for large messages and waiting output.
//!
//! A block is reference-counted, so that a message can be forwarded without a copy. The [`Blocks`] of a reactor keep
//! free blocks up to a limit in bytes. An idle connection holds no block.

use std::{mem, rc::Rc};

use super::{Bytes, Utf8Bytes};

/// A buffer. Text is known to be UTF-8, so that a message is checked once only.
#[derive(Debug)]
pub(crate) enum Block {
    Bytes(Vec<u8>),
    Text(String),
    /// A whole frame; nothing is appended.
    Frozen(Vec<u8>),
    /// Bytes owned by the application, sent from there and never recycled.
    OwnedBytes(Bytes),
    /// Text owned by the application, sent from there and never recycled.
    OwnedText(Utf8Bytes),
}

impl Block {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Block::Bytes(bytes) | Block::Frozen(bytes) => bytes,
            Block::Text(text) => text.as_bytes(),
            Block::OwnedBytes(bytes) => bytes,
            Block::OwnedText(text) => text.as_bytes(),
        }
    }

    /// The contents, if they are text.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Block::Text(text) => Some(text),
            Block::OwnedText(text) => Some(text),
            Block::Bytes(_) | Block::Frozen(_) | Block::OwnedBytes(_) => None,
        }
    }

    /// The buffer as octets. Text becomes octets.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        if !matches!(self, Block::Bytes(_)) {
            self.make_bytes();
        }
        match self {
            Block::Bytes(bytes) => bytes,
            _ => unreachable!("turned into octets above"),
        }
    }

    #[cold]
    fn make_bytes(&mut self) {
        *self = Block::Bytes(match self {
            Block::Bytes(bytes) | Block::Frozen(bytes) => mem::take(bytes),
            Block::Text(text) => mem::take(text).into_bytes(),
            Block::OwnedBytes(_) | Block::OwnedText(_) => Vec::new(),
        });
    }

    /// Prevents appending until the block is recycled.
    pub(crate) fn freeze(&mut self) {
        *self = Block::Frozen(mem::take(self.bytes_mut()));
    }

    /// Empties the buffer and turns it into text.
    fn make_text(&mut self) -> &mut String {
        let mut bytes = mem::take(self.bytes_mut());
        bytes.clear();
        *self = Block::Text(String::from_utf8(bytes).unwrap_or_default());
        match self {
            Block::Text(text) => text,
            _ => unreachable!("turned into text above"),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Block::Bytes(bytes) | Block::Frozen(bytes) => bytes.capacity(),
            Block::Text(text) => text.capacity(),
            Block::OwnedBytes(_) | Block::OwnedText(_) => 0,
        }
    }
}

/// A reference-counted block.
pub(crate) type SharedBlock = Rc<Block>;

/// Offset of `payload` in `block`, if `payload` lies there.
pub(crate) fn offset_in(block: &SharedBlock, payload: &[u8]) -> Option<usize> {
    let whole = block.as_bytes();
    offset(whole.as_ptr() as usize, whole.len(), payload)
}

/// Offset of `payload` in the `length` bytes at `address`, if `payload` lies there.
pub(crate) fn offset(address: usize, length: usize, payload: &[u8]) -> Option<usize> {
    let start = (payload.as_ptr() as usize).checked_sub(address)?;
    (start + payload.len() <= length).then_some(start)
}

/// Capacity from which a block is large. Large blocks are kept apart, so that small needs do not occupy them.
const LARGE_BYTES: usize = 128 * 1024;

/// The pool of free blocks of a reactor.
#[derive(Debug)]
pub(crate) struct Blocks {
    small: Vec<SharedBlock>,
    large: Vec<SharedBlock>,
    free_bytes: usize,
    /// Fewest bytes that were free since the last trim pass: these were not needed.
    low_water: usize,
    limit: usize,
}

impl Blocks {
    /// An empty pool that keeps at most `limit` bytes of free blocks.
    pub(crate) fn new(limit: usize) -> Self {
        Blocks { small: Vec::new(), large: Vec::new(), free_bytes: 0, low_water: 0, limit }
    }

    /// Takes an empty, unshared block of octets. `expected` is the expected length; it selects a free block and
    /// reserves nothing.
    pub(crate) fn take(&mut self, expected: usize) -> SharedBlock {
        let free = if expected >= LARGE_BYTES { &mut self.large } else { &mut self.small };
        match free.pop() {
            Some(block) => {
                self.free_bytes -= block.capacity();
                self.low_water = self.low_water.min(self.free_bytes);
                block
            }
            None => Rc::new(Block::Bytes(Vec::new())),
        }
    }

    /// Like [`take`](Self::take), for text.
    pub(crate) fn take_text(&mut self, expected: usize) -> SharedBlock {
        let mut block = self.take(expected);
        if let Some(block) = Rc::get_mut(&mut block) {
            block.make_text();
        }
        block
    }

    /// Takes a block and copies `bytes` into the block.
    pub(crate) fn take_copy(&mut self, bytes: &[u8]) -> SharedBlock {
        let mut block = self.take(bytes.len());
        if let Some(block) = Rc::get_mut(&mut block) {
            block.bytes_mut().extend_from_slice(bytes);
        }
        block
    }

    /// Takes a block and copies `text` into the block.
    pub(crate) fn take_text_copy(&mut self, text: &str) -> SharedBlock {
        let mut block = self.take_text(text.len());
        if let Some(Block::Text(copy)) = Rc::get_mut(&mut block) {
            copy.push_str(text);
        }
        block
    }

    /// Takes a block back. The block is kept if it has no other owner and the pool has room.
    pub(crate) fn give(&mut self, mut block: SharedBlock) {
        let Some(free) = Rc::get_mut(&mut block) else { return };
        let bytes = free.bytes_mut();
        let capacity = bytes.capacity();
        if capacity == 0 || self.free_bytes + capacity > self.limit {
            return;
        }
        bytes.clear();
        self.free_bytes += capacity;
        if capacity >= LARGE_BYTES { self.large.push(block) } else { self.small.push(block) }
    }

    /// Frees the blocks that were not needed since the last call. If those were half of the free bytes or more, all
    /// free blocks are freed: few blocks left where many were would keep the allocator from returning memory to the
    /// system. Returns whether all were freed.
    pub(crate) fn trim(&mut self) -> bool {
        let over = self.low_water >= self.free_bytes / 2;
        let needless = if over { self.free_bytes } else { self.low_water };
        let mut left = needless;
        for free in [&mut self.large, &mut self.small] {
            // Blocks are taken from the end, so the first ones were not needed.
            let (mut count, before) = (0, left);
            while let Some(block) = free.get(count).filter(|block| block.capacity() <= left) {
                (count, left) = (count + 1, left - block.capacity());
            }
            free.drain(..count);
            free.shrink_to(2 * free.len());
            self.free_bytes -= before - left;
        }
        self.low_water = self.free_bytes;
        over
    }

    /// Total capacity of the free blocks, in bytes.
    pub(crate) fn free_bytes(&self) -> usize {
        self.free_bytes
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Blocks::new(4 * 1024 * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(length: usize) -> SharedBlock {
        Rc::new(Block::Bytes(vec![1; length]))
    }

    #[test]
    fn returned_block_is_reused_empty() {
        let mut blocks = Blocks::new(1000);
        blocks.give(filled(100));
        assert_eq!(blocks.free_bytes(), 100);
        let reused = blocks.take(10);
        assert!(reused.as_bytes().is_empty() && reused.capacity() == 100);
        assert_eq!(blocks.free_bytes(), 0);
    }

    #[test]
    fn pool_keeps_no_more_bytes_than_its_limit() {
        let mut blocks = Blocks::new(1000);
        blocks.give(filled(900));
        blocks.give(filled(200));
        assert_eq!(blocks.free_bytes(), 900);
        blocks.give(filled(100));
        assert_eq!(blocks.free_bytes(), 1000, "the pool is exactly full");
    }

    #[test]
    fn block_with_another_owner_is_not_kept() {
        let mut blocks = Blocks::new(1000);
        let block = filled(10);
        let other = Rc::clone(&block);
        blocks.give(block);
        assert_eq!(blocks.free_bytes(), 0);
        assert_eq!(other.as_bytes().len(), 10);
    }

    #[test]
    fn trim_frees_the_blocks_that_were_unused_since_the_previous_trim() {
        let mut blocks = Blocks::new(1000);
        for _ in 0..8 {
            blocks.give(filled(100));
        }
        blocks.trim();
        assert_eq!(blocks.free_bytes(), 800, "no block was free at the previous trim");
        let taken: Vec<_> = (0..5).map(|_| blocks.take(10)).collect();
        assert!(taken.iter().all(|block| block.capacity() == 100));
        taken.into_iter().for_each(|_| blocks.give(filled(100)));
        blocks.trim();
        assert_eq!(blocks.free_bytes(), 500, "three blocks stayed unused");
        drop(blocks.take(10));
        blocks.give(filled(100));
        blocks.trim();
        assert_eq!(blocks.free_bytes(), 0, "most blocks stayed unused: all are freed");
    }

    #[test]
    fn small_request_does_not_take_a_large_block() {
        let mut blocks = Blocks::new(1 << 20);
        blocks.give(filled(LARGE_BYTES));
        assert_eq!(blocks.take(10).capacity(), 0);
        assert_eq!(blocks.take(LARGE_BYTES).capacity(), LARGE_BYTES);
        blocks.give(filled(127 * 1024));
        assert_eq!(blocks.take(10).capacity(), 127 * 1024, "the block is below the size of large blocks");
    }
}
