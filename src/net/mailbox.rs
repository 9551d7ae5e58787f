//! What other threads send to the loop: one bounded queue, one wake for a batch.

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

/// Letters that wait for the loop.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    letters: Mutex<Letters<T>>,
    /// Whether any wait; spares the loop the lock.
    waiting: AtomicBool,
    /// How often in a row the loop has found the lock held.
    missed: AtomicU32,
    capacity: usize,
    waker: Arc<dyn Wake>,
}

/// So many turns the loop does without the letters, some milliseconds if it has nothing else to do. Then it waits for them: the sender may be one that gets
/// no time while the loop runs.
const MOST_MISSED: u32 = 1000;

#[derive(Debug)]
struct Letters<T> {
    queue: Vec<T>,
    closed: bool,
}

/// Why a letter was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As many wait as may.
    Full,
    /// The loop has gone.
    Closed,
}

impl<T> Mailbox<T> {
    /// A mailbox for so many letters at a time.
    pub(crate) fn new(capacity: usize, waker: Arc<dyn Wake>) -> Self {
        let letters = Mutex::new(Letters { queue: Vec::new(), closed: false });
        Mailbox { letters, waiting: AtomicBool::new(false), missed: AtomicU32::new(0), capacity, waker }
    }

    /// Moves what waits into `letters`, which is empty. The loop does not stop for a sender that was put to sleep while it held the lock: then the letters wait
    /// on, and [`is_waiting`](Self::is_waiting) says so.
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
        // Under the lock, so that what comes from here on wakes the loop again.
        self.waiting.store(false, Ordering::Relaxed);
        mem::swap(&mut inside.queue, letters);
    }

    /// Whether letters wait.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Gives back the room that a burst has needed, if nothing waits.
    pub(crate) fn rest(&self) {
        let Ok(mut letters) = self.letters.try_lock() else { return };
        let room = if letters.queue.is_empty() { mem::take(&mut letters.queue) } else { Vec::new() };
        drop(letters);
        drop(room);
    }

    /// The loop has gone: what waits is dropped, and nothing more is taken.
    pub(crate) fn close(&self) {
        let mut letters = self.lock();
        letters.closed = true;
        let unread = mem::take(&mut letters.queue);
        // What a letter holds may come back here when it is dropped.
        drop(letters);
        drop(unread);
    }

    /// Leaves a letter, and wakes the loop for the first of a batch.
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

/// Every order in which the steps of the threads may come, with up to four preemptions where there are too many: `RUSTFLAGS="--cfg loom" cargo test --lib mailbox`.
#[cfg(all(test, loom))]
mod model {
    use std::io;

    use loom::{sync::Condvar, thread};

    use super::*;

    /// As an eventfd: a wake that comes before the wait is not lost.
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

    /// A sender's letters, with its number.
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
            // The loop: it does not wait if letters do. If a wake were lost, it would wait for ever, which the model reports.
            while received.len() < 3 {
                eventfd.poll(!mailbox.is_waiting());
                let mut letters = Vec::new();
                mailbox.drain(&mut letters);
                if letters.is_empty() {
                    // What holds the lock has to go on.
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
