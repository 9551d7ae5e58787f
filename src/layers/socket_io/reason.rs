//! Why a socket has ended.

use std::fmt;

use crate::layers::engine_io::CloseReason;

/// Why a socket has ended. The words are those of Node's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// `server namespace disconnect`: the server has disconnected the socket.
    ServerNamespaceDisconnect,
    /// `client namespace disconnect`: the client has disconnected the socket.
    ClientNamespaceDisconnect,
    /// `server shutting down`: [`SocketIoHandle::close`](super::SocketIoHandle::close).
    ServerShuttingDown,
    /// `forced server close`: the server has closed the connection, for a packet without a place.
    ForcedServerClose,
    /// The connection has ended.
    Connection(CloseReason),
}

impl DisconnectReason {
    /// The words for the reason.
    pub fn as_str(self) -> &'static str {
        match self {
            DisconnectReason::ServerNamespaceDisconnect => "server namespace disconnect",
            DisconnectReason::ClientNamespaceDisconnect => "client namespace disconnect",
            DisconnectReason::ServerShuttingDown => "server shutting down",
            DisconnectReason::ForcedServerClose => "forced server close",
            DisconnectReason::Connection(reason) => reason.as_str(),
        }
    }

    /// Returns `true` if the client may get the socket again.
    pub(super) fn is_recoverable(self) -> bool {
        !matches!(
            self,
            DisconnectReason::ServerNamespaceDisconnect
                | DisconnectReason::ClientNamespaceDisconnect
                | DisconnectReason::Connection(CloseReason::ParseError)
        )
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
