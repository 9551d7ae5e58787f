//! The WebSocket protocol as a pure codec: bytes to messages and back, without sockets, clocks or randomness of its
//! own.
//!
//! ```text
//!  request head → handshake::detect → Handshake, 101
//!  bytes → framing (header) → Decoder → Message · ping · pong · close
//!                              ├ Inflation: compressed messages
//!                              └ Assembly: messages in pieces, checked by Utf8Stream, held in a Block
//!  Message · ping · pong · close → Encoder → bytes
//!       └ Deflation: messages to compress ↗
//! ```
//!
//! The differences between versions are listed in [`version`], and nowhere else.

pub(crate) mod assembly;
pub(crate) mod block;
pub(crate) mod close;
pub(crate) mod decoder;
#[cfg(feature = "deflate")]
pub(crate) mod deflate;
/// Stand-in without the feature `deflate`: no connection compresses.
#[cfg(not(feature = "deflate"))]
#[path = "undeflated.rs"]
pub(crate) mod deflate;
pub(crate) mod encoder;
pub(crate) mod error;
pub(crate) mod framing;
pub(crate) mod handshake;
pub(crate) mod incoming;
mod limits;
pub(crate) mod mask;
pub(crate) mod message;
pub(crate) mod outgoing;
pub(crate) mod proxy;
pub(crate) mod utf8;
pub(crate) mod version;

pub use close::{CloseCode, CloseReason, ClosedBy, TimeoutKind};
#[cfg(feature = "deflate")]
pub use deflate::{DeflateConfig, DeflateConfigError, DeflateParameters};
pub use error::ProtocolError;
pub use handshake::{Handshake, HandshakeError, client::ResponseError};
pub use limits::MessageLimits;
pub use message::{Message, OwnedMessage, Utf8Bytes};
pub use outgoing::Outgoing;
pub use proxy::{Proxy, ProxyError};
pub(crate) use version::Side;
pub use version::Version;
