//! Crowds that all want the same at the same moment: turns stay bounded, nothing comes twice, and nobody is forgotten.
//! In virtual time.

use crate::support::wire;
use std::{
    cell::{Cell, RefCell},
    io::Write,
    net::TcpStream,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::support::wire::Kind;
use ws_reactor::{
    Callbacks, Reactor, ReactorConfig, Server, ServerConfig, SlowTurn, Version,
    net::{
        Kernel,
        sim::{PeerId, Sim},
    },
    on_message,
};

const CROWD: usize = 10_000;
/// The defaults: a ping after so much silence, and so long for its answer.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(20);
const PING_FRAME: [u8; 2] = [0x89, 0];

struct Crowd {
    reactor: Reactor<Sim>,
    peers: Vec<PeerId>,
    /// When connections were closed.
    closed: Rc<RefCell<Vec<Instant>>>,
}

impl Crowd {
    /// All have opened a WebSocket at this moment.
    fn new(size: usize) -> Self {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let closed = Rc::new(RefCell::new(Vec::new()));
        let notes = Rc::clone(&closed);
        let server = Server::new(move |_| {
            let notes = Rc::clone(&notes);
            Callbacks::new()
                .on_message(|ws, message| {
                    ws.send(message);
                })
                .on_close(move |ws, _| notes.borrow_mut().push(ws.hub().now()))
        });
        let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
        let peers: Vec<PeerId> = (0..size).map(|_| reactor.kernel_mut().connect(addr).unwrap()).collect();
        for peer in &peers {
            reactor.kernel_mut().send(*peer, &wire::request(Version::Rfc6455, "/", ""));
        }
        reactor.settle().unwrap();
        let mut crowd = Crowd { reactor, peers, closed };
        assert!(crowd.received().iter().all(|bytes| bytes.starts_with(b"HTTP/1.1 101 ")));
        crowd
    }

    /// What each has received since it was asked last.
    fn received(&mut self) -> Vec<Vec<u8>> {
        self.peers.iter().map(|peer| self.reactor.kernel_mut().received(*peer)).collect()
    }

    fn pong(&mut self, number: usize) {
        self.reactor.kernel_mut().send(self.peers[number], &wire::frame(Version::Rfc6455, Kind::Pong, true, b""));
    }

    fn connections(&mut self) -> usize {
        self.reactor.hub().stats().connections
    }
}

#[test]
fn ten_thousand_dead_peers_are_dropped_at_once_in_bounded_turns() {
    let mut crowd = Crowd::new(CROWD);
    crowd.reactor.advance(PING).unwrap();
    assert!(crowd.received().iter().all(|bytes| *bytes == PING_FRAME), "one ping for each");
    crowd.reactor.advance(PONG - Duration::from_millis(1)).unwrap();
    assert_eq!(crowd.connections(), CROWD);
    let (began, mut turns) = (Instant::now(), 0);
    crowd.reactor.kernel_mut().advance(Duration::from_millis(1));
    while crowd.connections() > 0 {
        let before = crowd.connections();
        crowd.reactor.turn(Some(Duration::ZERO)).unwrap();
        turns += 1;
        let dropped = before - crowd.connections();
        assert!(dropped <= ReactorConfig::default().timer_budget && turns < 20, "{dropped} in turn {turns}");
    }
    println!("{CROWD} dead peers are dropped in {turns} turns and {:?}", began.elapsed());
    assert_eq!(crowd.closed.borrow().len(), CROWD);
    assert!(crowd.received().iter().all(|bytes| !bytes.starts_with(&PING_FRAME)), "no second ping");
    assert_eq!(crowd.reactor.next_deadline(), None, "no timer is left");
}

#[test]
fn a_process_that_was_stopped_for_hours_drops_the_dead_and_pings_the_living_once() {
    const SLEEP: Duration = Duration::from_secs(8 * 60 * 60);
    let mut crowd = Crowd::new(300);
    // A third has spoken a moment ago and owes nothing; the others were pinged, and of them every other one has
    // answered meanwhile.
    crowd.reactor.advance(Duration::from_secs(10)).unwrap();
    for number in 0..100 {
        crowd.pong(number);
    }
    crowd.reactor.advance(Duration::from_secs(12)).unwrap();
    assert_eq!(crowd.received().iter().filter(|bytes| **bytes == PING_FRAME).count(), 200);
    crowd.reactor.kernel_mut().advance(SLEEP);
    for number in (100..300).step_by(2) {
        crowd.pong(number);
    }
    crowd.reactor.settle().unwrap();
    assert_eq!(crowd.connections(), 200, "those that owed an answer are gone, and only those");
    let pinged = crowd.received().iter().filter(|bytes| **bytes == PING_FRAME).count();
    assert_eq!(pinged, 100, "who was silent through all the night is asked once");
    for number in 0..100 {
        crowd.pong(number);
    }
    crowd.reactor.advance(Duration::from_secs(19)).unwrap();
    assert_eq!(crowd.connections(), 200, "all that answer stay");
}

#[test]
fn a_million_timers_that_are_cancelled_wake_nobody() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let hub = reactor.hub();
    let timers: Vec<_> = (0..1_000_000_u64)
        .map(|number| hub.add_timer(Duration::from_millis(number * 7919 % 1_000_003), |_| {}))
        .collect();
    for timer in timers {
        assert!(hub.cancel_timer(timer));
    }
    let turns = reactor.hub().stats().turns;
    reactor.advance(Duration::from_secs(2000)).unwrap();
    assert_eq!(reactor.next_deadline(), None);
    assert!(reactor.hub().stats().turns - turns <= 2, "the end of the wait is all that wakes");
}

