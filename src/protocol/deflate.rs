//! permessage-deflate (RFC 7692): what is offered and agreed upon, and the two directions of it.
//!
//! ```text
//!  request → negotiation::agree → DeflateParameters, which the 101 says
//!  frames  → Inflation → Assembly                      one for each connection, in its Decoder
//!  Message → Deflation → frames                        one for each connection, in its Outbox
//!                └ Contexts: compressors and decompressors that nobody holds, one set for a reactor
//! ```

mod contexts;
mod deflation;
mod inflation;
mod negotiation;

use std::fmt;

pub(crate) use self::{
    contexts::SharedContexts,
    deflation::{DeflateSetting, Deflation},
    inflation::Inflation,
    negotiation::{Malformed, agree},
};

/// How a server compresses, to be given to [`Server::deflate`](crate::Server::deflate).
///
/// Two presets. [`shared`](Self::shared), the default, forgets what was said after every message, in both directions: all connections of a reactor use one
/// compressor and one decompressor, and an idle connection keeps neither. [`dedicated`](Self::dedicated) has each message refer to those before it, which makes
/// small messages of one kind much smaller, for a compressor and a decompressor kept by every connection that has used them.
///
/// ```
/// use ws_reactor::{DeflateConfig, Server, on_message};
///
/// let server = Server::new(|_| on_message(|ws, message| { ws.send(message); }))
///     .deflate(DeflateConfig { level: 3, threshold_bytes: 512, ..DeflateConfig::shared() });
/// ```
///
/// # Secrets
///
/// Where a secret and something that an attacker chooses are compressed together, the length gives the secret away, byte by byte (CRIME, BREACH). With context takeover
/// all messages of a connection are together. Send either with [`send_uncompressed`](crate::WebSocket::send_uncompressed), or leave compression off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateConfig {
    /// How hard to try: 1, fast, to 9, thorough. Default 1.
    pub level: u8,
    /// The window of the server's compressor: how far back a message may refer is 2 to this power, in bytes, 9 to 15. Default 15. A client may ask
    /// for less. (One that asks for 8 is not compressed for: zlib has no such window.)
    pub server_max_window_bits: u8,
    /// The window of the client's compressor, 8 to 15. Default 15. A client that does not offer to be told uses 15 whatever stands here (RFC 7692 §7.1.2.2).
    pub client_max_window_bits: u8,
    /// The server's messages may refer to those before them. A client may ask that they do not.
    pub server_context_takeover: bool,
    /// The client's messages may refer to those before them.
    pub client_context_takeover: bool,
    /// Messages shorter than this are sent as they are, in bytes.
    pub threshold_bytes: usize,
}

impl DeflateConfig {
    /// No context takeover, in neither direction; messages from 256 bytes on are compressed.
    pub fn shared() -> Self {
        DeflateConfig {
            level: 1,
            server_max_window_bits: MAX_WINDOW_BITS,
            client_max_window_bits: MAX_WINDOW_BITS,
            server_context_takeover: false,
            client_context_takeover: false,
            threshold_bytes: 256,
        }
    }

    /// Context takeover in both directions; messages from 32 bytes on are compressed.
    pub fn dedicated() -> Self {
        DeflateConfig {
            server_context_takeover: true,
            client_context_takeover: true,
            threshold_bytes: 32,
            ..DeflateConfig::shared()
        }
    }
}

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
        if self.server_max_window_bits < MAX_WINDOW_BITS {
            write!(formatter, "; server_max_window_bits={}", self.server_max_window_bits)?;
        }
        if self.client_max_window_bits < MAX_WINDOW_BITS {
            write!(formatter, "; client_max_window_bits={}", self.client_max_window_bits)?;
        }
        Ok(())
    }
}
