//! The buffers of a reactor that outboxes draw on, and how what is not needed any more is given back.

use super::{config::ReactorConfig, queue::Queue};
use crate::{
    net::Randomness,
    protocol::{
        block::Blocks,
        encoder::Encoder,
        mask::{MaskingKey, Masks},
    },
};

/// The buffers of a reactor.
#[derive(Debug)]
pub(crate) struct Pools {
    pub(crate) blocks: Blocks,
    pub(crate) masks: Masks,
    /// A message above this length is compressed in slices of so many bytes.
    pub(super) slice_bytes: usize,
    /// Boxed, because it is the box that is handed on.
    #[allow(clippy::vec_box)]
    queues: Vec<Box<Queue>>,
    /// The fewest of them that were free since the last rest: nobody has needed those.
    fewest: usize,
}

/// Free queues kept: enough for a publish to so many connections without an allocation.
const FREE_QUEUES: usize = 16_384;

/// So much may be free without a rest.
const FEW_QUEUES: usize = 16;
const FEW_BYTES: usize = 64 * 1024;

impl Pools {
    pub(super) fn new(config: &ReactorConfig, random: Randomness) -> Self {
        Pools {
            blocks: Blocks::new(config.pool_bytes),
            masks: Masks::new(random),
            slice_bytes: config.compression_budget_bytes.max(1),
            queues: Vec::new(),
            fewest: 0,
        }
    }

    /// The key for the next frame; a server's has none.
    pub(super) fn key(&mut self, encoder: Encoder) -> MaskingKey {
        if encoder.masks() { self.masks.key() } else { [0; 4] }
    }

    pub(super) fn take_queue(&mut self) -> Box<Queue> {
        let queue = self.queues.pop().unwrap_or_default();
        self.fewest = self.fewest.min(self.queues.len());
        queue
    }

    pub(super) fn give_queue(&mut self, mut queue: Box<Queue>) {
        queue.clear(&mut self.blocks);
        // A queue that held much has earned its rest.
        if self.queues.len() < FREE_QUEUES && queue.capacity() <= 64 {
            self.queues.push(queue);
        }
    }

    /// Whether there is more free than is worth keeping without a need.
    pub(super) fn is_ample(&self) -> bool {
        self.queues.len() > FEW_QUEUES || self.blocks.free_bytes() > FEW_BYTES
    }

    /// Gives back what nobody has needed since the last call; and all that is free, if that was most of it (see [`Blocks::rest`]). `true` if it was: what made
    /// it so much is over.
    pub(super) fn rest(&mut self) -> bool {
        let free = self.queues.len();
        let over = self.fewest >= free / 2;
        self.queues.drain(..if over { free } else { self.fewest });
        self.queues.shrink_to(2 * self.queues.len());
        self.fewest = self.queues.len();
        self.blocks.rest() && over
    }
}
