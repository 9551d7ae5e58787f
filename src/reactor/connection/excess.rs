//! Output of all connections above their high-water marks, and the choice of the connection to close when that is too
//! much.

use std::{
    collections::HashMap,
    mem,
    rc::{Rc, Weak},
};

use crate::{
    buffer::{Block, SharedBlock},
    reactor::{connection::group_excess::GroupExcess, id::ConnectionId},
};

/// Output above the high-water marks: bytes of single connections, and shared payloads, each counted once.
#[derive(Debug)]
pub(in crate::reactor) struct Excess {
    limit: usize,
    /// The excess output of all reactors of the group.
    group: Option<GroupExcess>,
    /// Bytes that single connections hold above their marks, as charged.
    own: usize,
    /// Payloads by address.
    shared: HashMap<usize, Shared>,
    shared_bytes: usize,
    /// Connections above their marks, and some that have fallen below since.
    congested: Vec<ConnectionId>,
    /// Lengths of the lists at which entries of the past are removed.
    most_shared: usize,
    most_congested: usize,
    /// A timer looks after the payloads: in a group.
    is_watched: bool,
}

/// Shortest list from which entries of the past are removed.
const SHORT_LIST: usize = 64;

/// A payload queued on a congested connection.
#[derive(Debug)]
struct Shared {
    block: Weak<Block>,
    /// Largest part of the payload that one of its connections holds above its mark.
    bytes: usize,
}

impl Excess {
    pub(in crate::reactor) fn new(limit: usize, group: Option<GroupExcess>) -> Self {
        Excess {
            limit,
            group,
            own: 0,
            shared: HashMap::new(),
            shared_bytes: 0,
            congested: Vec::new(),
            most_shared: SHORT_LIST,
            most_congested: SHORT_LIST,
            is_watched: false,
        }
    }

    /// Adds a payload, possibly shared, of a connection whose output is `above` its mark by that many bytes.
    pub(in crate::reactor) fn add_shared(&mut self, block: &SharedBlock, above: usize) {
        let payload = block.as_bytes();
        let (address, bytes) = (payload.as_ptr() as usize, payload.len().min(above));
        let before = match self.shared.get_mut(&address) {
            Some(shared) if shared.block.strong_count() > 0 => {
                let before = shared.bytes;
                shared.bytes = before.max(bytes);
                before
            }
            _ => {
                if self.shared.len() >= self.most_shared {
                    self.remove_dropped();
                    self.most_shared = SHORT_LIST.max(2 * self.shared.len());
                }
                // The address may have been that of a payload which was dropped.
                let gone = self.shared.insert(address, Shared { block: Rc::downgrade(block), bytes });
                self.shared_bytes -= gone.map_or(0, |gone| gone.bytes);
                0
            }
        };
        self.shared_bytes += bytes.saturating_sub(before);
        self.report();
    }

    /// Tells the other reactors of the group what this one holds.
    fn report(&mut self) {
        if let Some(group) = &mut self.group {
            group.report(self.own + self.shared_bytes);
        }
    }

    /// Removes payloads that have left or were dropped.
    fn remove_dropped(&mut self) {
        self.shared.retain(|_, shared| shared.block.strong_count() > 0);
        self.shared_bytes = self.shared.values().map(|shared| shared.bytes).sum();
        self.report();
    }

    /// Replaces a connection's charge of `before` bytes.
    pub(in crate::reactor) fn recharge(&mut self, before: usize, bytes: usize) {
        self.own = self.own - before + bytes;
        self.report();
    }

    /// Lists a congested connection. `is_congested` says it of those already listed.
    pub(in crate::reactor) fn add_congested(&mut self, id: ConnectionId, is_congested: impl Fn(ConnectionId) -> bool) {
        if self.congested.len() >= self.most_congested {
            self.remove_uncongested(is_congested);
        }
        self.congested.push(id);
    }

    /// Removes connections that have fallen below their marks or ended, so that the list does not grow with time.
    pub(in crate::reactor) fn remove_uncongested(&mut self, is_congested: impl Fn(ConnectionId) -> bool) {
        self.congested.retain(|id| is_congested(*id));
        // A connection that was congested twice since the last time is listed twice.
        self.congested.sort_unstable();
        self.congested.dedup();
        self.most_congested = SHORT_LIST.max(2 * self.congested.len());
    }

    /// Connections above their marks, and some that have fallen below since.
    pub(in crate::reactor) fn congested(&self) -> impl Iterator<Item = ConnectionId> {
        self.congested.iter().copied()
    }

    /// Frees the room of entries of the past.
    pub(in crate::reactor) fn shrink(&mut self) {
        self.remove_dropped();
        self.congested.shrink_to_fit();
        self.shared.shrink_to_fit();
    }

