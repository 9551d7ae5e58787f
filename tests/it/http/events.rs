//! Event streams: responses that go on with what is published.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use ws_reactor::{
    Callbacks, CloseCode, ConnectionId, Event, EventStream, HistoryLimits, Published, Reactor, Reply, Responder,
    Routes, SendStatus, Server, Version,
    http::{HeaderValue, StatusCode, header},
    net::sim::{Buffers, PeerId, Sim},
};

use super::{answer, chunk_contents, get, without_dates};
use crate::support::{
    played::{SERVER, reactor},
    wire,
};

const SECOND: Duration = Duration::from_secs(1);

/// The head of an event stream's response, without its date.
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                    X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";

/// A server with connections that the test plays.
pub(super) struct Played(pub(super) Reactor<Sim>);

impl Played {
    pub(super) fn new(routes: Routes) -> Self {
        Played::serving(Server::routes(routes).unwrap())
    }

    pub(super) fn serving(server: Server) -> Self {
        let mut reactor = reactor();
        reactor.listen(SERVER, server).unwrap();
        Played(reactor)
    }

    pub(super) fn connect(&mut self, request: impl AsRef<[u8]>) -> PeerId {
        let peer = self.0.kernel_mut().connect(SERVER.parse().unwrap()).unwrap();
        self.send(peer, request);
        peer
    }

    pub(super) fn send(&mut self, peer: PeerId, bytes: impl AsRef<[u8]>) {
        self.0.kernel_mut().send(peer, bytes.as_ref());
        self.0.settle().unwrap();
    }

    /// A client of an event stream that has read the head of its response.
    fn listener(&mut self, path: &str) -> PeerId {
        let peer = self.connect(get(path));
        assert_eq!(self.received(peer), HEAD);
        peer
    }

    pub(super) fn received(&mut self, peer: PeerId) -> String {
        without_dates(&String::from_utf8(self.0.kernel_mut().received(peer)).unwrap())
    }

    /// What the client of an event stream has received, as far as it is not the head without its chunks.
    fn events(&mut self, peer: PeerId) -> String {
        let received = self.received(peer);
        let (head, mut chunks) = received.split_at(received.find("\r\n\r\n").map_or(0, |end| end + 4));
        if !head.is_empty() && !head.starts_with("HTTP/") {
            return chunk_contents(&received).0;
        }
        chunks = if head.is_empty() { &received } else { chunks };
        format!("{head}{}", chunk_contents(chunks).0)
    }

    pub(super) fn publish(&mut self, topic: &str, text: &str) -> Published {
        let published = self.0.hub().publish(topic, text);
        self.0.settle().unwrap();
        published
    }

    /// The request of a client that has events up to this id.
    fn resumed(&mut self, path: &str, after: impl std::fmt::Display) -> PeerId {
        self.connect(format!("GET {path} HTTP/1.1\r\nHost: a\r\nLast-Event-ID: {after}\r\n\r\n"))
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
        assert_eq!(server.events(peer), "data: hello\n\ndata: one\ndata: two\n\n");
    }
    for peer in sockets {
        assert_eq!(server.0.kernel_mut().received(peer), b"\x81\x05hello\x81\x07one\ntwo");
    }
    assert_eq!(server.events(other), "");
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
        assert_eq!(server.events(peer), format!("data: {text}\n\n").repeat(30));
    }
}

