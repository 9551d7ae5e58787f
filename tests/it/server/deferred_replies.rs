//! Deferred replies: a `Responder` statuses the request later, from any thread.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{Read, Write},
    net::TcpStream,
    rc::Rc,
    sync::mpsc,
    thread,
    time::Duration,
};

use ws_reactor::{
    Callbacks, Reactor, ReactorConfig, RemoteError, Reply, Responder, Server, TestSocket, Upgrade, Version,
    http::{HeaderName, HeaderValue, StatusCode},
    net::sim::Sim,
};

#[cfg(feature = "tls")]
use crate::support::secure;
use crate::support::wire;

type Responders = Rc<RefCell<VecDeque<Responder>>>;

/// A server that defers each reply, and the responders of its requests.
fn deferring() -> (Server, Responders) {
    let responders = Responders::default();
    let deferred = Rc::clone(&responders);
    let server = Server::new(|_| {
        Callbacks::new()
            .on_open(|ws, _| {
                ws.send("welcome");
            })
            .on_message(|ws, message| {
                ws.send(message);
            })
    });
    let server = server.on_request(move |_, _| {
        let (later, responder) = Reply::later();
        deferred.borrow_mut().push_back(responder);
        later
    });
    (server, responders)
}

fn next(responders: &Responders) -> Responder {
    responders.borrow_mut().pop_front().expect("a deferred request")
}

/// A client that sends a text message right after its handshake request.
fn eager_client(version: Version, server: Server) -> TestSocket {
    let mut bytes = wire::request(version, "/", "");
    bytes.extend(wire::text(version, "early"));
    TestSocket::request(server, bytes)
}

fn status(socket: &mut TestSocket) -> String {
    let response = String::from_utf8(socket.received_bytes()).unwrap();
    response.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or_default().to_owned()
}

#[test]
fn message_sent_before_a_deferred_upgrade_arrives_in_every_version() {
    for version in Version::ALL.iter().copied() {
        let (server, responders) = deferring();
        let mut socket = eager_client(version, server);
        socket.advance(Duration::from_secs(5));
        assert!(socket.received_bytes().is_empty() && !socket.is_ended(), "{version}: the reply is deferred");
        assert_eq!(socket.hub().stats().pending_handshakes, 1);
        let accept = Upgrade::new().header(HeaderName::from_static("x-user"), HeaderValue::from_static("7"));
        assert_eq!(next(&responders).respond(accept), Ok(()));
        socket.settle();
        let response = socket.received_bytes();
        let has = |part: &[u8]| response.windows(part.len()).any(|window| window == part);
        assert!(response.starts_with(b"HTTP/1.1 101 ") && has(b"\r\nX-User: 7\r\n"), "{version}");
        assert!(has(b"welcome") && has(b"early"), "{version}: {}", String::from_utf8_lossy(&response));
        assert_eq!((socket.hub().stats().pending_handshakes, socket.hub().stats().opened), (0, 1));
    }
}

