//! A server for the clients of Engine.IO v4 (feature `socket-io`): sessions over long-polling and WebSocket. It is the
//! lower half of [`socket_io`](crate::socket_io), and can be used on its own.
//!
//! ```no_run
//! use ws_reactor::{Message, Reactor, Routes, Server, engine_io::{EngineIo, EngineIoHandler, EngineSession}};
//!
//! struct Echo;
//!
//! impl EngineIoHandler for Echo {
//!     fn on_message(&mut self, session: &mut EngineSession<'_>, message: Message<'_>) {
//!         session.send(message);
//!     }
//! }
//!
//! let routes = EngineIo::new().mount(Routes::new(), |_| Echo);
//! let mut reactor = Reactor::new()?;
//! reactor.listen("127.0.0.1:8080", Server::routes(routes)?)?;
//! reactor.run()?;
//! # Ok::<(), ws_reactor::Error>(())
//! ```
//!
//! # Sessions
//!
//! A client opens a session by a request of HTTP, polls for packets, posts its own, and may upgrade to a WebSocket; or
//! it opens the session by a WebSocket. The server pings in an interval, and a client that does not answer in time is
//! gone. The id of a session is a credential: whoever has it, may use the session.
//!
//! Of two requests at a time for the packets of one session, or with packets, the second ends the session.

mod admission;
mod engine;
mod http;
mod machine;
#[cfg(test)]
mod machine_tests;
mod packet;
mod session;
mod socket;

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

#[cfg(any(test, fuzzing))]
pub(crate) use self::packet::{parse_body, write_body};
use self::socket::EngineSocket;
pub use self::{
    admission::{Admission, ConnectionError},
    machine::CloseReason,
};
pub(crate) use self::{
    engine::{Application, Engine, random_name, send_to_all},
    machine::Transport as SessionTransport,
    packet::Packet,
    session::{Session, SessionHandler},
};
use crate::{
    http::{HeaderMap, Request, cors::Cors, token::is_token_octet},
    protocol::Message,
    reactor::Hub,
    websocket::Routes,
};

/// Longest time of an option.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The options of a server of Engine.IO. The defaults are those of Node's server.
#[derive(Default)]
#[must_use = "options have an effect only in routes"]
pub struct EngineIo {
    settings: engine::Settings,
    cors: Option<Cors>,
}

impl EngineIo {
    /// The default options.
    pub fn new() -> Self {
        EngineIo::default()
    }

    /// Sets the path, with its slash at the end. Default `/engine.io/`, with Socket.IO `/socket.io/`.
    pub fn path(mut self, path: &str) -> Self {
        self.settings.path = match path.trim_matches('/') {
            "" => "/".to_owned(),
            path => format!("/{path}/"),
        };
        self
    }

