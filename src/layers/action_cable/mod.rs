//! A server for the clients of Rails' ActionCable (feature `action-cable`): channels, streams and broadcasts, for the
//! unmodified `@rails/actioncable` and Turbo.
//!
//! ```no_run
//! use ws_reactor::{Reactor, Routes, Server, action_cable::{Action, ActionCable, Channel, Denied, Subscription}};
//!
//! struct Chat;
//!
//! impl Channel for Chat {
//!     fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
//!         subscription.stream_from("chat");
//!     }
//!
//!     fn perform(&mut self, subscription: &mut Subscription<'_>, action: &Action<'_>) {
//!         subscription.broadcast_json("chat", action.json());
//!     }
//! }
//!
//! struct User(String);
//!
//! let cable = ActionCable::new()
//!     .connect(|connect| match connect.request().cookie("user") {
//!         Some(name) => {
//!             let user = User(name.to_owned());
//!             connect.identify(&*user.0);
//!             Ok(user)
//!         }
//!         None => Err(Denied::Unauthorized),
//!     })
//!     .channel("ChatChannel", || Chat);
//! let routes = cable.mount(Routes::new(), "/cable");
//! let mut reactor = Reactor::new()?;
//! reactor.listen("127.0.0.1:8080", Server::routes(routes)?)?;
//! reactor.run()?;
//! # Ok::<(), ws_reactor::Error>(())
//! ```
//!
//! The guide [`rails`](crate::guide::rails) has the words of Rails beside those here.
//!
//! # Streams
//!
//! A stream is a [topic](crate::Hub::publish) of the same name, and a broadcast is a publication of JSON text: by
//! [`broadcast`], by [`Hub::publish`](crate::Hub::publish) and [`Remote::publish`](crate::Remote::publish), from
//! another process by the [backplane](crate::guide::many_machines), or by [HTTP](ActionCable::broadcast_route). The
//! text is sent as it is, to each subscription with its identifier. A publication that is no JSON is dropped.
//!
//! With `Redis` as the backplane, Rails broadcasts to these clients, and these channels to those of
//! Rails: the `channel_prefix` of `cable.yml` is its prefix, with a colon at its end.
//!
//! # Order
//!
//! Commands of a client are carried out in their order, and so are broadcasts of one publisher. A subscription is
//! confirmed once all its streams are live at the backplane, so nothing that is broadcast afterwards is missed.

mod channel;
mod connection;
mod http;
mod jwt;
mod packet;
mod signed;
mod streams;
mod testing;

use std::{any::Any, collections::HashMap, fmt, rc::Rc, time::Duration};

pub use self::{
    channel::{Action, Channel, Subscription},
    connection::{Connect, Denied},
    jwt::{JwtError, JwtKey},
    signed::StreamVerifier,
    streams::CableStats,
    testing::ActionCableTest,
};
use self::{
    connection::CableConnection,
    http::OriginRules,
    signed::SignedStream,
    streams::{SharedStreams, Streams},
};
use crate::{
    http::origins::OriginError,
    protocol::{CloseCode, Message, MessageLimits},
    reactor::{ConnectionId, Hub},
    websocket::Routes,
};