#[test]
fn response_ends_with_its_connection() {
    let mut server = Played::new(rooms());
    // HEAD and a later request use the connection again; the stream does not.
    let peer = server.connect("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(server.received(peer), HEAD.replace("Connection: close\r\n", ""));
    server.send(peer, get("/a"));
    assert_eq!(server.events(peer), HEAD);
    server.send(peer, get("/b"));
    server.publish("a", "x");
    server.publish("b", "y");
    assert_eq!(server.events(peer), "data: x\n\n", "later requests are ignored");
    // A client of HTTP/1.0 reads to the end of the connection.
    let old = server.connect("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(server.received(old), HEAD.replace("Transfer-Encoding: chunked\r\n", ""));
    assert_eq!(server.publish("a", "x").queued, 2);
    assert_eq!((server.received(old), server.events(peer)), ("data: x\n\n".into(), "data: x\n\n".into()));
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
    let received = server.events(peer);
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
    assert_eq!(server.events(peer), "data: 1\n\ndata: 2\n\n");
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
    assert_eq!(server.events(peer), "");
    let responder = responders.borrow_mut().pop().unwrap();
    responder.respond(EventStream::topic("a")).unwrap();
    server.0.settle().unwrap();
    assert_eq!(server.events(peer), HEAD);
    server.publish("a", "x");
    assert_eq!(server.events(peer), "data: x\n\n");
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
        assert_eq!(server.events(peer), "");
        server.0.advance(Duration::from_millis(1)).unwrap();
        assert_eq!(server.events(peer), ":\n\n");
    }
    server.0.advance(3600 * SECOND).unwrap();
    assert_eq!(server.events(peer), ":\n\n".repeat(240));
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
    assert!(server.events(other).ends_with(&format!("data: {}\n\n", "y".repeat(1_000_000))));
    assert_eq!(errors.borrow().len(), 2, "{errors:?}");
}

#[test]
fn binary_message_is_unsupported() {
    let mut server = Played::new(rooms());
    let peer = server.listener("/a");
    let published = server.0.hub().publish("a", &[1, 2, 3][..]);
    assert_eq!((published.queued, published.unsupported), (0, 1));
    server.0.settle().unwrap();
    assert_eq!(server.events(peer), "");
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
    assert_eq!(server.events(peer), "data: first\n\ndata: price 100\n\ndata: last\n\n");
}

#[test]
fn shutdown_ends_streams_behind_their_output() {
    let mut server = Played::new(rooms());
    let peer = server.listener("/a");
    server.0.hub().publish("a", "last");
    server.0.hub().shutdown(SECOND);
    server.0.settle().unwrap();
    assert_eq!(server.received(peer), "c\r\ndata: last\n\n\r\n0\r\n\r\n");
    assert!(server.is_ended(peer));
}

#[test]
fn client_that_connects_again_gets_what_it_has_missed() {
    let routes = Routes::new().event_stream("/", |_, _| EventStream::topics(["a", "b", "live"]));
    let mut server = Played::new(routes);
    for topic in ["a", "b"] {
        server.0.hub().keep_history(topic, HistoryLimits::new());
    }
    let peer = server.listener("/");
    let first = server.publish("a", "1").event_id.unwrap();
    assert_eq!(server.events(peer), format!("id: {first}\ndata: 1\n\n"));
    assert_eq!(server.publish("live", "x").event_id, None);
    assert_eq!(server.events(peer), "data: x\n\n", "a topic without a history has no ids");
    server.0.kernel_mut().reset(peer);
    let second = server.publish("b", "2").event_id.unwrap();
    let third = server.0.hub().publish_event("a", Event::new("3").name("tick").unwrap()).event_id.unwrap();
    assert!(first < second && second < third);
    server.publish("live", "missed");
    let peer = server.resumed("/", first);
    let missed = format!("id: {second}\ndata: 2\n\nevent: tick\nid: {third}\ndata: 3\n\n");
    assert_eq!(server.events(peer), format!("{HEAD}{missed}"));
    let fourth = server.publish("b", "4").event_id.unwrap();
    assert_eq!(server.events(peer), format!("id: {fourth}\ndata: 4\n\n"));
    // Nothing missed, no id, and ids that are none of ours.
    for after in [fourth.to_string(), String::new(), "x".to_owned(), "-1".to_owned(), format!("{}0", u64::MAX)] {
        let peer = server.resumed("/", &after);
        assert_eq!(server.events(peer), HEAD, "{after:?}");
    }
}

#[test]
fn gap_in_the_history_is_reported_once() {
    let mut server = Played::new(rooms());
    server.0.hub().keep_history("a", HistoryLimits::new().max_events(2));
    let ids: Vec<u64> = (0..4).map(|number| server.publish("a", &number.to_string()).event_id.unwrap()).collect();
    let kept = format!("id: {}\ndata: 2\n\nid: {}\ndata: 3\n\n", ids[2], ids[3]);
    let peer = server.resumed("/a", ids[1]);
    assert_eq!(server.events(peer), format!("{HEAD}{kept}"));
    let peer = server.resumed("/a", ids[0]);
    let gap = format!("event: gap\ndata: {{\"from\":{}}}\n\n", ids[0]);
    assert_eq!(server.events(peer), format!("{HEAD}{gap}{kept}"));
    // An id of another process, whose clock was ahead.
    let peer = server.resumed("/a", u64::MAX);
    let gap = format!("event: gap\ndata: {{\"from\":{}}}\n\n", u64::MAX);
    assert_eq!(server.events(peer), format!("{HEAD}{gap}{kept}"));
    // Where no event follows, the gap itself has an id.
    server.0.hub().keep_history("a", HistoryLimits::new().max_events(0));
    let peer = server.resumed("/a", ids[0]);
    let gap = format!("event: gap\nid: {}\ndata: {{\"from\":{}}}\n\n", ids[3], ids[0]);
    assert_eq!(server.events(peer), format!("{HEAD}{gap}"));
    let peer = server.resumed("/a", ids[3]);
    assert_eq!(server.events(peer), HEAD);
}

#[test]
fn history_is_forgotten_by_age_and_where_no_one_uses_it() {
    let mut server = Played::new(rooms());
    let limits = HistoryLimits::new().max_age(100 * SECOND).forget_after(Some(200 * SECOND));
    server.0.hub().keep_history("a", limits);
    server.0.hub().keep_history("b", limits.forget_after(None));
    let first = server.publish("a", "1").event_id.unwrap();
    server.publish("a", "2");
    server.0.advance(130 * SECOND).unwrap();
    let replay = server.0.hub().events_after(["a"], first).unwrap();
    assert!(replay.events.is_empty() && replay.gap_to.is_some());
    server.0.advance(170 * SECOND).unwrap();
    assert!(server.0.hub().keeps_history("a"), "it was asked for");
    let peer = server.listener("/a");
    server.0.advance(3600 * SECOND).unwrap();
    assert_eq!(server.0.hub().histories(), 2, "it has a subscriber");
    server.0.kernel_mut().reset(peer);
    server.0.advance(60 * SECOND).unwrap();
    assert_eq!((server.0.hub().histories(), server.0.hub().keeps_history("b")), (1, true));
    assert!(server.0.hub().forget_history("b"));
    assert_eq!(server.publish("b", "x").event_id, None);
}

#[test]
fn application_sends_events_to_one_stream() {
    thread_local! {
        static OPENED: Cell<Option<ConnectionId>> = const { Cell::new(None) };
        static CLOSED: Cell<u32> = const { Cell::new(0) };
    }
    let routes = Routes::new().event_stream("/", |_, _| {
        EventStream::topic("a")
            .on_open(|hub, id| {
                OPENED.set(Some(id));
                hub.subscribe(id, "b");
                assert_eq!(hub.send_event(id, Event::new("hello").name("welcome").unwrap()), SendStatus::Queued);
            })
            .on_close(|hub, id, reason| {
                assert!(OPENED.get() == Some(id) && !hub.is_open(id) && !reason.to_string().is_empty());
                CLOSED.set(CLOSED.get() + 1);
            })
    });
    let mut server = Played::new(routes);
    let peer = server.connect(get("/"));
    assert_eq!(server.events(peer), format!("{HEAD}event: welcome\ndata: hello\n\n"));
    let id = OPENED.get().unwrap();
    let hub = server.0.hub();
    assert_eq!(hub.send(id, "text"), SendStatus::Queued);
    assert_eq!(hub.send(id, String::from("owned")), SendStatus::Queued);
    assert_eq!(hub.send(id, &[0][..]), SendStatus::Unsupported);
    assert_eq!((hub.write(id, b"raw"), hub.ping(id, b"")), (SendStatus::Unsupported, SendStatus::Unsupported));
    assert_eq!(hub.send_event(id, Event::new("x").id("7").unwrap()), SendStatus::Queued);
    assert_eq!(hub.send_latest(id, "key", "old"), SendStatus::Queued);
    assert_eq!(hub.send_latest(id, "key", "new"), SendStatus::Queued);
    assert_eq!(server.publish("b", "both").queued, 1);
    assert_eq!(server.events(peer), "data: text\n\ndata: owned\n\nid: 7\ndata: x\n\ndata: new\n\ndata: both\n\n");
    assert_eq!(CLOSED.get(), 0);
    server.0.kernel_mut().reset(peer);
    server.0.settle().unwrap();
    assert_eq!(CLOSED.get(), 1);
    assert_eq!(server.0.hub().send_event(id, Event::new("late")), SendStatus::Closed);
    // A HEAD request opens nothing.
    server.connect("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(CLOSED.get(), 1);
}

#[test]
fn application_ends_a_stream_in_order() {
    let mut server = Played::new(rooms());
    let peer = server.listener("/a");
    let old = server.connect("GET /a HTTP/1.0\r\n\r\n");
    server.events(old);
    let ids: Vec<ConnectionId> = server.0.hub().connections().collect();
    for id in ids {
        server.0.hub().send_event(id, Event::new("bye"));
        assert_eq!(server.0.hub().close(id, CloseCode::NORMAL, ""), SendStatus::Queued);
    }
    assert!(server.is_ended(peer) && server.is_ended(old));
    assert_eq!(server.received(peer), "b\r\ndata: bye\n\n\r\n0\r\n\r\n");
    assert_eq!(server.received(old), "data: bye\n\n");
}

#[test]
fn event_for_a_websocket_is_unsupported() {
    let mut server = Played::new(rooms());
    server.connect(wire::request(Version::Rfc6455, "/a", ""));
    let id = server.0.hub().connections().next().unwrap();
    assert_eq!(server.0.hub().send_event(id, Event::new("x")), SendStatus::Unsupported);
    assert_eq!(server.0.hub().publish_event("a", Event::new("x").name("n").unwrap()).queued, 1);
}
