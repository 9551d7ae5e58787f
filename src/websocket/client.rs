//! The client: what it requests, and how it reaches the server.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{client_stream::ClientStream, config::ClientConfig, handler::Handler, reconnect::Reconnect, route::Route};
use crate::{
    error::ConnectError,
    http::url::{Url, without_credentials},
    net::{Kernel, tls::TlsConnector},
    protocol::{Proxy, Version, deflate::DeflateConfig, handshake},
    reactor::{ConnectionId, Hub, Reactor},
};

/// A WebSocket client, for [`Reactor::connect`] or [`Hub::connect`] with a URL.
///
/// Its handler is the same trait as a server's. If the connection cannot be opened, `on_error` gets the reason, and `on_close` follows.
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
///     .on_error(|_, error| eprintln!("{error}"))
///     .on_close(|ws, _| ws.hub().stop());
/// reactor.connect("ws://127.0.0.1:8080/", Client::new(handler).subprotocols(["chat"]))?;
/// reactor.run()?;
/// # Ok::<(), Error>(())
/// ```
///
/// No method resets what another has set.
#[must_use = "a client does nothing until it is given to connect"]
pub struct Client {
    pub(super) handler: Box<dyn Handler>,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) host: Option<HeaderValue>,
    pub(super) origin: Option<HeaderValue>,
    pub(super) subprotocols: Vec<String>,
    pub(super) deflate: Option<DeflateConfig>,
    pub(super) tls: Option<TlsConnector>,
    pub(super) proxy_tls: Option<TlsConnector>,
    pub(super) server_name: Option<String>,
    pub(super) via: Via,
    pub(super) redirects: u32,
    pub(super) reconnect: Option<Reconnect>,
    pub(super) config: ClientConfig,
}

/// How a client reaches the server.
#[derive(Debug)]
pub(super) enum Via {
    Direct,
    Proxy(Proxy),
    Environment,
}

impl Client {
    /// A client with the default configuration.
    pub fn new(handler: impl Handler + 'static) -> Self {
        Client::with_config(ClientConfig::default(), handler)
    }

    /// As [`new`](Self::new), with a configuration.
    pub fn with_config(config: ClientConfig, handler: impl Handler + 'static) -> Self {
        Client {
            handler: Box::new(handler),
            version: Version::Rfc6455,
            headers: HeaderMap::new(),
            host: None,
            origin: None,
            subprotocols: Vec::new(),
            deflate: None,
            tls: None,
            proxy_tls: None,
            server_name: None,
            via: Via::Direct,
            redirects: 0,
            reconnect: None,
            config,
        }
    }

    /// Changes the configuration in place.
    ///
    /// ```
    /// # use ws_reactor::{Callbacks, Client};
    /// let client = Client::new(Callbacks::new()).configure(|config| config.websocket.stream.output.high_water_bytes = 64 * 1024);
    /// ```
    pub fn configure(mut self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Connects through a proxy. Default: none, whatever the environment says.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.via = Via::Proxy(proxy);
        self
    }

    /// Connects through the proxy that the environment names when the connection is made: `wss_proxy` or `https_proxy` for `wss`, `ws_proxy` or `http_proxy` for `ws`, else
    /// `all_proxy`, in lower case or, but for `http_proxy`, in upper case. A proxy without a scheme is an HTTP proxy.
    ///
    /// Servers in `no_proxy` are reached directly: a comma-separated list of names (with all below them), names with a port, addresses, networks such as `10.0.0.0/8`, or `*`.
    pub fn proxy_from_environment(mut self) -> Self {
        self.via = Via::Environment;
        self
    }

    /// Follows at most `max` redirections in a row (301, 302, 303, 307, 308), within the one opening time-out. Default 0: a redirection is a refusal as any other.
    ///
    /// To another host or port, `Authorization`, `Cookie`, headers marked [sensitive](HeaderValue::set_sensitive) and the URL's user and password are not sent.
    /// A redirection from `wss` to `ws`, or to a Unix socket, is not followed. A client that reconnects starts at the first URL again.
    pub fn follow_redirects(mut self, max: u32) -> Self {
        self.redirects = max;
        self
    }

