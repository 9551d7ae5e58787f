//! permessage-deflate (RFC 7692): the negotiation, and compression in both directions.
//!
//! ```text
//!  request → negotiation::agree → DeflateParameters, sent in the 101
//!  frames  → Inflation → Assembly                      one for each connection, in its Decoder
//!  Message → Deflation → frames                        one for each connection, in its Outbound
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

/// Compression settings of permessage-deflate (RFC 7692), for [`Server::deflate`](crate::Server::deflate) and
/// [`Client::deflate`](crate::Client::deflate).
///
/// [`shared`](Self::shared), the default, compresses each message by itself. [`dedicated`](Self::dedicated) uses
/// context takeover: a message may refer to earlier ones, which makes small messages of one kind smaller, and each
/// connection keeps a window of earlier messages in each direction.
///
/// A client offers its settings, followed by an offer without parameters for servers that do not know them all. A
/// server that takes the second offer uses a window of 15 bits and context takeover (RFC 7692 §7.1.3).
///
/// ```
/// use ws_reactor::{DeflateConfig, Server, on_message};
///
/// let server = Server::new(|_| on_message(|ws, message| { ws.send(message); }))
///     .deflate(DeflateConfig::shared().level(1)?.threshold_bytes(512));
/// # Ok::<(), ws_reactor::Error>(())
/// ```
///
/// # Cost
///
/// Connections hold no compressor between messages. All connections of a reactor with the same level and window share
/// one compressor of 250 to 370 KiB, and all connections share one decompressor of 46 KiB; an unfinished message has
/// its own. With context takeover the compressor reads the window again, unless the compressor last worked for the same
/// connection. A connection that has compressed keeps, in KiB of resident memory, measured:
///
/// | window in bits | 9 | 10 | 11 | 12 | 13 | 14 | 15 |
/// |---|--:|--:|--:|--:|--:|--:|--:|
/// | without context takeover | 1.2 | 1.2 | 1.2 | 1.2 | 1.2 | 1.2 | 1.2 |
/// | takeover in one direction | 1.8 | 2.4 | 3.2 | 5.7 | 10 | 19 | 38 |
/// | takeover in both | 2.3 | 3.5 | 5.2 | 10 | 19 | 37 | 74 |
///
/// Server CPU and length of the answer, for an echo of 1 KiB of JSON over 100 connections, from one run of `cargo bench
/// --bench deflate`:
///
/// | | level 1 | level 3 | level 6 |
/// |---|--:|--:|--:|
/// | `shared()` | 10.5 µs, 377 bytes | 16.1 µs, 275 bytes | 17.0 µs, 271 bytes |
/// | `dedicated()` | 13.5 µs, 301 bytes | 18.6 µs, 212 bytes | 19.9 µs, 210 bytes |
/// | `dedicated()`, window of 15 bits | 34.9 µs, 279 bytes | | 46.5 µs, 216 bytes |
///
/// A text of 16 MiB takes 42 ms to compress at level 1, 56 ms at level 3, 127 ms at level 6, and 16 ms to inflate. A
/// large message is therefore compressed in slices of 32 KiB and inflated in slices of 256 KiB, and other connections
/// are served between the slices. A publish to connections without context takeover is the exception: the message is
/// compressed at once, whatever its length.
///
/// # Security
///
/// Compressing a secret together with data chosen by an attacker reveals the secret through the compressed length
/// (CRIME, BREACH). With context takeover all messages of a connection are compressed together. Send the secret or the
/// attacker's data with [`send_uncompressed`](crate::WebSocket::send_uncompressed) or
/// [`publish_uncompressed`](crate::WebSocket::publish_uncompressed), or leave compression off: for all connections, or
/// for one by [`Upgrade::uncompressed`](crate::Upgrade::uncompressed).
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
    /// Makes the settings without context takeover: level 3, windows of 15 bits, threshold 256 bytes. The default.
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

    /// Makes the settings with context takeover in both directions: level 3, windows of 12 bits, threshold 32 bytes.
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

    /// Sets the compression level, from 1 (fast) to 9 (small). Default 3.
    ///
    /// # Errors
    ///
    /// [`DeflateConfigError::Level`] if the level is not from 1 to 9.
    pub fn level(self, level: u8) -> Result<Self, DeflateConfigError> {
        match level {
            1..=9 => Ok(DeflateConfig { level, ..self }),
            _ => Err(DeflateConfigError::Level(level)),
        }
    }

    /// Sets the window of the server's compressor, as a power of two: 9 to 15 bits. Default 15, in `dedicated` 12.
    ///
    /// A message of the server refers back at most 2 to the power of `bits` bytes. A client may request a smaller
    /// window. zlib has no window of 8 bits, so a server does not accept an offer that requests 8 (RFC 7692 §7.1.2.1).
    ///
    /// # Errors
    ///
    /// [`DeflateConfigError::WindowBits`] if the window is not from 9 to 15 bits.
    pub fn server_max_window_bits(self, bits: u8) -> Result<Self, DeflateConfigError> {
        Ok(DeflateConfig { server_max_window_bits: checked_window(bits)?, ..self })
    }

    /// Sets the window of the client's compressor, as a power of two: 9 to 15 bits. Default 15, in `dedicated` 12.
    ///
    /// A server cannot limit a client that does not offer `client_max_window_bits`: the window is 15 bits then (RFC
    /// 7692 §7.1.2.2).
    ///
    /// # Errors
    ///
    /// [`DeflateConfigError::WindowBits`] if the window is not from 9 to 15 bits.
    pub fn client_max_window_bits(self, bits: u8) -> Result<Self, DeflateConfigError> {
        Ok(DeflateConfig { client_max_window_bits: checked_window(bits)?, ..self })
    }

    /// Sets whether the server's messages may refer to earlier ones. Default `false`, in `dedicated` `true`.
    ///
    /// A client may refuse context takeover by `server_no_context_takeover` (RFC 7692 §7.1.1.1).
    pub fn server_context_takeover(self, takeover: bool) -> Self {
        DeflateConfig { server_context_takeover: takeover, ..self }
    }

    /// Sets whether the client's messages may refer to earlier ones. Default `false`, in `dedicated` `true`. RFC 7692
    /// §7.1.1.2.
    pub fn client_context_takeover(self, takeover: bool) -> Self {
        DeflateConfig { client_context_takeover: takeover, ..self }
    }

    /// Sets the length, in bytes, below which messages are sent uncompressed. Default 256, in `dedicated` 32. 0 counts
    /// as 1.
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

