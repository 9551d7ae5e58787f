//! Event streams: responses that go on with what is published.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Callbacks, EventStream, Published, Reactor, Reply, Responder, Routes, Server, Version,
    http::{HeaderValue, StatusCode, header},
    net::sim::{Buffers, PeerId, Sim},
};

use super::{answer, get, without_dates};
use crate::support::{
    played::{SERVER, reactor},
    wire,
};

const SECOND: Duration = Duration::from_secs(1);

/// The head of an event stream's response, without its date.
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                    X-Accel-Buffering: no\r\nConnection: close\r\n\r\n";

/// A server with connections that the test plays.
struct Played(Reactor<Sim>);

impl Played {
    fn new(routes: Routes) -> Self {
        Played::serving(Server::routes(routes).unwrap())
    }

    fn serving(server: Server) -> Self {
        let mut reactor = reactor();
        reactor.listen(SERVER, server).unwrap();
        Played(reactor)
    }

    fn connect(&mut self, request: impl AsRef<[u8]>) -> PeerId {
        let peer = self.0.kernel_mut().connect(SERVER.parse().unwrap()).unwrap();
        self.send(peer, request);
        peer
    }

    fn send(&mut self, peer: PeerId, bytes: impl AsRef<[u8]>) {
        self.0.kernel_mut().send(peer, bytes.as_ref());
        self.0.settle().unwrap();
    }

    /// A client of an event stream that has read the head of its response.
    fn listener(&mut self, path: &str) -> PeerId {
        let peer = self.connect(get(path));
        assert_eq!(self.received(peer), HEAD);
        peer
    }

    fn received(&mut self, peer: PeerId) -> String {
        without_dates(&String::from_utf8(self.0.kernel_mut().received(peer)).unwrap())
    }

    fn publish(&mut self, topic: &str, text: &str) -> Published {
        let published = self.0.hub().publish(topic, text);
        self.0.settle().unwrap();
        published
    }

    fn is_ended(&mut self, peer: PeerId) -> bool {
        self.0.settle().unwrap();
        self.0.kernel_mut().is_ended(peer)
    }
}

/// Rooms with an event stream, a WebSocket and a `POST` each.
fn rooms() -> Routes {
    Routes::new()
        .event_stream("/{room}", |request, _| EventStream::topic(request.param("room")))
        .websocket("/{room}", |handshake| {
            let room = handshake.request().param("room").to_owned();
            Callbacks::new().on_open(move |ws, _| _ = ws.subscribe(&room))
        })
        .post("/{room}", |request, hub| {
            hub.publish(request.param("room"), request.text()?);
            Ok::<_, Reply>(StatusCode::ACCEPTED)
        })
}

#[test]
fn streams_and_websockets_of_a_topic_get_each_message_once() {
    let mut server = Played::new(rooms());
    let streams: Vec<PeerId> = (0..200).map(|_| server.listener("/a")).collect();
    let other = server.listener("/b");
    let sockets: Vec<PeerId> = (0..200)
        .map(|_| {
            let peer = server.connect(wire::request(Version::Rfc6455, "/a", ""));
            assert!(server.received(peer).starts_with("HTTP/1.1 101 "));
            peer
        })
        .collect();
    assert_eq!(server.publish("a", "hello").queued, 400);
    let poster = server.connect("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\none\ntwo");
    assert!(server.received(poster).starts_with("HTTP/1.1 202 "));
    for peer in streams {
        assert_eq!(server.received(peer), "data: hello\n\ndata: one\ndata: two\n\n");
    }
    for peer in sockets {
        assert_eq!(server.0.kernel_mut().received(peer), b"\x81\x05hello\x81\x07one\ntwo");
    }
    assert_eq!(server.received(other), "");
}