/// Makes a channel.
type MakeChannel = Box<dyn Fn() -> Box<dyn Channel>>;
/// Decides on a connection.
type ConnectHook = Box<dyn Fn(&mut Connect<'_>) -> Result<Rc<dyn Any>, Denied>>;
/// Called when a connection has ended that was let in.
type Disconnected = Box<dyn Fn(&mut Hub, ConnectionId, &Rc<dyn Any>)>;

/// A server of ActionCable, for the [routes](Self::mount) of a server. See the [module](self).
///
/// In a [group](crate::ReactorGroup) each reactor has its own.
#[must_use]
pub struct ActionCable {
    cable: Cable,
    origins: OriginRules,
    max_message_bytes: usize,
}

/// What all connections share.
struct Cable {
    connect: ConnectHook,
    disconnected: Option<Disconnected>,
    channels: HashMap<String, MakeChannel>,
    streams: SharedStreams,
    limits: Limits,
}

/// Limits of a connection.
struct Limits {
    subscriptions: usize,
    identifier_bytes: usize,
}

impl ActionCable {
    /// A server that lets every connection in and has no channels.
    pub fn new() -> Self {
        ActionCable {
            cable: Cable {
                connect: Box::new(|_| Ok(Rc::new(()))),
                disconnected: None,
                channels: HashMap::new(),
                streams: Streams::new(),
                limits: Limits { subscriptions: 1000, identifier_bytes: 64 * 1024 },
            },
            origins: OriginRules::default(),
            max_message_bytes: 64 * 1024,
        }
    }

    /// Sets what decides on each connection, once it is open. What it returns is the
    /// [user](Subscription::user) of its subscriptions. Default: every connection is let in, with `()`.
    pub fn connect<T: 'static>(mut self, connect: impl Fn(&mut Connect<'_>) -> Result<T, Denied> + 'static) -> Self {
        self.cable.connect = Box::new(move |connection| Ok(Rc::new(connect(connection)?)));
        self
    }

    /// Sets what is called when a connection has ended that was let in, after its subscriptions have ended, with what
    /// the [connect hook](Self::connect) has returned.
    pub fn on_disconnect<T: 'static>(mut self, call: impl Fn(&mut Hub, ConnectionId, &T) + 'static) -> Self {
        self.cable.disconnected = Some(Box::new(move |hub, id, user| {
            if let Some(user) = user.downcast_ref() {
                call(hub, id, user);
            }
        }));
        self
    }

    /// Adds a channel by the name that clients use. `make` makes the channel of each subscription.
    pub fn channel<C: Channel + 'static>(mut self, name: &str, make: impl Fn() -> C + 'static) -> Self {
        self.cable.channels.insert(name.to_owned(), Box::new(move || Box::new(make())));
        self
    }

    /// Adds a channel whose clients follow the stream that a signed parameter names. A wrong signature is rejected.
    ///
    /// Turbo: `Turbo::StreamsChannel` and `signed_stream_name`. CableReady: `CableReady::Stream` and `identifier`.
    /// AnyCable: `$pubsub` and `signed_stream_name`.
    pub fn signed_streams(self, channel: &str, param: &str, verifier: &StreamVerifier) -> Self {
        let (param, verifier) = (Rc::<str>::from(param), Rc::new(verifier.clone()));
        self.channel(channel, move || SignedStream::new(Rc::clone(&param), Rc::clone(&verifier)))
    }

    /// Sets the origins of pages that may connect, as [`Server::origins`](crate::Server::origins) takes them, besides
    /// those of the [host](Self::same_origin) that they connect to. Default: no others. A request without `Origin` is
    /// refused, unless [all](Self::any_origin) are let in.
    ///
    /// # Errors
    ///
    /// [`OriginError`] if a pattern is not valid.
    pub fn origins<S: AsRef<str>>(mut self, patterns: impl IntoIterator<Item = S>) -> Result<Self, OriginError> {
        self.origins.allow(patterns)?;
        Ok(self)
    }

    /// Sets whether pages of the host that they connect to may do so. Default `true`. The scheme counts: behind a proxy
    /// that ends TLS, set [`Server::trusted_proxies`](crate::Server::trusted_proxies) or
    /// [`Server::secure_proxy`](crate::Server::secure_proxy).
    pub fn same_origin(mut self, is_allowed: bool) -> Self {
        self.origins.same_host = is_allowed;
        self
    }

    /// Lets pages of all origins connect, and programs that send none. The connect hook has to refuse requests that
    /// another site has made with the cookies of a user.
    pub fn any_origin(mut self) -> Self {
        self.origins.any = true;
        self
    }

    /// Sets the most bytes of a message of a client. Default 64 KiB. A longer one ends the connection with 1009.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Sets the most subscriptions of a connection. Default 1,000. Further ones are rejected.
    pub fn max_subscriptions(mut self, subscriptions: usize) -> Self {
        self.cable.limits.subscriptions = subscriptions;
        self
    }

    /// Sets the most bytes of the identifiers of a connection together: channels and their parameters. Default 64 KiB.
    /// Subscriptions beyond are rejected.
    pub fn max_identifier_bytes(mut self, bytes: usize) -> Self {
        self.cable.limits.identifier_bytes = bytes;
        self
    }

    /// A handle for what concerns all connections on this reactor.
    pub fn handle(&self) -> CableHandle {
        CableHandle(Rc::clone(&self.cable.streams))
    }

    /// Adds the path of the cable to routes. A request that is no WebSocket, or whose origin is refused, is answered
    /// with 404.
    pub fn mount(self, routes: Routes, path: &str) -> Routes {
        let (origins, cable) = (self.origins, Rc::new(self.cable));
        let limits = MessageLimits::default().max_message_bytes(self.max_message_bytes);
        let cable_routes = Routes::new()
            .on_request(move |request, _| origins.decide(request))
            .limits(limits)
            .get("/", |_, _| http::not_found())
            .websocket("/", move |_| CableConnection::new(&cable));
        routes.scope(path, cable_routes)
    }

    /// Adds a path to which other programs post broadcasts, as those for AnyCable: a JSON object, or an array of them,
    /// with `stream` and `data`, which is JSON text. `key` is that of `Authorization: Bearer`. The answer is 201, 401
    /// without the key, or 422 for anything else.
    pub fn broadcast_route(routes: Routes, path: &str, key: impl Into<String>) -> Routes {
        let key = key.into();
        routes.post(path, move |request, hub| http::broadcast(request, hub, &key))
    }
}

