//! Wakes a connection from any thread, by the waker of the standard library.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use crate::reactor::{ConnectionId, Remote};

/// Wakes the handler of one connection: `on_event` gets a [`Wakeup`](crate::reactor::Wakeup).
pub(super) struct ConnectionWaker {
    remote: Remote,
    id: ConnectionId,
    /// A wake-up is on its way, so that a connection has one at most in the command queue.
    woken: AtomicBool,
}

impl ConnectionWaker {
    pub(super) fn new(remote: Remote, id: ConnectionId) -> Arc<Self> {
        Arc::new(ConnectionWaker { remote, id, woken: AtomicBool::new(false) })
    }

    /// The wake-up has arrived: a later one is sent again.
    pub(super) fn on_wakeup(&self) {
        self.woken.store(false, Ordering::Release);
    }

    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.remote.wake(self.id);
        }
    }
}
