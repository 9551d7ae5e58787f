//! `Expect` and `Upgrade` (RFC 9110 §7.8, §10.1.1).

use std::{cell::RefCell, rc::Rc};

use ws_reactor::{Handler, Message, Reply, Routes, Server, TestSocket, WebSocket, http::StatusCode};

use super::{FIRST, Part, SMUGGLED, accepted, answers, outcome, post, refused, refused_with, send};
use crate::support::REQUEST;

const CONTINUE: &str = "Expect: 100-continue\r\nContent-Length: 5\r\n";

#[test]
fn client_that_expects_100_gets_it_before_it_sends_the_body() {
    for coding in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let head = post(&format!("Expect: 100-CONTINUE\r\n{coding}"));
        let waiting = send([head.as_bytes()]);
        assert_eq!((waiting.statuses(), waiting.requests.len(), waiting.is_ended), (vec![100], 0, false), "{coding}");
    }
    let (head, body) = (post(CONTINUE), format!("hello{FIRST}"));
    let answered = send([head.as_bytes(), body.as_bytes()]);
    assert_eq!(answered.statuses(), [100, 200, 200]);
    assert_eq!(answered.requests, ["POST /carrier hello", "GET /first"]);
}

#[test]
fn body_that_comes_with_its_expectation_is_the_body() {
    // A server that skips the body of a request with `Expect` takes it for the next request.
    let length = SMUGGLED.len();
    let head = post(&format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"));
    let outcome = outcome(format!("{head}{SMUGGLED}{FIRST}").as_bytes());
    assert_eq!(outcome.requests, [format!("POST /carrier {SMUGGLED}").trim_end(), "GET /first"]);
    let statuses = outcome.statuses();
    assert_eq!(statuses[statuses.len() - 2..], [200, 200]);
}

#[test]
fn expectation_without_a_body_gets_no_100() {
    for lines in ["Expect: 100-continue\r\n", "Expect: 100-continue\r\nContent-Length: 0\r\n"] {
        accepted(post(lines), "POST /carrier");
    }
}

#[test]
fn expectation_in_http_1_0_is_ignored() {
    let head = format!("POST /carrier HTTP/1.0\r\nConnection: keep-alive\r\n{CONTINUE}\r\n");
    accepted(head + "hello", "POST /carrier hello");
}

#[test]
fn other_expectation_is_refused_with_417() {
    for line in [
        "Expect: 101-continue",
        "Expect: 100-continue, x",
        "Expect: x, 100-continue",
        "Expect: 100-continue;q=1",
        "Expect: 100",
        "Expect: 100-continued",
        "Expect: x=y",
        "Expect: x",
        "Expect: \"100-continue\"",
        "Expect: 100-continue\r\nExpect: x",
        "Expect: x\r\nExpect: 100-continue",
    ] {
        for length in [0, 5] {
            let case = post(&format!("{line}\r\nContent-Length: {length}\r\n")) + &"x".repeat(length);
            refused_with(417, Part::Head, case);
        }
    }
}

#[test]
fn faulty_framing_with_an_expectation_gets_no_100() {
    refused(
        Part::Head,
        [
            post("Expect: 100-continue\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            post("Expect: 100-continue\r\nContent-Length: +5\r\n"),
            post("Expect: 100-continue\r\nTransfer-Encoding: x\r\n"),
        ],
    );
    refused_with(413, Part::Body, post("Expect: 100-continue\r\nContent-Length: 99999999\r\n"));
}

#[test]
fn body_that_no_route_wants_gets_no_100_and_its_octets_are_no_request() {
    let routes = || {
        let log = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&log);
        let smuggled = move |path: &str| seen.borrow_mut().push(path.to_owned());
        let reply = move |request: &ws_reactor::http::Request, _: &mut ws_reactor::Hub| {
            smuggled(request.path());
            StatusCode::OK
        };
        (Routes::new().get("/carrier", |_, _| StatusCode::OK).get("/smuggled", reply), log)
    };
    let length = SMUGGLED.len();
    for (path, status) in [("/carrier", 405), ("/nowhere", 404)] {
        for coding in [format!("Content-Length: {length}"), "Transfer-Encoding: chunked".to_owned()] {
            let (routes, log) = routes();
            let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{coding}\r\n\r\n");
            let mut socket = TestSocket::request(Server::routes(routes).unwrap(), head + SMUGGLED);
            let answers = answers(&socket.received_bytes());
            assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [status], "{path} {coding}");
            assert!(socket.is_ended() && log.borrow().is_empty(), "{path} {coding}: {log:?}");
        }
    }
    // Without an expectation the body comes anyway: it is skipped, or the connection ends.
    for coding in [format!("Content-Length: {length}"), "Transfer-Encoding: chunked".to_owned()] {
        let (routes, log) = routes();
        let head = format!("POST /carrier HTTP/1.1\r\nHost: a\r\n{coding}\r\n\r\n");
        let mut socket = TestSocket::request(Server::routes(routes).unwrap(), format!("{head}{SMUGGLED}"));
        assert_eq!(answers(&socket.received_bytes())[0].status, 405);
        assert!(log.borrow().is_empty(), "{coding}: {log:?}");
    }
}

#[test]
fn upgrade_to_h2c_is_ignored() {
    // RFC 9113 §3.1 has removed it. Proxies that pass it on open a tunnel past their rules.
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: TLS/1.0, HTTP/2.0\r\n",
        "Upgrade: h2c\r\n",
    ] {
        accepted(post(lines), "POST /carrier");
    }
    let lines = "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n";
    accepted(post(lines) + "hello", "POST /carrier hello");
}

/// Counts the messages of a WebSocket.
struct Count(Rc<RefCell<Vec<String>>>);

impl Handler for Count {
    fn on_message(&mut self, _: &mut WebSocket<'_>, message: Message<'_>) {
        self.0.borrow_mut().push(format!("{message:?}"));
    }
}

#[test]
fn websocket_handshake_with_a_body_opens_nothing() {
    // Octets of the body would be frames. A proxy that has checked the body passes them on unseen.
    let request = String::from_utf8_lossy(REQUEST).into_owned();
    let frame = "\u{1}\0\0\0\0";
    for lines in [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: x",
        "Transfer-Encoding: x",
        "Content-Length: 5\r\nContent-Length: 5",
    ] {
        let messages = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&messages);
        let routes = Routes::new()
            .websocket("/", move |_| Count(Rc::clone(&seen)))
            .get("/smuggled", |_, _| Reply::text(StatusCode::OK, "smuggled"));
        let case = request.replace("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n{frame}{SMUGGLED}"));
        let mut socket = TestSocket::request(Server::routes(routes).unwrap(), case);
        let output = socket.received_bytes();
        assert_eq!(answers(&output).iter().map(|answer| answer.status).collect::<Vec<_>>(), [400], "{lines}");
        assert!(socket.is_ended() && messages.borrow().is_empty(), "{lines}");
    }
}
