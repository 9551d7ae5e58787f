//! Clients behind proxies, pages of other origins, histories and polls: cases that were wrong once.

use std::time::Duration;

use ws_reactor::{
    Bind, Callbacks, Cors, EventStream, HistoryLimits, LongPoll, Reactor, Reply, Routes, Server, Upgrade,
    http::{HeaderName, HeaderValue, StatusCode},
    net::sim::{PeerId, Sim},
};

use crate::support::played::{SERVER, reactor};

fn serving(bind: impl Into<Bind>, routes: Routes, proxies: &[&str]) -> Reactor<Sim> {
    let mut reactor = reactor();
    reactor.listen(bind, Server::routes(routes).unwrap().trusted_proxies(proxies).unwrap()).unwrap();
    reactor
}

fn connect(reactor: &mut Reactor<Sim>, from: &str) -> PeerId {
    reactor.kernel_mut().connect_from(from.parse().unwrap(), SERVER.parse().unwrap()).unwrap()
}

fn send(reactor: &mut Reactor<Sim>, peer: PeerId, bytes: impl AsRef<[u8]>) -> String {
    reactor.kernel_mut().send(peer, bytes.as_ref());
    reactor.settle().unwrap();
    String::from_utf8_lossy(&reactor.kernel_mut().received(peer)).into_owned()
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

fn whoami() -> Routes {
    Routes::new()
        .get("/who", |request, _| Reply::html(format!("{} {}", request.peer_addr(), request.is_secure())))
        .websocket("/socket", |_| Callbacks::new())
}

#[test]
fn address_of_a_refused_upgrade_is_not_that_of_later_requests() {
    let mut reactor = serving(SERVER, whoami(), &["10.0.0.0/8"]);
    let peer = connect(&mut reactor, "10.0.0.2:5");
    let first = send(&mut reactor, peer, get("/socket", "X-Forwarded-For: 192.0.2.66\r\n"));
    assert!(first.starts_with("HTTP/1.1 426"), "{first}");
    let second = send(&mut reactor, peer, get("/who", "X-Forwarded-For: 192.0.2.7\r\n"));
    assert!(second.ends_with("192.0.2.7:0 false"), "{second}");
}

#[test]
fn x_forwarded_for_goes_before_what_a_client_may_have_sent() {
    let mut reactor = serving(SERVER, whoami(), &["10.0.0.0/8"]);
    let peer = connect(&mut reactor, "10.0.0.2:5");
    let text = send(&mut reactor, peer, get("/who", "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 192.0.2.7\r\n"));
    assert!(text.ends_with("192.0.2.7:0 false"), "{text}");
}

#[test]
fn octet_that_is_not_ascii_hides_no_client() {
    let mut reactor = serving(SERVER, whoami(), &["10.0.0.0/8"]);
    let peer = connect(&mut reactor, "10.0.0.2:5");
    let request = [b"GET /who HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: \x80, 192.0.2.7\r\n\r\n".as_slice()].concat();
    let text = send(&mut reactor, peer, request);
    assert!(text.ends_with("192.0.2.7:0 false"), "{text}");
}

#[test]
fn headers_of_callbacks_are_added_to_polls_once() {
    let name = HeaderName::from_static("x-added");
    let routes = Routes::new()
        .get("/poll", |_, _| LongPoll::topic("a").timeout(Duration::ZERO))
        .on_request(move |_, _| Upgrade::new().header(name.clone(), HeaderValue::from_static("1")));
    let mut reactor = serving(SERVER, routes, &[]);
    reactor.hub().keep_history("a", HistoryLimits::new());
    let peer = connect(&mut reactor, "10.0.0.2:5");
    let text = send(&mut reactor, peer, get("/poll", "")).to_ascii_lowercase();
    assert_eq!(text.matches("x-added: 1").count(), 1, "{text}");
}

#[test]
fn cors_headers_end_with_their_response() {
    let routes = Routes::new().get("/", |_, _| "x").cors(Cors::origins(["https://a.example"]).unwrap());
    let mut reactor = serving(SERVER, routes, &[]);
    let peer = connect(&mut reactor, "10.0.0.2:5");
    send(&mut reactor, peer, get("/", "Origin: https://a.example\r\n"));
    let text = send(&mut reactor, peer, "nonsense \0\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 400") && !text.to_ascii_lowercase().contains("access-control"), "{text}");
}

