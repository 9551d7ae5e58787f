//! Name resolution, off the reactor's thread.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{command_queue::CommandQueue, kernel::Wake, thread_pool::ThreadPool};

/// Resolves names to addresses, for [`Reactor::set_resolver`](crate::Reactor::set_resolver).
///
/// The default resolver calls the system's resolver in up to 4 threads, which start with the first name and end after 1
/// s without names. [`resolve`](Self::resolve) runs on the reactor's thread and must not block: the answer can be given
/// later, from any thread.
///
/// ```
/// use std::net::SocketAddr;
/// use ws_reactor::{Reactor, net::{Answer, Resolver}};
///
/// /// Resolves every name to this machine.
/// struct Here;
///
/// impl Resolver for Here {
///     fn resolve(&self, _: &str, port: u16, answer: Answer) {
///         answer.give(Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]));
///     }
/// }
///
/// let mut reactor = Reactor::new()?;
/// reactor.set_resolver(Here);
/// # Ok::<(), ws_reactor::Error>(())
/// ```
pub trait Resolver {
    /// Starts the look-up of `name` and gives the result to `answer`, with `port` in each address.
    ///
    /// Connection attempts follow the given order, with IPv6 and IPv4 taking turns. RFC 8305 §4.
    fn resolve(&self, name: &str, port: u16, answer: Answer);
}

/// The receiver of a resolver's answer. Dropping the `Answer` without [`give`](Self::give) fails the look-up.
#[derive(Debug)]
pub struct Answer {
    lookup: u128,
    answers: Arc<Answers>,
    cancel_token: Weak<()>,
    given: bool,
}

impl Answer {
    /// Returns `true` if the connection attempt still needs the answer. A resolver may skip a look-up that is not
    /// wanted.
    pub fn is_wanted(&self) -> bool {
        self.cancel_token.strong_count() > 0
    }

    /// Gives the addresses, or the error that the connection attempt fails with.
    pub fn give(mut self, addresses: io::Result<Vec<SocketAddr>>) {
        self.given = true;
        self.answers.push(self.lookup, &self.cancel_token, addresses);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.given {
            self.answers.push(self.lookup, &self.cancel_token, Err(io::Error::other("the resolver gave no answer")));
        }
    }
}

/// A lookup's number, and its answer.
pub(crate) type Answered = (u128, io::Result<Vec<SocketAddr>>);

/// An answer that waits, and the token that is held as long as it is wanted.
type Waiting = (Answered, Weak<()>);

/// Answers that wait for the reactor.
#[derive(Debug)]
pub(crate) struct Answers(CommandQueue<Waiting>);

impl Answers {
    pub(crate) fn new(waker: Arc<dyn Wake>) -> Arc<Self> {
        // There are at most as many answers as lookups, which come from the reactor itself.
        Arc::new(Answers(CommandQueue::new(usize::MAX, waker)))
    }

    /// An `Answer` for a lookup, wanted as long as `cancel_token` is held.
    pub(crate) fn expect(self: &Arc<Self>, lookup: u128, cancel_token: &Arc<()>) -> Answer {
        Answer { lookup, answers: Arc::clone(self), cancel_token: Arc::downgrade(cancel_token), given: false }
    }

    /// Returns `true` if answers wait.
    pub(crate) fn are_waiting(&self) -> bool {
        self.0.is_waiting()
    }

    /// The answers that are still wanted. The next lookup of a connection has the same number, so an answer to an
    /// earlier one must not pass for its own.
    pub(crate) fn take(&self) -> Vec<Answered> {
        let mut answers = Vec::new();
        self.0.drain(&mut answers);
        answers.into_iter().filter(|(_, token)| token.strong_count() > 0).map(|(answer, _)| answer).collect()
    }

    fn push(&self, lookup: u128, token: &Weak<()>, addresses: io::Result<Vec<SocketAddr>>) {
        // This queue has no bound and is never closed, so nothing is refused.
        let _ = self.0.push(((lookup, addresses), Weak::clone(token)));
    }
}

/// The system's resolver, called in up to [`THREADS`] threads, which start on demand and end when idle.
#[derive(Debug)]
pub(crate) struct SystemResolver {
    pool: ThreadPool,
    open: Arc<OpenLookups>,
}

/// Unanswered lookups. Equal ones share one call of the system.
#[derive(Debug, Default)]
struct OpenLookups(Mutex<HashMap<Lookup, Vec<Answer>>>);

/// A name, and the port for its addresses.
type Lookup = (String, u16);

const THREADS: usize = 4;

