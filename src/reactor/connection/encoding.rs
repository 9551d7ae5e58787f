//! How the output of a connection is encoded.

use crate::protocol::{Side, encoder::Encoder};

/// Encoding of a connection's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum Encoding {
    /// Bytes, as they are written.
    Raw,
    /// Bytes of a WebSocket's opening handshake, on this side. The application cannot send yet.
    Opening(Side),
    /// Frames of a WebSocket.
    WebSocket(Encoder),
}

impl Encoding {
    /// The encoder of an open WebSocket.
    #[inline]
    pub(in crate::reactor) fn encoder(self) -> Option<Encoder> {
        match self {
            Encoding::WebSocket(encoder) => Some(encoder),
            Encoding::Raw | Encoding::Opening(_) => None,
        }
    }

    pub(in crate::reactor) fn is_opening(self) -> bool {
        matches!(self, Encoding::Opening(_))
    }
}
