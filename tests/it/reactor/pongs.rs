//! Pings and pongs beside output that the socket does not take.

use std::time::Duration;

use ws_reactor::{
    Callbacks, Reactor, ReactorConfig, Server, Version,
    net::sim::{Buffers, PeerId, Sim},
};

use crate::support::wire::{self, Kind};

/// Defaults: the silence before a ping, and the time for its pong.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(20);

/// A server that has sent `answer` bytes to a peer that does not read. The system holds `send_bytes` of them.
fn blocked(answer: usize, send_bytes: usize, change: impl FnOnce(Server) -> Server) -> (Reactor<Sim>, PeerId) {
    let server = Server::new(move |_| {
        Callbacks::new().on_message(move |ws, _| {
            ws.send("x".repeat(answer));
        })
    });
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen("10.0.0.1:80", change(server)).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
    reactor.settle().unwrap();
    reactor.kernel_mut().received(peer);
    reactor.kernel_mut().hold(peer, send_bytes);
    reactor.kernel_mut().send(peer, &wire::text(Version::Rfc6455, "go"));
    reactor.settle().unwrap();
    (reactor, peer)
}

#[test]
fn ping_is_answered_although_waiting_output_left_without_an_event() {
    // regression: the pong waited for the next time that the socket was blocked and free again
    let (mut reactor, peer) = blocked(9500, 9000, |server| server.ping_after(None));
    reactor.kernel_mut().send(peer, &wire::frame(Version::Rfc6455, Kind::Ping, true, b"last"));
    // The peer's system takes less than the third of the send buffer whose room is reported.
    let buffers = Buffers { send_bytes: 9000, peer_bytes: 2000, ..Buffers::default() };
    reactor.kernel_mut().set_buffers(peer, buffers);
    reactor.advance(Duration::from_secs(40)).unwrap();
    reactor.kernel_mut().release(peer);
    reactor.settle().unwrap();
    let received = reactor.kernel_mut().received(peer);
    assert!(received.windows(6).any(|bytes| bytes == b"\x8a\x04last"), "no pong in {} bytes", received.len());
}

#[test]
fn pong_timeout_runs_from_when_the_ping_has_left() {
    // regression: the turn that wrote the ping, after a stop of the process, ended the connection
    let (mut reactor, peer) = blocked(40_000, 1000, |server| server.ping_after(Some(PING)));
    reactor.advance(PING + Duration::from_secs(5)).unwrap();
    reactor.kernel_mut().set_buffers(peer, Buffers::default());
    reactor.kernel_mut().release(peer);
    reactor.kernel_mut().advance(PONG);
    reactor.settle().unwrap();
    assert!(reactor.kernel_mut().received(peer).ends_with(b"\x89\x00"), "the ping comes last");
    // The ping left slowly, so its time-out is extended: more bytes may lie before the ping in the system.
    reactor.advance(3 * PONG - Duration::from_millis(1)).unwrap();
    assert!(!reactor.kernel_mut().is_closed(peer));
    reactor.advance(Duration::from_millis(1)).unwrap();
    assert!(reactor.kernel_mut().is_closed(peer), "the peer did not answer");
}

// regression: the time-out began before the ping had left, because a message before the ping had grown.
#[test]
fn ping_behind_a_message_that_is_replaced_by_a_longer_one_does_not_time_out() {
    let (mut reactor, peer) = blocked(40_000, 16_000, |server| server.ping_after(Some(PING)));
    let id = reactor.hub().connections().next().unwrap();
    reactor.hub().send_latest(id, "key", &[1; 10]);
    reactor.advance(PING).unwrap();
    assert!(reactor.hub().send_latest(id, "key", vec![2; 500_000]).is_queued());
    reactor.kernel_mut().release(peer);
    reactor.kernel_mut().slow_line(peer, 5_000);
    let mut received = Vec::new();
    // 540,000 bytes take 108 s.
    for _ in 0..115 {
        reactor.advance(Duration::from_secs(1)).unwrap();
        received.extend(reactor.kernel_mut().received(peer));
    }
    assert!(!reactor.kernel_mut().is_closed(peer), "{} bytes were received", received.len());
    assert!(received.ends_with(b"\x89\x00"), "the ping comes last");
}
