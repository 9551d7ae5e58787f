//! Targets for whole reactors on the simulated system: a server with arbitrary peers, a client with an arbitrary
//! server.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use super::Choices;
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
struct Record {
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

fn recording(record: &Rc<RefCell<Record>>) -> Callbacks {
    let [open, message, close] = [0; 3].map(|_| Rc::clone(record));
    let path = Rc::new(RefCell::new(String::new()));
    let opened = Rc::clone(&path);
    Callbacks::new()
        .on_open(move |ws, handshake| {
            handshake.path().clone_into(&mut opened.borrow_mut());
            open.borrow_mut().opened.push(ws.id());
        })
        .on_message(move |ws, text| {
            assert!(!message.borrow().closed.contains(&ws.id()), "a message after on_close");
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
            let mut record = close.borrow_mut();
            record.closed.push(ws.id());
            if let Some(stats) = ws.stats().filter(|_| reason.clean) {
                record.clean.insert(path.borrow().clone(), stats.messages_out);
            }
        })
}

/// Shuts the reactor down and checks that every opened connection was closed once.
fn shut_down(reactor: &mut Reactor<Sim>, record: &Rc<RefCell<Record>>, clients: bool) {
    reactor.hub().shutdown(Duration::from_secs(5));
    reactor.advance(Duration::from_secs(100)).unwrap();
    assert_eq!(reactor.hub().stats().connections, 0);
    let record = record.borrow();
    for id in &record.opened {
        assert_eq!(record.closed.iter().filter(|closed| *closed == id).count(), 1, "one on_close for {id}");
    }
    assert!(clients || record.closed.len() == record.opened.len());
}

fn without_panic_output<T>(run: impl FnOnce() -> T) -> T {
    // Hides the deliberate panics of handlers.
    thread_local!(static ONCE: std::sync::Once = const { std::sync::Once::new() });
    ONCE.with(|once| {
        once.call_once(|| {
            let default_hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if panic.payload().downcast_ref::<&str>() != Some(&"deliberate") {
                    default_hook(panic);
                }
            }));
        });
    });
    run()
}

pub(super) fn server(data: &[u8]) {
    without_panic_output(|| {
        let mut choices = Choices(data);
        let faults = if choices.octet() & 1 == 0 { Faults::default() } else { Faults::ROUGH };
        let mut reactor = Reactor::on(Sim::with_faults(u64::from(choices.octet()), faults), ReactorConfig::default());
        let record = Rc::<RefCell<Record>>::default();
        let shared = Rc::clone(&record);
        let server = Server::new(move |_| recording(&shared))
            .max_message_bytes(5000)
            .configure(|config| config.websocket.stream.connection_stats = true);
        #[cfg(feature = "deflate")]
        let server = server.deflate(crate::DeflateConfig::dedicated());
        let address = reactor.listen("10.0.0.1:80", server).unwrap().addr;
        let mut peers: Vec<Peer> = Vec::new();
        for _ in 0..60 {
            if choices.is_over() {
                break;
            }
            step(&mut reactor, &mut choices, &mut peers, address);
        }
        // The other peers may stay slow readers to the end.
        let plain: Vec<(usize, &Peer)> =
            peers.iter().enumerate().filter(|(_, peer)| !peer.compresses && !peer.reset).collect();
        plain.iter().for_each(|(_, peer)| reactor.kernel_mut().release(peer.id));
        reactor.settle().unwrap();
        shut_down(&mut reactor, &record, false);
        let (network, record) = (reactor.kernel_mut(), record.borrow());
        for (index, peer) in plain {
            let Some(accepted) = record.clean.get(&format!("/{index}")) else { continue };
            // The network may still hold output that the system took before the end.
            while !network.is_ended(peer.id) {
                network.poll(&mut Vec::new(), Some(Duration::ZERO)).unwrap();
            }
            let received = network.received(peer.id);
            assert_eq!(messages(peer.version, received), *accepted, "every accepted message arrives");
        }
    });
}

/// Number of messages after the response head and its proof.
fn messages(version: Version, received: Vec<u8>) -> u64 {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n").expect("a response") + 4;
    let mut rest = received[head + sample_proof(version).len()..].to_vec();
    let mut decoder = MessageDecoder::client(version, MessageLimits::default());
    let (mut at, mut count) = (0, 0);
    while let (used, Some(incoming)) = decoder.decode(&mut rest[at..]).expect("a valid frame of the server") {
        at += used;
        count += u64::from(matches!(incoming, Incoming::Message(_)));
    }
    count
}

