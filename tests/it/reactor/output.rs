//! Output: no accepted message is lost silently. Marks, the stall timeout, and the limit of all connections together.

use std::{
    cell::{Cell, RefCell},
    io::{Read, Write},
    net::TcpStream,
    rc::Rc,
    thread,
    time::Duration,
};

use ws_reactor::{
    Callbacks, Client, ClosedBy, Error, Message, OutputLimits, Overflow, OwnedMessage, Published, Reactor,
    ReactorConfig, SendStatus, Server, StreamConfig, StreamHandler, TestSocket, WebSocket, net::sim::Sim,
};

use crate::support::{self, Crowd, REQUEST, frames};

const MIB: usize = 1024 * 1024;

/// A server that calls `open` for each connection.
fn opening(open: impl Fn(&mut WebSocket<'_>) + Clone + 'static) -> Server {
    Server::new(move |_| {
        let open = open.clone();
        Callbacks::new().on_open(move |ws, _| open(ws))
    })
}

/// All that a real client of `server` receives, until the server closes.
fn received_from(server: Server) -> Vec<Vec<u8>> {
    let mut reactor = Reactor::new().unwrap();
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(REQUEST).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    });
    reactor.run().unwrap();
    frames(&client.join().unwrap())
}

#[test]
fn three_thousand_messages_of_one_callback_arrive() {
    let messages = received_from(opening(|ws| {
        for number in 0..3000_u32 {
            let status = ws.send([&number.to_be_bytes()[..], &[b'x'; 1020]].concat());
            assert!(status.is_queued(), "{number}: {status:?}");
        }
        ws.hub().shutdown(Duration::from_secs(2));
    }));
    // The last is the close frame.
    assert_eq!(messages.len(), 3001);
    for (number, message) in (0..3000_u32).zip(&messages) {
        assert_eq!((message.len(), &message[..4]), (1024, &number.to_be_bytes()[..]));
    }
}

#[test]
fn burst_of_12_mib_arrives_whole_and_send_returns_congested_above_the_high_water_mark() {
    let messages = received_from(opening(|ws| {
        let statuses: Vec<SendStatus> = (0..12).map(|number| ws.send(vec![number; MIB])).collect();
        assert_eq!(statuses[..2], [SendStatus::Queued, SendStatus::Congested]);
        assert!(statuses[1..].iter().all(|status| *status == SendStatus::Congested), "{statuses:?}");
        ws.hub().shutdown(Duration::from_secs(30));
    }));
    assert_eq!(messages.len(), 13);
    for (number, message) in messages[..12].iter().enumerate() {
        assert!(message.len() == MIB && message.iter().all(|byte| *byte == number as u8), "message {number}");
    }
}

#[test]
fn on_drain_follows_congestion() {
    let drained = Rc::new(Cell::new(0));
    let seen = Rc::clone(&drained);
    let server = Server::new(move |_| {
        let seen = Rc::clone(&seen);
        Callbacks::new().on_message(|ws, _| while ws.send(&[b'x'; 100_000]) != SendStatus::Congested {}).on_drain(
            move |ws| {
                seen.set(seen.get() + 1);
                assert!(ws.buffered() <= 32 * 1024);
                assert_eq!(ws.send("room again"), SendStatus::Queued);
            },
        )
    });
    let mut socket = TestSocket::connect(server, "/");
    socket.hold(1000);
    socket.send("go");
    assert_eq!(drained.get(), 0);
    socket.release();
    assert_eq!(drained.get(), 1);
    assert_eq!(socket.received().len(), 12 + 1);
}

