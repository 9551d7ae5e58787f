//! The state and the end of a relay.

use crate::reactor::id::ConnectionId;

/// The end of a relay of [`Hub::relay_to`](crate::Hub::relay_to), delivered by `on_event` to the handler of the stream
/// that was relayed, before it gets input again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayEnded {
    /// The stream that was written to.
    pub to: ConnectionId,
    /// Bytes relayed.
    pub bytes: u64,
    /// `true` if all bytes were relayed that were asked for, `false` if the other stream has ended before.
    pub is_complete: bool,
}

/// Where the input of a stream goes instead of to its handler.
#[derive(Debug)]
pub(in crate::reactor) struct Relay {
    pub(in crate::reactor) to: ConnectionId,
    /// It belongs to a pair: the end of one stream is the end of the other.
    pub(in crate::reactor) is_paired: bool,
    /// Bytes left to relay. `None`: no limit.
    left: Option<u64>,
    pub(in crate::reactor) moved: u64,
}

impl Relay {
    /// A relay to a stream, of this number of bytes at most.
    pub(in crate::reactor) fn new(to: ConnectionId, bytes: Option<u64>, is_paired: bool) -> Self {
        Relay { to, is_paired, left: bytes, moved: 0 }
    }

    /// How many of `bytes` bytes are to be relayed.
    pub(in crate::reactor) fn share_of(&self, bytes: usize) -> usize {
        self.left.map_or(bytes, |left| bytes.min(usize::try_from(left).unwrap_or(usize::MAX)))
    }

    /// Counts bytes. Returns `true` if the last one was relayed.
    pub(in crate::reactor) fn count(&mut self, bytes: usize) -> bool {
        self.moved += bytes as u64;
        self.left = self.left.map(|left| left - bytes as u64);
        self.left == Some(0)
    }
}