fn step(reactor: &mut Reactor<Sim>, choices: &mut Choices<'_>, peers: &mut Vec<Peer>, address: std::net::SocketAddr) {
    let choice = choices.octet();
    let index = choices.below(peers.len().max(1));
    let selected = peers.get(index).map(|peer| peer.id);
    match (choice % 12, selected) {
        (0 | 1, _) | (_, None) if peers.len() < 6 => {
            let version = Version::ALL[choices.below(Version::ALL.len())];
            let peer = reactor.kernel_mut().connect(address).unwrap();
            let compresses = choice & 16 != 0;
            let offer = if compresses { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
            let path = format!("/{}", peers.len());
            reactor.kernel_mut().send(peer, &sample_request(version, &path, offer));
            peers.push(Peer { id: peer, version, compresses, reset: false });
        }
        (2..=6, Some(peer)) => {
            let length = choices.below(200);
            reactor.kernel_mut().send(peer, choices.bytes(length));
        }
        (7, Some(peer)) if choice & 16 == 0 => reactor.kernel_mut().finish(peer),
        // A close frame.
        (7, Some(peer)) => reactor.kernel_mut().send(peer, &[0x88, 0x80, 0, 0, 0, 0]),
        (8, Some(peer)) => {
            peers[index].reset = true;
            reactor.kernel_mut().reset(peer);
        }
        (9, Some(peer)) if choice & 16 == 0 => reactor.kernel_mut().hold(peer, 300),
        (9, Some(peer)) => reactor.kernel_mut().release(peer),
        (10, _) => reactor.advance(Duration::from_millis(300 * choices.below(256) as u64)).map(drop).unwrap(),
        (11, _) => act(reactor.hub(), choices),
        _ => {}
    }
    match choice & 32 {
        0 => drop(reactor.turn(Some(Duration::ZERO)).unwrap()),
        _ => drop(reactor.settle().unwrap()),
    }
}

fn act(hub: &mut Hub, choices: &mut Choices<'_>) {
    let all: Vec<ConnectionId> = hub.connections().collect();
    let Some(id) = all.get(choices.below(all.len().max(1))).copied() else { return };
    match choices.octet() % 6 {
        0 => drop(hub.send(id, "from the hub")),
        1 => drop(hub.close(id, CloseCode::GOING_AWAY, "")),
        2 => drop(hub.terminate(id)),
        3 => drop(hub.publish("all", "x".repeat(choices.below(3000)))),
        4 => drop(hub.ping(id, b"")),
        _ => drop(hub.subscribe(id, "all")),
    }
}

pub(super) fn client(data: &[u8]) {
    without_panic_output(|| {
        let mut choices = Choices(data);
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let address = "10.0.0.1:80".parse().unwrap();
        reactor.kernel_mut().play(address);
        let record = Rc::<RefCell<Record>>::default();
        let version = Version::ALL[choices.below(Version::ALL.len())];
        let client = Client::new(recording(&record)).version(version).max_message_bytes(5000).follow_redirects(3);
        #[cfg(feature = "deflate")]
        let client = client.deflate(crate::DeflateConfig::dedicated());
        let client = match choices.octet() % 4 {
            0 => client.proxy("http://10.0.0.1:80".parse().unwrap()),
            1 => client.proxy("socks5://10.0.0.1:80".parse().unwrap()),
            _ => client,
        };
        let id = reactor.connect("ws://10.0.0.1/", client).unwrap();
        reactor.settle().unwrap();
        for _ in 0..20 {
            let Some((peer, _)) = reactor.kernel_mut().dialed() else { break };
            let request = reactor.kernel_mut().received(peer);
            // Sometimes the valid response of this crate's server.
            if choices.octet() & 1 == 0 && request.starts_with(b"GET") {
                let response = response_of(&request);
                reactor.kernel_mut().send(peer, &response);
                reactor.settle().unwrap();
            }
            let pieces = 1 + choices.below(5);
            for _ in 0..pieces {
                let length = choices.below(200);
                reactor.kernel_mut().send(peer, choices.bytes(length));
                reactor.settle().unwrap();
            }
            match choices.octet() % 4 {
                0 => reactor.kernel_mut().finish(peer),
                1 => reactor.kernel_mut().reset(peer),
                _ => {}
            }
            reactor.settle().unwrap();
        }
        reactor.advance(Duration::from_secs(100)).unwrap();
        // A hixie server need not answer the close frame.
        reactor.hub().terminate(id);
        shut_down(&mut reactor, &record, true);
        assert_eq!(record.borrow().closed.len(), 1, "one on_close, whether the connection was open or not");
    });
}

/// The response of this crate's server to a request.
fn response_of(request: &[u8]) -> Vec<u8> {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let address = reactor.listen("10.0.0.1:80", Server::new(|_| Callbacks::new())).unwrap().addr;
    let peer = reactor.kernel_mut().connect(address).unwrap();
    reactor.kernel_mut().send(peer, request);
    reactor.settle().unwrap();
    reactor.kernel_mut().received(peer)
}