impl Default for SystemResolver {
    fn default() -> Self {
        SystemResolver { pool: ThreadPool::new("ws-reactor names", THREADS), open: Arc::default() }
    }
}

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str, port: u16, answer: Answer) {
        let lookup = (name.to_owned(), port);
        if !self.open.add(&lookup, answer) {
            return;
        }
        let (open, asked) = (Arc::clone(&self.open), lookup.clone());
        if let Err(error) = self.pool.run(move || open.answer(&asked)) {
            log::error!(target: "ws_reactor::net", "no thread to look up names: {error}");
            // Dropped answers fail their look-ups.
            drop(self.open.take(&lookup));
        }
    }
}

impl OpenLookups {
    fn lock(&self) -> MutexGuard<'_, HashMap<Lookup, Vec<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an answer to its lookup. Returns `true` if it is the first.
    fn add(&self, lookup: &Lookup, answer: Answer) -> bool {
        let mut open = self.lock();
        if let Some(answers) = open.get_mut(lookup) {
            answers.push(answer);
            return false;
        }
        open.insert(lookup.clone(), vec![answer]);
        true
    }

    fn take(&self, lookup: &Lookup) -> Vec<Answer> {
        self.lock().remove(lookup).unwrap_or_default()
    }

    /// Removes a lookup if no answer to it is wanted. Returns whether it was removed.
    fn take_unwanted(&self, lookup: &Lookup) -> bool {
        let mut open = self.lock();
        let is_unwanted = !open.get(lookup).is_some_and(|answers| answers.iter().any(Answer::is_wanted));
        let answers = if is_unwanted { open.remove(lookup) } else { None };
        // A dropped answer reports to the reactor.
        drop(open);
        drop(answers);
        is_unwanted
    }

    /// Looks a name up, if anybody still wants it, and answers.
    fn answer(&self, lookup: &Lookup) {
        if self.take_unwanted(lookup) {
            return;
        }
        let (name, port) = lookup;
        let found = (name.as_str(), *port).to_socket_addrs().map(Vec::from_iter);
        for answer in self.take(lookup) {
            let found = found.as_ref().map(Vec::clone);
            answer.give(found.map_err(|error| io::Error::new(error.kind(), error.to_string())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[derive(Debug)]
    struct NoWake;

    impl Wake for NoWake {
        fn wake(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Resolves all names and returns the answers in the order of the names.
    fn resolve_all(resolver: &dyn Resolver, names: &[&str]) -> Vec<Answered> {
        let (answers, cancel_token, mut received) = (Answers::new(Arc::new(NoWake)), Arc::default(), Vec::new());
        for (lookup, name) in names.iter().enumerate() {
            resolver.resolve(name, 80, answers.expect(lookup as u128, &cancel_token));
        }
        while received.len() < names.len() {
            received.extend(answers.take());
            thread::yield_now();
        }
        received.sort_by_key(|(lookup, _)| *lookup);
        received
    }

    #[test]
    fn system_resolver_finds_localhost_and_fails_for_an_invalid_name() {
        // RFC 6761 §6.4: `invalid` has no addresses.
        let names = ["localhost", "nobody.invalid", "127.0.0.1", "localhost", "localhost", "::1"];
        let answers = resolve_all(&SystemResolver::default(), &names);
        assert!(answers[0].1.as_ref().is_ok_and(|found| found.iter().all(|addr| addr.ip().is_loopback())));
        assert!(answers[1].1.is_err());
        assert_eq!(answers[5].1.as_ref().unwrap(), &["[::1]:80".parse::<SocketAddr>().unwrap()]);
    }

    #[test]
    fn equal_lookups_are_resolved_once_and_withdrawn_lookups_not_at_all() {
        let (answers, cancel_token) = (Answers::new(Arc::new(NoWake)), Arc::default());
        let open = OpenLookups::default();
        let lookup = |name: &str| (name.to_owned(), 80);
        let withdrawn = Arc::default();
        assert!(open.add(&lookup("nobody.invalid"), answers.expect(0, &withdrawn)));
        let firsts = (1..=100).filter(|number| open.add(&lookup("::1"), answers.expect(*number, &cancel_token)));
        assert_eq!(firsts.count(), 1);
        drop(withdrawn);
        open.answer(&lookup("nobody.invalid"));
        assert_eq!(open.lock().len(), 1, "the first lookup is withdrawn");
        open.answer(&lookup("::1"));
        let received = answers.take();
        assert_eq!(received.iter().filter(|(_, found)| found.is_ok()).count(), 100);
        assert!(received.iter().all(|(lookup, _)| *lookup != 0), "an answer that is not wanted does not arrive");
        assert!(open.lock().is_empty());
    }

    #[test]
    fn dropped_answer_is_reported_as_a_failed_lookup() {
        struct Dropping;
        impl Resolver for Dropping {
            fn resolve(&self, _: &str, _: u16, _: Answer) {}
        }
        assert!(resolve_all(&Dropping, &["anything"])[0].1.is_err());
    }
}
