//! Durations that a reactor measures.

use std::time::Duration;

use ws_reactor::{Callbacks, Reactor, Server, Version, net::sim::Sim};

use crate::support::{
    played::{FakeServer, echo, reactor_serving},
    wire::{self, Kind},
};

const PING: Duration = Duration::from_secs(20);
const TRIP: Duration = Duration::from_millis(3);

#[test]
fn handshake_of_the_server_is_measured_from_accept_to_open() {
    let mut reactor = reactor_serving(echo());
    let addr = "10.0.0.1:80".parse().unwrap();
    let request = wire::request(Version::Rfc6455, "/", "");
    let (first, second) = request.split_at(20);
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.kernel_mut().send(peer, first);
    reactor.advance(TRIP).unwrap();
    assert_eq!(reactor.hub().latencies().handshake.count(), 0);
    reactor.kernel_mut().send(peer, second);
    reactor.settle().unwrap();
    let handshake = &reactor.hub().latencies().handshake;
    assert_eq!((handshake.count(), handshake.max()), (1, TRIP));
}

#[test]
fn handshake_of_a_client_is_measured_from_the_start_of_the_connection_to_open() {
    let mut server = FakeServer::dialed_by(ws_reactor::Client::new);
    server.reactor.advance(TRIP).unwrap();
    let response = server.response("");
    server.send(response);
    let handshake = &server.reactor.hub().latencies().handshake;
    assert_eq!((handshake.count(), handshake.max()), (1, TRIP));
}

/// A reactor whose client was silent until a ping came, and has answered with these frames [`TRIP`] later.
fn answered_ping(frames: &[Vec<u8>]) -> Reactor<Sim> {
    let mut reactor = reactor_serving(Server::new(|_| Callbacks::new()).ping_after(Some(PING)));
    let peer = reactor.kernel_mut().connect("10.0.0.1:80".parse().unwrap()).unwrap();
    reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
    reactor.settle().unwrap();
    reactor.advance(PING).unwrap();
    assert!(reactor.kernel_mut().received(peer).ends_with(b"\x89\x00"), "a ping has come");
    reactor.advance(TRIP).unwrap();
    for frame in frames {
        reactor.kernel_mut().send(peer, frame);
        reactor.settle().unwrap();
    }
    reactor
}

#[test]
fn round_trip_of_a_ping_is_measured_if_the_pong_is_the_first_sign_of_life() {
    let (text, pong) = (wire::text(Version::Rfc6455, "x"), wire::frame(Version::Rfc6455, Kind::Pong, true, b""));
    let mut reactor = answered_ping(&[pong.clone(), pong.clone()]);
    let ping = &reactor.hub().latencies().ping;
    assert_eq!((ping.count(), ping.max()), (1, TRIP), "the second pong answers nothing");
    assert_eq!(answered_ping(&[text, pong]).hub().latencies().ping.count(), 0);
}

#[test]
fn commands_are_measured_from_when_they_were_queued() {
    const WAIT: Duration = Duration::from_millis(20);
    let mut reactor = Reactor::new().unwrap();
    let remote = reactor.remote();
    remote.run(|_| {}).unwrap();
    std::thread::sleep(WAIT);
    remote.run(|_| {}).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let delay = &reactor.hub().latencies().command_delay;
    assert!(delay.count() == 2 && delay.max() >= WAIT && delay.sum() < 2 * delay.max(), "{delay:?}");
}

#[test]
fn durations_can_be_forgotten() {
    let mut reactor = Reactor::new().unwrap();
    for _ in 0..3 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let turn = &reactor.hub().latencies().turn;
    assert!(turn.count() == 3 && turn.max() > Duration::ZERO && turn.mean() <= turn.max(), "{turn:?}");
    reactor.hub().reset_latencies();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(reactor.hub().latencies().turn.count(), 1);
    assert_eq!(reactor.hub().stats().turns, 4);
}

#[test]
fn callbacks_are_measured_only_on_demand() {
    let run = |config: ws_reactor::ReactorConfig| {
        let mut reactor = Reactor::on(Sim::new(), config);
        let addr = reactor.listen("10.0.0.1:80", echo()).unwrap().addr;
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
        reactor.settle().unwrap();
        reactor.hub().latencies().callback.count()
    };
    assert_eq!(run(ws_reactor::ReactorConfig::new()), 0);
    assert!(run(ws_reactor::ReactorConfig::new().time_callbacks(true)) > 0);
}
