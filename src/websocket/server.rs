//! The server: how connections are accepted, and what is made of them.

use std::{fmt, net::SocketAddr, rc::Rc, time::Duration};

use super::{decision::Decision, handler::Handler, server_stream::ServerStream, session::Habits};
use crate::{
    error::Error,
    http::{Request, head::HeadLimits},
    net::{Bind, Kernel, tls::Tls},
    protocol::{Handshake, Limits, Version, deflate::DeflateConfig},
    reactor::{Hub, Listening, Reactor, Service, StreamHandler, StreamSettings},
};

/// The settings of a server's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How large frames and messages may be. Default 10 MiB each.
    pub limits: Limits,
    /// How large a request head may be. Default 16 KiB and 100 headers.
    pub head: HeadLimits,
    /// From the accepted connection to the whole request, and to the decision if that is made [later](crate::Decision::later). Default 10 s. It is absolute: a request that drips in
    /// does not move it.
    pub opening_deadline: Duration,
    /// Handshakes that may be pending, those of the reactor's other servers included: a connection above that is closed as soon as it is accepted. It is pending from then on until
    /// the request has come whole and is answered. Default `None`: as many as there are descriptors.
    pub pending_handshakes: Option<usize>,
    /// The same for each address, or for 64 bits of it where it is one of IPv6; those of servers that have such a limit are counted. Behind a proxy all have the proxy's. Default `None`.
    pub pending_handshakes_per_address: Option<usize>,
    /// A ping is sent when nothing has come for so long. Default 20 s; `None` sends none, and silent peers are kept.
    pub ping_after: Option<Duration>,
    /// The connection is cut when nothing has come for so long after a ping. Default 20 s. Any whole frame counts, the beginning of one does not.
    pub pong_deadline: Duration,
    /// After a refused request our side ends, and the peer has so long to read the answer. Default 2 s.
    pub lingering: Duration,
    /// Messages handled for one connection before the others have their turn. Default 256.
    pub message_budget: usize,
    /// What may wait to be written, and how long closing may take.
    pub stream: StreamSettings,
    /// The versions spoken. Default [`Version::ALL`]. A request for another is answered with 426 and the list (RFC 6455 §4.4).
    pub versions: Vec<Version>,
    /// Clients come by TLS, and a proxy in front takes it off. Default `false`. Hixie's handshakes must then say `wss`, or their clients refuse
    /// them, and [`Handshake::is_secure`] is true.
    pub secure_proxy: bool,
    /// Flash's `<policy-file-request/>` is answered with a policy that allows all. Default `true`.
    pub flash_policy: bool,
    /// `GET /healthcheck` is answered with 200 and `OK`, and neither `on_request` nor a handler sees it. Default `true`.
    pub healthcheck: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            limits: Limits::default(),
            head: HeadLimits::default(),
            opening_deadline: Duration::from_secs(10),
            pending_handshakes: None,
            pending_handshakes_per_address: None,
            ping_after: Some(Duration::from_secs(20)),
            pong_deadline: Duration::from_secs(20),
            lingering: Duration::from_secs(2),
            message_budget: 256,
            stream: StreamSettings::default(),
            versions: Version::ALL.to_vec(),
            secure_proxy: false,
            flash_policy: true,
            healthcheck: true,
        }
    }
}

/// What makes the handler for an accepted handshake.
type Factory = dyn Fn(&Handshake) -> Box<dyn Handler>;

/// What decides on a request.
type OnRequest = dyn Fn(&Request) -> Decision;

/// What is told of errors before there is a handler.
type OnError = dyn Fn(SocketAddr, &Error);

/// Which subprotocol is agreed upon.
pub(super) enum Subprotocols {
    /// The first of these that is offered.
    Preferred(Vec<String>),
    /// All that is offered, as it was written.
    Echoed,
}

