//! Handshakes: limits of those in progress, and the response.

use std::time::Duration;

use ws_reactor::{
    OutputLimits, Reactor, ReactorConfig, Server, ServerConfig, TestSocket, Version, net::sim::Sim, on_message,
};

use crate::support::wire;

#[test]
fn handshake_over_the_limit_per_address_or_in_all_is_turned_away() {
    let config = ServerConfig::new().pending_handshakes(Some(5)).pending_handshakes_per_address(Some(3));
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let server = Server::with_config(config, |_| on_message(|_, _| {}));
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let connect = |reactor: &mut Reactor<Sim>, host: u8| {
        let peer = reactor.kernel_mut().connect_from(([192, 0, 2, host], 50_000).into(), addr).unwrap();
        reactor.settle().unwrap();
        (peer, !reactor.kernel_mut().is_closed(peer))
    };
    let flood = [1; 5].map(|host| connect(&mut reactor, host));
    assert_eq!(flood.map(|(_, open)| open), [true, true, true, false, false], "three handshakes of one address");
    let others = [2, 3, 4].map(|host| connect(&mut reactor, host).1);
    assert_eq!(others, [true, true, false], "five handshakes in all");
    let stats = reactor.hub().stats();
    assert_eq!((stats.pending_handshakes, stats.turned_away, stats.connections), (5, 3, 5));
    // One handshake succeeds, another one is refused.
    reactor.kernel_mut().send(flood[0].0, &wire::request(Version::Rfc6455, "/", ""));
    reactor.kernel_mut().send(flood[1].0, b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().pending_handshakes, 3);
    assert_eq!([1, 1, 1].map(|host| connect(&mut reactor, host).1), [true, true, false], "two handshakes have ended");
    // The opening timeout ends the others.
    reactor.advance(Duration::from_secs(11)).unwrap();
    let stats = reactor.hub().stats();
    assert_eq!((stats.pending_handshakes, stats.turned_away, stats.opened), (0, 4, 1));
    assert!(connect(&mut reactor, 1).1);
}

// regression: the second part, above the output limit, was dropped, and the client waited forever.
#[test]
fn handshake_response_in_two_parts_is_sent_whole_despite_a_small_output_limit() {
    let output = OutputLimits::new().limit_bytes(10);
    let version = Version::Hybi03;
    let server = Server::new(|_| on_message(|_, _| {})).configure(|config| config.websocket.stream.output = output);
    let mut socket = TestSocket::request(server, "");
    socket.hold(20);
    socket.send_bytes(&wire::request(version, "/", ""));
    socket.send_bytes(&wire::frame(version, wire::Kind::Ping, true, b"?"));
    socket.release();
    assert_eq!(socket.received_bytes(), [&wire::answer(version, "ws", "/", "")[..], b"\x03\x01?"].concat());
}
