//! The state that all sessions of a server share.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE};

use super::{
    admission::{Admission, ConnectionError},
    machine::{CloseReason, Timing, Transport},
    packet::Packet,
    session::{Session, SessionHandler},
};
use crate::{
    http::{HeaderMap, HeaderValue, Request, header},
    reactor::{ConnectionId, Hub},
    server::Reply,
};

/// The application above the sessions.
pub(crate) trait Application {
    /// A session has opened; its client knows. May send.
    fn open(&self, hub: &mut Hub, session: &Rc<Session>) -> Rc<dyn SessionHandler>;
    /// The server is gone: drops closures, which may refer to the server.
    fn release(&self) {}
}

/// Decides on a handshake.
pub(super) type AllowRequest = Box<dyn Fn(&Request, &mut Hub, Admission)>;
/// Adds headers to a response.
pub(super) type AddHeaders = Box<dyn Fn(&Request, &mut HeaderMap)>;

/// Called with a request that is refused.
pub(super) type OnConnectionError = Box<dyn Fn(&Request, &ConnectionError)>;

/// The options of a server.
pub(crate) struct Settings {
    pub(super) path: String,
    pub(super) timing: Timing,
    pub(super) max_payload: usize,
    pub(super) max_sessions: usize,
    pub(super) has_polling: bool,
    pub(super) has_websocket: bool,
    pub(super) allows_upgrades: bool,
    pub(super) cookie: Option<String>,
    pub(super) compresses_from: Option<usize>,
    pub(super) allow_request: Option<AllowRequest>,
    pub(super) initial_headers: Option<AddHeaders>,
    pub(super) headers: Option<AddHeaders>,
    pub(super) on_connection_error: Option<OnConnectionError>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            path: "/engine.io/".to_owned(),
            timing: Timing {
                ping_interval: Duration::from_secs(25),
                ping_timeout: Duration::from_secs(20),
                upgrade_timeout: Duration::from_secs(10),
                max_waiting_bytes: 16 * 1024 * 1024,
            },
            max_payload: 1_000_000,
            max_sessions: 100_000,
            has_polling: true,
            has_websocket: true,
            allows_upgrades: true,
            cookie: None,
            compresses_from: Some(1024),
            allow_request: None,
            initial_headers: None,
            headers: None,
            on_connection_error: None,
        }
    }
}

/// Events for the application, delivered after the running callback.
pub(super) enum Event {
    /// The pending poll may be answered.
    Settle(Rc<Session>),
    Drained(Rc<Session>),
    Upgraded(Rc<Session>),
    Closed(Rc<Session>, CloseReason),
    Task(Task),
}

/// A call of the application.
pub(crate) type Task = Box<dyn FnOnce(&mut Hub)>;

pub(crate) struct Engine {
    pub(super) settings: Settings,
    application: Rc<dyn Application>,
    sessions: RefCell<HashMap<Rc<str>, Rc<Session>>>,
    events: RefCell<VecDeque<Event>>,
    /// Callbacks of the application may run; events wait.
    is_busy: Cell<bool>,
    /// A tick will handle the events.
    has_tick: Cell<bool>,
}

impl Engine {
    pub(super) fn new(settings: Settings, application: Rc<dyn Application>) -> Rc<Self> {
        Rc::new(Engine {
            settings,
            application,
            sessions: RefCell::default(),
            events: RefCell::default(),
            is_busy: Cell::default(),
            has_tick: Cell::default(),
        })
    }

    /// Handles something from outside, then the events that it has caused.
    pub(super) fn enter<T>(self: &Rc<Self>, hub: &mut Hub, handle: impl FnOnce(&mut Hub) -> T) -> T {
        let busy = Busy::begin(&self.is_busy);
        let result = handle(hub);
        if busy.is_outermost {
            self.handle_events(hub);
        }
        result
    }

    /// Notes an event, for the end of the running callback or else for a tick.
    pub(super) fn push(self: &Rc<Self>, hub: &mut Hub, event: Event) {
        self.events.borrow_mut().push_back(event);
        if !self.is_busy.get() {
            self.tick(hub);
        }
    }

