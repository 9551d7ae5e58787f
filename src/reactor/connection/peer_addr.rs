//! The address of a peer, in half the size of a `SocketAddr`.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

/// An address in each outbound half; IPv6 addresses are boxed because of their size.
#[derive(Debug)]
pub(in crate::reactor) enum PeerAddr {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl From<SocketAddr> for PeerAddr {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => PeerAddr::V4(address),
            SocketAddr::V6(address) => PeerAddr::V6(Box::new(address)),
        }
    }
}

impl From<&PeerAddr> for SocketAddr {
    fn from(address: &PeerAddr) -> Self {
        match address {
            PeerAddr::V4(address) => (*address).into(),
            PeerAddr::V6(address) => (**address).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_converts_to_a_peer_addr_and_back() {
        for text in ["127.0.0.1:80", "[::1]:443", "[fe80::1%3]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(&PeerAddr::from(address)), address);
        }
    }
}
