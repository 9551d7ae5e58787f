//! A server for the clients of Rails' ActionCable (feature `action-cable`): channels, streams and broadcasts, for the
//! unmodified `@rails/actioncable`, Turbo, and `@anycable/core` with its extended protocol.
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

mod broadcasting;
mod channel;
mod connection;
mod events;
mod extended;
#[cfg(any(test, fuzzing))]
mod fuzzing;
mod http;
mod jwt;
mod named_streams;
mod packet;
mod protocol;
mod session;
mod sessions;
mod signed;
mod streams;
mod testing;

use std::{any::Any, cell::RefCell, collections::HashMap, fmt, rc::Rc, time::Duration};

#[cfg(any(test, fuzzing))]
pub(crate) use self::fuzzing::check;
pub use self::{
    broadcasting::broadcasting_for,
    channel::{Action, Channel, ChannelTimer, Subscription},
    connection::{Connect, Denied},
    jwt::{JwtError, JwtKey},
    named_streams::NamedStreams,
    signed::StreamVerifier,
    streams::CableStats,
    testing::ActionCableTest,
};
use self::{
    connection::CableConnection,
    events::EventStreams,
    http::OriginRules,
    named_streams::NamedStream,
    sessions::Sessions,
    streams::{Keep, SharedStreams, Streams},
};
use crate::{
    http::{StatusCode, origins::OriginError},
    protocol::{Message, MessageLimits},
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
    events_path: Option<String>,
    health_path: Option<String>,
}

