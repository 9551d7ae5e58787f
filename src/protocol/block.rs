//! Blocks: the recycled buffers in which large messages gather and output waits.
//!
//! A block is shared by counting, so that a message can be sent on from where it lies. The [`Blocks`] of a reactor keep what
//! is free for the next taker, up to a limit in bytes; an idle connection holds none.

use std::{mem, rc::Rc};

use super::{
    decoder::Unfinished,
    message::{Message, OwnedMessage},
};

/// A buffer; as text it is known to be UTF-8, so that a message need not be checked twice.
#[derive(Debug)]
pub(crate) enum Block {
    Bytes(Vec<u8>),
    Text(String),
    /// A whole frame, behind which nothing is appended.
    Frozen(Vec<u8>),
    /// The payload of a message that the application owns; it is sent from there, and never recycled.
    Foreign(OwnedMessage),
}

impl Block {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Block::Bytes(bytes) | Block::Frozen(bytes) => bytes,
            Block::Text(text) => text.as_bytes(),
            Block::Foreign(message) => message.as_message().as_bytes(),
        }
    }

    /// What it holds, as a message.
    pub(crate) fn message(&self) -> Message<'_> {
        match self {
            Block::Bytes(bytes) | Block::Frozen(bytes) => Message::Binary(bytes),
            Block::Text(text) => Message::Text(text),
            Block::Foreign(message) => message.as_message(),
        }
    }

    /// The buffer as octets; what was text is octets from now on.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        match self {
            Block::Bytes(_) => {}
            Block::Text(text) => *self = Block::Bytes(mem::take(text).into_bytes()),
            Block::Frozen(bytes) => *self = Block::Bytes(mem::take(bytes)),
            Block::Foreign(_) => *self = Block::Bytes(Vec::new()),
        }
        match self {
            Block::Bytes(bytes) => bytes,
            _ => unreachable!("turned into octets above"),
        }
    }

    /// Nothing is to be appended from now on, until it is recycled.
    pub(crate) fn freeze(&mut self) {
        *self = Block::Frozen(mem::take(self.bytes_mut()));
    }

    /// Empties the buffer and makes it text.
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
            Block::Foreign(_) => 0,
        }
    }
}

/// A block with its owners counted.
pub(crate) type SharedBlock = Rc<Block>;

/// Where `payload` starts in `block`, if that is where it lies.
pub(crate) fn place(block: &SharedBlock, payload: &[u8]) -> Option<usize> {
    let whole = block.as_bytes();
    offset(whole.as_ptr() as usize, whole.len(), payload)
}

/// Where `payload` starts in the `length` bytes at `address`, if that is where it lies.
pub(crate) fn offset(address: usize, length: usize, payload: &[u8]) -> Option<usize> {
    let start = (payload.as_ptr() as usize).checked_sub(address)?;
    (start + payload.len() <= length).then_some(start)
}

/// From this capacity on a block is large: kept apart, so that small needs do not hold large blocks.
const LARGE_BYTES: usize = 128 * 1024;

/// So many free states of decoders are kept: of those that wait for the rest of something each has one, and others need it for a moment only.
const FREE_UNFINISHED: usize = 64;

/// The free blocks of a reactor.
#[derive(Debug)]
pub(crate) struct Blocks {
    small: Vec<SharedBlock>,
    large: Vec<SharedBlock>,
    /// What decoders need while something is unfinished; boxed, because it is the box that is handed on.
    #[allow(clippy::vec_box)]
    unfinished: Vec<Box<Unfinished>>,
    free_bytes: usize,
    /// The fewest bytes that were free since the last rest: nobody has needed those.
    fewest: usize,
    limit: usize,
}

impl Blocks {
    /// An empty pool that will keep at most `limit` bytes of free blocks.
    pub(crate) fn new(limit: usize) -> Self {
        Blocks { small: Vec::new(), large: Vec::new(), unfinished: Vec::new(), free_bytes: 0, fewest: 0, limit }
    }

    /// An empty block of octets, unshared. `expected` is how many bytes it will hold, as far as known; it decides
    /// which free block is taken, and reserves nothing.
    pub(crate) fn take(&mut self, expected: usize) -> SharedBlock {
        let free = if expected >= LARGE_BYTES { &mut self.large } else { &mut self.small };
        match free.pop() {
            Some(block) => {
                self.free_bytes -= block.capacity();
                self.fewest = self.fewest.min(self.free_bytes);
                block
            }
            None => Rc::new(Block::Bytes(Vec::new())),
        }
    }

    /// As [`take`](Self::take), for text.
    pub(crate) fn take_text(&mut self, expected: usize) -> SharedBlock {
        let mut block = self.take(expected);
        if let Some(block) = Rc::get_mut(&mut block) {
            block.make_text();
        }
        block
    }

