//! A part of a turn leaves the rest to the next turn, and nothing is lost in between.

use std::{
    cell::RefCell,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use ws_reactor::{
    Callbacks, CloseCode, Reactor, ReactorConfig, SendStatus, Server, Version,
    net::sim::{Buffers, Sim},
    on_message,
};

use crate::support::wire::{self, Kind};

/// What one connection writes in a turn.
const WRITTEN: usize = (1024 + 64) * 1024;

#[test]
fn large_output_of_one_connection_leaves_in_parts_and_others_are_served_between() {
    const ANSWER: usize = 9 << 20;
    let server = Server::new(|_| {
        on_message(|ws, message| match message.as_text() {
            Some("large") => assert_eq!(ws.send("y".repeat(ANSWER)), SendStatus::Queued),
            _ => drop(ws.send(message)),
        })
    });
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let peers = [0; 2].map(|_| reactor.kernel_mut().connect(addr).unwrap());
    for peer in peers {
        // The system takes everything at once.
        reactor.kernel_mut().set_buffers(peer, Buffers { send_bytes: usize::MAX / 2, ..Buffers::default() });
        reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
    }
    reactor.settle().unwrap();
    let [large, small] = peers;
    for peer in peers {
        reactor.kernel_mut().received(peer);
    }
    reactor.kernel_mut().send(large, &wire::text(Version::Rfc6455, "large"));
    let (mut received, mut turns, mut echoes) = (0, 0, 0);
    while received < ANSWER + 10 {
        let before = reactor.hub().stats().bytes_out;
        reactor.kernel_mut().send(small, &wire::text(Version::Rfc6455, "small"));
        reactor.turn(Some(Duration::ZERO)).unwrap();
        let written = (reactor.hub().stats().bytes_out - before) as usize;
        assert!(written <= WRITTEN + 100, "{written} bytes in a turn");
        received += reactor.kernel_mut().received(large).len();
        echoes += reactor.kernel_mut().received(small).len() / 7;
        turns += 1;
        assert!(turns < 100, "{received} bytes after {turns} turns");
    }
    assert!(turns >= ANSWER / WRITTEN && echoes >= turns - 2, "{echoes} echoes in {turns} turns");
    assert_eq!(received, ANSWER + 10);
}

#[test]
fn close_after_large_output_comes_last_and_the_connection_ends() {
    let server = Server::new(|_| {
        on_message(|ws, _| {
            ws.send("y".repeat(5 << 20));
            ws.close(CloseCode::NORMAL, "done");
        })
    });
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.kernel_mut().set_buffers(peer, Buffers { send_bytes: usize::MAX / 2, ..Buffers::default() });
    reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
    reactor.kernel_mut().send(peer, &wire::text(Version::Rfc6455, "go"));
    reactor.settle().unwrap();
    let received = reactor.kernel_mut().received(peer);
    assert!(received.len() > 5 << 20 && received.ends_with(b"\x88\x06\x03\xe8done"));
    reactor.kernel_mut().send(peer, &wire::frame(Version::Rfc6455, Kind::Close, true, b"\x03\xe8"));
    reactor.settle().unwrap();
    assert!(reactor.kernel_mut().is_ended(peer));
    reactor.kernel_mut().finish(peer);
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().connections, 0);
}

/// A client that sends `count` messages, and receives those of all.
fn chat(addr: SocketAddr, count: usize, all: usize) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(&wire::request(Version::Rfc6455, "/", "")).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    // All have subscribed when this one's own message comes back.
    let mut frame = [0; 2 + 4];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(&frame, b"\x81\x04go!!");
    for _ in 0..count {
        stream.write_all(&wire::text(Version::Rfc6455, "word")).unwrap();
    }
    for _ in 0..all {
        stream.read_exact(&mut frame).unwrap();
        assert_eq!(&frame, b"\x81\x04word");
    }
    stream.write_all(&wire::frame(Version::Rfc6455, Kind::Close, true, b"\x03\xe8")).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"\x88\x02\x03\xe8");
}

