//! Thousands of peers, timers and commands at the same moment: turns stay bounded, and each item is handled once.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use ws_reactor::{
    Callbacks, Reactor, ReactorConfig, Server, Version,
    net::{
        Kernel,
        sim::{PeerId, Sim},
    },
};

use crate::support::wire::{self, Kind};

const CROWD: usize = 10_000;
/// Defaults: the silence before a ping, and the time for its pong.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(20);
/// Unused tables are freed within this time.
const TRIMMED: Duration = Duration::from_secs(8);
const PING_FRAME: [u8; 2] = [0x89, 0];

struct Crowd {
    reactor: Reactor<Sim>,
    peers: Vec<PeerId>,
    /// Times of the `on_close` calls.
    closed: Rc<RefCell<Vec<Instant>>>,
}

impl Crowd {
    /// All connections are open, and opened at the same time.
    fn new(size: usize) -> Self {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let closed = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&closed);
        let server = Server::new(move |_| {
            let log = Rc::clone(&log);
            Callbacks::new()
                .on_message(|ws, message| {
                    ws.send(message);
                })
                .on_close(move |ws, _| log.borrow_mut().push(ws.hub().now()))
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

    /// What each peer has received since the last call.
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
fn ten_thousand_dead_peers_are_dropped_in_bounded_turns() {
    let mut crowd = Crowd::new(CROWD);
    crowd.reactor.advance(PING).unwrap();
    assert!(crowd.received().iter().all(|bytes| *bytes == PING_FRAME), "one ping for each peer");
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
    println!("{CROWD} dead peers dropped in {turns} turns and {:?}", began.elapsed());
    assert_eq!(crowd.closed.borrow().len(), CROWD);
    assert!(crowd.received().iter().all(|bytes| !bytes.starts_with(&PING_FRAME)), "no second ping");
    crowd.reactor.advance(TRIMMED).unwrap();
    assert_eq!(crowd.reactor.next_deadline(), None, "no timer is left");
}

#[test]
fn process_that_was_suspended_for_hours_drops_dead_peers_and_pings_live_ones_once() {
    const SLEEP: Duration = Duration::from_secs(8 * 60 * 60);
    let mut crowd = Crowd::new(300);
    // A third of the peers sent a pong just before, and gets no ping. Every other one of the rest answers its ping
    // during the suspension.
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
    assert_eq!(crowd.connections(), 200, "only the peers without a pong are dropped");
    let pinged = crowd.received().iter().filter(|bytes| **bytes == PING_FRAME).count();
    assert_eq!(pinged, 100, "each peer that was silent during the suspension gets one ping");
    for number in 0..100 {
        crowd.pong(number);
    }
    crowd.reactor.advance(Duration::from_secs(19)).unwrap();
    assert_eq!(crowd.connections(), 200, "all peers that answer stay");
}

#[test]
fn million_cancelled_timers_cause_no_wakeup() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let hub = reactor.hub();
    let timers: Vec<_> = (0..1_000_000_u64)
        .map(|number| hub.add_timer(Duration::from_millis(number * 7919 % 1_000_003), |_| {}))
        .collect();
    for timer in timers {
        assert!(hub.cancel_timer(timer));
    }
    reactor.advance(TRIMMED).unwrap();
    let turns = reactor.hub().stats().turns;
    reactor.advance(Duration::from_secs(2000)).unwrap();
    assert_eq!(reactor.next_deadline(), None);
    assert!(reactor.hub().stats().turns - turns <= 2, "only the end of the wait wakes the loop");
}

/// Runs turns until `all` items are done, at most `budget` in each turn. A message that a peer sends in the first turn
/// is echoed before more than three times `budget` are done.
fn assert_message_is_echoed_meanwhile(mut crowd: Crowd, done: &Cell<usize>, all: usize, budget: usize) {
    let (mut before, mut echoed_after) = (0, None);
    while done.get() < all {
        if before == 0 {
            crowd.reactor.kernel_mut().send(crowd.peers[0], &wire::text(Version::Rfc6455, "meanwhile"));
        }
        crowd.reactor.turn(Some(Duration::ZERO)).unwrap();
        assert!((1..=budget).contains(&(done.get() - before)), "{} in a turn", done.get() - before);
        before = done.get();
        // The loop does not wait for events while items are left.
        let now = crowd.reactor.kernel_mut().now();
        assert!(before == all || crowd.reactor.next_deadline().is_some_and(|deadline| deadline <= now));
        // The peer receives in the next turn what a turn writes.
        if echoed_after.is_none() && crowd.received()[0].ends_with(b"meanwhile") {
            echoed_after = Some(before);
        }
    }
    assert!(echoed_after.is_some_and(|done| done <= 3 * budget), "echoed after {echoed_after:?} of {all}");
}

#[test]
fn hundred_thousand_timers_due_at_once_fire_in_bounded_turns_and_input_is_served_between() {
    const TIMERS: usize = 100_000;
    let (mut crowd, fired) = (Crowd::new(1), Rc::new(Cell::new(0)));
    for _ in 0..TIMERS {
        let fired = Rc::clone(&fired);
        crowd.reactor.hub().add_timer(Duration::from_secs(1), move |_| fired.set(fired.get() + 1));
    }
    crowd.reactor.kernel_mut().advance(Duration::from_secs(1));
    assert_message_is_echoed_meanwhile(crowd, &fired, TIMERS, ReactorConfig::default().timer_budget);
}

#[test]
fn twenty_thousand_commands_run_in_bounded_turns_and_input_is_served_between() {
    const COMMANDS: usize = 20_000;
    thread_local! {
        static RUN: Cell<usize> = const { Cell::new(0) };
    }
    let crowd = Crowd::new(1);
    let remote = crowd.reactor.remote();
    for _ in 0..COMMANDS {
        assert!(remote.run(|_| RUN.set(RUN.get() + 1)).is_ok());
    }
    RUN.with(|run| assert_message_is_echoed_meanwhile(crowd, run, COMMANDS, ReactorConfig::default().command_budget));
}

#[test]
fn peers_whose_pongs_wait_in_the_system_after_a_suspension_are_not_dropped() {
    let mut crowd = Crowd::new(6000);
    crowd.reactor.advance(PING).unwrap();
    crowd.reactor.kernel_mut().limit_events(1024);
    // All peers answer while the process is suspended. Then a poll reports a part of the events, in random order, and
    // the timers of all connections are due.
    crowd.reactor.kernel_mut().advance(Duration::from_secs(1));
    (0..6000).for_each(|number| crowd.pong(number));
    crowd.reactor.kernel_mut().advance(Duration::from_secs(44));
    crowd.reactor.turn(Some(Duration::ZERO)).unwrap();
    assert!(!crowd.reactor.kernel_mut().is_quiet(), "events of other connections wait");
    crowd.reactor.settle().unwrap();
    assert_eq!((crowd.connections(), crowd.closed.borrow().len()), (6000, 0));
}
