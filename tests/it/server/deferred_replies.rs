//! Requests that are decided later: whoever decides, from wherever, and whatever has become of the client.

#[cfg(feature = "tls")]
use crate::support::secure;
use crate::support::wire;
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

type Deciders = Rc<RefCell<VecDeque<Responder>>>;

/// A server that asks whether each may come in, and who is to decide.
fn asking() -> (Server, Deciders) {
    let deciders = Deciders::default();
    let asked = Rc::clone(&deciders);
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
        let (later, decider) = Reply::later();
        asked.borrow_mut().push_back(decider);
        later
    });
    (server, deciders)
}

fn next(deciders: &Deciders) -> Responder {
    deciders.borrow_mut().pop_front().expect("a request was asked about")
}

/// Begins a handshake and says something right behind it.
fn hasty(version: Version, server: Server) -> TestSocket {
    let mut bytes = wire::request(version, "/", "");
    bytes.extend(wire::text(version, "hasty"));
    TestSocket::request(server, bytes)
}

fn status(socket: &mut TestSocket) -> String {
    let answer = String::from_utf8(socket.received_bytes()).unwrap();
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or_default().to_owned()
}

#[test]
fn who_is_accepted_later_has_lost_nothing_in_any_version() {
    for version in Version::ALL.iter().copied() {
        let (server, deciders) = asking();
        let mut socket = hasty(version, server);
        socket.advance(Duration::from_secs(5));
        assert!(socket.received_bytes().is_empty() && !socket.is_ended(), "{version}: it waits");
        assert_eq!(socket.hub().stats().pending_handshakes, 1);
        let accept = Upgrade::new().header(HeaderName::from_static("x-user"), HeaderValue::from_static("7"));
        assert_eq!(next(&deciders).respond(accept), Ok(()));
        socket.settle();
        let answer = socket.received_bytes();
        let has = |part: &[u8]| answer.windows(part.len()).any(|window| window == part);
        assert!(answer.starts_with(b"HTTP/1.1 101 ") && has(b"\r\nX-User: 7\r\n"), "{version}");
        assert!(has(b"welcome") && has(b"hasty"), "{version}: {}", String::from_utf8_lossy(&answer));
        assert_eq!((socket.hub().stats().pending_handshakes, socket.hub().stats().opened), (0, 1));
    }
}

#[test]
fn who_is_refused_later_gets_the_answer() {
    let (server, deciders) = asking();
    let mut socket = hasty(Version::Rfc6455, server);
    next(&deciders).respond(Reply::status(StatusCode::UNAUTHORIZED)).unwrap();
    socket.settle();
    assert_eq!(status(&mut socket), "401");
    assert!(socket.is_ended());
    // An ordinary request cannot be accepted, and a decider that is lost refuses.
    let (server, deciders) = asking();
    let mut socket = TestSocket::request(server, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    next(&deciders).respond(Reply::upgrade()).unwrap();
    socket.settle();
    assert_eq!(status(&mut socket), "426");
    let (server, deciders) = asking();
    let mut socket = hasty(Version::Rfc6455, server);
    drop(next(&deciders));
    socket.settle();
    assert_eq!(status(&mut socket), "500");
}

#[test]
fn a_decision_may_be_made_at_once_or_put_off_again() {
    let at_once = Server::new(|_| Callbacks::new()).on_request(|_, _| {
        let (later, decider) = Reply::later();
        assert!(!decider.is_closed());
        assert_eq!(decider.respond(Reply::status(StatusCode::GONE)), Ok(()));
        later
    });
    assert_eq!(status(&mut hasty(Version::Rfc6455, at_once)), "410");
    let (server, deciders) = asking();
    let mut socket = hasty(Version::Rfc6455, server);
    let (later, decider) = Reply::later();
    next(&deciders).respond(later).unwrap();
    socket.advance(Duration::from_secs(1));
    assert!(socket.received_bytes().is_empty());
    decider.respond(Reply::status(StatusCode::FORBIDDEN)).unwrap();
    socket.settle();
    assert_eq!(status(&mut socket), "403");
}

#[test]
fn a_decision_that_takes_too_long_comes_too_late() {
    let (server, deciders) = asking();
    let mut socket = hasty(Version::Rfc6455, server);
    socket.advance(Duration::from_millis(10_010));
    assert_eq!(status(&mut socket), "503");
    let decider = next(&deciders);
    assert!(decider.is_closed());
    assert_eq!(decider.respond(Reply::upgrade()), Err(RemoteError::Closed));
    socket.advance(Duration::from_secs(10));
    assert!(socket.is_closed() && socket.received_bytes().is_empty());
}

#[test]
fn a_decision_on_a_client_that_has_gone_touches_nobody() {
    let (server, deciders) = asking();
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::new().command_budget(1));
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let ask = |reactor: &mut Reactor<Sim>| {
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
        while deciders.borrow().is_empty() {
            reactor.turn(Some(Duration::ZERO)).unwrap();
        }
        peer
    };
    let gone = ask(&mut reactor);
    // The decision stands in a long line when the client goes, and still does when another waits in its place.
    for _ in 0..100 {
        reactor.remote().run(|_| {}).unwrap();
    }
    assert_eq!(next(&deciders).respond(Reply::upgrade()), Ok(()));
    reactor.kernel_mut().reset(gone);
    while reactor.hub().stats().connections > 0 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let other = ask(&mut reactor);
    assert!(reactor.hub().stats().turns < 100, "the line is not at its end");
    reactor.settle().unwrap();
    assert_eq!(reactor.kernel_mut().received(other), b"", "nobody has decided on the other");
    assert_eq!(reactor.hub().stats().opened, 0);
    next(&deciders).respond(Reply::upgrade()).unwrap();
    reactor.settle().unwrap();
    assert!(reactor.kernel_mut().received(other).starts_with(b"HTTP/1.1 101 "));
    let late = ask(&mut reactor);
    reactor.kernel_mut().reset(late);
    reactor.settle().unwrap();
    assert!(deciders.borrow()[0].is_closed());
    assert_eq!(next(&deciders).respond(Reply::upgrade()), Err(RemoteError::Closed));
}