    /// Has a tick handle the events.
    fn tick(self: &Rc<Self>, hub: &mut Hub) {
        if self.has_tick.replace(true) {
            return;
        }
        let engine = Rc::downgrade(self);
        hub.next_tick(move |hub| {
            if let Some(engine) = engine.upgrade() {
                engine.has_tick.set(false);
                engine.enter(hub, |_| ());
            }
        });
    }

    /// Calls a function of the application once no other one runs.
    pub(crate) fn task(self: &Rc<Self>, hub: &mut Hub, task: Task) {
        self.push(hub, Event::Task(task));
    }

    fn handle_events(self: &Rc<Self>, hub: &mut Hub) {
        loop {
            let Some(event) = self.events.borrow_mut().pop_front() else { return };
            if !self.events.borrow().is_empty() {
                // In case that a callback panics.
                self.tick(hub);
            }
            match event {
                Event::Settle(session) => session.settle(hub),
                Event::Drained(session) => {
                    if let Some(handler) = session.handler() {
                        handler.on_drain(hub, &session);
                    }
                }
                Event::Upgraded(session) => {
                    if let Some(handler) = session.handler() {
                        handler.on_upgrade(hub, &session);
                    }
                }
                Event::Task(task) => task(hub),
                Event::Closed(session, reason) => {
                    log::debug!(target: "ws_reactor::engine_io", "session {} closed: {reason}", Redacted(session.sid()));
                    if let Some(handler) = session.take_handler() {
                        handler.on_close(hub, &session, reason);
                    }
                }
            }
        }
    }

    /// Returns `true` if there may be no more sessions.
    pub(super) fn is_full(&self, hub: &mut Hub) -> bool {
        let is_full = self.sessions.borrow().len() >= self.settings.max_sessions;
        if is_full && hub.may_warn() {
            log::warn!(target: "ws_reactor::engine_io", "a client is refused: there are {} sessions (max_sessions)",
                self.settings.max_sessions);
        }
        is_full
    }

    pub(super) fn session(&self, sid: &str) -> Option<Rc<Session>> {
        self.sessions.borrow().get(sid).cloned()
    }

    pub(crate) fn sessions(&self) -> Vec<Rc<Session>> {
        self.sessions.borrow().values().cloned().collect()
    }

    pub(super) fn remove(&self, sid: &str) {
        let mut sessions = self.sessions.borrow_mut();
        sessions.remove(sid);
        if sessions.is_empty() {
            // After a burst.
            sessions.shrink_to_fit();
        }
    }

    /// Opens a session whose client is about to get the packet that opens it.
    pub(super) fn open(
        self: &Rc<Self>,
        hub: &mut Hub,
        sid: Rc<str>,
        request: Rc<Request>,
        websocket: Option<ConnectionId>,
    ) -> Rc<Session> {
        let session = Session::new(self, Rc::clone(&sid), request, websocket, hub.now());
        log::debug!(target: "ws_reactor::engine_io", "session {} open by {:?}", Redacted(&sid), session.transport());
        self.sessions.borrow_mut().insert(sid, Rc::clone(&session));
        session
    }

    /// Tells the application of a session, after the packet that opens it.
    pub(super) fn announce(&self, hub: &mut Hub, session: &Rc<Session>) {
        // First of all its timer, in case that the callback panics.
        session.change(hub, |_, _| ());
        let handler = self.application.open(hub, session);
        session.set_handler(handler);
    }

    /// The packet that opens a session.
    pub(super) fn open_packet(&self, sid: &str, transport: Transport) -> String {
        let timing = &self.settings.timing;
        let can_upgrade =
            transport == Transport::Polling && self.settings.allows_upgrades && self.settings.has_websocket;
        format!(
            r#"0{{"sid":"{sid}","upgrades":{},"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            if can_upgrade { r#"["websocket"]"# } else { "[]" },
            timing.ping_interval.as_millis(),
            timing.ping_timeout.as_millis(),
            self.settings.max_payload,
        )
    }

