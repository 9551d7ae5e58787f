//! A server for the clients of Pusher Channels (feature `pusher`): protocol 7 and its HTTP API, for the unmodified
//! `pusher-js`, Laravel Echo, and Pusher's server libraries.
//!
//! ```no_run
//! use ws_reactor::{Reactor, Routes, Server, pusher::{Pusher, PusherApp}};
//!
//! let pusher = Pusher::new().app(PusherApp::new("1", "key", "secret")).build();
//! let mut reactor = Reactor::new()?;
//! pusher.start(reactor.hub());
//! reactor.listen("127.0.0.1:6001", Server::routes(pusher.mount(Routes::new()))?)?;
//! reactor.run()?;
//! # Ok::<(), ws_reactor::Error>(())
//! ```
//!
//! A page then connects with `new Pusher("key", {wsHost: "127.0.0.1", wsPort: 6001, forceTLS: false, cluster: ""})`.
//! The guide [`pusher`](crate::guide::pusher) has the settings of each library.
//!
//! # Channels
//!
//! | name | subscription | members | events of clients |
//! |---|---|---|---|
//! | `news` | by anybody | | |
//! | `private-news` | signed | | `client-…` |
//! | `private-encrypted-news` | signed; the data is passed through | | |
//! | `presence-news` | signed, with a user | `member_added`, `member_removed` | `client-…` |
//! | `#server-to-user-ID` | by the user that has signed in | | |
//!
//! A name that goes on with `cache-`, as `private-cache-news`, is that of a cache channel: a new subscriber gets its
//! last event, or `pusher:cache_miss`.
//!
//! # Several reactors, several processes
//!
//! All nodes with an app of the same id are one: channels, members, users, caches, and calls of the HTTP API. They
//! share a topic, `pusher/ID`, by the [backplane](crate::guide::many_machines). The reactors of a
//! group have one order of changes. Use `Redis::one_order`, so that processes do, too; without it, an event may be
//! reported twice, or not at all. A node that ends without
//! [`close`](PusherHandle::close) counts as ended after 30 s, with its members and users.
//!
//! Other messages on these topics are taken for messages of nodes: an application must not let clients choose topics
//! that begin with `pusher/`.
//!
//! # Order
//!
//! Events of one publisher arrive in their order. A subscription is confirmed when it has its place in the order of the
//! topic: its client gets all later events.

mod answers;
mod api;
mod app;
mod backlog;
mod cache;
mod clients;
mod connection;
mod envelope;
mod events;
#[cfg(any(test, fuzzing))]
mod fuzzing;
mod handle;
mod holdings;
mod http;
mod liveness;
mod local;
mod names;
mod nodes;
mod options;
mod packet;
mod parts;
mod rate;
mod roster;
mod sender;
mod signature;
mod testing;
mod webhooks;

use std::{cell::Cell, fmt, rc::Rc};

#[cfg(any(test, fuzzing))]
pub(crate) use self::fuzzing::check;
pub use self::{
    api::TriggerError,
    events::PusherEvent,
    handle::{AuthorizationError, PusherAppHandle, PusherStats},
    options::PusherApp,
    sender::WebhookUrlError,
    testing::PusherTest,
};
use self::{app::App, connection::PusherConnection};
use crate::{
    http::origins::{OriginError, Origins},
    protocol::MessageLimits,
    reactor::Hub,
    websocket::Routes,
};

/// Target of the log.
const LOG: &str = "ws_reactor::pusher";

/// Bytes of a message of a client beside the data of an event.
const MESSAGE_BYTES: usize = 64 * 1024;

/// The apps of a server, by id and by key.
pub(super) struct Apps(Vec<Rc<App>>);

impl Apps {
    fn by_id(&self, id: &str) -> Option<&Rc<App>> {
        self.0.iter().find(|app| app.options.id == id)
    }

    fn by_key(&self, key: &str) -> Option<&Rc<App>> {
        self.0.iter().find(|app| app.options.credentials.key == key)
    }

    fn all(&self) -> impl Iterator<Item = &Rc<App>> {
        self.0.iter()
    }
}

/// A server of Pusher Channels with its [apps](Self::app). See the [module](self).
///
/// In a [group](crate::ReactorGroup) each reactor has its own.
#[derive(Default)]
#[must_use]
pub struct Pusher {
    apps: Vec<PusherApp>,
    origins: Option<Vec<String>>,
}

impl Pusher {
    /// A server without apps.
    pub fn new() -> Self {
        Pusher::default()
    }

