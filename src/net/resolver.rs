//! Names to addresses, off the loop.

use std::{
    collections::VecDeque,
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::kernel::Wake;

/// Finds the addresses of a name. It is called on the loop, and must not block it: the answer is given later, from any thread.
///
/// ```
/// use std::net::SocketAddr;
/// use ws_reactor::{Reactor, net::{Answer, Resolver}};
///
/// /// Everything is here.
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
    /// Looks a name up. The addresses are tried in the order in which they are given, the families taking turns.
    fn resolve(&self, name: &str, port: u16, answer: Answer);
}

/// Where a resolver's answer goes. If it is dropped, the name was not found.
#[derive(Debug)]
pub struct Answer {
    question: u64,
    answers: Arc<Answers>,
    given: bool,
}

impl Answer {
    /// Gives the answer.
    pub fn give(mut self, addresses: io::Result<Vec<SocketAddr>>) {
        self.given = true;
        self.answers.push(self.question, addresses);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.given {
            self.answers.push(self.question, Err(io::Error::other("the resolver gave no answer")));
        }
    }
}

/// An answer, and to which question.
pub(crate) type Answered = (u64, io::Result<Vec<SocketAddr>>);

/// Answers that wait for the loop.
pub(crate) struct Answers {
    waiting: Mutex<Vec<Answered>>,
    waker: Arc<dyn Wake>,
}

impl Answers {
    pub(crate) fn new(waker: Arc<dyn Wake>) -> Arc<Self> {
        Arc::new(Answers { waiting: Mutex::default(), waker })
    }

    /// The place for the answer to a question.
    pub(crate) fn expect(self: &Arc<Self>, question: u64) -> Answer {
        Answer { question, answers: Arc::clone(self), given: false }
    }

    pub(crate) fn take(&self) -> Vec<Answered> {
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, question: u64, addresses: io::Result<Vec<SocketAddr>>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((question, addresses));
        if let Err(error) = self.waker.wake() {
            log::error!(target: "ws_reactor::net", "the loop cannot be woken: {error}");
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Answers").finish_non_exhaustive()
    }
}

/// The system's resolver, asked in threads: at most so many at once, started when there are names, and ended when there are none for a while.
#[derive(Debug, Default)]
pub(crate) struct SystemResolver {
    desk: Arc<Desk>,
}

/// Where names wait, and threads for them.
#[derive(Debug, Default)]
struct Desk {
    questions: Mutex<Questions>,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct Questions {
    waiting: VecDeque<(String, u16, Answer)>,
    threads: usize,
    idle: usize,
}

const THREADS: usize = 4;

/// How long a thread waits for the next name.
const PATIENCE: Duration = Duration::from_secs(1);

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str, port: u16, answer: Answer) {
        let mut questions = self.desk.lock();
        questions.waiting.push_back((name.to_owned(), port, answer));
        if questions.waiting.len() <= questions.idle || questions.threads == THREADS {
            return self.desk.asked.notify_one();
        }
        let desk = Arc::clone(&self.desk);
        match thread::Builder::new().name("ws-reactor names".to_owned()).spawn(move || desk.answer_all()) {
            Ok(_) => questions.threads += 1,
            Err(error) => {
                log::error!(target: "ws_reactor::net", "no thread to look up names: {error}");
                if questions.threads == 0 {
                    questions.waiting.clear();
                }
            }
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers what is asked, until nothing is for a while.
    fn answer_all(&self) {
        while let Some((name, port, answer)) = self.next() {
            answer.give((name.as_str(), port).to_socket_addrs().map(Iterator::collect));
        }
    }

    /// The next question; `None`, and one thread fewer, if there is none in time.
    fn next(&self) -> Option<(String, u16, Answer)> {
        let mut questions = self.lock();
        questions.idle += 1;
        let waited = self.asked.wait_timeout_while(questions, PATIENCE, |questions| questions.waiting.is_empty());
        (questions, _) = waited.unwrap_or_else(PoisonError::into_inner);
        questions.idle -= 1;
        let next = questions.waiting.pop_front();
        questions.threads -= usize::from(next.is_none());
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Still;

    impl Wake for Still {
        fn wake(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ask(resolver: &dyn Resolver, names: &[&str]) -> Vec<Answered> {
        let (answers, mut given) = (Answers::new(Arc::new(Still)), Vec::new());
        for (question, name) in names.iter().enumerate() {
            resolver.resolve(name, 80, answers.expect(question as u64));
        }
        while given.len() < names.len() {
            given.extend(answers.take());
            thread::yield_now();
        }
        given.sort_by_key(|(question, _)| *question);
        given
    }

    #[test]
    fn the_system_knows_localhost_and_not_what_is_invalid() {
        // RFC 6761 §6.4: `invalid` has no addresses.
        let names = ["localhost", "nobody.invalid", "127.0.0.1", "localhost", "localhost", "::1"];
        let answers = ask(&SystemResolver::default(), &names);
        assert!(answers[0].1.as_ref().is_ok_and(|found| found.iter().all(|addr| addr.ip().is_loopback())));
        assert!(answers[1].1.is_err());
        assert_eq!(answers[5].1.as_ref().unwrap(), &["[::1]:80".parse::<SocketAddr>().unwrap()]);
    }

    #[test]
    fn a_resolver_that_forgets_a_question_has_answered_it() {
        struct Forgetful;
        impl Resolver for Forgetful {
            fn resolve(&self, _: &str, _: u16, _: Answer) {}
        }
        assert!(ask(&Forgetful, &["anything"])[0].1.is_err());
    }
}