    /// A block with these bytes in it.
    pub(crate) fn take_copy(&mut self, bytes: &[u8]) -> SharedBlock {
        let mut block = self.take(bytes.len());
        if let Some(block) = Rc::get_mut(&mut block) {
            block.bytes_mut().extend_from_slice(bytes);
        }
        block
    }

    /// A block with this message in it.
    pub(crate) fn take_message(&mut self, message: Message<'_>) -> SharedBlock {
        match message {
            Message::Binary(bytes) => self.take_copy(bytes),
            Message::Text(text) => {
                let mut block = self.take_text(text.len());
                if let Some(Block::Text(copy)) = Rc::get_mut(&mut block) {
                    copy.push_str(text);
                }
                block
            }
        }
    }

    /// Takes a block back. It is kept if it has no other owner and there is room; otherwise its last owner frees it.
    pub(crate) fn give(&mut self, mut block: SharedBlock) {
        let Some(free) = Rc::get_mut(&mut block) else { return };
        let capacity = free.capacity();
        if capacity == 0 || self.free_bytes + capacity > self.limit {
            return;
        }
        free.bytes_mut().clear();
        self.free_bytes += capacity;
        if capacity >= LARGE_BYTES { self.large.push(block) } else { self.small.push(block) }
    }

    /// Room for what a decoder has not finished.
    pub(super) fn take_unfinished(&mut self) -> Box<Unfinished> {
        self.unfinished.pop().unwrap_or_default()
    }

    /// Takes that back, whatever is in it.
    pub(super) fn give_unfinished(&mut self, mut unfinished: Box<Unfinished>) {
        if self.unfinished.len() < FREE_UNFINISHED {
            *unfinished = Unfinished::default();
            self.unfinished.push(unfinished);
        }
    }

    /// Frees what nobody has needed since the last call; and all that is free, if that was most of it: few blocks that stay where many have been would keep the
    /// allocator from returning the room to the system.
    /// `true` if it was.
    pub(crate) fn rest(&mut self) -> bool {
        let over = self.fewest >= self.free_bytes / 2;
        let needless = if over { self.free_bytes } else { self.fewest };
        let mut left = needless;
        for free in [&mut self.large, &mut self.small] {
            // The last are taken first, so it is the first that were not needed.
            let (mut count, before) = (0, left);
            while let Some(block) = free.get(count).filter(|block| block.capacity() <= left) {
                (count, left) = (count + 1, left - block.capacity());
            }
            free.drain(..count);
            free.shrink_to(2 * free.len());
            self.free_bytes -= before - left;
        }
        self.fewest = self.free_bytes;
        over
    }

    /// Capacity of the free blocks together, in bytes.
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
    fn a_block_comes_back_empty() {
        let mut blocks = Blocks::new(1000);
        blocks.give(filled(100));
        assert_eq!(blocks.free_bytes(), 100);
        let again = blocks.take(10);
        assert!(again.as_bytes().is_empty() && again.capacity() == 100);
        assert_eq!(blocks.free_bytes(), 0);
    }

    #[test]
    fn the_pool_keeps_no_more_than_its_limit() {
        let mut blocks = Blocks::new(1000);
        blocks.give(filled(900));
        blocks.give(filled(200));
        assert_eq!(blocks.free_bytes(), 900);
        blocks.give(filled(100));
        assert_eq!(blocks.free_bytes(), 1000, "it fits exactly");
    }

    #[test]
    fn a_block_with_another_owner_is_not_kept() {
        let mut blocks = Blocks::new(1000);
        let block = filled(10);
        let other = Rc::clone(&block);
        blocks.give(block);
        assert_eq!(blocks.free_bytes(), 0);
        assert_eq!(other.as_bytes().len(), 10);
    }

    #[test]
    fn what_nobody_has_needed_is_freed() {
        let mut blocks = Blocks::new(1000);
        for _ in 0..8 {
            blocks.give(filled(100));
        }
        blocks.rest();
        assert_eq!(blocks.free_bytes(), 800, "a rest ago there was none of it");
        let needed: Vec<_> = (0..5).map(|_| blocks.take(10)).collect();
        assert!(needed.iter().all(|block| block.capacity() == 100));
        needed.into_iter().for_each(|_| blocks.give(filled(100)));
        blocks.rest();
        assert_eq!(blocks.free_bytes(), 500, "three were not needed");
        drop(blocks.take(10));
        blocks.give(filled(100));
        blocks.rest();
        assert_eq!(blocks.free_bytes(), 0, "one was, which is as good as none");
    }

    #[test]
    fn a_small_need_leaves_the_large_blocks_alone() {
        let mut blocks = Blocks::new(1 << 20);
        blocks.give(filled(LARGE_BYTES));
        assert_eq!(blocks.take(10).capacity(), 0);
        assert_eq!(blocks.take(LARGE_BYTES).capacity(), LARGE_BYTES);
        blocks.give(filled(127 * 1024));
        assert_eq!(blocks.take(10).capacity(), 127 * 1024, "that is not large yet");
    }
}
