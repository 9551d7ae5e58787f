//! Requests before a handler exists: refusals, origins, subprotocols, `on_request`, the opening timeout.

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

/// An upgrade request with more header lines.
fn upgrade(target: &str, lines: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    )
}

fn response(server: Server, request: &str) -> String {
    String::from_utf8(TestSocket::request(server, request).received_bytes()).unwrap()
}

fn status(server: Server, request: &str) -> u16 {
    let response = response(server, request);
    response
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .expect(&response)
}

#[test]
fn refused_request_gets_its_status_and_time_to_read_it() {
    let get = |lines: &str| format!("GET / HTTP/1.1\r\nHost: test\r\n{lines}\r\n");
    assert_eq!(status(server(), &get("")), 426);
    assert_eq!(status(server(), &upgrade("/", "").replace("GET", "POST")), 405);
    assert_eq!(status(server(), &upgrade("/", "").replace(": 13", ": 12")), 426);
    assert_eq!(status(server(), &upgrade("/", "").replace("dGhl", "")), 400);
    assert_eq!(status(server(), "nonsense\r\n\r\n"), 400);
    assert_eq!(status(server(), &get(&format!("X: {}\r\n", "y".repeat(17_000)))), 431);
    assert_eq!(status(server(), &upgrade(&format!("/{}", "x".repeat(9_000)), "")), 414);
    let mut socket = TestSocket::request(server(), get("Connection: close\r\n"));
    assert!(socket.is_ended() && !socket.is_closed(), "the server half-closes, and the peer has time to read");
    socket.advance(Duration::from_millis(1_990));
    assert!(!socket.is_closed());
    socket.advance(Duration::from_millis(20));
    assert!(socket.is_closed());
}

#[test]
fn request_from_an_origin_that_is_not_listed_gets_403() {
    let guarded = || server().origins(["https://example.com"]).unwrap();
    assert_eq!(status(guarded(), &upgrade("/", "Origin: https://evil.example\r\n")), 403);
    assert_eq!(status(guarded(), &upgrade("/", "Origin: https://example.com\r\n")), 101);
    assert_eq!(status(guarded(), &upgrade("/", "")), 101);
    assert_eq!(status(server(), &upgrade("/", "Origin: https://evil.example\r\n")), 101);
    assert_eq!(status(guarded(), &upgrade("/", "Origin: https://exämple.com\r\n")), 403, "an origin that is not ASCII");
    let server = guarded().on_request(|_, _| -> Reply { panic!("on_request is not called for another origin") });
    assert_eq!(status(server, &upgrade("/", "Origin: https://evil.example\r\n")), 403);
}

#[test]
fn subprotocol_is_chosen_from_the_offered_ones_by_the_servers_preference() {
    let choosing = || server().subprotocols(["v2", "v1"]);
    let offering = |offer: &str| upgrade("/", &format!("Sec-WebSocket-Protocol: {offer}\r\n"));
    assert!(response(choosing(), &offering("v1, v2")).contains("\r\nSec-WebSocket-Protocol: v2\r\n"));
    assert!(response(choosing(), &offering("v1")).contains("\r\nSec-WebSocket-Protocol: v1\r\n"));
    let none = response(choosing(), &offering("v3"));
    assert!(none.starts_with("HTTP/1.1 101 ") && !none.contains("Protocol:"), "{none}");
    let foreign = response(server().on_request(|_, _| Upgrade::new().subprotocol("v9")), &offering("v1"));
    assert!(foreign.starts_with("HTTP/1.1 101 ") && !foreign.contains("v9"), "{foreign}");
}

#[test]
fn on_request_accepts_with_headers_and_limits_or_replies_otherwise() {
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
    let accepted = response(decide(), &upgrade("/", ""));
    assert!(accepted.contains("\r\nX-Request-Id: 7\r\n") && !accepted.contains("forged"), "{accepted}");
    let page = response(decide(), "GET /page HTTP/1.1\r\nHost: test\r\n\r\n");
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
fn frame_sent_right_after_the_request_is_not_lost() {
    let mut request = upgrade("/", "").into_bytes();
    request.extend(b"\x81\x82\0\0\0\0hi");
    let response = TestSocket::request(server(), request).received_bytes();
    assert!(response.ends_with(b"\r\n\r\n\x81\x07none: 2"), "{}", String::from_utf8_lossy(&response));
}

#[test]
fn incomplete_request_ends_at_the_opening_timeout() {
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