    /// The headers of the response that opens a session.
    pub(super) fn initial_headers(&self, request: &Request, sid: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(name) = &self.settings.cookie {
            let cookie = HeaderValue::try_from(format!("{name}={sid}; Path=/; HttpOnly; SameSite=Lax"));
            headers.extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
        }
        if let Some(add) = &self.settings.initial_headers {
            add(request, &mut headers);
        }
        if let Some(add) = &self.settings.headers {
            add(request, &mut headers);
        }
        headers
    }

    /// A response with packets. `is_first`: it opens a session, whose headers are added elsewhere.
    pub(super) fn text_reply(&self, request: &Request, body: String, is_first: bool) -> Reply {
        let is_compressed = self.settings.compresses_from.is_some_and(|length| body.len() >= length);
        let mut reply = Reply::bytes(body)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"))
            .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !is_first {
            reply = self.with_headers(request, reply);
        }
        compressed(reply, request, is_compressed)
    }

    /// A response with the headers of the application.
    pub(super) fn with_headers(&self, request: &Request, reply: Reply) -> Reply {
        let Some(add) = &self.settings.headers else { return reply };
        let mut headers = HeaderMap::new();
        add(request, &mut headers);
        headers.iter().fold(reply, |reply, (name, value)| reply.header(name.clone(), value.clone()))
    }

    /// A name that nobody can guess: it is a credential.
    pub(super) fn new_sid(hub: &mut Hub) -> Rc<str> {
        random_name::<15>(hub).into()
    }
}

#[cfg(feature = "deflate")]
fn compressed(reply: Reply, request: &Request, is_long: bool) -> Reply {
    if is_long { reply.gzip(request) } else { reply }
}

#[cfg(not(feature = "deflate"))]
fn compressed(reply: Reply, _: &Request, _: bool) -> Reply {
    reply
}

impl Drop for Engine {
    fn drop(&mut self) {
        let sessions = self.sessions.take().into_values();
        let ended = self.events.take().into_iter().filter_map(|event| match event {
            Event::Settle(session) | Event::Drained(session) | Event::Upgraded(session) | Event::Closed(session, _) => {
                Some(session)
            }
            Event::Task(_) => None,
        });
        sessions.chain(ended).filter_map(|session| session.take_handler()).for_each(|handler| handler.release());
        self.application.release();
    }
}

/// Random bytes as text for URLs.
pub(crate) fn random_name<const BYTES: usize>(hub: &mut Hub) -> String {
    let mut random = [0; BYTES];
    hub.random(&mut random);
    URL_SAFE.encode(random)
}

/// The begin of a name that is a credential, for log lines.
struct Redacted<'a>(&'a str);

impl std::fmt::Display for Redacted<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let begin = self.0.get(..4).map_or(Cow::Borrowed("…"), |begin| Cow::Owned(format!("{begin}…")));
        formatter.write_str(&begin)
    }
}

/// The time in which callbacks run. A panic ends it, too.
struct Busy<'a> {
    is_busy: &'a Cell<bool>,
    is_outermost: bool,
}

impl<'a> Busy<'a> {
    fn begin(is_busy: &'a Cell<bool>) -> Self {
        Busy { is_outermost: !is_busy.replace(true), is_busy }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if self.is_outermost {
            self.is_busy.set(false);
        }
    }
}

/// A broadcast: text packets shared by all sessions.
pub(crate) fn send_to_all(hub: &mut Hub, sessions: &[Rc<Session>], packets: &[Packet], compresses: bool) {
    let ids: Vec<ConnectionId> = sessions.iter().filter_map(|session| session.direct()).collect();
    for packet in packets {
        if compresses {
            hub.send_many(ids.iter().copied(), packet.as_message());
        } else {
            ids.iter().for_each(|id| _ = hub.send_uncompressed(*id, packet.as_message()));
        }
    }
    for session in sessions {
        match session.direct() {
            Some(id) => session.check_waiting(hub, id),
            None => packets.iter().for_each(|packet| session.send(hub, packet.clone(), compresses)),
        }
    }
}
