//! The client: its request, and its route to the server.

pub(super) mod blocking;
pub(super) mod request;
mod route;
pub(super) mod stream;

use std::{fmt, time::Duration};

use http::{HeaderName, HeaderValue};

use super::{
    client::{
        request::{GivenHeaders, HandshakeRequest, OnRequest},
        route::Route,
        stream::ClientStream,
    },
    config::ClientConfig,
    handler::Handler,
};
use crate::{
    error::ConnectError,
    net::{Kernel, SocketOptions, tls::TlsConnector},
    protocol::{Version, deflate::DeflateConfig, handshake},
    proxy::Proxy,
    reactor::{ConnectionId, Hub, Reactor, Reconnect},
    url::{Url, without_credentials},
};

/// A WebSocket client, for [`Reactor::connect`] or [`Hub::connect`].
///
/// If the connection does not open, the handler's `on_error` gets the reason, and `on_close` follows.
///
/// ```no_run
/// use ws_reactor::{Callbacks, Client, Error, Reactor};
///
/// let mut reactor = Reactor::new()?;
/// let handler = Callbacks::new()
///     .on_open(|ws, _| { ws.send("hello"); })
///     .on_message(|ws, message| {
///         println!("{message}");
///         ws.hub().stop();
///     })
///     .on_error(|_, error| eprintln!("{error:#}"))
///     .on_close(|ws, _| ws.hub().stop());
/// reactor.connect("ws://127.0.0.1:8080/", Client::new(handler).subprotocols(["chat"]))?;
/// reactor.run()?;
/// # Ok::<(), Error>(())
/// ```
///
/// Each method changes one value and keeps the others. Where two methods set the same value, such as `proxy` and
/// `proxy_from_environment`, the last call counts.
#[must_use = "a client does nothing until it is given to connect"]
pub struct Client {
    handler: Box<dyn Handler>,
    options: ClientOptions,
}

/// The options of a client: its request, its route, and its policies.
pub(in crate::websocket) struct ClientOptions {
    pub(in crate::websocket) version: Version,
    pub(in crate::websocket) given: GivenHeaders,
    pub(in crate::websocket) on_request: OnRequest,
    pub(in crate::websocket) subprotocols: Vec<String>,
    pub(in crate::websocket) deflate: Option<DeflateConfig>,
    pub(in crate::websocket) tls: Option<TlsConnector>,
    pub(in crate::websocket) proxy_tls: Option<TlsConnector>,
    pub(in crate::websocket) server_name: Option<String>,
    pub(in crate::websocket) via: Via,
    pub(in crate::websocket) redirects: u32,
    pub(in crate::websocket) config: ClientConfig,
}

/// How the client reaches the server.
#[derive(Debug)]
pub(in crate::websocket) enum Via {
    Direct,
    Proxy(Proxy),
    Environment,
}

impl Client {
    /// Makes a client with the default configuration.
    pub fn new(handler: impl Handler + 'static) -> Self {
        Client::with_config(ClientConfig::default(), handler)
    }

    /// Makes a client with a configuration.
    pub fn with_config(config: ClientConfig, handler: impl Handler + 'static) -> Self {
        let options = ClientOptions {
            version: Version::Rfc6455,
            given: GivenHeaders::default(),
            on_request: OnRequest::default(),
            subprotocols: Vec::new(),
            deflate: None,
            tls: None,
            proxy_tls: None,
            server_name: None,
            via: Via::Direct,
            redirects: 0,
            config,
        };
        Client { handler: Box::new(handler), options }
    }

    /// Sets the options of the socket: buffers, time-outs, the address to connect from.
    pub fn socket(mut self, options: SocketOptions) -> Self {
        self.options.config.websocket.stream.socket = options;
        self
    }

    /// Changes the configuration in place.
    ///
    /// ```
    /// # use ws_reactor::{Callbacks, Client};
    /// let client = Client::new(Callbacks::new())
    ///     .configure(|config| config.websocket.stream.output.high_water_bytes = 64 * 1024);
    /// ```
    pub fn configure(mut self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        change(&mut self.options.config);
        self
    }

