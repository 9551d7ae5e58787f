//! Targets for whole reactors on the simulated system: a server with arbitrary peers, and a client with an arbitrary
//! server.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use super::Chance;
use crate::{
    Callbacks, Client, CloseCode, ConnectionId, Hub, MessageLimits, Reactor, ReactorConfig, Server, Version,
    net::{
        Kernel,
        sim::{Faults, PeerId, Sim},
    },
    protocol::{
        Incoming, MessageDecoder,
        handshake::{sample_proof, sample_request},
    },
};

/// Record of the callbacks.
#[derive(Default)]
struct Told {
    opened: Vec<ConnectionId>,
    closed: Vec<ConnectionId>,
    /// Accepted messages of the connections that ended cleanly, by path.
    clean: HashMap<String, u64>,
}

/// A peer of the server under test.
struct Peer {
    id: PeerId,
    version: Version,
    /// The peer offers compression.
    compresses: bool,
    /// The peer has reset the connection, so that bytes on their way to it are lost.
    reset: bool,
}

fn watching(told: &Rc<RefCell<Told>>) -> Callbacks {
    let [open, message, close] = [0; 3].map(|_| Rc::clone(told));
    let path = Rc::new(RefCell::new(String::new()));
    let opened = Rc::clone(&path);
    Callbacks::new()
        .on_open(move |ws, handshake| {
            handshake.path().clone_into(&mut opened.borrow_mut());
            open.borrow_mut().opened.push(ws.id());
        })
        .on_message(move |ws, text| {
            assert!(!message.borrow().closed.contains(&ws.id()), "a message after the end");
            let length = text.len();
            ws.send(text);
            match length % 64 {
                1 => drop(ws.subscribe("all")),
                2 => drop(ws.publish("all", "to all")),
                3 => drop(ws.close(CloseCode::NORMAL, "three")),
                4 => ws.terminate(),
                5 => {
                    let id = ws.id();
                    ws.pause();
                    ws.hub().add_timer(Duration::from_millis(50), move |hub| {
                        hub.resume(id);
                    });
                }
                6 => panic!("deliberate"),
                _ => {}
            }
        })
        .on_close(move |ws, reason| {
            let mut told = close.borrow_mut();
            told.closed.push(ws.id());
            if let Some(stats) = ws.stats().filter(|_| reason.clean) {
                told.clean.insert(path.borrow().clone(), stats.messages_out);
            }
        })
}

/// Ends all connections and checks that nothing is left.
fn ended(reactor: &mut Reactor<Sim>, told: &Rc<RefCell<Told>>, clients: bool) {
    reactor.hub().shutdown(Duration::from_secs(5));
    reactor.advance(Duration::from_secs(100)).unwrap();
    assert_eq!(reactor.hub().stats().connections, 0);
    let told = told.borrow();
    for id in &told.opened {
        assert_eq!(told.closed.iter().filter(|closed| *closed == id).count(), 1, "one end for {id}");
    }
    assert!(clients || told.closed.len() == told.opened.len());
}

fn quietly<T>(run: impl FnOnce() -> T) -> T {
    // Hides the intended panics of handlers; a failing target shows itself anyway.
    thread_local!(static ONCE: std::sync::Once = const { std::sync::Once::new() });
    ONCE.with(|once| {
        once.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if panic.payload().downcast_ref::<&str>() != Some(&"deliberate") {
                    usual(panic);
                }
            }));
        });
    });
    run()
}

pub(super) fn server(data: &[u8]) {
    quietly(|| {
        let mut chance = Chance(data);
        let faults = if chance.octet() & 1 == 0 { Faults::default() } else { Faults::ROUGH };
        let mut reactor = Reactor::on(Sim::with_faults(u64::from(chance.octet()), faults), ReactorConfig::default());
        let told = Rc::<RefCell<Told>>::default();
        let shared = Rc::clone(&told);
        let server = Server::new(move |_| watching(&shared))
            .max_message_bytes(5000)
            .configure(|config| config.websocket.stream.connection_stats = true);
        #[cfg(feature = "deflate")]
        let server = server.deflate(crate::DeflateConfig::dedicated());
        let address = reactor.listen("10.0.0.1:80", server).unwrap().addr;
        let mut peers: Vec<Peer> = Vec::new();
        for _ in 0..60 {
            if chance.is_over() {
                break;
            }
            step(&mut reactor, &mut chance, &mut peers, address);
        }
        // The other peers may hold their output to the end.
        let plain: Vec<(usize, &Peer)> =
            peers.iter().enumerate().filter(|(_, peer)| !peer.compresses && !peer.reset).collect();
        plain.iter().for_each(|(_, peer)| reactor.kernel_mut().release(peer.id));
        reactor.settle().unwrap();
        ended(&mut reactor, &told, false);
        let (network, told) = (reactor.kernel_mut(), told.borrow());
        for (index, peer) in plain {
            let Some(accepted) = told.clean.get(&format!("/{index}")) else { continue };
            // The network may still hold output that the system took before the end.
            while !network.is_ended(peer.id) {
                network.poll(&mut Vec::new(), Some(Duration::ZERO)).unwrap();
            }
            let received = network.received(peer.id);
            assert_eq!(messages(peer.version, received), *accepted, "nothing that was accepted is lost");
        }
    });
}

