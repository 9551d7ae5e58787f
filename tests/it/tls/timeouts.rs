//! Timeouts and limits of handshakes over TLS.

use super::*;

#[test]
fn opening_timeout_covers_the_tls_handshake() {
    let hello = std::mem::take(secure::Client::new(secure::trust(&LOCALHOST), "localhost").encrypt(&mut Vec::new()));
    for sent in [&hello[..], &hello[..20], b""] {
        let mut stalled = TestSocket::request(secure::server(echo()), sent);
        stalled.advance(Duration::from_millis(9_990));
        assert!(!stalled.is_closed());
        stalled.advance(Duration::from_millis(20));
        assert!(stalled.is_closed());
    }
}

#[test]
fn slow_tls_handshake_leaves_less_time_for_the_request() {
    let mut reactor = listening(secure::server(echo()));
    let mut peer = localhost_peer(&mut reactor);
    reactor.advance(Duration::from_secs(9)).unwrap();
    peer.talk(&mut reactor, b"").unwrap();
    assert!(!peer.client.tls.is_handshaking());
    peer.talk(&mut reactor, &wire::request(Version::Rfc6455, "/", "")[..40]).unwrap();
    reactor.advance(Duration::from_millis(990)).unwrap();
    assert!(!reactor.kernel_mut().is_ended(peer.id));
    reactor.advance(Duration::from_millis(20)).unwrap();
    assert!(reactor.kernel_mut().is_ended(peer.id), "one timeout of ten seconds covers both");
}

#[test]
fn connection_counts_as_a_pending_handshake_before_tls_begins() {
    let mut reactor = listening(echo().tls(config(&LOCALHOST)).configure(|config| config.pending_handshakes = Some(1)));
    let connect = |reactor: &mut Reactor<Sim>| {
        let peer = reactor.kernel_mut().connect(([10, 0, 0, 1], 443).into()).unwrap();
        reactor.settle().unwrap();
        peer
    };
    // Neither client sends a byte, and the limit is one pending handshake.
    let (first, second) = (connect(&mut reactor), connect(&mut reactor));
    assert!(!reactor.kernel_mut().is_closed(first) && reactor.kernel_mut().is_closed(second));
    let stats = reactor.hub().stats();
    assert_eq!((stats.pending_handshakes, stats.turned_away), (1, 1));
    reactor.advance(Duration::from_secs(11)).unwrap();
    assert_eq!(reactor.hub().stats().pending_handshakes, 0);
}

// regression: the TLS handshake of a raw stream had no timeout.
#[test]
fn stalled_handshake_of_a_raw_stream_times_out_and_a_finished_one_does_not() {
    let mut reactor = raw_echo(&RawEcho::default());
    let (mut finished, mut stalled) = (localhost_peer(&mut reactor), localhost_peer(&mut reactor));
    finished.talk(&mut reactor, b"here").unwrap();
    let hello = stalled.output();
    reactor.kernel_mut().send(stalled.id, &hello[..3]);
    reactor.advance(Duration::from_secs(11)).unwrap();
    assert!(reactor.kernel_mut().is_closed(stalled.id) && !reactor.kernel_mut().is_closed(finished.id));
}

// regression: closing replaced the time-out of the handshake by that of closing, 60 s with output that waits.
#[test]
fn handshake_of_a_stream_that_is_closed_at_once_keeps_its_timeout() {
    let handler = RawEcho { banner_bytes: 5, closes: true, ..RawEcho::default() };
    let mut reactor = raw_echo(&handler);
    let stalled = localhost_peer(&mut reactor);
    reactor.advance(Duration::from_millis(9_999)).unwrap();
    assert!(!reactor.kernel_mut().is_closed(stalled.id));
    reactor.advance(Duration::from_millis(1)).unwrap();
    assert!(reactor.kernel_mut().is_closed(stalled.id));
    assert_eq!(handler.close_reason.take(), "1005, the TLS handshake timed out, 5 bytes not sent");
}

// regression: each read of the flood waited for a step of the handshake, and the deadline waited for the read.
#[test]
fn flood_during_the_handshake_of_a_closed_stream_does_not_postpone_its_end() {
    let mut reactor = raw_echo(&RawEcho { closes: true, ..RawEcho::default() });
    let peer = localhost_peer(&mut reactor).id;
    let flood = [0x16; 200_000];
    let mut milliseconds = 0;
    while !reactor.kernel_mut().is_closed(peer) {
        assert!(milliseconds < 11_000, "the connection is still open");
        reactor.kernel_mut().send(peer, &flood);
        for _ in 0..2 {
            reactor.turn(Some(Duration::ZERO)).unwrap();
        }
        reactor.kernel_mut().advance(Duration::from_millis(10));
        milliseconds += 10;
    }
}