    /// Sets the time from the answer to a ping, or from the opening, to the next ping. Default 25 s.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.settings.timing.ping_interval = interval.min(LONGEST);
        self
    }

    /// Sets the time for the answer to a ping. Default 20 s. A session without one closes with `ping timeout`.
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.settings.timing.ping_timeout = timeout.min(LONGEST);
        self
    }

    /// Sets the time for an upgrade from polling to WebSocket. Default 10 s. The session then stays with polling.
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.settings.timing.upgrade_timeout = timeout.min(LONGEST);
        self
    }

    /// Sets the most bytes of a message of a client, and of the body of its request: Node's `maxHttpBufferSize`.
    /// Default 1,000,000. A longer body is answered with 413, a longer message closes with 1009.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.settings.max_payload = bytes;
        self
    }

    /// Sets the most bytes that wait for a client. Default 16 MiB. The session of a client that leaves more closes with
    /// `transport error`.
    pub fn max_waiting_bytes(mut self, bytes: usize) -> Self {
        self.settings.timing.max_waiting_bytes = bytes;
        self
    }

    /// Sets the most sessions. Default 100,000. Further clients are answered with 503. A session that polls has no
    /// connection while it does not, so limits of connections do not bound their number.
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.settings.max_sessions = sessions;
        self
    }

    /// Sets the transports: long-polling and WebSocket. Default: both.
    pub fn transports(mut self, polling: bool, websocket: bool) -> Self {
        (self.settings.has_polling, self.settings.has_websocket) = (polling, websocket);
        self
    }

    /// Sets whether clients are invited to upgrade to a WebSocket. Default `true`.
    pub fn allow_upgrades(mut self, allowed: bool) -> Self {
        self.settings.allows_upgrades = allowed;
        self
    }

    /// Sets a cookie with the id of the session, for load balancers: Node's `cookie`, whose name is `io` there.
    /// Default: none.
    ///
    /// # Panics
    ///
    /// If the name is no token. RFC 6265 §4.1.1.
    pub fn cookie(mut self, name: &str) -> Self {
        let is_name = !name.is_empty() && name.bytes().all(is_token_octet);
        assert!(is_name, "{name:?} is no name of a cookie");
        self.settings.cookie = Some(name.to_owned());
        self
    }

    /// Sets the length from which responses to polls are compressed, for clients that accept gzip (feature `deflate`).
    /// Default 1024 bytes; `None`: never.
    pub fn compress_from(mut self, bytes: Option<usize>) -> Self {
        self.settings.compresses_from = bytes;
        self
    }

    /// Sets the pages of other origins that may connect. Default: none by polling, and all by WebSocket, which browsers
    /// do not restrict: a server that trusts cookies needs a policy, or [`Server::origins`](crate::Server::origins).
    pub fn cors(mut self, cors: Cors) -> Self {
        self.cors = Some(cors);
        self
    }

    /// Sets what decides on handshakes, at once or [later](Admission). Default: all clients are let in.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ws_reactor::engine_io::EngineIo;
    ///
    /// let engine = EngineIo::new().allow_request(|request, hub, admission| match request.header("x-token") {
    ///     Some("open sesame") => admission.allow(hub),
    ///     _ => admission.deny("no entry"),
    /// });
    /// ```
    pub fn allow_request(mut self, allow: impl Fn(&Request, &mut Hub, Admission) + 'static) -> Self {
        self.settings.allow_request = Some(Box::new(allow));
        self
    }

    /// Sets what adds headers to the response that opens a session: Node's event `initial_headers`.
    pub fn initial_headers(mut self, add: impl Fn(&Request, &mut HeaderMap) + 'static) -> Self {
        self.settings.initial_headers = Some(Box::new(add));
        self
    }

    /// Sets what adds headers to each response: Node's event `headers`.
    pub fn headers(mut self, add: impl Fn(&Request, &mut HeaderMap) + 'static) -> Self {
        self.settings.headers = Some(Box::new(add));
        self
    }

    /// Sets what is called with each request that is refused: Node's event `connection_error`. Default: nothing. It is
    /// called inside the call that refuses, such as [`Admission::deny`]. Clients beyond
    /// [`max_sessions`](Self::max_sessions) are logged instead.
    ///
    /// ```
    /// use ws_reactor::engine_io::EngineIo;
    ///
    /// let engine = EngineIo::new().on_connection_error(|request, error| {
    ///     println!("{} is refused: {error} (code {})", request.path(), error.code());
    /// });
    /// ```
    pub fn on_connection_error(mut self, call: impl Fn(&Request, &ConnectionError) + 'static) -> Self {
        self.settings.on_connection_error = Some(Box::new(call));
        self
    }

    /// Adds the path to routes. `open` makes the handler of each session; what it sends is the client's first message.
    pub fn mount<H: EngineIoHandler + 'static>(
        self,
        routes: Routes,
        open: impl Fn(&mut EngineSession<'_>) -> H + 'static,
    ) -> Routes {
        let open = move |session: &mut EngineSession<'_>| Box::new(open(session)) as Box<dyn EngineIoHandler>;
        self.mount_application(routes, Rc::new(Sessions(Box::new(open)))).0
    }

    pub(crate) fn mount_application(self, routes: Routes, application: Rc<dyn Application>) -> (Routes, Rc<Engine>) {
        let engine = Engine::new(self.settings, application);
        let for_sockets = Rc::clone(&engine);
        (engine.mount(routes, self.cors, move || EngineSocket::new(&for_sockets)), engine)
    }
}

