//! Bodies that are not read to their end: what is left of them is no request (RFC 9112 §9.3, §9.6).

use std::{cell::RefCell, rc::Rc};

use ws_reactor::{Reply, RequestBody, Routes, Server, TestSocket, Upload, http::StatusCode};

use super::{SMUGGLED, answers};

/// Refuses a body at its first part.
struct Refuse;

impl Upload for Refuse {
    fn on_chunk(&mut self, _: &mut RequestBody<'_>, _: &[u8]) -> Result<(), Reply> {
        Err(Reply::status(StatusCode::CONFLICT))
    }

    fn on_end(&mut self, _: &mut RequestBody<'_>) -> Reply {
        Reply::status(StatusCode::OK)
    }
}

/// Statuses, requests for `/smuggled` and `/next`, and whether the server has closed.
fn send<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<u16>, Vec<String>, bool) {
    let log = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&log);
    let routes = Routes::new()
        .upload("/refused", |_, _| Err::<Refuse, _>(StatusCode::FORBIDDEN))
        .upload("/cut", |_, _| Ok::<_, Reply>(Refuse))
        .fallback(move |request, _| {
            seen.borrow_mut().push(request.path().to_owned());
            StatusCode::OK
        });
    let mut socket = TestSocket::request(Server::routes(routes).unwrap(), "");
    pieces.into_iter().for_each(|piece| socket.send_bytes(piece));
    let statuses = answers(&socket.received_bytes()).iter().map(|answer| answer.status).collect();
    (statuses, log.take(), socket.is_ended())
}

#[track_caller]
fn check(request: &str, statuses: &[u16], requests: &[&str], is_ended: bool) {
    let input = format!("{request}GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    for outcome in [send([input.as_bytes()]), send(input.as_bytes().chunks(1))] {
        assert_eq!((&*outcome.0, outcome.2), (statuses, is_ended), "{request:?}");
        assert_eq!(outcome.1, requests, "{request:?}");
    }
}

#[test]
fn rest_of_a_refused_body_with_a_length_is_skipped() {
    let body = SMUGGLED.repeat(3);
    for (path, status) in [("/refused", 403), ("/cut", 409)] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        check(&format!("{head}{body}"), &[status, 200], &["/next"], false);
    }
}

#[test]
fn refused_body_without_a_length_or_with_a_long_rest_ends_the_connection() {
    let chunk = format!("{:x}\r\n{SMUGGLED}\r\n", SMUGGLED.len());
    for (path, status) in [("/refused", 403), ("/cut", 409)] {
        let head = |lines: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        check(&(head("Transfer-Encoding: chunked\r\n") + &chunk.repeat(3) + "0\r\n\r\n"), &[status], &[], true);
        check(&(head("Content-Length: 1000000\r\n") + &SMUGGLED.repeat(3)), &[status], &[], true);
    }
}

#[test]
fn body_that_an_upload_does_not_want_gets_no_100() {
    // The client may send the body or not: after its reply the server cannot know which, and closes.
    let length = SMUGGLED.len();
    for lines in [format!("Content-Length: {length}\r\n"), "Transfer-Encoding: chunked\r\n".to_owned()] {
        let head = format!("POST /refused HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{lines}\r\n");
        check(&(head + SMUGGLED), &[403], &[], true);
    }
}

#[test]
fn malformed_chunk_of_an_upload_is_refused_and_ends_the_connection() {
    struct Take;

    impl Upload for Take {
        fn on_chunk(&mut self, _: &mut RequestBody<'_>, _: &[u8]) -> Result<(), Reply> {
            Ok(())
        }

        fn on_end(&mut self, _: &mut RequestBody<'_>) -> Reply {
            Reply::status(StatusCode::OK)
        }
    }

    for body in
        ["5\r\nhello0\r\n\r\n", "5\r\nhello\r\n+0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\nX\r\n\r\n"]
    {
        let log = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&log);
        let routes = Routes::new().upload("/take", |_, _| Ok::<_, Reply>(Take)).fallback(move |request, _| {
            seen.borrow_mut().push(request.path().to_owned());
            StatusCode::OK
        });
        let head = "POST /take HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut socket = TestSocket::request(Server::routes(routes).unwrap(), format!("{head}{body}{SMUGGLED}"));
        let statuses: Vec<u16> = answers(&socket.received_bytes()).iter().map(|answer| answer.status).collect();
        assert_eq!((&*statuses, socket.is_ended()), (&[400][..], true), "{body:?}");
        assert!(log.borrow().is_empty(), "{body:?}: {log:?}");
    }
}
