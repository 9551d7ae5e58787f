//! The protocol, pure: bytes to messages and back, without a socket, a clock or a source of randomness.
//!
//! ```text
//!  request head → handshake::detect → Handshake, 101
//!  bytes → framing (header) → Decoder → Message · ping · pong · close
//!                              ├ Inflation: what is compressed
//!                              └ Assembly: what came in pieces, checked by Utf8Stream, held in a Block
//!  Message · ping · pong · close → Encoder → bytes
//!       └ Deflation: what is to be compressed ↗
//! ```
//!
//! How the versions differ stands in [`version`], and nowhere else.

pub(crate) mod assembly;
pub(crate) mod block;
pub(crate) mod close;
pub(crate) mod decoder;
#[cfg(feature = "deflate")]
pub(crate) mod deflate;
/// Without the feature no connection compresses.
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
