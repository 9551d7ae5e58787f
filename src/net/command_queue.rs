//! Commands of other threads to the reactor: a bounded queue with one wake per batch.

#[cfg(all(loom, test))]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64},
};
#[cfg(not(all(loom, test)))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64},
};
use std::{
    mem,
    sync::{Arc, PoisonError, TryLockError, atomic::Ordering},
};

use super::kernel::Wake;

/// Items that wait for the reactor.
#[derive(Debug)]
pub(crate) struct CommandQueue<T> {
    items: Mutex<Items<T>>,
    /// Set while items wait. The reactor checks it without taking the lock.
    waiting: AtomicBool,
    /// How often in a row the reactor found the lock held.
    missed: AtomicU32,
    /// Number of items accepted so far.
    pushed: AtomicU64,
    capacity: usize,
    waker: Arc<dyn Wake>,
}

/// Turns in which the reactor goes without the items before it blocks on the lock: some milliseconds if it is idle. The
/// holder may be a thread that gets no time while the reactor runs.
const MOST_MISSED: u32 = 1000;

#[derive(Debug)]
struct Items<T> {
    queue: Vec<T>,
    closed: bool,
}

/// Why an item was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushError {
    /// The queue is full.
    Full,
    /// The reactor is gone.
    Closed,
}

impl<T> Items<T> {
    fn check(&self, capacity: usize) -> Result<(), PushError> {
        if self.closed {
            return Err(PushError::Closed);
        }
        if self.queue.len() >= capacity { Err(PushError::Full) } else { Ok(()) }
    }
}

impl<T> CommandQueue<T> {
    /// A queue for at most `capacity` items.
    pub(crate) fn new(capacity: usize, waker: Arc<dyn Wake>) -> Self {
        let items = Mutex::new(Items { queue: Vec::new(), closed: false });
        CommandQueue {
            items,
            waiting: AtomicBool::new(false),
            missed: AtomicU32::new(0),
            pushed: AtomicU64::new(0),
            capacity,
            waker,
        }
    }

    /// Moves the waiting items into `items`, which must be empty. The reactor does not block on a sender that was
    /// suspended with the lock held: the items stay, and [`is_waiting`](Self::is_waiting) is true.
    pub(crate) fn drain(&self, items: &mut Vec<T>) {
        if !self.is_waiting() {
            return;
        }
        let mut inside = match self.items.try_lock() {
            Ok(inside) => inside,
            Err(TryLockError::WouldBlock) if self.missed.fetch_add(1, Ordering::Relaxed) < MOST_MISSED => return,
            Err(TryLockError::WouldBlock) => self.lock(),
            Err(TryLockError::Poisoned(inside)) => inside.into_inner(),
        };
        self.missed.store(0, Ordering::Relaxed);
        // Under the lock, so that later items wake the reactor again.
        self.waiting.store(false, Ordering::Relaxed);
        mem::swap(&mut inside.queue, items);
    }

    /// Number of items accepted so far. An item accepted from now on is counted later.
    pub(crate) fn pushed(&self) -> u64 {
        self.pushed.load(Ordering::Relaxed)
    }

    /// Returns `true` while items wait.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Frees the memory of a burst, if no items wait.
    pub(crate) fn trim(&self) {
        let Ok(mut items) = self.items.try_lock() else { return };
        let room = if items.queue.is_empty() { mem::take(&mut items.queue) } else { Vec::new() };
        drop(items);
        drop(room);
    }

    /// Closes the queue: waiting items are dropped, and later ones are refused.
    pub(crate) fn close(&self) {
        let mut items = self.lock();
        items.closed = true;
        let unread = mem::take(&mut items.queue);
        // Dropping an item may call back here.
        drop(items);
        drop(unread);
    }

    /// Returns `Ok` if an item would be accepted now.
    pub(crate) fn check(&self) -> Result<(), PushError> {
        self.lock().check(self.capacity)
    }

    /// Adds an item, and wakes the reactor for the first of a batch.
    pub(crate) fn push(&self, item: T) -> Result<(), PushError> {
        self.push_within(self.capacity, item)
    }

    /// As [`push`](Self::push), beyond the capacity: for items of which the caller bounds the number.
    pub(crate) fn push_beyond(&self, item: T) -> Result<(), PushError> {
        self.push_within(usize::MAX, item)
    }

