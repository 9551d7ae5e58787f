//! Addresses to connect to, and the connecting sockets.

use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs},
    path::PathBuf,
};

/// An address to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// Path of a Unix socket, or on Linux an abstract name behind `@`. Unix only: on other systems connecting fails
    /// with `Unsupported`.
    Unix(PathBuf),
}

/// Parses an IPv6 address with a zone (RFC 4007 §11), such as `fe80::1%eth0`. `None` if `host` is not one. Interface
/// names are resolved by the system, without DNS.
pub(crate) fn scoped_address(host: &str, port: u16) -> Option<SocketAddr> {
    let (address, zone) = host.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    if let Ok(scope) = zone.parse() {
        return Some(SocketAddrV6::new(address, port, 0, scope).into());
    }
    (host, port).to_socket_addrs().ok()?.next()
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Endpoint::Tcp(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(formatter),
            Endpoint::Unix(path) => path.display().fmt(formatter),
        }
    }
}
