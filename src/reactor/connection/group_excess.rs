//! The part of a reactor in the output of its group above the high-water marks.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Output of all reactors of a group above the high-water marks, and the part of this one in it.
#[derive(Debug, Clone)]
pub(in crate::reactor) struct GroupExcess {
    total: Arc<AtomicUsize>,
    reported: usize,
    reactors: usize,
}

impl GroupExcess {
    pub(in crate::reactor) fn new(reactors: usize) -> Self {
        GroupExcess { total: Arc::default(), reported: 0, reactors }
    }

    /// Reports the output of this reactor.
    pub(in crate::reactor) fn report(&mut self, bytes: usize) {
        // Relaxed: the count guards no memory. A sum below zero cannot be seen by the order of the two.
        match bytes.checked_sub(self.reported) {
            Some(more) => self.total.fetch_add(more, Ordering::Relaxed),
            None => self.total.fetch_sub(self.reported - bytes, Ordering::Relaxed),
        };
        self.reported = bytes;
    }

    /// Returns `true` if all reactors together hold more than `limit`, and this one more than its share, so that it has
    /// to close connections.
    pub(in crate::reactor) fn is_over(&self, limit: usize) -> bool {
        self.total.load(Ordering::Relaxed) > limit && self.reported > limit / self.reactors
    }
}

impl Drop for GroupExcess {
    fn drop(&mut self) {
        self.report(0);
    }
}
