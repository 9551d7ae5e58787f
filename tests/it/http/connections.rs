//! Connections: several requests, in pipelines, up to an upgrade, and their end.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Reactor, ReactorConfig, Reply, Responder, Routes, Server, TestSocket, Version, http::StatusCode, net::sim::Sim,
    on_message,
};

use super::{get, received, serving};
use crate::support::wire;

/// Routes that answer each request with its path.
fn paths() -> Routes {
    Routes::new()
        .any("/{*path}", |request, _| Reply::bytes(request.path().to_owned()))
        .websocket("/socket", |_| on_message(|ws, message| _ = ws.send(message)))
}

/// The bodies of responses with a length.
fn bodies(text: &str) -> Vec<&str> {
    text.split("HTTP/1.1 200 OK\r\n").skip(1).map(|response| response.split_once("\r\n\r\n").unwrap().1).collect()
}

#[test]
fn requests_of_one_connection_are_answered_in_their_order() {
    let mut socket = TestSocket::request(serving(paths()), get("/1"));
    for path in ["/1", "/2", "/3"] {
        assert_eq!(
            received(&mut socket),
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\n{path}")
        );
        assert!(!socket.is_ended());
        socket.advance(Duration::from_secs(60));
        socket.send_bytes(get(&format!("/{}", path[1..].parse::<u32>().unwrap() + 1)).as_bytes());
    }
    let pipeline: String = (5..400).map(|number| get(&format!("/{number}"))).collect();
    for size in [1, 7, 1000, pipeline.len()] {
        received(&mut socket);
        for piece in pipeline.as_bytes().chunks(size) {
            socket.send_bytes(piece);
        }
        let expected: Vec<String> = (5..400).map(|number| format!("/{number}")).collect();
        assert_eq!(bodies(&received(&mut socket)), expected, "pieces of {size}");
    }
}

