//! Name resolution, off the reactor's thread.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::Duration,
};

use super::{kernel::Wake, mailbox::Mailbox};

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
    question: u128,
    answers: Arc<Answers>,
    asker: Weak<()>,
    given: bool,
}

impl Answer {
    /// Whether the connection attempt still needs the answer. A resolver may skip a look-up that is not wanted.
    pub fn is_wanted(&self) -> bool {
        self.asker.strong_count() > 0
    }

    /// Gives the addresses, or the error that the connection attempt fails with.
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

/// A question's number and its answer.
pub(crate) type Answered = (u128, io::Result<Vec<SocketAddr>>);

/// Answers that wait for the reactor.
#[derive(Debug)]
pub(crate) struct Answers(Mailbox<Answered>);

impl Answers {
    pub(crate) fn new(waker: Arc<dyn Wake>) -> Arc<Self> {
        // There are at most as many answers as questions, which come from the reactor itself.
        Arc::new(Answers(Mailbox::new(usize::MAX, waker)))
    }

    /// An `Answer` for a question, wanted as long as `asker` exists.
    pub(crate) fn expect(self: &Arc<Self>, question: u128, asker: &Arc<()>) -> Answer {
        Answer { question, answers: Arc::clone(self), asker: Arc::downgrade(asker), given: false }
    }

    /// Whether answers wait.
    pub(crate) fn are_waiting(&self) -> bool {
        self.0.is_waiting()
    }

    pub(crate) fn take(&self) -> Vec<Answered> {
        let mut answers = Vec::new();
        self.0.drain(&mut answers);
        answers
    }

    fn push(&self, question: u128, addresses: io::Result<Vec<SocketAddr>>) {
        // The mailbox has no bound and is never closed, so nothing is refused.
        let _ = self.0.push((question, addresses));
    }
}

/// The system's resolver, called in up to [`THREADS`] threads, which start on demand and end when idle.
#[derive(Debug, Default)]
pub(crate) struct SystemResolver {
    desk: Arc<Desk>,
}

/// Names that wait for a thread.
#[derive(Debug, Default)]
struct Desk {
    questions: Mutex<Questions>,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct Questions {
    /// Unanswered questions. Equal questions share one look-up.
    open: HashMap<Question, Vec<Answer>>,
    /// Questions that no thread has taken yet.
    waiting: VecDeque<Question>,
    threads: usize,
    idle: usize,
}

/// A name, and the port for its addresses.
type Question = (String, u16);

const THREADS: usize = 4;

/// Idle time after which a thread ends.
const PATIENCE: Duration = Duration::from_secs(1);

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str, port: u16, answer: Answer) {
        let mut questions = self.desk.lock();
        let question = (name.to_owned(), port);
        if let Some(answers) = questions.open.get_mut(&question) {
            return answers.push(answer);
        }
        questions.waiting.push_back(question.clone());
        questions.open.insert(question, vec![answer]);
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
                    questions.open.clear();
                }
            }
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers questions until none arrives for a while.
    fn answer_all(&self) {
        while let Some(question) = self.next() {
            let (name, port) = &question;
            let found = (name.as_str(), *port).to_socket_addrs().map(Vec::from_iter);
            let answers = self.lock().open.remove(&question).unwrap_or_default();
            for answer in answers {
                let found = found.as_ref().map(Vec::clone);
                answer.give(found.map_err(|error| io::Error::new(error.kind(), error.to_string())));
            }
        }
    }

    /// The next question with a waiting asker. `None`, and one thread less, if none arrives in time.
    fn next(&self) -> Option<Question> {
        let mut questions = self.lock();
        loop {
            questions.idle += 1;
            let waited = self.asked.wait_timeout_while(questions, PATIENCE, |questions| questions.waiting.is_empty());
            (questions, _) = waited.unwrap_or_else(PoisonError::into_inner);
            questions.idle -= 1;
            let Some(next) = questions.waiting.pop_front() else {
                questions.threads -= 1;
                return None;
            };
            if questions.open.get(&next).is_some_and(|answers| answers.iter().any(Answer::is_wanted)) {
                return Some(next);
            }
            questions.open.remove(&next);
        }
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
        let (answers, asker, mut given) = (Answers::new(Arc::new(Still)), Arc::default(), Vec::new());
        for (question, name) in names.iter().enumerate() {
            resolver.resolve(name, 80, answers.expect(question as u128, &asker));
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
    fn a_question_is_looked_up_once_for_all_who_ask_it_and_not_for_nobody() {
        let (answers, asker) = (Answers::new(Arc::new(Still)), Arc::default());
        let desk = Desk::default();
        let ask = |name: &str, answers: Vec<Answer>| {
            let question = (name.to_owned(), 80);
            desk.lock().waiting.push_back(question.clone());
            desk.lock().open.insert(question, answers);
        };
        let gone = Arc::default();
        ask("nobody.invalid", vec![answers.expect(0, &gone)]);
        ask("::1", (1..=100).map(|question| answers.expect(question, &asker)).collect());
        drop(gone);
        desk.lock().threads = 1;
        assert_eq!(desk.next(), Some(("::1".to_owned(), 80)), "the first is withdrawn");
        desk.lock().waiting.push_front(("::1".to_owned(), 80));
        desk.answer_all();
        let given = answers.take();
        assert_eq!(given.iter().filter(|(_, found)| found.is_ok()).count(), 100);
        assert!(given.iter().any(|(question, found)| *question == 0 && found.is_err()));
        assert!(desk.lock().open.is_empty() && desk.lock().threads == 0);
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