/// Turns until so many things are done, of which each turn may do a part; meanwhile somebody speaks, and is answered
/// before much of it is.
fn meanwhile_somebody_is_answered(mut crowd: Crowd, done: &Cell<usize>, all: usize, budget: usize) {
    let (mut before, mut answered) = (0, None);
    while done.get() < all {
        if before == 0 {
            crowd.reactor.kernel_mut().send(crowd.peers[0], &wire::text(Version::Rfc6455, "meanwhile"));
        }
        crowd.reactor.turn(Some(Duration::ZERO)).unwrap();
        assert!((1..=budget).contains(&(done.get() - before)), "{} in a turn", done.get() - before);
        before = done.get();
        // The loop does not wait for news while something is left.
        let now = crowd.reactor.kernel_mut().now();
        assert!(before == all || crowd.reactor.next_deadline().is_some_and(|deadline| deadline <= now));
        // What a turn has written arrives with the next.
        if answered.is_none() && crowd.received()[0].ends_with(b"meanwhile") {
            answered = Some(before);
        }
    }
    assert!(answered.is_some_and(|done| done <= 3 * budget), "answered after {answered:?} of {all}");
}

#[test]
fn timers_that_are_all_due_at_once_leave_the_others_their_turns() {
    const TIMERS: usize = 100_000;
    let (mut crowd, fired) = (Crowd::new(1), Rc::new(Cell::new(0)));
    for _ in 0..TIMERS {
        let fired = Rc::clone(&fired);
        crowd.reactor.hub().add_timer(Duration::from_secs(1), move |_| fired.set(fired.get() + 1));
    }
    crowd.reactor.kernel_mut().advance(Duration::from_secs(1));
    meanwhile_somebody_is_answered(crowd, &fired, TIMERS, ReactorConfig::default().timer_budget);
}

#[test]
fn commands_of_other_threads_leave_the_others_their_turns() {
    const COMMANDS: usize = 20_000;
    thread_local! {
        static RUN: Cell<usize> = const { Cell::new(0) };
    }
    let crowd = Crowd::new(1);
    let remote = crowd.reactor.remote();
    for _ in 0..COMMANDS {
        assert!(remote.run(|_| RUN.set(RUN.get() + 1)).is_ok());
    }
    RUN.with(|run| meanwhile_somebody_is_answered(crowd, run, COMMANDS, ReactorConfig::default().command_budget));
}

#[test]
fn a_listener_that_rests_for_want_of_a_descriptor_goes_on_when_a_connection_has_gone() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen("10.0.0.1:80", Server::new(|_| Callbacks::new())).unwrap().addr;
    reactor.kernel_mut().limit_connections(2);
    let peers: Vec<PeerId> = (0..4).map(|_| reactor.kernel_mut().connect(addr).unwrap()).collect();
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().accepted, 2);
    // It tries again from time to time, and costs next to nothing.
    let turns = reactor.hub().stats().turns;
    reactor.advance(Duration::from_secs(1)).unwrap();
    let turns = reactor.hub().stats().turns - turns;
    assert!(reactor.hub().stats().accepted == 2 && (10..50).contains(&turns), "{turns} turns in a second");
    // No time passes.
    reactor.kernel_mut().reset(peers[0]);
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().accepted, 3);
    reactor.kernel_mut().reset(peers[1]);
    reactor.settle().unwrap();
    assert_eq!((reactor.hub().stats().accepted, reactor.hub().stats().connections), (4, 2));
    // Descriptors that others had are found again, too.
    reactor.kernel_mut().limit_connections(3);
    reactor.kernel_mut().connect(addr).unwrap();
    reactor.advance(Duration::from_millis(100)).unwrap();
    assert_eq!(reactor.hub().stats().connections, 3);
}

#[test]
fn no_listener_takes_every_descriptor() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addrs = ["10.0.0.1:80", "10.0.0.1:81"]
        .map(|addr| reactor.listen(addr, Server::new(|_| Callbacks::new())).unwrap().addr);
    reactor.kernel_mut().limit_connections(1);
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.extend([0, 1].map(|index| (index, reactor.kernel_mut().connect(addrs[index]).unwrap())));
    }
    // Whoever was accepted goes at once, and makes room for one.
    for _ in 0..10 {
        reactor.settle().unwrap();
        waiting.retain(|(_, peer)| {
            let accepted = reactor.kernel_mut().is_accepted(*peer);
            if accepted {
                reactor.kernel_mut().reset(*peer);
            }
            !accepted
        });
    }
    let of = |index: usize| waiting.iter().filter(|(listener, _)| *listener == index).count();
    assert!(of(0) < 9 && of(1) < 9, "{} and {} still wait", of(0), of(1));
}

