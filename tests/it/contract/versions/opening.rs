//! The opening handshake and its response.

use super::*;

#[test]
fn handshake_of_each_version_gets_the_exact_response() {
    for version in Version::ALL.iter().copied() {
        for (scheme, server) in [("ws", echo()), ("wss", echo().secure_proxy(true))] {
            let origin = if matches!(version.number(), 5..=8) { "Sec-WebSocket-Origin" } else { "Origin" };
            let lines = format!("{origin}: http://other.example:81\r\n");
            let mut socket = TestSocket::request(server, request(version, "/path?a=1&b=%20", &lines));
            let expected = answer(version, scheme, "/path?a=1&b=%20", "http://other.example:81");
            let received = socket.received_bytes();
            assert_eq!(String::from_utf8(received).unwrap(), String::from_utf8(expected).unwrap(), "{version}");
        }
    }
}

#[test]
fn location_header_repeats_the_host_and_the_target_of_the_request() {
    for version in [Version::Hixie75, Version::Hixie76, Version::Hybi03] {
        for (host, target) in [("example.com:8081", "/"), ("[::1]:443", "/a//b?c?d"), ("EXAMPLE.com", "/%41?")] {
            let bytes = request_with(version, "Host: example.com", &format!("Host: {host}"));
            let bytes = bytes.replace("GET /", &format!("GET {target}"));
            let answer = TestSocket::request(echo(), bytes).received_bytes();
            let location = format!("Location: ws://{host}{target}\r\n");
            assert!(String::from_utf8_lossy(&answer).contains(&location), "{version}: {location}");
        }
    }
}

#[test]
fn input_split_at_any_place_gives_the_same_output() {
    for version in Version::ALL.iter().copied() {
        let mut bytes = request(version, "/", "");
        let response = answer(version, "ws", "/", "");
        for number in 0..40 {
            let message = format!("message {number} é🦀 {}", "x".repeat(number * 11));
            bytes.extend(text(version, &message));
            if !is_hixie(version) {
                let (start, end) = message.as_bytes().split_at(number % 11);
                bytes.extend(frame(version, Kind::Text, false, start));
                bytes.extend(frame(version, Kind::Ping, true, b""));
                bytes.extend(frame(version, Kind::Continuation, true, end));
            }
        }
        let whole = response_in_pieces(echo(), &bytes, || usize::MAX);
        assert!(whole.starts_with(&response), "{version}: {}", String::from_utf8_lossy(&whole));
        assert!(whole.len() > response.len() + 40 * 200);
        assert_eq!(response_in_pieces(echo(), &bytes, || 1), whole, "{version}, byte by byte");
        for seed in 0..30 {
            let mut random = Random::new(seed);
            let piece_bytes = || 1 + random.below(if seed % 2 == 0 { 10 } else { 500 });
            assert_eq!(response_in_pieces(echo(), &bytes, piece_bytes), whole, "{version}, seed {seed}");
        }
        // The client may send the handshake, all messages and its close frame at once.
        bytes.extend(frame(version, Kind::Close, true, b""));
        let mut socket = TestSocket::request(echo(), &bytes);
        let received = socket.received_bytes();
        assert!(received.starts_with(&whole) && received.len() > whole.len() && socket.is_closed(), "{version}");
    }
}

#[test]
fn on_open_gets_every_part_of_the_handshake() {
    for version in Version::ALL.iter().copied() {
        let log = Rc::new(RefCell::new(String::new()));
        let shared = Rc::clone(&log);
        let server = Server::new(move |_| {
            let log = Rc::clone(&shared);
            Callbacks::new().on_open(move |ws, handshake| {
                assert_eq!((ws.version(), handshake.version()), (version, version));
                assert_eq!(ws.peer_addr(), handshake.peer_addr());
                let pairs: Vec<_> = handshake.query().collect();
                *log.borrow_mut() = format!(
                    "{} {:?} {pairs:?} {:?} {:?} {:?} {}",
                    handshake.path(),
                    handshake.query_string(),
                    handshake.header("X-tEST"),
                    handshake.origin(),
                    handshake.subprotocol(),
                    handshake.is_secure()
                );
            })
        });
        let origin = if matches!(version.number(), 5..=8) { "Sec-WebSocket-Origin" } else { "Origin" };
        let header = if version == Version::Hixie75 { "WebSocket-Protocol" } else { "Sec-WebSocket-Protocol" };
        let lines = format!("{origin}: http://a.example\r\nx-Test: yes\r\n{header}: chat\r\nX-Empty:\r\n");
        let bytes = request(version, "/room/1?a=1&b=%20&c", &lines);
        let mut socket = TestSocket::request(server.subprotocols(["chat"]).secure_proxy(true), bytes);
        let expected = "/room/1 Some(\"a=1&b=%20&c\") [(\"a\", \"1\"), (\"b\", \"%20\"), (\"c\", \"\")] \
                        Some(\"yes\") Some(\"http://a.example\") Some(\"chat\") true";
        assert_eq!(*log.borrow(), expected, "{version}");
        let answer = socket.received_bytes();
        let line = format!("\r\n{header}: chat\r\n");
        assert!(String::from_utf8_lossy(&answer).contains(&line), "{version}");
    }
}

#[test]
fn requested_subprotocols_are_echoed_with_echo_subprotocols_only() {
    for version in Version::ALL.iter().copied() {
        let bytes = request(version, "/", "Sec-WebSocket-Protocol: one, two\r\n");
        let echoed = TestSocket::request(echo().echo_subprotocols(), &bytes).received_bytes();
        assert!(String::from_utf8_lossy(&echoed).contains("\r\nSec-WebSocket-Protocol: one, two\r\n"), "{version}");
        let silent = TestSocket::request(echo(), &bytes).received_bytes();
        assert!(!String::from_utf8_lossy(&silent).contains("Protocol: "), "{version}");
    }
    let lines = "Sec-WebSocket-Protocol: one\r\nSec-WebSocket-Protocol: two\r\n";
    let joined = TestSocket::request(echo().echo_subprotocols(), request(Version::Hybi08, "/", lines)).received_bytes();
    assert!(String::from_utf8_lossy(&joined).contains("\r\nSec-WebSocket-Protocol: one, two\r\n"));
    // Some clients of hixie-76 send the header name of hixie-75 and expect the newer name in the response. Versions
    // after hybi-03 ignore the old name.
    let old_name = request(Version::Hixie76, "/", "WebSocket-Protocol: one\r\n");
    let answer = TestSocket::request(echo().subprotocols(["one"]), old_name).received_bytes();
    assert!(String::from_utf8_lossy(&answer).contains("\r\nSec-WebSocket-Protocol: one\r\n"));
    for version in Version::ALL.iter().copied().filter(|version| *version >= Version::Hybi05) {
        for server in [echo().subprotocols(["one"]), echo().echo_subprotocols()] {
            let answer =
                TestSocket::request(server, request(version, "/", "WebSocket-Protocol: one\r\n")).received_bytes();
            assert!(!String::from_utf8_lossy(&answer).contains("Protocol: one"), "{version}");
        }
    }
    assert_refused(request(Version::Hixie75, "/", "WebSocket-Protocol:\r\n"), HandshakeError::Subprotocol);
    // The drafts before hybi-04 separate subprotocols by spaces.
    let spaced = request(Version::Hybi03, "/", "Sec-WebSocket-Protocol: one two\r\n");
    let answer = TestSocket::request(echo().subprotocols(["two"]), spaced).received_bytes();
    assert!(String::from_utf8_lossy(&answer).contains("\r\nSec-WebSocket-Protocol: two\r\n"));
}
