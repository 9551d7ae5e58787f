//! Tests of the server handshake.

use super::*;
use crate::http::head::{HeadLimits, HeadReader};

const GOOD: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
                    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                    Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
                    Sec-WebSocket-Version: 13\r\n\r\n";

fn request(head: &str) -> Request {
    let (head, _) = HeadReader::default().read(head.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
    Request::new(head, std::net::SocketAddr::from(([127, 0, 0, 1], 5)).into(), None, false)
}

fn detected(from: &str, to: &str) -> Result<Version, HandshakeError> {
    assert!(GOOD.contains(from), "{from}");
    detect(&request(&GOOD.replace(from, to)), Version::ALL)
}

#[test]
fn request_of_rfc_6455_section_1_3_gets_the_response_of_the_rfc() {
    let request = request(GOOD);
    let version = detect(&request, Version::ALL).unwrap();
    let handshake = Handshake::new(request, version, Some("chat".to_owned()), None);
    let mut out = Vec::new();
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", HeaderValue::from_static("7"));
    handshake.answer(&headers, &mut out);
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\
                    X-Request-Id: 7\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!((handshake.path(), handshake.origin()), ("/chat", Some("http://example.com")));
    assert_eq!(handshake.request().subprotocols().collect::<Vec<_>>(), ["chat", "superchat"]);
}

#[test]
fn request_without_an_upgrade_is_refused_with_426_and_the_versions() {
    assert_eq!(detected("Upgrade: websocket\r\n", ""), Err(HandshakeError::NotAnUpgrade));
    assert_eq!(detected("Upgrade: websocket", "Upgrade: h2c"), Err(HandshakeError::NotAnUpgrade));
    assert_eq!(detected("keep-alive, Upgrade", "keep-alive"), Err(HandshakeError::Connection));
    assert_eq!(detected("Upgrade: websocket", "Upgrade: WebSocket"), Ok(Version::Rfc6455));
    let response = HandshakeError::NotAnUpgrade.response(Version::ALL);
    assert_eq!(response.status(), 426);
    assert_eq!(response.headers()["sec-websocket-version"], "13, 8, 7, 6, 5");
    assert_eq!(response.headers()["upgrade"], "websocket");
}

#[test]
fn request_with_another_method_than_get_is_refused_with_405() {
    assert_eq!(detected("GET", "POST"), Err(HandshakeError::Method));
    let response = HandshakeError::Method.response(Version::ALL);
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &HeaderValue::from_static("GET, HEAD"))
    );
}

#[test]
fn unsupported_missing_or_repeated_version_is_refused() {
    for version in ["0", "9", "12", "14", "99", "256", "13a", "", "13, 8"] {
        let named = format!("Sec-WebSocket-Version: {version}");
        assert_eq!(detected("Sec-WebSocket-Version: 13", &named), Err(HandshakeError::Version), "{version}");
    }
    for version in ["1", "3", "4", "75", "76"] {
        let named = format!("Sec-WebSocket-Version: {version}");
        assert_eq!(detected("Sec-WebSocket-Version: 13", &named), Err(HandshakeError::Version), "{version}");
    }
    for draft in ["0", "4", "5", "13", "x"] {
        let named = format!("Sec-WebSocket-Draft: {draft}");
        assert_eq!(detected("Sec-WebSocket-Version: 13", &named), Err(HandshakeError::Version), "{draft}");
    }
    assert_eq!(detected("Sec-WebSocket-Version: 13\r\n", ""), Err(HandshakeError::Version), "a key without a version");
    let twice = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13";
    assert_eq!(detected("Sec-WebSocket-Version: 13", twice), Err(HandshakeError::Version));
}

#[test]
fn request_needs_exactly_one_key_of_16_bytes() {
    let line = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for keys in [
        "",
        "Sec-WebSocket-Key: \r\n",
        "Sec-WebSocket-Key: c2hvcnQ=\r\n",
        "Sec-WebSocket-Key: !!!\r\n",
        &line.repeat(2),
    ] {
        assert_eq!(detected(line, keys), Err(HandshakeError::Key), "{keys}");
    }
    // A key of RFC 6455 §4.1, whose last octet is padded with ones.
    assert_eq!(detected("dGhlIHNhbXBsZSBub25jZQ==", "AQIDBAUGBwgJCgsMDQ4PEC=="), Ok(Version::Rfc6455));
}

#[test]
fn drafts_5_to_8_accept_any_single_key_and_need_no_host() {
    let older = |number: u8, from: &str, to: &str| {
        let head = GOOD.replace("Version: 13", &format!("Version: {number}"));
        assert!(head.contains(from), "{from}");
        detect(&request(&head.replace(from, to)), Version::ALL).map(Version::number)
    };
    for number in [5, 6, 7, 8] {
        assert_eq!(older(number, "dGhlIHNhbXBsZSBub25jZQ==", "any"), Ok(number));
        assert_eq!(older(number, "dGhlIHNhbXBsZSBub25jZQ==", ""), Err(HandshakeError::Key));
        assert_eq!(
            older(number, "Sec-WebSocket-Key: ", "Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: "),
            Err(HandshakeError::Key)
        );
        assert_eq!(older(number, "Host: server.example.com\r\n", ""), Ok(number));
        assert_eq!(older(number, "HTTP/1.1", "HTTP/1.0"), Ok(number));
        assert_eq!(older(number, "chat, superchat", "a/b"), Ok(number));
        assert_eq!(older(number, "chat, superchat", ""), Err(HandshakeError::Subprotocol));
    }
}

#[test]
fn upgrade_may_be_a_list_in_several_lines_and_host_is_required() {
    let twice = detected("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket");
    assert!(twice.is_ok(), "a list in two lines is one list: {twice:?}");
    assert_eq!(detected("Host: server.example.com\r\n", ""), Err(HandshakeError::Host));
}

