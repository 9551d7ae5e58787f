//! Commands of other threads to the reactor: a bounded queue with one wake per batch.

#[cfg(all(loom, test))]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32},
};
#[cfg(not(all(loom, test)))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32},
};
use std::{
    mem,
    sync::{Arc, PoisonError, TryLockError, atomic::Ordering},
};

use super::kernel::Wake;

/// Letters that wait for the reactor.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    letters: Mutex<Letters<T>>,
    /// Whether letters wait. Saves the reactor the lock.
    waiting: AtomicBool,
    /// How often in a row the reactor found the lock held.
    missed: AtomicU32,
    capacity: usize,
    waker: Arc<dyn Wake>,
}

/// Turns without the letters, some milliseconds in an idle reactor, before the reactor blocks on the lock. The holder
/// may be a thread that gets no time while the reactor runs.
const MOST_MISSED: u32 = 1000;

#[derive(Debug)]
struct Letters<T> {
    queue: Vec<T>,
    closed: bool,
}

/// Why a letter was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full.
    Full,
    /// The reactor is gone.
    Closed,
}

impl<T> Mailbox<T> {
    /// A mailbox for at most `capacity` letters.
    pub(crate) fn new(capacity: usize, waker: Arc<dyn Wake>) -> Self {
        let letters = Mutex::new(Letters { queue: Vec::new(), closed: false });
        Mailbox { letters, waiting: AtomicBool::new(false), missed: AtomicU32::new(0), capacity, waker }
    }

    /// Moves the waiting letters into `letters`, which must be empty. The reactor does not block on a sender that was
    /// suspended with the lock held: the letters stay, and [`is_waiting`](Self::is_waiting) is true.
    pub(crate) fn drain(&self, letters: &mut Vec<T>) {
        if !self.is_waiting() {
            return;
        }
        let mut inside = match self.letters.try_lock() {
            Ok(inside) => inside,
            Err(TryLockError::WouldBlock) if self.missed.fetch_add(1, Ordering::Relaxed) < MOST_MISSED => return,
            Err(TryLockError::WouldBlock) => self.lock(),
            Err(TryLockError::Poisoned(inside)) => inside.into_inner(),
        };
        self.missed.store(0, Ordering::Relaxed);
        // Under the lock, so that later letters wake the reactor again.
        self.waiting.store(false, Ordering::Relaxed);
        mem::swap(&mut inside.queue, letters);
    }

    /// Whether letters wait.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Frees the memory of a burst, if no letters wait.
    pub(crate) fn rest(&self) {
        let Ok(mut letters) = self.letters.try_lock() else { return };
        let room = if letters.queue.is_empty() { mem::take(&mut letters.queue) } else { Vec::new() };
        drop(letters);
        drop(room);
    }

    /// Closes the mailbox: waiting letters are dropped, and later ones are refused.
    pub(crate) fn close(&self) {
        let mut letters = self.lock();
        letters.closed = true;
        let unread = mem::take(&mut letters.queue);
        // Dropping a letter may call back here.
        drop(letters);
        drop(unread);
    }