#[test]
fn a_callback_that_takes_its_time_is_seen() {
    const TIME: Duration = Duration::from_millis(30);
    let slow = Server::new(|_| on_message(|_, _| std::thread::sleep(TIME)));
    let mut reactor = Reactor::with_config(ReactorConfig::new().time_callbacks(true)).unwrap();
    let addr = reactor.listen("127.0.0.1:0", slow).unwrap().addr;
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(&wire::request(Version::Rfc6455, "/", "")).unwrap();
    stream.write_all(&wire::text(Version::Rfc6455, "think")).unwrap();
    while reactor.hub().stats().messages_in == 0 {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    let stats = reactor.hub().stats();
    assert!(stats.longest_callback >= TIME && stats.longest_turn >= TIME, "{stats:?}");
}

#[test]
fn who_makes_a_turn_slow_is_named() {
    const TIME: Duration = Duration::from_millis(30);
    let (named, told) = (Rc::new(Cell::new(None)), Rc::new(RefCell::new(Vec::new())));
    let name = Rc::clone(&named);
    let server = Server::new(move |_| {
        let name = Rc::clone(&name);
        on_message(move |ws, message| {
            if message.as_text() == Some("think") {
                std::thread::sleep(TIME);
                name.set(Some(ws.id()));
            }
        })
    });
    let mut reactor = Reactor::new().unwrap();
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let tell = Rc::clone(&told);
    reactor.on_slow_turn(TIME, move |hub, slow| tell.borrow_mut().push((slow, hub.stats().connections)));
    let mut streams = [(); 3].map(|()| TcpStream::connect(addr).unwrap());
    for (stream, word) in streams.iter_mut().zip(["go on", "think", "go on"]) {
        stream.write_all(&wire::request(Version::Rfc6455, "/", "")).unwrap();
        stream.write_all(&wire::text(Version::Rfc6455, word)).unwrap();
    }
    while reactor.hub().stats().messages_in < 3 {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    let told = told.borrow();
    let is_named = |(slow, connections): &(SlowTurn, usize)| {
        let of_it = slow.longest.is_some_and(|(id, took)| Some(id) == named.get() && took >= TIME && slow.took >= took);
        of_it && *connections > 0
    };
    assert!(told.iter().any(is_named), "{told:?}");
}

#[test]
fn a_slow_command_is_charged_to_no_connection() {
    const TIME: Duration = Duration::from_millis(30);
    let told = Rc::new(RefCell::new(Vec::new()));
    let mut reactor = Reactor::new().unwrap();
    let server = Server::new(|_| on_message(|_, _| {}));
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let tell = Rc::clone(&told);
    reactor.on_slow_turn(TIME, move |hub, slow| {
        tell.borrow_mut().push(slow);
        hub.stop();
    });
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(&wire::request(Version::Rfc6455, "/", "")).unwrap();
    reactor.remote().run(|_| std::thread::sleep(TIME)).unwrap();
    // What it is told it may act upon: the loop ends.
    reactor.run().unwrap();
    let slow = told.borrow()[0];
    assert!(slow.took >= TIME, "{slow:?}");
    assert!(slow.longest.is_none_or(|(_, took)| took < slow.took - TIME / 2), "{slow:?}");
}

#[test]
fn a_flood_of_handshakes_is_turned_away_by_address_and_in_all() {
    let config = ServerConfig::new().pending_handshakes(Some(5)).pending_handshakes_per_address(Some(3));
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let server = Server::with_config(config, |_| on_message(|_, _| {}));
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let connect = |reactor: &mut Reactor<Sim>, host: u8| {
        let peer = reactor.kernel_mut().connect_from(([192, 0, 2, host], 50_000).into(), addr).unwrap();
        reactor.settle().unwrap();
        (peer, !reactor.kernel_mut().is_closed(peer))
    };
    let flood = [1; 5].map(|host| connect(&mut reactor, host));
    assert_eq!(flood.map(|(_, stays)| stays), [true, true, true, false, false], "three of one address");
    let others = [2, 3, 4].map(|host| connect(&mut reactor, host).1);
    assert_eq!(others, [true, true, false], "five of all");
    let stats = reactor.hub().stats();
    assert_eq!((stats.pending_handshakes, stats.turned_away, stats.connections), (5, 3, 5));
    // One has its WebSocket, another an answer that it does not like.
    reactor.kernel_mut().send(flood[0].0, &wire::request(Version::Rfc6455, "/", ""));
    reactor.kernel_mut().send(flood[1].0, b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().pending_handshakes, 3);
    assert_eq!([1, 1, 1].map(|host| connect(&mut reactor, host).1), [true, true, false], "in place of those");
    // And the rest are out of time.
    reactor.advance(Duration::from_secs(11)).unwrap();
    let stats = reactor.hub().stats();
    assert_eq!((stats.pending_handshakes, stats.turned_away, stats.opened), (0, 4, 1));
    assert!(connect(&mut reactor, 1).1);
}
