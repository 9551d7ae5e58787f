//! Listeners whose connections the reactors of a group get in turn.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::reactor::id::ListenerId;

/// The listeners of one address, one of each reactor.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Turns {
    listeners: Mutex<Vec<(usize, ListenerId)>>,
    next: AtomicUsize,
}

impl Turns {
    /// Adds the listener of a reactor, until the result is dropped.
    pub(in crate::reactor) fn join(self: &Arc<Self>, reactor: usize, listener: ListenerId) -> Participant {
        self.change(|listeners| listeners.push((reactor, listener)));
        Participant { turns: Arc::clone(self), listener }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<(usize, ListenerId)>) -> T) -> T {
        change(&mut self.listeners.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A listener that takes part.
#[derive(Debug)]
pub(in crate::reactor) struct Participant {
    turns: Arc<Turns>,
    listener: ListenerId,
}

impl Participant {
    /// The reactor and the listener whose turn it is. `None` if it is this one.
    pub(in crate::reactor) fn next(&self) -> Option<(usize, ListenerId)> {
        let turn = self.turns.next.fetch_add(1, Ordering::Relaxed);
        let next = self.turns.change(|listeners| listeners.get(turn % listeners.len().max(1)).copied());
        next.filter(|(_, listener)| *listener != self.listener)
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.turns.change(|listeners| {
            listeners.retain(|(_, listener)| *listener != self.listener);
            if listeners.is_empty() {
                drop(mem::take(listeners));
            }
        });
    }
}
