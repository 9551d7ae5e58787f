//! The client: what is asked for, and of whom.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{client_stream::ClientStream, handler::Handler, reconnect::Reconnect, route::Route, session::Habits};
use crate::{
    error::Error,
    http::{
        head::HeadLimits,
        url::{Url, without_credentials},
    },
    net::{Kernel, tls::TlsClient},
    protocol::{Limits, Proxy, Version, deflate::DeflateConfig, handshake},
    reactor::{ConnectionId, Hub, Reactor, StreamSettings, shutting_down},
};

/// A WebSocket client, to be given to [`Reactor::connect`] or [`Hub::connect`] with a URL.
///
/// Its handler is that of a server's connection. If the connection cannot be opened, `on_error` tells why, and `on_close` follows as
/// it does in every case.
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
///     .on_error(|_, error| eprintln!("{error}"));
/// reactor.connect("ws://127.0.0.1:8080/", Client::new(handler).subprotocols(["chat"]))?;
/// reactor.run()?;
/// # Ok::<(), Error>(())
/// ```
pub struct Client {
    pub(super) handler: Box<dyn Handler>,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) origin: Option<HeaderValue>,
    pub(super) subprotocols: Vec<String>,
    pub(super) deflate: Option<DeflateConfig>,
    pub(super) tls: Option<TlsClient>,
    pub(super) proxy_tls: Option<TlsClient>,
    pub(super) server_name: Option<String>,
    pub(super) via: Via,
    pub(super) redirects: u32,
    pub(super) reconnect: Option<Reconnect>,
    pub(super) settings: ClientSettings,
}

/// Through which proxy a client goes.
#[derive(Debug)]
pub(super) enum Via {
    Nobody,
    Proxy(Proxy),
    Environment,
}

/// The settings of a client's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// How large frames and messages may be. Default 10 MiB each.
    pub limits: Limits,
    /// How large the head of the answer may be. Default 16 KiB and 100 headers.
    pub head: HeadLimits,
    /// From the call of `connect` to the open WebSocket: name, address, proxy, TLS, handshake. Default 30 s. [`Deadline`](crate::Deadline) says which of them it was
    /// that took too long.
    pub opening_deadline: Duration,
    /// A ping is sent when nothing has come for so long. Default 20 s; `None` sends none, and a silent server is kept.
    pub ping_after: Option<Duration>,
    /// The connection is cut when nothing has come for so long after a ping. Default 20 s.
    pub pong_deadline: Duration,
    /// Messages handled before others have their turn. Default 256.
    pub message_budget: usize,
    /// What may wait to be written, and how long closing may take.
    pub stream: StreamSettings,
}

impl Default for ClientSettings {
    fn default() -> Self {
        ClientSettings {
            limits: Limits::default(),
            head: HeadLimits::default(),
            opening_deadline: Duration::from_secs(30),
            ping_after: Some(Duration::from_secs(20)),
            pong_deadline: Duration::from_secs(20),
            message_budget: 256,
            stream: StreamSettings::default(),
        }
    }
}

impl From<&ClientSettings> for Habits {
    fn from(settings: &ClientSettings) -> Self {
        let ClientSettings { message_budget, ping_after, pong_deadline, .. } = *settings;
        Habits { message_budget, ping_after, pong_deadline }
    }
}

impl Client {
    /// A client with that handler.
    pub fn new(handler: impl Handler + 'static) -> Self {
        Client {
            handler: Box::new(handler),
            version: Version::Rfc6455,
            headers: HeaderMap::new(),
            origin: None,
            subprotocols: Vec::new(),
            deflate: None,
            tls: None,
            proxy_tls: None,
            server_name: None,
            via: Via::Nobody,
            redirects: 0,
            reconnect: None,
            settings: ClientSettings::default(),
        }
    }

