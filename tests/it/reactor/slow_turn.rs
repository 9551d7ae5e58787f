//! Slow turns and slow callbacks.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    net::TcpStream,
    rc::Rc,
    time::Duration,
};

use ws_reactor::{Reactor, ReactorConfig, Server, SlowTurn, TurnPhase, Version, on_message};

use crate::support::wire;

const DELAY: Duration = Duration::from_millis(30);

#[test]
fn slow_callback_is_reported_as_longest_callback_and_longest_turn() {
    let slow = Server::new(|_| on_message(|_, _| std::thread::sleep(DELAY)));
    let mut reactor = Reactor::with_config(ReactorConfig::new().time_callbacks(true)).unwrap();
    let addr = reactor.listen("127.0.0.1:0", slow).unwrap().addr;
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(&wire::request(Version::Rfc6455, "/", "")).unwrap();
    stream.write_all(&wire::text(Version::Rfc6455, "slow")).unwrap();
    while reactor.hub().stats().messages_in == 0 {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    let latencies = reactor.hub().latencies();
    assert!(latencies.callback.max() >= DELAY && latencies.turn.max() >= DELAY, "{latencies:?}");
}

#[test]
fn on_slow_turn_reports_the_connection_with_the_slow_callback() {
    let (slow_id, reports) = (Rc::new(Cell::new(None)), Rc::new(RefCell::new(Vec::new())));
    let seen = Rc::clone(&slow_id);
    let server = Server::new(move |_| {
        let seen = Rc::clone(&seen);
        on_message(move |ws, message| {
            if message.as_text() == Some("slow") {
                std::thread::sleep(DELAY);
                seen.set(Some(ws.id()));
            }
        })
    });
    let mut reactor = Reactor::new().unwrap();
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let log = Rc::clone(&reports);
    reactor.on_slow_turn(DELAY, move |hub, slow| log.borrow_mut().push((slow, hub.stats().connections)));
    let mut streams = [(); 3].map(|()| TcpStream::connect(addr).unwrap());
    for (stream, text) in streams.iter_mut().zip(["fast", "slow", "fast"]) {
        stream.write_all(&wire::request(Version::Rfc6455, "/", "")).unwrap();
        stream.write_all(&wire::text(Version::Rfc6455, text)).unwrap();
    }
    while reactor.hub().stats().messages_in < 3 {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    let reports = reports.borrow();
    let is_reported = |(slow, connections): &(SlowTurn, usize)| {
        let is_longest =
            slow.longest.is_some_and(|(id, took)| Some(id) == slow_id.get() && took >= DELAY && slow.took >= took);
        is_longest && slow.phase.0 == TurnPhase::Input && slow.phase.1 >= DELAY && *connections > 0
    };
    assert!(reports.iter().any(is_reported), "{reports:?}");
}

#[test]
fn slow_command_is_attributed_to_no_connection() {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let mut reactor = Reactor::new().unwrap();
    let server = Server::new(|_| on_message(|_, _| {}));
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let log = Rc::clone(&reports);
    reactor.on_slow_turn(DELAY, move |hub, slow| {
        log.borrow_mut().push(slow);
        hub.stop();
    });
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(&wire::request(Version::Rfc6455, "/", "")).unwrap();
    reactor.remote().run(|_| std::thread::sleep(DELAY)).unwrap();
    // The callback may use the hub: it stops the loop.
    reactor.run().unwrap();
    let slow = reports.borrow()[0];
    assert!(slow.took >= DELAY && slow.phase.0 == TurnPhase::Commands && slow.phase.1 >= DELAY, "{slow:?}");
    assert!(slow.longest.is_none_or(|(_, took)| took < slow.took - DELAY / 2), "{slow:?}");
}

#[test]
fn slow_turn_names_its_longest_phase() {
    type Begin = fn(&mut Reactor);
    let begin: [(TurnPhase, Begin); 4] = [
        (TurnPhase::Timers, |reactor| {
            reactor.hub().add_timer(Duration::ZERO, |_| std::thread::sleep(DELAY));
        }),
        (TurnPhase::Timers, |reactor| reactor.hub().next_tick(|_| std::thread::sleep(DELAY))),
        (TurnPhase::Commands, |reactor| reactor.remote().run(|_| std::thread::sleep(DELAY)).unwrap()),
        (TurnPhase::Closing, |reactor| {
            struct SleepsAtTheEnd;
            impl ws_reactor::StreamHandler for SleepsAtTheEnd {
                fn on_close(&mut self, _: &mut ws_reactor::Stream<'_>, _: &ws_reactor::CloseReason) {
                    std::thread::sleep(DELAY);
                }
            }
            let id = reactor.connect_stream("127.0.0.1:9", SleepsAtTheEnd).unwrap();
            reactor.hub().terminate(id);
        }),
    ];
    for (phase, begin) in begin {
        let reports = Rc::new(RefCell::new(Vec::new()));
        let mut reactor = Reactor::new().unwrap();
        let log = Rc::clone(&reports);
        reactor.on_slow_turn(DELAY, move |_, slow| log.borrow_mut().push(slow));
        begin(&mut reactor);
        while reports.borrow().is_empty() {
            reactor.turn(Some(Duration::from_millis(1))).unwrap();
        }
        let slow = reports.borrow()[0];
        assert!(slow.phase.0 == phase && slow.phase.1 >= DELAY, "{phase:?}: {slow:?}");
    }
}
