//! What the versions differ in: how they open, what they skip, and what comes of requests that are none of them.

use std::{cell::RefCell, rc::Rc, time::Duration};

use crate::support::wire::{Kind, answer, failed, frame, is_hixie, request, text};
use ws_reactor::{
    Callbacks, CloseCode, Error, HandshakeError, HeadError, SendStatus, Server, TestSocket, Version, net::sim::Random,
    on_message,
};

fn echo() -> Server {
    Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    })
}

/// Errors that no handler hears of.
type Errors = Rc<RefCell<Vec<Error>>>;

/// A server that must not come to have a handler.
fn closed_door() -> (Server, Errors) {
    let errors = Errors::default();
    let told = Rc::clone(&errors);
    let server = Server::new(|_| -> Callbacks { panic!("a handler for what is no handshake") });
    (server.on_error(move |_, error| told.borrow_mut().push(copy(error))), errors)
}

fn copy(error: &Error) -> Error {
    match error {
        Error::Handshake(error) => Error::Handshake(*error),
        Error::Head(error) => Error::Head(*error),
        Error::Timeout(deadline) => Error::Timeout(*deadline),
        Error::Io(error) => Error::Io(error.kind().into()),
        other => panic!("not an error of opening: {other:?}"),
    }
}

/// The status of the answer to a request that is refused, and the error that was told.
fn refused(bytes: impl AsRef<[u8]>) -> (String, String) {
    let (server, errors) = closed_door();
    let mut socket = TestSocket::request(server, bytes);
    let answer = String::from_utf8(socket.received_bytes()).unwrap();
    assert!(socket.is_ended(), "refused for good");
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect("an HTTP answer").to_owned();
    let errors = errors.borrow();
    assert_eq!(errors.len(), 1, "told once: {errors:?}");
    (status, errors[0].to_string())
}

fn refused_as(bytes: impl AsRef<[u8]>, error: HandshakeError) {
    let expected = (error.status().as_str().to_owned(), Error::Handshake(error).to_string());
    assert_eq!(refused(&bytes), expected, "{}", String::from_utf8_lossy(bytes.as_ref()));
}

fn replaced(version: Version, from: &str, to: &str) -> String {
    let request = String::from_utf8(request(version, "/", "")).unwrap();
    assert!(request.contains(from), "{from} in {request}");
    request.replace(from, to)
}

/// What the server says to `bytes`, cut as `cuts` says.
fn said_to(server: Server, bytes: &[u8], mut cut: impl FnMut() -> usize) -> Vec<u8> {
    let mut socket = TestSocket::request(server, "");
    let (mut rest, mut said) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (piece, next) = rest.split_at(rest.len().min(cut()));
        socket.send_bytes(piece);
        said.extend(socket.received_bytes());
        rest = next;
    }
    said
}