    fn push_within(&self, capacity: usize, item: T) -> Result<(), PushError> {
        let mut items = self.lock();
        items.check(capacity)?;
        items.queue.push(item);
        self.pushed.fetch_add(1, Ordering::Relaxed);
        let first = !self.waiting.swap(true, Ordering::Release);
        drop(items);
        if first && let Err(error) = self.waker.wake() {
            log::error!(target: "ws_reactor::net", "the loop cannot be woken: {error}");
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Items<T>> {
        // Nothing that could panic runs under the lock.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[derive(Debug, Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(&self) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn queue_wakes_the_loop_once_per_batch_and_refuses_items_when_full_or_closed() {
        let wakes = Arc::new(Wakes::default());
        let queue = CommandQueue::new(3, Arc::clone(&wakes) as Arc<dyn Wake>);
        let pushed: Vec<_> = (0..4).map(|number| queue.push(number)).collect();
        assert_eq!(pushed, [Ok(()), Ok(()), Ok(()), Err(PushError::Full)]);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        let mut items = Vec::new();
        queue.drain(&mut items);
        assert_eq!((items, queue.is_waiting()), (vec![0, 1, 2], false));
        assert_eq!(queue.push(3), Ok(()));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
        queue.close();
        assert_eq!(queue.push(4), Err(PushError::Closed));
    }

    #[test]
    fn drain_returns_without_items_while_a_sender_holds_the_lock() {
        let queue = CommandQueue::new(3, Arc::new(Wakes::default()));
        queue.push(1).unwrap();
        let mut items = Vec::new();
        let held = queue.lock();
        for _ in 0..MOST_MISSED {
            queue.drain(&mut items);
        }
        assert!(items.is_empty() && queue.is_waiting());
        drop(held);
        queue.drain(&mut items);
        assert_eq!((items, queue.is_waiting()), (vec![1], false));
        assert_eq!(queue.missed.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn drain_waits_for_the_lock_after_too_many_missed_attempts() {
        let queue = CommandQueue::new(3, Arc::new(Wakes::default()));
        queue.push(1).unwrap();
        queue.missed.store(MOST_MISSED, Ordering::Relaxed);
        std::thread::scope(|threads| {
            let held = queue.lock();
            let loop_thread = threads.spawn(|| {
                let mut items = Vec::new();
                queue.drain(&mut items);
                items
            });
            while queue.missed.load(Ordering::Relaxed) == MOST_MISSED {
                std::thread::yield_now();
            }
            drop(held);
            assert_eq!(loop_thread.join().unwrap(), [1]);
        });
    }
}

/// Every interleaving of the threads, with up to four preemptions where there are too many: `RUSTFLAGS="--cfg loom"
/// cargo test --lib model`.
#[cfg(all(test, loom))]
mod model {
    use std::io;

    use loom::{sync::Condvar, thread};

    use super::*;

    /// Like an eventfd: a wake before the wait is not lost.
    #[derive(Debug)]
    struct Eventfd {
        woken: Mutex<bool>,
        changed: Condvar,
    }

    impl Eventfd {
        fn new() -> Arc<Self> {
            Arc::new(Eventfd { woken: Mutex::new(false), changed: Condvar::new() })
        }

        fn poll(&self, wait: bool) {
            let mut woken = self.woken.lock().unwrap();
            while !*woken && wait {
                woken = self.changed.wait(woken).unwrap();
            }
            *woken = false;
        }
    }

    impl Wake for Eventfd {
        fn wake(&self) -> io::Result<()> {
            *self.woken.lock().unwrap() = true;
            self.changed.notify_one();
            Ok(())
        }
    }

    /// Pushes numbered items; the thread returns how many were accepted.
    fn send(queue: &Arc<CommandQueue<(usize, usize)>>, sender: usize, items: usize) -> thread::JoinHandle<usize> {
        let queue = Arc::clone(queue);
        thread::spawn(move || (0..items).filter(|number| queue.push((sender, *number)).is_ok()).count())
    }

    #[test]
    fn every_item_arrives_once_and_in_order_and_no_wake_is_lost() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(4);
        builder.check(|| {
            let eventfd = Eventfd::new();
            let queue = Arc::new(CommandQueue::new(9, Arc::clone(&eventfd) as Arc<dyn Wake>));
            let senders = [send(&queue, 0, 2), send(&queue, 1, 1)];
            let (mut received, mut empty) = (Vec::new(), 0);
            // The loop polls without waiting if items are queued. A lost wake would block the loop forever, which loom
            // reports.
            while received.len() < 3 {
                eventfd.poll(!queue.is_waiting());
                let mut items = Vec::new();
                queue.drain(&mut items);
                if items.is_empty() {
                    // The thread that holds the lock has to continue.
                    empty += usize::from(!queue.is_waiting());
                    thread::yield_now();
                }
                received.extend(items);
            }
            for sender in senders {
                sender.join().unwrap();
            }
            let of =
                |wanted: usize| received.iter().filter(move |(sender, _)| *sender == wanted).map(|(_, number)| *number);
            assert_eq!((of(0).collect::<Vec<_>>(), of(1).collect::<Vec<_>>()), (vec![0, 1], vec![0]));
            assert!(empty <= 3, "{empty} wakes without an item");
        });
    }

    #[test]
    fn full_queue_refuses_items_and_keeps_the_accepted_ones() {
        loom::model(|| {
            let queue = Arc::new(CommandQueue::new(1, Eventfd::new() as Arc<dyn Wake>));
            let senders = [send(&queue, 0, 1), send(&queue, 1, 1)];
            let mut received = Vec::new();
            queue.drain(&mut received);
            let accepted: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
            let mut items = Vec::new();
            queue.drain(&mut items);
            assert_eq!(received.len() + items.len(), accepted);
            assert!(accepted >= 1);
        });
    }

    #[test]
    fn closed_queue_holds_no_items() {
        loom::model(|| {
            let queue = Arc::new(CommandQueue::new(9, Eventfd::new() as Arc<dyn Wake>));
            let sender = send(&queue, 0, 2);
            queue.close();
            sender.join().unwrap();
            assert!(queue.lock().queue.is_empty());
            assert_eq!(queue.push((0, 0)), Err(PushError::Closed));
        });
    }
}