    /// Reconnects after a connection was lost or could not be made, unless this application closed it or the peer closed it with 1000. The name is resolved again each time, and the same handler
    /// is called. Default: no.
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.reconnect = Some(policy);
        self
    }

    /// Offers subprotocols, the preferred first. A server that chooses another fails the handshake; one that chooses none does not.
    pub fn subprotocols<S: Into<String>>(mut self, subprotocols: impl IntoIterator<Item = S>) -> Self {
        self.subprotocols = subprotocols.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a header to the request. `Host` and `Origin` replace the client's own. Other names that the handshake itself uses are left out, with a warning in the log.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        match name {
            header::ORIGIN => self.origin = Some(value),
            header::HOST => self.host = Some(value),
            _ if handshake::client::is_reserved(&name) => {
                log::warn!(target: "ws_reactor::websocket", "header {name} belongs to the handshake and is left out");
            }
            _ => {
                self.headers.append(name, value);
            }
        }
        self
    }

    /// Sets the `Origin` of the request: the page that a browser would name. hixie-75 and hixie-76 need one; the default there is made of the host.
    pub fn origin(mut self, origin: HeaderValue) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Sets the protocol version. Default [`Version::Rfc6455`].
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sets [`MessageLimits::max_frame_bytes`](field@crate::MessageLimits::max_frame_bytes). Default: the message limit.
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
    /// Offers to compress messages: permessage-deflate (RFC 7692), with the parameters of `config`, and as a fallback without any. Any legal answer is accepted: a server that
    /// leaves a window out costs memory, nothing else. Default: nothing is offered.
    pub fn deflate(mut self, config: DeflateConfig) -> Self {
        self.deflate = Some(config);
        self
    }
}

#[cfg(feature = "tls")]
impl Client {
    /// Sets the TLS configuration for `wss` URLs: a [`TlsClientConfig`](crate::TlsClientConfig), a [`TlsConnector`] made of one, or an `Arc<rustls::ClientConfig>`. Default: the roots bundled
    /// with this crate (feature `bundled-roots`), or the system's with the feature `platform-roots`.
    pub fn tls(mut self, tls: impl Into<TlsConnector>) -> Self {
        self.tls = Some(tls.into());
        self
    }

    /// Sets the name that the server's certificate has to be for, also sent as SNI. Default: the host of the URL. After a redirection to another host, it is that host.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// As [`tls`](Self::tls), for an `https` proxy.
    pub fn proxy_tls(mut self, tls: impl Into<TlsConnector>) -> Self {
        self.proxy_tls = Some(tls.into());
        self
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("version", &self.version)
            .field("subprotocols", &self.subprotocols)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Opens a WebSocket at a URL such as `ws://example.com/chat`, or `ws+unix:/run/chat.sock:/chat` for a server on a Unix socket. The id is valid at once; what follows is told to the
    /// handler. A send before `on_open` is answered with [`Unsupported`](crate::SendStatus::Unsupported), and [`is_open`](Self::is_open) is false until then.
    ///
    /// # Errors
    ///
    /// Only what prevents the attempt: the URL, a subprotocol that is no token, or a reactor that shuts down.
    pub fn connect(&mut self, url: &str, client: Client) -> Result<ConnectionId, ConnectError> {
        let parsed = Url::parse(url).map_err(|source| ConnectError::Url { url: without_credentials(url), source })?;
        let route = Route::new(parsed, &client)?;
        if let Some(unfit) = handshake::client::unfit_subprotocol(&client.subprotocols) {
            return Err(ConnectError::Subprotocol(unfit.to_owned()));
        }
        if !self.may_dial() {
            return Err(ConnectError::ShuttingDown { address: route.url.authority() });
        }
        Ok(ClientStream::new(route, client).dial(self))
    }
}

impl<K: Kernel> Reactor<K> {
    /// Opens a WebSocket. See [`Hub::connect`].
    pub fn connect(&mut self, url: &str, client: Client) -> Result<ConnectionId, ConnectError> {
        self.hub().connect(url, client)
    }
}