/// A WebSocket server, to be given to [`Reactor::listen`].
///
/// ```
/// use std::{cell::RefCell, rc::Rc};
/// use ws_reactor::{Callbacks, Server};
///
/// // State that connections share is captured by the factory. A borrow may be held across sends: they never call back.
/// let visits = Rc::new(RefCell::new(0));
/// let server = Server::new(move |_| {
///     let visits = Rc::clone(&visits);
///     Callbacks::new().on_open(move |ws, _| {
///         *visits.borrow_mut() += 1;
///         ws.send(&format!("visit {}", visits.borrow()));
///     })
/// })
/// .subprotocols(["chat.v2", "chat.v1"])
/// .origins(["https://example.com"]);
/// ```
pub struct Server {
    pub(super) factory: Box<Factory>,
    pub(super) on_request: Option<Box<OnRequest>>,
    pub(super) on_error: Option<Box<OnError>>,
    pub(super) origins: Option<Vec<String>>,
    pub(super) subprotocols: Subprotocols,
    pub(super) settings: Settings,
    pub(super) deflate: Option<DeflateConfig>,
    tls: Option<Tls>,
}

impl Server {
    /// A server that has `factory` make a handler for each accepted handshake.
    pub fn new<H: Handler + 'static>(factory: impl Fn(&Handshake) -> H + 'static) -> Self {
        Server {
            factory: Box::new(move |handshake| Box::new(factory(handshake))),
            on_request: None,
            on_error: None,
            origins: None,
            subprotocols: Subprotocols::Preferred(Vec::new()),
            settings: Settings::default(),
            deflate: None,
            tls: None,
        }
    }

    /// Decides on every well-formed request, WebSocket or not, before there is a handler: accept it, answer it in another way, or [later](Decision::later).
    ///
    /// ```
    /// use ws_reactor::{Accept, Decision, Server, http::StatusCode, on_message};
    ///
    /// let server = Server::new(|_| on_message(|ws, message| { ws.send(message); })).on_request(|request| {
    ///     match request.path() {
    ///         "/" if !request.is_upgrade() => Decision::html("<h1>hello</h1>"),
    ///         "/socket" => Accept::new().into(),
    ///         _ => Decision::status(StatusCode::NOT_FOUND),
    ///     }
    /// });
    /// ```
    pub fn on_request<D: Into<Decision>>(mut self, decide: impl Fn(&Request) -> D + 'static) -> Self {
        self.on_request = Some(Box::new(move |request| decide(request).into()));
        self
    }

    /// Accepts handshakes only from pages of these origins, such as `https://example.com`; others get 403, before `on_request` is asked.
    ///
    /// By default any page may connect, and browsers send the user's cookies with it: a server that trusts cookies needs this
    /// line. A client without an origin is no browser, and is accepted.
    pub fn origins<S: Into<String>>(mut self, origins: impl IntoIterator<Item = S>) -> Self {
        self.origins = Some(origins.into_iter().map(Into::into).collect());
        self
    }

    /// The subprotocols spoken, the preferred first. The first that the client offers is agreed upon; if it offers none of them, none is.
    pub fn subprotocols<S: Into<String>>(mut self, subprotocols: impl IntoIterator<Item = S>) -> Self {
        self.subprotocols = Subprotocols::Preferred(subprotocols.into_iter().map(Into::into).collect());
        self
    }

    /// Agrees to whatever subprotocols the client offers, all of them, as em-websocket does. RFC 6455 §4.2.2 wants one, and a client that
    /// offers several may refuse such an answer: for clients that offer one, and servers that do not care which.
    pub fn echo_subprotocols(mut self) -> Self {
        self.subprotocols = Subprotocols::Echoed;
        self
    }

    /// Is told what goes wrong with a connection before it has a handler: requests that cannot be read, handshakes that are refused, deadlines,
    /// resets. They have been answered already. What an `on_request` refuses is no error.
    ///
    /// ```
    /// # use ws_reactor::{Server, on_message};
    /// let server = Server::new(|_| on_message(|_, _| {})).on_error(|peer, error| eprintln!("{peer}: {error}"));
    /// ```
    pub fn on_error(mut self, tell: impl Fn(SocketAddr, &Error) + 'static) -> Self {
        self.on_error = Some(Box::new(tell));
        self
    }

    /// Speaks only these versions. By default all are spoken. See [`Settings::versions`].
    ///
    /// ```
    /// # use ws_reactor::{Server, Version, on_message};
    /// // Nothing older than the RFC, as a browser of today has it.
    /// let server = Server::new(|_| on_message(|_, _| {})).versions([Version::Rfc6455]);
    /// ```
    pub fn versions(mut self, versions: impl IntoIterator<Item = Version>) -> Self {
        self.settings.versions = versions.into_iter().collect();
        // The newest stands first where they are listed.
        self.settings.versions.sort_unstable_by(|one, other| other.cmp(one));
        self.settings.versions.dedup();
        self
    }

    /// Whether a proxy in front takes TLS off. See [`Settings::secure_proxy`].
    pub fn secure_proxy(mut self, secure: bool) -> Self {
        self.settings.secure_proxy = secure;
        self
    }

    /// Whether Flash's question for a policy is answered. See [`Settings::flash_policy`].
    pub fn flash_policy(mut self, answered: bool) -> Self {
        self.settings.flash_policy = answered;
        self
    }

    /// Whether `GET /healthcheck` is answered. See [`Settings::healthcheck`].
    pub fn healthcheck(mut self, answered: bool) -> Self {
        self.settings.healthcheck = answered;
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

    /// When a silent peer is pinged; `None` for never. See [`Settings::ping_after`].
    pub fn ping_after(mut self, silence: Option<Duration>) -> Self {
        self.settings.ping_after = silence;
        self
    }

    /// All settings at once.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    fn into_service(self) -> Rc<dyn Service> {
        let (stream, habits) = (Rc::new(self.settings.stream.clone()), Rc::new(Habits::from(&self.settings)));
        Rc::new(ServerService { server: Rc::new(self), habits, stream })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("on_request", &self.on_request.is_some())
            .field("origins", &self.origins)
            .field("settings", &self.settings)
            .field("deflate", &self.deflate)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "deflate")]
