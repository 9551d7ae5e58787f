//! Relays between raw streams.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use ws_reactor::{
    Callbacks, CloseReason, ConnectionId, Reactor, ReactorConfig, RelayEnded, Server, Stream, StreamConfig,
    StreamHandler,
    net::sim::{PeerId, Sim},
};

use crate::support::played::{Log, drain};

/// Notes its callbacks, and its id.
struct Noting {
    log: Log,
    ids: Rc<RefCell<Vec<ConnectionId>>>,
}

impl StreamHandler for Noting {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        self.ids.borrow_mut().push(stream.id());
    }

    fn on_data(&mut self, _: &mut Stream<'_>, data: &mut [u8]) {
        self.log.borrow_mut().push(format!("data {}", String::from_utf8_lossy(data)));
    }

    fn on_event(&mut self, _: &mut Stream<'_>, event: &dyn Any) {
        let ended: &RelayEnded = event.downcast_ref().expect("no other events");
        self.log.borrow_mut().push(format!("relayed {} {}", ended.bytes, ended.is_complete));
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        self.log.borrow_mut().push(format!("close {:?} {}", reason.by, reason.unsent));
    }
}

struct Pair {
    reactor: Reactor<Sim>,
    peers: [PeerId; 2],
    ids: [ConnectionId; 2],
    log: Log,
}

impl Pair {
    fn new(config: StreamConfig) -> Self {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let (log, ids) = (Log::default(), Rc::<RefCell<Vec<ConnectionId>>>::default());
        let (of_handlers, noted) = (Rc::clone(&log), Rc::clone(&ids));
        let factory = move |_| Noting { log: Rc::clone(&of_handlers), ids: Rc::clone(&noted) };
        let addr = reactor.listen_stream_with("10.0.0.1:80", config, factory).unwrap().addr;
        let peers = [(); 2].map(|()| {
            let peer = reactor.kernel_mut().connect(addr).unwrap();
            reactor.settle().unwrap();
            peer
        });
        let ids = [ids.borrow()[0], ids.borrow()[1]];
        Pair { reactor, peers, ids, log }
    }

    fn relayed(config: StreamConfig) -> Self {
        let mut pair = Pair::new(config);
        let [one, other] = pair.ids;
        assert!(pair.reactor.hub().relay(one, other));
        pair
    }

    fn send(&mut self, from: usize, bytes: &[u8]) {
        self.reactor.kernel_mut().send(self.peers[from], bytes);
        self.reactor.settle().unwrap();
    }

    fn received(&mut self, by: usize) -> Vec<u8> {
        self.reactor.kernel_mut().received(self.peers[by])
    }

    fn finish(&mut self, peer: usize) {
        self.reactor.kernel_mut().finish(self.peers[peer]);
        self.reactor.settle().unwrap();
    }
}

#[test]
fn relay_moves_bytes_both_ways_below_the_handlers() {
    let mut pair = Pair::relayed(StreamConfig::new());
    let [one, other] = pair.ids;
    pair.send(0, b"to the other");
    pair.send(1, b"and back");
    assert_eq!((pair.received(1), pair.received(0)), (b"to the other".to_vec(), b"and back".to_vec()));
    assert_eq!(drain(&pair.log), [""; 0]);
    let hub = pair.reactor.hub();
    assert_eq!((hub.relayed_bytes(one), hub.relayed_bytes(other)), (Some(12), Some(8)));
    assert!(!hub.relay(one, other) && !hub.relay_to(one, other, None), "it is relayed already");
    // Without the relay the handlers get the input again.
    assert_eq!((hub.stop_relay(one), hub.stop_relay(one), hub.relayed_bytes(one)), (Some(12), None, None));
    pair.send(0, b"to the handler");
    pair.send(1, b"still relayed");
    assert_eq!(
        (drain(&pair.log), pair.received(0)),
        (vec!["data to the handler".to_owned()], b"still relayed".to_vec())
    );
}

#[test]
fn reader_that_is_slow_holds_the_other_back_and_nothing_is_lost() {
    let mut pair = Pair::relayed(StreamConfig::new());
    let [one, other] = pair.ids;
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|index| (index % 251) as u8).collect();
    pair.reactor.kernel_mut().hold(pair.peers[1], 1000);
    pair.send(0, &bytes);
    let relayed = pair.reactor.hub().relayed_bytes(one).unwrap();
    assert!((60_000..400_000).contains(&relayed), "{relayed} bytes wait");
    assert!(pair.reactor.hub().buffered(other) <= 400_000);
    pair.reactor.kernel_mut().release(pair.peers[1]);
    let mut received = Vec::new();
    for _ in 0..200 {
        pair.reactor.settle().unwrap();
        received.extend(pair.received(1));
    }
    assert!(received == bytes);
    assert_eq!(drain(&pair.log), [""; 0]);
}

#[test]
fn end_of_one_stream_closes_the_other_once_its_output_is_written() {
    let mut pair = Pair::relayed(StreamConfig::new());
    pair.reactor.kernel_mut().hold(pair.peers[1], 10);
    pair.send(0, &[b'x'; 50_000]);
    pair.finish(0);
    assert_eq!(drain(&pair.log), ["close Peer 0"]);
    pair.reactor.kernel_mut().release(pair.peers[1]);
    pair.reactor.settle().unwrap();
    assert_eq!(pair.received(1).len(), 50_000);
    assert!(pair.reactor.kernel_mut().is_ended(pair.peers[1]));
    pair.finish(1);
    assert_eq!(drain(&pair.log), ["close Application 0"]);
    assert_eq!(pair.reactor.hub().stats().connections, 0);
}

