//! A group on threads, with real sockets.

use std::{net::SocketAddr, sync::mpsc, thread, time::Duration};

use ws_reactor::{
    Bind, BlockingSocket, Callbacks, CloseCode, GroupError, Reactor, ReactorGroup, Remote, Server, SetupError,
};

/// A group that runs on threads of its own.
pub(super) struct Running<T = SocketAddr> {
    /// What the set-up has returned for each reactor, in their order.
    pub(super) set_up: Vec<T>,
    pub(super) remote: Remote,
    pub(super) thread: thread::JoinHandle<Result<(), GroupError>>,
}

impl<T: Send + 'static> Running<T> {
    /// Runs a group. Returns when all reactors are set up.
    pub(super) fn start(
        group: ReactorGroup,
        set_up: impl Fn(&mut Reactor) -> Result<T, SetupError> + Sync + Send + 'static,
    ) -> Self {
        let (done, results) = mpsc::channel();
        let (remote, size) = (group.remote(), group.len());
        let thread = thread::spawn(move || {
            group.run(|reactor| {
                let index = reactor.hub().group_index();
                done.send((index, set_up(reactor)?)).unwrap();
                Ok(())
            })
        });
        let mut results: Vec<(usize, T)> = results.iter().take(size).collect();
        assert_eq!(results.len(), size, "a set-up failed");
        results.sort_by_key(|(index, _)| *index);
        Running { set_up: results.into_iter().map(|(_, result)| result).collect(), remote, thread }
    }

    /// Returns when each reactor has executed the commands that it has, and ended the turn.
    pub(super) fn settle(&self) {
        // The second question comes in a later turn than the first.
        for _ in 0..2 {
            let (answered, answers) = mpsc::channel();
            let ask = |hub: &mut ws_reactor::Hub| {
                hub.ask_group(|_| (), move |_, answers| answered.send(answers.len()).unwrap());
            };
            self.remote.run(ask).unwrap();
            assert_eq!(answers.recv_timeout(Duration::from_secs(30)), Ok(self.set_up.len()));
        }
    }

    pub(super) fn stop(self) {
        self.remote.stop().unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

impl Running {
    /// Runs a group each of whose reactors listens at the same address.
    pub(super) fn serving(
        group: ReactorGroup,
        server: impl Fn(&mut Reactor) -> Server + Sync + Send + 'static,
    ) -> Self {
        Running::serving_at(Bind::to("127.0.0.1:0"), group, server)
    }

    pub(super) fn serving_at(
        bind: Bind,
        group: ReactorGroup,
        server: impl Fn(&mut Reactor) -> Server + Sync + Send + 'static,
    ) -> Self {
        let running = Running::start(group, move |reactor| {
            let server = server(reactor);
            Ok(reactor.listen(bind.clone(), server)?.addr)
        });
        assert!(running.set_up.iter().all(|addr| *addr == running.addr()), "{:?}", running.set_up);
        running
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.set_up[0]
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("ws://{}/{path}", self.addr())
    }

    /// A client that is connected to the reactor with this index, which the server sends first.
    pub(super) fn client_of(&self, index: usize) -> BlockingSocket {
        for _ in 0..1000 {
            let mut socket = BlockingSocket::connect(&self.url("")).unwrap();
            if socket.receive().unwrap().as_text() == Some(&index.to_string()) {
                return socket;
            }
            // Otherwise it would be a subscriber for a while.
            socket.close(CloseCode::NORMAL, "").unwrap();
        }
        panic!("reactor {index} accepts nothing");
    }
}

/// Sends the index of the reactor to each client, and subscribes it to `all`.
pub(super) fn greeting(reactor: &mut Reactor) -> impl Fn() -> Callbacks + use<> {
    let index = reactor.hub().group_index();
    move || {
        Callbacks::new().on_open(move |ws, _| {
            ws.send(index.to_string());
            ws.subscribe("all");
        })
    }
}