#[test]
fn deferred_request_that_is_refused_or_abandoned_gets_its_status() {
    let (server, responders) = deferring();
    let mut socket = eager_client(Version::Rfc6455, server);
    next(&responders).respond(Reply::status(StatusCode::UNAUTHORIZED)).unwrap();
    socket.settle();
    assert_eq!(status(&mut socket), "401");
    assert!(socket.is_ended());
    // A request without `Upgrade` cannot be upgraded, and a dropped responder refuses.
    let (server, responders) = deferring();
    let mut socket = TestSocket::request(server, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    next(&responders).respond(Reply::upgrade()).unwrap();
    socket.settle();
    assert_eq!(status(&mut socket), "426");
    let (server, responders) = deferring();
    let mut socket = eager_client(Version::Rfc6455, server);
    drop(next(&responders));
    socket.settle();
    assert_eq!(status(&mut socket), "500");
}

#[test]
fn responder_may_reply_at_once_or_defer_again() {
    let at_once = Server::new(|_| Callbacks::new()).on_request(|_, _| {
        let (later, responder) = Reply::later();
        assert!(!responder.is_closed());
        assert_eq!(responder.respond(Reply::status(StatusCode::GONE)), Ok(()));
        later
    });
    assert_eq!(status(&mut eager_client(Version::Rfc6455, at_once)), "410");
    let (server, responders) = deferring();
    let mut socket = eager_client(Version::Rfc6455, server);
    let (later, responder) = Reply::later();
    next(&responders).respond(later).unwrap();
    socket.advance(Duration::from_secs(1));
    assert!(socket.received_bytes().is_empty());
    responder.respond(Reply::status(StatusCode::FORBIDDEN)).unwrap();
    socket.settle();
    assert_eq!(status(&mut socket), "403");
}

#[test]
fn deferred_request_without_a_reply_gets_503_at_the_opening_timeout() {
    let (server, responders) = deferring();
    let mut socket = eager_client(Version::Rfc6455, server);
    socket.advance(Duration::from_millis(10_010));
    assert_eq!(status(&mut socket), "503");
    let responder = next(&responders);
    assert!(responder.is_closed());
    assert_eq!(responder.respond(Reply::upgrade()), Err(RemoteError::Closed));
    socket.advance(Duration::from_secs(10));
    assert!(socket.is_closed() && socket.received_bytes().is_empty());
}

#[test]
fn reply_to_a_client_that_has_gone_does_not_reach_its_successor() {
    let (server, responders) = deferring();
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::new().command_budget(1));
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let request = |reactor: &mut Reactor<Sim>| {
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
        while responders.borrow().is_empty() {
            reactor.turn(Some(Duration::ZERO)).unwrap();
        }
        peer
    };
    let former = request(&mut reactor);
    // The reply is far back in the command queue when the client leaves, and still when another client has its slot.
    for _ in 0..100 {
        reactor.remote().run(|_| {}).unwrap();
    }
    assert_eq!(next(&responders).respond(Reply::upgrade()), Ok(()));
    reactor.kernel_mut().reset(former);
    while reactor.hub().stats().connections > 0 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let other = request(&mut reactor);
    assert!(reactor.hub().stats().turns < 100, "the reply is still queued");
    reactor.settle().unwrap();
    assert_eq!(reactor.kernel_mut().received(other), b"", "the other request has no reply yet");
    assert_eq!(reactor.hub().stats().opened, 0);
    next(&responders).respond(Reply::upgrade()).unwrap();
    reactor.settle().unwrap();
    assert!(reactor.kernel_mut().received(other).starts_with(b"HTTP/1.1 101 "));
    let late = request(&mut reactor);
    reactor.kernel_mut().reset(late);
    reactor.settle().unwrap();
    assert!(responders.borrow()[0].is_closed());
    assert_eq!(next(&responders).respond(Reply::upgrade()), Err(RemoteError::Closed));
}

#[test]
fn client_that_half_closed_while_deferred_still_gets_the_reply() {
    let (server, responders) = deferring();
    let mut socket = eager_client(Version::Rfc6455, server);
    socket.finish();
    assert!(!responders.borrow()[0].is_closed());
    next(&responders).respond(Reply::status(StatusCode::FORBIDDEN)).unwrap();
    socket.settle();
    assert_eq!(status(&mut socket), "403");
    assert!(socket.is_closed());
}

#[test]
fn resume_of_a_deferred_connection_reads_nothing_and_does_not_spin() {
    let (server, responders) = deferring();
    let mut socket = eager_client(Version::Rfc6455, server);
    let waiting: Vec<_> = socket.hub().connections().collect();
    for _ in 0..3 {
        socket.hub().resume(waiting[0]);
        socket.settle();
    }
    assert!(socket.hub().stats().turns < 100, "the loop does not spin");
    next(&responders).respond(Reply::upgrade()).unwrap();
    socket.settle();
    assert!(socket.received_bytes().ends_with(b"\x81\x07welcome\x81\x05early"));
}

#[test]
fn reply_that_finds_the_command_queue_full_is_sent_all_the_same() {
    let (server, responders) = deferring();
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::new().remote_commands(1));
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
    reactor.settle().unwrap();
    reactor.remote().run(|_| {}).unwrap();
    assert_eq!(reactor.remote().run(|_| {}), Err(RemoteError::Full));
    next(&responders).respond(Reply::upgrade()).unwrap();
    reactor.settle().unwrap();
    assert!(reactor.kernel_mut().received(peer).starts_with(b"HTTP/1.1 101 "));
}

#[cfg(feature = "tls")]
#[test]
fn messages_over_tls_behind_a_deferred_request_are_kept_until_the_reply() {
    const MESSAGES: usize = 100;
    let (server, responders) = deferring();
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.listen("10.0.0.1:443", secure::server(server)).unwrap();
    let mut peer = secure::Peer::new(&mut reactor, secure::trust(&secure::LOCALHOST), "localhost");
    let message = wire::text(Version::Rfc6455, vec![b'x'; 1000]);
    let bytes = [wire::request(Version::Rfc6455, "/", ""), message.repeat(MESSAGES)].concat();
    peer.talk(&mut reactor, &bytes).unwrap();
    assert!(peer.received.is_empty());
    next(&responders).respond(Reply::upgrade()).unwrap();
    peer.talk(&mut reactor, &[]).unwrap();
    let response = peer.received.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(peer.received.len() - response, 2 + "welcome".len() + MESSAGES * (4 + 1000));
}

#[test]
fn deferred_request_gets_503_at_a_shutdown() {
    let (server, responders) = deferring();
    let mut socket = eager_client(Version::Rfc6455, server);
    socket.hub().shutdown(Duration::from_secs(5));
    socket.settle();
    assert_eq!(status(&mut socket), "503");
    assert_eq!(next(&responders).respond(Reply::upgrade()), Err(RemoteError::Closed));
}

