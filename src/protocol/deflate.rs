//! permessage-deflate (RFC 7692): what is offered and agreed upon, and the two directions of it.
//!
//! ```text
//!  request → negotiation::agree → DeflateParameters, which the 101 says
//!  frames  → Inflation → Assembly                      one for each connection, in its Decoder
//!  Message → Deflation → frames                        one for each connection, in its Outbox
//!                └ Contexts: the compressors and decompressors of a reactor
//! ```

mod contexts;
mod deflation;
mod inflation;
mod negotiation;

use std::fmt;

pub(crate) use self::{
    contexts::{DeflateSetting, SharedContexts},
    deflation::Deflation,
    inflation::Inflation,
    negotiation::{Malformed, agree, offer, take_answer},
};
use super::version::Side;

/// How messages are compressed, for [`Server::deflate`](crate::Server::deflate) and [`Client::deflate`](crate::Client::deflate).
///
/// There are two presets. [`shared`](Self::shared), the default, forgets each message once it is sent or received. With [`dedicated`](Self::dedicated) messages refer to
/// earlier ones (context takeover), which makes small messages of one kind smaller; each connection keeps a window of earlier messages in each direction.
///
/// ```
/// use ws_reactor::{DeflateConfig, Server, on_message};
///
/// let server = Server::new(|_| on_message(|ws, message| { ws.send(message); }))
///     .deflate(DeflateConfig::shared().level(1)?.threshold_bytes(512));
/// # Ok::<(), ws_reactor::Error>(())
/// ```
///
/// # What it costs
///
/// No connection keeps a compressor: all of a reactor with the same level and window work with the same one, 250 to 370 KiB, and all with one decompressor, 46 KiB; a message that
/// is under way has one of its own until it is whole. Where messages refer to those before them, the compressor reads the window again, unless it was this connection that it worked
/// for last. So a connection that has compressed keeps, in KiB of resident memory, measured:
///
/// | window in bits | 9 | 10 | 11 | 12 | 13 | 14 | 15 |
/// |---|--:|--:|--:|--:|--:|--:|--:|
/// | without context takeover | 1.2 | 1.2 | 1.2 | 1.2 | 1.2 | 1.2 | 1.2 |
/// | takeover in one direction | 1.8 | 2.4 | 3.2 | 5.7 | 10 | 19 | 38 |
/// | takeover in both | 2.3 | 3.5 | 5.2 | 10 | 19 | 37 | 74 |
///
/// Server CPU and the bytes of an answer, for the echo of 1 KiB of JSON over 100 connections, all in one run of `cargo bench --bench deflate`:
///
/// | | level 1 | level 3 | level 6 |
/// |---|--:|--:|--:|
/// | `shared()` | 10.5 µs, 377 bytes | 16.1 µs, 275 bytes | 17.0 µs, 271 bytes |
/// | `dedicated()` | 13.5 µs, 301 bytes | 18.6 µs, 212 bytes | 19.9 µs, 210 bytes |
/// | `dedicated()`, window of 15 bits | 34.9 µs, 279 bytes | | 46.5 µs, 216 bytes |
///
/// A text of 16 MiB takes 42 ms to compress at level 1, 56 ms at level 3, 127 ms at level 6, and 16 ms to inflate. A large message is therefore compressed in slices of 64 KiB, and
/// inflated in slices of 256, between which everybody else is served. Only what is published to connections without context takeover is compressed at once, whatever its length.
///
/// # Secrets
///
/// Where a secret and something that an attacker chooses are compressed together, the length gives the secret away, byte by byte (CRIME, BREACH). With context takeover
/// all messages of a connection are together. Send either with [`send_uncompressed`](crate::WebSocket::send_uncompressed) or
/// [`publish_uncompressed`](crate::WebSocket::publish_uncompressed), or leave compression off, for all or by [`Upgrade::uncompressed`](crate::Upgrade::uncompressed).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct DeflateConfig {
    pub(crate) level: u8,
    pub(crate) server_max_window_bits: u8,
    pub(crate) client_max_window_bits: u8,
    pub(crate) server_context_takeover: bool,
    pub(crate) client_context_takeover: bool,
    pub(crate) threshold_bytes: usize,
}

impl DeflateConfig {
    /// No context takeover in either direction, windows of 15 bits, threshold 256 bytes.
    pub fn shared() -> Self {
        DeflateConfig {
            level: 3,
            server_max_window_bits: MAX_WINDOW_BITS,
            client_max_window_bits: MAX_WINDOW_BITS,
            server_context_takeover: false,
            client_context_takeover: false,
            threshold_bytes: 256,
        }
    }

    /// Context takeover in both directions, windows of 12 bits, threshold 32 bytes.
    pub fn dedicated() -> Self {
        DeflateConfig {
            server_context_takeover: true,
            client_context_takeover: true,
            server_max_window_bits: 12,
            client_max_window_bits: 12,
            threshold_bytes: 32,
            ..DeflateConfig::shared()
        }
    }

