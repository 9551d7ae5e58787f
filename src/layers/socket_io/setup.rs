//! What an application has set for a namespace.

use std::{cell::RefCell, collections::HashMap, fmt, rc::Rc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    adapter::Answer, args::Args, namespace::Namespace, payload::Payload, rooms::RoomEvent, socket::Socket,
    state::SocketState,
};
use crate::reactor::Hub;

pub(super) type Middleware = Rc<dyn Fn(&mut Socket<'_>, Next)>;
pub(super) type OnConnection = Rc<dyn Fn(&mut Socket<'_>)>;
pub(super) type OnRoomEvent = Rc<dyn Fn(&mut Hub, &Namespace, &RoomEvent)>;
/// Called with an event of another server.
pub(super) type ServerListener = Rc<dyn Fn(&mut Hub, &Args, ServerAck)>;

/// The middleware and callbacks of a namespace, or of the namespaces of a pattern.
#[derive(Default)]
pub(super) struct Setup {
    pub(super) middleware: RefCell<Vec<Middleware>>,
    pub(super) connection: RefCell<Vec<OnConnection>>,
    pub(super) rooms: RefCell<Vec<OnRoomEvent>>,
    pub(super) server_events: RefCell<HashMap<String, Vec<ServerListener>>>,
}

impl Setup {
    /// Drops the closures.
    pub(super) fn release(&self) {
        drop((self.middleware.take(), self.connection.take(), self.rooms.take(), self.server_events.take()));
    }

    /// Adds a listener of events of other servers.
    pub(super) fn on_server_event<A: DeserializeOwned>(
        &self,
        event: &str,
        call: impl Fn(&mut Hub, A, ServerAck) + 'static,
    ) {
        let name = event.to_owned();
        let listener: ServerListener = Rc::new(move |hub, args, ack| match args.parse() {
            Ok(args) => call(hub, args, ack),
            Err(error) => {
                log::debug!(target: super::LOG, "event {name:?} of a server with other arguments is dropped: {error}");
            }
        });
        self.server_events.borrow_mut().entry(event.to_owned()).or_default().push(listener);
    }
}

/// The decision of a middleware on a socket. If it is dropped, the client goes on waiting.
#[must_use = "the client waits for the decision"]
pub struct Next {
    socket: Rc<SocketState>,
    /// The middleware that is next.
    index: usize,
}

impl Next {
    pub(super) fn new(socket: &Rc<SocketState>, index: usize) -> Self {
        Next { socket: Rc::clone(socket), index }
    }

    /// Passes the socket on: to the next middleware, or to the connection callbacks.
    pub fn accept(self, hub: &mut Hub) {
        let Next { socket, index } = self;
        let space = Rc::clone(&socket.space);
        space.task(hub, move |hub| socket.client.run_middleware(hub, &socket, index));
    }

    /// Refuses the socket. Its client gets the error.
    pub fn refuse(self, hub: &mut Hub, error: impl Into<ConnectError>) {
        let (socket, error) = (self.socket, error.into());
        let space = Rc::clone(&socket.space);
        space.task(hub, move |hub| socket.client.refuse(hub, &socket, &error));
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Next").field(&self.socket).finish()
    }
}

/// Why a client may not join a namespace: its `connect_error`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectError {
    message: String,
    data: Option<Value>,
}

impl ConnectError {
    /// An error with a message.
    pub fn new(message: impl Into<String>) -> Self {
        ConnectError { message: message.into(), data: None }
    }

    /// Adds data for the client: `error.data` there.
    pub fn with_data(mut self, data: impl Into<Value>) -> Self {
        self.data = Some(data.into());
        self
    }

    pub(super) fn to_json(&self) -> String {
        let message = Value::from(&*self.message);
        match &self.data {
            Some(data) => format!(r#"{{"message":{message},"data":{data}}}"#),
            None => format!(r#"{{"message":{message}}}"#),
        }
    }
}

impl From<&str> for ConnectError {
    fn from(message: &str) -> Self {
        ConnectError::new(message)
    }
}

impl From<String> for ConnectError {
    fn from(message: String) -> Self {
        ConnectError::new(message)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

/// Takes the answer of this server to a question of another.
pub(super) type Reply = Rc<dyn Fn(&mut Hub, Answer)>;

/// The answer that another server waits for.
pub struct ServerAck {
    /// `None`: it does not wait.
    reply: Option<Reply>,
}

impl ServerAck {
    pub(super) fn new(reply: Option<Reply>) -> Self {
        ServerAck { reply }
    }

    /// Answers, with arguments as [`Socket::emit`] takes them.
    pub fn send<T: Serialize + ?Sized>(self, hub: &mut Hub, args: &T) {
        let Some(reply) = self.reply else { return };
        match Payload::new(Some(""), args).map(|payload| payload.to_args()) {
            Ok(Some(args)) => reply(hub, Answer::Server(args)),
            Ok(None) => {}
            Err(error) => log::error!(target: super::LOG, "an ack cannot be written as JSON: {error}"),
        }
    }
}

impl fmt::Debug for ServerAck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServerAck").field("is_wanted", &self.reply.is_some()).finish()
    }
}