#[test]
fn topic_named_twice_is_replayed_once() {
    let routes = Routes::new().event_stream("/", |_, _| EventStream::topics(["a", "a"]));
    let mut reactor = serving(SERVER, routes, &[]);
    reactor.hub().keep_history("a", HistoryLimits::new());
    let first = reactor.hub().publish("a", "0").event_id.unwrap();
    reactor.hub().publish("a", "missed");
    let peer = connect(&mut reactor, "10.0.0.2:5");
    let text = send(&mut reactor, peer, get("/", &format!("Last-Event-ID: {first}\r\n")));
    assert_eq!(text.matches("data: missed").count(), 1, "{text}");
}

#[test]
fn cut_after_a_gap_loses_no_event_of_another_topic() {
    let routes = Routes::new().event_stream("/", |_, _| EventStream::topics(["a", "b"]));
    let mut reactor = serving(SERVER, routes, &[]);
    reactor.hub().keep_history("a", HistoryLimits::new().max_events(1));
    reactor.hub().keep_history("b", HistoryLimits::new());
    let first = reactor.hub().publish("b", "0").event_id.unwrap();
    reactor.hub().publish("b", "kept");
    reactor.hub().publish("a", "gone");
    reactor.hub().publish("a", "last");
    let peer = connect(&mut reactor, "10.0.0.2:5");
    let text = send(&mut reactor, peer, get("/", &format!("Last-Event-ID: {first}\r\n")));
    let body = text.split_once("\r\n\r\n").unwrap().1;
    // The client has read the first event, `gap`, when the connection breaks.
    let gap = body.split("\n\n").next().unwrap().to_owned();
    let id = gap.lines().find_map(|line| line.strip_prefix("id: ")).unwrap_or(&first.to_string()).to_owned();
    let peer = connect(&mut reactor, "10.0.0.2:6");
    let text = send(&mut reactor, peer, get("/", &format!("Last-Event-ID: {id}\r\n")));
    assert!(text.contains("data: kept") || text.contains("event: gap"), "{body}\n=====\n{text}");
}

#[test]
fn empty_list_of_methods_allows_none() {
    let routes = Routes::new()
        .put("/", |_, _| StatusCode::NO_CONTENT)
        .cors(Cors::origins(["https://a.example"]).unwrap().methods([]).headers([]));
    let mut reactor = serving(SERVER, routes, &[]);
    let peer = connect(&mut reactor, "10.0.0.2:5");
    let text = send(
        &mut reactor,
        peer,
        "OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n\
         Access-Control-Request-Headers: x-secret\r\n\r\n",
    );
    assert!(!text.contains("PUT") && !text.contains("x-secret"), "{text}");
}

#[test]
fn websocket_of_the_own_host_is_accepted_with_cors() {
    let routes = whoami().cors(Cors::origins(["https://app.example"]).unwrap());
    let mut reactor = serving(SERVER, routes, &[]);
    let peer = connect(&mut reactor, "10.0.0.2:5");
    let request = "GET /socket HTTP/1.1\r\nHost: api.example\r\nOrigin: https://api.example\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let text = send(&mut reactor, peer, request);
    assert!(text.starts_with("HTTP/1.1 101"), "{text}");
}

