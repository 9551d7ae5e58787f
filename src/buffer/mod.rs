//! Buffers: recycled blocks for payloads and output, and text in shared buffers.

mod block;
mod utf8_bytes;

pub use bytes::Bytes;

pub(crate) use self::block::{Block, Blocks, SharedBlock, offset, offset_in};
pub use self::utf8_bytes::Utf8Bytes;

/// A payload of at least this length is sent from its place, if that is a block or the input being handled.
pub(crate) const LARGE_PAYLOAD_BYTES: usize = 16 * 1024;
