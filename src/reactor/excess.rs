//! Output of all connections above their high-water marks, and the choice of the connection to close when that is too
//! much.

use std::rc::{Rc, Weak};

use super::{hub::Hub, id::ConnectionId, outbox::Phase};
use crate::protocol::block::{Block, SharedBlock};

/// Output above the high-water marks: bytes of single connections, and shared payloads, each counted once.
#[derive(Debug)]
pub(super) struct Excess {
    limit: usize,
    /// Bytes that single connections hold above their marks, as charged.
    own: usize,
    shared: Vec<Shared>,
    shared_bytes: usize,
    /// Connections above their marks. Those that have fallen below are removed when the list is searched.
    congested: Vec<ConnectionId>,
}

/// A payload queued on a congested connection.
#[derive(Debug)]
struct Shared {
    block: Weak<Block>,
    address: usize,
    /// Largest part of the payload that one of its connections holds above its mark.
    bytes: usize,
}

/// Number of recent payloads among which a payload is looked for, so that it is counted once: more than the encodings
/// of one publish.
const LOOK_BACK: usize = 16;

impl Excess {
    pub(super) fn new(limit: usize) -> Self {
        Excess { limit, own: 0, shared: Vec::new(), shared_bytes: 0, congested: Vec::new() }
    }

    /// Adds a payload, possibly shared, of a connection whose output is `above` its mark by that many bytes.
    pub(super) fn add_shared(&mut self, block: &SharedBlock, above: usize) {
        let payload = block.as_bytes();
        let (address, bytes) = (payload.as_ptr() as usize, payload.len().min(above));
        let mut recent = self.shared.iter_mut().rev().take(LOOK_BACK);
        if let Some(known) = recent.find(|shared| shared.address == address && shared.block.strong_count() > 0) {
            self.shared_bytes += bytes.saturating_sub(known.bytes);
            known.bytes = known.bytes.max(bytes);
            return;
        }
        self.shared.push(Shared { block: Rc::downgrade(block), address, bytes });
        self.shared_bytes += bytes;
    }

    fn is_over(&mut self) -> bool {
        if self.own + self.shared_bytes <= self.limit {
            return false;
        }
        // Dropped payloads are removed only when the limit is at stake.
        self.shared.retain(|shared| shared.block.strong_count() > 0);
        self.shared_bytes = self.shared.iter().map(|shared| shared.bytes).sum();
        self.own + self.shared_bytes > self.limit
    }
}

impl Hub {
    /// Charges an open connection for what it holds above its high-water mark.
    ///
    /// Returns `false` if the connection was closed because all connections together hold too much output.
    pub(super) fn charge_excess(&mut self, key: usize) -> bool {
        if self.outboxes[key].above_congestion_mark() > 0 {
            self.charge(key);
            return self.outboxes[key].phase == Phase::Open;
        }
        true
    }

    #[cold]
    fn charge(&mut self, key: usize) {
        let outbox = &mut self.outboxes[key];
        if !outbox.congested {
            outbox.congested = true;
            self.excess.congested.push(outbox.id);
        }
        self.recharge(key);
        while self.excess.is_over()
            && let Some(slowest) = self.slowest_congested()
        {
            self.abort_slow_reader(slowest);
        }
    }

    /// Updates the charge of a connection.
    pub(super) fn recharge(&mut self, key: usize) {
        let outbox = &mut self.outboxes[key];
        let above = outbox.own_bytes().saturating_sub(outbox.config.output.congestion_mark());
        let before = outbox.charge_with(above);
        self.excess.own = self.excess.own - before + above;
    }

    /// The connection above its mark whose output has made no progress for the longest time. Among connections whose
    /// sockets are not full, the one with the most output.
    fn slowest_congested(&mut self) -> Option<ConnectionId> {
        let outboxes = &self.outboxes;
        let find = |id: ConnectionId| outboxes.get(id.key()).filter(|outbox| outbox.id == id && outbox.congested);
        self.excess.congested.retain(|id| find(*id).is_some());
        let (now, ids) = (self.now, self.excess.congested.iter().copied());
        ids.filter_map(|id| {
            let outbox = find(id)?;
            let since = outbox.rule().map_or(now, super::output_rule::OutputRule::progress_at);
            Some((since, std::cmp::Reverse(outbox.buffered()), id))
        })
        .min()
        .map(|(_, _, id)| id)
    }
}