#[test]
fn client_chooses_whether_the_connection_is_used_again() {
    for (head, stays, line) in [
        ("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", true, ""),
        ("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false, "Connection: close\r\n"),
        ("GET /x HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false, "Connection: close\r\n"),
        ("GET /x HTTP/1.0\r\n\r\n", false, "Connection: close\r\n"),
        ("GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, "Connection: keep-alive\r\n"),
        ("GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", true, ""),
    ] {
        let mut socket = TestSocket::request(serving(paths()), head);
        let response = received(&mut socket);
        let connection = response.split_inclusive("\r\n").find(|line| line.starts_with("Connection")).unwrap_or("");
        assert_eq!((connection, socket.is_ended()), (line, !stays), "{head}");
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\n/x"), "{response}");
        socket.send_bytes(get("/y").as_bytes());
        assert_eq!(received(&mut socket).ends_with("/y"), stays, "{head}");
    }
}

#[test]
fn responses_have_a_date() {
    let text = String::from_utf8(TestSocket::request(serving(paths()), get("/")).received_bytes()).unwrap();
    let date = text.lines().find_map(|line| line.strip_prefix("Date: ")).unwrap();
    assert!(date.ends_with(" GMT") && date.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len(), "{date}");
}

type Responders = Rc<RefCell<Vec<Responder>>>;

/// Routes of which `/later` waits for its responder.
fn deferring() -> (Routes, Responders) {
    let responders = Responders::default();
    let deferred = Rc::clone(&responders);
    let routes = paths().get("/later", move |_, _| {
        let (reply, responder) = Reply::later();
        deferred.borrow_mut().push(responder);
        reply
    });
    (routes, responders)
}

#[test]
fn request_behind_a_deferred_one_waits_for_its_turn() {
    let (routes, responders) = deferring();
    let pipeline = [get("/later"), get("/1"), get("/later"), get("/2")].concat();
    let mut socket = TestSocket::request(serving(routes), pipeline);
    assert_eq!((socket.received_bytes().len(), responders.borrow().len()), (0, 1));
    for first in ["later 1", "later 2"] {
        socket.advance(Duration::from_secs(30));
        let responder = responders.borrow_mut().pop().unwrap();
        responder.respond(Reply::bytes(first)).unwrap();
        socket.settle();
        let text = received(&mut socket);
        assert_eq!(bodies(&text), [first, &first.replace("later ", "/")]);
    }
}

#[test]
fn half_closed_client_gets_the_answers_to_all_of_its_requests() {
    let (routes, responders) = deferring();
    let mut socket = TestSocket::request(serving(routes), [get("/1"), get("/later"), get("/2")].concat());
    socket.finish();
    assert_eq!(bodies(&received(&mut socket)), ["/1"]);
    responders.borrow_mut().pop().unwrap().respond(Reply::bytes("late")).unwrap();
    socket.settle();
    assert_eq!(bodies(&received(&mut socket)), ["late", "/2"]);
    assert!(socket.is_closed());
}

#[test]
fn websocket_may_follow_other_requests_in_a_pipeline() {
    for version in Version::ALL.iter().copied() {
        let requests =
            [get("/1").into_bytes(), wire::request(version, "/socket", ""), wire::text(version, "hello")].concat();
        for size in [1, 50, requests.len()] {
            let mut socket = TestSocket::request(serving(paths()), "");
            for piece in requests.chunks(size) {
                socket.send_bytes(piece);
            }
            let all = socket.received_bytes();
            let text = String::from_utf8_lossy(&all);
            assert!(text.contains("\r\n\r\n/1HTTP/1.1 101 "), "{version}: {text}");
            assert!(all.windows(5).any(|window| window == b"hello"), "{version}: {text}");
            assert_eq!(socket.hub().stats().opened, 1);
        }
    }
}

#[test]
fn refused_websocket_closes_the_connection_behind_its_answer() {
    let routes = paths().get("/page", |_, _| Reply::html("a page"));
    let server = serving(routes).on_request(|request, _| match request.path() {
        "/socket" => Reply::status(StatusCode::UNAUTHORIZED),
        _ => Reply::upgrade(),
    });
    // The bytes behind the head are a part of the handshake.
    let request = [wire::request(Version::Hixie76, "/socket", ""), get("/1").into_bytes()].concat();
    let mut socket = TestSocket::request(server, request);
    let text = received(&mut socket);
    assert!(text.starts_with("HTTP/1.1 401 ") && text.contains("Connection: close\r\n"), "{text}");
    assert!(socket.is_ended() && !text.contains("200 OK"), "{text}");
    assert_eq!((socket.hub().stats().requests, socket.hub().stats().refused), (1, 1));
}

#[test]
fn pipeline_leaves_other_connections_their_turns() {
    let order = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&order);
    let routes = Routes::new().get("/{name}", move |request, _| {
        log.borrow_mut().push(request.param("name").to_owned());
        StatusCode::NO_CONTENT
    });
    let server = serving(routes).configure(|config| config.websocket.message_budget = 10);
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let peers = [0; 2].map(|_| reactor.kernel_mut().connect(addr).unwrap());
    reactor.settle().unwrap();
    reactor.kernel_mut().send(peers[0], get("/many").repeat(1000).as_bytes());
    reactor.kernel_mut().send(peers[1], get("/one").as_bytes());
    reactor.settle().unwrap();
    let order = order.borrow();
    assert_eq!(order.len(), 1001);
    assert!(order.iter().position(|name| name == "one").unwrap() <= 20);
}

#[test]
fn client_that_does_not_read_its_answers_is_not_read() {
    let served = Rc::new(RefCell::new(0));
    let count = Rc::clone(&served);
    let routes = Routes::new().get("/", move |_, _| {
        *count.borrow_mut() += 1;
        Reply::bytes(vec![b'x'; 1000])
    });
    let mut socket = TestSocket::request(serving(routes), "");
    socket.hold(10_000);
    socket.send_bytes(get("/").repeat(10_000).as_bytes());
    let few = *served.borrow();
    assert!(few < 100, "{few} answers are held for a client that does not read");
    socket.advance(Duration::from_secs(29));
    assert_eq!(*served.borrow(), few, "nor later");
    socket.release();
    socket.settle();
    assert_eq!(*served.borrow(), 10_000);
    assert_eq!(bodies(&received(&mut socket)).len(), 10_000);
}

#[test]
fn panic_of_a_route_is_answered_with_500_and_reported() {
    crate::support::silence_deliberate_panics();
    let errors = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&errors);
    let routes = paths().get("/bad", |_, _| -> Reply { panic!("deliberate: a route") });
    let server = serving(routes).on_error(move |_, error| log.borrow_mut().push(error.to_string()));
    let mut socket = TestSocket::request(server, [get("/1"), get("/bad"), get("/2")].concat());
    let text = received(&mut socket);
    assert_eq!(bodies(&text)[0].split("HTTP/1.1 500 ").next(), Some("/1"));
    assert!(text.ends_with("Connection: close\r\n\r\nInternal Server Error\n") && socket.is_ended(), "{text}");
    assert_eq!(*errors.borrow(), ["the handler panicked: deliberate: a route"]);
    assert_eq!(socket.hub().stats().panics, 1);
}

#[test]
fn shutdown_closes_idle_connections_and_lets_a_response_end() {
    let mut idle = TestSocket::request(serving(paths()), get("/1"));
    idle.received_bytes();
    idle.hub().shutdown(Duration::from_secs(5));
    idle.settle();
    assert!(idle.is_ended() && idle.received_bytes().is_empty());

    let routes = Routes::new().get("/", |_, _| Reply::bytes(vec![b'x'; 1_000_000]));
    let mut busy = TestSocket::request(serving(routes), "");
    busy.hold(1000);
    busy.send_bytes([get("/"), get("/")].concat().as_bytes());
    busy.hub().shutdown(Duration::from_secs(5));
    busy.settle();
    busy.release();
    busy.settle();
    let text = received(&mut busy);
    assert_eq!(text.matches('x').count(), 1_000_000, "the second request is not answered");
    assert!(busy.is_ended());
}

#[test]
fn shutdown_does_not_answer_a_request_again_whose_body_is_skipped() {
    // regression: a second response followed
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345";
    let mut socket = TestSocket::request(Server::new(|_| on_message(|_, _| {})), request);
    assert!(received(&mut socket).starts_with("HTTP/1.1 405 ") && !socket.is_ended());
    socket.hub().shutdown(Duration::from_secs(5));
    socket.settle();
    assert_eq!((received(&mut socket), socket.is_ended()), (String::new(), true));
}

#[test]
fn empty_line_behind_a_body_is_not_the_start_of_a_request() {
    // regression: the client got 408 after 10 s
    let mut socket = TestSocket::request(serving(paths()), get("/1") + "\r\n");
    assert_eq!(bodies(&received(&mut socket)), ["/1"]);
    socket.advance(Duration::from_secs(70));
    assert!(received(&mut socket).is_empty() && !socket.is_ended());
    socket.send_bytes(get("/2").as_bytes());
    assert_eq!(bodies(&received(&mut socket)), ["/2"]);
    socket.send_bytes(b"\r\n");
    socket.advance(Duration::from_secs(76));
    assert!(received(&mut socket).is_empty() && socket.is_ended());
}

#[test]
fn reply_that_waits_a_second_time_is_timed_out_again() {
    // regression: where the first reply came along with the time-out, the second wait had none
    let (routes, responders) = deferring();
    let first = Responders::default();
    let deferred = Rc::clone(&first);
    let server = serving(routes).on_request(move |_, _| {
        let (reply, responder) = Reply::later();
        deferred.borrow_mut().push(responder);
        reply
    });
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default().remote_commands(1));
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.kernel_mut().send(peer, get("/later").as_bytes());
    reactor.settle().unwrap();
    let id = reactor.hub().connections().next().unwrap();
    reactor.kernel_mut().advance(Duration::from_secs(60));
    reactor.hub().remote().resume(id).unwrap();
    first.borrow_mut().pop().unwrap().respond(Reply::upgrade()).unwrap();
    reactor.settle().unwrap();
    assert_eq!(responders.borrow().len(), 1);
    reactor.kernel_mut().advance(Duration::from_secs(61));
    reactor.settle().unwrap();
    let text = String::from_utf8(reactor.kernel_mut().received(peer)).unwrap();
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
}