/// The bytes that the server and the client of one connection receive if each sends `each` bytes when it opens.
fn burst_at_each_other(each: usize) -> (usize, usize) {
    let received = Rc::new((Cell::new(0), Cell::new(0)));
    let (at_server, at_client) = (Rc::clone(&received), Rc::clone(&received));
    let burst = move |ws: &mut WebSocket<'_>| {
        for _ in 0..each / MIB {
            assert!(ws.send(vec![7; MIB]).is_queued());
        }
    };
    let server = Server::new(move |_| {
        let at_server = Rc::clone(&at_server);
        Callbacks::new()
            .on_open(move |ws, _| burst(ws))
            .on_message(move |_, message| at_server.0.set(at_server.0.get() + message.len()))
    });
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.listen("10.0.0.1:80", server).unwrap();
    let handler = Callbacks::new()
        .on_open(move |ws, _| burst(ws))
        .on_message(move |_, message| at_client.1.set(at_client.1.get() + message.len()))
        .on_error(|_, error| panic!("{error:#}"));
    reactor.connect("ws://10.0.0.1/", Client::new(handler)).unwrap();
    reactor.advance(Duration::from_secs(120)).unwrap();
    (received.0.get(), received.1.get())
}

#[test]
fn two_ends_that_both_send_12_mib_at_once_both_receive_it() {
    assert_eq!(burst_at_each_other(12 * MIB), (12 * MIB, 12 * MIB));
}

#[test]
fn connection_that_is_not_read_because_of_its_output_is_read_once_a_second() {
    let read = Rc::new(Cell::new(0));
    let counted = Rc::clone(&read);
    let server = Server::new(move |_| {
        let counted = Rc::clone(&counted);
        Callbacks::new().on_message(move |ws, message| match message {
            Message::Text(_) => _ = ws.send(vec![0; 200_000]),
            Message::Binary(bytes) => counted.set(counted.get() + bytes.len()),
        })
    });
    let mut socket = TestSocket::connect(server, "/");
    socket.hold(0);
    socket.send("go");
    for _ in 0..40 {
        socket.send(&[b'x'; 32 * 1024]);
    }
    let early = read.get();
    assert!(early <= 64 * 1024, "{early} bytes before reading stopped");
    socket.advance(Duration::from_millis(900));
    assert_eq!(read.get(), early);
    socket.advance(Duration::from_millis(200));
    let first = read.get() - early;
    assert!((224 * 1024..=256 * 1024).contains(&first), "{first} bytes in the first second");
    socket.advance(Duration::from_secs(2));
    let next = read.get() - early - first;
    assert!((2 * 224 * 1024..=2 * 288 * 1024).contains(&next), "{next} bytes in two more seconds");
}

#[test]
fn output_at_its_limit_closes_the_connection_and_reports_a_slow_reader() {
    let events = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&events);
    let server = Server::new(move |_| {
        let (errors, closes) = (Rc::clone(&log), Rc::clone(&log));
        Callbacks::new()
            .on_message(|ws, _| {
                let mut statuses: Vec<SendStatus> = (0..17).map(|_| ws.send(vec![0; MIB])).collect();
                assert_eq!(statuses.pop(), Some(SendStatus::Closed));
                assert!(statuses.iter().all(|status| status.is_queued()));
                assert_eq!(ws.send("too late"), SendStatus::Closed);
            })
            .on_error(move |_, error| errors.borrow_mut().push(matches!(error, Error::SlowReader).to_string()))
            .on_close(move |_, reason| closes.borrow_mut().push(format!("{:?}", reason.by)))
    });
    let mut socket = TestSocket::connect(server, "/");
    socket.hold(1000);
    socket.send("go");
    assert!(socket.is_closed());
    assert_eq!(*events.borrow(), ["true", "SlowReader"]);
    let stats = socket.hub().stats();
    assert_eq!((stats.dropped, stats.buffered_bytes, stats.connections), (1, 0, 0));
}