#[test]
fn input_behind_the_end_of_the_other_stream_ends_the_relay() {
    let mut pair = Pair::relayed(StreamConfig::new());
    // The first stream has still to write when its peer ends its side.
    pair.reactor.kernel_mut().hold(pair.peers[0], 10);
    pair.send(1, &[b'x'; 50_000]);
    pair.finish(0);
    pair.send(1, b"nobody takes this");
    pair.reactor.kernel_mut().release(pair.peers[0]);
    pair.reactor.settle().unwrap();
    pair.finish(1);
    assert_eq!(pair.received(0).len(), 50_000);
    assert_eq!(pair.reactor.hub().stats().connections, 0);
    assert!(drain(&pair.log).iter().all(|entry| entry.starts_with("close")));
}

#[test]
fn half_open_streams_relay_each_end_by_itself() {
    let mut pair = Pair::relayed(StreamConfig::new().allow_half_open(true));
    pair.send(0, b"request");
    pair.finish(0);
    assert_eq!(pair.received(1), b"request");
    assert!(pair.reactor.kernel_mut().is_ended(pair.peers[1]));
    assert_eq!(drain(&pair.log), [""; 0]);
    pair.send(1, b"a late answer");
    assert_eq!(pair.received(0), b"a late answer");
    pair.finish(1);
    assert!(pair.reactor.kernel_mut().is_ended(pair.peers[0]));
    assert_eq!(pair.reactor.hub().stats().connections, 0);
    assert_eq!(drain(&pair.log).len(), 2);
}

#[test]
fn relay_of_a_number_of_bytes_ends_behind_them() {
    let mut pair = Pair::new(StreamConfig::new());
    let [one, other] = pair.ids;
    assert!(pair.reactor.hub().relay_to(one, other, Some(10)));
    pair.send(0, b"012345");
    pair.send(0, b"6789rest");
    assert_eq!(
        (pair.received(1), drain(&pair.log)),
        (b"0123456789".to_vec(), vec!["relayed 10 true".into(), "data rest".into()])
    );
    pair.send(0, b"later");
    assert_eq!(drain(&pair.log), ["data later"]);
    // The other direction is not relayed.
    pair.send(1, b"back");
    assert_eq!(drain(&pair.log), ["data back"]);
}

#[test]
fn handler_learns_that_the_stream_it_is_relayed_to_has_ended() {
    for is_held in [false, true] {
        let mut pair = Pair::new(StreamConfig::new());
        let [one, other] = pair.ids;
        assert!(pair.reactor.hub().relay_to(one, other, None));
        if is_held {
            pair.reactor.kernel_mut().hold(pair.peers[1], 1000);
            pair.send(0, &[b'x'; 500_000]);
        } else {
            pair.send(0, b"12345");
        }
        assert!(pair.reactor.hub().terminate(other));
        pair.reactor.settle().unwrap();
        let entries = drain(&pair.log);
        assert!(entries.iter().any(|entry| entry.starts_with("relayed") && entry.ends_with("false")), "{entries:?}");
        if !is_held {
            pair.send(0, b"to the handler");
            assert_eq!(drain(&pair.log), ["data to the handler"]);
        }
        assert!(pair.reactor.hub().is_open(one));
    }
}

#[test]
fn handler_relays_from_its_callback_with_the_bytes_that_it_hands_back() {
    /// Reads a line with a number, and relays to the connection of that number.
    struct Chooser(Rc<RefCell<Vec<ConnectionId>>>);

    impl StreamHandler for Chooser {
        fn on_connect(&mut self, stream: &mut Stream<'_>) {
            self.0.borrow_mut().push(stream.id());
        }

        fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
            let (one, other) = (stream.id(), self.0.borrow()[usize::from(data[0] - b'0')]);
            stream.unread(data.len() - 2);
            assert!(stream.hub().relay(one, other));
        }
    }

    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let ids = Rc::default();
    let addr = reactor.listen_stream("10.0.0.1:80", move |_| Chooser(Rc::clone(&ids))).unwrap().addr;
    let [one, other] = [(); 2].map(|()| {
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.settle().unwrap();
        peer
    });
    reactor.kernel_mut().send(other, b"0\nfirst bytes");
    reactor.settle().unwrap();
    reactor.kernel_mut().send(other, b", and more");
    reactor.settle().unwrap();
    assert_eq!(reactor.kernel_mut().received(one), b"first bytes, and more");
}

#[test]
fn websocket_is_not_relayed() {
    let mut pair = Pair::new(StreamConfig::new());
    let [raw, _] = pair.ids;
    let id = Rc::new(Cell::new(None));
    let opened = Rc::clone(&id);
    let server = Server::new(move |_| {
        let opened = Rc::clone(&opened);
        Callbacks::new().on_open(move |ws, _| opened.set(Some(ws.id())))
    });
    let addr = pair.reactor.listen("10.0.0.1:81", server).unwrap().addr;
    let peer = pair.reactor.kernel_mut().connect(addr).unwrap();
    pair.reactor.kernel_mut().send(peer, crate::support::REQUEST);
    pair.reactor.settle().unwrap();
    let websocket = id.get().unwrap();
    let hub = pair.reactor.hub();
    assert!(!hub.relay(raw, websocket) && !hub.relay(websocket, raw) && !hub.relay_to(raw, websocket, None));
    assert!(!hub.relay(raw, raw) && !hub.relay_to(raw, raw, None));
    pair.reactor.advance(Duration::from_secs(1)).unwrap();
    assert_eq!(drain(&pair.log), [""; 0]);
}
