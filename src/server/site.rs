//! The interface of an HTTP connection to its server: configuration, routes, callbacks. The floor above implements it,
//! and adds WebSockets.

use std::{rc::Rc, time::Duration};

use http::Response;

use super::{
    date::DateClock,
    reply::{Reply, upgrade::Upgrade},
};
#[cfg(feature = "server")]
use super::{files::Files, upload::UploadFactory};
#[cfg(feature = "server")]
use crate::http::cors::Cors;
use crate::{
    error::Error,
    http::{Request, forwarded::TrustedProxies, head::HeadLimits, origins::Origins},
    peer_addr::PeerAddr,
    protocol::MessageLimits,
    reactor::{Hub, PendingHandshake, Stream},
};

/// Configuration of the HTTP connections of a server. The fields are those of
/// [`ServerConfig`](crate::ServerConfig).
#[derive(Debug, Default)]
pub(crate) struct HttpConfig {
    pub(crate) head: HeadLimits,
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(crate) max_body_bytes: u64,
    pub(crate) opening_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) reply_timeout: Duration,
    pub(crate) keep_alive_timeout: Duration,
    pub(crate) linger_timeout: Duration,
    pub(crate) pending_handshakes: Option<usize>,
    pub(crate) pending_handshakes_per_address: Option<usize>,
    pub(crate) secure_proxy: bool,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) flash_policy: bool,
    pub(crate) healthcheck: bool,
    /// Messages handled for one connection before other connections get their turn.
    pub(crate) message_budget: usize,
    pub(crate) date: DateClock,
}

/// Result of looking up the route of a request.
pub(crate) enum Found<S> {
    Endpoint(Rc<Endpoint<S>>),
    /// There is no route, or not with this method.
    #[cfg(feature = "server")]
    Reply(Reply),
}

/// A target with the rules of its route.
pub(crate) struct Endpoint<S> {
    pub(crate) target: Rc<Target<S>>,
    pub(crate) rules: Rules,
    /// Number of segments of the path before that of a file.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(crate) segments: usize,
}

impl<S> Endpoint<S> {
    pub(crate) fn new(target: Rc<Target<S>>) -> Self {
        Endpoint { target, rules: Rules::default(), segments: 0 }
    }

    /// The receiver of the upgrade, if the endpoint is of another protocol.
    pub(crate) fn socket(&self) -> Option<&S> {
        match &*self.target {
            Target::Socket(socket) => Some(socket),
            #[cfg(feature = "server")]
            _ => None,
        }
    }
}

/// Callback that replies to requests ahead of their endpoint, or lets them pass.
pub(crate) type OnRequest = dyn Fn(&Request, &mut Hub) -> Reply;

/// Rules of a route. `None`: as the server's.
#[derive(Default, Clone)]
pub(crate) struct Rules {
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(crate) max_body_bytes: Option<u64>,
    pub(crate) limits: Option<MessageLimits>,
    pub(crate) origins: Option<Rc<Origins>>,
    #[cfg(feature = "server")]
    pub(crate) cors: Option<Rc<Cors>>,
    /// Callbacks ahead of the endpoint, in the order of their calls.
    pub(crate) callbacks: Vec<Rc<OnRequest>>,
}

impl Rules {
    /// These rules, and those of the routes around them, `other`, where these say nothing.
    #[cfg(feature = "server")]
    pub(crate) fn or(&self, other: &Rules) -> Rules {
        Rules {
            max_body_bytes: self.max_body_bytes.or(other.max_body_bytes),
            limits: self.limits.or(other.limits),
            origins: self.origins.clone().or_else(|| other.origins.clone()),
            cors: self.cors.clone().or_else(|| other.cors.clone()),
            callbacks: other.callbacks.iter().chain(&self.callbacks).cloned().collect(),
        }
    }
}

pub(crate) enum Target<S> {
    /// Another protocol takes over.
    Socket(S),
    #[cfg(feature = "server")]
    Respond(Box<Respond>),
    #[cfg(feature = "server")]
    Upload(Box<UploadFactory>),
    #[cfg(feature = "server")]
    Files(Files),
}

/// Makes the reply to a complete request.
#[cfg(feature = "server")]
pub(crate) type Respond = dyn Fn(&Request, &mut Hub) -> Reply;

/// A refused request: the response, and the error behind it.
pub(crate) struct Refusal {
    pub(crate) response: Response<Vec<u8>>,
    pub(crate) error: Error,
}

/// The server of an HTTP connection.
pub(crate) trait Site: 'static {
    /// Receiver of a connection whose request asks for another protocol.
    type Socket;

    fn config(&self) -> &HttpConfig;

    /// Finds the endpoint of a request, and sets the parameters of the path.
    fn find(&self, request: &mut Request) -> Found<Self::Socket>;

    /// Checks the rules that come before the application.
    fn check(&self, request: &Request, rules: Option<&Rules>, hub: &mut Hub) -> Result<(), Box<Refusal>>;

    /// The policy for requests without a route.
    #[cfg(feature = "server")]
    fn cors(&self) -> Option<&Rc<Cors>>;

    /// The application's first reply to the head of a request; `None` if it lets all requests pass.
    fn on_request(&self, request: &Request, hub: &mut Hub) -> Option<Reply>;

    /// Answers the request by another protocol, and hands the stream over to it.
    fn upgrade(
        self: &Rc<Self>,
        stream: &mut Stream<'_>,
        request: Request,
        endpoint: &Endpoint<Self::Socket>,
        upgrade: Upgrade,
        pending: &mut Option<PendingHandshake>,
    ) -> Result<(), Box<Refusal>>;

    /// Reports an error that no handler receives.
    fn report(&self, peer: PeerAddr, error: &Error);
}