#[test]
fn who_ends_his_side_while_he_waits_may_still_listen() {
    let (server, deciders) = asking();
    let mut socket = hasty(Version::Rfc6455, server);
    socket.finish();
    assert!(!deciders.borrow()[0].is_closed());
    next(&deciders).respond(Reply::status(StatusCode::FORBIDDEN)).unwrap();
    socket.settle();
    assert_eq!(status(&mut socket), "403");
    assert!(socket.is_closed());
}

#[test]
fn a_connection_that_waits_is_not_read_on_by_anybody() {
    let (server, deciders) = asking();
    let mut socket = hasty(Version::Rfc6455, server);
    let waiting: Vec<_> = socket.hub().connections().collect();
    for _ in 0..3 {
        socket.hub().resume(waiting[0]);
        socket.settle();
    }
    assert!(socket.hub().stats().turns < 100, "and the loop does not spin");
    next(&deciders).respond(Reply::upgrade()).unwrap();
    socket.settle();
    assert!(socket.received_bytes().ends_with(b"\x81\x07welcome\x81\x05hasty"));
}

#[test]
fn a_decision_for_which_there_is_no_room_waits_for_the_deadline() {
    let (server, deciders) = asking();
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::new().remote_commands(1));
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
    reactor.settle().unwrap();
    reactor.remote().run(|_| {}).unwrap();
    assert_eq!(next(&deciders).respond(Reply::upgrade()), Err(RemoteError::Full));
    reactor.advance(Duration::from_secs(9)).unwrap();
    assert_eq!(reactor.kernel_mut().received(peer), b"");
    reactor.advance(Duration::from_secs(2)).unwrap();
    assert!(reactor.kernel_mut().received(peer).starts_with(b"HTTP/1.1 101 "));
}

#[cfg(feature = "tls")]
#[test]
fn a_large_backlog_over_tls_waits_for_the_decision() {
    const MESSAGES: usize = 100;
    let (server, deciders) = asking();
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.listen("10.0.0.1:443", secure::server(server)).unwrap();
    let mut peer = secure::Peer::new(&mut reactor, secure::trust(&secure::LOCALHOST), "localhost");
    let message = wire::text(Version::Rfc6455, vec![b'x'; 1000]);
    let bytes = [wire::request(Version::Rfc6455, "/", ""), message.repeat(MESSAGES)].concat();
    peer.talk(&mut reactor, &bytes).unwrap();
    assert!(peer.received.is_empty());
    next(&deciders).respond(Reply::upgrade()).unwrap();
    peer.talk(&mut reactor, &[]).unwrap();
    let answer = peer.received.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(peer.received.len() - answer, 2 + "welcome".len() + MESSAGES * (4 + 1000));
}

#[test]
fn whoever_waits_is_told_of_a_shutdown() {
    let (server, deciders) = asking();
    let mut socket = hasty(Version::Rfc6455, server);
    socket.hub().shutdown(Duration::from_secs(5));
    socket.settle();
    assert_eq!(status(&mut socket), "503");
    assert_eq!(next(&deciders).respond(Reply::upgrade()), Err(RemoteError::Closed));
}

#[test]
fn a_factory_that_panics_after_a_late_decision_ends_its_connection_only() {
    let deciders = Deciders::default();
    let asked = Rc::clone(&deciders);
    let server = Server::new(|_| -> Callbacks { panic!("no handler for anybody") }).on_request(move |_, _| {
        let (later, decider) = Reply::later();
        asked.borrow_mut().push_back(decider);
        later
    });
    let mut socket = hasty(Version::Rfc6455, server);
    next(&deciders).respond(Reply::upgrade()).unwrap();
    socket.settle();
    let stats = socket.hub().stats();
    assert_eq!((stats.panics, stats.pending_handshakes, stats.connections), (1, 0, 0));
}

#[test]
fn another_thread_decides_while_the_loop_waits() {
    let (questions, asked) = mpsc::channel::<(String, Responder)>();
    let worker = thread::spawn(move || {
        for (path, decider) in asked {
            let reply = if path == "/open" { Reply::upgrade() } else { Reply::status(StatusCode::FORBIDDEN) };
            decider.respond(reply).unwrap();
        }
    });
    let server = Server::new(|_| Callbacks::new()).on_request(move |request, _| {
        let (later, decider) = Reply::later();
        questions.send((request.path().to_owned(), decider)).unwrap();
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
    let answers = clients.each_mut().map(|client| {
        let mut status = [0; 12];
        client.read_exact(&mut status).unwrap();
        String::from_utf8(status.to_vec()).unwrap()
    });
    assert_eq!(answers, ["HTTP/1.1 403", "HTTP/1.1 101"]);
    // The server holds the other end.
    drop(reactor);
    worker.join().unwrap();
}