/// Number of messages behind the response head and its proof.
fn messages(version: Version, received: Vec<u8>) -> u64 {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n").expect("a response") + 4;
    let mut rest = received[head + sample_proof(version).len()..].to_vec();
    let mut decoder = MessageDecoder::client(version, MessageLimits::default());
    let (mut at, mut count) = (0, 0);
    while let (used, Some(incoming)) = decoder.decode(&mut rest[at..]).expect("the server keeps to the protocol") {
        at += used;
        count += u64::from(matches!(incoming, Incoming::Message(_)));
    }
    count
}

fn step(reactor: &mut Reactor<Sim>, chance: &mut Chance<'_>, peers: &mut Vec<Peer>, address: std::net::SocketAddr) {
    let choice = chance.octet();
    let chosen = chance.below(peers.len().max(1));
    let somebody = peers.get(chosen).map(|peer| peer.id);
    match (choice % 12, somebody) {
        (0 | 1, _) | (_, None) if peers.len() < 6 => {
            let version = Version::ALL[chance.below(Version::ALL.len())];
            let peer = reactor.kernel_mut().connect(address).unwrap();
            let compresses = choice & 16 != 0;
            let offer = if compresses { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
            let path = format!("/{}", peers.len());
            reactor.kernel_mut().send(peer, &sample_request(version, &path, offer));
            peers.push(Peer { id: peer, version, compresses, reset: false });
        }
        (2..=6, Some(peer)) => {
            let length = chance.below(200);
            reactor.kernel_mut().send(peer, chance.some(length));
        }
        (7, Some(peer)) if choice & 16 == 0 => reactor.kernel_mut().finish(peer),
        // A close frame.
        (7, Some(peer)) => reactor.kernel_mut().send(peer, &[0x88, 0x80, 0, 0, 0, 0]),
        (8, Some(peer)) => {
            peers[chosen].reset = true;
            reactor.kernel_mut().reset(peer);
        }
        (9, Some(peer)) if choice & 16 == 0 => reactor.kernel_mut().hold(peer, 300),
        (9, Some(peer)) => reactor.kernel_mut().release(peer),
        (10, _) => reactor.advance(Duration::from_millis(300 * chance.below(256) as u64)).map(drop).unwrap(),
        (11, _) => act(reactor.hub(), chance),
        _ => {}
    }
    match choice & 32 {
        0 => drop(reactor.turn(Some(Duration::ZERO)).unwrap()),
        _ => drop(reactor.settle().unwrap()),
    }
}

fn act(hub: &mut Hub, chance: &mut Chance<'_>) {
    let all: Vec<ConnectionId> = hub.connections().collect();
    let Some(id) = all.get(chance.below(all.len().max(1))).copied() else { return };
    match chance.octet() % 6 {
        0 => drop(hub.send(id, "from the hub")),
        1 => drop(hub.close(id, CloseCode::GOING_AWAY, "")),
        2 => drop(hub.terminate(id)),
        3 => drop(hub.publish("all", "x".repeat(chance.below(3000)))),
        4 => drop(hub.ping(id, b"")),
        _ => drop(hub.subscribe(id, "all")),
    }
}

pub(super) fn client(data: &[u8]) {
    quietly(|| {
        let mut chance = Chance(data);
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let address = "10.0.0.1:80".parse().unwrap();
        reactor.kernel_mut().play(address);
        let told = Rc::<RefCell<Told>>::default();
        let version = Version::ALL[chance.below(Version::ALL.len())];
        let client = Client::new(watching(&told)).version(version).max_message_bytes(5000).follow_redirects(3);
        #[cfg(feature = "deflate")]
        let client = client.deflate(crate::DeflateConfig::dedicated());
        let client = match chance.octet() % 4 {
            0 => client.proxy("http://10.0.0.1:80".parse().unwrap()),
            1 => client.proxy("socks5://10.0.0.1:80".parse().unwrap()),
            _ => client,
        };
        let id = reactor.connect("ws://10.0.0.1/", client).unwrap();
        reactor.settle().unwrap();
        for _ in 0..20 {
            let Some((peer, _)) = reactor.kernel_mut().dialed() else { break };
            let heard = reactor.kernel_mut().received(peer);
            // Sometimes a valid answer, by this crate's server.
            if chance.octet() & 1 == 0 && heard.starts_with(b"GET") {
                let answer = answered(&heard);
                reactor.kernel_mut().send(peer, &answer);
                reactor.settle().unwrap();
            }
            let pieces = 1 + chance.below(5);
            for _ in 0..pieces {
                let length = chance.below(200);
                reactor.kernel_mut().send(peer, chance.some(length));
                reactor.settle().unwrap();
            }
            match chance.octet() % 4 {
                0 => reactor.kernel_mut().finish(peer),
                1 => reactor.kernel_mut().reset(peer),
                _ => {}
            }
            reactor.settle().unwrap();
        }
        reactor.advance(Duration::from_secs(100)).unwrap();
        // A hixie server may be silent for ever.
        reactor.hub().terminate(id);
        ended(&mut reactor, &told, true);
        assert_eq!(told.borrow().closed.len(), 1, "one end, whether it was open or not");
    });
}

/// The response of this crate's server to a request.
fn answered(request: &[u8]) -> Vec<u8> {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let address = reactor.listen("10.0.0.1:80", Server::new(|_| Callbacks::new())).unwrap().addr;
    let peer = reactor.kernel_mut().connect(address).unwrap();
    reactor.kernel_mut().send(peer, request);
    reactor.settle().unwrap();
    reactor.kernel_mut().received(peer)
}
