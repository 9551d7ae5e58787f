//! Namespaces, as an application sees them.

use std::{
    fmt,
    rc::{Rc, Weak},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Io,
    adapter::{Answer, Answers, FetchError, Operation, Question, RemoteSocket},
    args::Args,
    broadcast::{ANSWER_TIMEOUT, Broadcast},
    handshake::Auth,
    rooms::RoomEvent,
    setup::{ConnectError, Next, Reply, ServerAck, Setup},
    socket::{Socket, SocketHandle},
    space::Space,
    target::Target,
};
use crate::reactor::Hub;

/// Namespaces that are made on demand.
#[derive(Clone)]
pub(super) struct Pattern {
    pub(super) matches: Matches,
    pub(super) setup: Rc<Setup>,
}

/// Decides on a name, with the `auth` of a client.
type Decide = Rc<dyn Fn(&str, &Value) -> bool>;

/// Their names.
#[derive(Clone)]
pub(super) enum Matches {
    Glob(Rc<str>),
    Function(Decide),
}

impl Matches {
    /// Returns `true` for a name of the pattern. Without a client, functions know none.
    pub(super) fn is_name(&self, name: &str, auth: Option<&Auth>) -> bool {
        match self {
            Matches::Glob(pattern) => matches(pattern, name),
            Matches::Function(function) => auth.is_some_and(|auth| function(name, auth.value())),
        }
    }

    pub(super) fn is_function(&self) -> bool {
        matches!(self, Matches::Function(_))
    }
}

/// A name with its slash.
pub(super) fn full_name(name: &str) -> String {
    assert!(!name.contains(','), "{name:?} is no name of a namespace");
    if name.starts_with('/') { name.to_owned() } else { format!("/{name}") }
}

/// Returns `true` if a name matches a pattern, in which `*` stands for any text but `/`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(part) = last.replace(part) {
            let Some(position) = rest.find(part).filter(|position| !rest[..*position].contains('/')) else {
                return false;
            };
            rest = &rest[position + part.len()..];
        }
    }
    match last {
        Some(end) => rest.strip_suffix(end).is_some_and(|between| !between.contains('/')),
        None => rest.is_empty(),
    }
}

