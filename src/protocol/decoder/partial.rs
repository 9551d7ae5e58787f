//! State of unfinished input, and its pool: a decoder has such a state only while something is unfinished.

use crate::{
    buffer::Blocks,
    protocol::{
        decoder::assembly::Assembly,
        framing::{FrameHeader, MAX_HEADER_BYTES, hixie},
    },
};

/// State of unfinished input.
#[derive(Debug, Default)]
pub(crate) struct PartialState {
    /// The start of an incomplete header.
    pub(super) partial: PartialHeader,
    /// The frame with an incomplete payload, and how many bytes of the payload have arrived.
    pub(super) frame: Option<(FrameHeader, usize)>,
    /// A fragmented message is unfinished.
    pub(super) fragmented: bool,
    /// The unfinished message is compressed.
    pub(super) compressed: bool,
    /// Position within the frames of hixie.
    pub(super) hixie: hixie::Frames,
    pub(super) assembly: Assembly,
    /// The payload of an unfinished control frame.
    pub(super) control: Vec<u8>,
    /// Limit of the unfinished hixie frame, as it was when the frame began.
    pub(super) hixie_limit: usize,
}

#[derive(Debug, Default)]
pub(super) struct PartialHeader {
    pub(super) bytes: [u8; MAX_HEADER_BYTES],
    pub(super) length: u8,
}

impl PartialState {
    /// Returns `true` if nothing is unfinished.
    pub(super) fn is_nothing(&self) -> bool {
        self.frame.is_none()
            && self.partial.length == 0
            && !self.fragmented
            && self.hixie == hixie::Frames::Between
            && self.assembly.is_idle()
    }

    /// Frees the memory of the last message.
    pub(super) fn release(&mut self, blocks: &mut Blocks) {
        if self.frame.is_none() && !self.fragmented && self.hixie.is_between_texts() {
            self.assembly.release(blocks);
        }
        if self.frame.is_none() {
            self.control = Vec::new();
        }
    }
}

/// Free states kept. A decoder with unfinished input holds one; other decoders need one for a moment only.
const FREE_STATES: usize = 64;

/// The free states of all decoders of a reactor.
#[derive(Debug, Default)]
pub(crate) struct PartialStates {
    /// Boxed, because the box itself is passed on.
    #[allow(clippy::vec_box)]
    free: Vec<Box<PartialState>>,
}

impl PartialStates {
    pub(super) fn take(&mut self) -> Box<PartialState> {
        self.free.pop().unwrap_or_default()
    }

    /// Takes a state back and resets it.
    pub(super) fn give(&mut self, mut state: Box<PartialState>) {
        if self.free.len() < FREE_STATES {
            *state = PartialState::default();
            self.free.push(state);
        }
    }
}
