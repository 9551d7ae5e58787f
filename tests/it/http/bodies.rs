//! Bodies of requests, collected for a route.

use ws_reactor::{Reply, Routes, TestSocket, http::StatusCode};

use super::{answer, received, serving};

/// Routes that answer with the body.
fn echo() -> Routes {
    Routes::new()
        .any("/echo", |request, _| Reply::bytes(request.body().clone()))
        .post("/text", |request, _| Ok::<_, Reply>(Reply::html(request.text()?)))
        .post("/refused", |_, _| StatusCode::FORBIDDEN)
}

fn post(path: &str, lines: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")
}

#[test]
fn body_with_a_length_or_in_chunks_is_collected_whatever_the_pieces() {
    for (request, expected) in [
        (post("/echo", "Content-Length: 5\r\n", "hello"), "hello"),
        (post("/echo", "", ""), ""),
        (post("/echo", "Content-Length: 0\r\n", ""), ""),
        (post("/echo", "Transfer-Encoding: chunked\r\n", "3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: v\r\n\r\n"), "hello"),
        (post("/echo", "Transfer-Encoding: Chunked\r\n", "0\r\n\r\n"), ""),
        (post("/echo", "Content-Length: 3\r\n", "abc").replace("POST", "GET"), "abc"),
    ] {
        for size in [1, 3, request.len()] {
            let mut socket = TestSocket::request(serving(echo()), "");
            for piece in request.as_bytes().chunks(size) {
                socket.send_bytes(piece);
            }
            let text = received(&mut socket);
            assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with(&format!("\r\n\r\n{expected}")), "{text}");
            assert!(!socket.is_ended());
        }
    }
}

#[test]
fn text_that_is_not_utf_8_is_answered_with_400() {
    let request = [post("/text", "Content-Length: 2\r\n", "").as_bytes(), b"\xc3\x28"].concat();
    let text = received(&mut TestSocket::request(serving(echo()), request));
    assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with("\r\n\r\nthe body is not UTF-8\n"), "{text}");
    assert_eq!(answer(echo(), &post("/text", "Content-Length: 2\r\n", "é")), (200, "é".to_owned()));
}

#[test]
fn body_above_the_limit_is_answered_with_413() {
    let limit = 1024 * 1024;
    for (lines, body) in [
        (format!("Content-Length: {}\r\n", limit + 1), String::new()),
        ("Content-Length: 18446744073709551615\r\n".to_owned(), String::new()),
        ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{:x}\r\n", limit + 1)),
        ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{limit:x}\r\n{}\r\n1\r\n", "x".repeat(limit))),
    ] {
        let mut socket = TestSocket::request(serving(echo()), post("/echo", &lines, &body));
        let text = received(&mut socket);
        assert!(text.starts_with("HTTP/1.1 413 ") && text.contains("Connection: close\r\n"), "{lines}: {text}");
        assert!(socket.is_ended());
    }
    let whole = post("/echo", &format!("Content-Length: {limit}\r\n"), &"x".repeat(limit));
    assert_eq!(answer(echo(), &whole).0, 200);
}

#[test]
fn client_is_asked_for_its_body_only_if_the_body_is_wanted() {
    let expecting = |path: &str, length: u64| {
        let lines = format!("Expect: 100-continue\r\nContent-Length: {length}\r\n");
        TestSocket::request(serving(echo()), post(path, &lines, ""))
    };
    let mut socket = expecting("/echo", 5);
    assert_eq!(received(&mut socket), "HTTP/1.1 100 Continue\r\n\r\n");
    socket.send_bytes(b"hello");
    assert!(received(&mut socket).ends_with("\r\n\r\nhello"));
    for (path, length, status) in [("/echo", 2 << 20, "413"), ("/nowhere", 5, "404"), ("/text/x", 5, "404")] {
        let mut socket = expecting(path, length);
        let text = received(&mut socket);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert!(text.contains("Connection: close\r\n") && socket.is_ended(), "the body may follow or not: {text}");
    }
    let unknown = post("/echo", "Expect: magic\r\nContent-Length: 1\r\n", "x");
    assert_eq!(answer(echo(), &unknown).0, 417);
}

#[test]
fn body_that_no_one_reads_is_skipped_up_to_64_kib() {
    for (length, stays) in [(10, true), (64 * 1024, true), (64 * 1024 + 1, false)] {
        let request = post("/nowhere", &format!("Content-Length: {length}\r\n"), &"x".repeat(length));
        let mut socket = TestSocket::request(serving(echo()), request + &post("/echo", "Content-Length: 2\r\n", "hi"));
        let text = received(&mut socket);
        assert!(text.starts_with("HTTP/1.1 404 "), "{text}");
        assert_eq!((text.ends_with("\r\n\r\nhi"), socket.is_ended()), (stays, !stays), "{length}");
    }
}

#[cfg(feature = "json")]
#[test]
fn json_is_read_and_written() {
    let routes = || {
        Routes::new().post("/", |request, _| {
            let numbers: Vec<u32> = request.json()?;
            Ok::<_, Reply>(Reply::json(&numbers.iter().sum::<u32>()))
        })
    };
    let ask = |body: &str| answer(routes(), &post("/", &format!("Content-Length: {}\r\n", body.len()), body));
    assert_eq!(ask("[1, 2, 39]"), (200, "42".to_owned()));
    assert_eq!(ask("[1, \"x\"]").0, 400);
}
