//! Panics in handlers and resolvers of clients.

use super::*;

// regression: `on_close` was not called.
#[test]
fn panic_in_on_error_is_followed_by_on_close() {
    for response in ["HTTP/1.1 404 No\r\n\r\nbody", "", "nonsense\r\n\r\n"] {
        let mut server = FakeServer::dialed_by(|handler| Client::new(handler.on_error(|_, _| panic!("deliberate"))));
        let mut events = server.send(response);
        server.reactor.kernel_mut().finish(server.peer);
        server.reactor.settle().unwrap();
        server.reactor.advance(Duration::from_secs(2)).unwrap();
        events.extend(drain(&server.log));
        assert!(events.len() == 1 && events[0].starts_with("close 1006"), "{response:?}: {events:?}");
    }
}

// regression: the client was not dialed again.
#[test]
fn panic_in_on_close_does_not_prevent_the_reconnect() {
    let mut reactor = reactor();
    reactor.listen(SERVER, echo()).unwrap();
    let log = Log::default();
    let handler = recording(&log).on_close(|_, _| panic!("deliberate"));
    reactor.connect(URL, Client::new(handler).reconnect(without_backoff())).unwrap();
    reactor.settle().unwrap();
    let last = reactor.kernel_mut().peers().last().unwrap();
    reactor.kernel_mut().reset(last);
    reactor.settle().unwrap();
    assert_eq!(drain(&log).iter().filter(|event| event.starts_with("open")).count(), 2);
}

// regression: the panic ended all reconnects.
#[test]
fn panic_in_on_reconnect_costs_one_attempt_and_the_client_keeps_reconnecting() {
    let mut reactor = reactor();
    let log = Log::default();
    let first = Cell::new(true);
    let handler = recording(&log).on_reconnect(move |_, _| {
        assert!(!first.replace(false), "not yet");
        Retry::Yes
    });
    reactor.connect(URL, Client::new(handler).reconnect(without_backoff())).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    while reactor.hub().stats().panics == 0 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(drain(&log).contains(&"error the handler panicked: not yet".to_owned()));
    reactor.listen(SERVER, echo()).unwrap();
    reactor.settle().unwrap();
    assert_eq!(drain(&log).iter().filter(|event| event.starts_with("open")).count(), 1);
    assert_eq!(reactor.hub().stats().panics, 1);
}

// regression: the panic unwound through the reactor.
#[test]
fn panic_in_a_resolver_fails_the_connection() {
    struct Panicking;
    impl Resolver for Panicking {
        fn resolve(&self, name: &str, _: u16, _: Answer) {
            panic!("cannot resolve {name}");
        }
    }
    let mut reactor = reactor();
    reactor.set_resolver(Panicking);
    let log = Log::default();
    reactor.connect(URL, Client::new(recording(&log))).unwrap();
    reactor.settle().unwrap();
    let events = drain(&log);
    assert!(events[0].starts_with("error ") && events[1].starts_with("close 1006"), "{events:?}");
    assert_eq!(reactor.hub().stats().connections, 0);
}
