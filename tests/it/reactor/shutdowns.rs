//! Shutdowns that close the connections one after another.

use std::time::Duration;

use ws_reactor::{
    Reactor, Turn,
    net::sim::{PeerId, Sim},
};

use crate::support::{
    REQUEST, frames,
    played::{SERVER, echo, reactor_serving},
};

const SECOND: Duration = Duration::from_secs(1);

/// A server with so many clients.
fn with_clients(count: usize) -> (Reactor<Sim>, Vec<PeerId>) {
    let mut reactor = reactor_serving(echo());
    let connect = |reactor: &mut Reactor<Sim>| {
        let peer = reactor.kernel_mut().connect(SERVER.parse().unwrap()).unwrap();
        reactor.kernel_mut().send(peer, REQUEST);
        reactor.settle().unwrap();
        peer
    };
    let peers = (0..count).map(|_| connect(&mut reactor)).collect();
    reactor.settle().unwrap();
    (reactor, peers)
}

/// The clients that have got a close frame with 1001, of those that have not before.
fn closed(reactor: &mut Reactor<Sim>, peers: &mut Vec<PeerId>) -> usize {
    let before = peers.len();
    peers.retain(|peer| {
        let received = reactor.kernel_mut().received(*peer);
        !received.ends_with(b"\x88\x02\x03\xe9")
    });
    before - peers.len()
}

#[test]
fn connections_are_closed_over_the_time_and_served_until_then() {
    let (mut reactor, mut peers) = with_clients(100);
    reactor.hub().shutdown_over(10 * SECOND, 30 * SECOND);
    reactor.settle().unwrap();
    assert!(reactor.kernel_mut().connect(SERVER.parse().unwrap()).is_err(), "listeners are closed at once");
    for second in 1..10 {
        reactor.advance(SECOND).unwrap();
        let count = closed(&mut reactor, &mut peers);
        assert!((8..=12).contains(&count), "{count} in second {second}");
    }
    // The last ones are still served.
    let last = *peers.last().unwrap();
    reactor.kernel_mut().send(last, b"\x81\x82\0\0\0\0hi");
    reactor.settle().unwrap();
    assert!(frames(&[REQUEST_REPLY, &reactor.kernel_mut().received(last)].concat()).contains(&b"hi".to_vec()));
    reactor.advance(SECOND).unwrap();
    closed(&mut reactor, &mut peers);
    assert!(peers.is_empty());
    // The clients answer nothing: the time-out ends them.
    reactor.advance(21 * SECOND).unwrap();
    assert_eq!(reactor.turn(Some(Duration::ZERO)).unwrap(), Turn::Stopped);
}

/// What precedes the frames of a server.
const REQUEST_REPLY: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

#[test]
fn second_shutdown_closes_the_rest_at_once() {
    let (mut reactor, mut peers) = with_clients(50);
    reactor.hub().shutdown_over(100 * SECOND, 200 * SECOND);
    reactor.advance(10 * SECOND).unwrap();
    let count = closed(&mut reactor, &mut peers);
    assert!((4..=6).contains(&count), "{count}");
    reactor.hub().shutdown(SECOND);
    reactor.advance(3 * SECOND).unwrap();
    assert_eq!(reactor.turn(Some(Duration::ZERO)).unwrap(), Turn::Stopped);
}

#[test]
fn few_connections_and_no_time_are_no_special_cases() {
    for (count, spread) in [(0, SECOND), (1, SECOND), (3, Duration::ZERO), (3, Duration::MAX)] {
        let (mut reactor, mut peers) = with_clients(count);
        reactor.hub().shutdown_over(spread, 2 * SECOND);
        reactor.advance(3 * SECOND).unwrap();
        closed(&mut reactor, &mut peers);
        assert!(peers.is_empty(), "{count} over {spread:?}");
        assert_eq!(reactor.turn(Some(Duration::ZERO)).unwrap(), Turn::Stopped);
    }
}
