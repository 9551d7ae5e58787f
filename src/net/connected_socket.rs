//! Connected sockets of the standard library, for a reactor to take over.

use std::io;

use socket2::Socket;

use crate::peer_addr::PeerAddr;

/// A connected socket that a reactor takes over, made from a `TcpStream` or `UnixStream` of the standard library. See
/// [`Hub::adopt_stream`](crate::Hub::adopt_stream).
#[derive(Debug)]
pub struct ConnectedSocket {
    pub(super) socket: Socket,
    pub(super) options: Options,
}

/// The options of a connected socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Options {
    /// They are still to be set, to their defaults.
    Default,
    /// A listener has set them. `quickack`: see [`SocketOptions::quickack`](super::SocketOptions::quickack).
    Accepted { quickack: bool },
}

impl From<Socket> for ConnectedSocket {
    fn from(socket: Socket) -> Self {
        ConnectedSocket { socket, options: Options::Default }
    }
}

impl ConnectedSocket {
    pub(super) fn peer_addr(&self) -> io::Result<PeerAddr> {
        let address = self.socket.peer_addr()?;
        Ok(address.as_socket().map_or(PeerAddr::Unix, PeerAddr::canonical))
    }
}

impl From<std::net::TcpStream> for ConnectedSocket {
    fn from(stream: std::net::TcpStream) -> Self {
        Socket::from(stream).into()
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixStream> for ConnectedSocket {
    fn from(stream: std::os::unix::net::UnixStream) -> Self {
        Socket::from(stream).into()
    }
}
