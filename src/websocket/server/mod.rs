//! The server: which handshakes are accepted, and which handler each connection gets.

#[cfg(feature = "server")]
pub(super) mod routes;
mod site;
mod stream_server;

use std::{fmt, rc::Rc, time::Duration};

#[cfg(feature = "server")]
use self::routes::Routes;
use self::site::WebSocketSite;
pub use self::stream_server::StreamServer;
use super::{config::ServerConfig, handler::Handler};
use crate::{
    error::Error,
    http::{
        Request,
        forwarded::TrustedProxies,
        origins::{OriginError, Origins},
    },
    net::tls::TlsAcceptor,
    network::NetworkError,
    peer_addr::PeerAddr,
    protocol::{Handshake, Version, deflate::DeflateConfig, handshake::server::Subprotocols},
    reactor::Hub,
    server::{Endpoint, Reply, Target},
};
#[cfg(feature = "server")]
use crate::{
    http::{cors::Cors, route_error::RouteError},
    server::RouteTable,
};

/// Makes a handler for each accepted handshake.
type Factory = dyn Fn(&Handshake) -> Box<dyn Handler>;

/// The endpoints of a server.
enum Endpoints {
    /// Every path is a WebSocket.
    One(Rc<Endpoint<Rc<Factory>>>),
    #[cfg(feature = "server")]
    Routes(Box<RouteTable<Rc<Endpoint<Rc<Factory>>>>>),
}

/// Replies to requests.
type OnRequest = dyn Fn(&Request, &mut Hub) -> Reply;

/// Receives errors of connections that have no handler yet.
type OnError = dyn Fn(PeerAddr, &Error);

