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

/// A server that records its errors.
fn reporting(server: Server) -> (Server, Rc<RefCell<Vec<String>>>) {
    let errors: Rc<RefCell<Vec<String>>> = Rc::default();
    let reported = Rc::clone(&errors);
    (server.on_error(move |_, error| reported.borrow_mut().push(format!("{error:#}"))), errors)
}

/// Splits `bytes` into pieces of this length, and returns what a TLS server answers and reports.
fn answer_and_errors(bytes: &[u8], piece: usize) -> (String, Vec<String>) {
    let (server, errors) = reporting(secure::server(echo()));
    let mut socket = TestSocket::request(server, b"");
    for piece in bytes.chunks(piece) {
        socket.send_bytes(piece);
    }
    assert!(socket.is_closed(), "{}", bytes.escape_ascii());
    (String::from_utf8_lossy(&socket.received_bytes()).into_owned(), errors.take())
}

#[test]
fn plain_http_on_a_tls_port_is_answered_in_plain_and_reported_by_name() {
    for request in ["GET / HTTP/1.1\r\n\r\n", "CONNECT example.com:443 HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n"] {
        for piece in [1, 3, usize::MAX] {
            let (answer, errors) = answer_and_errors(request.as_bytes(), piece);
            assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer:?}");
            assert!(answer.ends_with("\r\n\r\nplain HTTP was sent to a TLS port; use https or wss\n"), "{answer:?}");
            assert_eq!(errors, ["TLS failed: the client speaks plain HTTP to a TLS port"], "{request:?}");
        }
    }
    let opening = wire::request(Version::Rfc6455, "/", "");
    assert_eq!(
        answer_and_errors(&opening, opening.len()).1,
        ["TLS failed: the client speaks plain HTTP to a TLS port"]
    );
}

#[test]
fn client_that_speaks_neither_tls_nor_http_on_a_tls_port_gets_no_answer() {
    for bytes in [&b"SSH-2.0-OpenSSH\r\n"[..], b"GETTING", b"\x16\x02\x01", b"\0\0\0\0", b"\r\n"] {
        for piece in [1, usize::MAX] {
            let expected = (String::new(), vec!["TLS failed: the peer does not speak TLS".to_owned()]);
            assert_eq!(answer_and_errors(bytes, piece), expected, "{}", bytes.escape_ascii());
        }
    }
    // The stream ends within a word that might be HTTP.
    let (server, errors) = reporting(secure::server(echo()));
    let mut socket = TestSocket::request(server, b"GE");
    assert!(!socket.is_closed());
    socket.finish();
    assert!(socket.is_closed());
    assert_eq!(errors.take(), ["TLS failed: the peer does not speak TLS"]);
}

#[test]
fn record_that_is_no_client_hello_ends_the_connection_with_one_error() {
    let (_, errors) = answer_and_errors(b"\x16\x03\x01\x00\x04\xff\xff\xff\xff", usize::MAX);
    assert!(errors.len() == 1 && errors[0].starts_with("TLS failed: "), "{errors:?}");
}

#[test]
fn tls_on_a_plain_port_gets_a_plain_400_and_is_reported() {
    let hello = std::mem::take(secure::Client::new(secure::trust(&LOCALHOST), "localhost").encrypt(&mut Vec::new()));
    for piece in [1, hello.len()] {
        let (server, errors) = reporting(echo());
        let mut encrypted = TestSocket::request(server, b"");
        for piece in hello.chunks(piece) {
            encrypted.send_bytes(piece);
        }
        let answer = encrypted.received_bytes();
        assert!(answer.starts_with(b"HTTP/1.1 400 Bad Request\r\n"), "{}", answer.escape_ascii());
        assert!(answer.ends_with(b"\r\n\r\nthe client speaks TLS to a plain HTTP port\n"));
        encrypted.finish();
        assert!(encrypted.is_closed());
        assert_eq!(errors.take(), ["TLS failed: the client speaks TLS to a plain HTTP port"]);
    }
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

// regression: the end was taken for that of an idle connection, and a close_notify with the wrong keys was sent.
#[test]
fn end_of_the_stream_during_the_handshake_is_answered_with_nothing() {
    for part in [1, 10, 1000] {
        let mut reactor = listening(secure::server(echo()));
        let mut peer = localhost_peer(&mut reactor);
        let hello = peer.output();
        let is_whole = part >= hello.len();
        reactor.kernel_mut().send(peer.id, &hello[..part.min(hello.len())]);
        reactor.settle().unwrap();
        assert_eq!(reactor.kernel_mut().received(peer.id).is_empty(), !is_whole);
        reactor.kernel_mut().finish(peer.id);
        reactor.settle().unwrap();
        assert_eq!(reactor.kernel_mut().received(peer.id), b"", "after {part} bytes");
        assert!(reactor.kernel_mut().is_closed(peer.id));
    }
}
