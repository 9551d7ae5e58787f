//! Bugs that were there once, each with the story that showed it.

use crate::support::wire;
use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};

use ws_reactor::{
    Callbacks, CloseCode, ConnectionId, OutputLimits, Overflow, Reactor, ReactorConfig, Reply, SendStatus, Server,
    ServerConfig, Stream, StreamConfig, StreamHandler, TestSocket, Turn, Version, WebSocketConfig,
    net::sim::{PeerId, Sim},
    on_message,
};

fn echo() -> Server {
    Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    })
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn the_hub_between_turns_knows_the_time() {
    let mut socket = TestSocket::connect(echo().ping_after(None), "/");
    let before = socket.hub().now();
    socket.reset_after(Duration::from_secs(60));
    assert_eq!(socket.hub().now() - before, Duration::from_secs(60));
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().advance(Duration::from_secs(60));
    let fired = Rc::new(RefCell::new(false));
    let note = Rc::clone(&fired);
    reactor.hub().add_timer(Duration::from_secs(10), move |_| *note.borrow_mut() = true);
    reactor.settle().unwrap();
    assert!(!*fired.borrow(), "ten seconds from now, not from the last turn");
    reactor.advance(Duration::from_secs(10)).unwrap();
    assert!(*fired.borrow());
}

#[test]
fn durations_without_end_are_taken_as_such() {
    let output = OutputLimits::new().high_water_bytes(10).stall_timeout(Duration::MAX);
    let stream = StreamConfig::new().output(output).closing_timeout(Duration::MAX);
    let websocket = WebSocketConfig::new().ping_after(Some(Duration::MAX)).pong_timeout(Duration::MAX).stream(stream);
    let endless = ServerConfig::new().opening_timeout(Duration::MAX).linger_timeout(Duration::MAX).websocket(websocket);
    let mut socket = TestSocket::connect(echo().configure(|config| *config = endless), "/");
    socket.hold(1);
    socket.send("more than ten bytes");
    socket.send("more than ten bytes");
    socket.hub().add_timer(Duration::MAX, |_| {});
    socket.hub().add_periodic_timer(Duration::MAX, |_| {});
    socket.hub().shutdown(Duration::MAX);
    socket.settle();
    assert!(!socket.is_closed());
}

#[test]
fn a_limit_below_the_low_mark_neither_spins_nor_loses_the_grace() {
    let output = OutputLimits::new().limit_bytes(16 * 1024);
    let greedy = Server::new(|_| {
        let fill = |ws: &mut ws_reactor::WebSocket<'_>| while ws.send("x".repeat(10_000)).is_queued() {};
        Callbacks::new().on_message(move |ws, _| fill(ws)).on_drain(fill)
    });
    let mut socket = TestSocket::connect(greedy.configure(|config| config.websocket.stream.output = output), "/");
    socket.hold(100);
    socket.send("go");
    socket.advance(Duration::from_secs(6));
    assert!(socket.is_closed());
}

#[test]
fn a_stale_exception_excepts_nobody() {
    let ids = Rc::new(RefCell::new(Vec::<ConnectionId>::new()));
    let noted = Rc::clone(&ids);
    let server = Server::new(move |_| {
        let noted = Rc::clone(&noted);
        Callbacks::new().on_open(move |ws, _| {
            ws.subscribe("all");
            noted.borrow_mut().push(ws.id());
        })
    });
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr: SocketAddr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    for _ in 0..2 {
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.kernel_mut().send(peer, REQUEST);
        reactor.settle().unwrap();
        if ids.borrow().len() == 1 {
            reactor.kernel_mut().reset(peer);
            reactor.settle().unwrap();
        }
    }
    let gone = ids.borrow()[0];
    assert_eq!(reactor.hub().publish_to_others(gone, "all", "hello").queued, 1);
    assert_eq!(reactor.hub().send(gone, "hello"), SendStatus::Closed);
}

/// Closes, and then goes on as if it had not.
struct Forgetful;

impl StreamHandler for Forgetful {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        stream.close();
        stream.set_deadline(None);
    }
}

#[test]
fn a_closing_stream_keeps_its_deadline() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen_stream("10.0.0.1:80", |_| Forgetful).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.advance(Duration::from_secs(6)).unwrap();
    assert!(reactor.kernel_mut().is_closed(peer));
}