#[test]
fn raw_stream_whose_peer_does_not_read_is_closed_at_the_stall_timeout() {
    struct Flood(Rc<RefCell<Vec<String>>>);
    impl StreamHandler for Flood {
        fn on_connect(&mut self, stream: &mut ws_reactor::Stream<'_>) {
            assert_eq!(stream.write(&[0; 100_000]), SendStatus::Queued);
        }

        fn on_close(&mut self, _: &mut ws_reactor::Stream<'_>, reason: &ws_reactor::CloseReason) {
            self.0.borrow_mut().push(format!("{:?}", reason.by));
        }
    }
    let events = Rc::new(RefCell::new(Vec::new()));
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let log = Rc::clone(&events);
    let config = StreamConfig::new().output(OutputLimits::new().stall_timeout(Duration::from_secs(3)));
    let addr = reactor.listen_stream_with("10.0.0.1:80", config, move |_| Flood(Rc::clone(&log))).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.kernel_mut().hold(peer, 10);
    reactor.advance(Duration::from_millis(2_990)).unwrap();
    assert!(events.borrow().is_empty());
    reactor.advance(Duration::from_millis(20)).unwrap();
    assert_eq!(*events.borrow(), [format!("{:?}", ClosedBy::SlowReader)]);
}

#[test]
fn client_whose_server_does_not_read_is_closed_at_the_stall_timeout() {
    // The test plays the server, and reads nothing.
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = "10.0.0.1:80".parse().unwrap();
    reactor.kernel_mut().play(addr);
    let events = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&events);
    let handler = Callbacks::new()
        .on_open(|ws, _| _ = ws.send(vec![0; 500_000]))
        .on_close(move |_, reason| log.borrow_mut().push(reason.by));
    let client = Client::new(handler).ping_after(None);
    reactor.connect("ws://10.0.0.1/", client).unwrap();
    reactor.settle().unwrap();
    let (peer, _) = reactor.kernel_mut().dialed().unwrap();
    let request = reactor.kernel_mut().received(peer);
    reactor.kernel_mut().hold(peer, 1000);
    reactor.kernel_mut().send(peer, &support::answer(&request));
    reactor.advance(Duration::from_millis(29_900)).unwrap();
    assert!(events.borrow().is_empty());
    reactor.advance(Duration::from_millis(200)).unwrap();
    assert_eq!(*events.borrow(), [ClosedBy::SlowReader]);
}

#[test]
fn connection_without_progress_for_longest_is_closed_when_all_together_hold_too_much() {
    let config = ReactorConfig::new().excess_output_bytes(3 * MIB + MIB / 4);
    let mut crowd = Crowd::new(config, 4, |server| server.ping_after(None));
    // Each output exceeds its mark by half a MiB. The third has waited longest.
    for member in [2, 0, 1] {
        crowd.hold(member, 1000);
        assert_eq!(crowd.send(member, vec![1; 3 * MIB / 2]), SendStatus::Queued);
        assert_eq!(crowd.send(member, "more"), SendStatus::Congested);
        crowd.advance(Duration::from_secs(1));
    }
    assert_eq!(crowd.open(), [true; 4]);
    // The fourth holds most, and is not closed.
    crowd.hold(3, 1000);
    assert_eq!(crowd.send(3, vec![2; 3 * MIB]), SendStatus::Queued);
    assert_eq!(crowd.send(3, "more"), SendStatus::Congested);
    crowd.advance(Duration::ZERO);
    assert_eq!(crowd.open(), [true, true, false, true]);
    assert_eq!(crowd.ends(), [(2, ClosedBy::SlowReader)]);
}

#[test]
fn payload_shared_by_many_connections_counts_once() {
    let config = ReactorConfig::new().excess_output_bytes(8 * MIB);
    let mut crowd = Crowd::new(config, 50, |server| server.ping_after(None));
    for member in 0..50 {
        crowd.hold(member, 1000);
    }
    for round in 0..5 {
        let Published { queued, congested, closed, .. } = crowd.publish(OwnedMessage::binary(vec![3; MIB + 1]));
        assert_eq!((queued, congested, closed), (50, if round == 0 { 0 } else { 50 }, 0), "{round}");
    }
    // 250 MiB are queued, and 5 MiB are in memory.
    assert_eq!(crowd.open(), [true; 50]);
    assert_eq!(crowd.reactor.hub().stats().buffered_bytes / MIB, 250);
}

