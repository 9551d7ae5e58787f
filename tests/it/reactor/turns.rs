//! Turns: the work between two waits is bounded, including deliveries and endings.

use std::{cell::Cell, rc::Rc, time::Duration};

use ws_reactor::{Callbacks, Reactor, ReactorConfig, Server, net::sim::Sim};

use crate::support::{REQUEST, frames};

const BUDGET: usize = 500;
const MEMBERS: usize = 400;

/// Subscribers of one topic that publish each message they receive and their end, and one echo connection that is not
/// subscribed.
struct Topic {
    reactor: Reactor<Sim>,
    peers: Vec<ws_reactor::net::sim::PeerId>,
    ended: Rc<Cell<usize>>,
}

impl Topic {
    fn new(config: ReactorConfig) -> Self {
        let ended = Rc::new(Cell::new(0));
        let counted = Rc::clone(&ended);
        let server = Server::new(move |handshake| {
            let (member, counted) = (handshake.path() == "/member", Rc::clone(&counted));
            Callbacks::new()
                .on_open(move |ws, _| _ = member && ws.subscribe("all"))
                .on_message(move |ws, message| match member {
                    true => _ = ws.publish("all", message),
                    false => _ = ws.send(message),
                })
                .on_close(move |ws, _| {
                    counted.set(counted.get() + 1);
                    ws.publish("all", "gone");
                })
        });
        let mut reactor = Reactor::on(Sim::new(), config);
        let addr = reactor.listen("10.0.0.1:80", server.ping_after(None)).unwrap().addr;
        let request = String::from_utf8_lossy(REQUEST).replace("GET / ", "GET /member ");
        let mut peers = Vec::new();
        for number in 0..=MEMBERS {
            let peer = reactor.kernel_mut().connect(addr).unwrap();
            reactor.kernel_mut().send(peer, if number == 0 { REQUEST } else { request.as_bytes() });
            peers.push(peer);
        }
        reactor.settle().unwrap();
        Topic { reactor, peers, ended }
    }

    /// Runs turns until `done`. Returns how many messages each turn queued.
    fn turns(&mut self, done: impl Fn(&mut Self) -> bool) -> Vec<usize> {
        let mut queued = Vec::new();
        while !done(self) {
            let before = self.reactor.hub().stats().messages_out;
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
            queued.push((self.reactor.hub().stats().messages_out - before) as usize);
            assert!(queued.len() < 10_000, "the work ends");
        }
        queued
    }
}

#[test]
fn published_endings_of_many_connections_are_delivered_in_bounded_turns() {
    let mut topic = Topic::new(ReactorConfig::new().delivery_budget(BUDGET));
    // Half of the members leave at once. Each end is published to the rest.
    let Topic { reactor, peers, .. } = &mut topic;
    for peer in &peers[1..=MEMBERS / 2] {
        reactor.kernel_mut().reset(*peer);
    }
    let bystander = topic.peers[0];
    topic.reactor.kernel_mut().received(bystander);
    topic.reactor.kernel_mut().send(bystander, b"\x81\x85\0\0\0\0hello");
    let queued = topic.turns(|topic| topic.ended.get() == MEMBERS / 2);
    // A turn has two parts, and a publish is not divided.
    let most = 2 * (BUDGET + MEMBERS);
    assert!(queued.iter().all(|queued| *queued <= most), "{queued:?}");
    assert!(queued.len() >= MEMBERS / 2 * MEMBERS / 2 / most, "{} turns", queued.len());
    assert_eq!(topic.reactor.kernel_mut().received(bystander), b"\x81\x05hello", "the bystander is served meanwhile");
    // The other members receive each message.
    topic.reactor.settle().unwrap();
    let last = *topic.peers.last().unwrap();
    let received = topic.reactor.kernel_mut().received(last);
    assert_eq!(frames(&received).iter().filter(|message| *message == b"gone").count(), MEMBERS / 2);
}

#[test]
fn publishes_of_many_connections_are_delivered_in_bounded_turns() {
    let mut topic = Topic::new(ReactorConfig::new().delivery_budget(BUDGET));
    let Topic { reactor, peers, .. } = &mut topic;
    for peer in &peers[1..] {
        reactor.kernel_mut().send(*peer, b"\x81\x82\0\0\0\0hi\x81\x82\0\0\0\0ho");
    }
    let queued = topic.turns(|topic| topic.reactor.hub().stats().messages_out as usize == 2 * MEMBERS * MEMBERS);
    let most = 2 * (BUDGET + MEMBERS);
    assert!(queued.iter().all(|queued| *queued <= most), "{queued:?}");
    topic.reactor.settle().unwrap();
    let last = *topic.peers.last().unwrap();
    let received = topic.reactor.kernel_mut().received(last);
    assert_eq!(frames(&received).len(), 2 * MEMBERS);
}

#[test]
fn writes_after_a_publish_are_done_in_bounded_turns() {
    let mut topic = Topic::new(ReactorConfig::new().write_budget(100));
    let receivers = |topic: &mut Topic| {
        let peers = topic.peers[1..].to_vec();
        peers
            .into_iter()
            .map(|peer| topic.reactor.kernel_mut().received(peer).len())
            .filter(|length| *length > 0)
            .count()
    };
    receivers(&mut topic);
    assert_eq!(topic.reactor.hub().publish("all", "news").queued, MEMBERS);
    for turn in 1..=MEMBERS / 100 {
        let before = topic.reactor.hub().stats().bytes_out;
        topic.reactor.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(topic.reactor.hub().stats().bytes_out - before, 100 * b"\x81\x04news".len() as u64, "turn {turn}");
    }
    topic.reactor.settle().unwrap();
    assert_eq!(receivers(&mut topic), MEMBERS);
}

#[test]
fn turn_after_work_of_the_application_does_not_wait_past_the_next_timer() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.hub().add_timer(Duration::from_secs(10), |_| {});
    reactor.turn(Some(Duration::ZERO)).unwrap();
    // The application works for nine seconds between two turns.
    reactor.kernel_mut().advance(Duration::from_secs(9));
    reactor.turn(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(reactor.kernel_mut().last_timeout(), Some(Duration::from_secs(1)));
    reactor.turn(Some(Duration::from_millis(10))).unwrap();
    assert_eq!(reactor.kernel_mut().last_timeout(), Some(Duration::from_millis(10)));
}