    /// Connects through a proxy. By default it connects to the server itself, whatever the environment says.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.via = Via::Proxy(proxy);
        self
    }

    /// Connects through the proxy that the environment names when the connection is made: `wss_proxy` or `https_proxy` for `wss`, `ws_proxy` or `http_proxy` for `ws`, else
    /// `all_proxy`, in small letters or, but for `http_proxy`, in capitals. One without a scheme is an HTTP proxy.
    ///
    /// Servers named by `no_proxy` are reached without: a list, with commas between, of names (and all below them), names with a port, addresses, networks
    /// such as `10.0.0.0/8`, or `*`.
    pub fn proxy_from_environment(mut self) -> Self {
        self.via = Via::Environment;
        self
    }

    /// Follows so many redirections in a row (301, 302, 303, 307, 308), within the one opening deadline. By default none is followed, and the application is told of
    /// it as of any refusal.
    ///
    /// To another host or port neither `Authorization` and `Cookie` go along, nor the user and password of the URL, nor headers that are marked
    /// [sensitive](HeaderValue::set_sensitive). From `wss` to `ws` none is followed, nor to a socket in the file system. A client that comes back begins where it began.
    pub fn follow_redirects(mut self, most: u32) -> Self {
        self.redirects = most;
        self
    }

    /// Comes back after a connection was lost or could not be made, unless it was closed by this application or with 1000. The name is looked up again each
    /// time, and the same handler is told. By default it does not.
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.reconnect = Some(policy);
        self
    }

    /// Offers these subprotocols, the preferred first. A server that chooses another is refused; one that chooses none is not.
    pub fn subprotocols<S: Into<String>>(mut self, subprotocols: impl IntoIterator<Item = S>) -> Self {
        self.subprotocols = subprotocols.into_iter().map(Into::into).collect();
        self
    }

    /// A header of the request. The names that the handshake itself uses are left out.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if name == header::ORIGIN {
            self.origin = Some(value);
        } else if handshake::client::is_reserved(&name) {
            log::warn!(target: "ws_reactor::websocket", "{name} belongs to the handshake and is left out");
        } else {
            self.headers.append(name, value);
        }
        self
    }

    /// The page that the request says it comes from, as a browser would. The versions of Hixie need one, and make it of the host if none is given.
    pub fn origin(mut self, origin: HeaderValue) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Speaks this version. Default [`Version::Rfc6455`].
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The largest frame that is accepted, in bytes.
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.max_frame_bytes = bytes;
        self
    }

    /// The largest message that is accepted, in bytes.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.max_message_bytes = bytes;
        self
    }

    /// All settings at once.
    pub fn settings(mut self, settings: ClientSettings) -> Self {
        self.settings = settings;
        self
    }
}

#[cfg(feature = "deflate")]
impl Client {
    /// Offers to compress messages: permessage-deflate (RFC 7692). What `config` says of the server's side is asked of it. By default nothing is offered.
    pub fn deflate(mut self, config: DeflateConfig) -> Self {
        self.deflate = Some(config);
        self
    }
}

#[cfg(feature = "tls")]
impl Client {
    /// Whom it trusts, and what it shows, where the URL says `wss`: a [`TlsClientConfig`](crate::TlsClientConfig), a [`TlsClient`] made of one, or an `Arc<rustls::ClientConfig>` of
    /// one's own. By default it trusts the roots that are bundled with this crate (feature `bundled-roots`), or, with the feature `platform-roots`, those of the system.
    pub fn tls(mut self, tls: impl Into<TlsClient>) -> Self {
        self.tls = Some(tls.into());
        self
    }

    /// The name that the server's certificate has to be for, and that it is asked for (SNI). By default that of the URL. Where the client is sent on to another host, it is
    /// that one's.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// As [`tls`](Self::tls), for a proxy that is spoken to by TLS.
    pub fn proxy_tls(mut self, tls: impl Into<TlsClient>) -> Self {
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
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Has a WebSocket opened, at a URL such as `ws://example.com/chat`, or `ws+unix:/run/chat.sock:/chat` for a server that listens in the file system. It has its name at
    /// once; its handler is told of all that follows.
    ///
    /// An error only if it cannot be tried at all: for the URL, a subprotocol that is none, or because the reactor shuts down. What is sent before `on_open` is
    /// answered `Unsupported`.
    pub fn connect(&mut self, url: &str, client: Client) -> Result<ConnectionId, Error> {
        let parsed = Url::parse(url).map_err(|source| Error::Url { url: without_credentials(url), source })?;
        let route = Route::new(parsed, &client)?;
        if let Some(unfit) = handshake::client::unfit_subprotocol(&client.subprotocols) {
            return Err(Error::Subprotocol(unfit.to_owned()));
        }
        if !self.may_dial() {
            return Err(Error::Connect { place: route.url.authority(), source: shutting_down() });
        }
        Ok(ClientStream::new(route, client).dial(self))
    }
}

impl<K: Kernel> Reactor<K> {
    /// Has a WebSocket opened. See [`Hub::connect`].
    pub fn connect(&mut self, url: &str, client: Client) -> Result<ConnectionId, Error> {
        self.hub().connect(url, client)
    }
}