#[test]
fn publish_counts_the_receivers_it_dropped_or_closed() {
    let limits = OutputLimits::new().high_water_bytes(1000).limit_bytes(2000);
    for overflow in [Overflow::Close, Overflow::DropNewest] {
        let limits = limits.clone().overflow(overflow);
        let mut crowd = Crowd::new(ReactorConfig::default(), 3, |server| {
            server.configure(|config| config.websocket.stream.output = limits)
        });
        crowd.hold(1, 0);
        let publish = |crowd: &mut Crowd| {
            let published = crowd.publish("x".repeat(1100));
            crowd.advance(Duration::ZERO);
            (published.queued, published.congested, published.dropped, published.closed)
        };
        assert_eq!(publish(&mut crowd), (3, 0, 0, 0));
        assert_eq!(publish(&mut crowd), (3, 1, 0, 0));
        let last = if overflow == Overflow::Close { (2, 0, 0, 1) } else { (2, 0, 1, 0) };
        assert_eq!(publish(&mut crowd), last);
        assert_eq!(crowd.open()[1], overflow == Overflow::DropNewest);
        assert_eq!(crowd.reactor.hub().stats().dropped, 1);
    }
}

#[test]
fn payload_type_decides_between_text_and_binary() {
    let mut socket = TestSocket::connect(
        opening(|ws| {
            ws.send("text");
            let (string, owned) = (String::from("text"), OwnedMessage::text("text"));
            ws.send(&string);
            ws.send(string);
            ws.send(Message::Text("text"));
            ws.send(&owned);
            ws.send(b"text");
            ws.send(vec![b't'; 20_000]);
            ws.send("t".repeat(20_000));
        }),
        "/",
    );
    let received = socket.received();
    assert!(received[..5].iter().all(|message| *message == "text".into()), "{received:?}");
    assert_eq!(received[5], ws_reactor::Received::Message(OwnedMessage::binary(b"text".to_vec())));
    assert_eq!(received[6], ws_reactor::Received::Message(OwnedMessage::binary(vec![b't'; 20_000])));
    assert_eq!(received[7], "t".repeat(20_000).as_str().into());
}

#[test]
fn send_that_exceeds_the_limit_of_all_connections_returns_closed() {
    for owned in [false, true] {
        let config = ReactorConfig::new().excess_output_bytes(MIB);
        let mut crowd = Crowd::new(config, 2, |server| server.ping_after(None));
        let sent = crowd.reactor.hub().stats().messages_out;
        crowd.hold(0, 1);
        let large = vec![b'x'; 4 * MIB];
        let status = if owned { crowd.send(0, large) } else { crowd.send(0, &large[..]) };
        assert_eq!(status, SendStatus::Closed, "owned: {owned}");
        crowd.advance(Duration::ZERO);
        assert_eq!(crowd.open(), [false, true]);
        assert_eq!(crowd.ends(), [(0, ClosedBy::SlowReader)]);
        let stats = crowd.reactor.hub().stats();
        assert_eq!((stats.messages_out - sent, stats.dropped), (0, 1));
    }
}

#[test]
fn end_is_not_clean_if_the_network_fails_before_the_last_output_is_written() {
    let reasons = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&reasons);
    let server = Server::new(move |_| {
        let log = Rc::clone(&log);
        Callbacks::new()
            .on_message(|ws, _| assert_eq!(ws.send(vec![0; 1000]), SendStatus::Queued))
            .on_close(move |_, reason| log.borrow_mut().push((reason.by, reason.clean)))
    });
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    for held in [false, true] {
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.kernel_mut().send(peer, REQUEST);
        reactor.settle().unwrap();
        if held {
            reactor.kernel_mut().hold(peer, 500);
        }
        // A text and a close frame, with masks of zeros.
        reactor.kernel_mut().send(peer, b"\x81\x81\0\0\0\0x\x88\x80\0\0\0\0");
        reactor.settle().unwrap();
        reactor.kernel_mut().reset(peer);
        reactor.advance(Duration::from_secs(10)).unwrap();
    }
    assert_eq!(*reasons.borrow(), [(ClosedBy::Peer, true), (ClosedBy::Peer, false)]);
}
