//! Remotes: the reactor from other threads. One bounded queue, one wake for a batch.

use std::{
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{hub::Hub, id::ConnectionId, outbox::Sent};
use crate::{
    net::Wake,
    protocol::{CloseCode, OwnedMessage},
};

/// What another thread asks for.
pub(super) enum Command {
    Run(Box<dyn FnOnce(&mut Hub) + Send>),
    Send(ConnectionId, OwnedMessage),
    Publish(String, OwnedMessage),
    Close(ConnectionId, CloseCode, String),
}

impl fmt::Debug for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Run(_) => formatter.write_str("Run"),
            Command::Send(id, _) => write!(formatter, "Send({id})"),
            Command::Publish(topic, _) => write!(formatter, "Publish({topic:?})"),
            Command::Close(id, code, _) => write!(formatter, "Close({id}, {code})"),
        }
    }
}

/// The commands that wait for the reactor.
#[derive(Debug)]
pub(super) struct Inbox {
    commands: Mutex<Commands>,
    /// Whether any wait; spares the loop the lock.
    waiting: AtomicBool,
    capacity: usize,
    waker: Arc<dyn Wake>,
}

#[derive(Debug, Default)]
struct Commands {
    queue: Vec<Command>,
    closed: bool,
}

impl Inbox {
    pub(super) fn new(capacity: usize, waker: Arc<dyn Wake>) -> Self {
        Inbox { commands: Mutex::default(), waiting: AtomicBool::new(false), capacity, waker }
    }

    /// Moves what waits into `commands`, which is empty.
    pub(super) fn drain(&self, commands: &mut Vec<Command>) {
        if self.waiting.swap(false, Ordering::Acquire) {
            mem::swap(&mut self.lock().queue, commands);
        }
    }

    /// Whether commands wait.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// The reactor has gone.
    pub(super) fn close(&self) {
        let mut commands = self.lock();
        commands.closed = true;
        let unheard = mem::take(&mut commands.queue);
        // What a command captured may use a remote when it is dropped.
        drop(commands);
        drop(unheard);
    }

    fn push(&self, command: Command) -> Sent {
        let mut commands = self.lock();
        if commands.closed {
            return Sent::Closed;
        }
        if commands.queue.len() >= self.capacity {
            return Sent::Full;
        }
        commands.queue.push(command);
        let first = !self.waiting.swap(true, Ordering::Release);
        drop(commands);
        if first && let Err(error) = self.waker.wake() {
            log::error!(target: "ws_reactor::reactor", "the reactor cannot be woken: {error}");
        }
        Sent::Queued
    }

    fn lock(&self) -> MutexGuard<'_, Commands> {
        // Nothing that could panic runs under the lock.
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle to a reactor for other threads: cheap to clone, safe to share.
///
/// Commands of one thread are carried out in their order, in the reactor's next turn. `Queued` says that a command waits, not that its connection is
/// still there then; `Full` that 65,536 wait already (see [`Config::remote_commands`](crate::Config::remote_commands)); `Closed` that the reactor has gone.
#[derive(Debug, Clone)]
pub struct Remote {
    inbox: Arc<Inbox>,
}

impl Remote {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        Remote { inbox }
    }

    /// Calls `call` on the reactor's thread.
    pub fn run(&self, call: impl FnOnce(&mut Hub) + Send + 'static) -> Sent {
        self.inbox.push(Command::Run(Box::new(call)))
    }

    /// Sends a message to a connection.
    pub fn send(&self, id: ConnectionId, message: impl Into<OwnedMessage>) -> Sent {
        self.inbox.push(Command::Send(id, message.into()))
    }

    /// Sends a message to every subscriber of a topic.
    pub fn publish(&self, topic: impl Into<String>, message: impl Into<OwnedMessage>) -> Sent {
        self.inbox.push(Command::Publish(topic.into(), message.into()))
    }

    /// Closes a connection, as [`Hub::close`].
    pub fn close(&self, id: ConnectionId, code: CloseCode, reason: impl Into<String>) -> Sent {
        self.inbox.push(Command::Close(id, code, reason.into()))
    }

    /// Ends the loop, as [`Hub::stop`].
    pub fn stop(&self) -> Sent {
        self.run(Hub::stop)
    }

    /// Ends the loop in order, as [`Hub::shutdown`].
    pub fn shutdown(&self, deadline: Duration) -> Sent {
        self.run(move |hub| hub.shutdown(deadline))
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::atomic::AtomicUsize};

    use super::*;

    #[derive(Debug, Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(&self) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn a_batch_wakes_once_and_the_queue_is_bounded() {
        let wakes = Arc::new(Wakes::default());
        let inbox = Arc::new(Inbox::new(3, Arc::clone(&wakes) as Arc<dyn Wake>));
        let remote = Remote::new(Arc::clone(&inbox));
        let sent: Vec<Sent> = (0..4).map(|_| remote.stop()).collect();
        assert_eq!(sent, [Sent::Queued, Sent::Queued, Sent::Queued, Sent::Full]);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        let mut commands = Vec::new();
        inbox.drain(&mut commands);
        assert_eq!((commands.len(), inbox.is_waiting()), (3, false));
        assert_eq!(remote.stop(), Sent::Queued);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
        inbox.close();
        assert_eq!(remote.stop(), Sent::Closed);
    }
}