    /// Returns `true` if a timer has to be started that looks after the payloads.
    pub(in crate::reactor) fn begin_watch(&mut self) -> bool {
        self.group.is_some() && !mem::replace(&mut self.is_watched, true)
    }

    /// The timer has fired.
    pub(in crate::reactor) fn end_watch(&mut self) {
        self.is_watched = false;
        self.remove_dropped();
    }

    /// Returns `true` if there is output above the marks.
    pub(in crate::reactor) fn holds_any(&self) -> bool {
        self.own + self.shared_bytes > 0
    }

    /// Returns `true` if all connections together hold too much output. In a group: those of all reactors, and those of
    /// this one more than its share.
    pub(in crate::reactor) fn is_over(&mut self) -> bool {
        if !self.seems_over() {
            return false;
        }
        self.remove_dropped();
        self.seems_over()
    }

    /// As [`is_over`](Self::is_over), with payloads that have left meanwhile.
    fn seems_over(&self) -> bool {
        match &self.group {
            Some(group) => group.is_over(self.limit),
            None => self.own + self.shared_bytes > self.limit,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{cell::RefCell, time::Duration};

    use super::*;
    use crate::{
        net::sim::Sim,
        reactor::{OutputLimits, Reactor, ReactorConfig, Stream, StreamHandler},
        send_status::SendStatus,
    };

    struct RecordsId(Rc<RefCell<Vec<ConnectionId>>>);

    impl StreamHandler for RecordsId {
        fn on_connect(&mut self, stream: &mut Stream<'_>) {
            self.0.borrow_mut().push(stream.id());
        }
    }

    #[test]
    fn connection_congested_repeatedly_leaves_no_entries_and_no_charge() {
        let ids = Rc::<RefCell<Vec<ConnectionId>>>::default();
        let opened = Rc::clone(&ids);
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let addr = reactor.listen_stream("10.0.0.1:80", move |_| RecordsId(Rc::clone(&opened))).unwrap().addr;
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.settle().unwrap();
        let id = ids.borrow()[0];
        let large = vec![b'x'; OutputLimits::default().high_water_bytes + 1];
        for _ in 0..130 {
            reactor.kernel_mut().hold(peer, 1000);
            assert_eq!(reactor.hub().write(id, &large), SendStatus::Queued);
            assert_eq!(reactor.hub().write(id, b"more"), SendStatus::Congested);
            reactor.settle().unwrap();
            reactor.kernel_mut().release(peer);
            reactor.advance(Duration::from_millis(1)).unwrap();
            reactor.kernel_mut().received(peer);
        }
        let excess = &reactor.hub.excess;
        assert!(excess.congested.len() <= SHORT_LIST, "{} entries", excess.congested.len());
        assert_eq!((excess.own, excess.shared_bytes), (0, 0));
    }

    #[test]
    fn congested_connection_that_ends_leaves_no_charge_and_is_not_closed_again() {
        let ids = Rc::<RefCell<Vec<ConnectionId>>>::default();
        let opened = Rc::clone(&ids);
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::new().excess_output_bytes(2 * 1024 * 1024));
        let addr = reactor.listen_stream("10.0.0.1:80", move |_| RecordsId(Rc::clone(&opened))).unwrap().addr;
        let peers = [0; 2].map(|_| reactor.kernel_mut().connect(addr).unwrap());
        reactor.settle().unwrap();
        let large = vec![b'x'; OutputLimits::default().high_water_bytes + 1024 * 1024];
        peers.into_iter().for_each(|peer| reactor.kernel_mut().hold(peer, 1000));
        let (first, second) = (ids.borrow()[0], ids.borrow()[1]);
        assert_eq!(reactor.hub().write(first, &large), SendStatus::Queued);
        reactor.settle().unwrap();
        assert!(reactor.hub.excess.own > 0);
        // The first connection has ended and is removed in the next turn. The second uses up the excess before that.
        assert!(reactor.hub().terminate(first));
        assert_eq!(reactor.hub.excess.own, 0);
        assert_eq!(reactor.hub().write(second, &large), SendStatus::Queued);
        assert_eq!(reactor.hub().write(second, &large), SendStatus::Closed);
        reactor.settle().unwrap();
        assert_eq!((reactor.hub.excess.own, reactor.hub().stats().connections), (0, 0));
    }

    #[test]
    fn dropped_payloads_leave_no_entries() {
        let mut excess = Excess::new(usize::MAX, None);
        let kept = SharedBlock::new(Block::Frozen(vec![0; 1000]));
        for _ in 0..10_000 {
            excess.add_shared(&SharedBlock::new(Block::Frozen(vec![0; 1000])), 1000);
            excess.add_shared(&kept, 500);
        }
        assert!(excess.shared.len() <= 2 * SHORT_LIST, "{} entries", excess.shared.len());
        excess.remove_dropped();
        assert_eq!(excess.shared_bytes, 500);
    }
}