    /// Adds a letter, and wakes the reactor for the first of a batch.
    pub(crate) fn push(&self, letter: T) -> Result<(), Refused> {
        let mut letters = self.lock();
        if letters.closed {
            return Err(Refused::Closed);
        }
        if letters.queue.len() >= self.capacity {
            return Err(Refused::Full);
        }
        letters.queue.push(letter);
        let first = !self.waiting.swap(true, Ordering::Release);
        drop(letters);
        if first && let Err(error) = self.waker.wake() {
            log::error!(target: "ws_reactor::net", "the loop cannot be woken: {error}");
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Letters<T>> {
        // Nothing that could panic runs under the lock.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_batch_wakes_once_and_the_queue_is_bounded() {
        let wakes = Arc::new(Wakes::default());
        let mailbox = Mailbox::new(3, Arc::clone(&wakes) as Arc<dyn Wake>);
        let pushed: Vec<_> = (0..4).map(|number| mailbox.push(number)).collect();
        assert_eq!(pushed, [Ok(()), Ok(()), Ok(()), Err(Refused::Full)]);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        let mut letters = Vec::new();
        mailbox.drain(&mut letters);
        assert_eq!((letters, mailbox.is_waiting()), (vec![0, 1, 2], false));
        assert_eq!(mailbox.push(3), Ok(()));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
        mailbox.close();
        assert_eq!(mailbox.push(4), Err(Refused::Closed));
    }

    #[test]
    fn a_sender_that_sleeps_with_the_lock_does_not_stop_the_loop() {
        let mailbox = Mailbox::new(3, Arc::new(Wakes::default()));
        mailbox.push(1).unwrap();
        let mut letters = Vec::new();
        let held = mailbox.lock();
        for _ in 0..MOST_MISSED {
            mailbox.drain(&mut letters);
        }
        assert!(letters.is_empty() && mailbox.is_waiting());
        drop(held);
        mailbox.drain(&mut letters);
        assert_eq!((letters, mailbox.is_waiting()), (vec![1], false));
        assert_eq!(mailbox.missed.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_sender_that_gets_no_time_is_waited_for_at_last() {
        let mailbox = Mailbox::new(3, Arc::new(Wakes::default()));
        mailbox.push(1).unwrap();
        mailbox.missed.store(MOST_MISSED, Ordering::Relaxed);
        std::thread::scope(|threads| {
            let held = mailbox.lock();
            let loop_thread = threads.spawn(|| {
                let mut letters = Vec::new();
                mailbox.drain(&mut letters);
                letters
            });
            while mailbox.missed.load(Ordering::Relaxed) == MOST_MISSED {
                std::thread::yield_now();
            }
            drop(held);
            assert_eq!(loop_thread.join().unwrap(), [1]);
        });
    }
}

/// Every interleaving of the threads, with up to four preemptions where there are too many: `RUSTFLAGS="--cfg loom"
/// cargo test --lib mailbox`.
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

        fn poll(&self, patiently: bool) {
            let mut woken = self.woken.lock().unwrap();
            while !*woken && patiently {
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

    /// Sends numbered letters.
    fn send(mailbox: &Arc<Mailbox<(usize, usize)>>, sender: usize, letters: usize) -> thread::JoinHandle<usize> {
        let mailbox = Arc::clone(mailbox);
        thread::spawn(move || (0..letters).filter(|number| mailbox.push((sender, *number)).is_ok()).count())
    }

    #[test]
    fn every_letter_arrives_once_and_in_order_and_no_wake_is_lost() {
        let mut orders = loom::model::Builder::new();
        orders.preemption_bound = Some(4);
        orders.check(|| {
            let eventfd = Eventfd::new();
            let mailbox = Arc::new(Mailbox::new(9, Arc::clone(&eventfd) as Arc<dyn Wake>));
            let senders = [send(&mailbox, 0, 2), send(&mailbox, 1, 1)];
            let (mut received, mut empty) = (Vec::new(), 0);
            // The loop does not wait if letters do. A lost wake would make the loop wait for ever, which the model
            // reports.
            while received.len() < 3 {
                eventfd.poll(!mailbox.is_waiting());
                let mut letters = Vec::new();
                mailbox.drain(&mut letters);
                if letters.is_empty() {
                    // The holder of the lock has to continue.
                    empty += usize::from(!mailbox.is_waiting());
                    thread::yield_now();
                }
                received.extend(letters);
            }
            for sender in senders {
                sender.join().unwrap();
            }
            let of =
                |wanted: usize| received.iter().filter(move |(sender, _)| *sender == wanted).map(|(_, number)| *number);
            assert_eq!((of(0).collect::<Vec<_>>(), of(1).collect::<Vec<_>>()), (vec![0, 1], vec![0]));
            assert!(empty <= 3, "{empty} times woken for nothing");
        });
    }

    #[test]
    fn what_is_full_says_so_and_what_was_taken_is_there() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::new(1, Eventfd::new() as Arc<dyn Wake>));
            let senders = [send(&mailbox, 0, 1), send(&mailbox, 1, 1)];
            let mut received = Vec::new();
            mailbox.drain(&mut received);
            let taken: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
            let mut letters = Vec::new();
            mailbox.drain(&mut letters);
            assert_eq!(received.len() + letters.len(), taken);
            assert!(taken >= 1);
        });
    }

    #[test]
    fn nothing_stays_in_a_mailbox_that_was_closed() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::new(9, Eventfd::new() as Arc<dyn Wake>));
            let sender = send(&mailbox, 0, 2);
            mailbox.close();
            sender.join().unwrap();
            assert!(mailbox.lock().queue.is_empty());
            assert_eq!(mailbox.push((0, 0)), Err(Refused::Closed));
        });
    }
}
