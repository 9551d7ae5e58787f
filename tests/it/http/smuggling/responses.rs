//! Response splitting: values of the application that come from the request cannot add lines (RFC 9110 §5.5).

use ws_reactor::{
    Files, Reply, Routes, Server, TestSocket, Upgrade,
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
};

use super::{Part, refused};
use crate::support::REQUEST;

/// Values that end a header line, or that older peers take for the end of one. Node CVE-2016-2216 and CVE-2018-12116:
/// characters whose low octets are CR and LF.
const SPLITTING: [&str; 12] = [
    "/\r\nX-Injected: 1",
    "/\nX-Injected: 1",
    "/\rX-Injected: 1",
    "/\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "\r\n",
    "/\0",
    "/\u{560d}\u{560a}X-Injected:1",
    "/\u{10d}\u{10a}X-Injected:1",
    "/\u{85}X-Injected: 1",
    "/\u{2028}X-Injected:1",
    "/\u{b}\u{c}\u{7f}\u{1b}[m",
    "/a\r\n X-Folded: 1",
];

fn respond(routes: Routes, request: &str) -> Vec<u8> {
    TestSocket::request(Server::routes(routes).unwrap(), request).received_bytes()
}

/// The header lines of the only response. Every line end is CRLF, and no octet is a control character.
#[track_caller]
fn lines(output: &[u8]) -> Vec<String> {
    let end = output.windows(4).position(|octets| octets == b"\r\n\r\n").unwrap();
    let head = str::from_utf8(&output[..end]).expect("the head is ASCII").to_owned();
    let lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
    assert!(lines.iter().all(|line| line.bytes().all(|octet| matches!(octet, b' '..=b'~'))), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("X-") || line.starts_with(' ')), "{lines:?}");
    let later = output[end + 4..].windows(9).any(|octets| octets == b"HTTP/1.1 ");
    assert!(!later, "a second response: {}", output.escape_ascii());
    lines
}

const GET: &str = "GET /carrier HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn location_of_a_redirect_cannot_add_lines() {
    for location in SPLITTING {
        let output = respond(Routes::new().get("/carrier", move |_, _| Reply::redirect(location)), GET);
        let lines = lines(&output);
        let locations = lines.iter().filter(|line| line.starts_with("Location: ")).count();
        assert_eq!((lines[0].as_str(), locations), ("HTTP/1.1 303 See Other", 1), "{location:?}");
    }
}

#[test]
fn decoded_part_of_a_request_cannot_add_lines_to_a_redirect() {
    // A location made of a decoded path or query, as by `$uri` of nginx.
    for target in ["/go/%0d%0aX-Injected:%201", "/go/x?to=/%0d%0aX-Injected:%201", "/go/%0d%0a%0d%0aHTTP/1.1%20200"] {
        let routes = Routes::new().get("/go/{*path}", |request, _| {
            Reply::redirect(&request.query_value("to").map_or_else(|| request.param("path").to_owned(), Into::into))
        });
        let lines = lines(&respond(routes, &format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")));
        let location = lines.iter().find(|line| line.starts_with("Location: ")).unwrap();
        assert!(location.contains("%0D%0A"), "{location}");
    }
}

#[test]
fn value_with_a_line_end_or_a_control_character_is_no_header_value() {
    for value in SPLITTING.iter().filter(|value| value.bytes().any(|octet| octet < b' ' || octet == 127)) {
        assert!(HeaderValue::from_bytes(value.as_bytes()).is_err(), "{value:?}");
        assert!(HeaderName::from_bytes(value.as_bytes()).is_err(), "{value:?}");
    }
}

#[test]
fn header_of_a_request_that_is_echoed_has_one_line() {
    let echo = || {
        Routes::new().any("/carrier", |request, _| {
            let content_type = request.headers().get(header::CONTENT_TYPE).unwrap().clone();
            Reply::bytes("x").header(header::CONTENT_TYPE, content_type)
        })
    };
    let output = respond(echo(), "POST /carrier HTTP/1.1\r\nHost: a\r\nContent-Type: text/x;\ty=z\r\n\r\n");
    let head = String::from_utf8(output).unwrap();
    assert!(head.contains("\r\nContent-Type: text/x;\ty=z\r\n"), "{head}");
    // A value with more lines does not reach the application.
    for value in ["text/x\r\n X-Injected: 1", "text/x\nX-Injected: 1", "text/x\rX-Injected: 1", "text/x\0"] {
        refused(Part::Head, [super::post(&format!("Content-Type: {value}\r\n"))]);
    }
}

#[test]
fn framing_headers_of_a_reply_are_left_out() {
    let routes = Routes::new().get("/carrier", |_, _| {
        Response::builder()
            .status(200)
            .header(header::CONTENT_LENGTH, "0")
            .header(header::TRANSFER_ENCODING, "chunked")
            .header(header::CONNECTION, "keep-alive, x")
            .body("hello")
            .unwrap()
    });
    let output = respond(routes, GET);
    let lines = lines(&output);
    assert!(lines.contains(&"Content-Length: 5".to_owned()), "{lines:?}");
    let framing = ["Transfer-Encoding", "Connection", "Content-Length: 0"];
    assert!(!lines.iter().any(|line| framing.iter().any(|name| line.starts_with(name))), "{lines:?}");
    assert!(output.ends_with(b"\r\n\r\nhello"));
}

#[test]
fn reply_without_content_has_no_octets_behind_its_head() {
    for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200), ("HEAD", 404), ("HEAD", 204)] {
        let routes = Routes::new()
            .any("/carrier", move |_, _| Response::builder().status(status).body("HTTP/1.1 200 OK\r\n\r\n").unwrap());
        let output = respond(routes, &GET.replace("GET", method));
        lines(&output);
        assert!(output.ends_with(b"\r\n\r\n"), "{method} {status}: {}", output.escape_ascii());
    }
}

