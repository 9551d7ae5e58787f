//! Decisions that are not made at once: asked for in one place, made in another, by any thread.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::StatusCode;

use super::decision::Decision;
use crate::reactor::{ConnectionId, Remote, Sent};

/// Makes the decision that [`Decision::later`] has put off; on any thread, and once. If it is dropped before, the answer is 500.
///
/// The connection may have ended meanwhile, by a reset or because [`Settings::opening_deadline`](crate::Settings::opening_deadline) has passed; then nothing happens. That a client has
/// ended its own side is found when it is read again: it may still listen.
#[derive(Debug)]
pub struct Decider {
    /// Not here once it has decided.
    slot: Option<Arc<Slot>>,
}

impl Decider {
    /// Decides. `Queued` says that the answer is on its way, `Closed` that nobody waits for it any more. `Full` that the reactor has too many commands waiting (see
    /// [`Remote`](crate::Remote)): the answer goes when the opening deadline has passed.
    pub fn decide(mut self, decision: impl Into<Decision>) -> Sent {
        self.slot.take().map_or(Sent::Closed, |slot| slot.decide(decision.into()))
    }

    /// Whether nobody waits for the decision any more.
    pub fn is_closed(&self) -> bool {
        self.slot.as_ref().is_none_or(|slot| matches!(*slot.state(), State::Closed))
    }
}

impl Drop for Decider {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.decide(Decision::status(StatusCode::INTERNAL_SERVER_ERROR));
        }
    }
}

/// Who waits for a decision: what [`Decision::later`] gives back to the server.
#[derive(Debug)]
pub struct Deferred {
    slot: Arc<Slot>,
}

impl Deferred {
    /// The two ends.
    pub(super) fn new() -> (Deferred, Decider) {
        let slot = Arc::new(Slot::default());
        (Deferred { slot: Arc::clone(&slot) }, Decider { slot: Some(slot) })
    }

    /// Waits on behalf of a connection, whose `on_wake` is called when the decision is made; or gives it back, if it has been made already.
    pub(super) fn wait(&self, remote: Remote, id: ConnectionId) -> Option<Decision> {
        let mut state = self.slot.state();
        match mem::replace(&mut *state, State::Awaited(remote, id)) {
            State::Made(decision) => {
                *state = State::Closed;
                Some(*decision)
            }
            State::Unasked | State::Awaited(..) | State::Closed => None,
        }
    }

    /// The decision, once it is made.
    pub(super) fn take(&self) -> Option<Decision> {
        let mut state = self.slot.state();
        match mem::replace(&mut *state, State::Closed) {
            State::Made(decision) => Some(*decision),
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
    Made(Box<Decision>),
    Closed,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, decision: Decision) -> Sent {
        let made = State::Made(Box::new(decision));
        let mut state = self.state();
        if matches!(*state, State::Closed) {
            return Sent::Closed;
        }
        let former = mem::replace(&mut *state, made);
        drop(state);
        match former {
            State::Awaited(remote, id) => remote.wake(id),
            State::Unasked | State::Made(_) | State::Closed => Sent::Queued,
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match &*self.state() {
            State::Unasked => "Unasked",
            State::Awaited(..) => "Awaited",
            State::Made(_) => "Made",
            State::Closed => "Closed",
        })
    }
}
