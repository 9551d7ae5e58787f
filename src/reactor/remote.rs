//! Remotes: the reactor from other threads.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use super::{hub::Hub, id::ConnectionId};
use crate::{
    net::{Mailbox, Refused},
    protocol::{CloseCode, OwnedMessage},
};

/// What another thread asks for.
pub(super) enum Command {
    Run(Box<dyn FnOnce(&mut Hub) + Send>),
    Send(ConnectionId, OwnedMessage),
    Publish(String, OwnedMessage),
    Close(ConnectionId, CloseCode, String),
    Notify(ConnectionId, Box<dyn Any + Send>),
    NotifyTopic(String, Box<dyn Any + Send>),
    Wake(ConnectionId),
}

impl fmt::Debug for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Run(_) => formatter.write_str("Run"),
            Command::Send(id, _) => write!(formatter, "Send({id})"),
            Command::Publish(topic, _) => write!(formatter, "Publish({topic:?})"),
            Command::Close(id, code, _) => write!(formatter, "Close({id}, {code})"),
            Command::Notify(id, _) => write!(formatter, "Notify({id})"),
            Command::NotifyTopic(topic, _) => write!(formatter, "NotifyTopic({topic:?})"),
            Command::Wake(id) => write!(formatter, "Wake({id})"),
        }
    }
}

/// A command of a [`Remote`] was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemoteError {
    /// As many commands wait as may: [`ReactorConfig::remote_commands`](crate::ReactorConfig::remote_commands). Try again later.
    Full,
    /// The reactor is gone; for a [`Responder`](crate::Responder): nobody waits for the reply any more.
    Closed,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            RemoteError::Full => "too many commands wait for the reactor",
            RemoteError::Closed => "the reactor is gone, or nobody waits for the reply",
        })
    }
}

impl std::error::Error for RemoteError {}

/// A handle to a reactor for other threads: cheap to clone, `Send` and `Sync`.
///
/// Commands of one thread are carried out in their order, from the reactor's next turn on ([`ReactorConfig::command_budget`](crate::ReactorConfig::command_budget)). `Ok` says that a command
/// waits, not that its connection is still there when it is carried out.
///
/// # Errors
///
/// Every command fails with [`RemoteError::Full`] if too many wait, and with [`RemoteError::Closed`] once the reactor is gone.
#[derive(Debug, Clone)]
pub struct Remote {
    inbox: Arc<Mailbox<Command>>,
}

impl Remote {
    pub(super) fn new(inbox: Arc<Mailbox<Command>>) -> Self {
        Remote { inbox }
    }

    fn push(&self, command: Command) -> Result<(), RemoteError> {
        self.inbox.push(command).map_err(|refused| match refused {
            Refused::Full => RemoteError::Full,
            Refused::Closed => RemoteError::Closed,
        })
    }

    /// Sends a message to a connection. See [`Hub::send`].
    pub fn send(&self, id: ConnectionId, message: impl Into<OwnedMessage>) -> Result<(), RemoteError> {
        self.push(Command::Send(id, message.into()))
    }

    /// Sends a message to every subscriber of a topic. See [`Hub::publish`].
    pub fn publish(&self, topic: impl Into<String>, message: impl Into<OwnedMessage>) -> Result<(), RemoteError> {
        self.push(Command::Publish(topic.into(), message.into()))
    }

    /// Closes a connection. See [`Hub::close`].
    pub fn close(&self, id: ConnectionId, code: CloseCode, reason: impl Into<String>) -> Result<(), RemoteError> {
        self.push(Command::Close(id, code, reason.into()))
    }

    /// Has `on_event` of a connection's handler called. See [`Hub::notify`].
    pub fn notify(&self, id: ConnectionId, event: impl Any + Send) -> Result<(), RemoteError> {
        self.push(Command::Notify(id, Box::new(event)))
    }

    /// Has `on_event` of every subscriber's handler called. See [`Hub::notify_topic`].
    pub fn notify_topic(&self, topic: impl Into<String>, event: impl Any + Send) -> Result<(), RemoteError> {
        self.push(Command::NotifyTopic(topic.into(), Box::new(event)))
    }

    /// Calls `call` on the reactor's thread.
    pub fn run(&self, call: impl FnOnce(&mut Hub) + Send + 'static) -> Result<(), RemoteError> {
        self.push(Command::Run(Box::new(call)))
    }

    /// Ends the loop at once. See [`Hub::stop`].
    pub fn stop(&self) -> Result<(), RemoteError> {
        self.run(Hub::stop)
    }

    /// Ends the loop gracefully. See [`Hub::shutdown`].
    pub fn shutdown(&self, timeout: Duration) -> Result<(), RemoteError> {
        self.run(move |hub| hub.shutdown(timeout))
    }

    /// Has `on_wake` of a connection's handler called.
    pub(crate) fn wake(&self, id: ConnectionId) -> Result<(), RemoteError> {
        self.push(Command::Wake(id))
    }
}