#[test]
fn a_panic_in_a_factory_costs_one_connection() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let first = RefCell::new(true);
    let addr = reactor.listen_stream("10.0.0.1:80", move |_| {
        assert!(!first.replace(false), "the first is refused");
        Forgetful
    });
    let addr = addr.unwrap().addr;
    for panics in [1, 1] {
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.advance(Duration::from_secs(6)).unwrap();
        assert!(reactor.kernel_mut().is_closed(peer));
        assert_eq!(reactor.hub().stats().panics, panics);
    }
}

#[test]
fn nothing_listens_after_a_stop_by_the_last_on_close() {
    let server = Server::new(|_| Callbacks::new().on_close(|ws, _| ws.hub().stop()));
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.kernel_mut().send(peer, REQUEST);
    reactor.settle().unwrap();
    reactor.kernel_mut().finish(peer);
    assert_eq!(reactor.settle().unwrap(), Turn::Stopped);
    assert!(reactor.kernel_mut().connect(addr).is_err());
}

fn talker(length: usize) -> Server {
    Server::new(move |_| {
        on_message(move |ws, _| {
            ws.send("x".repeat(length));
            ws.close(CloseCode::NORMAL, "");
        })
    })
}

#[test]
fn a_peer_that_ends_its_side_still_gets_our_last_words() {
    let page = || talker(0).on_request(|_, _| Reply::html("x".repeat(300_000)));
    let mut socket = TestSocket::request(page(), "");
    socket.hold(1000);
    socket.send_bytes(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    socket.finish();
    socket.release();
    assert!(socket.received_bytes().len() > 300_000 && socket.is_closed());
    for version in [Version::Hixie75, Version::Rfc6455] {
        let mut socket = TestSocket::connect_as(version, talker(200_000), "/");
        socket.hold(1000);
        socket.send("go");
        socket.finish();
        socket.release();
        assert_eq!(socket.received()[0], "x".repeat(200_000).as_str().into(), "{version}");
        assert!(socket.is_closed());
    }
}

#[test]
fn a_factory_that_panics_is_told_to_the_server() {
    for version in Version::ALL.iter().copied() {
        let errors = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&errors);
        let server = Server::new(|handshake| -> Callbacks { panic!("no handler for {}", handshake.path()) })
            .on_error(move |_, error| told.borrow_mut().push(error.to_string()));
        let mut socket = TestSocket::request(server, wire::request(version, "/", ""));
        assert!(socket.is_closed());
        assert_eq!(*errors.borrow(), ["the handler panicked: no handler for /"], "{version}");
    }
}

#[test]
fn a_decision_that_panics_is_told_to_the_server_and_costs_its_connection() {
    for version in Version::ALL.iter().copied() {
        let errors = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&errors);
        let server = echo()
            .on_request(|request, _| {
                assert!(request.path() != "/bad", "cannot decide");
                Reply::upgrade()
            })
            .on_error(move |_, error| told.borrow_mut().push(error.to_string()));
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
        let [bad, good] = ["/bad", "/good"].map(|target| {
            let peer = reactor.kernel_mut().connect(addr).unwrap();
            reactor.kernel_mut().send(peer, &wire::request(version, target, ""));
            peer
        });
        reactor.settle().unwrap();
        assert!(reactor.kernel_mut().is_ended(bad) && !reactor.kernel_mut().is_ended(good), "{version}");
        assert_eq!(*errors.borrow(), ["the handler panicked: cannot decide"], "{version}");
        assert_eq!((reactor.hub().stats().panics, reactor.hub().stats().opened), (1, 1));
    }
}

