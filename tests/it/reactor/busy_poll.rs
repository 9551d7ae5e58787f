//! Polling without sleeping: the sleeps of the thread are counted by the system.

use std::{cell::Cell, fs, rc::Rc, sync::mpsc, thread, time::Duration};

use ws_reactor::{Callbacks, Client, CloseCode, Hub, Reactor, ReactorConfig, Server, net::sim::Sim};

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
        assert_eq!(sleeps_within_30_ms(busy_poll), 0, "{busy_poll:?}");
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
        remote.run(move |_| sent.send(()).unwrap()).unwrap();
        done.recv().unwrap();
        remote.shutdown(Duration::from_secs(5)).unwrap();
    });
    reactor.run().unwrap();
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