#[test]
fn responses_that_no_one_reads_count_towards_the_limit_of_all_connections() {
    // regression: only what the application sends counted
    let routes = Routes::new().get("/", |_, _| Reply::bytes(vec![b'x'; 16_000]));
    let config = ReactorConfig::default().excess_output_bytes(4 << 20);
    let mut reactor = Reactor::on(Sim::new(), config);
    let addr = reactor.listen("10.0.0.1:80", serving(routes)).unwrap().addr;
    let peers: Vec<_> = (0..4).map(|_| reactor.kernel_mut().connect(addr).unwrap()).collect();
    reactor.settle().unwrap();
    for peer in peers {
        reactor.kernel_mut().hold(peer, 1000);
        reactor.kernel_mut().send(peer, get("/").repeat(20_000).as_bytes());
    }
    for _ in 0..20 {
        reactor.settle().unwrap();
        let (stats, most) = (reactor.hub().stats(), (4 << 20) + 4 * (1 << 20) + 64 * 1024);
        assert!(stats.buffered_bytes <= most, "{} bytes are held", stats.buffered_bytes);
        reactor.kernel_mut().advance(Duration::from_secs(1));
    }
}

#[test]
fn challenge_behind_another_request_has_the_time_of_a_head() {
    // regression: it had the time of an idle connection
    let mut socket = TestSocket::request(serving(paths()), get("/1"));
    socket.advance(Duration::from_secs(60));
    let request = wire::request(Version::Hixie76, "/socket", "");
    socket.send_bytes(&request[..request.len() - 3]);
    socket.advance(Duration::from_secs(9));
    assert!(!socket.is_closed());
    socket.advance(Duration::from_secs(2));
    assert!(socket.is_closed());
}

#[test]
fn healthcheck_is_answered_on_a_connection_that_is_used_again() {
    let server = || Server::new(|_| on_message(|_, _| {}));
    let mut socket = TestSocket::request(server(), [get("/"), get("/healthcheck")].concat());
    let text = received(&mut socket);
    assert!(text.starts_with("HTTP/1.1 426 ") && text.ends_with("\r\n\r\nOK"), "{text}");
    let off = server().healthcheck(false);
    assert_eq!(
        received(&mut TestSocket::request(off, [get("/"), get("/healthcheck")].concat())).matches("426").count(),
        2
    );
}
