//! Requests that are not handshakes, or that the server refuses.

use super::*;

#[test]
fn request_that_is_no_valid_handshake_is_refused_with_the_matching_error() {
    for version in Version::ALL.iter().copied() {
        assert_refused(request_with(version, "GET", "POST"), HandshakeError::Method);
        assert_refused(request_with(version, "Upgrade: WebSocket", "Upgrade: h2c"), HandshakeError::NotAnUpgrade);
        // A list in two lines is one list (RFC 9110 §5.3).
        for upgrades in ["Upgrade: WebSocket\r\nUpgrade: WebSocket", "Upgrade: h2c\r\nUpgrade: WebSocket"] {
            let twice = request_with(version, "Upgrade: WebSocket", upgrades);
            let answer = TestSocket::request(echo(), twice).received_bytes();
            assert!(answer.starts_with(b"HTTP/1.1 101 "), "{version}: {upgrades}");
        }
        assert_refused(request_with(version, "Connection: Upgrade", "Connection: close"), HandshakeError::Connection);
        let body = "Content-Length: 3\r\nHost";
        assert_refused(request_with(version, "Host", body), HandshakeError::Body);
        assert_refused(request_with(version, "Host", "Sec-WebSocket-Protocol:\r\nHost"), HandshakeError::Subprotocol);
        let head = |error: HeadError| (error.status().as_str().to_owned(), Error::Head(error).to_string());
        assert_eq!(refusal(request_with(version, "HTTP/1.1", "HTTQ/1.1")), head(HeadError::Malformed));
        assert_eq!(refusal(request_with(version, "GET /", "GET /%%32e")), head(HeadError::InvalidTarget));
        assert_eq!(refusal(request_with(version, "Host", "Host: a\r\nHost")), head(HeadError::Host));
        let malformed_first = format!("\r\nGET\r\n\r\n{}", request_with(version, "GET", "GET"));
        assert_eq!(refusal(malformed_first), head(HeadError::Malformed));
        assert_eq!(refusal("junk\r\n\r\n"), head(HeadError::Malformed));
    }
    assert_refused("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", HandshakeError::NotAnUpgrade);
}

#[test]
fn host_http_1_1_and_a_key_of_16_bytes_are_required_by_rfc_6455_only() {
    let opens = |bytes: String| TestSocket::request(echo(), bytes).received_bytes().starts_with(b"HTTP/1.1 101 ");
    for version in Version::ALL.iter().copied() {
        let (no_host, old_http) = ("Host: example.com\r\n", "HTTP/1.1");
        if version == Version::Rfc6455 {
            assert_refused(request_with(version, no_host, ""), HandshakeError::Host);
            assert_refused(request_with(version, old_http, "HTTP/1.0"), HandshakeError::HttpVersion);
        } else {
            assert!(opens(request_with(version, no_host, "")), "{version}");
            assert!(opens(request_with(version, old_http, "HTTP/1.0")), "{version}");
        }
        // Without a Host header, the host part of the location is empty.
        if is_hixie(version) {
            let answer = TestSocket::request(echo(), request_with(version, no_host, "")).received_bytes();
            assert!(String::from_utf8_lossy(&answer).contains("-Location: ws:///\r\n"));
        }
        if version.number() < 5 || is_hixie(version) {
            continue;
        }
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        assert_refused(request_with(version, key, ""), HandshakeError::Key);
        assert_refused(request_with(version, key, "Sec-WebSocket-Key:\r\n"), HandshakeError::Key);
        assert_refused(request_with(version, key, &format!("{key}{key}")), HandshakeError::Key);
        let short = request_with(version, key, "Sec-WebSocket-Key: c2hvcnQ=\r\n");
        match version {
            Version::Rfc6455 => assert_refused(short, HandshakeError::Key),
            _ => assert!(opens(short), "{version}"),
        }
    }
}

