//! Addresses to connect to, and the connecting sockets.

use std::{
    fmt, io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs},
    path::{Path, PathBuf},
};

#[cfg(unix)]
use socket2::{Domain, SockAddr, Socket, Type};

/// An address to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// Path of a Unix socket. Unix only: on other systems connecting fails with `Unsupported`.
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

/// Connects to a Unix socket. Reads and writes are the same as with TCP, so the stream is kept as a TCP stream.
#[cfg(unix)]
pub(super) fn connect_unix(path: &Path) -> io::Result<std::net::TcpStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // A Unix socket connects at once or fails: a listener with a full queue gives EAGAIN (connect(2)).
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

#[cfg(not(unix))]
pub(super) fn connect_unix(_: &Path) -> io::Result<std::net::TcpStream> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "Unix sockets are not supported on this system"))
}
