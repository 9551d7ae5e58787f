//! The address of a peer, in half the size of a `PeerAddr`.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::peer_addr::PeerAddr;

/// An address in each outbound half, and whether a proxy has announced that the client uses TLS. IPv6 addresses are
/// boxed because of their size.
#[derive(Debug)]
pub(in crate::reactor) enum CompactAddr {
    V4(SocketAddrV4, bool),
    V6(Box<SocketAddrV6>, bool),
    Unix(bool),
}

impl CompactAddr {
    pub(in crate::reactor) fn new(address: PeerAddr, is_secure: bool) -> Self {
        match address {
            PeerAddr::Ip(SocketAddr::V4(address)) => CompactAddr::V4(address, is_secure),
            PeerAddr::Ip(SocketAddr::V6(address)) => CompactAddr::V6(Box::new(address), is_secure),
            PeerAddr::Unix => CompactAddr::Unix(is_secure),
        }
    }

    pub(in crate::reactor) fn get(&self) -> PeerAddr {
        match self {
            CompactAddr::V4(address, _) => PeerAddr::Ip((*address).into()),
            CompactAddr::V6(address, _) => PeerAddr::Ip((**address).into()),
            CompactAddr::Unix(_) => PeerAddr::Unix,
        }
    }

    pub(in crate::reactor) fn is_secure(&self) -> bool {
        match self {
            CompactAddr::V4(_, is_secure) | CompactAddr::V6(_, is_secure) | CompactAddr::Unix(is_secure) => *is_secure,
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
            for is_secure in [false, true] {
                let compact = CompactAddr::new(address, is_secure);
                assert_eq!((compact.get(), compact.is_secure()), (address, is_secure));
            }
        }
    }

    #[test]
    fn compact_address_is_small() {
        assert_eq!(size_of::<CompactAddr>(), 16);
    }
}
