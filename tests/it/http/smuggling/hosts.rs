//! `Host`: two hosts, none, or one that is not a host (RFC 9112 §3.2, RFC 9110 §7.2).

use std::{cell::RefCell, rc::Rc};

use ws_reactor::{Reply, Routes, Server, TestSocket, http::StatusCode};

use super::{Part, accepted, answers, refused};

fn with_host(host: impl AsRef<[u8]>) -> Vec<u8> {
    [b"POST /carrier HTTP/1.1\r\nHost: ", host.as_ref(), b"\r\n\r\n"].concat()
}

#[test]
fn second_host_is_refused_even_if_it_is_equal() {
    // aiohttp CVE-2026-34525.
    for (first, second) in [("a", "a"), ("a", "b"), ("a", ""), ("", "a"), ("", "")] {
        for between in ["", "X: y\r\n"] {
            let lines = format!("Host: {first}\r\n{between}hOST: {second}\r\n");
            refused(Part::Head, [format!("POST /carrier HTTP/1.1\r\n{lines}\r\n")]);
            refused(Part::Head, [format!("POST /carrier HTTP/1.0\r\n{lines}\r\n")]);
            refused(Part::Head, [format!("POST http://a/carrier HTTP/1.1\r\n{lines}\r\n")]);
        }
    }
}

#[test]
fn missing_host_is_refused_in_http_1_1_only() {
    refused(Part::Head, ["POST /carrier HTTP/1.1\r\n\r\n", "POST http://a/carrier HTTP/1.1\r\nX-Host: a\r\n\r\n"]);
    accepted("POST /carrier HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "POST /carrier");
}

#[test]
fn host_that_is_not_a_host_with_an_optional_port_is_refused() {
    for host in [
        // User names, lists, white space.
        "user@a",
        "user:word@a",
        "@a",
        "a@",
        "a@b@c",
        "a, b",
        "a,b",
        "a,",
        ",a",
        "a b",
        "a\tb",
        "a;b@c",
        // Parts of other URLs.
        "a/",
        "a/path",
        "/",
        "/a",
        "a?",
        "a?query",
        "a#",
        "a#fragment",
        "http://a",
        "http:a",
        "//a",
        "a\\b",
        "\\",
        // Ports.
        "a:80:80",
        "a:port",
        "a:-1",
        "a:+80",
        "a:80x",
        "a:8 0",
        "a:80,81",
        ":80",
        ":",
        "::1",
        "a:0x50",
        "a:\u{665}",
        // Addresses.
        "[::1",
        "::1]",
        "[::1]x",
        "[::1]:x",
        "[::1]80",
        "x[::1]",
        "[",
        "]",
        "[]",
        "[a b]",
        "[::1]]",
        "[[::1]",
        "[x/y]",
        // Octets outside the grammar.
        "a\"b",
        "<a>",
        "a^b",
        "a`b",
        "a|b",
        "{a}",
        "a%",
        "a%2",
        "a%zz",
        "\u{e9}",
        "a\u{e9}",
        "\u{3002}",
        "a\u{2024}b",
        "a\0",
        "a\u{1}",
        "a\u{7f}",
        "a\u{b}b",
        "a\r\n b",
        "a\nb",
    ] {
        refused(Part::Head, [with_host(host)]);
    }
    refused(Part::Head, [with_host(b"\xff"), with_host(b"a\x80")]);
}

#[test]
fn host_with_an_optional_port_is_accepted() {
    for host in [
        "a",
        "A.example",
        "a:80",
        "a:",
        "a.b.c:65535",
        "192.0.2.1",
        "192.0.2.1:80",
        "[::1]",
        "[::1]:80",
        "[2001:db8::A]",
        "xn--bcher-kva.example",
        "a_b.example",
        "a-b",
        "a.",
        "",
        " a ",
        "\ta",
    ] {
        accepted(with_host(host), "POST /carrier");
    }
}

/// The host whose routes answer a request.
fn routed_to(request: &str) -> (u16, String) {
    let of = |name: &'static str| Routes::new().fallback(move |_, _| Reply::text(StatusCode::OK, name));
    let server = Server::routes(of("other").host("inner.example", of("inner"))).unwrap();
    let answer = answers(&TestSocket::request(server, request).received_bytes()).remove(0);
    (answer.status, answer.body.trim_end().to_owned())
}

#[test]
fn host_of_an_absolute_target_goes_before_the_header() {
    // RFC 9112 §3.2.2.
    for (target, host, answered) in [
        ("/", "inner.example", "inner"),
        ("/", "outer.example", "other"),
        ("http://inner.example/", "outer.example", "inner"),
        ("http://outer.example/", "inner.example", "other"),
        ("http://INNER.example:8080/", "outer.example:80", "inner"),
        ("http://outer.example", "inner.example", "other"),
        ("http://inner.example?query", "outer.example", "inner"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(routed_to(&request), (200, answered.to_owned()), "{target} {host}");
    }
}

#[test]
fn absolute_target_whose_authority_is_not_a_host_is_refused() {
    // RFC 9110 §4.2.4: a user name in a URL from an untrusted source is to be treated as an error.
    for target in [
        "http://user@a/carrier",
        "http://user:word@a/carrier",
        "http://a@b@c/carrier",
        "http://a,b/carrier",
        "http://a:port/carrier",
        "http://a:80:80/carrier",
        "http:///carrier",
        "http://:80/carrier",
        "http://[::1/carrier",
        "http://a%zz/carrier",
        "http://a\\b/carrier",
        "http:/carrier",
        "http:carrier",
        "//a b/carrier",
        "http://",
        "http://\u{e9}/carrier",
    ] {
        refused(Part::Head, [format!("POST {target} HTTP/1.1\r\nHost: a\r\n\r\n")]);
    }
}

#[test]
fn path_that_begins_with_two_slashes_is_no_authority() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&seen);
    let routes = Routes::new().fallback(move |request, _| {
        log.borrow_mut().push((request.path().to_owned(), request.http().uri().authority().is_some()));
        StatusCode::NO_CONTENT
    });
    TestSocket::request(Server::routes(routes).unwrap(), "GET //b/path HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(*seen.borrow(), [("//b/path".to_owned(), false)]);
}

#[test]
fn missing_host_beside_an_upgrade_to_a_websocket_is_refused_on_other_routes() {
    refused(Part::Head, ["POST /carrier HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"]);
}
