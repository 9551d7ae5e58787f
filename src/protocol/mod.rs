//! The WebSocket protocol without sockets ("sans-IO"), for applications with input and output of their own: every
//! version, servers and clients.
//!
//! Everything here is pure: bytes, limits and random bytes come in as arguments, and output is appended to the caller's
//! buffer. There are no clocks and no sockets. [`Server`](crate::Server) and [`Client`](crate::Client) are built on the
//! same code.
//!
//! | task | type |
//! |---|---|
//! | accept a WebSocket | [`ServerHandshake`] |
//! | request a WebSocket | [`ClientHandshake`] |
//! | decode messages and control frames | [`MessageDecoder`], which returns [`Incoming`] |
//! | encode messages and control frames | [`MessageEncoder`] |
//!
//! A client and a server, joined by buffers:
//!
//! ```
//! use ws_reactor::{
//!     CloseCode, Message,
//!     protocol::{ClientHandshake, Incoming, ServerHandshake, ServerStep},
//! };
//!
//! let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
//! # let random = |bytes: &mut [u8]| bytes.fill(7);
//!
//! // Opening handshakes. `random` fills a buffer with unpredictable bytes, for example:
//! // `|bytes: &mut [u8]| getrandom::fill(bytes).expect("the system has a source of randomness")`
//! let mut pending = ClientHandshake::new("ws://example.com/chat")?.send(random, &mut to_server)?;
//! let mut handshake = ServerHandshake::new();
//! let mut server = loop {
//!     let (used, step) = handshake.receive(&to_server, &mut to_client)?;
//!     to_server.drain(..used);
//!     match step.expect("the input is complete") {
//!         ServerStep::Request(request) => handshake.accept(request, &mut to_client)?,
//!         ServerStep::Open(opened) => break opened,
//!     }
//! };
//! let (_, opened) = pending.receive(&to_client)?;
//! let mut client = opened.expect("the response is complete");
//!
//! // A message, and the start of the closing handshake.
//! client.encoder.message("hello", &mut to_server)?;
//! client.encoder.close(CloseCode::NORMAL, "bye", &mut to_server)?;
//! let mut answer = Vec::new();
//! let mut at = 0;
//! while let (used, Some(incoming)) = server.decoder.decode(&mut to_server[at..])? {
//!     at += used;
//!     match incoming {
//!         Incoming::Message(message) => assert_eq!(message, Message::Text("hello")),
//!         // A pong, or the other close frame.
//!         other => server.encoder.answer(&other, &mut answer),
//!     }
//! }
//! assert_eq!(answer, [0x88, 2, 0x03, 0xe8]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The example `sans_io` is an echo server and a client on blocking sockets.
//!
//! # What remains for the application
//!
//! - [`MessageEncoder::answer`] for pings and the close frame, as above; [`MessageEncoder::fail`] for an error of the
//!   decoder.
//! - Write the output before waiting for more input.
//! - After both close frames, end the stream: a server ends it at once, a client waits until the server has ended it.
//!   RFC 6455 §7.1.1. An end of the stream without close frames is abnormal (1006).
//! - "End the stream" means: write the output, shut down the writing side, and discard input until the peer ends its
//!   side or a few seconds have passed. A socket that is dropped with unread input resets the connection, and the reset
//!   may destroy the last output, such as a refusal or a close frame with 1009.
//! - Time-outs of the opening handshake, of silence and of the closing handshake.
//! - A bound on the output that waits for a slow peer. Check it after each item: one read may hold many messages that
//!   are to be answered.
//! - TLS, proxies and redirects of a client.
//! - The origin of a browser's page: see [`Request::origin`](crate::Request::origin).
//!
//! Nothing here is `Send`: the connections of a thread share their compressors without locks. Make the handshake in
//! the thread that serves the connection.
//!
//! A decoder keeps the unfinished message, at most the message limit, and at most 4 KiB between messages. All
//! connections of a thread can share one buffer for reading.

// Structure:
//
//  request head → handshake::detect → Handshake, 101
//  bytes → framing (header) → Decoder → Message · ping · pong · close
//                              ├ Inflation: compressed messages
//                              └ Assembly: messages in pieces, checked by Utf8Stream, held in a Block
//  Message · ping · pong · close → Encoder → bytes
//       └ Deflation: messages to compress ↗
//
// The differences between versions are listed in `version.rs`, and nowhere else. `endpoint` holds the public codec: it
// joins decoder and encoder with buffers, masking keys and compression, which connections of a reactor share.

pub(crate) mod close;
mod close_code;
pub(crate) mod decoder;
#[cfg(feature = "deflate")]
pub(crate) mod deflate;
/// Stand-in without the feature `deflate`: no connection compresses.
#[cfg(not(feature = "deflate"))]
#[path = "deflate/disabled.rs"]
pub(crate) mod deflate;
pub(crate) mod encoder;
mod endpoint;
pub(crate) mod error;
pub(crate) mod event_stream;
pub(crate) mod framing;
pub(crate) mod handshake;
pub(crate) mod incoming;
mod limits;
pub(crate) mod mask;
pub(crate) mod message;
pub(crate) mod outgoing;
pub(crate) mod utf8;
pub(crate) mod version;

pub(crate) use close::{CloseReason, ClosedBy, TimeoutKind};
pub use close_code::CloseCode;
#[cfg(feature = "deflate")]
pub use deflate::{DeflateConfig, DeflateConfigError, DeflateParameters};
pub use endpoint::{
    ClientHandshake, EncodeError, MessageDecoder, MessageEncoder, Opened, PendingResponse, RequestError,
    ServerHandshake, ServerStep,
};
pub use error::ProtocolError;
pub use handshake::{Handshake, HandshakeError, client::ResponseError};
pub use incoming::{CloseFrame, Incoming};
pub use limits::MessageLimits;
pub use message::{Message, OwnedMessage};
pub use outgoing::Outgoing;
pub(crate) use version::Side;
pub use version::Version;

pub use crate::{
    buffer::Utf8Bytes,
    http::{HeadError, HeadLimits, Request},
};
