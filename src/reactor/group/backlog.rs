//! The backlog of publications between two reactors.

use std::sync::atomic::Ordering;
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicBool, AtomicUsize};

#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicBool, AtomicUsize};

/// Number and bytes of the publications of one reactor that another has not delivered yet. Only the first adds, and
/// only the second removes, so a limit that the first looks at is not exceeded.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// A report of missed events is under way.
    reports_gap: AtomicBool,
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

    /// Notes that missed events are reported. Returns `false` if the last report has not arrived.
    pub(super) fn begin_gap(&self) -> bool {
        !self.reports_gap.swap(true, Ordering::Relaxed)
    }

    /// The report has arrived.
    pub(super) fn end_gap(&self) {
        self.reports_gap.swap(false, Ordering::Relaxed);
    }
}

/// Every interleaving of the two threads: `RUSTFLAGS="--cfg loom" cargo test --lib model`.
#[cfg(all(test, loom))]
mod model {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn limit_of_the_publisher_is_never_exceeded_and_nothing_stays_counted() {
        const LIMIT: usize = 2;
        loom::model(|| {
            let backlog = Arc::new(Backlog::default());
            let (publishing, queued) = (Arc::clone(&backlog), Arc::new(AtomicUsize::new(0)));
            let queue = Arc::clone(&queued);
            let publisher = thread::spawn(move || {
                let mut published = 0;
                for _ in 0..3 {
                    if publishing.waiting().0 < LIMIT {
                        publishing.add(1, 10);
                        published += 1;
                        queue.fetch_add(1, Ordering::Release);
                    }
                }
                published
            });
            let mut delivered = 0;
            for _ in 0..2 {
                assert!(backlog.waiting().0 <= LIMIT);
                if queued.load(Ordering::Acquire) > delivered {
                    backlog.remove(1, 10);
                    delivered += 1;
                }
            }
            let published = publisher.join().unwrap();
            backlog.remove(published - delivered, (published - delivered) * 10);
            assert_eq!(backlog.waiting(), (0, 0));
            assert!(published >= LIMIT);
        });
    }

    #[test]
    fn one_report_of_a_gap_is_under_way_at_a_time_and_the_next_can_follow() {
        loom::model(|| {
            let backlog = Arc::new(Backlog::default());
            assert!(backlog.begin_gap());
            let receiving = Arc::clone(&backlog);
            let receiver = thread::spawn(move || receiving.end_gap());
            let is_next = backlog.begin_gap();
            receiver.join().unwrap();
            assert_eq!(backlog.begin_gap(), !is_next);
        });
    }
}
