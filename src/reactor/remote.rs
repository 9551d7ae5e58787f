//! Remotes: handles to a reactor for other threads.

use std::{
    any::Any,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    farewell::Shutdown,
    group::{
        Batch, Group,
        publication::{Manner, Publication},
    },
    hub::Hub,
    id::{ConnectionId, ListenerId},
    work::Outcome,
};
use crate::{
    error::RemoteError,
    net::{CommandQueue, ConnectedSocket, PushError},
    protocol::{CloseCode, OwnedMessage},
};

/// Command of another thread.
pub(super) enum Command {
    Run(Box<dyn FnOnce(&mut Hub) + Send>),
    /// A function that concerns one connection.
    RunFor(ConnectionId, Box<dyn FnOnce(&mut Hub) + Send>),
    Send(ConnectionId, OwnedMessage),
    Publish(String, OwnedMessage),
    /// A message for the subscribers on this reactor. All reactors of the group have this command.
    PublishShared(Arc<Publication>),
    /// A message for a topic with a history. The sequencer of the group has this command.
    PublishSequenced(Box<Publication>),
    Close(ConnectionId, CloseCode, String),
    Notify(ConnectionId, Box<dyn Any + Send>),
    NotifyTopic(String, Arc<dyn Any + Send + Sync>),
    Wake(ConnectionId),
    /// Publications of another reactor of the group.
    Publications(Batch),
    /// A connection that another reactor of the group has accepted.
    Accepted(ListenerId, ConnectedSocket),
    /// The result of the work with this key.
    Worked(usize, Outcome),
    /// A topic that was waited for under this key is live.
    Live(usize),
    /// The answers of the reactors of the group to what was asked under this key.
    Answered(usize, Box<dyn Any + Send>),
}

/// A command in the queue.
#[derive(Debug)]
pub(super) struct QueuedCommand {
    pub(super) command: Command,
    /// `None` on a system whose clock only the reactor can read.
    pub(super) queued_at: Option<Instant>,
}

impl fmt::Debug for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Run(_) => formatter.write_str("Run"),
            Command::RunFor(id, _) => write!(formatter, "RunFor({id})"),
            Command::Send(id, _) => write!(formatter, "Send({id})"),
            Command::Publish(topic, _) => write!(formatter, "Publish({topic:?})"),
            Command::PublishShared(publication) => write!(formatter, "PublishShared({:?})", publication.topic),
            Command::PublishSequenced(publication) => write!(formatter, "PublishSequenced({:?})", publication.topic),
            Command::Close(id, code, _) => write!(formatter, "Close({id}, {code})"),
            Command::Notify(id, _) => write!(formatter, "Notify({id})"),
            Command::NotifyTopic(topic, _) => write!(formatter, "NotifyTopic({topic:?})"),
            Command::Wake(id) => write!(formatter, "Wake({id})"),
            Command::Publications(batch) => {
                write!(formatter, "Publications({} of {})", batch.items.len(), batch.from)
            }
            Command::Accepted(listener, _) => write!(formatter, "Accepted({listener})"),
            Command::Live(key) => write!(formatter, "Live({key})"),
            Command::Answered(key, _) => write!(formatter, "Answered({key})"),
            Command::Worked(key, _) => write!(formatter, "Worked({key})"),
        }
    }
}

/// Handle to a reactor for other threads: `Send`, `Sync` and cheap to clone.
///
/// A command is queued and wakes the reactor. Commands of one thread are executed in order, from the next turn on, at
/// most [`command_budget`](crate::ReactorConfig::command_budget) per turn. `Ok` means that the command is queued. The
/// result of its execution is not reported: a message to a connection that has ended is discarded. Commands of several
/// threads may alternate; a function given to [`run`](Self::run) is not divided, and can do all that the [`Hub`] can.
///
/// In a [group](crate::ReactorGroup) a command goes to the reactor of its connection, and to all reactors if it is for
/// a topic. Each of them executes the commands of one thread in order. What a reactor itself publishes in a turn
/// reaches the others after that turn: a command that one of its callbacks gives by a remote may arrive before it.
///
/// A client with [`Reconnect`](crate::Reconnect) keeps its id. A command for one connection that is executed when the
/// client has connected again is discarded, except `close` and `terminate`, which end the client.
///
/// Commands to a loop that has ended wait until it is run again. Threads that end with
/// [`Closed`](RemoteError::Closed) end when the [`Reactor`](crate::Reactor) is dropped.
///
/// # Errors
///
/// Every command fails with [`RemoteError::Full`] if the queue is full (of any reactor that it is for: then none
/// executes it), and with [`RemoteError::Closed`] after the
/// reactor was dropped.
///
/// # Example
///
/// ```
/// use std::{thread, time::Duration};
/// use ws_reactor::Reactor;
///
/// let mut reactor = Reactor::new()?;
/// let remote = reactor.remote();
/// let publisher = thread::spawn(move || {
///     remote.publish("news", "hello")?;
///     remote.shutdown(Duration::from_secs(1))
/// });
/// reactor.run()?;
/// publisher.join().expect("the thread does not panic")?;
/// # Ok::<(), ws_reactor::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Remote {
    queue: Arc<CommandQueue<QueuedCommand>>,
    clock: Option<fn() -> Instant>,
    group: Option<Arc<Group>>,
}

