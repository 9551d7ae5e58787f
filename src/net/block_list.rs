//! Addresses whose connections are refused.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::network::Network;

/// Addresses and networks whose connections are closed when they are accepted, for
/// [`Bind::block_list`](crate::Bind::block_list). A clone is the same list, which any thread may change at any time.
///
/// Connections that are open already stay.
///
/// ```
/// use ws_reactor::{Bind, BlockList, Network};
///
/// let list = BlockList::new();
/// let bind = Bind::to("0.0.0.0:80").block_list(&list);
/// let network: Network = "192.0.2.0/24".parse()?;
/// list.block(network);
/// assert!(list.contains("192.0.2.7".parse().unwrap()));
/// list.unblock(network);
/// # Ok::<(), ws_reactor::NetworkError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct BlockList(Arc<RwLock<Blocked>>);

#[derive(Debug, Default)]
struct Blocked {
    /// Single addresses are looked up, networks are compared one by one.
    addresses: HashSet<IpAddr>,
    networks: Vec<Network>,
}

impl BlockList {
    /// An empty list.
    pub fn new() -> Self {
        BlockList::default()
    }

    /// Blocks an address or a network. Returns `false` if it was blocked already.
    pub fn block(&self, network: impl Into<Network>) -> bool {
        let (network, mut blocked) = (network.into(), self.write());
        match network.single() {
            Some(address) => blocked.addresses.insert(address),
            None if blocked.networks.contains(&network) => false,
            None => {
                blocked.networks.push(network);
                true
            }
        }
    }

    /// Removes an address or a network as it was blocked. Returns `false` if it was not: an address within a blocked
    /// network stays blocked.
    pub fn unblock(&self, network: impl Into<Network>) -> bool {
        let (network, mut blocked) = (network.into(), self.write());
        match network.single() {
            Some(address) => blocked.addresses.remove(&address),
            None => {
                let before = blocked.networks.len();
                blocked.networks.retain(|other| *other != network);
                blocked.networks.len() < before
            }
        }
    }

    /// Returns `true` if connections from the address are refused. An IPv4 address mapped to IPv6 counts as the IPv4
    /// address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let blocked = self.read();
        blocked.addresses.contains(&address.to_canonical())
            || blocked.networks.iter().any(|network| network.contains(address))
    }

    /// The blocked addresses and networks, in no particular order.
    pub fn networks(&self) -> Vec<Network> {
        let blocked = self.read();
        let addresses = blocked.addresses.iter().map(|address| Network::from(*address));
        addresses.chain(blocked.networks.iter().copied()).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Blocked> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Blocked> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_blocked_until_they_are_removed() {
        let (list, network): (_, Network) = (BlockList::new(), "192.0.2.0/24".parse().unwrap());
        let (inside, other): (IpAddr, IpAddr) = ("192.0.2.7".parse().unwrap(), "198.51.100.1".parse().unwrap());
        assert!(!list.contains(inside));
        assert!(list.clone().block(network) && !list.block(network));
        assert!(list.block(other) && !list.block(other));
        assert!(list.contains(inside) && list.contains(other) && list.contains("::ffff:192.0.2.9".parse().unwrap()));
        assert_eq!(list.networks().len(), 2);
        assert!(!list.unblock(inside) && list.contains(inside), "the network is still blocked");
        assert!(list.unblock(network) && list.unblock(other) && !list.unblock(other));
        assert!(!list.contains(inside) && !list.contains(other) && list.networks().is_empty());
    }
}
