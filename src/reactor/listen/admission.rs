//! Unfinished handshakes of clients: their number in total and by network.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    rc::Rc,
};

use crate::{peer_addr::PeerAddr, reactor::Hub};

/// Capacity for more networks than this is freed when no handshake is pending.
const MANY_NETWORKS: usize = 1024;

/// Counters of unfinished handshakes.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Pending {
    all: Cell<usize>,
    /// Only for servers with a limit per network.
    by_network: RefCell<HashMap<IpAddr, usize>>,
}

impl Pending {
    pub(in crate::reactor) fn all(&self) -> usize {
        self.all.get()
    }
}

/// An unfinished handshake, counted until this value is dropped.
#[derive(Debug)]
pub(crate) struct PendingHandshake {
    counts: Rc<Pending>,
    network: Option<IpAddr>,
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
        let counts = &self.pending;
        let network = most_of_each.and_then(|_| peer.ip()).map(network);
        let mut by_network = counts.by_network.borrow_mut();
        let here = network.and_then(|network| by_network.get(&network).copied()).unwrap_or_default();
        if most.is_some_and(|most| counts.all() >= most) || most_of_each.is_some_and(|most| here >= most) {
            self.stats.turned_away += 1;
            return None;
        }
        counts.all.set(counts.all() + 1);
        if let Some(network) = network {
            by_network.insert(network, here + 1);
        }
        Some(PendingHandshake { counts: Rc::clone(counts), network })
    }
}

impl Drop for PendingHandshake {
    fn drop(&mut self) {
        self.counts.all.set(self.counts.all() - 1);
        let Some(network) = self.network else { return };
        let mut by_network = self.counts.by_network.borrow_mut();
        let here = by_network.remove(&network).unwrap_or_default();
        if here > 1 {
            by_network.insert(network, here - 1);
        } else if by_network.is_empty() && by_network.capacity() > MANY_NETWORKS {
            *by_network = HashMap::new();
        }
    }
}

/// The network of a subscriber: an IPv4 address, or 64 bits of an IPv6 address, whose lower half each host may choose
/// freely (RFC 4291 §2.5.4).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
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
    fn ipv6_hosts_of_one_64_bit_prefix_count_as_one_network() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
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
        assert!(hub.pending.by_network.borrow().is_empty(), "no network has an entry");
    }

    #[test]
    fn table_of_networks_is_freed_after_a_flood() {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let hub = reactor.hub();
        let flood =
            (0..5000_u32).map(|bits| hub.begin_handshake(peer(std::net::Ipv4Addr::from(bits).into()), None, Some(1)));
        drop(flood.collect::<Vec<_>>());
        assert_eq!(hub.pending.by_network.borrow().capacity(), 0);
    }
}
