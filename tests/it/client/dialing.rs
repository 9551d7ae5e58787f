//! Dialing: addresses, name resolution, failures, and connections opened or closed while others end.

use super::*;
use std::io;
use ws_reactor::Turn;

#[test]
fn failed_connect_names_the_url_the_address_or_the_step_that_timed_out() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let log = Log::default();
    for url in ["http://10.0.0.1/", "ws://", "ws://10.0.0.1/#x"] {
        let error = reactor.connect(url, Client::new(recording(&log))).unwrap_err();
        assert!(format!("{error:#}").starts_with(&format!("cannot connect to {url:?}: ")), "{error:#}");
    }
    reactor.connect(URL, Client::new(recording(&log))).unwrap();
    reactor.settle().unwrap();
    let events = drain(&log);
    assert!(
        events[0].starts_with("error cannot connect to 10.0.0.1:80: ") && events[1].starts_with("close 1006"),
        "{events:?}"
    );
    // No reply to the connection attempt.
    reactor.kernel_mut().silence(SERVER.parse().unwrap());
    reactor.connect(URL, Client::new(recording(&log))).unwrap();
    reactor.advance(Duration::from_secs(29)).unwrap();
    assert_eq!(drain(&log), [""; 0]);
    reactor.advance(Duration::from_secs(2)).unwrap();
    assert_eq!(drain(&log)[0], "error connecting timed out");
    // A server that accepts and sends nothing.
    reactor.kernel_mut().play("10.0.0.2:80".parse().unwrap());
    reactor.connect("ws://10.0.0.2/", Client::new(recording(&log))).unwrap();
    reactor.advance(Duration::from_secs(31)).unwrap();
    assert_eq!(drain(&log)[0], "error the opening handshake timed out");
    assert_eq!(reactor.hub().stats().connections, 0);
}

#[cfg(not(feature = "tls"))]
#[test]
fn wss_url_without_the_tls_feature_is_an_error_that_names_the_feature() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let error = reactor.connect("wss://localhost/", Client::new(Callbacks::new())).unwrap_err();
    assert_eq!(format!("{error:#}"), "cannot connect to \"wss://localhost/\": wss needs the feature `tls`");
}

// regression: the error showed the password.
#[test]
fn error_for_a_url_omits_its_password() {
    let error = reactor().connect("ws://user:secret@host:99999/", Client::new(Callbacks::new())).unwrap_err();
    assert!(matches!(&error, ConnectError::Url { url, .. } if url == "ws://host:99999/"), "{error}");
}

#[test]
fn ipv6_address_is_in_brackets_in_the_url_and_in_the_host_header() {
    let mut reactor = reactor();
    let requests = Log::default();
    let recorded = Rc::clone(&requests);
    let server = echo().on_request(move |request, _| {
        recorded.borrow_mut().push(request.host().unwrap().to_owned());
        Reply::upgrade()
    });
    reactor.listen("[2001:db8::1]:8080", server).unwrap();
    let log = Log::default();
    reactor.connect("ws://[2001:db8::1]:8080/", Client::new(recording(&log))).unwrap();
    reactor.settle().unwrap();
    assert_eq!(drain(&log), ["open RFC 6455 None via [2001:db8::1]:8080"]);
    assert_eq!(drain(&requests), ["[2001:db8::1]:8080"]);
}

#[test]
fn addresses_of_a_host_name_are_tried_in_sequence_with_alternating_families() {
    let mut reactor = reactor_serving(echo());
    let (log, resolver) = (Log::default(), ManualResolver::default());
    reactor.set_resolver(resolver.clone());
    let connect = |reactor: &mut Reactor<Sim>| {
        let id = reactor.connect("ws://example.com/", Client::new(recording(&log))).unwrap();
        reactor.settle().unwrap();
        assert_eq!(resolver.0.borrow()[0].0, "example.com:80");
        id
    };
    // The first IPv4 address refuses, the IPv6 address is silent, the second IPv4 address accepts.
    reactor.kernel_mut().silence("[2001:db8::1]:80".parse().unwrap());
    connect(&mut reactor);
    resolver.answer(Ok(&["10.9.9.9:80", "10.0.0.1:80", "[2001:db8::1]:80"]));
    reactor.settle().unwrap();
    assert_eq!(drain(&log), [""; 0], "the silent address gets 250 ms");
    reactor.advance(Duration::from_millis(250)).unwrap();
    assert_eq!(drain(&log), ["open RFC 6455 None via 10.0.0.1:80"]);
    // The name is unknown, or has no addresses.
    for addresses in [Err(io::Error::other("no such name")), Ok(&[][..])] {
        connect(&mut reactor);
        resolver.answer(addresses);
        reactor.settle().unwrap();
        let events = drain(&log);
        assert!(events[0].starts_with("error cannot connect to example.com:80: ") && events.len() == 2, "{events:?}");
    }
    // An answer that arrives after the connection has ended is ignored.
    let id = connect(&mut reactor);
    reactor.hub().terminate(id);
    reactor.settle().unwrap();
    assert_eq!(drain(&log).len(), 1);
    resolver.answer(Ok(&["10.0.0.1:80"]));
    reactor.settle().unwrap();
    assert_eq!(drain(&log), [""; 0]);
    assert_eq!(reactor.hub().stats().connections, 2, "both ends of the first connection");
}