    /// Connects through a proxy. Default: no proxy; environment variables are ignored.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.options.via = Via::Proxy(proxy);
        self
    }

    /// Connects through the proxy named by environment variables. Default: the variables are ignored.
    ///
    /// For `wss`: `wss_proxy`, else `https_proxy`. For `ws`: `ws_proxy`, else `http_proxy`. Then `all_proxy`. Each name
    /// counts in lower case first, then in upper case, except `HTTP_PROXY`: a CGI server sets that variable from a
    /// request header. A value without a scheme is an HTTP proxy.
    ///
    /// `no_proxy` is a comma-separated list of servers to reach directly: names (subdomains included), names with a
    /// port, addresses, networks such as `10.0.0.0/8`, or `*`.
    ///
    /// The variables are read by `connect` and at each redirect. A reconnect uses the values that `connect` read.
    pub fn proxy_from_environment(mut self) -> Self {
        self.options.via = Via::Environment;
        self
    }

    /// Follows at most `max` redirects of one attempt: 301, 302, 303, 307 and 308. Default 0: a redirect is a refusal.
    ///
    /// All redirects share the one opening timeout. A redirect from `wss` to `ws`, or to another Unix socket, is a
    /// refusal.
    ///
    /// Where scheme, host or port change, these are not sent: `Authorization`, `Cookie`, `Proxy-Authorization`, headers
    /// marked [sensitive](HeaderValue::set_sensitive), and user and password of the first URL. Each reconnect starts at
    /// the first URL.
    pub fn follow_redirects(mut self, max: u32) -> Self {
        self.options.redirects = max;
        self
    }

    /// Reconnects when the connection is lost or does not open, by a policy. Default: never.
    ///
    /// No attempt follows when this application closed the connection, or at shutdown. After close code 1000, and after
    /// a refusal such as 401 or 404, the client ends, unless [`Handler::on_reconnect`] decides otherwise. The same
    /// handler and id are used, and the name is resolved again. [`WebSocket::reconnect`](crate::WebSocket::reconnect)
    /// gives up a connection that the application finds dead.
    pub fn reconnect(self, policy: Reconnect) -> Self {
        self.configure(|config| config.websocket.stream.reconnect = Some(policy))
    }

    /// Sets the subprotocols to offer, in order of preference. Default: none. RFC 6455 §1.9.
    ///
    /// The handshake fails if the server chooses a subprotocol that was not offered. A server may choose none.
    pub fn subprotocols<S: Into<String>>(mut self, subprotocols: impl IntoIterator<Item = S>) -> Self {
        self.options.subprotocols = subprotocols.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a header to the request. `Host` and `Origin` replace the client's own values.
    ///
    /// Headers that belong to the handshake or to the body are left out, and a warning is logged: `Upgrade`,
    /// `Connection`, `Content-Length`, `Transfer-Encoding`, `Sec-WebSocket-*`, `WebSocket-Origin`, `WebSocket-Location`
    /// and `WebSocket-Protocol`.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.options.given.add(name, value);
        self
    }

    /// Sets the `Origin` header. RFC 6455 §10.2.
    ///
    /// Default: none. hixie-75 to hybi-03 require an origin; their default is `http://` or `https://` and the URL's
    /// host.
    pub fn origin(mut self, origin: HeaderValue) -> Self {
        self.options.given.origin = Some(origin);
        self
    }

    /// Changes headers, path and query of each request just before it is written, the first one included: for tokens
    /// that expire, and for feeds that resume at a place in the URL. Default: no change.
    ///
    /// `change` is called once for each attempt, when the server is reached. Its changes hold for this attempt, and the
    /// next one begins with the values of the client again. A redirect of the attempt gets the same headers, without
    /// those that [`follow_redirects`](Self::follow_redirects) does not send elsewhere.
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    /// use ws_reactor::{Callbacks, Client, Reconnect, http::{HeaderValue, header}};
    ///
    /// let token = Rc::new(RefCell::new(HeaderValue::from_static("Bearer first")));
    /// let newest = Rc::clone(&token);
    /// let client = Client::new(Callbacks::new())
    ///     .reconnect(Reconnect::new())
    ///     .on_request(move |request| {
    ///         request.headers.insert(header::AUTHORIZATION, newest.borrow().clone());
    ///     });
    /// ```
    ///
    /// A refusal with 401 ends a client, unless [`Handler::on_reconnect`] answers
    /// [`Retry::Yes`](crate::Retry::Yes).
    pub fn on_request(mut self, change: impl FnMut(&mut HandshakeRequest) + 'static) -> Self {
        self.options.on_request = OnRequest::new(change);
        self
    }

    /// Sets the protocol version. Default [`Version::Rfc6455`].
    pub fn version(mut self, version: Version) -> Self {
        self.options.version = version;
        self
    }

    /// Sets [`ClientConfig::lenient_subprotocol`](field@crate::ClientConfig::lenient_subprotocol). Default `false`.
    pub fn lenient_subprotocol(self, lenient: bool) -> Self {
        self.configure(|config| config.lenient_subprotocol = lenient)
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
}

