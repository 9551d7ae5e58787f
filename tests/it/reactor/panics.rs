//! Panics in factories and destructors of the application end at most one connection.

use std::{cell::RefCell, time::Duration};

use ws_reactor::{Reactor, ReactorConfig, Server, Stream, StreamHandler, net::sim::Sim, on_message};

use crate::support::{REQUEST, silence_deliberate_panics};

/// Closes each stream.
struct Closing;

impl StreamHandler for Closing {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        stream.close();
    }
}

/// A value of the application whose destructor panics.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("deliberate: a destructor panics");
    }
}

// regression: a panic in the factory was not caught.
#[test]
fn panic_in_a_factory_of_stream_handlers_ends_one_connection() {
    silence_deliberate_panics();
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let first = RefCell::new(true);
    let addr = reactor.listen_stream("10.0.0.1:80", move |_| {
        assert!(!first.replace(false), "deliberate: the factory panics for the first connection");
        Closing
    });
    let addr = addr.unwrap().addr;
    for panics in [1, 1] {
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.advance(Duration::from_secs(6)).unwrap();
        assert!(reactor.kernel_mut().is_closed(peer));
        assert_eq!(reactor.hub().stats().panics, panics);
    }
}

// regression: a panic in the destructor of a value that a server owned was not caught.
#[test]
fn panic_in_a_destructor_of_a_server_is_counted_and_connections_stay() {
    silence_deliberate_panics();
    for opened_first in [false, true] {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let owned = PanicsOnDrop;
        let server = Server::new(move |_| {
            let _owned = &owned;
            on_message(|ws, message| {
                ws.send(message);
            })
        });
        let listening = reactor.listen("127.0.0.1:0", server).unwrap();
        let peer = reactor.kernel_mut().connect(listening.addr).unwrap();
        if opened_first {
            reactor.kernel_mut().send(peer, REQUEST);
        }
        reactor.settle().unwrap();
        reactor.hub().close_listener(listening.id);
        reactor.settle().unwrap();
        if !opened_first {
            reactor.kernel_mut().send(peer, REQUEST);
            reactor.settle().unwrap();
        }
        assert_eq!(reactor.hub().stats().panics, 1, "the last owner dropped the value");
        reactor.kernel_mut().send(peer, b"\x81\x82\0\0\0\0hi");
        reactor.settle().unwrap();
        assert!(reactor.kernel_mut().received(peer).ends_with(b"\x81\x02hi"));
    }
}
