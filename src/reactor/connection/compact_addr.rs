//! The address of a peer, in half the size of a `PeerAddr`.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::peer_addr::PeerAddr;

/// An address in each outbound half; IPv6 addresses are boxed because of their size.
#[derive(Debug)]
pub(in crate::reactor) enum CompactAddr {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
    Unix,
}

impl From<PeerAddr> for CompactAddr {
    fn from(address: PeerAddr) -> Self {
        match address {
            PeerAddr::Ip(SocketAddr::V4(address)) => CompactAddr::V4(address),
            PeerAddr::Ip(SocketAddr::V6(address)) => CompactAddr::V6(Box::new(address)),
            PeerAddr::Unix => CompactAddr::Unix,
        }
    }
}

impl From<&CompactAddr> for PeerAddr {
    fn from(address: &CompactAddr) -> Self {
        match address {
            CompactAddr::V4(address) => PeerAddr::Ip((*address).into()),
            CompactAddr::V6(address) => PeerAddr::Ip((**address).into()),
            CompactAddr::Unix => PeerAddr::Unix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_converts_to_a_compact_one_and_back() {
        let addresses = ["127.0.0.1:80", "[::1]:443", "[fe80::1%3]:65535"];
        let addresses = addresses.map(|text| PeerAddr::Ip(text.parse().unwrap()));
        for address in addresses.into_iter().chain([PeerAddr::Unix]) {
            assert_eq!(PeerAddr::from(&CompactAddr::from(address)), address);
        }
    }

    #[test]
    fn compact_address_is_small() {
        assert_eq!(size_of::<CompactAddr>(), 16);
    }
}
