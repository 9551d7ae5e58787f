//! Threads for work that blocks: started on demand, ended when idle.

use std::{
    collections::VecDeque,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Work of a thread.
type Job = Box<dyn FnOnce() + Send>;

/// Idle time after which a thread ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// A pool of threads, without any until the first job. The threads of a dropped pool finish its jobs.
pub(crate) struct ThreadPool {
    name: &'static str,
    most_threads: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    given: Condvar,
}

#[derive(Default)]
struct State {
    /// Jobs that no thread has taken yet.
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl ThreadPool {
    /// A pool of at most `most_threads`, at least one, with this name.
    pub(crate) fn new(name: &'static str, most_threads: usize) -> Self {
        ThreadPool { name, most_threads: most_threads.max(1), shared: Arc::default() }
    }

    /// Drops the jobs that no thread has taken yet.
    pub(crate) fn drop_waiting(&self) {
        let waiting = std::mem::take(&mut self.shared.lock().waiting);
        // Dropping a job may call back here.
        drop(waiting);
    }

    /// Hands a job to a thread. If the system starts no thread and there is none, the job is dropped, and the error
    /// returned.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.waiting.push_back(Box::new(job));
        if state.waiting.len() <= state.idle || state.threads == self.most_threads {
            self.shared.given.notify_one();
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        match thread::Builder::new().name(self.name.to_owned()).spawn(move || shared.work()) {
            Ok(_) => state.threads += 1,
            Err(error) if state.threads == 0 => {
                let job = state.waiting.pop_back();
                drop(state);
                drop(job);
                return Err(error);
            }
            // The threads that there are come to it later.
            Err(_) => {}
        }
        Ok(())
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ThreadPool").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does jobs until none arrives for a while.
    fn work(&self) {
        #[cfg(feature = "affinity")]
        super::affinity::unpin();
        while let Some(job) = self.next() {
            // A panic was logged by the hook of the program. It must not cost the pool a thread.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    /// The next job. `None`, and one thread less, if none arrives in time.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        state.idle += 1;
        let waited = self.given.wait_timeout_while(state, PATIENCE, |state| state.waiting.is_empty());
        (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        let job = state.waiting.pop_front();
        state.threads -= usize::from(job.is_none());
        job
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread::ThreadId};

    use super::*;

    /// Runs jobs that all wait for each other. Returns the threads that did them.
    fn threads_of(pool: &ThreadPool, jobs: usize) -> Vec<ThreadId> {
        let (sender, receiver) = mpsc::channel();
        let gate = Arc::new(std::sync::Barrier::new(jobs + 1));
        for _ in 0..jobs {
            let (sender, gate) = (sender.clone(), Arc::clone(&gate));
            pool.run(move || {
                gate.wait();
                sender.send(thread::current().id()).expect("the test waits");
            })
            .expect("a thread");
        }
        gate.wait();
        (0..jobs).map(|_| receiver.recv().expect("a job is done")).collect()
    }

    #[test]
    fn jobs_that_block_have_a_thread_each_up_to_the_limit() {
        let pool = ThreadPool::new("test", 4);
        let mut threads = threads_of(&pool, 4);
        threads.sort_by_key(|thread| format!("{thread:?}"));
        threads.dedup();
        assert_eq!(threads.len(), 4);
        assert_eq!(pool.shared.lock().threads, 4, "no more than needed");
        assert!(pool.shared.lock().waiting.is_empty());
    }

    #[test]
    fn job_that_panics_costs_no_thread() {
        let pool = ThreadPool::new("test", 1);
        pool.run(|| panic!("on purpose")).expect("a thread");
        assert_eq!(threads_of(&pool, 1).len(), 1);
        assert_eq!(pool.shared.lock().threads, 1);
    }

    #[test]
    fn jobs_that_wait_are_dropped_on_request_and_no_thread_stays() {
        let pool = ThreadPool::new("test", 1);
        let (begin, begun) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        pool.run(move || {
            begin.send(()).expect("the test waits");
            let _ = ended.recv();
        })
        .expect("a thread");
        begun.recv().expect("the job has begun");
        let held = Arc::new(());
        let in_job = Arc::clone(&held);
        pool.run(move || drop(in_job)).expect("a place in the queue");
        let shared = Arc::downgrade(&pool.shared);
        pool.drop_waiting();
        drop(pool);
        assert_eq!(Arc::strong_count(&held), 1);
        drop(end);
        while shared.upgrade().is_some_and(|shared| shared.lock().threads > 0) {
            thread::yield_now();
        }
    }
}
