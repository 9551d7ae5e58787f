//! TLS handshakes: versions, wrong protocols, the budget of a turn.

use super::*;

#[test]
fn responses_of_old_versions_over_tls_have_a_wss_location() {
    for version in [Version::Hixie75, Version::Hixie76, Version::Hybi03] {
        let mut reactor = listening(secure::server(echo()));
        let mut peer = localhost_peer(&mut reactor);
        peer.talk(&mut reactor, &wire::request(version, "/x", "")).unwrap();
        assert_eq!(peer.received, wire::answer(version, "wss", "/x", ""), "{version}");
    }
}

#[test]
fn plain_http_on_a_tls_port_and_tls_on_a_plain_port_are_terminated_and_reported() {
    let errors: Rc<RefCell<Vec<String>>> = Rc::default();
    let reporting = |server: Server| {
        let reported = Rc::clone(&errors);
        server.on_error(move |_, error| reported.borrow_mut().push(format!("{error:#}")))
    };
    let mut plain = TestSocket::request(reporting(secure::server(echo())), wire::request(Version::Rfc6455, "/", ""));
    assert!(plain.is_closed());
    assert_eq!(errors.take(), ["TLS failed: the peer does not speak TLS"]);
    let hello = std::mem::take(secure::Client::new(secure::trust(&LOCALHOST), "localhost").encrypt(&mut Vec::new()));
    let mut encrypted = TestSocket::request(reporting(echo()), &hello);
    assert!(encrypted.is_closed() && encrypted.received_bytes().is_empty());
    assert_eq!(errors.take(), ["TLS failed: the client speaks TLS to a plain HTTP port"]);
    let mut garbage = TestSocket::request(reporting(secure::server(echo())), b"\x16\x03\x01\x00\x04\xff\xff\xff\xff");
    assert!(garbage.is_closed());
    assert_eq!(errors.take().len(), 1);
}

#[test]
fn handshakes_beyond_the_budget_of_a_turn_wait_for_later_turns() {
    let mut reactor = listening_with(ReactorConfig::new().tls_handshake_budget(3), secure::server(echo()));
    let mut peers: Vec<Peer> = (0..30).map(|_| localhost_peer(&mut reactor)).collect();
    for peer in &mut peers {
        let hello = peer.output();
        reactor.kernel_mut().send(peer.id, &hello);
    }
    let mut answered = Vec::new();
    for _ in 0..12 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
        answered.push(peers.iter().filter(|peer| !reactor.kernel_mut().received(peer.id).is_empty()).count());
    }
    assert!(answered.iter().all(|count| *count <= 3), "{answered:?}");
    assert_eq!(answered.iter().sum::<usize>(), 30, "{answered:?}");
}

// regression: handshakes beyond the budget had no common queue, and new connections used the budget of waiting ones.
#[test]
fn new_connections_do_not_overtake_handshakes_that_wait_for_the_budget() {
    let mut reactor = listening_with(ReactorConfig::new().tls_handshake_budget(2), secure::server(echo()));
    let mut peers: Vec<Peer> = (0..3).map(|_| localhost_peer(&mut reactor)).collect();
    reactor.settle().unwrap();
    for peer in &mut peers {
        let hello = peer.output();
        reactor.kernel_mut().send(peer.id, &hello);
    }
    for _ in 0..20 {
        for _ in 0..2 {
            let newcomer = localhost_peer(&mut reactor);
            reactor.kernel_mut().send(newcomer.id, b"\x16");
        }
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(peers.iter().all(|peer| !reactor.kernel_mut().received(peer.id).is_empty()));
}
