//! A server for the clients of Socket.IO v5, on Engine.IO v4 (feature `socket-io`): those of Socket.IO 3 and 4 in
//! JavaScript, and of other languages that speak the same versions.
//!
//! ```no_run
//! use ws_reactor::{Reactor, Routes, Server, socket_io::SocketIo};
//!
//! let io = SocketIo::new();
//! io.of("/").on_connection(|socket| {
//!     socket.on("chat message", |socket, text: String| {
//!         socket.broadcast().emit("chat message", &text);
//!     });
//!     socket.on_with_ack("add", |socket, (a, b): (i64, i64), ack| ack.send(socket.hub(), &(a + b)));
//! });
//! let mut reactor = Reactor::new()?;
//! reactor.listen("127.0.0.1:3000", Server::routes(io.mount(Routes::new()))?)?;
//! reactor.run()?;
//! # Ok::<(), ws_reactor::Error>(())
//! ```
//!
//! The guide [`socket_io`](crate::guide::socket_io) has the words of Node's API beside those here.
//!
//! # Order
//!
//! The events of a socket are handled in their order, and so are those that are sent to it. Callbacks are never called
//! inside one another: what a callback causes, such as the end of a socket, is told after it. With an adapter that
//! keeps events, such as that of a stream of Redis, events that a client can miss are sent when the adapter brings
//! them: those with acks and volatile ones, which nobody keeps, may overtake them.
//!
//! # Bounds
//!
//! A message and the body of a request have at most [`max_payload`](crate::engine_io::EngineIo::max_payload) bytes, and
//! at most [`max_waiting_bytes`](crate::engine_io::EngineIo::max_waiting_bytes) wait for a client that does not take
//! them. JSON is parsed up to a depth of 128.

mod acks;
mod adapter;
mod args;
mod binary;
mod broadcast;
mod client;
mod emitter;
#[cfg(any(test, fuzzing))]
mod fuzzing;
mod handshake;
#[cfg(any(feature = "socket-io-msgpack", feature = "socket-io-redis"))]
mod msgpack;
mod namespace;
mod packet;
mod parser;
mod payload;
mod reason;
mod recovery;
#[cfg(feature = "socket-io-redis")]
mod redis;
mod rooms;
mod setup;
mod socket;
mod space;
mod state;
mod target;
mod testing;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    rc::{Rc, Weak},
    time::Duration,
};

use serde_json::Value;

#[cfg(any(test, fuzzing))]
pub(crate) use self::fuzzing::check;
#[cfg(feature = "socket-io-redis")]
pub use self::redis::{
    RedisAdapter, RedisNamespace, RedisStreamsAdapter, RedisStreamsNamespace, ShardedRedisAdapter,
    ShardedRedisNamespace, SubscriptionMode,
};
pub use self::{
    acks::{Ack, AckError},
    adapter::{
        Adapter, Answer, Answers, FetchError, OnRestored, Operation, Question, RemoteSocket, RestoredSocket,
        SavedSocket,
    },
    args::Args,
    binary::{Binary, Json},
    broadcast::{Broadcast, Flags},
    emitter::Emitter,
    handshake::Handshake,
    namespace::{Namespace, ParentNamespace},
    payload::Payload,
    reason::DisconnectReason,
    recovery::Recovery,
    rooms::RoomEvent,
    setup::{ConnectError, Next, ServerAck},
    socket::{ListenerId, Socket, SocketHandle},
    target::Target,
    testing::SocketIoTest,
};
use self::{
    client::Client,
    handshake::Auth,
    namespace::{Matches, Pattern},
    parser::Encoding,
    setup::Setup,
    space::Space,
};
use super::engine_io::{Application, Engine, EngineIo, Session, SessionHandler, SessionTransport};
use crate::{reactor::Hub, websocket::Routes};

/// Target of log lines.
const LOG: &str = "ws_reactor::socket_io";

/// A server of Socket.IO, for the [routes](Self::mount) of a server. See the [module](self).
///
/// In a [group](crate::ReactorGroup) each reactor has its own.
#[must_use]
pub struct SocketIo {
    engine: EngineIo,
    io: Rc<Io>,
}

/// Called with each new namespace.
type OnNewNamespace = Rc<dyn Fn(&Namespace)>;
/// Makes the adapter of a namespace.
type MakeAdapter = Box<dyn Fn(&Namespace) -> Rc<dyn Adapter>>;