#[cfg(feature = "deflate")]
impl Client {
    /// Offers permessage-deflate. Default: no compression. RFC 7692.
    ///
    /// The first offer has the parameters of `config`, the second one has none. Any legal response is accepted; a
    /// response without a window limit only costs memory. Versions before [`Version::Rfc6455`] are not compressed.
    pub fn deflate(mut self, config: DeflateConfig) -> Self {
        self.options.deflate = Some(config);
        self
    }
}

#[cfg(feature = "tls")]
impl Client {
    /// Sets the TLS configuration for `wss` URLs.
    ///
    /// `tls` is a [`TlsClientConfig`](crate::TlsClientConfig), a [`TlsConnector`], or an `Arc<rustls::ClientConfig>`.
    /// Default: trust the system's roots with feature `platform-roots`, else the bundled roots with feature
    /// `bundled-roots`. With neither feature, a `wss` URL is an error of `connect`.
    pub fn tls(mut self, tls: impl Into<TlsConnector>) -> Self {
        self.options.tls = Some(tls.into());
        self
    }

    /// Sets the name that the server's certificate must have, which is also the SNI. Default: the host of the URL.
    ///
    /// After a redirect to another place, the name is the host of that URL.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.options.server_name = Some(name.into());
        self
    }

    /// Sets the TLS configuration for an `https` proxy. Values and default as for [`tls`](Self::tls).
    pub fn proxy_tls(mut self, tls: impl Into<TlsConnector>) -> Self {
        self.options.proxy_tls = Some(tls.into());
        self
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("version", &self.options.version)
            .field("subprotocols", &self.options.subprotocols)
            .field("config", &self.options.config)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Opens a WebSocket at a URL, such as `ws://example.com/chat`, or `ws+unix:/run/chat.sock:/chat` for a Unix
    /// socket.
    ///
    /// The id is valid at once, and for the whole life of a client that reconnects. Before `on_open`, sends answer
    /// [`Unsupported`](crate::SendStatus::Unsupported), or [`Closed`](crate::SendStatus::Closed) once an attempt has
    /// failed, and [`is_open`](Self::is_open) is `false`. A failure to connect is reported to the handler, not by this
    /// method.
    ///
    /// # Errors
    ///
    /// - [`ConnectError::Url`]: the URL is invalid, the proxy variable of the environment is invalid, or `wss` lacks
    ///   the `tls` feature or roots to trust.
    /// - [`ConnectError::Subprotocol`]: a subprotocol is not a token, or is offered twice.
    /// - `ConnectError::ShuttingDown { .. }`: the reactor is shutting down.
    pub fn connect(&mut self, url: &str, client: Client) -> Result<ConnectionId, ConnectError> {
        let parsed = Url::parse(url).map_err(|source| ConnectError::Url { url: without_credentials(url), source })?;
        let route = Route::new(parsed, &client.options)?;
        if let Some(unfit) = handshake::client::unfit_subprotocol(&client.options.subprotocols) {
            return Err(ConnectError::Subprotocol(unfit.to_owned()));
        }
        if !self.may_dial() {
            return Err(ConnectError::ShuttingDown { address: route.url.authority() });
        }
        Ok(ClientStream::first(route, client).dial(self))
    }
}

impl<K: Kernel> Reactor<K> {
    /// Opens a WebSocket. See [`Hub::connect`].
    ///
    /// # Errors
    ///
    /// Those of [`Hub::connect`].
    pub fn connect(&mut self, url: &str, client: Client) -> Result<ConnectionId, ConnectError> {
        self.hub().connect(url, client)
    }
}
