//! Listeners whose connections the reactors of a group get in turn.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crate::reactor::id::ListenerId;

/// The listeners of one address, one of each reactor.
#[derive(Debug, Default)]
pub(super) struct Turns {
    listeners: Mutex<Vec<(usize, ListenerId)>>,
    next: AtomicUsize,
}

impl Turns {
    /// Adds the listener of a reactor.
    pub(super) fn join(&self, reactor: usize, listener: ListenerId) {
        self.change(|listeners| listeners.push((reactor, listener)));
    }

    pub(super) fn leave(&self, listener: ListenerId) {
        self.change(|listeners| listeners.retain(|(_, other)| *other != listener));
    }

    /// The reactor and the listener whose turn it is.
    pub(super) fn next(&self) -> Option<(usize, ListenerId)> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.change(|listeners| listeners.get(turn % listeners.len().max(1)).copied())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<(usize, ListenerId)>) -> T) -> T {
        change(&mut self.listeners.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
