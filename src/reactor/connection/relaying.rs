//! The state of a relay, shared by the outbound half of a stream and its handler.

use std::cell::Cell;

use crate::reactor::id::ConnectionId;

/// A relay, in one direction.
#[derive(Debug)]
pub(in crate::reactor) struct Relay {
    pub(in crate::reactor) to: ConnectionId,
    /// It belongs to a pair: the end of one stream is the end of the other.
    pub(in crate::reactor) is_paired: bool,
    /// Bytes left to relay. `None`: no limit.
    pub(in crate::reactor) left: Cell<Option<u64>>,
    pub(in crate::reactor) moved: Cell<u64>,
    pub(in crate::reactor) is_active: Cell<bool>,
    /// The stream is paused until the output of the other has drained.
    pub(in crate::reactor) is_held: Cell<bool>,
}

impl Relay {
    /// A relay to a stream, of this number of bytes at most.
    pub(in crate::reactor) fn new(to: ConnectionId, bytes: Option<u64>, is_paired: bool) -> Self {
        Relay {
            to,
            is_paired,
            left: Cell::new(bytes),
            moved: Cell::new(0),
            is_active: Cell::new(true),
            is_held: Cell::new(false),
        }
    }

    /// The first of `data` that are to be relayed.
    pub(in crate::reactor) fn part<'d>(&self, data: &'d [u8]) -> &'d [u8] {
        let most = self.left.get().map_or(data.len(), |left| usize::try_from(left).unwrap_or(usize::MAX));
        &data[..most.min(data.len())]
    }

    pub(in crate::reactor) fn count(&self, bytes: usize) {
        self.moved.set(self.moved.get() + bytes as u64);
        self.left.set(self.left.get().map(|left| left - bytes as u64));
    }
}
