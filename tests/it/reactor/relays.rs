//! Relays between raw streams.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use ws_reactor::{
    Callbacks, CloseReason, ConnectionId, OutputLimits, Reactor, ReactorConfig, RelayEnded, Server, Stream,
    StreamConfig, StreamHandler, net::sim::Sim,
};

use super::pair::{Ids, Pair};
use crate::support::played::{Log, drain};

/// Notes its callbacks, and its id.
struct Noting {
    log: Log,
    ids: Ids,
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

fn pair(config: StreamConfig) -> Pair {
    Pair::new(config, |log, ids| Noting { log, ids })
}

fn relayed(config: StreamConfig) -> Pair {
    let mut pair = pair(config);
    let [one, other] = pair.ids;
    assert!(pair.reactor.hub().relay(one, other));
    pair
}

#[test]
fn relay_moves_bytes_both_ways_below_the_handlers() {
    let mut pair = relayed(StreamConfig::new());
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
    let mut pair = relayed(StreamConfig::new());
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
    let mut pair = relayed(StreamConfig::new());
    pair.reactor.kernel_mut().hold(pair.peers[1], 10);
    pair.send(0, &[b'x'; 50_000]);
    pair.finish(0);
    assert_eq!(drain(&pair.log), ["close Peer 0"]);
    pair.reactor.kernel_mut().release(pair.peers[1]);
    pair.reactor.settle().unwrap();
    assert_eq!(pair.received(1).len(), 50_000);
    assert!(pair.reactor.kernel_mut().is_ended(pair.peers[1]));
    pair.finish(1);
    assert_eq!(drain(&pair.log), ["close Peer 0"], "for the same reason");
    assert_eq!(pair.reactor.hub().stats().connections, 0);
}

#[test]
fn input_behind_the_end_of_the_other_stream_ends_the_relay() {
    let mut pair = relayed(StreamConfig::new());
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
    let mut pair = relayed(StreamConfig::new().allow_half_open(true));
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
    let mut pair = pair(StreamConfig::new());
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
        let mut pair = pair(StreamConfig::new());
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
        let ended = entries.iter().position(|entry| entry.starts_with("relayed") && entry.ends_with("false"));
        let data = entries.iter().position(|entry| entry.starts_with("data"));
        assert!(ended.is_some() && data.is_none_or(|data| Some(data) > ended), "input follows the event");
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
    let mut pair = pair(StreamConfig::new());
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

#[test]
fn stream_that_fails_ends_the_other_at_once_for_the_same_reason() {
    let mut pair = relayed(StreamConfig::new());
    pair.reactor.kernel_mut().reset(pair.peers[0]);
    pair.reactor.settle().unwrap();
    let entries = drain(&pair.log);
    assert_eq!(entries, ["close Network(ConnectionReset) 0"; 2]);
    assert!(pair.reactor.kernel_mut().is_closed(pair.peers[1]));
    let mut pair = relayed(StreamConfig::new());
    pair.reactor.hub().stop();
    pair.reactor.settle().unwrap();
    assert_eq!(drain(&pair.log), ["close Shutdown 0"; 2]);
}

#[test]
fn many_relays_one_after_the_other_leave_nothing_behind() {
    let mut pair = pair(StreamConfig::new());
    let [one, other] = pair.ids;
    // A handler in a handler would overflow the stack.
    for _ in 0..20_000 {
        assert!(pair.reactor.hub().relay_to(one, other, Some(1)));
        pair.send(0, b"x");
    }
    assert_eq!(pair.received(1).len(), 20_000);
    assert_eq!(drain(&pair.log).len(), 20_000);
    pair.finish(0);
    assert_eq!(drain(&pair.log), ["close Peer 0"]);
}

#[test]
fn relay_of_no_bytes_ends_at_once() {
    let mut pair = pair(StreamConfig::new());
    let [one, other] = pair.ids;
    assert!(pair.reactor.hub().relay_to(one, other, Some(0)));
    pair.reactor.settle().unwrap();
    assert_eq!(drain(&pair.log), ["relayed 0 true"]);
    pair.send(0, b"for the handler");
    assert_eq!(drain(&pair.log), ["data for the handler"]);
}

#[test]
fn limits_below_one_read_hold_the_sources_back_and_close_nobody() {
    let output = OutputLimits::new().limit_bytes(32 * 1024).pause_reading_bytes(usize::MAX);
    let mut pair = relayed(StreamConfig::new().output(output));
    let mut received = 0;
    pair.send(0, &vec![b'x'; 1_000_000]);
    for _ in 0..200 {
        pair.reactor.settle().unwrap();
        received += pair.received(1).len();
    }
    assert_eq!((received, drain(&pair.log)), (1_000_000, Vec::<String>::new()));
}

#[test]
fn pause_of_the_application_and_that_of_the_relay_are_two_things() {
    let mut pair = relayed(StreamConfig::new());
    let [one, _] = pair.ids;
    pair.reactor.kernel_mut().hold(pair.peers[1], 1000);
    pair.send(0, &[b'x'; 500_000]);
    let relayed = pair.reactor.hub().relayed_bytes(one).unwrap();
    // A resume does not end the wait for room.
    assert!(pair.reactor.hub().resume(one));
    pair.reactor.settle().unwrap();
    assert_eq!(pair.reactor.hub().relayed_bytes(one), Some(relayed));
    // Room does not end a pause.
    assert!(pair.reactor.hub().pause(one));
    pair.reactor.kernel_mut().release(pair.peers[1]);
    pair.reactor.settle().unwrap();
    assert_eq!(pair.received(1).len() as u64, relayed);
    assert!(pair.reactor.hub().resume(one));
    let mut received = 0;
    for _ in 0..50 {
        pair.reactor.settle().unwrap();
        received += pair.received(1).len() as u64;
    }
    assert_eq!(received, 500_000 - relayed);
}

#[test]
fn slow_direction_does_not_hold_back_the_other() {
    let mut pair = relayed(StreamConfig::new());
    pair.reactor.kernel_mut().hold(pair.peers[1], 1000);
    pair.send(0, &[b'x'; 500_000]);
    // The output of this stream waits, and its input is relayed all the same.
    pair.send(1, b"typed");
    assert_eq!(pair.received(0), b"typed");
}

#[test]
fn direction_that_is_left_of_a_pair_is_a_relay_of_its_own() {
    let mut pair = relayed(StreamConfig::new());
    let [one, _] = pair.ids;
    assert_eq!(pair.reactor.hub().stop_relay(one), Some(0));
    pair.finish(0);
    let mut entries = drain(&pair.log);
    entries.sort();
    assert_eq!(entries, ["close Peer 0", "relayed 0 false"]);
    pair.send(1, b"for the handler");
    assert_eq!(drain(&pair.log), ["data for the handler"]);
}

#[test]
fn relay_outlives_the_handler_that_hands_its_stream_over() {
    /// Hands over at any event.
    struct First(Rc<RefCell<Vec<ConnectionId>>>);

    impl StreamHandler for First {
        fn on_connect(&mut self, stream: &mut Stream<'_>) {
            self.0.borrow_mut().push(stream.id());
        }

        fn on_event(&mut self, stream: &mut Stream<'_>, _: &dyn Any) {
            stream.hand_over(Second);
        }
    }

    struct Second;

    impl StreamHandler for Second {
        fn on_data(&mut self, _: &mut Stream<'_>, _: &mut [u8]) {
            panic!("the input is relayed");
        }
    }

    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let ids = Rc::<RefCell<Vec<ConnectionId>>>::default();
    let noted = Rc::clone(&ids);
    let addr = reactor.listen_stream("10.0.0.1:80", move |_| First(Rc::clone(&noted))).unwrap().addr;
    let [one, other] = [(); 2].map(|()| {
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.settle().unwrap();
        peer
    });
    let (first, second) = (ids.borrow()[0], ids.borrow()[1]);
    assert!(reactor.hub().relay(first, second));
    reactor.hub().notify(first, ());
    reactor.settle().unwrap();
    reactor.kernel_mut().send(one, b"still relayed");
    reactor.settle().unwrap();
    assert_eq!((reactor.kernel_mut().received(other), reactor.hub().stats().panics), (b"still relayed".to_vec(), 0));
}

#[test]
fn end_of_input_before_the_relay_ends_the_output_of_the_other() {
    /// Keeps a stream open when its peer has ended.
    struct Keeping(Rc<RefCell<Vec<ConnectionId>>>);

    impl StreamHandler for Keeping {
        fn on_connect(&mut self, stream: &mut Stream<'_>) {
            self.0.borrow_mut().push(stream.id());
        }

        fn on_end(&mut self, _: &mut Stream<'_>) {}
    }

    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let ids = Rc::<RefCell<Vec<ConnectionId>>>::default();
    let noted = Rc::clone(&ids);
    let config = StreamConfig::new().allow_half_open(true);
    let addr = reactor.listen_stream_with("10.0.0.1:80", config, move |_| Keeping(Rc::clone(&noted))).unwrap().addr;
    let [client, upstream] = [(); 2].map(|()| {
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.settle().unwrap();
        peer
    });
    reactor.kernel_mut().finish(client);
    reactor.settle().unwrap();
    let (one, other) = (ids.borrow()[0], ids.borrow()[1]);
    assert!(reactor.hub().relay(one, other));
    reactor.settle().unwrap();
    assert!(reactor.kernel_mut().is_ended(upstream));
    reactor.kernel_mut().send(upstream, b"answer");
    reactor.kernel_mut().finish(upstream);
    reactor.settle().unwrap();
    assert_eq!(reactor.kernel_mut().received(client), b"answer");
    assert_eq!(reactor.hub().stats().connections, 0);
}
