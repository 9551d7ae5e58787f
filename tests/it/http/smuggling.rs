//! Requests that two parsers may read differently, and values that may add lines to a response.
//!
//! A server behind a proxy has to refuse requests that the proxy may have read in another way (RFC 9112 §11.2). Every
//! case is sent whole, byte by byte, and behind a complete request; a request for `/smuggled` follows. Comments name
//! the published fault of another server that a case repeats.

mod chunks;
mod codings;
mod expectations;
mod header_lines;
mod hosts;
mod lengths;
mod request_lines;
mod responses;
mod uploads;

use std::{cell::RefCell, rc::Rc};

use ws_reactor::{Reply, Routes, Server, TestSocket, http::StatusCode};

/// The request behind every case.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// The request before a case.
const FIRST: &str = "GET /first HTTP/1.1\r\nHost: a\r\n\r\n";

/// A response, without its header lines.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: String,
}

/// Responses, log and end of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    answers: Vec<Answer>,
    /// Method and target of each request that reached `on_request`.
    heads: Vec<String>,
    /// Method, target and body of each request that reached a route.
    requests: Vec<String>,
    is_ended: bool,
}

impl Outcome {
    fn statuses(&self) -> Vec<u16> {
        self.answers.iter().map(|answer| answer.status).collect()
    }
}

/// The part of the input that is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The head: `on_request` is not asked.
    Head,
    /// The body: `on_request` is asked, and the route is not.
    Body,
}

/// A head with these header lines.
fn post(lines: &str) -> String {
    format!("POST /carrier HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// Sends pieces to a server that answers every request and logs it.
fn send<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let logs = Rc::new(RefCell::new((Vec::new(), Vec::new())));
    let (heads, requests) = (Rc::clone(&logs), Rc::clone(&logs));
    let routes = Routes::new().fallback(move |request, _| {
        let body = String::from_utf8_lossy(request.body());
        let line = format!("{} {} {body}", request.method(), request.http().uri());
        requests.borrow_mut().1.push(line.trim_end().to_owned());
        Reply::text(StatusCode::OK, "answered")
    });
    let server = Server::routes(routes).unwrap().on_request(move |request, _| {
        heads.borrow_mut().0.push(format!("{} {}", request.method(), request.http().uri()));
        Reply::upgrade()
    });
    let mut socket = TestSocket::request(server, "");
    for piece in pieces {
        socket.send_bytes(piece);
    }
    let answers = answers(&socket.received_bytes());
    let (heads, requests) = logs.take();
    Outcome { answers, heads, requests, is_ended: socket.is_ended() }
}

/// The outcome of input that arrives whole. The outcome byte by byte must be the same.
#[track_caller]
fn outcome(input: &[u8]) -> Outcome {
    let whole = send([input]);
    assert_eq!(send(input.chunks(1)), whole, "byte by byte: {}", input.escape_ascii());
    whole
}

/// Splits output into responses. The output must be nothing but complete responses.
fn answers(mut output: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !output.is_empty() {
        let end = output.windows(4).position(|octets| octets == b"\r\n\r\n").expect("a head ends");
        let head = str::from_utf8(&output[..end]).unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect(head).parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        let body = output.get(end + 4..end + 4 + length).expect("a body is complete");
        answers.push(Answer { status, body: String::from_utf8(body.to_vec()).unwrap() });
        output = &output[end + 4 + length..];
    }
    answers
}

/// The case is answered with `status`, the connection closes, and nothing behind is a request.
#[track_caller]
fn refused_with(status: u16, part: Part, case: impl AsRef<[u8]>) {
    let (case, follow) = (case.as_ref(), SMUGGLED.as_bytes());
    let shown = case.escape_ascii();
    for first in [&b""[..], FIRST.as_bytes()] {
        let outcome = outcome(&[first, case, follow].concat());
        let mut expected = (Vec::new(), Vec::new());
        if !first.is_empty() {
            expected.0.push(200);
            expected.1.push("GET /first".to_owned());
        }
        expected.0.push(status);
        assert_eq!((outcome.statuses(), &outcome.requests), (expected.0, &expected.1), "{shown}");
        assert!(outcome.is_ended, "the connection stays open: {shown}");
        let heads = &outcome.heads[expected.1.len()..];
        match part {
            Part::Head => assert!(heads.is_empty(), "{heads:?}: {shown}"),
            Part::Body => assert_eq!(heads, ["POST /carrier"], "{shown}"),
        }
    }
}

/// Every case is answered with 400, the connection closes, and nothing behind is a request.
#[track_caller]
fn refused<C: AsRef<[u8]>>(part: Part, cases: impl IntoIterator<Item = C>) {
    cases.into_iter().for_each(|case| refused_with(400, part, case));
}

/// The case is one request, logged as `request`, and the request behind is the next one.
#[track_caller]
fn accepted(case: impl AsRef<[u8]>, request: &str) {
    let case = case.as_ref();
    let outcome = outcome(&[case, b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
    let shown = case.escape_ascii();
    assert_eq!((outcome.statuses(), outcome.is_ended), (vec![200, 200], false), "{shown}");
    assert_eq!(outcome.requests, [request, "GET /next"], "{shown}");
}

#[test]
fn complete_request_is_answered_before_the_garbage_behind_it_is_refused() {
    for garbage in ["\n", "\0", "garbage\r\n\r\n", "GET\r\n\r\n", "\r\n\r\n\r\n\n", "POST / HTTP/1.1\nHost: a\n\n"] {
        for first in [FIRST, "POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"] {
            let outcome = outcome(format!("{first}{garbage}{SMUGGLED}").as_bytes());
            assert_eq!((outcome.statuses(), outcome.requests.len()), (vec![200, 400], 1), "{garbage:?}");
            assert!(outcome.is_ended, "{garbage:?}");
        }
    }
}

#[test]
fn input_behind_the_last_response_is_not_read() {
    for (lines, version) in [("Connection: close\r\n", "1.1"), ("", "1.0"), ("Connection: x, CLOSE\r\n", "1.1")] {
        let outcome = outcome(format!("GET /last HTTP/{version}\r\nHost: a\r\n{lines}\r\n{SMUGGLED}").as_bytes());
        assert_eq!((outcome.statuses(), outcome.is_ended), (vec![200], true), "{lines:?}");
        assert_eq!(outcome.requests, ["GET /last"]);
    }
}

#[test]
fn limits_of_a_head_count_for_each_request_of_a_connection() {
    // regression: the search for the end of a head went on counting from one request to the next
    let requests = 600;
    let outcome = outcome(FIRST.repeat(requests).as_bytes());
    assert_eq!((outcome.statuses(), outcome.is_ended), (vec![200; requests], false));
}

#[test]
fn empty_lines_between_requests_are_skipped() {
    // RFC 9112 §2.2: some clients send one behind a body.
    let post = "POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    for lines in ["\r\n", "\r\n\r\n\r\n"] {
        accepted(format!("{lines}{FIRST}{lines}").replace("/first", "/carrier"), "GET /carrier");
        accepted(format!("{lines}{post}{lines}").replace("/first", "/carrier"), "POST /carrier hello");
    }
}
