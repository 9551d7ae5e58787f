//! The interface between servers: operations, questions, and their answers.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::{Rc, Weak},
    time::Duration,
};

use serde_json::Value;

use super::{
    args::Args, broadcast::Flags, payload::Payload, rooms::RoomEvent, setup::Reply, space::Space, state::SocketState,
    target::Target,
};
use crate::reactor::{Hub, TimerId};

/// Joins the servers of a cluster: everything of one namespace that concerns the sockets of other servers goes through
/// it. Made by [`SocketIo::adapter`](super::SocketIo::adapter) for each namespace. Without one there is one server.
///
/// An adapter passes on what it is given, and gives what comes from other servers to its namespace:
/// [`Namespace::apply`](super::Namespace::apply) and [`Namespace::answer`](super::Namespace::answer). The sockets of
/// this server are served before and without it, unless it [delivers its own](Self::delivers_own) operations.
pub trait Adapter {
    /// Passes an operation to the other servers.
    fn publish(&self, hub: &mut Hub, operation: &Operation);

    /// Passes a question to the other servers. [`Answers::expect`] says how many there are, [`Answers::add`] takes
    /// their answers.
    fn ask(&self, hub: &mut Hub, question: &Question, answers: &Answers);

    /// Returns `true` if the adapter carries out an operation on this server itself, once it has published it: by
    /// [`Namespace::apply`](super::Namespace::apply), or [`Namespace::apply_at`](super::Namespace::apply_at) if it has
    /// an offset then. Otherwise this server has carried it out already. Default `false`.
    fn delivers_own(&self, operation: &Operation) -> bool {
        let _ = operation;
        false
    }

    /// Returns `true` if clients can come back to any server: the adapter keeps events and the sockets that were cut.
    /// Events need offsets, on this server too, so it has to [deliver its own](Self::delivers_own). Default `false`. It
    /// has an effect together with [`SocketIo::recovery`](super::SocketIo::recovery).
    fn recovers(&self) -> bool {
        false
    }

    /// Keeps a socket whose client was cut, for so long.
    fn keep_socket(&self, hub: &mut Hub, socket: &SavedSocket, time: Duration) {
        let _ = (hub, socket, time);
    }

    /// Looks for the socket with a recovery id, and for the events that it has missed behind an offset. `call` gets
    /// `None` if they are not known. A socket is restored at most once.
    fn restore_socket(&self, hub: &mut Hub, recovery_id: &str, offset: &str, call: OnRestored) {
        let _ = (recovery_id, offset);
        call(hub, None);
    }

    /// The events behind the position of a restored socket that concern its rooms, with their offsets: those that have
    /// come until middleware has let it in. Default: none.
    fn missed_since(&self, position: &str, rooms: &[Rc<str>]) -> Vec<Payload> {
        let _ = (position, rooms);
        Vec::new()
    }

    /// The rooms of the namespace on this server have changed. Called inside the change.
    fn on_room_event(&self, hub: &mut Hub, event: &RoomEvent) {
        let _ = (hub, event);
    }

    /// The namespace is gone, or the server closes.
    fn close(&self, hub: &mut Hub) {
        let _ = hub;
    }
}

/// A socket whose client was cut.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedSocket {
    /// Its id.
    pub id: String,
    /// The secret by which its client gets it again.
    pub recovery_id: String,
    /// Its rooms.
    pub rooms: Vec<String>,
    /// Its JSON data.
    pub data: Value,
}

/// A socket that comes back.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoredSocket {
    /// The socket.
    pub socket: SavedSocket,
    /// The events that its client has missed, with their offsets as last arguments.
    pub missed: Vec<Payload>,
    /// The offset up to which they were looked for, for [`Adapter::missed_since`].
    pub position: String,
    /// Middleware decides on it also where recovered sockets pass without: nothing tells that it was a socket of this
    /// namespace.
    pub needs_middleware: bool,
}

/// Takes a socket that comes back; `None` if it is not known.
pub type OnRestored = Box<dyn FnOnce(&mut Hub, Option<RestoredSocket>)>;