impl Remote {
    pub(super) fn new(
        queue: Arc<CommandQueue<QueuedCommand>>,
        clock: Option<fn() -> Instant>,
        group: Option<Arc<Group>>,
    ) -> Self {
        Remote { queue, clock, group }
    }

    fn queued(&self, command: Command) -> QueuedCommand {
        QueuedCommand { command, queued_at: self.clock.map(|clock| clock()) }
    }

    /// Passes a [`Wakeup`](super::events::Wakeup) to the handler of a connection, also while too many commands wait:
    /// for a caller that wakes a connection again only after the last wake-up has arrived.
    pub(crate) fn wake(&self, id: ConnectionId) {
        self.push_surely(Command::Wake(id));
    }

    /// Queues a command also while too many wait.
    pub(super) fn push_surely(&self, command: Command) {
        // Without a reactor there is no one to execute it.
        let _ = self.queue.push_beyond(self.queued(command));
    }

    fn push(&self, command: Command) -> Result<(), RemoteError> {
        self.push_into(&self.queue, command)
    }

    /// Queues a command on each reactor of the group, or on none of them. Reactors that have ended are passed over.
    fn push_to_all(&self, group: &Group, command: impl Fn() -> Command) -> Result<(), RemoteError> {
        let is_full = |queue: &Arc<CommandQueue<_>>| queue.check() == Err(PushError::Full);
        if group.queues().any(is_full) {
            return Err(RemoteError::Full);
        }
        // Beyond the limit by at most one for each thread that comes here at the same time.
        let pushed = group.queues().filter(|queue| queue.push_beyond(self.queued(command())).is_ok()).count();
        if pushed == 0 { Err(RemoteError::Closed) } else { Ok(()) }
    }

    /// Publishes on each reactor of the group: a command that the thread has for one of them afterwards comes second
    /// there. A message for a topic with a history takes the way over the sequencer.
    fn publish_to_all(&self, group: &Group, publication: Publication) -> Result<(), RemoteError> {
        match group.sequencer_of(&publication.topic) {
            Some(queue) => self.push_into(queue, Command::PublishSequenced(Box::new(publication))),
            None => {
                let publication = Arc::new(publication);
                self.push_to_all(group, || Command::PublishShared(Arc::clone(&publication)))
            }
        }
    }

    /// Queues a command for a connection: in a group, on the reactor of the connection.
    fn push_for(&self, id: ConnectionId, command: Command) -> Result<(), RemoteError> {
        let queue = self.group.as_ref().and_then(|group| group.queue_of(id)).unwrap_or(&self.queue);
        self.push_into(queue, command)
    }

    fn push_into(&self, queue: &CommandQueue<QueuedCommand>, command: Command) -> Result<(), RemoteError> {
        queue.push(self.queued(command)).map_err(|refused| match refused {
            PushError::Full => RemoteError::Full,
            PushError::Closed => RemoteError::Closed,
        })
    }

