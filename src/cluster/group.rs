//! Reactors on several threads, joined by their topics.

use std::{any::Any, error::Error, fmt, io, sync::mpsc, thread, time::Duration};

use crate::{
    error::PollError,
    net::{Kernel, System},
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
/// - **Limits.** Each reactor has the limits of its [`ReactorConfig`], of its listeners and of its servers for itself.
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
        Ok(ReactorGroup { config, reactors, remote, thread_name: "ws-reactor".to_owned() })
    }

    /// Sets the name of the threads, which is followed by the number of the reactor. Default `ws-reactor`.
    #[must_use]
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
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

    /// Starts the threads, calls `setup` on each with its reactor, runs the reactors, and returns when all have ended.
    ///
    /// # Errors
    ///
    /// The first error, or panic outside of callbacks. The other reactors are shut down, within 5 s.
    pub fn run(self, setup: impl Fn(&mut Reactor) -> Result<(), SetupError> + Sync) -> Result<(), GroupError> {
        let ReactorGroup { config, reactors, remote, thread_name } = self;
        let (results, ended) = mpsc::channel();
        thread::scope(|scope| {
            let (config, setup) = (&config, &setup);
            let mut running = 0;
            let mut first = Ok(());
            for (index, (system, place)) in reactors.into_iter().enumerate() {
                let (name, results) = (format!("{thread_name} {index}"), results.clone());
                let thread = thread::Builder::new().name(name);
                let started = thread.spawn_scoped(scope, move || {
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        let mut reactor = Reactor::at(place, system, config.clone());
                        setup(&mut reactor).map_err(GroupErrorKind::Setup)?;
                        reactor.run().map_err(GroupErrorKind::Poll)
                    }));
                    let result = result.unwrap_or_else(|payload| Err(GroupErrorKind::Panicked(message(&*payload))));
                    // The receiver is there until all threads have ended.
                    let _ = results.send((index, result));
                });
                match started {
                    Ok(_) => running += 1,
                    Err(error) => first = Err(GroupError { reactor: index, kind: GroupErrorKind::Thread(error) }),
                }
                if first.is_err() {
                    break;
                }
            }
            drop(results);
            if first.is_err() {
                remote.shutdown_group(SHUTDOWN_TIMEOUT);
            }
            for (index, result) in ended.iter().take(running) {
                if let Err(kind) = result {
                    log::error!(target: "ws_reactor::cluster", "reactor {index} has ended: {kind}");
                    remote.shutdown_group(SHUTDOWN_TIMEOUT);
                    first = first.and(Err(GroupError { reactor: index, kind }));
                }
            }
            first
        })
    }
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
    Panicked(String),
}

impl GroupError {
    /// Index of the reactor that has failed, from 0.
    pub fn reactor(&self) -> usize {
        self.reactor
    }
}

impl fmt::Display for GroupErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupErrorKind::Setup(_) => formatter.write_str("it could not be set up"),
            GroupErrorKind::Poll(_) => formatter.write_str("it could not wait for events"),
            GroupErrorKind::Thread(_) => formatter.write_str("its thread could not be started"),
            GroupErrorKind::Panicked(message) => write!(formatter, "it panicked: {message}"),
        }
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "reactor {}: {}", self.reactor, self.kind)
    }
}

impl Error for GroupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            GroupErrorKind::Setup(source) => Some(&**source),
            GroupErrorKind::Poll(source) => Some(source),
            GroupErrorKind::Thread(source) => Some(source),
            GroupErrorKind::Panicked(_) => None,
        }
    }
}