impl fmt::Debug for EngineIo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EngineIo").field("path", &self.settings.path).finish_non_exhaustive()
    }
}

/// Handler of a session. Its methods are never called inside one another.
#[allow(unused_variables)]
pub trait EngineIoHandler {
    /// A message has arrived.
    fn on_message(&mut self, session: &mut EngineSession<'_>, message: Message<'_>) {}

    /// The waiting packets were sent.
    fn on_drain(&mut self, session: &mut EngineSession<'_>) {}

    /// The session has moved from polling to a WebSocket.
    fn on_upgrade(&mut self, session: &mut EngineSession<'_>) {}

    /// The session has ended.
    fn on_close(&mut self, session: &mut EngineSession<'_>, reason: CloseReason) {}
}

/// A session, during a callback.
pub struct EngineSession<'a> {
    hub: &'a mut Hub,
    session: &'a Rc<Session>,
}

impl EngineSession<'_> {
    /// The id of the session. It is a credential.
    pub fn id(&self) -> &str {
        self.session.sid()
    }

    /// Sends a message.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) {
        let packet = match message.into() {
            Message::Text(text) => Packet::text(text),
            Message::Binary(bytes) => Packet::Binary(bytes.to_vec().into()),
        };
        self.session.send(self.hub, packet, true);
    }

    /// Closes the session, once the client has taken what was sent.
    pub fn close(&mut self) {
        self.session.close(self.hub);
    }

    /// The request that opened the session.
    pub fn handshake(&self) -> &Request {
        self.session.request()
    }

    /// The request that has brought the message which is being handled; with a WebSocket, the one that opened it.
    pub fn request(&self) -> Rc<Request> {
        self.session.current_request()
    }

    /// `polling` or `websocket`.
    pub fn transport(&self) -> &'static str {
        match self.session.transport() {
            SessionTransport::Polling => "polling",
            SessionTransport::WebSocket => "websocket",
        }
    }

    /// Bytes that the client has not taken.
    pub fn waiting_bytes(&self) -> usize {
        self.session.waiting_bytes(self.hub)
    }

    /// The Hub of the reactor.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }
}

impl fmt::Debug for EngineSession<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EngineSession").field("transport", &self.transport()).finish_non_exhaustive()
    }
}

/// Sessions whose handlers the user makes.
struct Sessions(Box<MakeHandler>);

type MakeHandler = dyn Fn(&mut EngineSession<'_>) -> Box<dyn EngineIoHandler>;

impl Application for Sessions {
    fn open(&self, hub: &mut Hub, session: &Rc<Session>) -> Rc<dyn SessionHandler> {
        Rc::new(Single(RefCell::new((self.0)(&mut EngineSession { hub, session }))))
    }
}

/// The handler of a session, as the user has made it.
struct Single(RefCell<Box<dyn EngineIoHandler>>);

impl SessionHandler for Single {
    fn on_message(&self, hub: &mut Hub, session: &Rc<Session>, message: Message<'_>) {
        self.0.borrow_mut().on_message(&mut EngineSession { hub, session }, message);
    }

    fn on_drain(&self, hub: &mut Hub, session: &Rc<Session>) {
        self.0.borrow_mut().on_drain(&mut EngineSession { hub, session });
    }

    fn on_upgrade(&self, hub: &mut Hub, session: &Rc<Session>) {
        self.0.borrow_mut().on_upgrade(&mut EngineSession { hub, session });
    }

    fn on_close(&self, hub: &mut Hub, session: &Rc<Session>, reason: CloseReason) {
        self.0.borrow_mut().on_close(&mut EngineSession { hub, session }, reason);
    }
}