#[test]
fn each_version_is_answered_to_the_letter() {
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
fn the_location_is_the_host_and_target_that_the_client_used() {
    for version in [Version::Hixie75, Version::Hixie76, Version::Hybi03] {
        for (host, target) in [("example.com:8081", "/"), ("[::1]:443", "/a//b?c?d"), ("EXAMPLE.com", "/%41?")] {
            let bytes = replaced(version, "Host: example.com", &format!("Host: {host}"));
            let bytes = bytes.replace("GET /", &format!("GET {target}"));
            let answer = TestSocket::request(echo(), bytes).received_bytes();
            let location = format!("Location: ws://{host}{target}\r\n");
            assert!(String::from_utf8_lossy(&answer).contains(&location), "{version}: {location}");
        }
    }
}

#[test]
fn any_cut_and_any_haste_give_the_same_answer() {
    for version in Version::ALL.iter().copied() {
        let mut bytes = request(version, "/", "");
        let mut expected = answer(version, "ws", "/", "");
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
        let whole = said_to(echo(), &bytes, || usize::MAX);
        assert!(whole.starts_with(&expected), "{version}: {}", String::from_utf8_lossy(&whole));
        assert!(whole.len() > expected.len() + 40 * 200);
        assert_eq!(said_to(echo(), &bytes, || 1), whole, "{version}, byte by byte");
        for seed in 0..30 {
            let mut random = Random::new(seed);
            let cut = || 1 + random.below(if seed % 2 == 0 { 10 } else { 500 });
            assert_eq!(said_to(echo(), &bytes, cut), whole, "{version}, seed {seed}");
        }
        // A client in haste says all at once, and goes.
        bytes.extend(frame(version, Kind::Close, true, b""));
        let mut socket = TestSocket::request(echo(), &bytes);
        expected = whole;
        let said = socket.received_bytes();
        assert!(said.starts_with(&expected) && said.len() > expected.len() && socket.is_closed(), "{version}");
    }
}

#[test]
fn the_head_is_answered_before_the_third_key_has_come() {
    for version in [Version::Hixie76, Version::Hybi01, Version::Hybi03] {
        let (bytes, answer) = (request(version, "/", ""), answer(version, "ws", "/", ""));
        let (head, third) = bytes.split_at(bytes.len() - 8);
        let mut socket = TestSocket::request(echo(), head);
        let (answer_head, proof) = answer.split_at(answer.len() - 16);
        assert_eq!(socket.received_bytes(), answer_head);
        socket.send_bytes(&third[..7]);
        assert!(socket.received_bytes().is_empty());
        socket.send_bytes(&[&third[7..], &text(version, "at once")].concat());
        assert_eq!(socket.received_bytes(), [proof, &text(version, "at once")].concat());
    }
}

#[test]
fn a_third_key_that_does_not_come_is_given_up_at_the_opening_deadline() {
    let (server, errors) = closed_door();
    let bytes = request(Version::Hixie76, "/", "");
    let mut socket = TestSocket::request(server, &bytes[..bytes.len() - 1]);
    socket.advance(Duration::from_millis(9_990));
    assert!(!socket.is_closed());
    socket.advance(Duration::from_millis(20));
    assert!(socket.is_closed());
    assert_eq!(errors.borrow()[0].to_string(), "the opening handshake timed out");
}

#[test]
fn a_broken_challenge_is_refused_before_the_third_key() {
    let key1 = "Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n";
    let key2 = "Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n";
    for version in [Version::Hixie76, Version::Hybi02] {
        for (from, to) in [
            (key1, ""),
            (key2, ""),
            (key1, "Sec-WebSocket-Key1: 4@146546xW%0l15\r\n"),
            (key2, "Sec-WebSocket-Key2: 129985Y31.P00\r\n"),
            (key2, "Sec-WebSocket-Key2: 12998 5 Y3 1  .P01\r\n"),
            (key1, &format!("{key1}{key1}")),
            (key1, "Sec-WebSocket-Key1: 99999999999 9\r\n"),
            (key1, "Sec-WebSocket-Key1:\r\n"),
        ] {
            let bytes = replaced(version, from, to);
            refused_as(&bytes[..bytes.len() - 8], HandshakeError::Challenge);
        }
    }
    // Digits may be none, as long as there are spaces to divide by.
    let harmless = replaced(Version::Hixie76, "4 @1  46546xW%0l 1 5", "a b");
    assert!(TestSocket::request(echo(), harmless).received_bytes().starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn what_is_no_handshake_is_refused_by_kind() {
    for version in Version::ALL.iter().copied() {
        refused_as(replaced(version, "GET", "POST"), HandshakeError::Method);
        refused_as(replaced(version, "Upgrade: WebSocket", "Upgrade: h2c"), HandshakeError::NotAnUpgrade);
        // A list in two lines is one list (RFC 9110 §5.3).
        for upgrades in ["Upgrade: WebSocket\r\nUpgrade: WebSocket", "Upgrade: h2c\r\nUpgrade: WebSocket"] {
            let twice = replaced(version, "Upgrade: WebSocket", upgrades);
            let answer = TestSocket::request(echo(), twice).received_bytes();
            assert!(answer.starts_with(b"HTTP/1.1 101 "), "{version}: {upgrades}");
        }
        refused_as(replaced(version, "Connection: Upgrade", "Connection: close"), HandshakeError::Connection);
        let body = "Content-Length: 3\r\nHost";
        refused_as(replaced(version, "Host", body), HandshakeError::Body);
        refused_as(replaced(version, "Host", "Sec-WebSocket-Protocol:\r\nHost"), HandshakeError::Subprotocol);
        let head = |error: HeadError| (error.status().as_str().to_owned(), Error::Head(error).to_string());
        assert_eq!(refused(replaced(version, "HTTP/1.1", "HTTQ/1.1")), head(HeadError::Malformed));
        assert_eq!(refused(replaced(version, "GET /", "GET /%%32e")), head(HeadError::InvalidTarget));
        assert_eq!(refused(replaced(version, "Host", "Host: a\r\nHost")), head(HeadError::Host));
        assert_eq!(refused(format!("\r\nGET\r\n\r\n{}", replaced(version, "GET", "GET"))), head(HeadError::Malformed));
        assert_eq!(refused("junk\r\n\r\n"), head(HeadError::Malformed));
    }
    refused_as("GET / HTTP/1.1\r\nHost: a\r\n\r\n", HandshakeError::NotAnUpgrade);
}

#[test]
fn only_the_rfc_demands_a_host_http_1_1_and_a_real_key() {
    let opens = |bytes: String| TestSocket::request(echo(), bytes).received_bytes().starts_with(b"HTTP/1.1 101 ");
    for version in Version::ALL.iter().copied() {
        let (no_host, old_http) = ("Host: example.com\r\n", "HTTP/1.1");
        if version == Version::Rfc6455 {
            refused_as(replaced(version, no_host, ""), HandshakeError::Host);
            refused_as(replaced(version, old_http, "HTTP/1.0"), HandshakeError::HttpVersion);
        } else {
            assert!(opens(replaced(version, no_host, "")), "{version}");
            assert!(opens(replaced(version, old_http, "HTTP/1.0")), "{version}");
        }
        // Nothing stands where the host would.
        if is_hixie(version) {
            let answer = TestSocket::request(echo(), replaced(version, no_host, "")).received_bytes();
            assert!(String::from_utf8_lossy(&answer).contains("-Location: ws:///\r\n"));
        }
        if version.number() < 5 || is_hixie(version) {
            continue;
        }
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        refused_as(replaced(version, key, ""), HandshakeError::Key);
        refused_as(replaced(version, key, "Sec-WebSocket-Key:\r\n"), HandshakeError::Key);
        refused_as(replaced(version, key, &format!("{key}{key}")), HandshakeError::Key);
        let short = replaced(version, key, "Sec-WebSocket-Key: c2hvcnQ=\r\n");
        match version {
            Version::Rfc6455 => refused_as(short, HandshakeError::Key),
            _ => assert!(opens(short), "{version}"),
        }
    }
}

#[test]
fn a_version_that_is_not_spoken_is_told_those_that_are() {
    let named = |line: &str| replaced(Version::Rfc6455, "Sec-WebSocket-Version: 13", line);
    for number in ["0", "1", "4", "9", "10", "11", "12", "14", "76", "255", "256", "x", "", "13, 8", "-1", "+13", "013"]
    {
        refused_as(named(&format!("Sec-WebSocket-Version: {number}")), HandshakeError::Version);
    }
    for number in ["0", "4", "76", "x"] {
        refused_as(named(&format!("Sec-WebSocket-Draft: {number}")), HandshakeError::Version);
    }
    let answer = |server: Server| {
        let bytes = TestSocket::request(server, named("Sec-WebSocket-Version: 99")).received_bytes();
        String::from_utf8(bytes).unwrap()
    };
    assert!(answer(echo()).contains("\r\nSec-WebSocket-Version: 13, 8, 7, 6, 5\r\n"), "{}", answer(echo()));
    let narrow = || echo().versions([Version::Hybi08, Version::Hixie75, Version::Rfc6455]);
    assert!(answer(narrow()).contains("\r\nSec-WebSocket-Version: 13, 8\r\n"));
    for version in Version::ALL.iter().copied() {
        let said = TestSocket::request(narrow(), request(version, "/", "")).received_bytes();
        let spoken = [Version::Hybi08, Version::Hixie75, Version::Rfc6455].contains(&version);
        let status = if spoken { "HTTP/1.1 101 " } else { "HTTP/1.1 426 " };
        assert!(String::from_utf8_lossy(&said).starts_with(status), "{version}");
    }
}

#[test]
fn a_handler_sees_the_whole_handshake() {
    for version in Version::ALL.iter().copied() {
        let seen = Rc::new(RefCell::new(String::new()));
        let log = Rc::clone(&seen);
        let server = Server::new(move |_| {
            let log = Rc::clone(&log);
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
        let name = if version == Version::Hixie75 { "WebSocket-Protocol" } else { "Sec-WebSocket-Protocol" };
        let lines = format!("{origin}: http://a.example\r\nx-Test: yes\r\n{name}: chat\r\nX-Empty:\r\n");
        let bytes = request(version, "/room/1?a=1&b=%20&c", &lines);
        let mut socket = TestSocket::request(server.subprotocols(["chat"]).secure_proxy(true), bytes);
        let expected = "/room/1 Some(\"a=1&b=%20&c\") [(\"a\", \"1\"), (\"b\", \"%20\"), (\"c\", \"\")] \
                        Some(\"yes\") Some(\"http://a.example\") Some(\"chat\") true";
        assert_eq!(*seen.borrow(), expected, "{version}");
        let answer = socket.received_bytes();
        let line = format!("\r\n{name}: chat\r\n");
        assert!(String::from_utf8_lossy(&answer).contains(&line), "{version}");
    }
}

#[test]
fn subprotocols_may_be_echoed_as_em_websocket_does() {
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
    // What hixie-75 calls them means nothing to what came after hybi-03; some clients of hixie-76 use it, and want the
    // newer name back.
    let older = request(Version::Hixie76, "/", "WebSocket-Protocol: one\r\n");
    let answer = TestSocket::request(echo().subprotocols(["one"]), older).received_bytes();
    assert!(String::from_utf8_lossy(&answer).contains("\r\nSec-WebSocket-Protocol: one\r\n"));
    for version in Version::ALL.iter().copied().filter(|version| *version >= Version::Hybi05) {
        for server in [echo().subprotocols(["one"]), echo().echo_subprotocols()] {
            let answer =
                TestSocket::request(server, request(version, "/", "WebSocket-Protocol: one\r\n")).received_bytes();
            assert!(!String::from_utf8_lossy(&answer).contains("Protocol: one"), "{version}");
        }
    }
    refused_as(request(Version::Hixie75, "/", "WebSocket-Protocol:\r\n"), HandshakeError::Subprotocol);
    // The drafts before hybi-04 put spaces between them.
    let spaced = request(Version::Hybi03, "/", "Sec-WebSocket-Protocol: one two\r\n");
    let answer = TestSocket::request(echo().subprotocols(["two"]), spaced).received_bytes();
    assert!(String::from_utf8_lossy(&answer).contains("\r\nSec-WebSocket-Protocol: two\r\n"));
}

#[test]
fn a_flash_player_and_a_load_balancer_are_answered_however_they_are_cut() {
    let policy = "<?xml version=\"1.0\"?><cross-domain-policy><allow-access-from domain=\"*\" to-ports=\"*\"/>\
                  </cross-domain-policy>";
    let health = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 2\r\n\r\nOK";
    for (asked, answer) in [
        ("<policy-file-request/>\0", policy),
        ("<policy-file-request \t/>", policy),
        ("GET /healthcheck HTTP/1.1\r\nHost: a\r\n\r\n", health),
        ("GET /healthcheck\r\n\r\n", health),
        ("GET /healthcheck?deep=1 HTTP/1.0\r\n\r\n", health),
        ("HEAD /healthcheck HTTP/1.1\r\nHost: a\r\n\r\n", &health[..health.len() - 2]),
    ] {
        for cut in 0..asked.len() {
            let (server, errors) = closed_door();
            let mut socket = TestSocket::request(server, &asked[..cut]);
            socket.send_bytes(&asked.as_bytes()[cut..]);
            assert_eq!(String::from_utf8(socket.received_bytes()).unwrap(), answer, "{asked:?} cut at {cut}");
            assert!(socket.is_ended() && errors.borrow().is_empty());
        }
        assert_eq!(said_to(closed_door().0, asked.as_bytes(), || 1), answer.as_bytes(), "{asked:?} byte by byte");
    }
    let off = || closed_door().0.flash_policy(false).healthcheck(false);
    for (asked, status) in
        [("<policy-file-request/>\0", "400"), ("GET /healthcheck HTTP/1.1\r\nHost: a\r\n\r\n", "426")]
    {
        let answer = TestSocket::request(off(), asked).received_bytes();
        assert!(String::from_utf8_lossy(&answer).starts_with(&format!("HTTP/1.1 {status} ")), "{asked:?}");
    }
    let (asked, error) = ("<policy-file-regret/>", Error::Head(HeadError::Malformed).to_string());
    assert_eq!(refused(asked), ("400".to_owned(), error));
    // What only begins like it is somebody else's.
    let bytes = request(Version::Rfc6455, "/healthchecks", "");
    assert!(TestSocket::request(echo(), bytes).received_bytes().starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn a_server_hears_of_what_no_handler_does() {
    let (server, errors) = closed_door();
    let mut socket = TestSocket::request(server, "GET / HT");
    socket.reset();
    assert!(matches!(errors.borrow()[..], [Error::Io(_)]), "{errors:?}");
    let (server, errors) = closed_door();
    let mut socket = TestSocket::request(server, "GET / HT");
    socket.advance(Duration::from_secs(11));
    assert!(matches!(errors.borrow()[..], [Error::Timeout(_)]), "{errors:?}");
    // One that never said a word is no news.
    let (server, errors) = closed_door();
    let mut silent = TestSocket::request(server, "");
    silent.advance(Duration::from_secs(11));
    assert!(silent.is_closed() && errors.borrow().is_empty());
    let (server, errors) = closed_door();
    let mut foreign = TestSocket::request(
        server.origins(["https://example.com"]).unwrap(),
        request(Version::Hixie75, "/", "Origin: https://evil.example\r\n"),
    );
    assert!(foreign.received_bytes().starts_with(b"HTTP/1.1 403 "));
    assert!(matches!(errors.borrow()[..], [Error::Handshake(HandshakeError::Origin)]), "{errors:?}");
}

/// An open connection of one of Hixie's versions.
fn hixie(version: Version, server: Server) -> TestSocket {
    assert!(is_hixie(version));
    TestSocket::connect_as(version, server, "/")
}

#[test]
fn hixie_skips_what_is_no_text_and_goes_on() {
    for version in [Version::Hixie75, Version::Hixie76] {
        let skipped: [&[u8]; 7] = [
            b"\x01junk\xff",
            b"\x7f\xff",
            b"\x80\x03\xff\x00\xff",
            b"\xfe\x00",
            b"\xff\x01\x00",
            b"\x80\x80\x00",
            b"\x85\x00",
        ];
        let bytes: Vec<u8> = skipped.iter().flat_map(|junk| [junk, &b"\x00on\xff"[..]].concat()).collect();
        let expected = b"\x00on\xff".repeat(7);
        for cut in [1, 2, 3, 5, 1000] {
            let mut socket = hixie(version, echo());
            bytes.chunks(cut).for_each(|piece| socket.send_bytes(piece));
            assert_eq!(socket.received_bytes(), expected, "{version}, cut at {cut}");
        }
        // A large one is not stored: it may be as large as a frame, whatever a message may be.
        let mut socket = hixie(version, echo());
        socket.send_bytes(b"\x80\x83\x80\x00");
        socket.send_bytes(&[0x00; 49_152]);
        socket.send("on");
        assert_eq!(socket.received(), ["on".into()]);
    }
}

#[test]
fn hixie_refuses_what_is_too_long_in_every_form() {
    for version in [Version::Hixie75, Version::Hixie76] {
        let forms: [&[u8]; 5] = [
            &[&[0][..], &[b'x'; 101]].concat(),
            &[&[1][..], &[b'x'; 101]].concat(),
            b"\x80\x65",
            b"\x80\xa0\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", // 2^70, as em-websocket's own tests have it
            &[0x80; 12],
        ];
        for bytes in forms {
            let mut socket = hixie(version, echo().max_frame_bytes(100));
            socket.send_bytes(bytes);
            assert_eq!(socket.received(), failed(version, CloseCode::MESSAGE_TOO_BIG, ""));
            assert!(socket.is_ended(), "{version}: {bytes:?}");
        }
    }
}

#[test]
fn hixie_text_waits_for_its_end_and_is_checked_as_it_comes() {
    for version in [Version::Hixie75, Version::Hixie76] {
        let mut socket = hixie(version, echo());
        socket.send_bytes(b"\x00no end");
        socket.send_bytes(" κ".as_bytes());
        assert!(socket.received().is_empty());
        socket.send_bytes(b"\xff\x00a\0b\xff");
        assert_eq!(socket.received(), ["no end κ".into(), "a\0b".into()]);
        socket.send_bytes(b"\x00bad \xc0");
        assert!(socket.received().is_empty() && socket.is_ended(), "refused before it ends");
        let mut cut_off = hixie(version, echo());
        cut_off.send_bytes(b"\x00half a charact\xce\xff");
        assert!(cut_off.received().is_empty() && cut_off.is_ended());
    }
}

#[test]
fn ff_00_closes_both_ways() {
    for version in [Version::Hixie75, Version::Hixie76] {
        let mut socket = hixie(version, echo());
        socket.send_bytes(b"\x00last\xff\xff\x00\x00ignored\xff");
        assert_eq!(socket.received_bytes(), b"\x00last\xff\xff\x00", "answered, and nothing after it is heard");
        assert!(socket.is_closed());
    }
    let closing = Server::new(|_| {
        on_message(|ws, _| {
            assert_eq!(ws.close(CloseCode::NORMAL, "unsaid"), SendStatus::Queued);
        })
    });
    let mut socket = hixie(Version::Hixie76, closing);
    socket.send("go");
    assert_eq!(socket.received_bytes(), b"\xff\x00");
    assert!(!socket.is_ended() && !socket.is_closed(), "the peer's is waited for");
    socket.send_bytes(b"\x00late\xff\xff\x00");
    assert!(socket.is_closed() && socket.received_bytes().is_empty());
}

#[test]
fn a_length_of_64_bits_is_read_whole() {
    for version in Version::ALL.iter().copied().filter(|version| !is_hixie(*version)) {
        // 2^40 + 2: a reader of 32 bits would take it for 2.
        let header = |length: u64| {
            let mut bytes = frame(version, Kind::Binary, true, &[0; 65_536]);
            let key = if matches!(version.number(), 5 | 6) { 4 } else { 0 };
            for (index, octet) in length.to_be_bytes().iter().enumerate() {
                let mask = if key > 0 { bytes[(2 + index) % 4] } else { 0 };
                bytes[key + 2 + index] = octet ^ mask;
            }
            bytes.truncate(14);
            bytes
        };
        for (length, error) in [
            ((1 << 40) + 2, "Frame length too long (1099511627778 bytes); the limit is 10485760 bytes"),
            (1 << 63, "length with its top bit set"),
        ] {
            let mut socket = TestSocket::connect_as(version, echo(), "/");
            socket.send_bytes(&header(length));
            let code = if length >> 63 == 0 { CloseCode::MESSAGE_TOO_BIG } else { CloseCode::PROTOCOL_ERROR };
            assert_eq!(socket.received(), failed(version, code, error), "{version}");
        }
    }
}

#[test]
fn early_close_frames_say_who_begins() {
    for (version, body) in [(Version::Hybi01, &b""[..]), (Version::Hybi03, b""), (Version::Hybi05, b"S")] {
        let closing = Server::new(|_| {
            on_message(|ws, _| {
                ws.close(CloseCode::NORMAL, "unsaid");
            })
        });
        let mut socket = TestSocket::connect_as(version, closing, "/");
        socket.send("go");
        let first = if version < Version::Hybi05 { 0x01 } else { 0x81 };
        assert_eq!(socket.received_bytes(), [&[first, body.len() as u8][..], body].concat(), "{version}");
    }
}

#[test]
fn only_the_rfc_demands_masks_and_checks_codes() {
    for version in [Version::Hybi07, Version::Hybi08, Version::Rfc6455] {
        let mut socket = TestSocket::connect_as(version, echo(), "/");
        socket.send_bytes(b"\x81\x02hi\x88\x02\x07\xd0");
        match version {
            Version::Rfc6455 => {
                assert_eq!(socket.received(), failed(version, CloseCode::PROTOCOL_ERROR, "frame not masked"));
            }
            _ => assert_eq!(socket.received_bytes(), b"\x81\x02hi\x88\x02\x07\xd0"),
        }
    }
}