/// Something that all servers do for their sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// An event for sockets.
    Emit {
        /// The event and its arguments.
        payload: Payload,
        /// Its sockets.
        target: Target,
        /// How it is sent.
        flags: Flags,
    },
    /// Sockets join rooms.
    Join {
        /// The sockets.
        target: Target,
        /// The rooms.
        rooms: Vec<Rc<str>>,
    },
    /// Sockets leave rooms.
    Leave {
        /// The sockets.
        target: Target,
        /// The rooms.
        rooms: Vec<Rc<str>>,
    },
    /// Sockets are disconnected.
    Disconnect {
        /// The sockets.
        target: Target,
        /// Their connections are closed, too.
        closes: bool,
    },
    /// An event for the other servers themselves: [`Namespace::server_emit`](super::Namespace::server_emit).
    ServerEmit {
        /// The event and its arguments.
        payload: Payload,
    },
}

/// Something that all servers answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Question {
    /// An event that sockets answer. Each server answers with [`Answer::Asked`], then with one [`Answer::Args`] for
    /// each socket.
    Emit {
        /// The event and its arguments.
        payload: Payload,
        /// Its sockets.
        target: Target,
        /// How it is sent.
        flags: Flags,
        /// How long the answers are waited for.
        timeout: Duration,
    },
    /// The sockets of a target: [`Answer::Sockets`].
    Fetch {
        /// The sockets.
        target: Target,
    },
    /// An event that the other servers answer: [`Answer::Server`].
    ServerEmit {
        /// The event and its arguments.
        payload: Payload,
    },
}

/// An answer of a server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Answer {
    /// The sockets of a server.
    Sockets(Vec<RemoteSocket>),
    /// The number of sockets that a server asks.
    Asked(usize),
    /// The answer of a socket.
    Args(Args),
    /// The answer of a server itself.
    Server(Args),
}

impl Answer {
    pub(super) fn into_sockets(self) -> Option<Vec<RemoteSocket>> {
        match self {
            Answer::Sockets(sockets) => Some(sockets),
            _ => None,
        }
    }

    pub(super) fn into_args(self) -> Option<Args> {
        match self {
            Answer::Args(args) | Answer::Server(args) => Some(args),
            _ => None,
        }
    }
}

/// A socket of any server, as it was when its server answered.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteSocket {
    /// Its id, which is a room, too: [`Namespace::to`](super::Namespace::to) reaches it.
    pub id: String,
    /// Its rooms.
    pub rooms: Vec<String>,
    /// Its JSON data.
    pub data: Value,
    /// Its handshake, with the fields of [`Handshake::to_json`](super::Handshake::to_json).
    pub handshake: Value,
}

impl RemoteSocket {
    pub(super) fn of(socket: &SocketState) -> Self {
        RemoteSocket {
            id: socket.id.to_string(),
            rooms: socket.rooms.borrow().iter().map(ToString::to_string).collect(),
            data: socket.data.borrow().clone(),
            handshake: socket.handshake.to_json(),
        }
    }
}

impl SavedSocket {
    pub(super) fn of(socket: &SocketState, recovery_id: &str) -> Self {
        SavedSocket {
            id: socket.id.to_string(),
            recovery_id: recovery_id.to_owned(),
            rooms: socket.rooms.borrow().iter().map(ToString::to_string).collect(),
            data: socket.data.borrow().clone(),
        }
    }
}

/// Why the sockets of all servers are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchError {
    /// A server, or what connects the servers, did not answer in time.
    Timeout,
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a server did not answer in time")
    }
}

impl std::error::Error for FetchError {}

type Collected = Box<dyn FnOnce(&mut Hub, Result<Vec<Answer>, Vec<Answer>>)>;

/// The answers to a [`Question`], as they come.
#[derive(Clone)]
pub struct Answers(Rc<Collector>);

struct Collector {
    space: Rc<Space>,
    /// Takes each answer as it comes, for another server that has asked.
    forward: Option<Reply>,
    /// `None` once it was called.
    call: RefCell<Option<Collected>>,
    timer: Cell<Option<TimerId>>,
    answers: RefCell<Vec<Answer>>,
    /// Servers that have not answered: this one, and the others once they are known.
    servers: Cell<usize>,
    /// The number of other servers is not known yet.
    is_counting: Cell<bool>,
    /// Answers of sockets that have not come.
    sockets: Cell<usize>,
    /// The sockets of this server that were asked.
    asked: RefCell<Vec<(Weak<SocketState>, u64)>>,
}

