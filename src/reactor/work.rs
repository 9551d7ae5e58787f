//! Work on other threads whose results the loop receives: [`Hub::defer`].

use std::{
    any::Any,
    error::Error,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use slab::Slab;

use super::{config::ReactorConfig, hub::Hub, panic::message, remote::Command, slack::shrink_slab};
use crate::net::ThreadPool;

/// Why a work of [`Hub::defer`] has no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum DeferError {
    /// The work panicked with this message, or with `no message` if the payload is not a string.
    Panicked(String),
    /// [`ReactorConfig::defer_queue`](field@ReactorConfig::defer_queue) works wait for a thread, or for the delivery of
    /// their results. The work was not done.
    Full,
    /// The system starts no thread. The work was not done.
    NoThread(io::Error),
}

impl fmt::Display for DeferError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeferError::Panicked(message) => write!(formatter, "the work panicked: {message}"),
            DeferError::Full => formatter.write_str("too many works are under way"),
            DeferError::NoThread(_) => formatter.write_str("no thread could be started"),
        }
    }
}

impl Error for DeferError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            DeferError::NoThread(source) => Some(source),
            DeferError::Panicked(_) | DeferError::Full => None,
        }
    }
}

/// Result of a work, of a type that its receiver knows.
pub(super) type Outcome = Result<Box<dyn Any + Send>, DeferError>;

/// Receiver of a result.
type Done = Box<dyn FnOnce(&mut Hub, Outcome)>;

/// The pool, and the receivers of results.
pub(super) struct Works {
    pool: ThreadPool,
    /// No work is done on other threads.
    on_the_loop: bool,
    /// Most works under way, those whose results wait included.
    most: usize,
    done: Slab<Done>,
}

impl Works {
    pub(super) fn new(config: &ReactorConfig) -> Self {
        Works {
            pool: ThreadPool::new("ws-reactor work", config.defer_threads),
            on_the_loop: config.defer_threads == 0,
            most: config.defer_queue.max(1) + config.defer_threads,
            done: Slab::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// Frees unused capacity.
    pub(super) fn shrink(&mut self) {
        shrink_slab(&mut self.done);
    }

    /// Makes a receiver, and returns its key.
    pub(super) fn await_outcome<T: 'static>(
        &mut self,
        done: impl FnOnce(&mut Hub, Result<T, DeferError>) + 'static,
    ) -> usize {
        self.done.insert(Box::new(|hub: &mut Hub, outcome: Outcome| {
            done(hub, outcome.map(|value| *value.downcast().expect("the work's own type")));
        }))
    }

    /// The receiver of a result that has arrived.
    pub(super) fn take(&mut self, key: usize) -> Option<Done> {
        self.done.try_remove(key)
    }
}

impl Drop for Works {
    fn drop(&mut self) {
        self.pool.drop_waiting();
    }
}

impl fmt::Debug for Works {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Works").field(&self.done.len()).finish()
    }
}

impl Hub {
    /// Runs `work` on a thread of the reactor's pool, then calls `done` with the result on the loop (EventMachine's
    /// `defer`): for what blocks or takes long, such as a query, a file, or a password hash.
    ///
    /// `done` is called exactly once, unless the reactor is dropped before. It stays on the loop, and may hold an `Rc`.
    /// Results are delivered within [`ReactorConfig::command_budget`], and works may finish in any order. The pool has
    /// at most [`defer_threads`](field@ReactorConfig::defer_threads), which start with the first work and end after a
    /// second without work.
    ///
    /// A graceful [shutdown](Self::shutdown) waits for works that are under way, within its time-out, unless
    /// [`ReactorConfig::shutdown_awaits_deferred`](field@ReactorConfig::shutdown_awaits_deferred) is off;
    /// [`stop`](Self::stop) does not. A request that waits for the result ([`Reply::later`](crate::Reply::later)) is
    /// answered with 503 at shutdown all the same. Results that arrive later are delivered if the loop is run again.
    ///
    /// In a test on the [simulated system](crate::net::sim), set
    /// [`defer_threads`](field@ReactorConfig::defer_threads) to 0: works then run on the loop, and
    /// [`settle`](crate::Reactor::settle) waits for them.
    ///
    /// # Errors
    ///
    /// `done` gets [`DeferError::Panicked`] if `work` panics, [`DeferError::Full`] if
    /// [`defer_queue`](field@ReactorConfig::defer_queue) works wait, and [`DeferError::NoThread`] if the
    /// system starts none.
    ///
    /// ```no_run
    /// use std::fs;
    /// use ws_reactor::{Server, on_message};
    ///
    /// // Each message is the name of a file.
    /// let server = Server::new(|_| {
    ///     on_message(|ws, message| {
    ///         let (id, name) = (ws.id(), message.to_string());
    ///         ws.hub().defer(
    ///             move || fs::read_to_string(name).unwrap_or_default(),
    ///             move |hub, text| { hub.send(id, text.unwrap_or_default()); },
    ///         );
    ///     })
    /// });
    /// ```
    pub fn defer<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&mut Hub, Result<T, DeferError>) + 'static,
    ) {
        let key = self.works.await_outcome(done);
        if self.works.on_the_loop {
            return self.next_tick(move |hub| hub.deliver_work(key, run(work)));
        }
        if self.works.done.len() > self.works.most {
            return self.next_tick(move |hub| hub.deliver_work(key, Err(DeferError::Full)));
        }
        let remote = self.remote();
        if let Err(error) = self.works.pool.run(move || remote.push_surely(Command::Worked(key, run(work)))) {
            self.next_tick(move |hub| hub.deliver_work(key, Err(DeferError::NoThread(error))));
        }
    }

    fn deliver_work(&mut self, key: usize, outcome: Outcome) {
        if let Some(done) = self.works.take(key) {
            done(self, outcome);
        }
    }

    /// Number of works of [`defer`](Self::defer) whose results have not arrived.
    pub fn deferred_works(&self) -> usize {
        self.works.done.len()
    }
}

/// Does a work. A panic is its result.
fn run<T: Send + 'static>(work: impl FnOnce() -> T) -> Outcome {
    let value = catch_unwind(AssertUnwindSafe(work));
    value.map(|value| Box::new(value) as _).map_err(|payload| DeferError::Panicked(message(&*payload).to_owned()))
}