/// A WebSocket server, for [`Reactor::listen`](crate::Reactor::listen) or [`Hub::listen`].
///
/// ```
/// use std::{cell::RefCell, rc::Rc};
/// use ws_reactor::{Callbacks, Server};
///
/// // The factory captures the state that connections share.
/// // A borrow may be held across sends: no send calls a handler.
/// let visits = Rc::new(RefCell::new(0));
/// let server = Server::new(move |_| {
///     let visits = Rc::clone(&visits);
///     Callbacks::new().on_open(move |ws, _| {
///         *visits.borrow_mut() += 1;
///         ws.send(format!("visit {}", visits.borrow()));
///     })
/// })
/// .subprotocols(["chat.v2", "chat.v1"])
/// .origins(["https://example.com"])?;
/// # Ok::<(), ws_reactor::Error>(())
/// ```
///
/// Each method changes one value and keeps the others. Where two methods set the same value, such as `subprotocols` and
/// `echo_subprotocols`, the last call counts.
#[must_use = "a server does nothing until it listens"]
pub struct Server {
    endpoints: Endpoints,
    pub(in crate::websocket) on_request: Option<Box<OnRequest>>,
    pub(in crate::websocket) on_error: Option<Box<OnError>>,
    pub(in crate::websocket) origins: Origins,
    /// The policy for requests without a route.
    #[cfg(feature = "server")]
    pub(in crate::websocket) cors: Option<Rc<Cors>>,
    pub(in crate::websocket) trusted_proxies: TrustedProxies,
    pub(in crate::websocket) subprotocols: Subprotocols,
    pub(in crate::websocket) config: ServerConfig,
    pub(in crate::websocket) deflate: Option<DeflateConfig>,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Makes a server with the default configuration. `factory` makes a handler for each accepted handshake.
    pub fn new<H: Handler + 'static>(factory: impl Fn(&Handshake) -> H + 'static) -> Self {
        Server::with_config(ServerConfig::default(), factory)
    }

    /// Makes a server with a configuration.
    ///
    /// ```
    /// use ws_reactor::{Server, ServerConfig, on_message};
    ///
    /// let server = Server::with_config(ServerConfig::modern(), |_| on_message(|ws, message| { ws.send(message); }));
    /// ```
    pub fn with_config<H: Handler + 'static>(
        config: ServerConfig,
        factory: impl Fn(&Handshake) -> H + 'static,
    ) -> Self {
        let factory: Rc<Factory> = Rc::new(move |handshake| Box::new(factory(handshake)));
        let target = Rc::new(Target::Socket(factory));
        Server::with_endpoints(config, Endpoints::One(Rc::new(Endpoint::new(target))))
    }

    /// Makes a server with the default configuration, and with a handler or a reply for each [route](Routes).
    ///
    /// # Errors
    ///
    /// [`RouteError`]: two routes conflict, a pattern is malformed, or a folder of files does not exist.
    #[cfg(feature = "server")]
    pub fn routes(routes: Routes) -> Result<Self, RouteError> {
        let cors = routes.cors_policy();
        let endpoints = Endpoints::Routes(Box::new(routes.into_table()?));
        Ok(Server { cors, ..Server::with_endpoints(ServerConfig::default(), endpoints) })
    }

    fn with_endpoints(config: ServerConfig, endpoints: Endpoints) -> Self {
        Server {
            endpoints,
            on_request: None,
            on_error: None,
            origins: Origins::Any,
            #[cfg(feature = "server")]
            cors: None,
            trusted_proxies: TrustedProxies::default(),
            subprotocols: Subprotocols::Preferred(Vec::new()),
            config,
            deflate: None,
            tls: None,
        }
    }

    /// Changes the configuration in place.
    ///
    /// ```
    /// # use ws_reactor::{Server, on_message};
    /// let server = Server::new(|_| on_message(|_, _| {})).configure(|config| config.head.max_headers = 50);
    /// ```
    pub fn configure(mut self, change: impl FnOnce(&mut ServerConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Sets the callback that replies to requests, WebSocket or not: accept, respond, or [reply later](Reply::later).
    ///
    /// Default: every valid WebSocket request is accepted; any other `GET` or `HEAD` is answered with 426, other
    /// methods with 405, an unsupported version with 426, and an invalid WebSocket request with 400.
    ///
    /// The callback gets every request whose head is valid, except health checks, WebSocket requests whose origin is
    /// not allowed, and what a policy of `Routes::cors` answers: preflight requests, and refused pages. A body has not
    /// arrived yet. A panic in the callback is answered with 500.
    ///
    /// Of a server with [routes](Self::routes) the callback decides first, with the parameters of the route at hand:
    /// [`Reply::upgrade`] goes on to the route, any other reply is the answer.
    ///
    /// The callback returns anything that converts to a [`Reply`]: an [`Upgrade`](crate::Upgrade), a
    /// [`StatusCode`](crate::http::StatusCode), a response, or a `Result` of two of them, so that it can use `?`.
    ///
    /// Other callbacks may run between this one and `on_open`: always after [`Reply::later`], and in hixie-76 to
    /// hybi-03, whose clients send the last bytes of the handshake after the head. A claim such as a unique name has to
    /// be checked again in `on_open`.
    ///
    /// ```
    /// use ws_reactor::{Reply, Server, Upgrade, http::StatusCode, on_message};
    ///
    /// let server = Server::new(|_| on_message(|ws, message| { ws.send(message); })).on_request(|request, _| {
    ///     match request.path() {
    ///         "/" if !request.is_upgrade() => Reply::html("<h1>hello</h1>"),
    ///         "/socket" => Upgrade::new().into(),
    ///         _ => Reply::status(StatusCode::NOT_FOUND),
    ///     }
    /// });
    /// ```
    pub fn on_request<R: Into<Reply>>(mut self, reply: impl Fn(&Request, &mut Hub) -> R + 'static) -> Self {
        self.on_request = Some(Box::new(move |request, hub| reply(request, hub).into()));
        self
    }

    /// Accepts WebSocket requests only from pages of these origins. Default: every origin. RFC 6455 §10.2, RFC 6454.
    ///
    /// Another origin is answered with 403 before `on_request`, and a warning is logged. By default any page may
    /// connect, and browsers send the user's cookies with it: a server that trusts cookies needs this call.
    ///
    /// A request without an `Origin` header does not come from a browser and is accepted. Plain HTTP requests are not
    /// checked.
    ///
    /// A pattern is one of:
    ///
    /// - scheme, host and optional port: `https://example.com`, `http://localhost:3000`;
    /// - all subdomains: `https://*.example.com`, which does not match `example.com`;
    /// - `https://example.com:*`: any port, with and without `*.`;
    /// - `self`: the host and port that the request addresses, by either scheme. A page may address the server by a
    ///   name of its own (DNS rebinding), so a server that only few may reach has to check [`Request::host`], too;
    /// - `null`: the origin that browsers send for files and sandboxed frames;
    /// - `*`: every origin.
    ///
    /// Case, a trailing slash and the scheme's default port do not matter.
    ///
    /// # Errors
    ///
    /// [`OriginError`]: a pattern that no origin can match, such as one without a scheme or with a path, or no pattern
    /// at all.
    ///
    /// ```
    /// # use ws_reactor::{OriginError, Server, on_message};
    /// let server = Server::new(|_| on_message(|_, _| {})).origins(["https://example.com"])?;
    /// assert!(Server::new(|_| on_message(|_, _| {})).origins(["example.com"]).is_err());
    /// # Ok::<(), OriginError>(())
    /// ```
    pub fn origins<S: AsRef<str>>(mut self, patterns: impl IntoIterator<Item = S>) -> Result<Self, OriginError> {
        self.origins = Origins::parse(patterns)?;
        Ok(self)
    }

    /// Believes what these proxies say of their clients: addresses, networks in CIDR notation, and `unix` for those
    /// that connect by a Unix socket. Default: none.
    ///
    /// [`Request::peer_addr`] is then the client's address by `X-Forwarded-For`, or else by `Forwarded` (RFC 7239), and
    /// [`Request::is_secure`] follows `X-Forwarded-Proto` or `proto`. The list is read from its end, and the first
    /// address that is no trusted proxy is the client: what the client has put ahead does not count. The port is 0 if
    /// the proxy does not tell it.
    ///
    /// A proxy must set both `X-Forwarded-For` and `X-Forwarded-Proto`, or remove what the client has sent: it passes
    /// on other headers, and the client could claim any address. [`ServerConfig::forwarded_headers`] chooses the
    /// headers.
    ///
    /// # Errors
    ///
    /// [`NetworkError`]: a text is no address or network, or has bits behind its prefix.
    ///
    /// ```
    /// # use ws_reactor::{NetworkError, Server, on_message};
    /// let server = Server::new(|_| on_message(|_, _| {})).trusted_proxies(["10.0.0.0/8", "::1"])?;
    /// # Ok::<(), NetworkError>(())
    /// ```
    pub fn trusted_proxies<S: AsRef<str>>(
        mut self,
        proxies: impl IntoIterator<Item = S>,
    ) -> Result<Self, NetworkError> {
        self.trusted_proxies = TrustedProxies::parse(proxies)?;
        Ok(self)
    }

    /// Sets the subprotocols, in order of preference. Default: none. RFC 6455 §1.9.
    ///
    /// The server chooses the first one that the client offers. If the client offers none of them, none is chosen.
    pub fn subprotocols<S: Into<String>>(mut self, subprotocols: impl IntoIterator<Item = S>) -> Self {
        self.subprotocols = Subprotocols::Preferred(subprotocols.into_iter().map(Into::into).collect());
        self
    }

    /// Answers with all subprotocols that the client offers, as em-websocket does.
    ///
    /// RFC 6455 §4.2.2 allows one, so a client that offers several may refuse the response.
    pub fn echo_subprotocols(mut self) -> Self {
        self.subprotocols = Subprotocols::Echoed;
        self
    }

    /// Sets the callback for errors of connections that have no handler yet. Default: none.
    ///
    /// The errors are: invalid requests, refused handshakes, timeouts, resets, TLS failures, and panics in `on_request`
    /// or in the factory. Where the error has an HTTP response, the response is queued already. A response of
    /// `on_request` is not an error, nor is a connection that ends before the first byte of a request.
    ///
    /// ```
    /// # use ws_reactor::{Server, on_message};
    /// let server = Server::new(|_| on_message(|_, _| {})).on_error(|peer, error| eprintln!("{peer}: {error}"));
    /// ```
    pub fn on_error(mut self, call: impl Fn(PeerAddr, &Error) + 'static) -> Self {
        self.on_error = Some(Box::new(call));
        self
    }

    /// Sets [`ServerConfig::versions`](field@ServerConfig::versions). Default: all versions.
    ///
    /// ```
    /// # use ws_reactor::{Server, Version, on_message};
    /// // Nothing older than the RFC.
    /// let server = Server::new(|_| on_message(|_, _| {})).versions([Version::Rfc6455]);
    /// ```
    pub fn versions(self, versions: impl IntoIterator<Item = Version>) -> Self {
        self.configure(|config| config.versions = versions.into_iter().collect())
    }

    /// Sets [`ServerConfig::secure_proxy`](field@ServerConfig::secure_proxy). Default `false`.
    pub fn secure_proxy(self, secure: bool) -> Self {
        self.configure(|config| config.secure_proxy = secure)
    }

    /// Sets [`ServerConfig::flash_policy`](field@ServerConfig::flash_policy). Default `true`.
    pub fn flash_policy(self, answered: bool) -> Self {
        self.configure(|config| config.flash_policy = answered)
    }

    /// Sets [`ServerConfig::healthcheck`](field@ServerConfig::healthcheck). Default `true`.
    pub fn healthcheck(self, answered: bool) -> Self {
        self.configure(|config| config.healthcheck = answered)
    }

    /// Sets [`MessageLimits::max_frame_bytes`](field@crate::MessageLimits::max_frame_bytes). Default: the message
    /// limit.
    pub fn max_frame_bytes(self, bytes: usize) -> Self {
        self.configure(|config| config.websocket.limits.max_frame_bytes = bytes)
    }

    /// Sets [`MessageLimits::max_message_bytes`](field@crate::MessageLimits::max_message_bytes). Default 10 MiB.
    pub fn max_message_bytes(self, bytes: usize) -> Self {
        self.configure(|config| config.websocket.limits.max_message_bytes = bytes)
    }

    /// Sets [`WebSocketConfig::ping_after`](field@crate::WebSocketConfig::ping_after). Default 20 s; `None`: never.
    pub fn ping_after(self, silence: Option<Duration>) -> Self {
        self.configure(|config| config.websocket.ping_after = silence)
    }

    /// Makes a server without a listener: for streams of a protocol of your own, which hands them over when its part
    /// is done.
    ///
    /// [`tls`](Self::tls) and [`StreamConfig`](crate::StreamConfig) are those of the stream's listener; the ones of
    /// this server have an effect only in [`Hub::adopt`].
    ///
    /// ```
    /// use ws_reactor::{Reactor, Server, Stream, StreamHandler, StreamServer, on_message};
    ///
    /// /// Skips a line that a proxy sends ahead of each connection.
    /// struct Prefix(StreamServer);
    ///
    /// impl StreamHandler for Prefix {
    ///     fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
    ///         if let Some(end) = data.iter().position(|byte| *byte == b'\n') {
    ///             stream.unread(data.len() - end - 1);
    ///             stream.hand_over(self.0.stream_handler());
    ///         }
    ///     }
    /// }
    ///
    /// let mut reactor = Reactor::new()?;
    /// let server = Server::new(|_| on_message(|ws, message| { ws.send(message); })).into_stream_server();
    /// reactor.listen_stream("127.0.0.1:0", move |_| Prefix(server.clone()))?;
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn into_stream_server(self) -> StreamServer {
        StreamServer::new(WebSocketSite::new(self))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("on_request", &self.on_request.is_some())
            .field("origins", &self.origins)
            .field("config", &self.config)
            .field("deflate", &self.deflate)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "deflate")]
impl Server {
    /// Compresses messages with clients that offer permessage-deflate. Default: no compression. RFC 7692.
    ///
    /// ```
    /// use ws_reactor::{DeflateConfig, Server, on_message};
    ///
    /// let server = Server::new(|_| on_message(|ws, message| { ws.send(message); })).deflate(DeflateConfig::shared());
    /// ```
    pub fn deflate(mut self, config: DeflateConfig) -> Self {
        self.deflate = Some(config);
        self
    }
}

#[cfg(feature = "tls")]
impl Server {
    /// Speaks TLS (`wss:`) on every connection, from the first byte. Default: plain.
    ///
    /// `tls` is a [`TlsConfig`](crate::TlsConfig), an `Arc<rustls::ServerConfig>`, or a [`TlsAcceptor`]; a clone of the
    /// acceptor can replace the certificates later.
    ///
    /// A client that speaks plain HTTP is answered with 400, in plain text; [`on_error`](Self::on_error) gets
    /// [`Error::Tls`](crate::Error::Tls).
    pub fn tls(mut self, tls: impl Into<TlsAcceptor>) -> Self {
        self.tls = Some(tls.into());
        self
    }
}
