//! Pages of other origins: CORS and the origins of WebSockets.

use ws_reactor::{
    Callbacks, Cors, EventStream, HistoryLimits, LongPoll, Reply, Routes, Version,
    http::{HeaderValue, Method, StatusCode, header},
};

use super::{events::Played, response, serving};
use crate::support::wire;

const PAGE: &str = "https://a.example";

/// A request of a page.
fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: api.example\r\nOrigin: {PAGE}\r\nContent-Length: 0\r\n{headers}\r\n")
}

fn preflight(path: &str, method: &str) -> String {
    request("OPTIONS", path, &format!("Access-Control-Request-Method: {method}\r\n"))
}

fn routes(cors: Cors) -> Routes {
    Routes::new()
        .get("/", |_, _| Reply::html("page"))
        .put("/", |_, _| StatusCode::NO_CONTENT)
        .get("/panic", |_, _| -> Reply { panic!("deliberate") })
        .event_stream("/events", |_, _| EventStream::topic("a"))
        .get("/poll", |_, _| LongPoll::topic("a"))
        .websocket("/socket", |_| Callbacks::new())
        .get("/own", |_, _| {
            Reply::html("own").header(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("null"))
        })
        .cors(cors)
}

fn allowed() -> Routes {
    routes(Cors::origins([PAGE]).unwrap())
}

const ALLOWED: &str = "\r\naccess-control-allow-origin: https://a.example\r\n";

#[test]
fn every_response_to_an_allowed_page_says_so() {
    for (method, path, status) in [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("PUT", "/", 204),
        ("GET", "/nothing", 404),
        ("DELETE", "/", 405),
        ("GET", "/panic", 500),
        ("GET", "/poll", 500),
        ("GET", "/socket", 426),
        ("OPTIONS", "/", 204),
    ] {
        let response = response(allowed(), &request(method, path, "")).to_ascii_lowercase();
        assert!(response.starts_with(&format!("http/1.1 {status} ")), "{method} {path}: {response}");
        assert_eq!(response.matches(ALLOWED).count(), 1, "{method} {path}: {response}");
        assert_eq!(response.matches("\r\nvary: origin\r\n").count(), 1, "{method} {path}: {response}");
    }
    let too_large = response(allowed(), &request("PUT", "/", "").replace("Length: 0", "Length: 9999999"));
    assert!(too_large.starts_with("HTTP/1.1 413 ") && too_large.to_ascii_lowercase().contains(ALLOWED), "{too_large}");
    let own = response(allowed(), &request("GET", "/own", "")).to_ascii_lowercase();
    assert!(own.contains("\r\naccess-control-allow-origin: null\r\n") && !own.contains("a.example"), "{own}");
}

#[test]
fn event_streams_and_polls_may_be_read_by_allowed_pages() {
    let mut server = Played::new(allowed());
    server.0.hub().keep_history("a", HistoryLimits::new());
    let stream = server.connect(request("GET", "/events", ""));
    let poll = server.connect(request("GET", "/poll", ""));
    server.publish("a", "news");
    for peer in [stream, poll] {
        let received = server.received(peer).to_ascii_lowercase();
        assert!(received.contains(ALLOWED) && received.contains("news"), "{received}");
    }
}

#[test]
fn preflight_request_is_answered_for_the_route_of_its_method() {
    for (path, method) in [("/", "PUT"), ("/", "GET"), ("/events", "GET"), ("/nothing", "GET")] {
        let response = response(allowed(), &preflight(path, method)).to_ascii_lowercase();
        assert!(response.starts_with("http/1.1 204 ") && response.contains(ALLOWED), "{path} {method}: {response}");
        let methods = format!("\r\naccess-control-allow-methods: {}\r\n", method.to_ascii_lowercase());
        assert!(response.contains(&methods), "{response}");
    }
    let other = preflight("/", "PUT").replace(PAGE, "https://evil.example");
    assert!(response(allowed(), &other).starts_with("HTTP/1.1 403 "));
    // Without a policy, an `OPTIONS` like any other.
    let plain = response(Routes::new().get("/", |_, _| "page"), &preflight("/", "GET"));
    assert!(plain.starts_with("HTTP/1.1 204 ") && plain.contains("Allow: GET, HEAD, OPTIONS"), "{plain}");
    let without_host = preflight("/", "PUT").replace("Host: api.example\r\n", "");
    assert!(response(allowed(), &without_host).starts_with("HTTP/1.1 400 "));
}

#[test]
fn other_pages_cannot_read_responses_or_are_refused() {
    let of = |origin: &str| request("GET", "/", "").replace(PAGE, origin);
    let read = response(allowed(), &of("https://evil.example")).to_ascii_lowercase();
    assert!(read.starts_with("http/1.1 200 ") && !read.contains("access-control"), "{read}");
    let strict = || routes(Cors::origins([PAGE]).unwrap().refuse_others(true));
    for (origin, status) in [("https://evil.example", 403), ("null", 403), (PAGE, 200), ("http://api.example", 200)] {
        assert!(response(strict(), &of(origin)).starts_with(&format!("HTTP/1.1 {status} ")), "{origin}");
    }
}

#[test]
fn policy_holds_for_websockets_too() {
    let open = |origin: &str| wire::request(Version::Rfc6455, "/socket", &format!("Origin: {origin}\r\n"));
    for (origin, status) in [("https://evil.example", 403), (PAGE, 101)] {
        let mut server = Played::new(allowed());
        let peer = server.connect(open(origin));
        let answer = server.0.kernel_mut().received(peer);
        assert!(answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{origin}");
    }
}

#[test]
fn policy_of_a_scope_goes_before_that_around_it() {
    let scope = Routes::new().get("/", |_, _| "scope").cors(Cors::origins(["https://b.example"]).unwrap());
    let all = || allowed().scope("/scope", Routes::new().get("/plain", |_, _| "plain"));
    let with_scope = response(all().scope("/other", scope), &request("GET", "/other", ""));
    assert!(!with_scope.to_ascii_lowercase().contains("access-control"), "{with_scope}");
    let inherited = response(all(), &request("GET", "/scope/plain", ""));
    assert!(inherited.to_ascii_lowercase().contains(ALLOWED), "{inherited}");
}

#[test]
fn any_page_may_use_a_public_route() {
    let cors = Cors::origins(["*"]).unwrap().methods([Method::GET]);
    let server = serving(routes(cors));
    let response = super::received(&mut ws_reactor::TestSocket::request(server, request("GET", "/", "")));
    assert!(response.to_ascii_lowercase().contains("\r\naccess-control-allow-origin: *\r\n"), "{response}");
}
