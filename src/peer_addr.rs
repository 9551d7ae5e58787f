//! The address of a peer.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// Address of a peer: an IP address and a port, or a Unix socket.
///
/// ```
/// use std::net::SocketAddr;
/// use ws_reactor::PeerAddr;
///
/// let peer = PeerAddr::from(SocketAddr::from(([192, 0, 2, 1], 80)));
/// assert_eq!(peer.ip(), Some([192, 0, 2, 1].into()));
/// assert_eq!((peer.to_string(), PeerAddr::Unix.to_string()), ("192.0.2.1:80".into(), "unix".into()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PeerAddr {
    /// An IP address and a port. An IPv4 address on an IPv6 socket is given as IPv4. The port is 0 if only the address
    /// is known, as from [`Server::trusted_proxies`](crate::Server::trusted_proxies).
    Ip(SocketAddr),
    /// A Unix socket. The clients of one have no addresses.
    Unix,
}

impl PeerAddr {
    /// An address, given as IPv4 if it is IPv4 mapped to IPv6. A link-local address keeps its zone.
    pub(crate) fn canonical(address: SocketAddr) -> Self {
        PeerAddr::Ip(match address.ip().to_canonical() {
            ip if ip != address.ip() => SocketAddr::new(ip, address.port()),
            _ => address,
        })
    }

    /// The IP address. `None` for a Unix socket.
    pub fn ip(self) -> Option<IpAddr> {
        self.socket_addr().map(|address| address.ip())
    }

    /// The port. `None` for a Unix socket.
    pub fn port(self) -> Option<u16> {
        self.socket_addr().map(|address| address.port())
    }

    /// The IP address and the port. `None` for a Unix socket.
    pub fn socket_addr(self) -> Option<SocketAddr> {
        match self {
            PeerAddr::Ip(address) => Some(address),
            PeerAddr::Unix => None,
        }
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(address: SocketAddr) -> Self {
        PeerAddr::Ip(address)
    }
}

impl PartialEq<SocketAddr> for PeerAddr {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.socket_addr() == Some(*other)
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddr::Ip(address) => address.fmt(formatter),
            PeerAddr::Unix => formatter.pad("unix"),
        }
    }
}
