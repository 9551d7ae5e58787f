//! Configuration of WebSocket servers and clients.

use std::time::Duration;

use crate::{
    http::head::HeadLimits,
    protocol::{MessageLimits, Version},
    reactor::{StreamConfig, setters},
};

/// What servers and clients configure alike: limits, keep-alive, output.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct WebSocketConfig {
    /// Largest messages and frames that are accepted. Default 10 MiB.
    pub limits: MessageLimits,
    /// Silence after which the peer is pinged. Default 20 s. `None`: the peer is never pinged, and a silent connection stays open.
    pub ping_after: Option<Duration>,
    /// Time after a ping in which a whole frame of the peer has to arrive, else the connection is terminated. Default 20 s.
    pub pong_timeout: Duration,
    /// Messages handled for one connection before the others are served. Default 256; 0 counts as 1.
    pub message_budget: usize,
    /// Output limits, and time-outs of the stream.
    pub stream: StreamConfig,
}

impl WebSocketConfig {
    /// The defaults.
    pub fn new() -> Self {
        WebSocketConfig::default()
    }

    setters! {
        limits: MessageLimits,
        ping_after: Option<Duration>,
        pong_timeout: Duration,
        message_budget: usize,
        stream: StreamConfig,
    }
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        WebSocketConfig {
            limits: MessageLimits::default(),
            ping_after: Some(Duration::from_secs(20)),
            pong_timeout: Duration::from_secs(20),
            message_budget: 256,
            stream: StreamConfig::default(),
        }
    }
}

/// Configuration of a server's connections, for [`Server::with_config`](crate::Server::with_config).
///
/// ```
/// use std::time::Duration;
/// use ws_reactor::{Server, ServerConfig, WebSocketConfig, on_message};
///
/// let config = ServerConfig::modern()
///     .opening_timeout(Duration::from_secs(5))
///     .websocket(WebSocketConfig::new().ping_after(Some(Duration::from_secs(10))));
/// let server = Server::with_config(config, |_| on_message(|ws, message| { ws.send(message); }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct ServerConfig {
    /// Message limits, keep-alive and output limits.
    pub websocket: WebSocketConfig,
    /// Largest request head. Default 16 KiB and 100 headers.
    pub head: HeadLimits,
    /// Time from the accepted connection to the whole request, and to the reply if that is [deferred](crate::Reply::later). Default 10 s. It is absolute: a request that drips in does
    /// not extend it. A request that has begun is answered with 408, an undecided one with 503.
    pub opening_timeout: Duration,
    /// Time for the peer to read the response to a refused request, after our side has ended. Default 2 s.
    pub linger_timeout: Duration,
    /// Most unfinished opening handshakes on this reactor, those of its other servers included. A connection above the limit is closed on accept. Default `None`: no limit.
    pub pending_handshakes: Option<usize>,
    /// Most unfinished opening handshakes of one address, or of one /64 network of IPv6. Default `None`: no limit. Behind a proxy all clients have the proxy's address.
    pub pending_handshakes_per_address: Option<usize>,
    /// Protocol versions spoken. Default [`Version::ALL`]. A request for another is answered with 426 and the list (RFC 6455 §4.4). An empty list refuses every WebSocket.
    pub versions: Vec<Version>,
    /// Whether a proxy in front takes TLS off. Default `false`. If so, handshakes of hixie-75 and hixie-76 say `wss`, without which their clients refuse them, and
    /// [`Handshake::is_secure`](crate::Handshake::is_secure) is true.
    pub secure_proxy: bool,
    /// Whether Flash's `<policy-file-request/>` is answered with a policy that allows all. Default `true`, as em-websocket.
    pub flash_policy: bool,
    /// Whether `GET /healthcheck` is answered with 200 and `OK`, before `on_request`. Default `true`, as em-websocket.
    pub healthcheck: bool,
}

impl ServerConfig {
    /// The defaults: every version, Flash policy and health check, as em-websocket.
    pub fn new() -> Self {
        ServerConfig::default()
    }

    /// RFC 6455 only, no Flash policy, no health check; the rest as [`new`](Self::new).
    pub fn modern() -> Self {
        ServerConfig {
            versions: vec![Version::Rfc6455],
            flash_policy: false,
            healthcheck: false,
            ..ServerConfig::default()
        }
    }

    setters! {
        websocket: WebSocketConfig,
        head: HeadLimits,
        opening_timeout: Duration,
        linger_timeout: Duration,
        pending_handshakes: Option<usize>,
        pending_handshakes_per_address: Option<usize>,
        secure_proxy: bool,
        flash_policy: bool,
        healthcheck: bool,
    }

    /// Sets [`versions`](field@Self::versions).
    pub fn versions(mut self, versions: impl IntoIterator<Item = Version>) -> Self {
        self.versions = versions.into_iter().collect();
        self
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            websocket: WebSocketConfig::default(),
            head: HeadLimits::default(),
            opening_timeout: Duration::from_secs(10),
            linger_timeout: Duration::from_secs(2),
            pending_handshakes: None,
            pending_handshakes_per_address: None,
            versions: Version::ALL.to_vec(),
            secure_proxy: false,
            flash_policy: true,
            healthcheck: true,
        }
    }
}

/// Configuration of a client's connection, for [`Client::with_config`](crate::Client::with_config).
///
/// ```
/// use std::time::Duration;
/// use ws_reactor::{Callbacks, Client, ClientConfig};
///
/// let client = Client::with_config(ClientConfig::new().opening_timeout(Duration::from_secs(3)), Callbacks::new());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct ClientConfig {
    /// Message limits, keep-alive and output limits.
    pub websocket: WebSocketConfig,
    /// Largest head of a response. Default 16 KiB and 100 headers.
    pub head: HeadLimits,
    /// Time from `connect` to the open WebSocket: name, address, proxy, TLS, handshake. Default 30 s. [`TimeoutKind`](crate::TimeoutKind) says which of them took too long.
    pub opening_timeout: Duration,
}

impl ClientConfig {
    /// The defaults.
    pub fn new() -> Self {
        ClientConfig::default()
    }

    setters! {
        websocket: WebSocketConfig,
        head: HeadLimits,
        opening_timeout: Duration,
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            websocket: WebSocketConfig::default(),
            head: HeadLimits::default(),
            opening_timeout: Duration::from_secs(30),
        }
    }
}
