//! The thread that writes a recording.

use std::{
    fs::File,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
};

/// Passes bytes to a thread that writes them. Dropping it waits until all are written.
#[derive(Debug)]
pub(crate) struct Writer {
    sender: Option<Sender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
    state: Arc<State>,
    /// Bytes that may wait.
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: AtomicUsize,
    has_failed: AtomicBool,
}

/// Bytes that were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The disk is slower than the reactor.
    TooSlow,
    /// The disk has failed.
    Failed,
}

/// Memory of a waiting piece, with its place in the queue.
fn cost(bytes: &Vec<u8>) -> usize {
    bytes.capacity() + 64
}

impl Refused {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Refused::TooSlow => "the disk is too slow",
            Refused::Failed => "the file cannot be written",
        }
    }
}

impl Writer {
    /// Starts the thread. At most `limit` bytes wait for it.
    pub(crate) fn start(file: File, limit: usize) -> io::Result<Self> {
        let ((sender, receiver), state) = (mpsc::channel::<Vec<u8>>(), Arc::new(State::default()));
        let shared = Arc::clone(&state);
        let work = move || {
            let mut file = file;
            for bytes in receiver {
                if let Err(error) = file.write_all(&bytes) {
                    log::error!(target: "ws_reactor::net", "the recording cannot be written: {error}");
                    shared.has_failed.store(true, Ordering::Relaxed);
                    return;
                }
                shared.waiting.fetch_sub(cost(&bytes), Ordering::Relaxed);
            }
        };
        let thread = thread::Builder::new().name("ws-reactor recorder".to_owned()).spawn(work)?;
        Ok(Writer { sender: Some(sender), thread: Some(thread), state, limit })
    }

    /// Lets the thread finish by itself.
    pub(crate) fn detach(&mut self) {
        self.sender = None;
        self.thread = None;
    }

    /// Has bytes written. Does not wait.
    pub(crate) fn write(&self, bytes: Vec<u8>) -> Result<(), Refused> {
        if self.state.has_failed.load(Ordering::Relaxed) {
            return Err(Refused::Failed);
        }
        if self.state.waiting.load(Ordering::Relaxed) + cost(&bytes) > self.limit {
            return Err(Refused::TooSlow);
        }
        self.write_last(bytes)
    }

    /// Has bytes written, however many wait: the last of a recording.
    pub(crate) fn write_last(&self, bytes: Vec<u8>) -> Result<(), Refused> {
        self.state.waiting.fetch_add(cost(&bytes), Ordering::Relaxed);
        self.sender.as_ref().and_then(|sender| sender.send(bytes).ok()).ok_or(Refused::Failed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported there.
            let _ = thread.join();
        }
    }
}
