//! The number of connections of each address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Room for more networks than this is freed when none is counted.
const MANY_NETWORKS: usize = 1024;

/// Number of connections, or of handshakes, of each network, on all reactors of a group.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Networks(Mutex<HashMap<IpAddr, usize>>);

impl Networks {
    pub(super) fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more of a network, unless there are `most`. Returns whether there were not.
    pub(super) fn enter(&self, network: IpAddr, most: usize) -> bool {
        let mut counts = self.counts();
        let here = counts.get(&network).copied().unwrap_or_default();
        if here < most {
            counts.insert(network, here + 1);
        }
        here < most
    }

    pub(super) fn leave(&self, network: IpAddr) {
        let mut counts = self.counts();
        let here = counts.remove(&network).unwrap_or_default();
        if here > 1 {
            counts.insert(network, here - 1);
        } else if counts.is_empty() && counts.capacity() > MANY_NETWORKS {
            *counts = HashMap::new();
        }
    }
}

/// Connections that count towards the limit of their network.
#[derive(Debug)]
pub(in crate::reactor) struct ConnectionCounts {
    networks: Arc<Networks>,
    /// The network of each connection of this reactor, by its key.
    members: HashMap<usize, IpAddr>,
}

impl ConnectionCounts {
    pub(in crate::reactor) fn new(networks: Arc<Networks>) -> Self {
        ConnectionCounts { networks, members: HashMap::new() }
    }

    /// Counts a connection, unless `most` of its network are there.
    pub(super) fn enter(&mut self, key: usize, network: IpAddr, most: usize) -> bool {
        let has_entered = self.networks.enter(network, most);
        if has_entered {
            self.members.insert(key, network);
        }
        has_entered
    }

    /// Counts a connection no longer.
    #[inline]
    pub(in crate::reactor) fn leave(&mut self, key: usize) {
        if !self.members.is_empty() {
            self.leave_network(key);
        }
    }

    #[cold]
    fn leave_network(&mut self, key: usize) {
        let Some(network) = self.members.remove(&key) else { return };
        self.networks.leave(network);
        if self.members.is_empty() {
            self.members = HashMap::new();
        }
    }
}

impl Drop for ConnectionCounts {
    fn drop(&mut self) {
        for network in self.members.values() {
            self.networks.leave(*network);
        }
    }
}

/// The network of a subscriber: an IPv4 address, or 64 bits of an IPv6 address, whose lower half each host may choose
/// freely (RFC 4291 §2.5.4).
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_hosts_of_one_64_bit_prefix_count_as_one_network() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }

    #[test]
    fn connections_of_a_network_are_counted_until_they_leave() {
        let networks = Arc::<Networks>::default();
        let (mut counts, one, other) =
            (ConnectionCounts::new(Arc::clone(&networks)), [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        assert!(counts.enter(0, one, 2) && counts.enter(1, one, 2) && !counts.enter(2, one, 2));
        assert!(counts.enter(3, other, 2) && !counts.enter(4, [192, 0, 2, 3].into(), 0));
        counts.leave(1);
        counts.leave(1);
        assert!(counts.enter(2, one, 2) && !counts.enter(5, one, 2));
        for key in [0, 2, 3] {
            counts.leave(key);
        }
        assert!(networks.counts().is_empty() && counts.members.is_empty());
        assert!(counts.enter(7, one, 1));
        drop(counts);
        assert!(networks.counts().is_empty(), "the reactor is gone");
    }
}
