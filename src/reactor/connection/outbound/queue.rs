//! The output queue of a connection: segments that wait for the socket, in order.

use std::{collections::VecDeque, io::IoSlice, mem, rc::Rc};

use crate::{
    buffer::{Block, Blocks, SharedBlock},
    reactor::{
        connection::outbound::{latest::Latest, segment::Segment},
        share::WRITE_BYTES,
    },
};

/// Maximum number of slices for one write.
pub(crate) const MAX_SLICES: usize = 64;

/// Output of a connection. A connection has a queue only while output waits.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    segments: VecDeque<Segment>,
    /// Bytes of the first segment that have left.
    sent: usize,
    /// The bytes that left last do not end a frame.
    inside_frame: bool,
    bytes: usize,
    /// Bytes of the segments that others may hold, too.
    shared: usize,
    /// Number of segments that have left.
    popped: u64,
    /// Positions of the keyed messages, if there are any.
    latest: Option<Box<Latest>>,
}

impl Queue {
    /// Number of waiting bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Number of waiting bytes that no other connection holds.
    pub(crate) fn own_bytes(&self) -> usize {
        // A part of a shared segment may have left already.
        self.bytes.saturating_sub(self.shared)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends the output of `write`, about `expected` bytes: whole frames, or the header of a frame if `ends_frame` is
    /// false.
    pub(crate) fn append(
        &mut self,
        blocks: &mut Blocks,
        expected: usize,
        ends_frame: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if !self.segments.back_mut().is_some_and(|tail| tail.has_room_for(expected)) {
            self.segments.push_back(Segment::new(Some(blocks.take(expected)), 0..0, ends_frame));
        }
        let Some(tail) = self.segments.back_mut() else { return };
        let Some(block) = tail.block.as_mut().and_then(Rc::get_mut) else { return };
        let buffer = block.bytes_mut();
        write(buffer);
        self.bytes += buffer.len() - tail.end;
        tail.end = buffer.len();
        tail.ends_frame = ends_frame;
    }

    /// Appends a whole frame with a header of two bytes. Most frames need only a copy behind the waiting bytes.
    #[inline(always)]
    pub(crate) fn append_frame(&mut self, blocks: &mut Blocks, header: [u8; 2], payload: &[u8]) {
        if !self.append_to_tail(header, payload) {
            self.append_with_room(blocks, header, payload);
        }
    }

    /// Appends the frame if the last segment has room and is not shared; otherwise [`append`](Self::append) decides.
    #[inline]
    fn append_to_tail(&mut self, header: [u8; 2], payload: &[u8]) -> bool {
        let Some(tail) = self.segments.back_mut() else { return unlikely() };
        let Some(Block::Bytes(buffer)) = tail.block.as_mut().and_then(Rc::get_mut) else { return unlikely() };
        let length = header.len() + payload.len();
        if buffer.len() != tail.end || buffer.capacity() - buffer.len() < length {
            return unlikely();
        }
        buffer.extend_from_slice(&header);
        buffer.extend_from_slice(payload);
        (tail.end, tail.ends_frame) = (buffer.len(), true);
        self.bytes += length;
        true
    }

    #[inline(never)]
    fn append_with_room(&mut self, blocks: &mut Blocks, header: [u8; 2], payload: &[u8]) {
        self.append(blocks, payload.len(), true, |out| {
            out.reserve(header.len() + payload.len());
            out.extend_from_slice(&header);
            out.extend_from_slice(payload);
        });
    }

    /// Appends `start..end` of a block without copying it.
    pub(crate) fn append_shared(&mut self, block: &SharedBlock, start: usize, end: usize, ends_frame: bool) {
        if start < end {
            self.segments.push_back(Segment {
                shared: end - start,
                ..Segment::new(Some(Rc::clone(block)), start..end, ends_frame)
            });
            self.bytes += end - start;
            self.shared += end - start;
        }
    }

    /// Appends the end of a frame that lies at `start..end` of the input being handled. Bytes that have not left when
    /// the input is reused have to be [kept](Self::keep_input).
    pub(crate) fn append_input(&mut self, start: usize, end: usize) {
        self.segments.push_back(Segment::new(None, start..end, true));
        self.bytes += end - start;
    }

    /// Copies waiting bytes that lie in the input.
    pub(crate) fn keep_input(&mut self, input: &[u8], blocks: &mut Blocks) {
        for (index, segment) in self.segments.iter_mut().enumerate().filter(|(_, segment)| segment.block.is_none()) {
            let skip = if index == 0 { mem::take(&mut self.sent) } else { 0 };
            let rest = segment.bytes(input, skip);
            (segment.start, segment.end, segment.block) = (0, rest.len(), Some(blocks.take_copy(rest)));
        }
    }

    /// Index of the frame with the key, if no byte of it has left.
    pub(in crate::reactor) fn latest_index(&self, key: &str) -> Option<usize> {
        let index = (self.latest.as_ref()?.position(key)? - self.popped) as usize;
        (index > 0 || self.sent == 0).then_some(index)
    }

    /// Queues a frame, `shared` bytes of which others hold, in the place of a frame with the same key. Returns whether
    /// there was one.
    pub(in crate::reactor) fn put_latest(
        &mut self,
        blocks: &mut Blocks,
        key: &str,
        frame: SharedBlock,
        shared: usize,
    ) -> bool {
        let segment = Segment { shared, ..Segment::new(Some(Rc::clone(&frame)), 0..frame.as_bytes().len(), true) };
        drop(frame);
        self.bytes += segment.end;
        self.shared += shared;
        match self.latest_index(key) {
            Some(index) => {
                let replaced = mem::replace(&mut self.segments[index], segment);
                self.bytes -= replaced.end - replaced.start;
                self.shared -= replaced.shared;
                replaced.release(blocks);
                true
            }
            None => {
                let position = self.popped + self.segments.len() as u64;
                self.latest.get_or_insert_default().note(key, position);
                self.segments.push_back(segment);
                false
            }
        }
    }

    /// Inserts a whole frame as near to the front as possible: behind the first segment that ends a frame.
    pub(crate) fn insert_early(&mut self, blocks: &mut Blocks, write: impl FnOnce(&mut Vec<u8>)) {
        let mut block = blocks.take(0);
        let Some(buffer) = Rc::get_mut(&mut block) else { return };
        write(buffer.bytes_mut());
        let end = buffer.as_bytes().len();
        let behind = self.segments.iter().position(|segment| segment.ends_frame).map_or(0, |index| index + 1);
        if let Some(latest) = &mut self.latest {
            latest.shift_from(self.popped + behind as u64);
        }
        self.segments.insert(behind, Segment::new(Some(block), 0..end, true));
        self.bytes += end;
    }

    /// Fills `slices` with waiting bytes, at most [`WRITE_BYTES`], and returns the number of slices.
    pub(crate) fn slices<'q>(&'q self, input: &'q [u8], slices: &mut [IoSlice<'q>; MAX_SLICES]) -> usize {
        let (mut count, mut skip, mut room) = (0, self.sent, WRITE_BYTES);
        for (segment, slice) in self.segments.iter().zip(slices) {
            let bytes = segment.bytes(input, skip);
            let bytes = &bytes[..bytes.len().min(room)];
            *slice = IoSlice::new(bytes);
            (count, skip, room) = (count + 1, 0, room - bytes.len());
            if room == 0 {
                break;
            }
        }
        count
    }

    /// The waiting bytes, if they lie in one piece.
    pub(crate) fn only_slice<'q>(&'q self, input: &'q [u8]) -> Option<&'q [u8]> {
        let first = self.segments.front().filter(|_| self.segments.len() == 1)?;
        Some(first.bytes(input, self.sent))
    }

    /// Notes that `written` bytes have left.
    pub(crate) fn advance(&mut self, written: usize, blocks: &mut Blocks) {
        self.bytes -= written;
        self.sent += written;
        while let Some(first) = self.segments.front() {
            let length = first.end - first.start;
            if self.sent < length {
                break;
            }
            self.sent -= length;
            if let Some(gone) = self.segments.pop_front() {
                self.inside_frame = !gone.ends_frame;
                self.shared -= gone.shared;
                self.popped += 1;
                if let Some(latest) = &mut self.latest {
                    latest.forget_before(self.popped);
                }
                gone.release(blocks);
            }
        }
    }

    /// Drops all bytes that have not left, except the rest of a frame that has begun to leave.
    pub(crate) fn keep_begun(&mut self, blocks: &mut Blocks) {
        let begun = match self.sent > 0 || self.inside_frame {
            false => 0,
            true => {
                let end = self.segments.iter().position(|segment| segment.ends_frame);
                end.map_or(self.segments.len(), |index| index + 1)
            }
        };
        self.latest = None;
        for segment in self.segments.drain(begun..) {
            self.bytes -= segment.end - segment.start;
            self.shared -= segment.shared;
            segment.release(blocks);
        }
    }

    /// Empties the queue.
    pub(crate) fn clear(&mut self, blocks: &mut Blocks) {
        while let Some(segment) = self.segments.pop_front() {
            segment.release(blocks);
        }
        (self.sent, self.bytes, self.shared, self.inside_frame) = (0, 0, 0, false);
        // Few queues have keyed messages, and the check is cheaper than the drop.
        if self.latest.is_some() {
            self.latest = None;
        }
    }

    /// Number of segments for which the queue holds memory.
    pub(crate) fn capacity(&self) -> usize {
        self.segments.capacity()
    }
}

