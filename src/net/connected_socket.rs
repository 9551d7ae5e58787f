//! Connected sockets of the standard library, for a reactor to take over.

use std::io;

use socket2::Socket;

use crate::peer_addr::PeerAddr;

/// A connected socket that a reactor takes over, made from a `TcpStream` or `UnixStream` of the standard library. See
/// [`Hub::adopt_stream`](crate::Hub::adopt_stream).
#[derive(Debug)]
pub struct ConnectedSocket(pub(super) Socket);

impl ConnectedSocket {
    pub(super) fn peer_addr(&self) -> io::Result<PeerAddr> {
        let address = self.0.peer_addr()?;
        Ok(address.as_socket().map_or(PeerAddr::Unix, PeerAddr::canonical))
    }
}

impl From<std::net::TcpStream> for ConnectedSocket {
    fn from(stream: std::net::TcpStream) -> Self {
        ConnectedSocket(stream.into())
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixStream> for ConnectedSocket {
    fn from(stream: std::os::unix::net::UnixStream) -> Self {
        ConnectedSocket(stream.into())
    }
}