    /// Sends a message to a connection. See [`Hub::send`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn send(&self, id: ConnectionId, message: impl Into<OwnedMessage>) -> Result<(), RemoteError> {
        self.push_for(id, Command::Send(id, message.into()))
    }

    /// Sends a message to every subscriber of a topic. See [`Hub::publish`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn publish(&self, topic: impl Into<String>, message: impl Into<OwnedMessage>) -> Result<(), RemoteError> {
        let (topic, message) = (topic.into(), message.into());
        match &self.group {
            None => self.push(Command::Publish(topic, message)),
            Some(group) => {
                let manner = Manner::Message { except: None, compress: true };
                self.publish_to_all(group, Publication::new(&topic, message.into(), manner))
            }
        }
    }

    /// Sends a message that replaces a queued, unwritten message of the same key. See [`Hub::send_latest`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn send_latest(
        &self,
        id: ConnectionId,
        key: impl Into<String>,
        message: impl Into<OwnedMessage>,
    ) -> Result<(), RemoteError> {
        let (key, message) = (key.into(), message.into());
        self.run_for(id, move |hub| hub.send_latest(id, &key, message))
    }

    /// Publishes a message that replaces queued, unwritten messages of the same key. See [`Hub::publish_latest`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn publish_latest(
        &self,
        topic: impl Into<String>,
        key: impl Into<String>,
        message: impl Into<OwnedMessage>,
    ) -> Result<(), RemoteError> {
        let (topic, key, message) = (topic.into(), key.into(), message.into());
        match &self.group {
            None => self.run(move |hub| hub.publish_latest(&topic, &key, message)),
            Some(group) => {
                let manner = Manner::Latest(key.into());
                self.publish_to_all(group, Publication::new(&topic, message.into(), manner))
            }
        }
    }

    /// Subscribes a connection to a topic. See [`Hub::subscribe`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn subscribe(&self, id: ConnectionId, topic: impl Into<String>) -> Result<(), RemoteError> {
        let topic = topic.into();
        self.run_for(id, move |hub| hub.subscribe(id, &topic))
    }

    /// Ends a subscription of a connection. See [`Hub::unsubscribe`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn unsubscribe(&self, id: ConnectionId, topic: impl Into<String>) -> Result<(), RemoteError> {
        let topic = topic.into();
        self.run_for(id, move |hub| hub.unsubscribe(id, &topic))
    }

    /// Stops reading from a connection. See [`Hub::pause`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn pause(&self, id: ConnectionId) -> Result<(), RemoteError> {
        self.run_for(id, move |hub| hub.pause(id))
    }

    /// Resumes reading from a connection. See [`Hub::resume`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn resume(&self, id: ConnectionId) -> Result<(), RemoteError> {
        self.run_for(id, move |hub| hub.resume(id))
    }

    /// Ends a connection at once, without a closing handshake. See [`Hub::terminate`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn terminate(&self, id: ConnectionId) -> Result<(), RemoteError> {
        let terminate = move |hub: &mut Hub| {
            hub.terminate(id);
        };
        self.push_for(id, Command::Run(Box::new(terminate)))
    }

    /// Ends a connection as if it was lost. See [`Hub::reconnect`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn reconnect(&self, id: ConnectionId) -> Result<(), RemoteError> {
        let reconnect = move |hub: &mut Hub| {
            hub.reconnect(id);
        };
        self.push_for(id, Command::Run(Box::new(reconnect)))
    }

    /// Closes a connection. See [`Hub::close`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn close(&self, id: ConnectionId, code: CloseCode, reason: impl Into<String>) -> Result<(), RemoteError> {
        self.push_for(id, Command::Close(id, code, reason.into()))
    }

    /// Delivers an event to the handler of a connection. See [`Hub::notify`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn notify(&self, id: ConnectionId, event: impl Any + Send) -> Result<(), RemoteError> {
        self.push_for(id, Command::Notify(id, Box::new(event)))
    }

    /// Delivers an event to the handler of every subscriber of a topic, on all reactors of a
    /// [group](crate::ReactorGroup). See [`Hub::notify_topic`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn notify_topic(&self, topic: impl Into<String>, event: impl Any + Send + Sync) -> Result<(), RemoteError> {
        let (topic, event): (String, Arc<dyn Any + Send + Sync>) = (topic.into(), Arc::new(event));
        match &self.group {
            None => self.push(Command::NotifyTopic(topic, event)),
            Some(group) => self.push_to_all(group, || Command::NotifyTopic(topic.clone(), Arc::clone(&event))),
        }
    }

    /// Calls a function on the reactor's thread, with its [`Hub`]. The function's result is dropped. A panic of the
    /// function is handled by [`PanicPolicy`](crate::PanicPolicy).
    ///
    /// ```no_run
    /// # use ws_reactor::{ConnectionId, Remote, RemoteError};
    /// # fn move_to(remote: Remote, id: ConnectionId) -> Result<(), RemoteError> {
    /// // No other command or message comes between.
    /// remote.run(move |hub| {
    ///     hub.unsubscribe(id, "lobby");
    ///     hub.subscribe(id, "room")
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn run<T>(&self, call: impl FnOnce(&mut Hub) -> T + Send + 'static) -> Result<(), RemoteError> {
        self.push(Command::Run(Box::new(|hub| drop(call(hub)))))
    }

    fn run_for<T>(
        &self,
        id: ConnectionId,
        call: impl FnOnce(&mut Hub) -> T + Send + 'static,
    ) -> Result<(), RemoteError> {
        self.push_for(id, Command::RunFor(id, Box::new(|hub| drop(call(hub)))))
    }

    /// Ends the loop without closing handshakes. See [`Hub::stop`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn stop(&self) -> Result<(), RemoteError> {
        self.run(Hub::stop)
    }

    /// Ends the loop gracefully. See [`Hub::shutdown`].
    ///
    /// # Errors
    ///
    /// [`RemoteError::Full`] or [`RemoteError::Closed`].
    pub fn shutdown(&self, timeout: Duration) -> Result<(), RemoteError> {
        self.run(move |hub| hub.shutdown(timeout))
    }

    /// Ends all loops of the group gracefully, also while too many commands wait.
    pub(crate) fn shutdown_group(&self, timeout: Duration) {
        for remote in self.group.as_ref().map_or_else(|| vec![self.clone()], |group| group.remotes(self.clock)) {
            remote.push_surely(Command::Run(Box::new(move |hub| hub.shutdown_here(Shutdown::within(timeout)))));
        }
    }
}
