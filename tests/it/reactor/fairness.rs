//! Large input of some connections does not delay others.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Reactor, ReactorConfig, Server, Version,
    net::sim::{PeerId, Sim},
    on_message,
};

use crate::support::wire;

// regression: connections with much input used up each turn, and the others were not read.
#[test]
fn turn_reads_at_most_its_budget_and_a_small_message_is_not_delayed() {
    const BUDGET: usize = 256 * 1024;
    let config = ReactorConfig::new().turn_budget_bytes(BUDGET);
    let mut reactor = Reactor::on(Sim::new(), config);
    let messages = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&messages);
    let server = Server::new(move |handshake| {
        let (log, peer) = (Rc::clone(&log), handshake.path()[1..].parse::<usize>().unwrap());
        on_message(move |_, message| log.borrow_mut().push((peer, message.len())))
    });
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let peers: Vec<PeerId> = (0..20).map(|_| reactor.kernel_mut().connect(addr).unwrap()).collect();
    for (number, peer) in peers.iter().enumerate() {
        reactor.kernel_mut().send(*peer, &wire::request(Version::Rfc6455, &format!("/{number}"), ""));
    }
    reactor.settle().unwrap();
    let message = wire::text(Version::Rfc6455, "x".repeat(500_000));
    for peer in &peers[1..] {
        reactor.kernel_mut().send(*peer, &message);
    }
    let all_received =
        |messages: &[(usize, usize)]| (0..peers.len()).all(|peer| messages.iter().any(|(other, _)| *other == peer));
    let (mut turns, mut received_in) = (0, None);
    while !all_received(&messages.borrow()) {
        let before = reactor.hub().stats().bytes_in;
        if turns == 3 {
            reactor.kernel_mut().send(peers[0], &wire::text(Version::Rfc6455, "one word"));
        }
        // Seven peers send more than a turn reads, in every turn.
        for peer in &peers[1..8] {
            reactor.kernel_mut().send(*peer, &message);
        }
        reactor.turn(Some(Duration::ZERO)).unwrap();
        turns += 1;
        let read = (reactor.hub().stats().bytes_in - before) as usize;
        // A turn has two parts, and the last read of a part may be as large as a message. After it each connection is
        // still read once.
        assert!(read <= 2 * (BUDGET + 565_000) + peers.len() * 16 * 1024, "{read} bytes in a turn");
        if received_in.is_none() && messages.borrow().contains(&(0, 8)) {
            received_in = Some(turns);
        }
        assert!(turns < 1000, "every connection is read");
    }
    // The peer sends its word in the fourth turn.
    assert!(turns > 10 && received_in.is_some_and(|turn| turn <= 5), "{received_in:?} of {turns}");
}

// regression: a whole megabyte of one connection was read before the next connection was served.
#[test]
fn message_of_megabytes_is_read_in_parts_and_other_connections_are_served_between() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor
        .listen("10.0.0.1:80", Server::new(|_| on_message(|ws, message| assert!(ws.send(message).is_queued()))))
        .unwrap()
        .addr;
    let peers = [0; 2].map(|_| reactor.kernel_mut().connect(addr).unwrap());
    for peer in peers {
        reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
        reactor.settle().unwrap();
        reactor.kernel_mut().received(peer);
    }
    let message = "x".repeat(5 << 20);
    reactor.kernel_mut().send(peers[0], &wire::text(Version::Rfc6455, &message));
    let (mut received, mut echoed, mut turns, mut arrived) = (Vec::new(), 0, 0, 0);
    while received.len() < message.len() + 10 {
        reactor.kernel_mut().send(peers[1], &wire::text(Version::Rfc6455, "a word"));
        let before = reactor.hub().stats().bytes_in;
        reactor.turn(Some(Duration::ZERO)).unwrap();
        let read = reactor.hub().stats().bytes_in - before;
        // The end of the message fits the buffer and is read at once. The first read does not know the length yet.
        let rest = message.len() as u64 - arrived.min(message.len() as u64);
        let most = if rest > (1088 + 256) * 1024 { 256 * 1024 } else { 1088 * 1024 };
        assert!(read <= most + 65_536 + 12, "{read} bytes after {arrived}");
        arrived += read;
        received.extend(reactor.kernel_mut().received(peers[0]));
        echoed += reactor.kernel_mut().received(peers[1]).len();
        turns += 1;
        // The peer receives in the next turn what a turn writes.
        assert!(echoed >= 8 * (turns - 1), "the small message is echoed in each turn");
    }
    assert!(received[10..] == *message.as_bytes());
    assert!(turns >= 16, "{turns}");
}
