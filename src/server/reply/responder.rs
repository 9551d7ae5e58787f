//! Deferred replies: the request waits in the reactor, and any thread gives the reply.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::StatusCode;

use crate::{
    error::RemoteError,
    reactor::{ConnectionId, Remote},
    server::reply::Reply,
};

/// Gives a reply deferred by [`Reply::later`]: once, from any thread.
///
/// A `Responder` dropped without a reply answers the request with 500. A reply has no effect if the connection has
/// ended, by a reset or by a time-out of [`Reply::later`]. A client that has half-closed still gets the reply.
///
/// ```
/// use std::thread;
/// use ws_reactor::{Reply, Server, Upgrade, on_message};
///
/// let server = Server::new(|_| on_message(|_, _| {})).on_request(|_, _| {
///     let (reply, responder) = Reply::later();
///     thread::spawn(move || {
///         // Here: a check that takes time, such as a query to a database.
///         if let Err(error) = responder.respond(Upgrade::new()) {
///             eprintln!("not replied: {error}");
///         }
///     });
///     reply
/// });
/// ```
#[derive(Debug)]
#[must_use = "dropped without a reply, the request is answered with 500"]
pub struct Responder {
    /// `None` after the reply.
    slot: Option<Arc<Slot>>,
}

impl Responder {
    /// Gives the reply.
    ///
    /// # Errors
    ///
    /// [`RemoteError::Closed`]: no request waits for the reply any more. A reply is taken however many commands of a
    /// [`Remote`] wait.
    pub fn respond(mut self, reply: impl Into<Reply>) -> Result<(), RemoteError> {
        self.slot.take().map_or(Err(RemoteError::Closed), |slot| slot.give(reply.into()))
    }

    /// Returns `true` if no request waits for the reply any more.
    pub fn is_closed(&self) -> bool {
        self.slot.as_ref().is_none_or(|slot| matches!(*slot.state(), State::Closed))
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // An error has no receiver here.
            let _ = slot.give(Reply::status(StatusCode::INTERNAL_SERVER_ERROR));
        }
    }
}

/// The waiting end: the part of [`Reply::later`] that the server holds.
#[derive(Debug)]
pub(crate) struct Deferred {
    slot: Arc<Slot>,
    /// The request may wait without limit, and ends with its client.
    pub(crate) is_held: bool,
}

impl Deferred {
    /// Makes both ends.
    pub(crate) fn new(is_held: bool) -> (Deferred, Responder) {
        let slot = Arc::new(Slot::default());
        (Deferred { slot: Arc::clone(&slot), is_held }, Responder { slot: Some(slot) })
    }

    /// Waits on behalf of a connection. Returns a reply that was given already; otherwise the reply wakes
    /// the connection.
    pub(crate) fn wait(&self, remote: Remote, id: ConnectionId) -> Option<Reply> {
        let mut state = self.slot.state();
        match mem::replace(&mut *state, State::Awaited(remote, id)) {
            State::Given(reply) => {
                *state = State::Closed;
                Some(*reply)
            }
            State::Unasked | State::Awaited(..) | State::Closed => None,
        }
    }

    /// Takes the reply, once it is given.
    pub(crate) fn take(&self) -> Option<Reply> {
        let mut state = self.slot.state();
        match mem::replace(&mut *state, State::Closed) {
            State::Given(reply) => Some(*reply),
            other => {
                *state = other;
                None
            }
        }
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        let former = mem::replace(&mut *self.slot.state(), State::Closed);
        // The reply may hold user values: their destructors run after the lock is released.
        drop(former);
    }
}

/// State shared by both ends.
#[derive(Default)]
struct Slot(Mutex<State>);

#[derive(Default)]
enum State {
    /// The reply is neither given nor awaited.
    #[default]
    Unasked,
    /// A connection waits for the reply.
    Awaited(Remote, ConnectionId),
    Given(Box<Reply>),
    Closed,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, reply: Reply) -> Result<(), RemoteError> {
        let given = State::Given(Box::new(reply));
        let mut state = self.state();
        if matches!(*state, State::Closed) {
            return Err(RemoteError::Closed);
        }
        let former = mem::replace(&mut *state, given);
        drop(state);
        match former {
            State::Awaited(remote, id) => remote.wake(id),
            State::Unasked | State::Given(_) | State::Closed => {}
        }
        Ok(())
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match &*self.state() {
            State::Unasked => "Unasked",
            State::Awaited(..) => "Awaited",
            State::Given(_) => "Given",
            State::Closed => "Closed",
        })
    }
}
