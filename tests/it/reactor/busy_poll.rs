//! Polling without sleeping: the sleeps of the thread are counted by the system.

use std::{
    cell::Cell,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    rc::Rc,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use socket2::SockRef;
use ws_reactor::{
    BlockingSocket, Callbacks, Client, CloseCode, CloseReason, Hub, Reactor, ReactorConfig, Server, SlowTurn, Stream,
    StreamHandler, Turn, net::sim::Sim,
};

/// How often this thread has slept.
fn sleeps() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs a reactor until a timer stops it after 30 ms. Returns how often the thread has slept.
fn sleeps_within_30_ms(busy_poll: Duration) -> u64 {
    let mut reactor = Reactor::with_config(ReactorConfig::new().busy_poll(busy_poll)).unwrap();
    reactor.hub().add_timer(Duration::from_millis(30), Hub::stop);
    let before = sleeps();
    reactor.run().unwrap();
    sleeps() - before
}

#[test]
fn thread_sleeps_only_after_the_time_of_busy_polling() {
    assert!(sleeps_within_30_ms(Duration::ZERO) > 0, "by default");
    assert!(sleeps_within_30_ms(Duration::from_millis(1)) > 0, "for the rest of the wait");
    for busy_poll in [Duration::from_secs(3600), Duration::MAX] {
        // A page that is brought in may make the thread sleep, too.
        let least = (0..10).map(|_| sleeps_within_30_ms(busy_poll)).min();
        assert_eq!(least, Some(0), "{busy_poll:?}");
    }
}

#[test]
fn messages_and_commands_arrive_while_a_reactor_polls_without_sleeping() {
    let mut reactor = Reactor::with_config(ReactorConfig::new().busy_poll(Duration::MAX)).unwrap();
    let echo = Server::new(|_| Callbacks::new().on_message(|ws, message| _ = ws.send(message)));
    let addr = reactor.listen("127.0.0.1:0", echo).unwrap().addr;
    let received = Rc::new(Cell::new(0));
    let count = Rc::clone(&received);
    let client = Client::new(Callbacks::new().on_open(|ws, _| _ = ws.send("hello")).on_message(move |ws, message| {
        assert_eq!(message.as_text(), Some("hello"));
        count.set(count.get() + 1);
        match count.get() {
            100 => _ = ws.close(CloseCode::NORMAL, ""),
            _ => _ = ws.send("hello"),
        }
    }));
    reactor.connect(&format!("ws://{addr}"), client).unwrap();
    let (remote, (sent, done)) = (reactor.remote(), mpsc::channel());
    let other = thread::spawn(move || {
        for _ in 0..100 {
            let sent = sent.clone();
            remote.run(move |_| sent.send(()).unwrap()).unwrap();
            done.recv().unwrap();
        }
    });
    while !other.is_finished() || received.get() < 100 {
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
    other.join().unwrap();
    assert_eq!(received.get(), 100);
}

#[test]
fn turn_with_a_timeout_ends_although_busy_polling_would_go_on() {
    let mut reactor = Reactor::with_config(ReactorConfig::new().busy_poll(Duration::MAX)).unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(5)] {
        reactor.turn(Some(timeout)).unwrap();
    }
}

#[test]
fn simulated_system_whose_clock_stands_still_is_not_polled_forever() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::new().busy_poll(Duration::MAX));
    let fired = Rc::new(Cell::new(false));
    let flag = Rc::clone(&fired);
    reactor.hub().add_timer(Duration::from_secs(60), move |_| flag.set(true));
    reactor.kernel_mut().advance(Duration::from_secs(61));
    reactor.settle().unwrap();
    assert!(fired.get());
}

/// Messages after which a connection that is alone is surely read directly.
const MANY: usize = 200;

/// Runs turns until the loop is stopped.
fn run(reactor: &mut Reactor) {
    let end = Instant::now() + Duration::from_secs(30);
    while reactor.turn(Some(Duration::from_millis(100))).unwrap() == Turn::Running {
        assert!(Instant::now() < end, "the loop was not stopped");
    }
}

