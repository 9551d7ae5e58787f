//! Listeners: opening, closing, and accepting when descriptors are scarce.

use std::{rc::Rc, time::Duration};

use ws_reactor::{
    Bind, Callbacks, Hub, ListenError, Listening, Reactor, ReactorConfig, Server, StreamHandler, Turn, Version,
    net::sim::{PeerId, Sim},
    on_message,
};

use crate::support::{
    REQUEST,
    played::{Log, drain},
    wire,
};

/// A handler that does nothing.
struct Unused;

impl StreamHandler for Unused {}

/// Records the result of opening a listener.
fn recording(log: &Log) -> impl FnOnce(&mut Hub, Result<Listening, ListenError>) + 'static {
    let log = Rc::clone(log);
    move |_, opened| {
        log.borrow_mut().push(match opened {
            Ok(listening) => format!("listening at {}", listening.addr),
            Err(error) => format!("{error:#}"),
        });
    }
}

#[test]
fn listener_opened_and_closed_through_the_hub_leaves_accepted_connections_open() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let log = Log::default();
    let echo = || Server::new(|_| on_message(|ws, message| _ = ws.send(message)));
    let first = reactor.listen("10.0.0.1:80", echo()).unwrap();
    reactor.hub().listen("10.0.0.1:81", echo(), recording(&log));
    reactor.hub().listen("10.0.0.1:80", echo(), recording(&log));
    reactor.hub().listen_stream(Bind::to("10.0.0.1:82").backlog(5), |_| Unused, recording(&log));
    assert!(reactor.kernel_mut().connect("10.0.0.1:81".parse().unwrap()).is_err(), "not before the turn");
    reactor.settle().unwrap();
    let results = drain(&log);
    assert_eq!((results[0].as_str(), results[2].as_str()), ("listening at 10.0.0.1:81", "listening at 10.0.0.1:82"));
    assert!(results[1].starts_with("cannot listen on 10.0.0.1:80"), "{}", results[1]);
    let second = reactor.kernel_mut().connect("10.0.0.1:81".parse().unwrap()).unwrap();
    reactor.kernel_mut().send(second, &wire::request(Version::Rfc6455, "/", ""));
    let accepted = reactor.kernel_mut().connect(first.addr).unwrap();
    reactor.kernel_mut().send(accepted, &wire::request(Version::Rfc6455, "/", ""));
    reactor.settle().unwrap();

    reactor.hub().close_listener(first.id);
    // A second close does nothing, and the id is not used again.
    reactor.hub().close_listener(first.id);
    reactor.settle().unwrap();
    assert!(reactor.kernel_mut().connect(first.addr).is_err());
    let again = reactor.listen("10.0.0.1:80", echo()).unwrap();
    reactor.hub().close_listener(first.id);
    reactor.settle().unwrap();
    assert!(again.id != first.id && reactor.kernel_mut().connect(first.addr).is_ok());
    for peer in [accepted, second] {
        reactor.kernel_mut().send(peer, &wire::text(Version::Rfc6455, "still here"));
        reactor.settle().unwrap();
        assert!(reactor.kernel_mut().received(peer).ends_with(b"still here"));
    }
    reactor.hub().shutdown(Duration::ZERO);
    reactor.hub().listen("10.0.0.1:83", Server::new(|_| Callbacks::new()), recording(&log));
    reactor.advance(Duration::from_secs(10)).unwrap();
    assert!(drain(&log)[0].contains("the reactor is shutting down"));
}

#[test]
fn listener_is_not_opened_during_a_shutdown() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen("10.0.0.1:80", Server::new(|_| Callbacks::new())).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.kernel_mut().send(peer, REQUEST);
    reactor.settle().unwrap();
    reactor.hub().shutdown(Duration::from_secs(5));
    for _ in 0..2 {
        let refused = reactor.listen("10.0.0.1:81", Server::new(|_| Callbacks::new()));
        assert!(matches!(refused, Err(ListenError::ShuttingDown { .. })), "{refused:?}");
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
}

// regression: a reactor that the last `on_close` stopped kept its listeners.
#[test]
fn listener_is_closed_when_the_last_on_close_stops_the_reactor() {
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

#[test]
fn listener_without_a_descriptor_pauses_and_accepts_again_when_a_connection_ends() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen("10.0.0.1:80", Server::new(|_| Callbacks::new())).unwrap().addr;
    reactor.kernel_mut().limit_connections(2);
    let peers: Vec<PeerId> = (0..4).map(|_| reactor.kernel_mut().connect(addr).unwrap()).collect();
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().accepted, 2);
    // The listener tries again at intervals, and wakes the loop rarely.
    let turns = reactor.hub().stats().turns;
    reactor.advance(Duration::from_secs(1)).unwrap();
    let turns = reactor.hub().stats().turns - turns;
    assert!(reactor.hub().stats().accepted == 2 && (10..50).contains(&turns), "{turns} turns in a second");
    // No time passes.
    reactor.kernel_mut().reset(peers[0]);
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().accepted, 3);
    reactor.kernel_mut().reset(peers[1]);
    reactor.settle().unwrap();
    assert_eq!((reactor.hub().stats().accepted, reactor.hub().stats().connections), (4, 2));
    // A descriptor that becomes free elsewhere in the process is noticed too.
    reactor.kernel_mut().limit_connections(3);
    reactor.kernel_mut().connect(addr).unwrap();
    reactor.advance(Duration::from_millis(100)).unwrap();
    assert_eq!(reactor.hub().stats().connections, 3);
}

#[test]
fn listeners_that_compete_for_one_descriptor_both_accept() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addrs = ["10.0.0.1:80", "10.0.0.1:81"]
        .map(|addr| reactor.listen(addr, Server::new(|_| Callbacks::new())).unwrap().addr);
    reactor.kernel_mut().limit_connections(1);
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.extend([0, 1].map(|index| (index, reactor.kernel_mut().connect(addrs[index]).unwrap())));
    }
    // An accepted peer leaves at once, and frees one descriptor.
    for _ in 0..10 {
        reactor.settle().unwrap();
        waiting.retain(|(_, peer)| {
            let accepted = reactor.kernel_mut().is_accepted(*peer);
            if accepted {
                reactor.kernel_mut().reset(*peer);
            }
            !accepted
        });
    }
    let left = |index: usize| waiting.iter().filter(|(listener, _)| *listener == index).count();
    assert!(left(0) < 9 && left(1) < 9, "{} and {} peers still wait", left(0), left(1));
}
