//! Admission of clients: the rules of a listener, and the limits of unfinished handshakes, in total and by network.

use std::{
    cell::Cell,
    net::IpAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::connection_counts::{Networks, network};
use crate::{
    net::PeerRules,
    peer_addr::PeerAddr,
    reactor::{Hub, connection::outbound::Outbound, id::ConnectionId},
};

/// Unfinished handshakes of all reactors of a group.
#[derive(Debug, Default)]
pub(in crate::reactor) struct PendingCounts {
    all: AtomicUsize,
    /// Only for servers with a limit per network.
    by_network: Networks,
}

impl PendingCounts {
    /// Counts a handshake, unless there are `most`. Returns whether there were not.
    fn enter(&self, most: Option<usize>) -> bool {
        // Relaxed: the count guards no memory.
        let entered = self.all.fetch_add(1, Ordering::Relaxed) < most.unwrap_or(usize::MAX);
        if !entered {
            self.leave();
        }
        entered
    }

    fn leave(&self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Unfinished handshakes: those of this reactor, and those that the limits concern.
#[derive(Debug)]
pub(in crate::reactor) struct Pending {
    here: Rc<Cell<usize>>,
    counts: Arc<PendingCounts>,
}

impl Pending {
    pub(in crate::reactor) fn new(counts: Arc<PendingCounts>) -> Self {
        Pending { here: Rc::default(), counts }
    }

    /// Handshakes of this reactor.
    pub(in crate::reactor) fn here(&self) -> usize {
        self.here.get()
    }
}

/// An unfinished handshake, counted until this value is dropped.
#[derive(Debug)]
pub(crate) struct PendingHandshake {
    here: Rc<Cell<usize>>,
    counts: Arc<PendingCounts>,
    network: Option<IpAddr>,
    began: Instant,
}

impl Hub {
    /// Counts a handshake, unless `most` are pending in total or `most_of_each` from the peer's network. Unix sockets
    /// have none.
    pub(crate) fn begin_handshake(
        &mut self,
        peer: PeerAddr,
        most: Option<usize>,
        most_of_each: Option<usize>,
    ) -> Option<PendingHandshake> {
        let counts = &self.pending.counts;
        let network = most_of_each.and_then(|most| Some((network(peer.ip()?), most)));
        let is_admitted = counts.enter(most) && {
            let has_room = network.is_none_or(|(network, most)| counts.by_network.enter(network, most));
            if !has_room {
                counts.leave();
            }
            has_room
        };
        if !is_admitted {
            self.stats.turned_away += 1;
            return None;
        }
        let Pending { here, counts } = &self.pending;
        here.set(here.get() + 1);
        let network = network.map(|(network, _)| network);
        Some(PendingHandshake { here: Rc::clone(here), counts: Arc::clone(counts), network, began: self.now })
    }
}

impl Hub {
    /// Returns `true` if the peer of a connection is accepted, and counts the connection.
    pub(in crate::reactor) fn admit_peer(&mut self, key: usize, peer: PeerAddr, rules: &PeerRules) -> bool {
        let Some(address) = peer.ip() else { return true };
        let is_blocked = rules.block_list.as_ref().is_some_and(|list| list.contains(address));
        let is_admitted = !is_blocked
            && rules
                .connections_per_address
                .is_none_or(|most| self.connection_counts.enter(key, network(address), most));
        if !is_admitted {
            log::debug!(target: "ws_reactor::reactor", "{peer} turned away");
            self.stats.turned_away += 1;
        }
        is_admitted
    }

    /// Sets the client of a connection, as the PROXY header names it.
    #[cfg(feature = "proxy-protocol")]
    pub(in crate::reactor) fn set_client(&mut self, id: ConnectionId, address: Option<PeerAddr>, is_secure: bool) {
        if let Some(outbound) = self.outbounds.get_mut(id) {
            outbound.set_client(address, is_secure);
        }
    }

    /// Sets the address of the client of a connection, as a trusted proxy has named it in a request.
    pub(crate) fn set_peer_addr(&mut self, id: ConnectionId, address: PeerAddr) {
        if let Some(outbound) = self.outbounds.get_mut(id)
            && outbound.peer_addr() != address
        {
            outbound.set_peer_addr(address);
        }
    }

    /// Returns `true` if the client has used TLS to the proxy of a connection.
    pub(crate) fn is_proxied_securely(&self, id: ConnectionId) -> bool {
        self.outbound(id).is_some_and(Outbound::is_proxied_securely)
    }
}

impl PendingHandshake {
    /// Ends the handshake, which has succeeded.
    pub(crate) fn succeed(self, hub: &mut Hub) {
        hub.note_handshake(self.began);
    }
}

impl Drop for PendingHandshake {
    fn drop(&mut self) {
        self.here.set(self.here.get() - 1);
        self.counts.leave();
        if let Some(network) = self.network {
            self.counts.by_network.leave(network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reactor, ReactorConfig, net::sim::Sim};

    fn peer(address: IpAddr) -> PeerAddr {
        std::net::SocketAddr::new(address, 40_000).into()
    }

    #[test]
    fn handshake_counts_against_the_limits_until_it_is_dropped() {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let hub = reactor.hub();
        let mut begin = |address: &str| hub.begin_handshake(peer(address.parse().unwrap()), Some(3), Some(2));
        let first = begin("192.0.2.1").unwrap();
        let second = begin("192.0.2.1").unwrap();
        assert!(begin("192.0.2.1").is_none(), "third handshake of one address");
        let third = begin("192.0.2.2").unwrap();
        assert!(begin("192.0.2.3").is_none(), "fourth handshake in total");
        drop(first);
        let again = begin("192.0.2.1").unwrap();
        drop((second, third, again));
        let stats = hub.stats();
        assert_eq!((stats.pending_handshakes, stats.turned_away), (0, 2));
        assert!(hub.pending.counts.by_network.counts().is_empty(), "no network has an entry");
    }

    #[test]
    fn table_of_networks_is_freed_after_a_flood() {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let hub = reactor.hub();
        let flood =
            (0..5000_u32).map(|bits| hub.begin_handshake(peer(std::net::Ipv4Addr::from(bits).into()), None, Some(1)));
        drop(flood.collect::<Vec<_>>());
        assert_eq!(hub.pending.counts.by_network.counts().capacity(), 0);
    }
}