#[test]
fn a_server_that_panics_over_an_error_has_answered_it() {
    let server = talker(0).on_error(|_, _| panic!("over an error"));
    let mut socket = TestSocket::request(server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(socket.received_bytes().starts_with(b"HTTP/1.1 426 "));
}

#[test]
fn a_limit_that_is_changed_spares_the_frame_under_way() {
    for version in Version::ALL.iter().copied() {
        let server = Server::new(|_| {
            Callbacks::new()
                .on_open(|ws, _| {
                    ws.set_timer(Duration::from_secs(1));
                })
                .on_timer(|ws, _| ws.set_max_frame_bytes(10))
                .on_message(|ws, message| {
                    ws.send(message);
                })
        });
        let mut socket = TestSocket::connect_as(version, server, "/");
        let text = wire::text(version, "a text of more than ten");
        let (first, second) = text.split_at(text.len() - 3);
        socket.send_bytes(first);
        socket.advance(Duration::from_secs(2));
        socket.send_bytes(&[second, &text[..]].concat());
        assert_eq!(socket.received()[0], "a text of more than ten".into(), "{version}");
        assert!(socket.is_ended(), "the next is too long");
    }
}

#[test]
fn what_the_version_lacks_is_unsupported_even_when_the_output_is_full() {
    let server = Server::new(|_| {
        on_message(|ws, _| {
            while ws.send("x".repeat(100_000)) != SendStatus::Dropped {}
            assert_eq!([ws.ping(b""), ws.pong(b""), ws.send(b"")], [SendStatus::Unsupported; 3]);
            ws.subscribe("seen");
        })
    });
    let server = server.configure(|config| config.websocket.stream.output.overflow = Overflow::DropNewest);
    let mut socket = TestSocket::connect_as(Version::Hixie76, server, "/");
    socket.hold(10);
    socket.send("go");
    assert_eq!(socket.hub().subscribers("seen"), 1);
}

#[test]
fn an_answer_in_two_parts_is_whole_however_little_output_may_wait() {
    let output = OutputLimits::new().limit_bytes(10);
    let version = Version::Hybi03;
    let server = echo().configure(|config| config.websocket.stream.output = output);
    let mut socket = TestSocket::request(server, "");
    socket.hold(20);
    socket.send_bytes(&wire::request(version, "/", ""));
    socket.send_bytes(&wire::frame(version, wire::Kind::Ping, true, b"?"));
    socket.release();
    assert_eq!(socket.received_bytes(), [&wire::answer(version, "ws", "/", "")[..], b"\x03\x01?"].concat());
}

#[test]
fn a_crowd_that_sends_much_leaves_others_their_turns() {
    const BUDGET: usize = 256 * 1024;
    let config = ReactorConfig::new().turn_budget_bytes(BUDGET);
    let mut reactor = Reactor::on(Sim::new(), config);
    let heard = Rc::new(RefCell::new(Vec::new()));
    let notes = Rc::clone(&heard);
    let server = Server::new(move |handshake| {
        let (notes, peer) = (Rc::clone(&notes), handshake.path()[1..].parse::<usize>().unwrap());
        on_message(move |_, message| notes.borrow_mut().push((peer, message.len())))
    });
    let address = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let peers: Vec<PeerId> = (0..20).map(|_| reactor.kernel_mut().connect(address).unwrap()).collect();
    for (number, peer) in peers.iter().enumerate() {
        reactor.kernel_mut().send(*peer, &wire::request(Version::Rfc6455, &format!("/{number}"), ""));
    }
    reactor.settle().unwrap();
    let message = wire::text(Version::Rfc6455, "x".repeat(500_000));
    for peer in &peers[1..] {
        reactor.kernel_mut().send(*peer, &message);
    }
    let whole = |heard: &[(usize, usize)]| (0..peers.len()).all(|peer| heard.iter().any(|(other, _)| *other == peer));
    let (mut turns, mut waited) = (0, None);
    while !whole(&heard.borrow()) {
        let before = reactor.hub().stats().bytes_in;
        if turns == 3 {
            reactor.kernel_mut().send(peers[0], &wire::text(Version::Rfc6455, "one word"));
        }
        // Some have more to say than is read in a turn, turn after turn.
        for peer in &peers[1..8] {
            reactor.kernel_mut().send(*peer, &message);
        }
        reactor.turn(Some(Duration::ZERO)).unwrap();
        turns += 1;
        let read = (reactor.hub().stats().bytes_in - before) as usize;
        // The last read of a part may be as large as a message; after it each is read once.
        assert!(read <= 2 * (BUDGET + 565_000) + peers.len() * 16 * 1024, "{read} bytes in a turn");
        if waited.is_none() && heard.borrow().contains(&(0, 8)) {
            waited = Some(turns);
        }
        assert!(turns < 1000, "all have their turn");
    }
    // It has said its word in the fourth turn.
    assert!(turns > 10 && waited.is_some_and(|turn| turn <= 5), "{waited:?} of {turns}");
}

#[test]
fn a_message_of_megabytes_comes_in_pieces_and_others_are_served_between() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let address = reactor
        .listen("10.0.0.1:80", Server::new(|_| on_message(|ws, message| assert!(ws.send(message).is_queued()))))
        .unwrap()
        .addr;
    let peers = [0; 2].map(|_| reactor.kernel_mut().connect(address).unwrap());
    for peer in peers {
        reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
        reactor.settle().unwrap();
        reactor.kernel_mut().received(peer);
    }
    let message = "x".repeat(5 << 20);
    reactor.kernel_mut().send(peers[0], &wire::text(Version::Rfc6455, &message));
    let (mut received, mut words, mut turns, mut come) = (Vec::new(), 0, 0, 0);
    while received.len() < message.len() + 10 {
        reactor.kernel_mut().send(peers[1], &wire::text(Version::Rfc6455, "a word"));
        let before = reactor.hub().stats().bytes_in;
        reactor.turn(Some(Duration::ZERO)).unwrap();
        let read = reactor.hub().stats().bytes_in - before;
        // The last of it fits the buffer, and is taken at once; of the first nobody knows yet how much follows.
        let rest = message.len() as u64 - come.min(message.len() as u64);
        let most = if rest > (1088 + 256) * 1024 { 256 * 1024 } else { 1088 * 1024 };
        assert!(read <= most + 65_536 + 12, "{read} bytes after {come}");
        come += read;
        received.extend(reactor.kernel_mut().received(peers[0]));
        words += reactor.kernel_mut().received(peers[1]).len();
        turns += 1;
        // What is said in a turn is with the peer in the next.
        assert!(words >= 8 * (turns - 1), "each word is answered in its turn");
    }
    assert!(received[10..] == *message.as_bytes());
    assert!(turns >= 16, "{turns}");
}

