//! The part of a reactor in the output of its group above the high-water marks.

#[cfg(not(all(loom, test)))]
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, atomic::Ordering};

#[cfg(all(loom, test))]
use loom::sync::atomic::AtomicUsize;

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

/// Every interleaving of two reactors: `RUSTFLAGS="--cfg loom" cargo test --lib model`.
#[cfg(all(test, loom))]
mod model {
    use loom::thread;

    use super::*;

    #[test]
    fn reactor_that_holds_most_finds_the_group_above_the_limit() {
        loom::model(|| {
            let mut first = GroupExcess::new(2);
            let mut second = first.clone();
            let thread = thread::spawn(move || {
                second.report(3);
                second.report(1);
                let is_over = second.is_over(4);
                (second, is_over)
            });
            first.report(5);
            // The sum never falls below a part of it, in the view of either.
            assert!(first.is_over(4));
            let (second, is_over) = thread.join().unwrap();
            assert!(!is_over, "it holds no more than its share");
            drop(first);
            assert!(!second.is_over(0) || second.total.load(Ordering::Relaxed) == 1);
            let total = Arc::clone(&second.total);
            drop(second);
            assert_eq!(total.load(Ordering::Relaxed), 0);
        });
    }
}