#[test]
fn large_messages_are_shared_by_the_streams() {
    let mut server = Played::new(rooms());
    let streams: Vec<PeerId> = (0..20).map(|_| server.listener("/a")).collect();
    let text = "x".repeat(100_000);
    for peer in &streams {
        server.0.kernel_mut().hold(*peer, 1000);
    }
    for _ in 0..30 {
        assert_eq!(server.publish("a", &text).queued, 20);
    }
    for peer in streams {
        server.0.kernel_mut().release(peer);
        server.0.settle().unwrap();
        assert_eq!(server.received(peer), format!("data: {text}\n\n").repeat(30));
    }
}

#[test]
fn response_is_framed_by_the_end_of_the_connection() {
    let mut server = Played::new(rooms());
    // HEAD and a later request use the connection again; the stream does not.
    let peer = server.connect("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(server.received(peer), HEAD.replace("Connection: close\r\n", ""));
    server.send(peer, get("/a"));
    assert_eq!(server.received(peer), HEAD);
    server.send(peer, get("/b"));
    server.publish("a", "x");
    server.publish("b", "y");
    assert_eq!(server.received(peer), "data: x\n\n", "later requests are ignored");
    let old = server.connect("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(server.received(old), HEAD);
}

#[test]
fn stream_has_topics_headers_and_a_retry() {
    let routes = Routes::new().event_stream("/", |_, _| {
        let events = EventStream::topics(["a", "b"]).retry(Duration::from_millis(2500));
        Reply::from(events)
            .header(header::CACHE_CONTROL, HeaderValue::from_static("private"))
            .header(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))
            .header(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"))
    });
    let mut server = Played::new(routes);
    let peer = server.connect(get("/"));
    let received = server.received(peer);
    assert!(received.ends_with("Connection: close\r\n\r\nretry: 2500\n\n"), "{received}");
    for line in [
        "Cache-Control: private",
        "Access-Control-Allow-Origin: *",
        "Content-Type: text/event-stream; charset=utf-8",
        "X-Accel-Buffering: no",
    ] {
        assert!(received.contains(&format!("\r\n{line}\r\n")), "{line}: {received}");
    }
    assert_eq!(received.matches("Content-Type").count() + received.matches("Cache-Control").count(), 2);
    assert_eq!(server.publish("a", "1").queued + server.publish("b", "2").queued, 2);
    assert_eq!(server.received(peer), "data: 1\n\ndata: 2\n\n");
}

#[test]
fn route_may_refuse_a_stream_or_defer_it() {
    let responders = Rc::new(RefCell::new(Vec::<Responder>::new()));
    let deferred = Rc::clone(&responders);
    let routes = Routes::new()
        .event_stream("/later", move |_, _| {
            let (reply, responder) = Reply::later();
            deferred.borrow_mut().push(responder);
            reply
        })
        .event_stream("/{room}", |request, _| match request.param("room") {
            "secret" => Err(StatusCode::FORBIDDEN),
            room => Ok(EventStream::topic(room)),
        });
    let mut server = Played::new(routes);
    let refused = server.connect(get("/secret"));
    assert!(server.received(refused).starts_with("HTTP/1.1 403 "));
    let peer = server.connect([get("/later"), get("/later")].concat());
    assert_eq!(server.received(peer), "");
    let responder = responders.borrow_mut().pop().unwrap();
    responder.respond(EventStream::topic("a")).unwrap();
    server.0.settle().unwrap();
    assert_eq!(server.received(peer), HEAD);
    server.publish("a", "x");
    assert_eq!(server.received(peer), "data: x\n\n");
    // The client was not read while it waited, and is read again.
    server.0.kernel_mut().finish(peer);
    assert!(server.is_ended(peer));
}

#[test]
fn other_methods_are_refused_and_options_answered() {
    let routes = || Routes::new().event_stream("/", |_, _| EventStream::topic("a"));
    for (request, status) in [("POST", 405), ("OPTIONS", 204)] {
        let request = format!("{request} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(answer(routes(), &request).0, status);
    }
}

#[test]
fn idle_stream_gets_a_comment_every_15_seconds() {
    let mut server = Played::new(rooms());
    let peer = server.listener("/a");
    for _ in 0..3 {
        server.0.advance(15 * SECOND - Duration::from_millis(1)).unwrap();
        assert_eq!(server.received(peer), "");
        server.0.advance(Duration::from_millis(1)).unwrap();
        assert_eq!(server.received(peer), ":\n\n");
    }
    server.0.advance(3600 * SECOND).unwrap();
    assert_eq!(server.received(peer), ":\n\n".repeat(240));
}

#[test]
fn topic_forgets_a_client_that_has_gone() {
    let mut server = Played::new(rooms());
    for leave in [Sim::finish as fn(&mut Sim, PeerId), Sim::reset] {
        let peer = server.listener("/a");
        assert_eq!(server.0.hub().subscribers("a"), 1);
        leave(server.0.kernel_mut(), peer);
        server.0.settle().unwrap();
        assert_eq!(server.0.hub().subscribers("a"), 0);
        assert_eq!(server.0.hub().stats().connections, 0);
    }
}

#[test]
fn slow_reader_is_disconnected_and_reported() {
    let errors = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&errors);
    let server = Server::routes(rooms()).unwrap();
    let mut server = Played::serving(server.on_error(move |_, error| log.borrow_mut().push(error.to_string())));
    let (slow, other) = (server.listener("/a"), server.listener("/a"));
    server.0.kernel_mut().hold(slow, 10);
    server.publish("a", &"x".repeat(1_000_000));
    server.0.advance(31 * SECOND).unwrap();
    assert!(server.0.kernel_mut().is_closed(slow));
    assert_eq!(errors.borrow().len(), 1, "{errors:?}");
    // A client that takes nothing, while more is published than it may keep waiting.
    let stuck = server.listener("/a");
    server.0.kernel_mut().hold(stuck, 0);
    let (mut published, mut closed) = (0, 0);
    while closed == 0 {
        closed = server.publish("a", &"y".repeat(1_000_000)).closed;
        published += 1;
    }
    assert!((16..20).contains(&published) && server.0.kernel_mut().is_closed(stuck), "{published}");
    assert!(server.received(other).ends_with(&format!("data: {}\n\n", "y".repeat(1_000_000))));
    assert_eq!(errors.borrow().len(), 2, "{errors:?}");
}

#[test]
fn binary_message_is_unsupported() {
    let mut server = Played::new(rooms());
    let peer = server.listener("/a");
    let published = server.0.hub().publish("a", &[1, 2, 3][..]);
    assert_eq!((published.queued, published.unsupported), (0, 1));
    server.0.settle().unwrap();
    assert_eq!(server.received(peer), "");
}

#[test]
fn latest_message_replaces_the_one_that_waits() {
    let mut server = Played::new(rooms());
    let peer = server.listener("/a");
    server.0.kernel_mut().set_buffers(peer, Buffers { send_bytes: 4, ..Buffers::default() });
    server.0.kernel_mut().stop_reading(peer);
    server.publish("a", "first");
    for price in 1..=100 {
        assert_eq!(server.0.hub().publish_latest("a", "EUR", &*format!("price {price}")).queued, 1);
        server.0.settle().unwrap();
    }
    server.publish("a", "last");
    server.0.kernel_mut().release(peer);
    server.0.settle().unwrap();
    assert_eq!(server.received(peer), "data: first\n\ndata: price 100\n\ndata: last\n\n");
}

#[test]
fn shutdown_ends_streams_behind_their_output() {
    let mut server = Played::new(rooms());
    let peer = server.listener("/a");
    server.0.hub().publish("a", "last");
    server.0.hub().shutdown(SECOND);
    server.0.settle().unwrap();
    assert_eq!(server.received(peer), "data: last\n\n");
    assert!(server.is_ended(peer));
}