#[test]
fn origin_that_is_not_ascii_is_refused() {
    let routes = whoami().cors(Cors::origins(["https://app.example"]).unwrap().refuse_others(true));
    let mut reactor = serving(SERVER, routes, &[]);
    let peer = connect(&mut reactor, "10.0.0.2:5");
    let text = send(&mut reactor, peer, b"GET /who HTTP/1.1\r\nHost: a\r\nOrigin: https://\xc3\xa9vil\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 403"), "{text}");
}

#[cfg(feature = "tls")]
#[test]
fn scheme_of_a_proxy_that_encrypts_again_is_that_of_the_client() {
    use crate::support::secure::{self, Peer};
    let server = secure::server(Server::routes(whoami()).unwrap().trusted_proxies(["0.0.0.0/0"]).unwrap());
    let mut reactor = reactor();
    reactor.listen(SERVER, server).unwrap();
    let mut peer = Peer::at(SERVER, &mut reactor, secure::trust(&secure::LOCALHOST), "localhost");
    peer.talk(&mut reactor, get("/who", "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n").as_bytes())
        .unwrap();
    let text = String::from_utf8(peer.received.clone()).unwrap();
    assert!(text.ends_with("192.0.2.7:0 false"), "{text}");
}

#[cfg(feature = "proxy-protocol")]
#[test]
fn connections_without_a_proxy_header_count() {
    let bind = Bind::to(SERVER).proxy_protocol(ws_reactor::ProxyProtocol::Optional).connections_per_address(2);
    let mut reactor = serving(bind, whoami(), &[]);
    let peers: Vec<PeerId> =
        (0..3000).map(|port| connect(&mut reactor, &format!("192.0.2.1:{}", 1000 + port))).collect();
    reactor.settle().unwrap();
    let open = peers.iter().filter(|peer| !reactor.kernel_mut().is_closed(**peer)).count();
    assert!(open < 3000, "{open} {:?}", reactor.hub().stats());
}

#[test]
fn poll_whose_client_has_ended_its_side_gets_the_reply() {
    let routes = Routes::new().get("/poll", |_, _| LongPoll::topic("a"));
    let mut reactor = serving(SERVER, routes, &[]);
    reactor.hub().keep_history("a", HistoryLimits::new());
    let peer = connect(&mut reactor, "10.0.0.2:5");
    send(&mut reactor, peer, get("/poll", ""));
    reactor.kernel_mut().finish(peer);
    reactor.settle().unwrap();
    reactor.hub().publish("a", "x");
    reactor.settle().unwrap();
    let text = String::from_utf8_lossy(&reactor.kernel_mut().received(peer)).into_owned();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[test]
fn messages_out_counts_what_polls_get() {
    let routes = Routes::new().get("/poll", |_, _| LongPoll::topic("a"));
    let mut reactor = serving(SERVER, routes, &[]);
    reactor.hub().keep_history("a", HistoryLimits::new());
    let peer = connect(&mut reactor, "10.0.0.2:5");
    send(&mut reactor, peer, get("/poll", ""));
    let queued: usize = (0..100).map(|_| reactor.hub().publish("a", "x").queued).sum();
    reactor.settle().unwrap();
    assert_eq!((queued, reactor.hub().stats().messages_out), (1, 1));
}

#[test]
fn request_that_looks_like_a_websocket_is_refused_too() {
    use std::{cell::Cell, rc::Rc};
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    let routes = Routes::new().get("/act", move |_, _| {
        count.set(count.get() + 1);
        "done"
    });
    let cors = Cors::origins(["https://app.example"]).unwrap().refuse_others(true);
    // The origins of the scope are those of its WebSockets.
    let routes = Routes::new().scope("/in", routes.origins(["*"]).unwrap()).cors(cors);
    let mut reactor = serving(SERVER, routes, &[]);
    let peer = connect(&mut reactor, "10.0.0.2:5");
    let request = "GET /in/act HTTP/1.1\r\nHost: api.example\r\nOrigin: https://evil.example\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let text = send(&mut reactor, peer, request);
    assert_eq!(calls.get(), 0, "{text}");
}
