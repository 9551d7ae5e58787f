//! Counters of single connections.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Callbacks, ConnectionId, ConnectionStats, OutputLimits, Overflow, Received, SendStatus, Server, StreamConfig,
    TestSocket, Version,
};

type Shared<T> = Rc<RefCell<T>>;

/// A server that echoes and answers `ping` with a ping, and the ids and last counters of its connections.
fn counted(stream: StreamConfig) -> (Server, Shared<Vec<ConnectionId>>, Shared<Option<ConnectionStats>>) {
    let (ids, last) = (Shared::<Vec<_>>::default(), Shared::<Option<_>>::default());
    let (opened, ended) = (Rc::clone(&ids), Rc::clone(&last));
    let server = Server::new(move |_| {
        let (opened, ended) = (Rc::clone(&opened), Rc::clone(&ended));
        Callbacks::new()
            .on_open(move |ws, _| {
                ws.subscribe("all");
                opened.borrow_mut().push(ws.id());
            })
            .on_message(|ws, message| {
                assert!(ws.stats().is_none_or(|stats| stats.messages_in > 0), "this message is counted");
                match message.as_text() {
                    Some("ping") => ws.ping(b"now"),
                    _ => ws.send(message),
                };
            })
            .on_close(move |ws, _| *ended.borrow_mut() = ws.stats())
    })
    .configure(|config| config.websocket.stream = stream);
    (server, ids, last)
}

#[test]
fn messages_and_bytes_are_counted_until_on_close() {
    for version in [Version::Hixie76, Version::Rfc6455] {
        let (server, ids, last) = counted(StreamConfig::new().connection_stats(true));
        let mut socket = TestSocket::connect_as(version, server, "/");
        let id = ids.borrow()[0];
        let before = socket.hub().connection_stats(id).expect("counted");
        assert_eq!((before.messages_in, before.messages_out), (0, 0));
        assert!(before.bytes_in > 100 && before.bytes_out > 100, "the handshake counts: {before:?}");
        socket.send("one");
        socket.send("two");
        socket.hub().publish("all", "three");
        socket.hub().send_latest(id, "key", "four");
        socket.settle();
        let stats = socket.hub().connection_stats(id).unwrap();
        assert_eq!((stats.messages_in, stats.messages_out, stats.dropped), (2, 4, 0), "{version}");
        // Each frame has two bytes besides its payload, and a client of RFC 6455 adds a masking key.
        let mask = if version == Version::Rfc6455 { 4 } else { 0 };
        assert_eq!(stats.bytes_in - before.bytes_in, 2 * (3 + 2 + mask));
        assert_eq!(stats.bytes_out - before.bytes_out, 3 + 3 + 5 + 4 + 4 * 2);
        socket.reset();
        let closed = last.borrow().expect("on_close reads the counters");
        assert_eq!((closed.messages_in, closed.messages_out), (2, 4));
        assert_eq!(socket.hub().connection_stats(id), None, "the connection has ended");
    }
}

#[test]
fn round_trip_of_the_last_ping_is_measured() {
    let (server, ids, _) = counted(StreamConfig::new().connection_stats(true));
    let mut socket = TestSocket::connect(server, "/");
    let id = ids.borrow()[0];
    let round_trip = |socket: &mut TestSocket| socket.hub().connection_stats(id).unwrap().ping_round_trip;
    socket.send("ping");
    socket.advance(Duration::from_millis(30));
    socket.pong(b"other");
    assert_eq!(round_trip(&mut socket), None, "the pong answers another ping");
    socket.advance(Duration::from_millis(20));
    socket.pong(b"now");
    assert_eq!(round_trip(&mut socket), Some(Duration::from_millis(50)));
    socket.advance(Duration::from_secs(1));
    socket.pong(b"now");
    assert_eq!(round_trip(&mut socket), Some(Duration::from_millis(50)), "a second pong answers nothing");
    // The keep-alive ping, 20 s after the last frame. A pong without data does not answer it.
    socket.received();
    socket.advance(Duration::from_secs(20));
    let received = socket.received();
    let [Received::Ping(data)] = &received[..] else { panic!("a ping") };
    socket.pong(b"");
    socket.advance(Duration::from_millis(7));
    socket.pong(data);
    assert_eq!(round_trip(&mut socket), Some(Duration::from_millis(7)));
    // Two pings in flight: each pong is measured from its own ping.
    socket.hub().ping(id, b"1");
    socket.advance(Duration::from_millis(10));
    socket.hub().ping(id, b"2");
    socket.advance(Duration::from_millis(10));
    socket.pong(b"1");
    assert_eq!(round_trip(&mut socket), Some(Duration::from_millis(20)));
    socket.pong(b"2");
    assert_eq!(round_trip(&mut socket), Some(Duration::from_millis(10)));
}

#[test]
fn refused_messages_are_counted_for_their_connection() {
    let output = OutputLimits::new().high_water_bytes(1000).limit_bytes(2000).overflow(Overflow::DropNewest);
    let (server, ids, _) = counted(StreamConfig::new().output(output).connection_stats(true));
    let mut socket = TestSocket::connect(server, "/");
    let id = ids.borrow()[0];
    socket.hold(0);
    let sent: Vec<SendStatus> = (0..5).map(|_| socket.hub().send(id, "x".repeat(900).as_str())).collect();
    let refused = sent.iter().filter(|status| **status == SendStatus::Dropped).count();
    assert!(refused > 0, "{sent:?}");
    let published = socket.hub().publish("all", "late");
    assert_eq!(published.dropped, 1);
    let stats = socket.hub().connection_stats(id).unwrap();
    assert_eq!((stats.messages_out as usize, stats.dropped as usize), (5 - refused, refused + 1));
}

#[test]
fn connections_are_not_counted_by_default() {
    let (server, ids, last) = counted(StreamConfig::new());
    let mut socket = TestSocket::connect(server, "/");
    socket.send("one");
    let id = ids.borrow()[0];
    assert_eq!(socket.hub().connection_stats(id), None);
    socket.reset();
    assert_eq!(*last.borrow(), None);
}