    /// Sets the compression level: 1 is fast, 9 thorough. Default 3.
    ///
    /// # Errors
    ///
    /// A level that is not from 1 to 9.
    pub fn level(self, level: u8) -> Result<Self, DeflateConfigError> {
        match level {
            1..=9 => Ok(DeflateConfig { level, ..self }),
            _ => Err(DeflateConfigError::Level(level)),
        }
    }

    /// Sets the window of the server's compressor: its messages refer back at most 2 to the power of `bits` bytes. A client may ask for less; one that asks for 8, which zlib does not have,
    /// is not compressed for.
    ///
    /// # Errors
    ///
    /// A window that is not from 9 to 15 bits.
    pub fn server_max_window_bits(self, bits: u8) -> Result<Self, DeflateConfigError> {
        Ok(DeflateConfig { server_max_window_bits: checked_window(bits)?, ..self })
    }

    /// Sets the window of the client's compressor. A client that does not offer `client_max_window_bits` uses 15 bits, whatever is set here (RFC 7692 §7.1.2.2).
    ///
    /// # Errors
    ///
    /// A window that is not from 9 to 15 bits.
    pub fn client_max_window_bits(self, bits: u8) -> Result<Self, DeflateConfigError> {
        Ok(DeflateConfig { client_max_window_bits: checked_window(bits)?, ..self })
    }

    /// Sets whether the server's messages may refer to earlier ones. The client may ask that they do not.
    pub fn server_context_takeover(self, takeover: bool) -> Self {
        DeflateConfig { server_context_takeover: takeover, ..self }
    }

    /// Sets whether the client's messages may refer to earlier ones.
    pub fn client_context_takeover(self, takeover: bool) -> Self {
        DeflateConfig { client_context_takeover: takeover, ..self }
    }

    /// Sets the length, in bytes, below which messages are sent uncompressed. 0 counts as 1.
    pub fn threshold_bytes(self, bytes: usize) -> Self {
        DeflateConfig { threshold_bytes: bytes, ..self }
    }
}

fn checked_window(bits: u8) -> Result<u8, DeflateConfigError> {
    match bits {
        MIN_WINDOW_BITS..=MAX_WINDOW_BITS => Ok(bits),
        _ => Err(DeflateConfigError::WindowBits(bits)),
    }
}

/// A parameter of a [`DeflateConfig`] that is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeflateConfigError {
    /// A level that is not from 1 to 9.
    Level(u8),
    /// A window that is not from 9 to 15 bits.
    WindowBits(u8),
}

impl fmt::Display for DeflateConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeflateConfigError::Level(level) => write!(formatter, "compression level {level} is not from 1 to 9"),
            DeflateConfigError::WindowBits(bits) => {
                write!(formatter, "a window of {bits} bits is not from {MIN_WINDOW_BITS} to {MAX_WINDOW_BITS}")
            }
        }
    }
}

impl std::error::Error for DeflateConfigError {}

impl Default for DeflateConfig {
    fn default() -> Self {
        DeflateConfig::shared()
    }
}

/// What both ends have agreed upon. Displayed, it is the line of the answer that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateParameters {
    /// How far back the server's messages refer, as a power of two: 9 to 15.
    pub server_max_window_bits: u8,
    /// How far back the client's messages refer: 8 to 15.
    pub client_max_window_bits: u8,
    /// The server's messages may refer to those before them.
    pub server_context_takeover: bool,
    /// The client's messages may refer to those before them.
    pub client_context_takeover: bool,
    /// The client has offered a window of the server, so that the answer has to name it (RFC 7692 §7.1.2.1). To others it is not named: some would refuse it, and a smaller
    /// window than the peer expects does no harm.
    names_server_window: bool,
}

impl DeflateParameters {
    /// How far back the messages of `side` refer, in bits, and whether to those before them.
    fn of(&self, side: Side) -> (u8, bool) {
        match side {
            Side::Server => (self.server_max_window_bits, self.server_context_takeover),
            Side::Client => (self.client_max_window_bits, self.client_context_takeover),
        }
    }
}

/// The largest window of DEFLATE, and the smallest that zlib can compress with (RFC 7692 §7.1.2 allows 8).
const MAX_WINDOW_BITS: u8 = 15;
const MIN_WINDOW_BITS: u8 = 9;

/// The name of the extension.
const NAME: &str = "permessage-deflate";

impl fmt::Display for DeflateParameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(NAME)?;
        if !self.server_context_takeover {
            formatter.write_str("; server_no_context_takeover")?;
        }
        if !self.client_context_takeover {
            formatter.write_str("; client_no_context_takeover")?;
        }
        if self.names_server_window {
            write!(formatter, "; server_max_window_bits={}", self.server_max_window_bits)?;
        }
        if self.client_max_window_bits < MAX_WINDOW_BITS {
            write!(formatter, "; client_max_window_bits={}", self.client_max_window_bits)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "deflate/deflate_tests.rs"]
mod tests;
