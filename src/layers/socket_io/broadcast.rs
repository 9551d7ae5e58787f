//! Operations on many sockets.

use std::{fmt, rc::Rc, time::Duration};

use serde::Serialize;

use super::{
    adapter::{Answer, Answers, FetchError, Operation, Question, RemoteSocket},
    args::Args,
    space::Space,
    target::Target,
};
use crate::reactor::Hub;

/// How an event is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// A client that cannot take it now does not get it.
    pub volatile: bool,
    /// It may be compressed.
    pub compress: bool,
}

impl Default for Flags {
    fn default() -> Self {
        Flags { volatile: false, compress: true }
    }
}

/// Time for the answers of a broadcast that has none of its own, and of servers.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// An operation on the sockets of a namespace that are chosen by rooms: on this server, and with an
/// [`Adapter`](super::Adapter) on all servers.
///
/// ```
/// use ws_reactor::socket_io::SocketIo;
///
/// let io = SocketIo::new();
/// io.of("/").on_connection(|socket| {
///     socket.join("lobby");
///     socket.on("say", |socket, text: String| {
///         socket.to("lobby").except("muted").emit("said", &text);
///     });
/// });
/// ```
#[must_use = "nothing happens without emit or another operation"]
pub struct Broadcast<'a> {
    hub: &'a mut Hub,
    space: Rc<Space>,
    target: Target,
    flags: Flags,
    is_local: bool,
    timeout: Option<Duration>,
}

impl<'a> Broadcast<'a> {
    pub(super) fn new(hub: &'a mut Hub, space: &Rc<Space>, target: Target) -> Self {
        Broadcast { hub, space: Rc::clone(space), target, flags: Flags::default(), is_local: false, timeout: None }
    }

    /// Adds the sockets of a room. Without a room, all sockets of the namespace are chosen. A socket in several of the
    /// rooms gets an event once.
    pub fn to(mut self, room: &str) -> Self {
        self.target.rooms.push(room.into());
        self
    }

    /// As [`to`](Self::to), for any number of rooms.
    pub fn to_all<R: AsRef<str>>(mut self, rooms: impl IntoIterator<Item = R>) -> Self {
        self.target.rooms.extend(rooms.into_iter().map(|room| Rc::from(room.as_ref())));
        self
    }

    /// Leaves the sockets of a room out.
    pub fn except(mut self, room: &str) -> Self {
        self.target.except.push(room.into());
        self
    }

    /// As [`except`](Self::except), for any number of rooms.
    pub fn except_all<R: AsRef<str>>(mut self, rooms: impl IntoIterator<Item = R>) -> Self {
        self.target.except.extend(rooms.into_iter().map(|room| Rc::from(room.as_ref())));
        self
    }

    /// Leaves other servers out.
    pub fn local(mut self) -> Self {
        self.is_local = true;
        self
    }

    /// A client that cannot take the event now does not get it. See [`Socket::volatile`](super::Socket::volatile).
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// Sets whether the event may be compressed (permessage-deflate). Default `true`.
    pub fn compress(mut self, compresses: bool) -> Self {
        self.flags.compress = compresses;
        self
    }

    /// Sets how long [`emit_with_ack`](Self::emit_with_ack) and [`fetch_sockets`](Self::fetch_sockets) wait. Default
    /// 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Emits an event, with arguments as [`Socket::emit`](super::Socket::emit) takes them. It is encoded once for all.
    pub fn emit<T: Serialize + ?Sized>(self, event: &str, args: &T) {
        let Some(payload) = self.space.payload(event, args) else { return };
        let operation = Operation::Emit { payload, target: self.target, flags: self.flags };
        self.space.operate(self.hub, operation, self.is_local);
    }

    /// Emits an event that all its clients answer. `call` gets the answers, in the order in which they arrive; or
    /// those that came in [time](Self::timeout), as an error, if some are missing. An event that cannot be sent has no
    /// answers, as an error.
    pub fn emit_with_ack<T: Serialize + ?Sized>(
        self,
        event: &str,
        args: &T,
        call: impl FnOnce(&mut Hub, Result<Vec<Args>, Vec<Args>>) + 'static,
    ) {
        let Some(payload) = self.space.payload(event, args) else {
            return self.space.task(self.hub, |hub| call(hub, Err(Vec::new())));
        };
        let timeout = self.timeout.unwrap_or(ANSWER_TIMEOUT);
        let collected = move |hub: &mut Hub, answers: Result<Vec<Answer>, Vec<Answer>>| {
            let args = |answers: Vec<Answer>| answers.into_iter().filter_map(Answer::into_args).collect();
            call(hub, answers.map(args).map_err(args));
        };
        let answers = Answers::new(self.hub, &self.space, timeout, Box::new(collected));
        let question = Question::Emit { payload, target: self.target, flags: self.flags, timeout };
        self.space.ask(self.hub, question, self.is_local, &answers);
    }

    /// Gives the chosen sockets to `call`: those of other servers, too.
    ///
    /// # Errors
    ///
    /// `call` gets [`FetchError`] if another server did not answer in [time](Self::timeout).
    pub fn fetch_sockets(self, call: impl FnOnce(&mut Hub, Result<Vec<RemoteSocket>, FetchError>) + 'static) {
        let timeout = self.timeout.unwrap_or(ANSWER_TIMEOUT);
        let collected = move |hub: &mut Hub, answers: Result<Vec<Answer>, Vec<Answer>>| {
            let sockets =
                |answers: Vec<Answer>| answers.into_iter().filter_map(Answer::into_sockets).flatten().collect();
            call(hub, answers.map(sockets).map_err(|_| FetchError::Timeout));
        };
        let answers = Answers::new(self.hub, &self.space, timeout, Box::new(collected));
        self.space.ask(self.hub, Question::Fetch { target: self.target }, self.is_local, &answers);
    }

    /// Has the chosen sockets join rooms.
    pub fn sockets_join<R: AsRef<str>>(self, rooms: impl IntoIterator<Item = R>) {
        let rooms = rooms.into_iter().map(|room| Rc::from(room.as_ref())).collect();
        self.space.operate(self.hub, Operation::Join { target: self.target, rooms }, self.is_local);
    }

    /// Has the chosen sockets leave rooms.
    pub fn sockets_leave<R: AsRef<str>>(self, rooms: impl IntoIterator<Item = R>) {
        let rooms = rooms.into_iter().map(|room| Rc::from(room.as_ref())).collect();
        self.space.operate(self.hub, Operation::Leave { target: self.target, rooms }, self.is_local);
    }

    /// Disconnects the chosen sockets. `closes`: the connections of their clients, too.
    pub fn disconnect_sockets(self, closes: bool) {
        self.space.operate(self.hub, Operation::Disconnect { target: self.target, closes }, self.is_local);
    }
}

impl fmt::Debug for Broadcast<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Broadcast")
            .field("namespace", &self.space.name)
            .field("target", &self.target)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}