#[test]
fn request_with_http_1_0_or_a_body_is_refused() {
    assert_eq!(detected("HTTP/1.1", "HTTP/1.0"), Err(HandshakeError::HttpVersion));
    assert_eq!(detected("Upgrade: websocket", "Content-Length: 5\r\nUpgrade: websocket"), Err(HandshakeError::Body));
    assert_eq!(
        detected("Upgrade: websocket", "Transfer-Encoding: chunked\r\nUpgrade: websocket"),
        Err(HandshakeError::Body)
    );
    assert_eq!(detected("Upgrade: websocket", "Content-Length: 0\r\nUpgrade: websocket"), Ok(Version::Rfc6455));
}

#[test]
fn subprotocol_that_is_no_token_is_refused() {
    for bad in ["a b", "a;b", "chat,,x", "\"chat\"", ""] {
        assert_eq!(detected("chat, superchat", bad), Err(HandshakeError::Subprotocol), "{bad:?}");
    }
}

#[test]
fn hixie_76_request_with_one_of_two_keys_is_refused() {
    let keys = ["Sec-WebSocket-Key1: 1 2\r\n", "Sec-WebSocket-Key2: 1 2\r\n"];
    for key in keys {
        let head = format!("GET / HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nHost: test\r\n{key}\r\n");
        assert_eq!(detect(&request(&head), Version::ALL), Err(HandshakeError::Challenge), "{key}");
    }
}

#[test]
fn hybi_08_accepts_any_subprotocol_offer_that_is_not_blank() {
    let draft = |offer: &str| {
        let head = GOOD.replace("Version: 13", "Version: 8").replace("chat, superchat", offer);
        detect(&request(&head), Version::ALL)
    };
    assert_eq!(draft("any words, {of} any kind"), Ok(Version::Hybi08));
    for offer in ["", ",", " , ,"] {
        assert_eq!(draft(offer), Err(HandshakeError::Subprotocol), "{offer:?}");
    }
}

#[test]
fn handshake_gives_access_to_the_request_and_the_response() {
    let head = GOOD.replace("/chat", "/chat?room=1&quiet");
    let mut handshake = Handshake::new(request(&head), Version::Rfc6455, None, None);
    assert_eq!(handshake.query_string(), Some("room=1&quiet"));
    assert_eq!(handshake.query().collect::<Vec<_>>(), [("room", "1"), ("quiet", "")]);
    assert_eq!((handshake.header("HOST"), handshake.header("cookie")), (Some("server.example.com"), None));
    assert!(!handshake.is_secure() && handshake.tls_info().is_none() && handshake.response().is_none());
    handshake.answered_by(Response::builder().status(101).body(()).unwrap());
    assert_eq!(handshake.response().map(Response::status), Some(StatusCode::SWITCHING_PROTOCOLS));
}

#[test]
fn only_hixie_76_and_hybi_01_to_03_have_a_challenge() {
    for version in Version::ALL.iter().copied() {
        let sample = sample_request(version, "/demo", "Origin: http://example.com\r\n");
        let (head, used) = HeadReader::default().read(&sample, &HeadLimits::default()).unwrap().unwrap();
        let received = Request::new(head, std::net::SocketAddr::from(([127, 0, 0, 1], 5)).into(), None, false);
        assert_eq!(detect(&received, Version::ALL), Ok(version));
        let handshake = Handshake::new(received, version, None, None);
        let has_challenge = matches!(version.number(), 1..=3 | 76);
        assert_eq!((handshake.challenge_bytes(), sample.len() - used), if has_challenge { (8, 8) } else { (0, 0) });
        if has_challenge {
            assert_eq!(handshake.prove(&sample[used..]), sample_proof(version));
        }
        let mut answer = Vec::new();
        handshake.answer(&HeaderMap::new(), &mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let has_location = answer.contains("WebSocket-Location: ws://test/demo\r\n");
        assert_eq!(has_location, has_challenge || version == Version::Hixie75, "{version}: {answer}");
    }
}

#[test]
fn subprotocol_header_of_the_response_is_that_of_the_offer_in_hixie_75_only() {
    for (offered, version, answered) in [
        ("WebSocket-Protocol", Version::Hixie75, "WebSocket-Protocol: chat\r\n"),
        ("Sec-WebSocket-Protocol", Version::Hixie75, "Sec-WebSocket-Protocol: chat\r\n"),
        ("WebSocket-Protocol", Version::Hixie76, "Sec-WebSocket-Protocol: chat\r\n"),
    ] {
        let sample = sample_request(version, "/", &format!("{offered}: chat\r\n"));
        let received = request(&String::from_utf8(sample).unwrap());
        let mut answer = Vec::new();
        Handshake::new(received, version, Some("chat".to_owned()), None).answer(&HeaderMap::new(), &mut answer);
        let lines = String::from_utf8(answer).unwrap();
        assert!(lines.contains(&format!("\r\n{answered}")), "{offered} in {version}: {lines}");
    }
}

#[test]
fn forbidden_origin_is_refused_with_403_and_an_invalid_key_with_400() {
    assert_eq!(HandshakeError::Origin.status(), StatusCode::FORBIDDEN);
    assert_eq!(HandshakeError::Key.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn headers_written_by_the_handshake_are_reserved() {
    let is = |name: &str| is_reserved(&HeaderName::from_bytes(name.as_bytes()).unwrap());
    let own =
        ["upgrade", "connection", "content-length", "sec-websocket-key", "websocket-protocol", "websocket-origin"];
    assert!(own.into_iter().all(is));
    assert!(!["host", "origin", "cookie", "authorization"].into_iter().any(is));
}
