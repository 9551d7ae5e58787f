//! A server with a reactor and a thread of its own.
#![allow(clippy::unwrap_used)]

use std::{sync::mpsc, thread};

use ws_reactor::{Reactor, Remote, Server};

/// A running server. Dropping it stops the reactor and joins the thread.
pub(crate) struct ThreadedServer {
    pub(crate) url: String,
    remote: Remote,
    thread: Option<thread::JoinHandle<()>>,
}

impl ThreadedServer {
    /// Starts the server that `create` makes, on a free port.
    pub(crate) fn new(create: impl FnOnce() -> Server + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut reactor = Reactor::new().unwrap();
            let listening = reactor.listen("127.0.0.1:0", create()).unwrap();
            sender.send((format!("ws://{}", listening.addr), reactor.remote())).unwrap();
            reactor.run().unwrap();
        });
        let (url, remote) = receiver.recv().unwrap();
        ThreadedServer { url, remote, thread: Some(thread) }
    }
}

impl Drop for ThreadedServer {
    fn drop(&mut self) {
        self.remote.stop().unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}