/// Longest time for which anything is kept.
const MAX_KEPT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The configuration and the streams, shared by all connections of a cable.
struct Cable {
    connect: ConnectHook,
    disconnected: Option<Disconnected>,
    channels: HashMap<String, MakeChannel>,
    streams: SharedStreams,
    sessions: RefCell<Sessions>,
    event_streams: EventStreams,
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
                sessions: RefCell::default(),
                event_streams: EventStreams::default(),
                limits: Limits { subscriptions: 1000, identifier_bytes: 64 * 1024 },
            },
            origins: OriginRules::default(),
            max_message_bytes: 64 * 1024,
            events_path: None,
            health_path: None,
        }
    }

    /// Sets what decides on each connection, once it is open. What it returns is the
    /// [user](Subscription::user) of its subscriptions. Default: every connection is let in, with `()`.
    pub fn connect<T: 'static>(mut self, connect: impl Fn(&mut Connect<'_>) -> Result<T, Denied> + 'static) -> Self {
        self.cable.connect = Box::new(move |connection| Ok(Rc::new(connect(connection)?)));
        self
    }

    /// Sets what is called when a connection has ended that was let in, with what the [connect hook](Self::connect) has
    /// returned. Its subscriptions have ended before, unless its session is [kept](Self::keep_sessions).
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

    /// Adds a channel whose clients follow the stream that a parameter names: signed, as those of Turbo and CableReady,
    /// or public.
    pub fn streams(self, channel: &str, streams: NamedStreams) -> Self {
        let streams = Rc::new(streams);
        self.channel(channel, move || NamedStream(Rc::clone(&streams)))
    }

    /// Keeps the newest messages of each stream that is followed, for clients of the extended protocol that have missed
    /// some. Default: none. At most 1 MiB of a stream is kept. A stream that such a client has followed is kept after
    /// its last follower, too.
    ///
    /// Each reactor has a history of its own. Its `epoch` differs between reactors and processes, and changes with a
    /// restart: the history request of a client that comes from elsewhere is rejected. Messages that other processes
    /// publish while the backplane is disconnected are missing from it.
    pub fn history(self, messages: usize, age: Duration) -> Self {
        let age = age.min(MAX_KEPT);
        self.cable.streams.borrow_mut().settings.keep = Some(Keep { messages, age, is_shared: false });
        self
    }

    /// As [`history`](Self::history), with the history of each stream's [topic](Hub::keep_history): all reactors of a
    /// group have it, and with [`Redis::history_stream`](crate::guide::many_machines) all processes, also after a
    /// restart. Offsets are the ids of the topic's events, which do not begin at 1, and the epoch never changes.
    ///
    /// A message that has no id is in no history: what other programs publish on a channel of Redis, as Rails does, and
    /// what a process publishes otherwise than by [`CableHandle::broadcast`], [`Subscription::broadcast`] and
    /// [`broadcast_route`](Self::broadcast_route) on a stream that it does not follow. Clients that ask for what they
    /// have missed are told that not all is known, if such a message came meanwhile.
    pub fn shared_history(self, messages: usize, age: Duration) -> Self {
        let age = age.min(MAX_KEPT);
        self.cable.streams.borrow_mut().settings.keep = Some(Keep { messages, age, is_shared: true });
        self
    }

    /// Keeps the session of a client of the extended protocol whose connection was cut: its subscriptions go on, and
    /// a new connection can have them again, without asking its channels. Default: not at all.
    ///
    /// The new connection must be let in by the [connect hook](Self::connect), with the same
    /// [identifiers](Connect::identify). At most [`max_sessions`](Self::max_sessions) are kept.
    pub fn keep_sessions(mut self, time: Duration) -> Self {
        self.cable.sessions.get_mut().keep = Some(time.min(MAX_KEPT));
        self
    }

    /// Sets the most sessions without a connection. Default 10,000. The oldest ones end.
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.cable.sessions.get_mut().most = sessions;
        self
    }

    /// Sets the most streams that nothing follows, and whose history is kept. Default 10,000, and at most 64 MiB of
    /// messages. Those that were left first are dropped; of [shared](Self::shared_history) histories, only by the
    /// number.
    pub fn max_idle_streams(self, streams: usize) -> Self {
        self.cable.streams.borrow_mut().settings.max_idle = streams;
        self
    }

    /// Sets how long a client counts as [present](Subscription::allow_presence) whose connection was cut. Default 15 s.
    /// One that unsubscribes is gone at once.
    pub fn presence_ttl(self, time: Duration) -> Self {
        self.cable.streams.borrow_mut().settings.presence_ttl = time;
        self
    }

    /// Ends connections of the extended protocol that do not answer a ping within this time. Default: none. Their
    /// clients connect again. Those of AnyCable answer if they are told to: `pongs` in their `protocolOptions`.
    pub fn pong_timeout(self, time: Duration) -> Self {
        self.cable.streams.borrow_mut().settings.pong_timeout = Some(time);
        self
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

    /// Sets a path at which a subscription can be had as an event stream, as AnyCable's `/events`. Default: none.
    ///
    /// The query names the subscription: `channel` and its parameters, `identifier`, or `stream` or `signed_stream` for
    /// the channel `$pubsub`. Each message is an event with the JSON text that a WebSocket would get, named by its
    /// type. With `raw=1` there are messages only, without their identifier. With a [history](Self::history), events
    /// have ids, `OFFSET/EPOCH/STREAM`: a browser that comes back gets what it has missed, and so does the first
    /// request with `history_since`, in seconds since 1970.
    ///
    /// A client that the connect hook or the channel refuses gets 401, and a page of an origin that is not allowed 403.
    /// A client without `Origin` is not refused for that. There are no pings, and
    /// [timers](Subscription::periodically) of the channel do not run. A raw stream that is cut before its first
    /// message goes on from the time of the next request, unless the URL has `history_since`.
    pub fn event_streams(mut self, path: impl Into<String>) -> Self {
        self.events_path = Some(path.into());
        self
    }

    /// Sets a path that is answered with 200 whatever the origin is, for load balancers: Rails' `health_check_path`.
    /// Default: none.
    pub fn health_check(mut self, path: impl Into<String>) -> Self {
        self.health_path = Some(path.into());
        self
    }

    /// A handle for what concerns all connections on this reactor.
    pub fn handle(&self) -> CableHandle {
        CableHandle(Rc::clone(&self.cable.streams))
    }

    /// Adds the path of the cable to routes. A request that is no WebSocket, or whose origin is refused, is answered
    /// with 404.
    pub fn mount(self, routes: Routes, path: &str) -> Routes {
        let (origins, cable) = (Rc::new(self.origins), Rc::new(self.cable));
        let routes = match self.events_path {
            Some(path) => {
                let (origins, cable) = (Rc::clone(&origins), Rc::clone(&cable));
                routes.get(&path, move |request, hub| match origins.let_read(request) {
                    true => EventStreams::open(&cable, request, hub),
                    false => StatusCode::FORBIDDEN.into(),
                })
            }
            None => routes,
        };
        let routes = match self.health_path {
            Some(path) => routes.get(&path, |_, _| StatusCode::OK),
            None => routes,
        };
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
    /// without the key, or 422 for anything else. AnyCable's `meta` is ignored: the message goes to all.
    pub fn broadcast_route(&self, routes: Routes, path: &str, key: impl Into<String>) -> Routes {
        let (key, handle) = (key.into(), self.handle());
        routes.post(path, move |request, hub| http::broadcast(request, hub, &handle, &key))
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

/// A handle to all connections of a cable on one reactor.
#[derive(Clone)]
pub struct CableHandle(SharedStreams);

impl CableHandle {
    /// The counters.
    pub fn stats(&self) -> CableStats {
        self.0.borrow().stats()
    }

    /// Broadcasts a JSON text on a stream. Other than [`Hub::publish`], it is part of the stream's
    /// [history](ActionCable::history) also if no client has followed the stream yet. Anything else than JSON is
    /// dropped.
    pub fn broadcast_json(&self, hub: &mut Hub, stream: &str, json: &str) {
        Streams::record(&self.0, hub, stream);
        hub.publish(stream, Message::Text(json));
    }

    /// Broadcasts a value on a stream, as [`broadcast_json`](Self::broadcast_json).
    ///
    /// # Errors
    ///
    /// If the value cannot be written as JSON.
    pub fn broadcast<T: serde::Serialize + ?Sized>(
        &self,
        hub: &mut Hub,
        stream: &str,
        value: &T,
    ) -> serde_json::Result<()> {
        packet::to_json(value).map(|json| self.broadcast_json(hub, stream, &json))
    }

    /// The streams that subscriptions with an identifier follow, sorted.
    fn streams_of(&self, identifier: &str) -> Vec<String> {
        self.0.borrow().of_identifier(identifier)
    }

    /// Tells all clients that the server restarts, and closes their connections, one after another over a time. They
    /// connect again. [`Hub::shutdown`] ends the loop afterwards.
    pub fn restart(&self, hub: &mut Hub, over: Duration) {
        let ids = self.0.borrow().connections();
        let count = ids.len().max(1) as u32;
        for (index, id) in ids.into_iter().enumerate() {
            let streams = Rc::clone(&self.0);
            let end = move |hub: &mut Hub| streams.borrow_mut().end_connections(hub, &[id], "server_restart", true);
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

/// Broadcasts a value on the stream of a channel for something: Rails' `broadcast_to`. See [`broadcasting_for`].
///
/// # Errors
///
/// If the value cannot be written as JSON.
pub fn broadcast_to<P: AsRef<str>, T: serde::Serialize + ?Sized>(
    hub: &mut Hub,
    channel: &str,
    parts: impl IntoIterator<Item = P>,
    value: &T,
) -> serde_json::Result<()> {
    broadcast(hub, &broadcasting_for(channel, parts), value)
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

/// A name that nobody can guess.
fn random_name(hub: &mut Hub) -> Rc<str> {
    let mut random = [0; 16];
    hub.random(&mut random);
    format!("{:032x}", u128::from_ne_bytes(random)).into()
}
