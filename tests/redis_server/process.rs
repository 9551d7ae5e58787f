//! Processes with clients, on threads.

use std::{
    cell::RefCell,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use ws_reactor::{
    BlockingSocket, Callbacks, Hub, Reactor, ReactorGroup, Redis, RedisHandle, RedisStats, Remote, Server,
};

/// A process, as far as Redis can say. Its clients are subscribed to the topic that is their path.
pub(crate) struct Process {
    pub(crate) remote: Remote,
    url: String,
    thread: Option<JoinHandle<()>>,
}

thread_local! {
    /// That of the process on this thread.
    static HANDLE: RefCell<Option<RedisHandle>> = const { RefCell::new(None) };
}

impl Process {
    /// `set_up` is called on each of its reactors.
    pub(crate) fn start(
        threads: usize,
        redis: impl Fn() -> Redis + Send + Sync + 'static,
        set_up: fn(&mut Hub),
    ) -> Self {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            let run = |reactor: &mut Reactor| {
                let redis = redis();
                HANDLE.with_borrow_mut(|handle| *handle = Some(redis.handle()));
                reactor.hub().set_backplane(redis);
                set_up(reactor.hub());
                let server = Server::new(|request| {
                    let topic = request.path().to_owned();
                    Callbacks::new().on_open(move |ws, _| _ = ws.subscribe(&topic[1..])).on_message(|ws, message| {
                        // The client has opened, and nothing is in its way.
                        ws.send(message);
                    })
                });
                let address = reactor.listen("127.0.0.1:0", server)?.addr;
                sender.send((reactor.remote(), address.to_string())).unwrap();
                Ok(())
            };
            ReactorGroup::new(threads).unwrap().run(run).unwrap();
        });
        let mut reactors: Vec<(Remote, String)> = (0..threads).map(|_| receiver.recv().unwrap()).collect();
        let (remote, address) = reactors.swap_remove(0);
        Process { remote, url: format!("ws://{address}"), thread: Some(thread) }
    }

    pub(crate) fn client(&self, path: &str) -> BlockingSocket {
        let mut socket = BlockingSocket::connect(&format!("{}/{path}", self.url)).unwrap();
        socket.send("open").unwrap();
        assert_eq!(receive(&mut socket), "open");
        socket
    }

    pub(crate) fn call<T: Send + 'static>(&self, call: impl FnOnce(&mut Hub) -> T + Send + 'static) -> T {
        let (sender, receiver) = mpsc::channel();
        self.remote.run(move |hub| _ = sender.send(call(hub))).unwrap();
        receiver.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    pub(crate) fn stats(&self) -> RedisStats {
        self.call(|_| HANDLE.with_borrow(|handle| handle.as_ref().expect("a Redis").stats()))
    }

    /// Shuts the process down, and waits for its end.
    pub(crate) fn shut_down(mut self, timeout: Duration) {
        self.remote.shutdown(timeout).unwrap();
        self.thread.take().expect("it runs").join().unwrap();
    }

    pub(crate) fn history(&self, topic: &'static str) -> Vec<(u64, String)> {
        self.call(move |hub| {
            let replay = hub.events_after([topic], 0).expect("it is kept");
            replay.events.iter().map(|event| (event.id, event.data.to_string())).collect()
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.remote.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn receive(socket: &mut BlockingSocket) -> String {
    socket.receive().unwrap().as_message().as_text().unwrap().to_owned()
}

/// The first message after those by which a test finds out who is subscribed.
pub(crate) fn after_begin(socket: &mut BlockingSocket) -> String {
    loop {
        let message = receive(socket);
        if message != "begin" {
            return message;
        }
    }
}

pub(crate) fn receive_many(socket: &mut BlockingSocket, count: usize) -> Vec<String> {
    (0..count).map(|_| receive(socket)).collect()
}
