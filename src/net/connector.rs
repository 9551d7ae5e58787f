//! Where to connect, and the sockets that do.

use std::{
    fmt, io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs},
    path::{Path, PathBuf},
};

#[cfg(unix)]
use socket2::{Domain, SockAddr, Socket, Type};

/// A far end that a stream can be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket in the file system. Unix only; elsewhere connecting fails.
    Unix(PathBuf),
}

/// An IPv6 address with a zone (RFC 4007 §11), which may be the name of an interface: `fe80::1%eth0`. `None` if it is none. The system is asked for the interface, nobody else.
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

/// A stream to a socket in the file system. What is read from it and written to it is as with TCP, so it is kept as such a stream, and no read or write
/// has to ask which it is.
#[cfg(unix)]
pub(super) fn connect_unix(path: &Path) -> io::Result<std::net::TcpStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // It is connected at once, or not at all: a listener whose queue is full is no reason to wait (EAGAIN in connect(2)).
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

#[cfg(not(unix))]
pub(super) fn connect_unix(_: &Path) -> io::Result<std::net::TcpStream> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "there are no sockets in the file system here"))
}