impl Server {
    /// Compresses messages with clients that offer it: permessage-deflate (RFC 7692), as a [`DeflateConfig`] has it. By default nothing is compressed.
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
    /// Speaks TLS with every client, from the first byte on (`wss:`): as a [`TlsConfig`](crate::TlsConfig) describes it, a [`Tls`] of which a clone was kept to replace
    /// it later, or an `Arc<rustls::ServerConfig>` of one's own.
    pub fn tls(mut self, tls: impl Into<Tls>) -> Self {
        self.tls = Some(tls.into());
        self
    }
}

struct ServerService {
    server: Rc<Server>,
    habits: Rc<Habits>,
    stream: Rc<StreamSettings>,
}

impl Service for ServerService {
    fn stream(&self, _: SocketAddr) -> Box<dyn StreamHandler> {
        Box::new(ServerStream::new(Rc::clone(&self.server), Rc::clone(&self.habits)))
    }

    fn settings(&self) -> Rc<StreamSettings> {
        Rc::clone(&self.stream)
    }

    fn tls(&self) -> Option<&Tls> {
        self.server.tls.as_ref()
    }
}

impl<K: Kernel> Reactor<K> {
    /// Listens for WebSockets: at an address as text, a [`SocketAddr`], or a [`Bind`] with options.
    pub fn listen(&mut self, bind: impl Into<Bind>, server: Server) -> Result<Listening, Error> {
        self.open(bind.into(), server.into_service())
    }
}

impl Hub {
    /// Listens for WebSockets in the course of this turn, and tells `then` how that went.
    pub fn listen(
        &mut self,
        bind: impl Into<Bind>,
        server: Server,
        then: impl FnOnce(&mut Hub, Result<Listening, Error>) + 'static,
    ) {
        self.open(bind.into(), server.into_service(), Box::new(then));
    }
}
