//! How the output of a connection is encoded.

use crate::protocol::encoder::Encoder;

/// Encoding of a connection's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum Encoding {
    /// Bytes, as they are written.
    Raw,
    /// Responses of an HTTP server. The application cannot send.
    Http,
    /// Bytes of a client's opening handshake. The application cannot send yet.
    Opening,
    /// Frames of a WebSocket.
    WebSocket(Encoder),
    /// Server-sent events, in chunks unless the client speaks HTTP/1.0.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    EventStream { in_chunks: bool },
}

impl Encoding {
    /// The encoder of an open WebSocket.
    #[inline]
    pub(in crate::reactor) fn encoder(self) -> Option<Encoder> {
        match self {
            Encoding::WebSocket(encoder) => Some(encoder),
            Encoding::Raw | Encoding::Http | Encoding::Opening | Encoding::EventStream { .. } => None,
        }
    }

    /// Returns `true` for frames of a WebSocket.
    pub(in crate::reactor) fn is_websocket(self) -> bool {
        matches!(self, Encoding::WebSocket(_))
    }

    /// Returns `true` if published messages can be encoded.
    pub(in crate::reactor) fn is_publishable(self) -> bool {
        matches!(self, Encoding::WebSocket(_) | Encoding::EventStream { .. })
    }

    /// Returns `true` if the peer is a client of HTTP, which reads its responses before it is read again: no two ends
    /// wait for each other.
    pub(in crate::reactor) fn is_http(self) -> bool {
        matches!(self, Encoding::Http | Encoding::EventStream { .. })
    }

    /// Returns `true` if the protocol itself says where its parts end, so that an end of the stream cannot cut one off
    /// unnoticed.
    pub(in crate::reactor) fn has_ends(self) -> bool {
        self.is_http() || self.is_publishable()
    }

    /// Returns `true` if only the protocol of the connection sends, and not the application.
    pub(in crate::reactor) fn is_reserved(self) -> bool {
        matches!(self, Encoding::Http | Encoding::Opening)
    }
}