/// The callbacks of a namespace, or of the namespaces of a pattern.
macro_rules! callbacks {
    ($setup:ident => $of:expr) => {
        /// Calls `call` with each socket that joins.
        pub fn on_connection(&self, call: impl Fn(&mut Socket<'_>) + 'static) {
            let $setup = self;
            $of.connection.borrow_mut().push(Rc::new(call));
        }

        /// Adds a middleware: it decides on each socket that wants to join, after those that were added before.
        ///
        /// ```
        /// use ws_reactor::socket_io::{ConnectError, SocketIo};
        ///
        /// let io = SocketIo::new();
        /// io.of("/admin").middleware(|socket| match socket.handshake().auth()["token"] == "open sesame" {
        ///     true => Ok(()),
        ///     false => Err(ConnectError::new("unauthorized").with_data(401)),
        /// });
        /// ```
        pub fn middleware<E: Into<ConnectError>>(&self, decide: impl Fn(&mut Socket<'_>) -> Result<(), E> + 'static) {
            self.middleware_later(move |socket, next| match decide(socket) {
                Ok(()) => next.accept(socket.hub()),
                Err(error) => next.refuse(socket.hub(), error),
            });
        }

        /// As [`middleware`](Self::middleware), for a decision that may come later, by [`Next`].
        pub fn middleware_later(&self, decide: impl Fn(&mut Socket<'_>, Next) + 'static) {
            let $setup = self;
            $of.middleware.borrow_mut().push(Rc::new(decide));
        }

        /// Calls `call` with each change of the rooms on this server, after the callback that causes it.
        pub fn on_room_event(&self, call: impl Fn(&mut Hub, &Namespace, &RoomEvent) + 'static) {
            let $setup = self;
            $of.rooms.borrow_mut().push(Rc::new(call));
        }

        /// Calls `call` with each event that [`server_emit`](Namespace::server_emit) of another server sends. The
        /// arguments are those that [`Socket::on`] takes.
        pub fn on_server_event<A: DeserializeOwned>(
            &self,
            event: &str,
            call: impl Fn(&mut Hub, A, ServerAck) + 'static,
        ) {
            let $setup = self;
            $of.on_server_event(event, call);
        }
    };
}

/// A namespace: its callbacks, and operations on its sockets. Cloning gives another handle.
///
/// ```
/// use std::time::Duration;
/// use ws_reactor::{Reactor, socket_io::SocketIo};
///
/// let io = SocketIo::new();
/// let news = io.of("/news");
/// let mut reactor = Reactor::new()?;
/// reactor.hub().add_periodic_timer(Duration::from_secs(1), move |hub| {
///     news.to(hub, "sports").emit("headline", &("nothing happened", 1));
/// });
/// # Ok::<(), ws_reactor::Error>(())
/// ```
#[derive(Clone)]
pub struct Namespace(pub(super) Rc<Space>);

impl Namespace {
    callbacks!(setup => setup.0.setup);

    /// The name, with its slash.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// All sockets, for an operation.
    pub fn all<'a>(&self, hub: &'a mut Hub) -> Broadcast<'a> {
        Broadcast::new(hub, &self.0, Target::default())
    }

    /// The sockets of a room, for an operation. Further rooms are added by [`Broadcast::to`].
    pub fn to<'a>(&self, hub: &'a mut Hub, room: &str) -> Broadcast<'a> {
        self.all(hub).to(room)
    }

    /// All sockets but those of a room, for an operation.
    pub fn except<'a>(&self, hub: &'a mut Hub, room: &str) -> Broadcast<'a> {
        self.all(hub).except(room)
    }

    /// All sockets of this server, for an operation.
    pub fn local<'a>(&self, hub: &'a mut Hub) -> Broadcast<'a> {
        self.all(hub).local()
    }

    /// Emits an event to all sockets.
    pub fn emit<T: Serialize + ?Sized>(&self, hub: &mut Hub, event: &str, args: &T) {
        self.all(hub).emit(event, args);
    }

    /// Gives the sockets of all servers to `call`. See [`Broadcast::fetch_sockets`].
    pub fn fetch_sockets(
        &self,
        hub: &mut Hub,
        call: impl FnOnce(&mut Hub, Result<Vec<RemoteSocket>, FetchError>) + 'static,
    ) {
        self.all(hub).fetch_sockets(call);
    }

    /// Emits an event to the other servers, for their [`on_server_event`](Self::on_server_event).
    pub fn server_emit<T: Serialize + ?Sized>(&self, hub: &mut Hub, event: &str, args: &T) {
        if let Some(payload) = self.0.payload(event, args) {
            self.0.operate(hub, Operation::ServerEmit { payload }, false);
        }
    }

    /// As [`server_emit`](Self::server_emit), and gives the answers of the other servers to `call`: or those that came
    /// within 5 s, as an error, if some are missing.
    pub fn server_emit_with_ack<T: Serialize + ?Sized>(
        &self,
        hub: &mut Hub,
        event: &str,
        args: &T,
        call: impl FnOnce(&mut Hub, Result<Vec<Args>, Vec<Args>>) + 'static,
    ) {
        let Some(payload) = self.0.payload(event, args) else {
            return self.0.task(hub, |hub| call(hub, Err(Vec::new())));
        };
        let collected = move |hub: &mut Hub, answers: Result<Vec<Answer>, Vec<Answer>>| {
            let args = |answers: Vec<Answer>| answers.into_iter().filter_map(Answer::into_args).collect();
            call(hub, answers.map(args).map_err(args));
        };
        let answers = Answers::new(hub, &self.0, ANSWER_TIMEOUT, Box::new(collected));
        self.0.ask(hub, Question::ServerEmit { payload }, false, &answers);
    }

    /// The connected sockets of this server.
    pub fn sockets(&self) -> Vec<SocketHandle> {
        self.0.sockets.borrow().iter().cloned().map(SocketHandle).collect()
    }

    /// The connected socket of this server with an id.
    pub fn socket(&self, id: &str) -> Option<SocketHandle> {
        let target = Target { rooms: vec![id.into()], except: Vec::new() };
        self.0.select(&target).into_iter().find(|socket| *socket.id == *id).map(SocketHandle)
    }

    /// Number of connected sockets of this server.
    pub fn socket_count(&self) -> usize {
        self.0.sockets.borrow().len()
    }

    /// Number of members of a room on this server.
    pub fn room_size(&self, room: &str) -> usize {
        self.0.rooms.borrow().size_of(room)
    }

    /// The rooms of this server, sorted: with the own room of each socket.
    pub fn rooms(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.rooms.borrow().names().map(ToString::to_string).collect();
        names.sort();
        names
    }

    /// Number of answers that this server waits for from sockets of this namespace.
    pub fn pending_acks(&self) -> usize {
        self.0.sockets.borrow().iter().map(|socket| socket.acks.borrow().len()).sum()
    }

    /// Carries out an operation of another server, for an [`Adapter`](super::Adapter).
    pub fn apply(&self, hub: &mut Hub, operation: Operation) {
        match operation {
            Operation::ServerEmit { payload } => {
                let Some((event, args)) = payload.event().zip(payload.to_args()) else { return };
                self.server_event(hub, &event, args, None);
            }
            operation => self.0.apply(hub, operation),
        }
    }

    /// As [`apply`](Self::apply), for an operation with an offset. It is added to an event, so that clients can come
    /// back from there.
    pub fn apply_at(&self, hub: &mut Hub, operation: Operation, offset: &str) {
        match operation {
            Operation::Emit { payload, target, flags } => self.0.emit(hub, payload, &target, flags, Some(offset)),
            operation => self.apply(hub, operation),
        }
    }

    /// Answers a question of another server, for an [`Adapter`](super::Adapter): `reply` gets the answers of this
    /// server, one after another.
    pub fn answer(&self, hub: &mut Hub, question: Question, reply: impl Fn(&mut Hub, Answer) + 'static) {
        let reply: Reply = Rc::new(reply);
        match question {
            Question::ServerEmit { payload } => {
                let Some((event, args)) = payload.event().zip(payload.to_args()) else { return };
                self.server_event(hub, &event, args, Some(reply));
            }
            Question::Emit { timeout, .. } => {
                let answers = Answers::forwarding(hub, &self.0, timeout, reply);
                self.0.ask(hub, question, true, &answers);
            }
            Question::Fetch { .. } => {
                let answers = Answers::forwarding(hub, &self.0, ANSWER_TIMEOUT, reply);
                self.0.ask(hub, question, true, &answers);
            }
        }
    }

    fn server_event(&self, hub: &mut Hub, event: &str, args: Args, reply: Option<Reply>) {
        let listeners = self.0.server_listeners(event);
        self.0.task(hub, move |hub| {
            let mut reply = reply;
            // The first listener answers.
            listeners.iter().for_each(|listener| listener(hub, &args, ServerAck::new(reply.take())));
        });
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// The namespaces of a pattern: their callbacks, and operations on all of them.
///
/// ```
/// use ws_reactor::{Reactor, socket_io::SocketIo};
///
/// let io = SocketIo::new();
/// let games = io.of_pattern("/game-*");
/// let mut reactor = Reactor::new()?;
/// games.emit(reactor.hub(), "maintenance", &"in five minutes");
/// for game in games.namespaces() {
///     game.to(reactor.hub(), "players").emit("pause", &());
/// }
/// # Ok::<(), ws_reactor::Error>(())
/// ```
#[derive(Clone)]
pub struct ParentNamespace {
    pub(super) io: Weak<Io>,
    pub(super) setup: Rc<Setup>,
}

impl ParentNamespace {
    callbacks!(setup => setup.setup);

    /// The namespaces that are there on this server.
    pub fn namespaces(&self) -> Vec<Namespace> {
        let Some(io) = self.io.upgrade() else { return Vec::new() };
        let spaces = io.spaces.borrow();
        spaces.values().filter(|space| space.is_of(&self.setup)).cloned().map(Namespace).collect()
    }

    /// Emits an event to all sockets of the namespaces that are there on this server.
    pub fn emit<T: Serialize + ?Sized>(&self, hub: &mut Hub, event: &str, args: &T) {
        self.namespaces().iter().for_each(|namespace| namespace.emit(hub, event, args));
    }
}

impl fmt::Debug for ParentNamespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ParentNamespace").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn star_of_a_pattern_stands_for_any_text_but_a_slash() {
        for (pattern, name) in [("/a", "/a"), ("/dyn-*", "/dyn-1"), ("/*/x", "/a/x"), ("/*-*", "/a-b-c"), ("/a*", "/a")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("/a", "/ab"), ("/dyn-*", "/dyn"), ("/dyn-*", "/dyn-1/2"), ("/*/x", "/a/b/x"), ("/a*b", "/a")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
