//! Reactors inside of other loops.
#![cfg(unix)]

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use ws_reactor::{
    Interest, Reactor, ReactorConfig, Version,
    mio::{Events, Poll, Token, unix::SourceFd},
};

use crate::support::{REQUEST, played::echo, wire};

/// Longest wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits as an edge-triggered loop does: for the descriptor of the reactor, and until its deadline.
fn turn(poll: &mut Poll, reactor: &mut Reactor) {
    let timeout = reactor.next_deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // The next timer is a ping, after 30 s.
    let timeout = timeout.unwrap_or(PATIENCE).min(PATIENCE);
    let mut events = Events::with_capacity(8);
    poll.poll(&mut events, Some(timeout)).unwrap();
    assert!(timeout < PATIENCE || !events.is_empty(), "the loop waits for events that were there");
    reactor.turn(Some(Duration::ZERO)).unwrap();
}

#[test]
fn more_events_than_a_poll_takes_are_handled_without_another_edge() {
    const CLIENTS: usize = 10;
    let mut reactor = Reactor::with_config(ReactorConfig::new().events(2)).unwrap();
    let addr = reactor.listen("127.0.0.1:0", echo()).unwrap().addr;
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut SourceFd(&reactor.as_raw_fd()), Token(0), Interest::READABLE).unwrap();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| TcpStream::connect(addr).unwrap()).collect();
    for client in &mut clients {
        client.write_all(REQUEST).unwrap();
    }
    while reactor.hub().stats().opened < CLIENTS as u64 {
        turn(&mut poll, &mut reactor);
    }
    let frame = wire::text(Version::Rfc6455, "hello");
    for client in &mut clients {
        client.write_all(&frame).unwrap();
    }
    while reactor.hub().stats().messages_out < CLIENTS as u64 {
        turn(&mut poll, &mut reactor);
    }
    for client in &mut clients {
        let mut received = [0; 512];
        assert!(client.read(&mut received).unwrap() > 0);
    }
}
