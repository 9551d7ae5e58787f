//! Panics in factories, decisions and error callbacks of a server.

use std::{cell::RefCell, rc::Rc};

use ws_reactor::{Callbacks, Reactor, ReactorConfig, Reply, Server, TestSocket, Version, net::sim::Sim, on_message};

use crate::support::{silence_deliberate_panics, wire};

// regression: `Server::on_error` was not called for a panic in the factory.
#[test]
fn factory_that_panics_is_reported_to_on_error_of_the_server() {
    silence_deliberate_panics();
    for version in Version::ALL.iter().copied() {
        let errors = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&errors);
        let server =
            Server::new(|handshake| -> Callbacks { panic!("deliberate: no handler for {}", handshake.path()) })
                .on_error(move |_, error| log.borrow_mut().push(error.to_string()));
        let mut socket = TestSocket::request(server, wire::request(version, "/", ""));
        assert!(socket.is_closed());
        assert_eq!(*errors.borrow(), ["the handler panicked: deliberate: no handler for /"], "{version}");
    }
}

#[test]
fn on_request_that_panics_is_reported_to_on_error_and_ends_its_connection_only() {
    silence_deliberate_panics();
    for version in Version::ALL.iter().copied() {
        let errors = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&errors);
        let server = Server::new(|_| on_message(|_, _| {}))
            .on_request(|request, _| {
                assert!(request.path() != "/bad", "deliberate: on_request panics");
                Reply::upgrade()
            })
            .on_error(move |_, error| log.borrow_mut().push(error.to_string()));
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
        let [bad, good] = ["/bad", "/good"].map(|target| {
            let peer = reactor.kernel_mut().connect(addr).unwrap();
            reactor.kernel_mut().send(peer, &wire::request(version, target, ""));
            peer
        });
        reactor.settle().unwrap();
        assert!(reactor.kernel_mut().received(bad).starts_with(b"HTTP/1.1 500 "), "{version}");
        assert!(reactor.kernel_mut().is_ended(bad) && !reactor.kernel_mut().is_ended(good), "{version}");
        assert_eq!(*errors.borrow(), ["the handler panicked: deliberate: on_request panics"], "{version}");
        assert_eq!((reactor.hub().stats().panics, reactor.hub().stats().opened), (1, 1));
    }
}

// regression: `Server::on_error` was called before the response, and its panic prevented it.
#[test]
fn on_error_that_panics_is_called_after_the_response() {
    silence_deliberate_panics();
    let server = Server::new(|_| on_message(|_, _| {})).on_error(|_, _| panic!("deliberate: on_error panics"));
    let mut socket = TestSocket::request(server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(socket.received_bytes().starts_with(b"HTTP/1.1 426 "));
}