#[test]
fn a_large_message_for_another_is_whole_though_that_one_speaks_first() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let server = Server::new(|_| {
        on_message(|ws, message| {
            let own = ws.id();
            let others: Vec<_> = ws.hub().connections().filter(|other| *other != own).collect();
            others.into_iter().for_each(|other| _ = ws.hub().send(other, message));
        })
    });
    let address = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let peers = [0; 3].map(|_| reactor.kernel_mut().connect(address).unwrap());
    for peer in peers {
        reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
        reactor.settle().unwrap();
        reactor.kernel_mut().received(peer);
    }
    let letters = ["a", "b", "c"].map(|letter| letter.repeat(40_000));
    for (peer, message) in peers.iter().zip(&letters) {
        reactor.kernel_mut().send(*peer, &wire::text(Version::Rfc6455, message));
    }
    reactor.settle().unwrap();
    for (peer, own) in peers.iter().zip(&letters) {
        let received = reactor.kernel_mut().received(*peer);
        let (one, other) = received.split_at(received.len() / 2);
        let heard = [one, other].map(|frame| std::str::from_utf8(&frame[4..]).unwrap());
        let others: Vec<&str> = letters.iter().map(String::as_str).filter(|letter| letter != own).collect();
        assert!(heard == others[..] || heard.iter().rev().eq(&others));
    }
}

/// What a server was given to keep, and does not let go in peace.
struct Grudge;

impl Drop for Grudge {
    fn drop(&mut self) {
        panic!("not in peace");
    }
}

#[test]
fn what_a_server_owned_may_panic_when_it_goes() {
    for opened_first in [false, true] {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let grudge = Grudge;
        let server = Server::new(move |_| {
            let _kept = &grudge;
            on_message(|ws, message| {
                ws.send(message);
            })
        });
        let listening = reactor.listen("127.0.0.1:0", server).unwrap();
        let peer = reactor.kernel_mut().connect(listening.addr).unwrap();
        if opened_first {
            reactor.kernel_mut().send(peer, REQUEST);
        }
        reactor.settle().unwrap();
        reactor.hub().close_listener(listening.id);
        reactor.settle().unwrap();
        if !opened_first {
            reactor.kernel_mut().send(peer, REQUEST);
            reactor.settle().unwrap();
        }
        assert_eq!(reactor.hub().stats().panics, 1, "the last holder let go");
        reactor.kernel_mut().send(peer, b"\x81\x82\0\0\0\0hi");
        reactor.settle().unwrap();
        assert!(reactor.kernel_mut().received(peer).ends_with(b"\x81\x02hi"));
    }
}