    /// Adds an app. It takes the place of one with the same id or the same key.
    pub fn app(mut self, app: PusherApp) -> Self {
        self.apps.retain(|other| other.id != app.id && other.credentials.key != app.credentials.key);
        self.apps.push(app);
        self
    }

    /// Sets the origins of pages that may connect, as [`Server::origins`](crate::Server::origins) takes them. Default:
    /// all. A request without `Origin` is accepted.
    ///
    /// # Errors
    ///
    /// [`OriginError`] if a pattern is not valid.
    pub fn origins<S: AsRef<str>>(mut self, patterns: impl IntoIterator<Item = S>) -> Result<Self, OriginError> {
        let patterns: Vec<String> = patterns.into_iter().map(|pattern| pattern.as_ref().to_owned()).collect();
        Origins::parse(&patterns)?;
        self.origins = Some(patterns);
        Ok(self)
    }

    /// Makes the server.
    pub fn build(self) -> PusherHandle {
        let apps = Apps(self.apps.into_iter().map(App::new).collect());
        PusherHandle { apps: Rc::new(apps), origins: self.origins }
    }
}

impl fmt::Debug for Pusher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let apps: Vec<_> = self.apps.iter().map(|app| &app.id).collect();
        formatter.debug_struct("Pusher").field("apps", &apps).finish_non_exhaustive()
    }
}

/// A server of Pusher Channels on one reactor.
#[derive(Clone)]
pub struct PusherHandle {
    apps: Rc<Apps>,
    origins: Option<Vec<String>>,
}

impl PusherHandle {
    /// Adds the paths of the protocol to routes, `/app/KEY`, and those of the HTTP API, `/apps/ID/…`.
    pub fn mount(&self, routes: Routes) -> Routes {
        let most = self.apps.all().map(|app| app.options.events.data_bytes).max().unwrap_or_default();
        let limits = MessageLimits::default().max_message_bytes(most.saturating_add(MESSAGE_BYTES));
        let apps = Rc::clone(&self.apps);
        let mut sockets =
            Routes::new().limits(limits).websocket("/{key}", move |handshake| PusherConnection::new(&apps, handshake));
        if let Some(patterns) = &self.origins {
            sockets = sockets.origins(patterns).expect("Pusher::origins has parsed the patterns");
        }
        http::mount(&self.apps, routes.scope("/app", sockets))
    }

    /// Joins the other processes. Without this call or [`when_ready`](Self::when_ready), an app joins them with its
    /// first connection or request, and its first answers are without the channels of the others.
    pub fn start(&self, hub: &mut Hub) {
        self.apps.all().for_each(|app| app.start(hub));
    }

    /// Joins the other processes, and calls `call` once the channels, users and cached events of these are known: the
    /// time to listen. Without others that takes 0.2 s, and without a connection to them 5 s.
    ///
    /// ```no_run
    /// # use ws_reactor::{Reactor, Routes, Server, pusher::{Pusher, PusherApp}};
    /// # let pusher = Pusher::new().app(PusherApp::new("1", "key", "secret")).build();
    /// # let mut reactor = Reactor::new()?;
    /// let server = Server::routes(pusher.mount(Routes::new()))?;
    /// pusher.when_ready(reactor.hub(), |hub| {
    ///     hub.listen("127.0.0.1:6001", server, |_, listening| println!("{listening:?}"));
    /// });
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn when_ready(&self, hub: &mut Hub, call: impl FnOnce(&mut Hub) + 'static) {
        self.start(hub);
        let waits = self.apps.all().count();
        if waits == 0 {
            return hub.next_tick(call);
        }
        let (left, call) = (Rc::new(Cell::new(waits)), Rc::new(Cell::new(Some(call))));
        for app in self.apps.all() {
            let (left, call) = (Rc::clone(&left), Rc::clone(&call));
            app.when_ready(hub, move |hub| {
                left.set(left.get() - 1);
                if left.get() == 0
                    && let Some(call) = call.take()
                {
                    call(hub);
                }
            });
        }
    }

    /// The app with an id.
    pub fn app(&self, id: &str) -> Option<PusherAppHandle> {
        self.apps.by_id(id).map(PusherAppHandle::new)
    }

    /// All apps.
    pub fn apps(&self) -> impl Iterator<Item = PusherAppHandle> {
        self.apps.all().map(PusherAppHandle::new)
    }

    /// Leaves the other processes, and closes all connections with 4200: their clients connect again at once. Webhooks
    /// that wait are sent now. Call [`Hub::shutdown`] about a second later, when they are on their way.
    pub fn close(&self, hub: &mut Hub) {
        self.apps.all().for_each(|app| app.leave(hub));
    }
}

impl fmt::Debug for PusherHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.apps()).finish()
    }
}