struct Settings {
    connect_timeout: Duration,
    max_attachments: usize,
    max_auth_bytes: usize,
    max_namespaces: usize,
    encoding: Encoding,
    recovery: Option<Recovery>,
    adapter: Option<MakeAdapter>,
}

/// All namespaces of a server.
struct Io {
    settings: RefCell<Settings>,
    engine: RefCell<Weak<Engine>>,
    spaces: RefCell<HashMap<Rc<str>, Rc<Space>>>,
    patterns: RefCell<Vec<Pattern>>,
    on_new_namespace: RefCell<Vec<OnNewNamespace>>,
    next_number: Cell<u64>,
}

impl SocketIo {
    /// A server with the default options, which are those of Node's server. Clients can join no namespace yet.
    pub fn new() -> Self {
        let settings = Settings {
            connect_timeout: Duration::from_secs(45),
            max_attachments: 10,
            max_auth_bytes: 64 * 1024,
            max_namespaces: 100,
            encoding: Encoding::default(),
            recovery: None,
            adapter: None,
        };
        let io = Io {
            settings: RefCell::new(settings),
            engine: RefCell::default(),
            spaces: RefCell::default(),
            patterns: RefCell::default(),
            on_new_namespace: RefCell::default(),
            next_number: Cell::default(),
        };
        SocketIo { engine: EngineIo::new().path("/socket.io/"), io: Rc::new(io) }
    }

    /// Changes the options of Engine.IO: path, pings, transports, CORS, limits.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ws_reactor::{Cors, OriginError, socket_io::SocketIo};
    ///
    /// let cors = Cors::origins(["https://app.example.com"])?.credentials(true);
    /// let io = SocketIo::new().engine(|engine| engine.ping_interval(Duration::from_secs(10)).cors(cors));
    /// # Ok::<(), OriginError>(())
    /// ```
    pub fn engine(mut self, change: impl FnOnce(EngineIo) -> EngineIo) -> Self {
        self.engine = change(self.engine);
        self
    }

    /// Sets the time in which a client has to join a namespace. Default 45 s. Its connection is closed otherwise.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.io.settings.borrow_mut().connect_timeout = timeout;
        self
    }

    /// Sets the most binary values in a packet of a client. Default 10. Further ones close its connection.
    pub fn max_attachments(self, attachments: usize) -> Self {
        self.io.settings.borrow_mut().max_attachments = attachments;
        self
    }

    /// Encodes packets in MessagePack in place of text, for clients that have `socket.io-msgpack-parser`. Binary values
    /// are part of a packet then.
    #[cfg(feature = "socket-io-msgpack")]
    pub fn msgpack(self) -> Self {
        self.io.settings.borrow_mut().encoding = Encoding::MessagePack;
        self
    }

    /// Sets the most bytes of a client's `auth`. Default 64 KiB. A client that sends more is closed.
    pub fn max_auth_bytes(self, bytes: usize) -> Self {
        self.io.settings.borrow_mut().max_auth_bytes = bytes;
        self
    }

    /// Sets the most namespaces that a client may join at a time. Default 100. It gets `Too many namespaces` for
    /// others.
    pub fn max_namespaces(self, namespaces: usize) -> Self {
        self.io.settings.borrow_mut().max_namespaces = namespaces;
        self
    }

    /// Recovers the sockets of clients that were cut, with what they have missed. Default: not at all.
    ///
    /// Sent events are kept in the memory of this server, or by the adapter. Events with an ack and volatile ones are
    /// not recovered. With an [adapter](Self::adapter) there is no recovery, unless it [keeps them](Adapter::recovers)
    /// for all servers.
    pub fn recovery(self, recovery: Recovery) -> Self {
        self.io.settings.borrow_mut().recovery = Some(recovery);
        self
    }

    /// Joins several servers: `make` makes the adapter of each namespace, once.
    pub fn adapter<A: Adapter + 'static>(self, make: impl Fn(&Namespace) -> A + 'static) -> Self {
        self.io.settings.borrow_mut().adapter = Some(Box::new(move |namespace| Rc::new(make(namespace))));
        let spaces: Vec<_> = self.io.spaces.borrow().values().cloned().collect();
        spaces.iter().for_each(|space| self.io.attach_adapter(space));
        self
    }

    /// A namespace, which is made by the first call, whatever [patterns](Self::of_pattern) there are. `/` is the one
    /// that clients join by default.
    ///
    /// # Panics
    ///
    /// If the name contains a comma.
    pub fn of(&self, name: &str) -> Namespace {
        let name = namespace::full_name(name);
        let known = self.io.spaces.borrow().get(&*name).cloned();
        Namespace(known.unwrap_or_else(|| self.io.add_space(&name, None)))
    }

    /// Namespaces that are made when a client joins one whose name matches, and are gone with their last socket. Each
    /// `*` stands for any text but `/`, and for nothing, too. See [`of_matching`](Self::of_matching).
    pub fn of_pattern(&self, pattern: &str) -> ParentNamespace {
        self.add_pattern(Matches::Glob(pattern.into()))
    }

    /// As [`of_pattern`](Self::of_pattern), with a function that decides by the name and the client's `auth`.
    ///
    /// ```
    /// use ws_reactor::socket_io::SocketIo;
    ///
    /// let io = SocketIo::new();
    /// let rooms = io.of_matching(|name, auth| name.starts_with("/room-") && auth["token"] == "valid");
    /// rooms.on_connection(|socket| println!("{} joins {}", socket.id(), socket.namespace()));
    /// ```
    pub fn of_matching(&self, matches: impl Fn(&str, &Value) -> bool + 'static) -> ParentNamespace {
        self.add_pattern(Matches::Function(Rc::new(matches)))
    }

    fn add_pattern(&self, matches: Matches) -> ParentNamespace {
        let setup = Rc::new(Setup::default());
        self.io.patterns.borrow_mut().push(Pattern { matches, setup: Rc::clone(&setup) });
        ParentNamespace { io: Rc::downgrade(&self.io), setup }
    }

    /// Calls `call` with each namespace that is made from now on, before a client is in it: Node's event
    /// `new_namespace`. It is called inside the call that makes the namespace.
    pub fn on_new_namespace(&self, call: impl Fn(&Namespace) + 'static) {
        self.io.on_new_namespace.borrow_mut().push(Rc::new(call));
    }

    /// A handle for what concerns all clients on this reactor.
    pub fn handle(&self) -> SocketIoHandle {
        SocketIoHandle(Rc::clone(&self.io))
    }

    /// Adds the path to routes. Default path `/socket.io/`, with its slash at the end.
    pub fn mount(self, routes: Routes) -> Routes {
        let (routes, engine) = self.engine.mount_application(routes, Rc::new(Server(Rc::clone(&self.io))));
        *self.io.engine.borrow_mut() = Rc::downgrade(&engine);
        routes
    }
}

