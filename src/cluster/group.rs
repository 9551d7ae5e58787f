//! Reactors on several threads, joined by their topics.

use std::{
    any::Any,
    error::Error,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

#[cfg(feature = "affinity")]
use crate::net::affinity;
use crate::{
    error::PollError,
    net::{Kernel, System, sim::Sim},
    reactor::{Place, Reactor, ReactorConfig, Remote},
};

/// An error of the function that sets up a reactor of a [`ReactorGroup`].
pub type SetupError = Box<dyn Error + Send + Sync>;

/// Reactors on several threads that share listeners and topics: one server on all cores.
///
/// Each reactor has its own thread, connections, handlers and timers; nothing of a handler is shared, so an `Rc` is
/// as harmless as on a single reactor. [`run`](Self::run) calls the set-up function once on each thread.
///
/// - **Listeners.** A listener is opened on each reactor, with `SO_REUSEPORT`, and the system distributes the
///   connections. With port 0 all of them get the same port. Unix sockets and adopted sockets are shared themselves.
/// - **Topics.** [`Hub::publish`](crate::Hub::publish) reaches the subscribers on all reactors, each message of one
///   publisher in order. [`Hub::publish_local`](crate::Hub::publish_local) reaches those of one reactor.
/// - **Ids.** A [`Remote`] of any reactor passes commands for a connection to the reactor of that connection. A
///   [`Hub`](crate::Hub) acts on its own connections only.
/// - **Shutdown.** [`Hub::shutdown`](crate::Hub::shutdown) and [`Hub::stop`](crate::Hub::stop) end all reactors.
/// - **Limits.** The reactors share the limits of
///   [pending handshakes](field@crate::ServerConfig::pending_handshakes), of
///   [connections per address](crate::Bind::connections_per_address), and of
///   [excess output](field@ReactorConfig::excess_output_bytes). All other limits and budgets are those of each reactor.
/// - **TLS.** Make a `TlsAcceptor` before `run` and clone it in the set-up function: then all reactors resume the
///   sessions of each other.
///
/// ```no_run
/// use ws_reactor::{ReactorGroup, Server, on_message};
///
/// ReactorGroup::new(4)?.run(|reactor| {
///     let server = Server::new(|_| {
///         on_message(|ws, message| {
///             ws.hub().publish("all", message);
///         })
///     });
///     reactor.listen("127.0.0.1:8080", server)?;
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReactorGroup {
    config: ReactorConfig,
    reactors: Vec<(System, Place)>,
    remote: Remote,
    thread_name: String,
    /// Cores on which the threads stay. Empty: the system chooses.
    cores: Vec<usize>,
}

/// Time that the other reactors have to shut down after one has failed.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

impl ReactorGroup {
    /// Makes a group of so many reactors, at least one, with the default configuration.
    ///
    /// # Errors
    ///
    /// [`PollError`] if the system cannot create a poll for each.
    pub fn new(reactors: usize) -> Result<Self, PollError> {
        ReactorGroup::with_config(reactors, ReactorConfig::default())
    }

    /// Makes a group whose reactors have this configuration each.
    ///
    /// # Errors
    ///
    /// See [`new`](Self::new).
    pub fn with_config(reactors: usize, config: ReactorConfig) -> Result<Self, PollError> {
        let system = |_| System::new(config.events).map_err(PollError);
        let systems = (0..reactors.max(1)).map(system).collect::<Result<Vec<_>, _>>()?;
        let places = Place::of_group(&config, systems.iter().map(Kernel::waker).collect());
        let clock = systems.first().and_then(Kernel::running_clock);
        let remote = places[0].remote(clock);
        let reactors = systems.into_iter().zip(places).collect();
        Ok(ReactorGroup { config, reactors, remote, thread_name: "ws-reactor".to_owned(), cores: Vec::new() })
    }

    /// Makes the reactors of a group on simulated networks, one for each, on this thread: for tests in virtual time, in
    /// which the test decides which reactor has its turn.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ws_reactor::{ReactorConfig, ReactorGroup};
    ///
    /// let mut reactors = ReactorGroup::simulated(2, ReactorConfig::new());
    /// assert_eq!(reactors[0].hub().publish("news", "hello").handed_on, 1);
    /// for reactor in &mut reactors {
    ///     reactor.turn(Some(Duration::ZERO))?;
    /// }
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn simulated(reactors: usize, config: ReactorConfig) -> Vec<Reactor<Sim>> {
        let systems: Vec<Sim> = (0..reactors.max(1)).map(|_| Sim::new()).collect();
        let places = Place::of_group(&config, systems.iter().map(Kernel::waker).collect());
        systems.into_iter().zip(places).map(|(system, place)| Reactor::at(place, system, config.clone())).collect()
    }

    /// Sets the name of the threads, which is followed by the index of the reactor. Default `ws-reactor`.
    #[must_use]
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// Keeps each thread on one core: the reactor with index `n` on the `n`-th of these, which begin again after the
    /// last. The numbers are those of the system, from 0. Default: the system chooses.
    ///
    /// The calling thread of [`run`](Self::run), which is that of the first reactor, stays on its core afterwards. A
    /// core that the process may not use ends the group with an error. The threads of
    /// [`Hub::defer`](crate::Hub::defer) run on all cores; on Linux, a thread or child process that a handler starts
    /// stays on the core of its reactor.
    #[cfg(feature = "affinity")]
    #[must_use]
    pub fn pin_to_cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.cores = cores.into_iter().collect();
        self
    }

    /// A handle for other threads, which reaches the connections of all reactors. Functions and publications are
    /// executed on the first reactor. Commands wait until the group is run.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Number of reactors.
    #[expect(clippy::len_without_is_empty, reason = "a group has at least one reactor")]
    pub fn len(&self) -> usize {
        self.reactors.len()
    }

    /// Calls `setup` with each reactor on its thread, runs the reactors, and returns when all have ended. The first
    /// reactor has the calling thread, so a group of one starts none.
    ///
    /// # Errors
    ///
    /// The first error, or panic outside of callbacks. The other reactors are shut down, within 5 s.
    pub fn run(self, setup: impl Fn(&mut Reactor) -> Result<(), SetupError> + Sync) -> Result<(), GroupError> {
        let ReactorGroup { config, reactors, remote, thread_name, cores } = self;
        let group = Run { config, cores, setup, remote, first_error: Mutex::new(None) };
        thread::scope(|scope| {
            let mut reactors = reactors.into_iter().enumerate();
            let calling_thread = reactors.next();
            for (index, (system, place)) in reactors {
                let (group, thread) = (&group, thread::Builder::new().name(format!("{thread_name} {index}")));
                if let Err(error) = thread.spawn_scoped(scope, move || group.run_one(index, system, place)) {
                    group.fail(index, GroupErrorKind::Thread(error));
                    break;
                }
            }
            if let Some((index, (system, place))) = calling_thread {
                group.run_one(index, system, place);
            }
        });
        group.first_error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// The state that the threads of a group share.
struct Run<S> {
    config: ReactorConfig,
    cores: Vec<usize>,
    setup: S,
    remote: Remote,
    first_error: Mutex<Option<GroupError>>,
}

impl<S: Fn(&mut Reactor) -> Result<(), SetupError> + Sync> Run<S> {
    /// Makes a reactor on this thread, and runs it to its end.
    fn run_one(&self, index: usize, system: System, place: Place) {
        let run = || {
            if !self.cores.is_empty() {
                pin(self.cores[index % self.cores.len()])?;
            }
            let mut reactor = Reactor::at(place, system, self.config.clone());
            (self.setup)(&mut reactor).map_err(GroupErrorKind::Setup)?;
            reactor.run().map_err(GroupErrorKind::Poll)
        };
        let result = catch_unwind(AssertUnwindSafe(run));
        if let Err(kind) = result.unwrap_or_else(|payload| Err(GroupErrorKind::Panicked(message(&*payload)))) {
            self.fail(index, kind);
        }
    }

    /// Shuts the other reactors down.
    fn fail(&self, index: usize, kind: GroupErrorKind) {
        let error = GroupError { reactor: index, kind };
        log::error!(target: "ws_reactor::cluster", "{error}; the others are shut down");
        self.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.remote.shutdown_group(SHUTDOWN_TIMEOUT);
    }
}

/// Keeps the thread on a core.
fn pin(core: usize) -> Result<(), GroupErrorKind> {
    #[cfg(feature = "affinity")]
    if affinity::pin(core) {
        return Ok(());
    }
    Err(GroupErrorKind::Core(core))
}

/// The message of a panic.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

/// Why a [`ReactorGroup`] has ended.
#[derive(Debug)]
pub struct GroupError {
    reactor: usize,
    kind: GroupErrorKind,
}

#[derive(Debug)]
enum GroupErrorKind {
    Setup(SetupError),
    Poll(PollError),
    Thread(io::Error),
    /// The core cannot be used.
    Core(usize),
    Panicked(String),
}

impl GroupError {
    /// Index of the reactor that has failed, from 0.
    pub fn reactor(&self) -> usize {
        self.reactor
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.reactor;
        match &self.kind {
            GroupErrorKind::Setup(_) => write!(formatter, "the set-up of reactor {index} failed"),
            GroupErrorKind::Poll(_) => write!(formatter, "reactor {index} cannot wait for events"),
            GroupErrorKind::Thread(_) => write!(formatter, "the thread of reactor {index} cannot be started"),
            GroupErrorKind::Core(core) => write!(formatter, "the thread of reactor {index} cannot stay on core {core}"),
            GroupErrorKind::Panicked(message) => write!(formatter, "reactor {index} panicked: {message}"),
        }
    }
}

impl Error for GroupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            GroupErrorKind::Setup(source) => Some(&**source),
            GroupErrorKind::Poll(source) => Some(source),
            GroupErrorKind::Thread(source) => Some(source),
            GroupErrorKind::Core(_) | GroupErrorKind::Panicked(_) => None,
        }
    }
}
