//! Configuration of WebSocket servers and clients.

use std::time::Duration;

use crate::{
    http::{ForwardedHeaders, forwarded::TrustedProxies, head::HeadLimits},
    protocol::{MessageLimits, Version},
    reactor::StreamConfig,
    server::{DateClock, HttpConfig},
    setters::setters,
};

/// Configuration that servers and clients share: message limits, keep-alive, output.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct WebSocketConfig {
    /// Largest messages and frames accepted. Default [`MessageLimits::default`]: 10 MiB for a message, and so for a
    /// frame.
    pub limits: MessageLimits,
    /// Silence after which a ping is sent. Default 20 s. `None`: no ping is sent, and a silent connection stays open.
    ///
    /// Silence is the time since the last sign of life: a whole message, fragment or control frame, or 4 KiB of an
    /// unfinished frame. Versions without pings (hixie-75, hixie-76) are not checked for silence. See
    /// [`guide::timeouts`](crate::guide::timeouts).
    pub ping_after: Option<Duration>,
    /// Time for a sign of life after a ping, from when the system has taken the ping. Default 20 s. Then the connection
    /// is terminated.
    ///
    /// The time-out does not run while reading is suspended. Where the ping left slowly behind other output, up to
    /// three times as long is allowed.
    pub pong_timeout: Duration,
    /// Messages and control frames of one read handled before other connections get their turn. Default 2048. An HTTP
    /// request counts as eight. 0 counts as 1.
    ///
    /// Other connections also get their turn when the messages of a read have taken
    /// [`ReactorConfig::time_slice`](field@crate::ReactorConfig::time_slice). The time is looked at after each 16
    /// messages, and runs from the first look. A connection that sends fast is read several times in a turn, up to
    /// [`ReactorConfig::read_budget_bytes`](crate::ReactorConfig::read_budget_bytes) and one more slice of time.
    pub message_budget: usize,
    /// Output limits and timeouts of the stream. Default [`StreamConfig::default`].
    pub stream: StreamConfig,
}

impl WebSocketConfig {
    /// The default configuration.
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
            message_budget: 2048,
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
    /// Limits of the request head. Default 16 KiB and 100 headers. A larger head is answered with 414 or 431.
    pub head: HeadLimits,
    /// Time from the accepted connection to the complete head of its first request, TLS included; of a WebSocket, to
    /// the reply, a [deferred](crate::Reply::later) one included. Default 10 s.
    ///
    /// The deadline is absolute: a request that arrives slowly does not move it. An incomplete request head is answered
    /// with 408, an undecided request with 503. A connection without any byte of a request is terminated. The head of a
    /// later request has the same time from its first byte.
    pub opening_timeout: Duration,
    /// Largest body of a request. Default 1 MiB. [`Routes::max_body_bytes`](crate::Routes::max_body_bytes) sets it for
    /// single routes.
    ///
    /// A longer body is answered with 413. Routes only: without a route, a body is not read.
    pub max_body_bytes: u64,
    /// Time for 4 KiB of a request's body, or for its rest. Default 10 s. Then the request is answered with 408.
    pub body_timeout: Duration,
    /// Time for the [deferred](crate::Reply::later) reply to a request of HTTP, or of a WebSocket that is not the first
    /// request of its connection. Default 60 s. Then the request is answered with 503.
    pub reply_timeout: Duration,
    /// Time for the next request on a connection, from the end of the last response. Default 75 s. Then the connection
    /// is closed.
    pub keep_alive_timeout: Duration,
    /// Time for the peer to read an HTTP response and end its side, once the system has taken the response. Default
    /// 2 s.
    ///
    /// Input is discarded meanwhile, so that a reset does not destroy the response. RFC 9112 §9.6.
    pub linger_timeout: Duration,
    /// Maximum of unfinished opening handshakes, over all servers of the reactor. Default `None`: no limit.
    ///
    /// A connection above the limit is closed on accept.
    pub pending_handshakes: Option<usize>,
    /// Maximum of unfinished opening handshakes per IPv4 address or IPv6 /64 network. Default `None`: no limit.
    ///
    /// A connection above the limit is closed on accept. Behind a proxy, all clients have the proxy's address, unless
    /// the proxy sends headers of the PROXY protocol (`Bind::proxy_protocol`).
    pub pending_handshakes_per_address: Option<usize>,
    /// Protocol versions accepted. Default [`Version::ALL`]. An empty list refuses every WebSocket.
    ///
    /// A request for another version is answered with 426 and a list of versions. RFC 6455 §4.4.
    pub versions: Vec<Version>,
    /// `true` if a proxy in front terminates TLS. Default `false`.
    ///
    /// If `true`, [`Handshake::is_secure`](crate::Handshake::is_secure) is `true`, and hixie-75 to hybi-03 handshakes
    /// answer with a `wss` location. Without it, those clients refuse the response to a `wss` URL.
    pub secure_proxy: bool,
    /// Which headers count of the proxies that [`Server::trusted_proxies`](crate::Server::trusted_proxies) names.
    pub forwarded_headers: ForwardedHeaders,
    /// `true` if Flash's `<policy-file-request/>` is answered with a policy that allows all. Default `true`, as
    /// em-websocket.
    pub flash_policy: bool,
    /// `true` if `GET` and `HEAD` of `/healthcheck` are answered with 200, before `on_request`. Default `true`, as
    /// em-websocket.
    ///
    /// The body of the response to `GET` is `OK`.
    pub healthcheck: bool,
}