#[test]
fn factory_that_panics_after_a_deferred_upgrade_ends_its_connection_only() {
    let responders = Responders::default();
    let deferred = Rc::clone(&responders);
    let server = Server::new(|_| -> Callbacks { panic!("deliberate: no handler") }).on_request(move |_, _| {
        let (later, responder) = Reply::later();
        deferred.borrow_mut().push_back(responder);
        later
    });
    let mut socket = eager_client(Version::Rfc6455, server);
    next(&responders).respond(Reply::upgrade()).unwrap();
    socket.settle();
    let stats = socket.hub().stats();
    assert_eq!((stats.panics, stats.pending_handshakes, stats.connections), (1, 0, 0));
}

#[test]
fn responder_in_another_thread_wakes_the_waiting_loop() {
    let (requests, deferred) = mpsc::channel::<(String, Responder)>();
    let worker = thread::spawn(move || {
        for (path, responder) in deferred {
            let reply = if path == "/open" { Reply::upgrade() } else { Reply::status(StatusCode::FORBIDDEN) };
            responder.respond(reply).unwrap();
        }
    });
    let server = Server::new(|_| Callbacks::new()).on_request(move |request, _| {
        let (later, responder) = Reply::later();
        requests.send((request.path().to_owned(), responder)).unwrap();
        later
    });
    let mut reactor = Reactor::new().unwrap();
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let mut clients = ["/closed", "/open"].map(|path| {
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(&wire::request(Version::Rfc6455, path, "")).unwrap();
        client
    });
    while reactor.hub().stats().opened + reactor.hub().stats().refused < 2 {
        reactor.turn(None).unwrap();
    }
    let statuses = clients.each_mut().map(|client| {
        let mut status = [0; 12];
        client.read_exact(&mut status).unwrap();
        String::from_utf8(status.to_vec()).unwrap()
    });
    assert_eq!(statuses, ["HTTP/1.1 403", "HTTP/1.1 101"]);
    // The server owns the sender.
    drop(reactor);
    worker.join().unwrap();
}

/// A server that holds each request, and notes in the list when the client of one has gone.
fn holding() -> (Server, Responders, Rc<RefCell<Vec<&'static str>>>) {
    let (responders, ended) = (Responders::default(), Rc::<RefCell<Vec<_>>>::default());
    let (held, noted) = (Rc::clone(&responders), Rc::clone(&ended));
    let server = Server::new(|_| Callbacks::new()).on_request(move |_, hub| {
        let (reply, responder) = Reply::hold();
        held.borrow_mut().push_back(responder);
        let (id, noted) = (hub.current_connection().unwrap(), Rc::clone(&noted));
        let hook = hub.when_closed(id, move |hub| {
            assert!(!hub.is_open(id) && hub.when_closed(id, |_| panic!("never called")).is_none());
            noted.borrow_mut().push("ended");
        });
        let other = hub.when_closed(id, |_| panic!("called after it was cancelled")).unwrap();
        assert!(hook.is_some() && hub.cancel_close_hook(other));
        reply
    });
    (server, responders, ended)
}

#[test]
fn held_request_waits_for_hours_and_others_on_its_connection_follow() {
    let (server, responders, ended) = holding();
    let mut socket = TestSocket::request(server, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..2 {
        socket.advance(Duration::from_secs(3 * 3600));
        assert_eq!(socket.received_bytes(), b"");
        next(&responders).respond(StatusCode::NO_CONTENT).unwrap();
        socket.settle();
        assert_eq!(status(&mut socket), "204");
    }
    assert!(responders.borrow().is_empty() && ended.borrow().is_empty());
    socket.finish();
    socket.settle();
    assert_eq!(*ended.borrow(), ["ended", "ended"]);
}

#[test]
fn held_request_ends_with_its_client() {
    for ends_by_reset in [false, true] {
        let (server, responders, ended) = holding();
        let mut socket = TestSocket::request(server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(!responders.borrow()[0].is_closed() && ended.borrow().is_empty());
        match ends_by_reset {
            true => socket.reset(),
            false => socket.finish(),
        }
        socket.settle();
        assert_eq!(*ended.borrow(), ["ended"]);
        let responder = next(&responders);
        assert!(responder.is_closed());
        assert_eq!(responder.respond(StatusCode::OK), Err(RemoteError::Closed));
    }
}

#[test]
fn held_request_gets_503_at_a_shutdown() {
    let (server, responders, _) = holding();
    let mut socket = TestSocket::request(server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    socket.hub().shutdown(Duration::from_secs(5));
    socket.settle();
    assert_eq!(status(&mut socket), "503");
    assert!(next(&responders).is_closed());
}