impl Answers {
    pub(super) fn new(hub: &mut Hub, space: &Rc<Space>, timeout: Duration, call: Collected) -> Self {
        Answers::start(hub, space, timeout, None, call)
    }

    /// The answers of this server to a question of another: each is passed on as it comes.
    pub(super) fn forwarding(hub: &mut Hub, space: &Rc<Space>, timeout: Duration, forward: Reply) -> Self {
        Answers::start(hub, space, timeout, Some(forward), Box::new(|_, _| ()))
    }

    fn start(hub: &mut Hub, space: &Rc<Space>, timeout: Duration, forward: Option<Reply>, call: Collected) -> Self {
        let answers = Answers(Rc::new(Collector {
            space: Rc::clone(space),
            forward,
            call: RefCell::new(Some(call)),
            timer: Cell::default(),
            answers: RefCell::default(),
            servers: Cell::new(1),
            is_counting: Cell::default(),
            sockets: Cell::default(),
            asked: RefCell::default(),
        }));
        let waiting = answers.clone();
        let timer = hub.add_timer(timeout, move |hub| {
            waiting.0.timer.set(None);
            waiting.finish(hub, false);
        });
        answers.0.timer.set(Some(timer));
        answers
    }

    /// The number of other servers has to be found out: nothing is complete before [`expect`](Self::expect).
    pub fn wait(&self) {
        self.0.is_counting.set(true);
    }

    /// Waits for the answers of so many other servers.
    pub fn expect(&self, hub: &mut Hub, servers: usize) {
        self.0.is_counting.set(false);
        self.0.servers.set(self.0.servers.get() + servers);
        self.check(hub);
    }

    /// Takes an answer.
    pub fn add(&self, hub: &mut Hub, answer: Answer) {
        let collector = &self.0;
        if collector.call.borrow().is_none() {
            return;
        }
        match &answer {
            Answer::Asked(sockets) => {
                collector.servers.set(collector.servers.get().saturating_sub(1));
                // Answers of another server's sockets may have come before.
                collector.sockets.set(collector.sockets.get().wrapping_add(*sockets));
            }
            Answer::Args(_) => collector.sockets.set(collector.sockets.get().wrapping_sub(1)),
            Answer::Sockets(_) | Answer::Server(_) => collector.servers.set(collector.servers.get().saturating_sub(1)),
        }
        match &collector.forward {
            Some(forward) => forward(hub, answer),
            None => collector.answers.borrow_mut().push(answer),
        }
        self.check(hub);
    }

    /// Returns `true` if no answer is wanted any more.
    pub fn is_finished(&self) -> bool {
        self.0.call.borrow().is_none()
    }

    /// This server has nothing to answer.
    pub(super) fn skip_own(&self, hub: &mut Hub) {
        self.0.servers.set(self.0.servers.get().saturating_sub(1));
        self.check(hub);
    }

    /// A socket of this server was asked.
    pub(super) fn on_asked(&self, socket: &Rc<SocketState>, number: u64) {
        self.0.asked.borrow_mut().push((Rc::downgrade(socket), number));
    }

    fn check(&self, hub: &mut Hub) {
        if self.0.servers.get() == 0 && self.0.sockets.get() == 0 && !self.0.is_counting.get() {
            self.finish(hub, true);
        }
    }

    fn finish(&self, hub: &mut Hub, is_complete: bool) {
        let call = self.0.call.borrow_mut().take();
        let Some(call) = call else { return };
        if let Some(timer) = self.0.timer.take() {
            hub.cancel_timer(timer);
        }
        for (socket, number) in self.0.asked.take() {
            if let Some(socket) = socket.upgrade() {
                socket.acks.borrow_mut().remove(&number);
            }
        }
        let answers = self.0.answers.take();
        // Not inside the callback that asks.
        self.0.space.task(hub, move |hub| call(hub, if is_complete { Ok(answers) } else { Err(answers) }));
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (servers, sockets) = (self.0.servers.get(), self.0.sockets.get());
        formatter.debug_struct("Answers").field("servers", &servers).field("sockets", &sockets).finish_non_exhaustive()
    }
}
