//! Signals on the loop.

use std::{
    cell::Cell,
    process::{self, Command},
    rc::Rc,
    time::{Duration, Instant},
};

use ws_reactor::{
    Reactor,
    signals::{SIGKILL, SIGUSR1, SIGUSR2},
};

fn raise(name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), process::id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn turn_until(reactor: &mut Reactor, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "it does not come to hold");
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
}

#[test]
fn signal_calls_each_function_that_waits_for_it_and_no_other() {
    let mut reactor = Reactor::new().unwrap();
    let counts: [Rc<Cell<u32>>; 3] = Default::default();
    let count = |index: usize| {
        let count = Rc::clone(&counts[index]);
        move |_: &mut ws_reactor::Hub| count.set(count.get() + 1)
    };
    let first = reactor.on_signal(SIGUSR1, count(0)).unwrap();
    reactor.hub().on_signal(SIGUSR1, count(1)).unwrap();
    reactor.on_signal(SIGUSR2, count(2)).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let seen = || counts.each_ref().map(|count| count.get());
    raise("USR1");
    turn_until(&mut reactor, || seen() == [1, 1, 0]);
    reactor.hub().deregister(first);
    raise("USR1");
    turn_until(&mut reactor, || seen() == [1, 2, 0]);
    raise("USR2");
    turn_until(&mut reactor, || seen() == [1, 2, 1]);
}

#[test]
fn signal_that_cannot_be_handled_is_an_error() {
    let mut reactor = Reactor::new().unwrap();
    for signal in [SIGKILL, 0, -1, 100, 1000] {
        assert!(reactor.on_signal(signal, |_| ()).is_err(), "{signal}");
    }
}
