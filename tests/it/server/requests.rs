//! What becomes of a request before there is a handler.

use std::time::Duration;

use ws_reactor::{
    MessageLimits, Received, Reply, Server, TestSocket, Upgrade,
    http::{HeaderName, HeaderValue, StatusCode},
    on_message,
};

fn server() -> Server {
    Server::new(|handshake| {
        let subprotocol = handshake.subprotocol().unwrap_or("none").to_owned();
        on_message(move |ws, message| {
            ws.send(format!("{subprotocol}: {}", message.len()));
        })
    })
}

/// A request to upgrade, with more header lines.
fn upgrade(target: &str, lines: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    )
}

fn answer(server: Server, request: &str) -> String {
    String::from_utf8(TestSocket::request(server, request).received_bytes()).unwrap()
}

fn status(server: Server, request: &str) -> u16 {
    let answer = answer(server, request);
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).expect(&answer)
}

#[test]
fn refusals_are_real_answers_that_arrive() {
    let get = |lines: &str| format!("GET / HTTP/1.1\r\nHost: test\r\n{lines}\r\n");
    assert_eq!(status(server(), &get("")), 426);
    assert_eq!(status(server(), &upgrade("/", "").replace("GET", "POST")), 405);
    assert_eq!(status(server(), &upgrade("/", "").replace(": 13", ": 12")), 426);
    assert_eq!(status(server(), &upgrade("/", "").replace("dGhl", "")), 400);
    assert_eq!(status(server(), "nonsense\r\n\r\n"), 400);
    assert_eq!(status(server(), &get(&format!("X: {}\r\n", "y".repeat(17_000)))), 431);
    assert_eq!(status(server(), &upgrade(&format!("/{}", "x".repeat(9_000)), "")), 414);
    let mut socket = TestSocket::request(server(), get(""));
    assert!(socket.is_ended() && !socket.is_closed(), "our side ends, and the peer has time to read");
    socket.advance(Duration::from_millis(1_990));
    assert!(!socket.is_closed());
    socket.advance(Duration::from_millis(20));
    assert!(socket.is_closed());
}

#[test]
fn only_the_pages_that_are_listed_may_connect() {
    let guarded = || server().origins(["https://example.com"]).unwrap();
    assert_eq!(status(guarded(), &upgrade("/", "Origin: https://evil.example\r\n")), 403);
    assert_eq!(status(guarded(), &upgrade("/", "Origin: https://example.com\r\n")), 101);
    assert_eq!(status(guarded(), &upgrade("/", "")), 101);
    assert_eq!(status(server(), &upgrade("/", "Origin: https://evil.example\r\n")), 101);
    assert_eq!(status(guarded(), &upgrade("/", "Origin: https://exämple.com\r\n")), 403, "one that cannot be read");
    let asked = guarded().on_request(|_, _| -> Reply { panic!("a foreign page comes no further") });
    assert_eq!(status(asked, &upgrade("/", "Origin: https://evil.example\r\n")), 403);
}

#[test]
fn the_servers_preference_decides_among_the_subprotocols_offered() {
    let choosing = || server().subprotocols(["v2", "v1"]);
    let offering = |offer: &str| upgrade("/", &format!("Sec-WebSocket-Protocol: {offer}\r\n"));
    assert!(answer(choosing(), &offering("v1, v2")).contains("\r\nSec-WebSocket-Protocol: v2\r\n"));
    assert!(answer(choosing(), &offering("v1")).contains("\r\nSec-WebSocket-Protocol: v1\r\n"));
    let none = answer(choosing(), &offering("v3"));
    assert!(none.starts_with("HTTP/1.1 101 ") && !none.contains("Protocol:"), "{none}");
    let foreign = answer(server().on_request(|_, _| Upgrade::new().subprotocol("v9")), &offering("v1"));
    assert!(foreign.starts_with("HTTP/1.1 101 ") && !foreign.contains("v9"), "{foreign}");
}

#[test]
fn a_request_is_accepted_with_headers_and_limits_or_answered_otherwise() {
    let decide = || {
        server().on_request(|request, _| match request.path() {
            "/page" => Reply::html("<p>hello</p>"),
            "/gone" => Reply::status(StatusCode::GONE),
            _ => Upgrade::new()
                .header(HeaderName::from_static("x-request-id"), HeaderValue::from_static("7"))
                .header(HeaderName::from_static("sec-websocket-accept"), HeaderValue::from_static("forged"))
                .header(HeaderName::from_static("websocket-location"), HeaderValue::from_static("forged"))
                .limits(MessageLimits::new().max_message_bytes(10))
                .into(),
        })
    };
    let accepted = answer(decide(), &upgrade("/", ""));
    assert!(accepted.contains("\r\nX-Request-Id: 7\r\n") && !accepted.contains("forged"), "{accepted}");
    let page = answer(decide(), "GET /page HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html") && page.ends_with("\r\n\r\n<p>hello</p>"));
    assert_eq!(status(decide(), &upgrade("/gone", "")), 410);
    assert_eq!(status(decide(), "GET /other HTTP/1.1\r\nHost: test\r\n\r\n"), 426);
    let mut socket = TestSocket::connect(decide(), "/");
    socket.send("ten bytes.");
    assert_eq!(socket.received(), ["none: 10".into()]);
    socket.send("eleven byte");
    assert!(matches!(&socket.received()[..], [Received::Close(Some(_))]));
}

#[test]
fn frames_behind_the_request_are_not_lost() {
    let mut request = upgrade("/", "").into_bytes();
    request.extend(b"\x81\x82\0\0\0\0hi");
    let answer = TestSocket::request(server(), request).received_bytes();
    assert!(answer.ends_with(b"\r\n\r\n\x81\x07none: 2"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_request_that_drips_in_is_given_up_at_its_deadline() {
    let mut silent = TestSocket::request(server(), "");
    silent.advance(Duration::from_millis(10_010));
    assert!(silent.is_closed() && silent.received_bytes().is_empty());
    let mut dripping = TestSocket::request(server(), "GET / HTTP/1.1\r\n");
    for _ in 0..9 {
        dripping.advance(Duration::from_secs(1));
        dripping.send_bytes(b"X: y\r\n");
        assert!(!dripping.is_ended());
    }
    dripping.advance(Duration::from_millis(1_010));
    assert!(dripping.received_bytes().starts_with(b"HTTP/1.1 408 "));
    assert!(dripping.is_ended());
}
