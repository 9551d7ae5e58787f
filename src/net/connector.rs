//! Where to connect, and the sockets that do.

use std::{
    fmt, io,
    net::SocketAddr,
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