impl Default for ActionCable {
    fn default() -> Self {
        ActionCable::new()
    }
}

impl fmt::Debug for ActionCable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channels: Vec<_> = self.cable.channels.keys().collect();
        formatter.debug_struct("ActionCable").field("channels", &channels).finish_non_exhaustive()
    }
}

/// What concerns all connections of a cable on one reactor.
#[derive(Clone)]
pub struct CableHandle(SharedStreams);

impl CableHandle {
    /// The counters.
    pub fn stats(&self) -> CableStats {
        self.0.borrow().stats()
    }

    /// The streams that subscriptions with an identifier follow, sorted.
    fn streams_of(&self, identifier: &str) -> Vec<String> {
        self.0.borrow().of_identifier(identifier)
    }

    /// Tells all clients that the server restarts, and closes their connections, one after another over a time. They
    /// connect again. [`Hub::shutdown`] ends the loop afterwards.
    pub fn restart(&self, hub: &mut Hub, over: Duration) {
        let ids = self.0.borrow().connections();
        let (count, text) = (ids.len().max(1) as u32, packet::disconnect("server_restart", true));
        for (index, id) in ids.into_iter().enumerate() {
            let text = text.clone();
            let end = move |hub: &mut Hub| {
                hub.send(id, text);
                hub.close(id, CloseCode::NORMAL, "");
            };
            if over.is_zero() {
                end(hub);
            } else {
                hub.add_timer(over * index as u32 / count, end);
            }
        }
    }
}

impl fmt::Debug for CableHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("CableHandle").field(&self.stats()).finish()
    }
}

/// Broadcasts a value on a stream: to all subscriptions that follow it, in all processes.
///
/// # Errors
///
/// If the value cannot be written as JSON.
pub fn broadcast<T: serde::Serialize + ?Sized>(hub: &mut Hub, stream: &str, value: &T) -> serde_json::Result<()> {
    packet::to_json(value).map(|json| _ = hub.publish(stream, Message::Text(&json)))
}

/// Ends the connections that have [these identifiers](Connect::identify), in all processes. `reconnect`: the clients
/// may connect again.
pub fn disconnect_user<S: Into<String>>(hub: &mut Hub, identifiers: impl IntoIterator<Item = S>, reconnect: bool) {
    let Some(stream) = user_stream(identifiers.into_iter().map(Into::into)) else { return };
    let text = format!(r#"{{"type":"disconnect","reconnect":{reconnect}}}"#);
    hub.publish(&stream, text);
}

/// The topic of the connections with some identifiers, as in Rails: blank ones do not count. `None` without any.
fn user_stream(identifiers: impl IntoIterator<Item = String>) -> Option<String> {
    let mut identifiers: Vec<String> = identifiers.into_iter().filter(|name| !name.trim().is_empty()).collect();
    identifiers.sort();
    (!identifiers.is_empty()).then(|| format!("action_cable/{}", identifiers.join(":")))
}