#[test]
fn status_without_a_registered_reason_has_an_empty_reason() {
    for status in [299, 599, 999] {
        let routes = Routes::new().get("/carrier", move |_, _| StatusCode::from_u16(status).unwrap());
        assert_eq!(lines(&respond(routes, GET))[0], format!("HTTP/1.1 {status} "));
    }
}

#[test]
fn interim_status_of_the_application_does_not_end_a_response() {
    // A client takes what follows a 1xx for the response to the same request.
    for status in [100, 101, 102, 103, 199] {
        let routes = Routes::new().get("/carrier", move |_, _| StatusCode::from_u16(status).unwrap());
        assert!(lines(&respond(routes, GET))[0].starts_with("HTTP/1.1 500 "), "{status}");
    }
}

#[test]
fn chunk_of_a_streamed_body_cannot_end_the_body() {
    let parts = ["", "0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "", "\r\n", "5\r\n"];
    let routes = || Routes::new().get("/carrier", move |_, _| Reply::chunks(parts));
    let output = String::from_utf8(respond(routes(), GET)).unwrap();
    let (_, body) = output.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "18\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\r\n2\r\n\r\n\r\n3\r\n5\r\n\r\n0\r\n\r\n");
    let old = GET.replace("1.1", "1.0").replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n");
    let mut socket = TestSocket::request(Server::routes(routes()).unwrap(), old);
    let output = String::from_utf8(socket.received_bytes()).unwrap();
    assert!(output.ends_with(&format!("\r\n\r\n{}", parts.concat())) && socket.is_ended(), "{output}");
    assert!(!output.contains("Transfer-Encoding") && output.contains("\r\nConnection: close\r\n"), "{output}");
}

#[test]
fn redirect_to_a_folder_leads_to_no_other_host_and_adds_no_lines() {
    // aiohttp CVE-2021-21330, CPython CVE-2021-28861: `//host` in a location is another host.
    let routes = || {
        Routes::new().files("/", Files::embedded().asset("b.example/index.html", b"").asset("x\r\ny/index.html", b""))
    };
    for target in
        ["/b.example", "//b.example", "///b.example", "/%2Fb.example", "/x%0d%0ay", "/.//b.example", "/\\b.example"]
    {
        let lines = lines(&respond(routes(), &format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")));
        for location in lines.iter().filter_map(|line| line.strip_prefix("Location: ")) {
            assert!(
                location.starts_with("./") || location.starts_with("/") && !location.starts_with("//"),
                "{location}"
            );
            assert!(!location.contains('\\'), "{location}");
        }
    }
}

#[test]
fn error_response_contains_nothing_of_the_request() {
    for request in [
        "GET /echoed<script> HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /echoed HTTP/1.1\r\nHost: a@echoed\r\n\r\n",
        "GET /echoed HTTP/1.1\r\nHost: a\r\nExpect: echoed\r\n\r\n",
        "echoed /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /echoed HTTP/1.1\r\nHost: a\r\nechoed\r\n\r\n",
        "GET /echoed HTTP/echoed\r\nHost: a\r\n\r\n",
        "POST /echoed HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: echoed\r\n\r\n",
        "POST /known HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nechoed\r\n",
    ] {
        let output = respond(Routes::new().post("/known", |_, _| StatusCode::OK), request);
        lines(&output);
        assert!(!String::from_utf8(output).unwrap().contains("echoed"), "{request:?}");
    }
}

#[test]
fn values_of_a_websocket_handshake_that_are_echoed_have_one_line() {
    let request = String::from_utf8_lossy(REQUEST).replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n");
    let routes = Routes::new().websocket("/", |_| ws_reactor::on_message(|_, _| {}));
    let server = Server::routes(routes).unwrap().on_request(|_, _| Upgrade::new().subprotocol("chat\r\nX-Injected: 1"));
    lines(&TestSocket::request(server, &request).received_bytes());
    for offer in ["chat\r\n X-Injected: 1", "chat\nX-Injected: 1", "chat\rX-Injected: 1", "chat\0"] {
        let routes = Routes::new().websocket("/", |_| ws_reactor::on_message(|_, _| {}));
        let server = Server::routes(routes).unwrap().echo_subprotocols();
        let output = TestSocket::request(server, request.replace("chat", offer)).received_bytes();
        assert!(lines(&output)[0].starts_with("HTTP/1.1 400 "), "{offer:?}");
    }
}
