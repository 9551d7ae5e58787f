//! What waits between two reactors.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Number and bytes of the publications of one reactor that another has not delivered yet. Only the first adds, and
/// only the second removes, so a limit that the first looks at is not exceeded.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

// Relaxed: the counts guard no memory. The publications pass through the lock of a command queue.
impl Backlog {
    /// Messages and bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.messages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    pub(super) fn add(&self, messages: usize, bytes: usize) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, messages: usize, bytes: usize) {
        self.messages.fetch_sub(messages, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