impl Default for SocketIo {
    fn default() -> Self {
        SocketIo::new()
    }
}

impl fmt::Debug for SocketIo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SocketIo").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// The application of the sessions.
struct Server(Rc<Io>);

impl Application for Server {
    fn open(&self, hub: &mut Hub, session: &Rc<Session>) -> Rc<dyn SessionHandler> {
        Rc::new(Client::open(hub, &self.0, session))
    }

    fn release(&self) {
        self.0.on_new_namespace.take();
        self.0.patterns.take().iter().for_each(|pattern| pattern.setup.release());
        for space in self.0.spaces.take().into_values() {
            space.setup.release();
            space.adapter.take();
        }
        self.0.settings.borrow_mut().adapter = None;
    }
}

impl Io {
    fn recovery(&self) -> Option<Recovery> {
        self.settings.borrow().recovery
    }

    fn next_number(&self) -> u64 {
        self.next_number.replace(self.next_number.get() + 1)
    }

    fn task(&self, hub: &mut Hub, task: Box<dyn FnOnce(&mut Hub)>) {
        if let Some(engine) = self.engine.borrow().upgrade() {
            engine.task(hub, task);
        }
    }

    fn attach_adapter(&self, space: &Rc<Space>) {
        if let Some(make) = &self.settings.borrow().adapter {
            let adapter = make(&Namespace(Rc::clone(space)));
            *space.adapter.borrow_mut() = Some(adapter);
        }
    }

    fn add_space(self: &Rc<Self>, name: &str, pattern: Option<Rc<Setup>>) -> Rc<Space> {
        let space = Space::new(self, name, pattern);
        self.spaces.borrow_mut().insert(Rc::clone(&space.name), Rc::clone(&space));
        self.attach_adapter(&space);
        let calls = self.on_new_namespace.borrow().clone();
        calls.iter().for_each(|call| call(&Namespace(Rc::clone(&space))));
        space
    }