impl ServerConfig {
    /// The default configuration: every version, Flash policy and health check, as em-websocket.
    pub fn new() -> Self {
        ServerConfig::default()
    }

    /// RFC 6455 only, without Flash policy and health check. All other values are those of [`new`](Self::new).
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
        max_body_bytes: u64,
        body_timeout: Duration,
        reply_timeout: Duration,
        keep_alive_timeout: Duration,
        linger_timeout: Duration,
        pending_handshakes: Option<usize>,
        pending_handshakes_per_address: Option<usize>,
        secure_proxy: bool,
        forwarded_headers: ForwardedHeaders,
        flash_policy: bool,
        healthcheck: bool,
    }

    /// The part that concerns HTTP.
    pub(super) fn http(&self) -> HttpConfig {
        HttpConfig {
            head: self.head,
            max_body_bytes: self.max_body_bytes,
            opening_timeout: self.opening_timeout,
            body_timeout: self.body_timeout,
            reply_timeout: self.reply_timeout,
            keep_alive_timeout: self.keep_alive_timeout,
            linger_timeout: self.linger_timeout,
            pending_handshakes: self.pending_handshakes,
            pending_handshakes_per_address: self.pending_handshakes_per_address,
            secure_proxy: self.secure_proxy,
            trusted_proxies: TrustedProxies::default(),
            flash_policy: self.flash_policy,
            healthcheck: self.healthcheck,
            message_budget: self.websocket.message_budget,
            date: DateClock::default(),
        }
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
            max_body_bytes: 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            reply_timeout: Duration::from_secs(60),
            keep_alive_timeout: Duration::from_secs(75),
            linger_timeout: Duration::from_secs(2),
            pending_handshakes: None,
            pending_handshakes_per_address: None,
            versions: Version::ALL.to_vec(),
            secure_proxy: false,
            forwarded_headers: ForwardedHeaders::Either,
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
    /// Limits of the response head. Default 16 KiB and 100 headers.
    pub head: HeadLimits,
    /// Time from `connect` to the open WebSocket: name, address, proxy, TLS, redirects, handshake. Default 30 s.
    ///
    /// For a reconnect, the time starts after the wait. [`TimeoutKind`](crate::TimeoutKind) names the phase that timed
    /// out.
    pub opening_timeout: Duration,
    /// `true` if an empty `Sec-WebSocket-Protocol` header in the response counts as no header: no subprotocol is
    /// chosen. Default `false`: the handshake fails with
    /// [`ResponseError::Subprotocol`](crate::ResponseError::Subprotocol).
    ///
    /// For servers that send the header without a value instead of leaving it out. A subprotocol that was not offered
    /// fails the handshake with either setting. RFC 6455 §4.1.
    pub lenient_subprotocol: bool,
}

impl ClientConfig {
    /// The default configuration.
    pub fn new() -> Self {
        ClientConfig::default()
    }

    setters! {
        websocket: WebSocketConfig,
        head: HeadLimits,
        opening_timeout: Duration,
        lenient_subprotocol: bool,
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            websocket: WebSocketConfig::default(),
            head: HeadLimits::default(),
            opening_timeout: Duration::from_secs(30),
            lenient_subprotocol: false,
        }
    }
}