/// Marks the calling branch as rare for the compiler, which does not see that by itself.
#[cold]
fn unlikely() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: &[u8] = b"the input";

    #[test]
    fn partly_sent_frame_whose_end_is_not_queued_is_kept() {
        let (mut queue, mut blocks) = (Queue::default(), Blocks::default());
        queue.append(&mut blocks, 5, false, |out| out.extend_from_slice(b"begun"));
        queue.advance(2, &mut blocks);
        queue.keep_begun(&mut blocks);
        assert_eq!((queue.len(), waiting(&queue)), (3, b"gun".to_vec()));
    }

    fn waiting(queue: &Queue) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = queue.slices(INPUT, &mut slices);
        let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        assert!(all.len() == queue.len() || count == MAX_SLICES);
        all
    }

    #[test]
    fn bytes_are_sent_in_queue_order_for_any_size_of_write() {
        let shared: SharedBlock = Rc::new(Block::Bytes(b"..shared..".to_vec()));
        for step in 1..20 {
            let (mut queue, mut blocks) = (Queue::default(), Blocks::default());
            queue.append(&mut blocks, 5, true, |out| out.extend_from_slice(b"one "));
            queue.append(&mut blocks, 5, false, |out| out.extend_from_slice(b"two "));
            queue.append_shared(&shared, 2, 8, true);
            queue.append(&mut blocks, 5, true, |out| out.extend_from_slice(b" three"));
            assert_eq!(queue.len(), 20);
            let mut left = Vec::new();
            while !queue.is_empty() {
                let next = waiting(&queue);
                let cut = step.min(next.len());
                left.extend_from_slice(&next[..cut]);
                queue.advance(cut, &mut blocks);
            }
            assert_eq!(left, b"one two shared three");
            assert_eq!(Rc::strong_count(&shared), 1);
        }
    }

    #[test]
    fn block_with_a_weak_reference_is_not_appended_to() {
        let (mut queue, mut blocks) = (Queue::default(), Blocks::new(usize::MAX));
        let mut block = blocks.take(100);
        Rc::get_mut(&mut block).unwrap().bytes_mut().extend_from_slice(b"shared");
        let weak = Rc::downgrade(&block);
        queue.append_shared(&block, 0, 6, true);
        drop(block);
        queue.append(&mut blocks, 2, false, |out| out.extend_from_slice(b"he"));
        queue.append_frame(&mut blocks, *b"ad", b"payload");
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = queue.slices(&[], &mut slices);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
        assert_eq!((&bytes[..], weak.strong_count()), (&b"sharedheadpayload"[..], 1));
    }

    #[test]
    fn payload_in_the_input_is_copied_before_the_input_is_released() {
        for sent in 0..20 {
            let (mut queue, mut blocks) = (Queue::default(), Blocks::default());
            for _ in 0..2 {
                queue.append(&mut blocks, 2, false, |out| out.extend_from_slice(b"to "));
                queue.append_input(4, 9);
            }
            let left = sent.min(queue.len());
            let all = waiting(&queue);
            queue.advance(left, &mut blocks);
            queue.keep_input(INPUT, &mut blocks);
            assert_eq!(queue.len(), 16 - left);
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = queue.slices(b"", &mut slices);
            let rest: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!((&all[..], &rest[..]), (&b"to inputto input"[..], &all[left..]));
        }
    }

    #[test]
    fn short_frames_keep_their_order_around_shared_payloads() {
        let (mut queue, mut blocks) = (Queue::default(), Blocks::default());
        let shared: SharedBlock = Rc::new(Block::Bytes(b"shared".to_vec()));
        let mut all = Vec::new();
        for round in 0..4_u8 {
            for index in 0..100 {
                let payload = vec![index; usize::from(index % 60)];
                queue.append_frame(&mut blocks, [round, index], &payload);
                all.extend_from_slice(&[round, index]);
                all.extend_from_slice(&payload);
                if index == 50 {
                    queue.append_shared(&shared, 0, 6, true);
                    all.extend_from_slice(b"shared");
                }
            }
            assert_eq!(waiting(&queue), all);
            // A write that ends inside a segment does not change the later segments.
            queue.advance(1000, &mut blocks);
            all.drain(..1000);
        }
        assert_eq!((waiting(&queue), shared.as_bytes()), (all, &b"shared"[..]));
        queue.advance(queue.len(), &mut blocks);
        assert_eq!((queue.len(), Rc::strong_count(&shared)), (0, 1));
    }

    #[test]
    fn partly_sent_payload_is_kept_without_the_short_frame_behind_it() {
        // Queued: a sent header, its partly sent payload in a shared block, and a later frame. The later frame is
        // dropped, the rest of the payload is kept.
        let (mut queue, mut blocks) = (Queue::default(), Blocks::default());
        let shared: SharedBlock = Rc::new(Block::Bytes(b"payload".to_vec()));
        queue.append(&mut blocks, 7, false, |out| out.extend_from_slice(b"header "));
        queue.append_shared(&shared, 0, 7, true);
        queue.append_frame(&mut blocks, *b"x ", b"later");
        queue.advance(9, &mut blocks);
        queue.keep_begun(&mut blocks);
        assert_eq!(waiting(&queue), b"yload");
    }

    #[test]
    fn shared_block_is_not_appended_to() {
        let (mut queue, mut blocks) = (Queue::default(), Blocks::default());
        let shared: SharedBlock = Rc::new(Block::Bytes(b"shared".to_vec()));
        queue.append_shared(&shared, 0, 6, true);
        queue.append(&mut blocks, 5, true, |out| out.extend_from_slice(b"!"));
        queue.append_shared(&shared, 0, 6, true);
        queue.append_frame(&mut blocks, *b"::", b"!");
        assert_eq!((waiting(&queue), shared.as_bytes()), (b"shared!shared::!".to_vec(), &b"shared"[..]));
        // The block is no longer shared.
        let mut last = Vec::with_capacity(10);
        last.extend_from_slice(b"last");
        queue.append_shared(&Rc::new(Block::Bytes(last)), 0, 4, true);
        let segments = queue.segments.len();
        for payload in [&b""[..], b"1", b"2"] {
            queue.append_frame(&mut blocks, *b"::", payload);
        }
        assert_eq!(waiting(&queue), b"shared!shared::!last::::1::2");
        assert_eq!(queue.segments.len(), segments);
    }

    #[test]
    fn partly_sent_frame_is_kept_to_its_end() {
        let shared: SharedBlock = Rc::new(Block::Bytes(b"payload".to_vec()));
        for (sent, kept) in [(0, &b""[..]), (3, b"der payload"), (7, b"payload"), (9, b"yload"), (14, b"")] {
            let (mut queue, mut blocks) = (Queue::default(), Blocks::default());
            queue.append(&mut blocks, 7, false, |out| out.extend_from_slice(b"header "));
            queue.append_shared(&shared, 0, 7, true);
            queue.append(&mut blocks, 5, true, |out| out.extend_from_slice(b" later"));
            queue.advance(sent, &mut blocks);
            queue.keep_begun(&mut blocks);
            assert_eq!((waiting(&queue), queue.len()), (kept.to_vec(), kept.len()), "{sent} bytes are sent");
        }
    }

    #[test]
    fn partly_sent_frame_from_the_input_is_kept_to_its_end() {
        let later: SharedBlock = Rc::new(Block::Bytes(b"later".to_vec()));
        for (sent, kept) in [(0, &b""[..]), (3, b"der input"), (7, b"input"), (9, b"put"), (12, b"")] {
            let (mut queue, mut blocks) = (Queue::default(), Blocks::default());
            queue.append(&mut blocks, 7, false, |out| out.extend_from_slice(b"header "));
            queue.append_input(4, 9);
            queue.advance(sent, &mut blocks);
            queue.keep_input(INPUT, &mut blocks);
            queue.append_shared(&later, 0, 5, true);
            queue.keep_begun(&mut blocks);
            assert_eq!((waiting(&queue), queue.len()), (kept.to_vec(), kept.len()), "{sent} bytes are sent");
        }
    }

    #[test]
    fn early_frame_is_inserted_behind_the_partly_sent_frame() {
        let (mut queue, mut blocks) = (Queue::default(), Blocks::default());
        let shared: SharedBlock = Rc::new(Block::Bytes(b"payload".to_vec()));
        queue.append(&mut blocks, 5, false, |out| out.extend_from_slice(b"header "));
        queue.append_shared(&shared, 0, 7, true);
        queue.append(&mut blocks, 5, true, |out| out.extend_from_slice(b" later"));
        queue.advance(3, &mut blocks);
        queue.insert_early(&mut blocks, |out| out.extend_from_slice(b" pong"));
        assert_eq!(waiting(&queue), b"der payload pong later");
    }
}
