//! Buffers, compressors and masking keys that all connections share for their output, and the trimming of unused
//! buffers.

use super::{config::ReactorConfig, connection::outbound::queue::Queue, publish::encoded::EncodedFrame};
use crate::{
    buffer::Blocks,
    net::Randomness,
    protocol::{
        decoder::PartialStates,
        deflate::SharedContexts,
        encoder::Encoder,
        mask::{MaskingKey, Masks},
    },
};

/// The shared buffers and compressors of a reactor.
#[derive(Debug)]
pub(crate) struct Pools {
    pub(crate) blocks: Blocks,
    pub(crate) partials: PartialStates,
    pub(crate) masks: Masks,
    /// Compressors and decompressors.
    pub(super) contexts: SharedContexts,
    /// The list of a publish, empty between two.
    pub(super) frames: Vec<EncodedFrame>,
    /// A longer message is compressed in slices of this many bytes.
    pub(super) slice_bytes: usize,
    /// Boxed, because the boxes themselves are passed on.
    #[allow(clippy::vec_box)]
    queues: Vec<Box<Queue>>,
    /// Smallest number of free queues since the last trim pass: these were not needed.
    low_water: usize,
}

/// Free queues kept: enough to publish to this many connections without an allocation.
const FREE_QUEUES: usize = 16_384;

/// Up to this much may be free without a trim pass.
const FEW_QUEUES: usize = 16;
const FEW_BYTES: usize = 64 * 1024;

impl Pools {
    pub(super) fn new(config: &ReactorConfig, random: Randomness) -> Self {
        Pools {
            blocks: Blocks::new(config.pool_bytes),
            partials: PartialStates::default(),
            masks: Masks::new(random),
            contexts: SharedContexts::default(),
            frames: Vec::new(),
            slice_bytes: config.compression_budget_bytes.max(1),
            queues: Vec::new(),
            low_water: 0,
        }
    }

    /// The masking key for the next frame; zero for a server, which does not mask.
    pub(super) fn key(&mut self, encoder: Encoder) -> MaskingKey {
        if encoder.masks() { self.masks.key() } else { [0; 4] }
    }

    pub(super) fn take_queue(&mut self) -> Box<Queue> {
        let queue = self.queues.pop().unwrap_or_default();
        self.low_water = self.low_water.min(self.queues.len());
        queue
    }

    pub(super) fn give_queue(&mut self, mut queue: Box<Queue>) {
        queue.clear(&mut self.blocks);
        // A queue that held many segments is freed because of its capacity.
        if self.queues.len() < FREE_QUEUES && queue.capacity() <= 64 {
            self.queues.push(queue);
        }
    }

    /// Returns `true` if more is free than is worth keeping without need.
    pub(super) fn has_excess(&self) -> bool {
        self.queues.len() > FEW_QUEUES || self.blocks.free_bytes() > FEW_BYTES
    }

    /// Trims buffers that were not needed since the last call, and all free ones if these were most of them (see
    /// [`Blocks::trim`]). Returns `true` in the latter case: the burst that needed them is over.
    pub(super) fn trim(&mut self) -> bool {
        let free = self.queues.len();
        let over = self.low_water >= free / 2;
        self.queues.drain(..if over { free } else { self.low_water });
        self.queues.shrink_to(2 * self.queues.len());
        self.low_water = self.queues.len();
        self.blocks.trim() && over
    }
}