#[test]
fn slow_resolver_delays_no_other_connection() {
    use std::{sync::mpsc, thread};

    /// Answers from a thread, after a signal.
    struct SlowResolver(RefCell<Option<mpsc::Receiver<()>>>);
    impl Resolver for SlowResolver {
        fn resolve(&self, _: &str, port: u16, answer: Answer) {
            let signal = self.0.take().unwrap();
            thread::spawn(move || {
                signal.recv().unwrap();
                answer.give(Ok(vec![([127, 0, 0, 1], port).into()]));
            });
        }
    }
    let (wake, signal) = mpsc::channel();
    let mut reactor = Reactor::new().unwrap();
    reactor.set_resolver(SlowResolver(Some(signal).into()));
    let address = reactor.listen("127.0.0.1:0", echo()).unwrap().addr;
    let [slow, fast] = [Log::default(), Log::default()];
    reactor.connect(&format!("ws://slow.example:{}/", address.port()), Client::new(recording(&slow))).unwrap();
    let id = reactor.connect(&format!("ws://{address}/"), Client::new(recording(&fast))).unwrap();
    while fast.borrow().is_empty() {
        reactor.turn(Some(Duration::from_secs(10))).unwrap();
    }
    for number in 0..100 {
        reactor.hub().send(id, "meanwhile");
        while fast.borrow().len() < number + 2 {
            reactor.turn(Some(Duration::from_secs(10))).unwrap();
        }
    }
    assert_eq!(drain(&slow), [""; 0], "the resolver has not answered yet");
    wake.send(()).unwrap();
    while slow.borrow().is_empty() {
        reactor.turn(Some(Duration::from_secs(10))).unwrap();
    }
    assert!(drain(&slow)[0].starts_with("open"));
}

#[test]
fn ten_thousand_connects_in_one_turn_to_a_refusing_address_all_end() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    for _ in 0..10_000 {
        reactor.connect(URL, Client::new(Callbacks::new())).unwrap();
    }
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().connections, 0, "every attempt has been refused");
}

/// Closes once open, and connects the next of the chain in `on_close`.
struct Chain {
    left: u32,
    log: Log,
}

impl Handler for Chain {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        self.log.borrow_mut().push(format!("{} open", self.left));
        ws.close(CloseCode::NORMAL, "");
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, _: &CloseReason) {
        self.log.borrow_mut().push(format!("{} closed", self.left));
        if self.left > 0 {
            let next = Chain { left: self.left - 1, log: Rc::clone(&self.log) };
            ws.hub().connect(URL, Client::new(next)).unwrap();
            // A second connection is terminated before it is dialed.
            let terminated = ws.hub().connect(URL, Client::new(Callbacks::new())).unwrap();
            ws.hub().terminate(terminated);
        }
    }
}

#[test]
fn connect_from_on_close_opens_the_next_connection() {
    let mut reactor = reactor_serving(echo());
    let log = Log::default();
    reactor.connect(URL, Client::new(Chain { left: 3, log: Rc::clone(&log) })).unwrap();
    reactor.settle().unwrap();
    let expected: Vec<String> =
        (0..=3).rev().flat_map(|left| [format!("{left} open"), format!("{left} closed")]).collect();
    assert_eq!(drain(&log), expected);
    assert_eq!(reactor.hub().stats().connections, 0);
}

/// Connects again in `on_close`.
struct Redialing;

impl Handler for Redialing {
    fn on_close(&mut self, ws: &mut WebSocket<'_>, _: &CloseReason) {
        let next = ws.hub().connect(URL, Client::new(Redialing));
        assert!(next.is_err(), "a stopping reactor refuses to connect");
    }
}

#[test]
fn stop_and_shutdown_finish_although_handlers_connect_again_in_on_close() {
    for graceful in [false, true] {
        let mut reactor = reactor_serving(echo());
        reactor.connect(URL, Client::new(Redialing)).unwrap();
        reactor.settle().unwrap();
        match graceful {
            true => reactor.hub().shutdown(Duration::from_secs(10)),
            false => reactor.hub().stop(),
        }
        let turn = reactor.advance(Duration::from_secs(1)).unwrap();
        assert_eq!((turn, reactor.hub().stats().panics), (Turn::Stopped, 0));
    }
}

#[test]
fn result_of_a_terminated_attempt_is_not_applied_to_the_next_connection() {
    let mut reactor = reactor_serving(echo());
    let log = Log::default();
    // The first is terminated when the result of its attempt is pending, and the second is dialed before the
    // first is removed.
    let first = reactor.connect(URL, Client::new(Callbacks::new())).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    reactor.hub().terminate(first);
    reactor.connect(URL, Client::new(recording(&log))).unwrap();
    reactor.settle().unwrap();
    assert_eq!(drain(&log), ["open RFC 6455 None via 10.0.0.1:80"]);
}

#[test]
fn close_while_dialing_ends_the_client_at_once_and_prevents_reconnects() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().silence(SERVER.parse().unwrap());
    let log = Log::default();
    let client = Client::new(recording(&log)).reconnect(Reconnect::default());
    let id = reactor.connect(URL, client).unwrap();
    reactor.settle().unwrap();
    assert!(reactor.hub().close(id, CloseCode::NORMAL, "").is_queued());
    reactor.settle().unwrap();
    assert_eq!(drain(&log), ["close 1006, by the application, not clean"]);
    reactor.advance(Duration::from_secs(100)).unwrap();
    assert_eq!(drain(&log), [""; 0]);
}