    /// The namespace that a client joins.
    fn space_for(self: &Rc<Self>, name: &str, auth: &Auth) -> Option<Rc<Space>> {
        let known = self.spaces.borrow().get(name).cloned();
        if known.is_some() {
            return known;
        }
        // The functions may make namespaces.
        let patterns: Vec<Pattern> = self.patterns.borrow().clone();
        let pattern = patterns.into_iter().find(|pattern| pattern.matches.is_name(name, Some(auth)))?;
        let made = self.spaces.borrow().get(name).cloned();
        Some(made.unwrap_or_else(|| self.add_space(name, Some(pattern.setup))))
    }

    fn remove_child(&self, hub: &mut Hub, name: &str) {
        let space = self.spaces.borrow_mut().remove(name);
        let adapter = space.and_then(|space| space.adapter.take());
        if let Some(adapter) = adapter {
            adapter.close(hub);
        }
    }
}

/// A handle to all clients of a server on one reactor.
#[derive(Clone)]
pub struct SocketIoHandle(Rc<Io>);

impl SocketIoHandle {
    /// A namespace. One that is not there yet is made: by a [pattern](SocketIo::of_pattern) if its name matches one,
    /// and else as by [`SocketIo::of`]. Where [functions](SocketIo::of_matching) decide, which look at a client, it is
    /// not made for clients: what is emitted to it reaches nobody.
    ///
    /// # Panics
    ///
    /// If the name contains a comma.
    pub fn of(&self, name: &str) -> Namespace {
        let (io, name) = (&self.0, namespace::full_name(name));
        let known = io.spaces.borrow().get(&*name).cloned();
        if let Some(space) = known {
            return Namespace(space);
        }
        let patterns: Vec<Pattern> = io.patterns.borrow().clone();
        let pattern = patterns.iter().find(|pattern| pattern.matches.is_name(&name, None));
        Namespace(match pattern {
            Some(pattern) => io.add_space(&name, Some(Rc::clone(&pattern.setup))),
            None if patterns.iter().any(|pattern| pattern.matches.is_function()) => Space::new(io, &name, None),
            None => io.add_space(&name, None),
        })
    }

    /// The names of the namespaces, sorted.
    pub fn namespaces(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.spaces.borrow().keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    /// The counters. Takes time linear in the number of clients.
    pub fn stats(&self, hub: &Hub) -> SocketIoStats {
        let sessions = self.0.engine.borrow().upgrade().map(|engine| engine.sessions()).unwrap_or_default();
        let spaces = self.0.spaces.borrow();
        let is_polling = |session: &&Rc<Session>| session.transport() == SessionTransport::Polling;
        SocketIoStats {
            sessions: sessions.len(),
            polling_sessions: sessions.iter().filter(is_polling).count(),
            namespaces: spaces.len(),
            sockets: spaces.values().map(|space| space.sockets.borrow().len()).sum(),
            rooms: spaces.values().map(|space| space.rooms.borrow().len()).sum(),
            waiting_bytes: sessions.iter().map(|session| session.waiting_bytes(hub)).sum(),
        }
    }

    /// Disconnects all sockets with `server shutting down`, and closes their connections. The clients connect again.
    /// [`Hub::shutdown`] ends the loop afterwards.
    pub fn close(&self, hub: &mut Hub) {
        let spaces: Vec<_> = self.0.spaces.borrow().values().cloned().collect();
        for space in spaces {
            let sockets: Vec<_> = space.sockets.borrow().iter().cloned().collect();
            sockets.iter().for_each(|socket| socket.end(hub, DisconnectReason::ServerShuttingDown));
            let adapter = space.adapter.borrow().clone();
            if let Some(adapter) = adapter {
                adapter.close(hub);
            }
        }
        let engine = self.0.engine.borrow().upgrade();
        engine.iter().flat_map(|engine| engine.sessions()).for_each(|session| session.close(hub));
    }
}

impl fmt::Debug for SocketIoHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SocketIoHandle").field(&self.namespaces()).finish()
    }
}

/// Counters of a server of Socket.IO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SocketIoStats {
    /// Clients.
    pub sessions: usize,
    /// Those of them that poll.
    pub polling_sessions: usize,
    /// Namespaces.
    pub namespaces: usize,
    /// Sockets of all namespaces.
    pub sockets: usize,
    /// Rooms of all namespaces, with the own room of each socket.
    pub rooms: usize,
    /// Bytes that clients have not taken.
    pub waiting_bytes: usize,
}
