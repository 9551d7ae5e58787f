//! The number of connections of each address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

/// Connections that count towards the limit of their network.
#[derive(Debug, Default)]
pub(in crate::reactor) struct ConnectionCounts {
    networks: HashMap<IpAddr, usize>,
    /// The network of each connection, by its key.
    members: HashMap<usize, IpAddr>,
}

impl ConnectionCounts {
    /// Counts a connection, unless `most` of its network are there.
    pub(super) fn enter(&mut self, key: usize, network: IpAddr, most: usize) -> bool {
        let here = self.networks.entry(network).or_default();
        if *here >= most {
            if *here == 0 {
                self.networks.remove(&network);
            }
            return false;
        }
        *here += 1;
        self.members.insert(key, network);
        true
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
        if let Some(here) = self.networks.get_mut(&network) {
            *here -= 1;
            if *here == 0 {
                self.networks.remove(&network);
            }
        }
        if self.members.is_empty() {
            *self = ConnectionCounts::default();
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
        let (mut counts, one, other) = (ConnectionCounts::default(), [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        assert!(counts.enter(0, one, 2) && counts.enter(1, one, 2) && !counts.enter(2, one, 2));
        assert!(counts.enter(3, other, 2) && !counts.enter(4, [192, 0, 2, 3].into(), 0));
        counts.leave(1);
        counts.leave(1);
        assert!(counts.enter(2, one, 2) && !counts.enter(5, one, 2));
        for key in [0, 2, 3] {
            counts.leave(key);
        }
        assert!(counts.networks.is_empty() && counts.members.is_empty());
    }
}
