//! WebSocket server and client on a single-threaded, EventMachine-like reactor, built directly on
//! [mio](https://docs.rs/mio). The aim is **predictable latency**.
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
//! The [guide] begins with [`getting_started`](guide::getting_started), and [`trouble`](guide::trouble) has all
//! error texts.
//!
//! # Which type do I need?
//!
//! | task | type |
//! |---|---|
//! | react to messages | [`Handler`], or closures: [`on_message`], [`Callbacks`] |
//! | run the loop | [`Reactor`]: [`run`](Reactor::run), or [`turn`](Reactor::turn) inside a loop of your own |
//! | accept WebSockets | [`Server`], configured by [`ServerConfig`] |
//! | decide requests | [`Server::on_request`] with [`Reply`], [`Upgrade`], [`Responder`] |
//! | serve pages, files, uploads beside WebSockets | `Routes`, `Files`, `Upload`, [`BodyStream`]; the guide `http` |
//! | connect to a server | [`Client`], configured by [`ClientConfig`]; [`Reconnect`] for feeds |
//! | connect from a script, without a reactor | [`BlockingSocket`] |
//! | act on the connection of the current callback | [`WebSocket`] |
//! | act on any connection of the reactor: send, publish, notify, timers | [`Hub`], by [`WebSocket::hub`] |
//! | use several cores | [`ReactorGroup`]; the guide [`many_reactors`](guide::many_reactors) |
//! | join several machines | [`Backplane`], Redis; the guide [`many_machines`](guide::many_machines) |
//! | serve the clients of Rails' ActionCable, of Socket.IO, or of Pusher | `action_cable`, `socket_io`, `pusher`; the guides `rails`, `socket_io`, `pusher` |
//! | act from another thread | [`Remote`], by [`Reactor::remote`] or [`Hub::remote`] |
//! | learn what happened to a message | [`SendStatus`], [`Published`]; limits in [`OutputLimits`] |
//! | learn why a connection ended | [`CloseReason`] with [`ClosedBy`]; [`Error`] for errors |
//! | speak another protocol on the same loop | [`StreamHandler`] |
//! | speak WebSocket on sockets of your own | [`protocol`] |
//! | use TLS | `TlsConfig` (server), `TlsClientConfig` (client) |
//! | compress | `DeflateConfig` |
//! | test a handler without sockets | [`TestSocket`] |
//! | test servers, clients and several peers in virtual time | [`testing::Network`] |
//! | know the time-outs, and what a slow line needs | [`guide::timeouts`] |
//! | lower the latency: busy polling, options of sockets | [`guide::latency`], [`SocketOptions`] |
//! | migrate from another library | [`guide::migrating`], the module [`em_websocket`] |
//! | put a server into production | `guide::deployment`, [`guide::trouble`] |
//! | change this crate | [`guide::internals`] |
//!
//! # Threads
//!
//! A reactor and all its handlers run on one thread; a [`ReactorGroup`] joins several. [`Remote`], [`Responder`] and
//! the ids are `Send` and may be used from any thread. The crate starts threads only for a group, for the works of
//! [`Hub::defer`], to resolve the names of clients, and to reap child processes that nobody watches any more.
//!
//! # Versions
//!
//! A [`Version`] is a row of a table, and handlers are independent of it: an operation that a version lacks returns
//! [`SendStatus::Unsupported`]. All versions are accepted unless [`Server::versions`] restricts them.
//!
//! # Compression
//!
//! permessage-deflate (RFC 7692) is turned on by `Server::deflate` and `Client::deflate` (feature `deflate`, on by
//! default). The compressors belong to the reactor. A connection keeps only the window that its next message may refer
//! to. `DeflateConfig` documents the settings and their cost.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `tls` | on | TLS by rustls with ring |
//! | `deflate` | on | permessage-deflate by flate2 with zlib-rs |
//! | `proxy-protocol` | on | headers of the PROXY protocol, versions 1 and 2 |
//! | `server` | on | routes, files, uploads and event streams of HTTP |
//! | `redis` | off | Redis as the backplane of topics: several processes and machines |
//! | `action-cable` | off | a server for the clients of Rails' ActionCable, AnyCable and Turbo |
//! | `pusher` | off | a server for the clients of Pusher Channels, and its HTTP API |
//! | `socket-io` | off | a server for the clients of Engine.IO 4 and Socket.IO 5 |
//! | `socket-io-msgpack` | off | its packets in MessagePack, for clients with `socket.io-msgpack-parser` |
//! | `socket-io-redis` | off | its servers joined by Redis, also with those of Node |
//! | `signals` | off | `on_signal` and child processes on the loop (Unix) |
//! | `affinity` | off | threads of a `ReactorGroup` that stay on their cores |
//! | `socket-activation` | off | listening sockets from systemd |
//! | `json` | off | `Reply::json`, `Request::json` |
//! | `latency` | off | the distribution of turns, callbacks, command delays, pings and handshakes (`Latencies`); without it their number, sum and maximum |
//! | `bundled-roots` | on | Mozilla's root certificates (webpki-roots) as a client's default trust |
//! | `platform-roots` | off | the system's root certificates (rustls-native-certs) |
//!
//! # Platforms
//!
//! | system | state |
//! |---|---|
//! | Linux | tested: every check of the repository runs on it |
//! | Android | as Linux, not tested |
//! | macOS, iOS, the BSDs | not tested. `TCP_NOTSENT_LOWAT` is not set: output counts as sent when the system holds it, so slow readers are noticed later |
//! | Windows | not tested. No Unix sockets, signals, child processes; a read more per message, since mio reports readiness differently |
//!
//! The minimum supported Rust version is 1.91.
//!
//! # Logging
//!
//! The crate logs by [`log`](https://docs.rs/log), with one target per floor: `ws_reactor::net`, `ws_reactor::reactor`,
//! `ws_reactor::server`, `ws_reactor::cluster`, `ws_reactor::websocket`, and one for each of `ws_reactor::redis`,
//! `ws_reactor::action_cable`, `ws_reactor::engine_io`, `ws_reactor::socket_io` and `ws_reactor::pusher`. Warnings
//! and errors concern the operator. `debug` has the opening and end of each connection, `trace` each frame and its
//! first bytes.
//! Only Redis logs at `info`: that it is connected.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc = include_str!("em_websocket.md")]
pub mod em_websocket {}
mod buffer;
mod cluster;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod guide;
pub mod http;
#[cfg(measuring)]
#[doc(hidden)]
pub mod measuring;
pub mod net;
mod network;
mod peer_addr;
pub mod protocol;
mod proxy;
mod reactor;
pub mod recording {
    //! Recordings of what arrives at a reactor: [`Recorder`] writes them, [`Recording`] reads them, and
    //! [`testing::replay`](crate::testing::replay) plays them into handlers.
    //!
    #[doc = include_str!("net/recording/format.md")]
    #[doc(inline)]
    pub use crate::{
        net::recording::{Record, Recorded, RecordedListener, RecordedStream, Recording, RecordingError, StreamNumber},
        reactor::Recorder,
    };
}
#[cfg(any(feature = "action-cable", feature = "pusher", feature = "socket-io"))]
mod layers;
mod send_status;
mod server;
mod setters;
mod sources;
pub mod testing {
    //! Tests of handlers without sockets and without real time.
    //!
    //! [`TestSocket`] is a server with one client that the test plays. [`Network`] has any number of servers, clients
    //! and played ends. [`net::sim`](crate::net::sim) is the system below both, and [`replay`] plays a recording of
    //! the past.