/// Number of descriptors that the poll of a reactor watches.
fn registered(reactor: &Reactor) -> usize {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", reactor.as_raw_fd())).unwrap();
    info.lines().filter(|line| line.starts_with("tfd:")).count()
}

/// A raw stream that counts the bytes it receives, and stops the loop after `stop_after`.
struct Counter {
    received: Rc<Cell<usize>>,
    stop_after: usize,
}

impl StreamHandler for Counter {
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        self.received.set(self.received.get() + data.len());
        if self.received.get() == self.stop_after {
            stream.hub().stop();
        }
    }
}

/// A raw stream that blocks the loop for 50 ms at an exclamation mark.
struct Blocking {
    received: Rc<Cell<usize>>,
}

impl StreamHandler for Blocking {
    fn on_data(&mut self, _: &mut Stream<'_>, data: &mut [u8]) {
        self.received.set(self.received.get() + data.len());
        if data.contains(&b'!') {
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A raw stream that ignores everything.
struct NoHandler;

impl StreamHandler for NoHandler {
    fn on_data(&mut self, _: &mut Stream<'_>, _: &mut [u8]) {}
}

/// A reactor that polls without sleeping for `busy_poll`, connected to a socket of the test.
fn connected(busy_poll: Duration, handler: impl StreamHandler + 'static) -> (Reactor, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut reactor = Reactor::with_config(ReactorConfig::new().busy_poll(busy_poll)).unwrap();
    reactor.connect_stream(&listener.local_addr().unwrap().to_string(), handler).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_nodelay(true).unwrap();
    (reactor, peer)
}

/// Sends bytes one by one, each after the one before was received.
fn send_one_by_one(reactor: &mut Reactor, peer: &mut TcpStream, received: &Cell<usize>) {
    for _ in 0..MANY {
        let before = received.get();
        peer.write_all(b"x").unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while received.get() == before {
            reactor.turn(Some(Duration::from_millis(100))).unwrap();
            assert!(Instant::now() < end, "a byte was not received");
        }
    }
}

#[test]
fn connection_that_is_alone_is_deregistered_until_another_has_input() {
    let received = Rc::new(Cell::new(0));
    let handler = |stop_after| Counter { received: Rc::clone(&received), stop_after };
    let (mut reactor, mut peer) = connected(Duration::MAX, handler(usize::MAX));
    let address = reactor.listen_stream("127.0.0.1:0", |_| NoHandler).unwrap().addr;
    let before = registered(&reactor);
    send_one_by_one(&mut reactor, &mut peer, &received);
    assert_eq!(registered(&reactor), before - 1);
    let _other = TcpStream::connect(address).unwrap();
    while reactor.hub().stats().connections < 2 {
        reactor.turn(Some(Duration::from_millis(100))).unwrap();
    }
    assert_eq!(registered(&reactor), before + 1, "both connections");
    send_one_by_one(&mut reactor, &mut peer, &received);
    assert_eq!(registered(&reactor), before, "all but the one that is alone again");
}

#[test]
fn slow_handler_of_a_connection_that_is_read_directly_is_reported() {
    let slow = Rc::new(Cell::new(None));
    let report = Rc::clone(&slow);
    let received = Rc::new(Cell::new(0));
    let handler = Blocking { received: Rc::clone(&received) };
    let (mut reactor, mut peer) = connected(Duration::MAX, handler);
    let id = reactor.hub().connections().next().unwrap();
    reactor.on_slow_turn(Duration::from_millis(40), move |_, turn| report.set(Some(turn)));
    send_one_by_one(&mut reactor, &mut peer, &received);
    peer.write_all(b"!").unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while slow.get().is_none() {
        reactor.turn(Some(Duration::from_millis(100))).unwrap();
        assert!(Instant::now() < end, "no slow turn was reported");
    }
    let longest = slow.get().and_then(|turn: SlowTurn| turn.longest);
    assert_eq!(longest.map(|(connection, _)| connection), Some(id));
    assert!(reactor.hub().latencies().turn.max() >= Duration::from_millis(50));
}

#[test]
fn connection_that_was_alone_is_woken_after_the_busy_time_and_among_others() {
    for busy_poll in [Duration::from_millis(2), Duration::MAX] {
        let received = Rc::new(Cell::new(0));
        let handler = Counter { received: Rc::clone(&received), stop_after: MANY + 2 };
        let (mut reactor, mut peer) = connected(busy_poll, handler);
        let echo = Server::new(|_| Callbacks::new().on_message(|ws, message| _ = ws.send(message)));
        let addr = reactor.listen("127.0.0.1:0", echo).unwrap().addr;
        send_one_by_one(&mut reactor, &mut peer, &received);
        // Another connection is accepted and served meanwhile.
        let other = thread::spawn(move || {
            let mut socket = BlockingSocket::connect(&format!("ws://{addr}")).unwrap();
            for _ in 0..MANY {
                socket.send("hello").unwrap();
                assert_eq!(socket.receive().unwrap().as_text(), Some("hello"));
            }
            peer.write_all(b"x").unwrap();
            thread::sleep(Duration::from_millis(20));
            peer.write_all(b"x").unwrap();
            peer
        });
        run(&mut reactor);
        other.join().unwrap();
        assert_eq!(received.get(), MANY + 2);
    }
}

/// A raw stream that counts its input and its end, and pauses after [`MANY`] reads.
struct Pausing {
    received: Rc<Cell<usize>>,
    ends: Rc<Cell<usize>>,
    paused: bool,
}

impl StreamHandler for Pausing {
    fn on_data(&mut self, stream: &mut Stream<'_>, _: &mut [u8]) {
        self.received.set(self.received.get() + 1);
        if self.paused && self.received.get() == MANY {
            let id = stream.id();
            stream.hub().pause(id);
        }
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, _: &CloseReason) {
        self.ends.set(self.ends.get() + 1);
        stream.hub().stop();
    }
}

#[test]
fn end_of_a_connection_that_was_alone_is_noticed_also_while_it_is_paused() {
    for paused in [false, true] {
        let (received, ends) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let handler = Pausing { received: Rc::clone(&received), ends: Rc::clone(&ends), paused };
        let (mut reactor, mut peer) = connected(Duration::MAX, handler);
        send_one_by_one(&mut reactor, &mut peer, &received);
        // Unread input makes it a reset, which a paused connection notices.
        peer.write_all(b"unread by the reactor").unwrap();
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        run(&mut reactor);
        assert_eq!(ends.get(), 1);
    }
}

#[test]
fn large_output_of_a_connection_that_was_alone_leaves() {
    let received = Rc::new(Cell::new(0));
    let handler = Counter { received: Rc::clone(&received), stop_after: MANY + 1 };
    let (mut reactor, mut peer) = connected(Duration::MAX, handler);
    send_one_by_one(&mut reactor, &mut peer, &received);
    let id = reactor.hub().connections().next().unwrap();
    reactor.hub().write(id, &vec![7; 8 << 20]);
    let reader = thread::spawn(move || {
        let mut bytes = vec![0; 8 << 20];
        peer.read_exact(&mut bytes).unwrap();
        peer.write_all(b"x").unwrap();
        assert!(bytes.iter().all(|byte| *byte == 7));
        peer
    });
    run(&mut reactor);
    reader.join().unwrap();
}

#[test]
fn connection_in_the_place_of_one_that_was_alone_is_served() {
    let received = Rc::new(Cell::new(0));
    let handler = |stop_after| Counter { received: Rc::clone(&received), stop_after };
    let (mut reactor, mut peer) = connected(Duration::MAX, handler(usize::MAX));
    send_one_by_one(&mut reactor, &mut peer, &received);
    drop(peer);
    while reactor.hub().stats().connections > 0 {
        reactor.turn(Some(Duration::from_secs(1))).unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    reactor.connect_stream(&listener.local_addr().unwrap().to_string(), handler(2 * MANY + 1)).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    send_one_by_one(&mut reactor, &mut peer, &received);
    peer.write_all(b"x").unwrap();
    run(&mut reactor);
}
