//! Remotes: the reactor from other threads.

use std::{fmt, sync::Arc, time::Duration};

use super::{hub::Hub, id::ConnectionId, outbox::Sent};
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
    Wake(ConnectionId),
}

impl fmt::Debug for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Run(_) => formatter.write_str("Run"),
            Command::Send(id, _) => write!(formatter, "Send({id})"),
            Command::Publish(topic, _) => write!(formatter, "Publish({topic:?})"),
            Command::Close(id, code, _) => write!(formatter, "Close({id}, {code})"),
            Command::Wake(id) => write!(formatter, "Wake({id})"),
        }
    }
}

/// A handle to a reactor for other threads: cheap to clone, safe to share.
///
/// Commands of one thread are carried out in their order, from the reactor's next turn on ([`Config::command_budget`](crate::Config::command_budget)). `Queued` says that a command waits, not that its connection is
/// still there then; `Full` that 65,536 wait already (see [`Config::remote_commands`](crate::Config::remote_commands)); `Closed` that the reactor has gone.
#[derive(Debug, Clone)]
pub struct Remote {
    inbox: Arc<Mailbox<Command>>,
}

impl Remote {
    pub(super) fn new(inbox: Arc<Mailbox<Command>>) -> Self {
        Remote { inbox }
    }

    fn push(&self, command: Command) -> Sent {
        match self.inbox.push(command) {
            Ok(()) => Sent::Queued,
            Err(Refused::Full) => Sent::Full,
            Err(Refused::Closed) => Sent::Closed,
        }
    }

    /// Calls `call` on the reactor's thread.
    pub fn run(&self, call: impl FnOnce(&mut Hub) + Send + 'static) -> Sent {
        self.push(Command::Run(Box::new(call)))
    }

    /// Sends a message to a connection.
    pub fn send(&self, id: ConnectionId, message: impl Into<OwnedMessage>) -> Sent {
        self.push(Command::Send(id, message.into()))
    }

    /// Sends a message to every subscriber of a topic.
    pub fn publish(&self, topic: impl Into<String>, message: impl Into<OwnedMessage>) -> Sent {
        self.push(Command::Publish(topic.into(), message.into()))
    }

    /// Closes a connection, as [`Hub::close`].
    pub fn close(&self, id: ConnectionId, code: CloseCode, reason: impl Into<String>) -> Sent {
        self.push(Command::Close(id, code, reason.into()))
    }

    /// Has `on_wake` of a connection's handler called.
    pub(crate) fn wake(&self, id: ConnectionId) -> Sent {
        self.push(Command::Wake(id))
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
