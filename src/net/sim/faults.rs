//! Faults of the simulated system, drawn from its seed.

use std::{io, time::Duration};

use super::{Peer, Sim};

/// Probabilities of simulated faults. Each field is a chance of one in `n`; 0 means never, and 0 is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Bytes arrive, are read and are written in pieces of any length.
    pub pieces: u32,
    /// A read or a write gives `WouldBlock` or `Interrupted`, or a poll returns without events.
    ///
    /// Neither this fault nor [`pieces`](field@Self::pieces) keeps back bytes that arrived 2 s ago, or room that was
    /// there 2 s ago: no system does so.
    pub busy: u32,
    /// An event without cause is reported, possibly for a closed connection.
    pub spurious: u32,
    /// A connection breaks in a step of the network: reset, timed out, or host unreachable.
    pub reset: u32,
    /// An accept fails: the connection is gone, or there is no descriptor or no memory.
    pub accept: u32,
    /// The system lacks a resource: a connect, a registration or a write fails, and the connection with the call.
    pub shortage: u32,
    /// The clock jumps ahead within a call, by less than a day, as if the process was stopped.
    pub leap: u32,
}

impl Faults {
    /// Frequent faults, none of which loses data: pieces, blocking, spurious events, failed accepts.
    pub const ROUGH: Faults = Faults { pieces: 2, busy: 8, spurious: 4, reset: 0, accept: 8, shortage: 0, leap: 0 };
}

/// `ENFILE`, `EMFILE`, `ENOSPC` (too many epoll watches), `ENOMEM` and `ENOBUFS` on Linux.
pub(super) const SHORTAGES: [i32; 5] = [23, 24, 28, 12, 105];

impl Sim {
    /// All of `length`, or a random part.
    pub(super) fn piece(&mut self, length: usize) -> usize {
        match self.random.one_in(self.faults.pieces) {
            true => self.random.below(length + 1),
            false => length,
        }
    }

    /// A fault of one call: blocked, interrupted, or slow. A broken connection reports its error at once, as systems
    /// do: no later event would.
    pub(super) fn fault_of_moment(&mut self, peer: usize, lasting: fn(&Peer) -> bool) -> Option<io::ErrorKind> {
        self.leap();
        let (busy, interrupted) = (self.random.one_in(self.faults.busy), self.random.one_in(4));
        match interrupted {
            _ if !busy || self.peers[peer].is_broken() => None,
            true => Some(io::ErrorKind::Interrupted),
            false => (!lasting(&self.peers[peer])).then_some(io::ErrorKind::WouldBlock),
        }
    }

    /// A missing resource, chosen at random.
    pub(super) fn shortage(&mut self) -> io::Result<()> {
        if !self.random.one_in(self.faults.shortage) {
            return Ok(());
        }
        let code = SHORTAGES[self.random.below(SHORTAGES.len())];
        Err(io::Error::from_raw_os_error(code))
    }

    pub(super) fn leap(&mut self) {
        if self.random.one_in(self.faults.leap) {
            let scale = [1_000, 60_000, 86_400_000][self.random.below(3)];
            self.elapsed += Duration::from_millis(self.random.below(scale) as u64);
        }
    }
}