/// A setting of [`DeflateConfig`] that is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeflateConfigError {
    /// The level is not from 1 to 9.
    Level(u8),
    /// The window is not from 9 to 15 bits.
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

/// Negotiated parameters of permessage-deflate. RFC 7692 §7.1.
///
/// `Display` writes the value of the server's `Sec-WebSocket-Extensions` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateParameters {
    /// Window of the server's messages, as a power of two: 9 to 15 on a server, 8 to 15 on a client.
    pub server_max_window_bits: u8,
    /// Window of the client's messages, as a power of two: 8 to 15.
    pub client_max_window_bits: u8,
    /// `true` if the server's messages may refer to earlier ones.
    pub server_context_takeover: bool,
    /// `true` if the client's messages may refer to earlier ones.
    pub client_context_takeover: bool,
    /// The client offered `server_max_window_bits`, so the answer must name the window (RFC 7692 §7.1.2.1). Other
    /// clients get no window: some would refuse the parameter, and a smaller window than expected does no harm.
    names_server_window: bool,
}

impl DeflateParameters {
    /// Window in bits, and context takeover, for the messages sent by `side`.
    fn of(&self, side: Side) -> (u8, bool) {
        match side {
            Side::Server => (self.server_max_window_bits, self.server_context_takeover),
            Side::Client => (self.client_max_window_bits, self.client_context_takeover),
        }
    }
}

/// Largest window of DEFLATE, and smallest window that zlib can compress with (RFC 7692 §7.1.2 allows 8).
const MAX_WINDOW_BITS: u8 = 15;
const MIN_WINDOW_BITS: u8 = 9;

/// Name of the extension.
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