    #[doc(inline)]
    pub use crate::{
        reactor::{Playback, replay},
        websocket::{Network, Opening, Received, TestSocket},
    };
}
mod tls_info;
mod url;
mod websocket;

pub use mio;
#[cfg(feature = "tls")]
pub use rustls;
#[cfg(all(unix, feature = "signals"))]
#[doc(inline)]
pub use sources::{Output, Process, ProcessConfig, ProcessHandler, signals};

#[doc(no_inline)]
pub use crate::buffer::Bytes;
#[cfg(feature = "redis")]
#[doc(inline)]
pub use crate::cluster::{Redis, RedisHandle, RedisStats, RedisUrlError};
#[cfg(feature = "action-cable")]
#[doc(inline)]
pub use crate::layers::action_cable;
#[cfg(feature = "pusher")]
#[doc(inline)]
pub use crate::layers::pusher;
#[cfg(feature = "socket-io")]
#[doc(inline)]
pub use crate::layers::{engine_io, socket_io};
#[cfg(feature = "proxy-protocol")]
#[doc(inline)]
pub use crate::net::ProxyProtocol;
#[cfg(feature = "tls")]
#[doc(inline)]
pub use crate::net::tls::{TlsAcceptor, TlsClientConfig, TlsConfig, TlsConnector, TlsError};
#[cfg(feature = "deflate")]
#[doc(inline)]
pub use crate::protocol::{DeflateConfig, DeflateConfigError, DeflateParameters};
#[doc(inline)]
pub use crate::{
    cluster::{GroupError, ReactorGroup, SetupError},
    error::{ConnectError, Error, ListenError, PollError, Refusal, RemoteError},
    http::{BodyError, ForwardedHeaders, HeadError, HeadLimits, Request, origins::OriginError},
    net::{Bind, BlockList, ConnectedSocket, Interest, PollSource, Readiness, SocketOptions},
    network::{Network, NetworkError},
    peer_addr::PeerAddr,
    protocol::{
        CloseCode, Handshake, HandshakeError, Message, MessageLimits, Outgoing, OwnedMessage, ProtocolError,
        ResponseError, Utf8Bytes, Version,
        close::{CloseReason, ClosedBy, TimeoutKind},
        event_stream::{Event, EventError},
    },
    proxy::{Proxy, ProxyError},
    reactor::{
        Attempt, Backplane, CloseHook, ConnectionId, ConnectionStats, DeferError, Durations, FileSent, HeldMessage,
        HistoryLimits, Hub, Latencies, ListenerId, Listening, OutputLimits, Overflow, PanicPolicy, Published,
        PublishedMessage, Reactor, ReactorConfig, Reconnect, RelayEnded, Remote, Replay, Retry, SlowTurn, Source,
        SourceHandler, SourceId, Stats, StoredEvent, Stream, StreamConfig, StreamHandler, TimerId, TopicWatch, Turn,
        TurnPhase,
    },
    send_status::SendStatus,
    server::{Body, BodyStream, Reply, Responder, Upgrade},
    sources::{Datagram, DatagramConfig, DatagramHandler},
    tls_info::TlsInfo,
    url::{UrlError, UrlPart},
    websocket::{
        BlockingSocket, Callbacks, Client, ClientConfig, Handler, HandshakeRequest, Received, Server, ServerConfig,
        StreamServer, TestSocket, WebSocket, WebSocketConfig, on_message,
    },
};
#[cfg(feature = "server")]
#[doc(inline)]
pub use crate::{
    http::{cors::Cors, route_error::RouteError},
    server::{EventStream, Files, LongPoll, RequestBody, Upload},
    websocket::Routes,
};

/// The examples of the README compile.
#[cfg(all(doctest, feature = "server", feature = "tls"))]
#[doc = include_str!("../README.md")]
struct Readme;
