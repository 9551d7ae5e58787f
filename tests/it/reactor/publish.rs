//! Messages to other connections: publishes, and sends by id.

use std::{cell::RefCell, net::SocketAddr, rc::Rc};

use ws_reactor::{
    Callbacks, ConnectionId, Reactor, ReactorConfig, SendStatus, Server, Version, net::sim::Sim, on_message,
};

use crate::support::{REQUEST, wire};

// regression: the id of a closed connection excluded the connection in the same slot.
#[test]
fn publish_to_others_with_the_id_of_a_closed_connection_excludes_nobody() {
    let ids = Rc::new(RefCell::new(Vec::<ConnectionId>::new()));
    let opened = Rc::clone(&ids);
    let server = Server::new(move |_| {
        let opened = Rc::clone(&opened);
        Callbacks::new().on_open(move |ws, _| {
            ws.subscribe("all");
            opened.borrow_mut().push(ws.id());
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
    let closed = ids.borrow()[0];
    assert_eq!(reactor.hub().publish_to_others(closed, "all", "hello").queued, 1);
    assert_eq!(reactor.hub().send(closed, "hello"), SendStatus::Closed);
}

#[test]
fn large_message_forwarded_to_a_connection_that_also_sends_arrives_whole() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let server = Server::new(|_| {
        on_message(|ws, message| {
            let own = ws.id();
            let others: Vec<_> = ws.hub().connections().filter(|other| *other != own).collect();
            others.into_iter().for_each(|other| _ = ws.hub().send(other, message));
        })
    });
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let peers = [0; 3].map(|_| reactor.kernel_mut().connect(addr).unwrap());
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
        let messages = [one, other].map(|frame| std::str::from_utf8(&frame[4..]).unwrap());
        let others: Vec<&str> = letters.iter().map(String::as_str).filter(|letter| letter != own).collect();
        assert!(messages == others[..] || messages.iter().rev().eq(&others));
    }
}