#[test]
fn refusal_of_an_unsupported_version_lists_the_supported_versions() {
    let with_version = |line: &str| request_with(Version::Rfc6455, "Sec-WebSocket-Version: 13", line);
    for number in ["0", "1", "4", "9", "10", "11", "12", "14", "76", "255", "256", "x", "", "13, 8", "-1", "+13", "013"]
    {
        assert_refused(with_version(&format!("Sec-WebSocket-Version: {number}")), HandshakeError::Version);
    }
    for number in ["0", "4", "76", "x"] {
        assert_refused(with_version(&format!("Sec-WebSocket-Draft: {number}")), HandshakeError::Version);
    }
    let answer = |server: Server| {
        let bytes = TestSocket::request(server, with_version("Sec-WebSocket-Version: 99")).received_bytes();
        String::from_utf8(bytes).unwrap()
    };
    assert!(answer(echo()).contains("\r\nSec-WebSocket-Version: 13, 8, 7, 6, 5\r\n"), "{}", answer(echo()));
    let restricted = || echo().versions([Version::Hybi08, Version::Hixie75, Version::Rfc6455]);
    assert!(answer(restricted()).contains("\r\nSec-WebSocket-Version: 13, 8\r\n"));
    for version in Version::ALL.iter().copied() {
        let received = TestSocket::request(restricted(), request(version, "/", "")).received_bytes();
        let supported = [Version::Hybi08, Version::Hixie75, Version::Rfc6455].contains(&version);
        let status = if supported { "HTTP/1.1 101 " } else { "HTTP/1.1 426 " };
        assert!(String::from_utf8_lossy(&received).starts_with(status), "{version}");
    }
}

#[test]
fn flash_policy_and_health_check_are_answered_however_the_request_is_split() {
    let policy = "<?xml version=\"1.0\"?><cross-domain-policy><allow-access-from domain=\"*\" to-ports=\"*\"/>\
                  </cross-domain-policy>";
    let health = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 2\r\n\r\nOK";
    for (request_text, answer) in [
        ("<policy-file-request/>\0", policy),
        ("<policy-file-request \t/>", policy),
        ("GET /healthcheck HTTP/1.1\r\nHost: a\r\n\r\n", health),
        ("GET /healthcheck\r\n\r\n", health),
        ("GET /healthcheck?deep=1 HTTP/1.0\r\n\r\n", health),
        ("HEAD /healthcheck HTTP/1.1\r\nHost: a\r\n\r\n", &health[..health.len() - 2]),
    ] {
        for split in 0..request_text.len() {
            let (server, errors) = server_that_must_refuse();
            let mut socket = TestSocket::request(server, &request_text[..split]);
            socket.send_bytes(&request_text.as_bytes()[split..]);
            assert_eq!(
                String::from_utf8(socket.received_bytes()).unwrap(),
                answer,
                "{request_text:?} split at {split}"
            );
            assert!(socket.is_ended() && errors.borrow().is_empty());
        }
        let received = response_in_pieces(server_that_must_refuse().0, request_text.as_bytes(), || 1);
        assert_eq!(received, answer.as_bytes(), "{request_text:?} byte by byte");
    }
    let off = || server_that_must_refuse().0.flash_policy(false).healthcheck(false);
    for (request_text, status) in
        [("<policy-file-request/>\0", "400"), ("GET /healthcheck HTTP/1.1\r\nHost: a\r\n\r\n", "426")]
    {
        let answer = TestSocket::request(off(), request_text).received_bytes();
        assert!(String::from_utf8_lossy(&answer).starts_with(&format!("HTTP/1.1 {status} ")), "{request_text:?}");
    }
    let error = Error::Head(HeadError::Malformed).to_string();
    assert_eq!(refusal("<policy-file-regret/>"), ("400".to_owned(), error));
    // A longer path with the same beginning is not the health check.
    let bytes = request(Version::Rfc6455, "/healthchecks", "");
    assert!(TestSocket::request(echo(), bytes).received_bytes().starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn errors_before_a_handler_exists_are_reported_to_the_server() {
    let (server, errors) = server_that_must_refuse();
    let mut socket = TestSocket::request(server, "GET / HT");
    socket.reset();
    assert!(matches!(errors.borrow()[..], [Error::Io(_)]), "{errors:?}");
    let (server, errors) = server_that_must_refuse();
    let mut socket = TestSocket::request(server, "GET / HT");
    socket.advance(Duration::from_secs(11));
    assert!(matches!(errors.borrow()[..], [Error::Timeout(_)]), "{errors:?}");
    // A client that never sent a byte is not reported.
    let (server, errors) = server_that_must_refuse();
    let mut silent = TestSocket::request(server, "");
    silent.advance(Duration::from_secs(11));
    assert!(silent.is_closed() && errors.borrow().is_empty());
    let (server, errors) = server_that_must_refuse();
    let mut foreign = TestSocket::request(
        server.origins(["https://example.com"]).unwrap(),
        request(Version::Hixie75, "/", "Origin: https://evil.example\r\n"),
    );
    assert!(foreign.received_bytes().starts_with(b"HTTP/1.1 403 "));
    assert!(matches!(errors.borrow()[..], [Error::Handshake(HandshakeError::Origin)]), "{errors:?}");
}
