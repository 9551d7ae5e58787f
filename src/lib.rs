//! A single-threaded, EventMachine-like reactor on [mio](https://docs.rs/mio), and on it a WebSocket server and client with one aim: **predictable latency**.
//!
//! No async runtime, no thread but for looking up names, no `unsafe`. Work between two waits is bounded, an idle connection holds no buffer, a message costs one read, one write and no
//! allocation, and back-pressure is something you can see: [`SendStatus`], [`on_drain`](Handler::on_drain), [`buffered`](WebSocket::buffered).
//!
//! ```no_run
//! use ws_reactor::{Error, Reactor, Server, on_message};
//!
//! fn main() -> Result<(), Error> {
//!     let mut reactor = Reactor::new()?;
//!     let server = Server::new(|_| {
//!         on_message(|ws, message| {
//!             ws.send(message);
//!         })
//!     });
//!     reactor.listen("127.0.0.1:8080", server)?;
//!     reactor.run()?;
//!     Ok(())
//! }
//! ```
//!
//! Start with [`Handler`], which is what an application writes; [`Server`], which makes one for each connection; [`Client`], which has one; [`Hub`], by which any
//! handler reaches all the rest; and [`Remote`], which reaches it from other threads. [`StreamHandler`] is for protocols of
//! your own on the same loop, [`TestSocket`] for testing a handler without sockets, and [`net::sim`] for testing a whole server in virtual time.
//!
//! # The floors
//!
//! Imports point down; each foreign crate has one door.
//!
//! ```text
//!  websocket/   Server · Client · Handler · WebSocket       the façade
//!  reactor/     Reactor · Hub · StreamHandler · timers      waits, moves bytes, calls handlers
//!  net/         Kernel · Bind · Transport                   bytes to and from the system
//!  protocol/    Decoder · Encoder · Handshake               pure: bytes ⇄ frames ⇄ messages
//!  http/        request heads, responses                    pure
//! ```
//!
//! # The way of a message
//!
//! ```text
//!  kernel → Transport → Link → StreamHandler ─(ServerStream or ClientStream: handshake, then Session)→ Decoder → Handler
//!  kernel ← Transport ← flush ← Outbox ← Encoder ← Hub::send ← WebSocket::send ←──────────────┘
//! ```
//!
//! A connection is two halves. The inbound one (socket, decoder, handler) is a `Link` and belongs to the loop alone. The outbound one (encoder, queued bytes,
//! how far it is closed) is an `Outbox` in the [`Hub`], which every handler borrows. **No method of the Hub calls user code**: what a handler asks
//! for is noted, and the loop does it in the same turn. So a handler can send to, close or publish to any connection, its own included, and nothing is re-entered.
//!
//! # A turn
//!
//! Wait; commands of other threads; events, each connection read, handled and flushed in one go; accepting; connections that a budget had left
//! unfinished; ticks; timers; output for all others, one write each; `on_drain`; `on_close`.
//!
//! # Versions
//!
//! A [`Version`] is a row of a table, and a handler need not know which it has: what a version lacks is answered [`SendStatus::Unsupported`]. All are spoken unless
//! [`Server::versions`] narrows them. [`em_websocket`] has its calls beside ours, and where the two differ.
//!
//! # Compression
//!
//! permessage-deflate is turned on by `Server::deflate` (feature `deflate`, on by default). `Inflation` sits in the decoder, `Deflation` in the outbox; what they compress with
//! belongs to the reactor, and a connection keeps only what its next message may refer to. `DeflateConfig` has the settings and what they cost.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | *turn* | one pass of the loop: from one wait to the next |
//! | *budget* | how much one connection, or listener, may have of a turn |
//! | *mark, limit* | bytes of waiting output above which a connection is not read, and at which messages are refused |
//! | *grace* | how long a slow reader may stay above its limit |
//! | *cut* | end a connection at once, without a closing handshake |
//! | *context takeover* | a compressed message may refer to those before it, one *window* back |
//! | *challenge* | what in the older handshakes stands behind the request, and the rest of the answer depends on |
//! | *linger* | end our side, and discard input until the peer ends its own, so that our last words arrive |
//! | *block* | a recycled buffer, shared by counting |
//! | *generation* | what makes an id of the past differ from one of the present |
//!
//! # Logging
//!
//! By [`log`](https://docs.rs/log), with a target for each floor: `ws_reactor::net`, `ws_reactor::reactor`, `ws_reactor::websocket`. Warnings and errors are what an operator should
//! know; `debug` has each connection's opening and end, `trace` each frame and how it begins. Nothing is logged at `info`.

#![forbid(unsafe_code)]

#[doc = include_str!("em_websocket.md")]
pub mod em_websocket {}
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
#[cfg(measuring)]
#[doc(hidden)]
pub mod measuring;
pub mod net;
mod protocol;
mod reactor;
mod tls_info;
mod websocket;

#[cfg(feature = "tls")]
pub use rustls;

#[cfg(feature = "tls")]
pub use crate::net::tls::{TlsAcceptor, TlsClientConfig, TlsConfig, TlsConnector, TlsError};
#[cfg(feature = "deflate")]
pub use crate::protocol::{DeflateConfig, DeflateConfigError, DeflateParameters};
pub use crate::{
    error::{ConnectError, Error, ListenError, PollError, Refusal},
    http::{HeadError, HeadLimits, Request, UrlError, UrlPart},
    net::Bind,
    protocol::{
        CloseCode, CloseReason, ClosedBy, Handshake, HandshakeError, Message, MessageLimits, Outgoing, OwnedMessage,
        ProtocolError, Proxy, ProxyError, ResponseError, TimeoutKind, Utf8Bytes, Version,
    },
    reactor::{
        ConnectionId, Hub, ListenerId, Listening, OutputLimits, Overflow, PanicPolicy, Published, Reactor,
        ReactorConfig, Remote, RemoteError, SendStatus, SlowTurn, Stats, Stream, StreamConfig, StreamHandler, TimerId,
        Turn,
    },
    tls_info::TlsInfo,
    websocket::{
        BlockingSocket, Callbacks, Client, ClientConfig, Handler, OriginError, Received, Reconnect, Reply, Responder,
        Server, ServerConfig, TestSocket, Upgrade, WebSocket, WebSocketConfig, on_message,
    },
};

/// The examples of the README compile.
#[cfg(all(doctest, feature = "tls"))]
#[doc = include_str!("../README.md")]
struct Readme;