// With no time at all, each part of each turn ends at its first look at the clock.
#[test]
fn nothing_is_lost_if_every_part_of_every_turn_is_cut_short() {
    const CLIENTS: usize = 60;
    const MESSAGES: usize = 20;
    for busy in [Duration::ZERO, Duration::from_micros(50)] {
        let config = ReactorConfig::new().time_slice(Duration::ZERO).busy_poll(busy);
        let mut reactor = Reactor::with_config(config).unwrap();
        let closed = Rc::new(RefCell::new(0));
        let (log, opened) = (Rc::clone(&closed), Rc::new(RefCell::new(0)));
        let server = Server::new(move |_| {
            let (log, opened) = (Rc::clone(&log), Rc::clone(&opened));
            Callbacks::new()
                .on_open(move |ws, _| {
                    ws.subscribe("all");
                    *opened.borrow_mut() += 1;
                    if *opened.borrow() == CLIENTS {
                        // From a tick, a timer, a command: each part of the turn has something to do.
                        let remote = ws.hub().remote();
                        ws.hub().next_tick(move |hub| {
                            hub.add_timer(Duration::from_millis(1), move |_| {
                                remote.publish("all", "go!!").expect("the queue has room");
                            });
                        });
                    }
                })
                .on_message(|ws, message| {
                    ws.hub().publish("all", message);
                })
                .on_close(move |_, _| *log.borrow_mut() += 1)
        });
        let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| thread::spawn(move || chat(addr, MESSAGES, CLIENTS * MESSAGES))).collect();
        let until = Instant::now() + Duration::from_secs(60);
        while *closed.borrow() < CLIENTS {
            reactor.turn(Some(Duration::from_secs(1))).unwrap();
            assert!(Instant::now() < until, "{} of {CLIENTS} closed", closed.borrow());
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
        assert_eq!(reactor.hub().stats().timed_out, 0);
    }
}

/// Clients whose handshakes are done.
fn clients(reactor: &mut Reactor, addr: SocketAddr, count: usize) -> Vec<TcpStream> {
    let streams: Vec<TcpStream> = (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(&wire::request(Version::Rfc6455, "/", "")).unwrap();
            stream
        })
        .collect();
    while (reactor.hub().stats().opened as usize) < count {
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
    streams
}

#[test]
fn stop_sends_what_was_published_to_all_whatever_time_that_takes() {
    const CLIENTS: usize = 150;
    let mut reactor = Reactor::with_config(ReactorConfig::new().time_slice(Duration::ZERO)).unwrap();
    let server = Server::new(|_| {
        Callbacks::new().on_open(|ws, _| {
            ws.subscribe("all");
        })
    });
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let mut streams = clients(&mut reactor, addr, CLIENTS);
    reactor.hub().publish("all", "last words");
    reactor.hub().stop();
    reactor.run().unwrap();
    for stream in &mut streams {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(received.ends_with(b"last words"));
    }
}

#[cfg(unix)]
#[test]
fn next_deadline_is_now_while_events_are_left() {
    const CLIENTS: usize = 20;
    let mut reactor = Reactor::with_config(ReactorConfig::new().time_slice(Duration::ZERO)).unwrap();
    let addr = reactor.listen("127.0.0.1:0", Server::new(|_| on_message(|_, _| {}))).unwrap().addr;
    let mut streams = clients(&mut reactor, addr, CLIENTS);
    streams.iter_mut().for_each(|stream| stream.write_all(&wire::text(Version::Rfc6455, "x")).unwrap());
    thread::sleep(Duration::from_millis(20));
    while (reactor.hub().stats().messages_in as usize) < CLIENTS {
        reactor.turn(Some(Duration::ZERO)).unwrap();
        let left = CLIENTS - reactor.hub().stats().messages_in as usize;
        let next = reactor.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        assert!(left == 0 || next == Some(Duration::ZERO), "{left} are left, and the next turn is due in {next:?}");
    }
}
