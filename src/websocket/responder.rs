//! Deferred replies: the request waits in one place, the reply is given in another, by any thread.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::StatusCode;

use super::reply::Reply;
use crate::reactor::{ConnectionId, Remote, RemoteError};

/// Gives the reply that [`Reply::later`] has deferred: once, from any thread. Dropped without a reply, the request is answered with 500.
///
/// The connection may have ended meanwhile, by a reset or because [`ServerConfig::opening_timeout`](crate::ServerConfig::opening_timeout) has passed; then the reply has no effect. A client that
/// half-closed meanwhile still gets it.
#[derive(Debug)]
#[must_use = "dropped without a reply, the request is answered with 500"]
pub struct Responder {
    /// None once it has replied.
    slot: Option<Arc<Slot>>,
}

impl Responder {
    /// Gives the reply.
    ///
    /// # Errors
    ///
    /// [`RemoteError::Closed`] if nobody waits for it any more; [`RemoteError::Full`] if too many commands wait for the reactor: then the reply is given when the opening time-out has passed.
    pub fn respond(mut self, reply: impl Into<Reply>) -> Result<(), RemoteError> {
        self.slot.take().map_or(Err(RemoteError::Closed), |slot| slot.give(reply.into()))
    }

    /// Whether nobody waits for the reply any more.
    pub fn is_closed(&self) -> bool {
        self.slot.as_ref().is_none_or(|slot| matches!(*slot.state(), State::Closed))
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // Nobody is left to be told of a failure.
            let _ = slot.give(Reply::status(StatusCode::INTERNAL_SERVER_ERROR));
        }
    }
}

/// The end that waits for the reply: part of what [`Reply::later`] gives to the server.
#[derive(Debug)]
pub(super) struct Deferred {
    slot: Arc<Slot>,
}

impl Deferred {
    /// The two ends.
    pub(super) fn new() -> (Deferred, Responder) {
        let slot = Arc::new(Slot::default());
        (Deferred { slot: Arc::clone(&slot) }, Responder { slot: Some(slot) })
    }

    /// Waits on behalf of a connection, whose `on_wake` is called when the reply is given; `Some` if it was given already.
    pub(super) fn wait(&self, remote: Remote, id: ConnectionId) -> Option<Reply> {
        let mut state = self.slot.state();
        match mem::replace(&mut *state, State::Awaited(remote, id)) {
            State::Given(reply) => {
                *state = State::Closed;
                Some(*reply)
            }
            State::Unasked | State::Awaited(..) | State::Closed => None,
        }
    }

    /// The reply, once it is given.
    pub(super) fn take(&self) -> Option<Reply> {
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
        // What it holds is dropped when nothing is locked.
        drop(former);
    }
}

/// What the two ends share.
#[derive(Default)]
struct Slot(Mutex<State>);

#[derive(Default)]
enum State {
    /// Neither end has come to it.
    #[default]
    Unasked,
    /// A connection waits.
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
            State::Unasked | State::Given(_) | State::Closed => Ok(()),
        }
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
