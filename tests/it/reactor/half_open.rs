//! Raw streams of which one side has ended.

use std::{rc::Rc, time::Duration};

use ws_reactor::{
    CloseReason, Reactor, ReactorConfig, Reconnect, SendStatus, Stream, StreamConfig, StreamHandler,
    net::sim::{PeerId, Sim},
};

use crate::support::played::{Log, drain};

/// Answers the end of the input later, with as much as the first input says.
struct Answering {
    log: Log,
    bytes: usize,
}

impl StreamHandler for Answering {
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let text = String::from_utf8_lossy(data).into_owned();
        self.log.borrow_mut().push(text.clone());
        match text.strip_prefix("end ") {
            Some(bytes) => {
                stream.write(&vec![b'x'; bytes.parse().unwrap()]);
                assert_eq!(stream.end_output(), SendStatus::Queued);
                assert_eq!(stream.write(b"more"), SendStatus::Closed);
                assert_eq!(stream.end_output(), SendStatus::Closed);
            }
            None => self.bytes = text.parse().unwrap_or_default(),
        }
    }

    fn on_end(&mut self, stream: &mut Stream<'_>) {
        self.log.borrow_mut().push("end".to_owned());
        stream.set_timer(Duration::from_secs(1));
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, _: ws_reactor::TimerId) {
        assert_eq!(stream.write(&vec![b'y'; self.bytes]), SendStatus::Queued);
        stream.close();
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        self.log.borrow_mut().push(format!("close {:?} {} {}", reason.by, reason.clean, reason.unsent));
    }
}

fn one_peer(log: &Log, allow_half_open: bool) -> (Reactor<Sim>, PeerId) {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let log = Rc::clone(log);
    let config = StreamConfig::new().allow_half_open(allow_half_open);
    let factory = move |_| Answering { log: Rc::clone(&log), bytes: 0 };
    let addr = reactor.listen_stream_with("10.0.0.1:80", config, factory).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.settle().unwrap();
    (reactor, peer)
}

#[test]
fn peer_that_has_ended_its_side_gets_a_late_answer_of_any_length() {
    for bytes in [5, 3_000_000] {
        let log = Log::default();
        let (mut reactor, peer) = one_peer(&log, true);
        reactor.kernel_mut().send(peer, bytes.to_string().as_bytes());
        reactor.kernel_mut().finish(peer);
        reactor.settle().unwrap();
        assert_eq!(drain(&log), [bytes.to_string(), "end".to_owned()]);
        assert!(!reactor.kernel_mut().is_ended(peer));
        // The reactor does not turn in vain meanwhile.
        let turns = reactor.hub().stats().turns;
        reactor.advance(Duration::from_millis(900)).unwrap();
        assert!(reactor.hub().stats().turns - turns < 10);
        reactor.advance(Duration::from_millis(100)).unwrap();
        let mut received = 0;
        for _ in 0..100 {
            received += reactor.kernel_mut().received(peer).len();
            reactor.settle().unwrap();
        }
        assert_eq!(received, bytes);
        assert_eq!(drain(&log), ["close Application true 0"]);
        assert!(reactor.kernel_mut().is_ended(peer) && reactor.hub().stats().connections == 0);
    }
}

#[test]
fn without_the_option_the_end_of_the_peer_ends_the_stream() {
    let log = Log::default();
    let (mut reactor, peer) = one_peer(&log, false);
    reactor.kernel_mut().finish(peer);
    reactor.settle().unwrap();
    assert_eq!(drain(&log), ["close Peer true 0"]);
}

#[test]
fn stream_whose_output_has_ended_receives_until_the_peer_ends() {
    for (bytes, allow_half_open) in [(3, false), (3, true), (3_000_000, false)] {
        let log = Log::default();
        let (mut reactor, peer) = one_peer(&log, allow_half_open);
        reactor.kernel_mut().send(peer, format!("end {bytes}").as_bytes());
        let mut received = 0;
        for _ in 0..100 {
            reactor.settle().unwrap();
            received += reactor.kernel_mut().received(peer).len();
        }
        assert_eq!(received, bytes);
        assert!(reactor.kernel_mut().is_ended(peer) && reactor.hub().stats().connections == 1);
        drain(&log);
        reactor.kernel_mut().send(peer, b"7");
        reactor.settle().unwrap();
        assert_eq!(drain(&log), ["7"]);
        reactor.kernel_mut().finish(peer);
        reactor.settle().unwrap();
        assert_eq!(drain(&log), ["close Peer true 0"], "no call of `on_end`, because both sides have ended");
    }
}

#[test]
fn peer_that_resets_a_half_open_stream_ends_it() {
    let log = Log::default();
    let (mut reactor, peer) = one_peer(&log, true);
    reactor.kernel_mut().finish(peer);
    reactor.settle().unwrap();
    reactor.kernel_mut().reset(peer);
    reactor.settle().unwrap();
    assert_eq!(drain(&log), ["end", "close Network(ConnectionReset) false 0"]);
}

#[test]
fn shutdown_closes_a_half_open_stream() {
    let log = Log::default();
    let (mut reactor, peer) = one_peer(&log, true);
    reactor.kernel_mut().finish(peer);
    reactor.settle().unwrap();
    reactor.hub().shutdown(Duration::from_secs(60));
    reactor.settle().unwrap();
    assert_eq!(drain(&log), ["end", "close Application true 0"]);
}

#[test]
fn output_that_ends_before_the_connection_is_made_ends_after_it() {
    let log = Log::default();
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().play("10.0.0.9:80".parse().unwrap());
    let handler = Answering { log: Rc::clone(&log), bytes: 0 };
    let id = reactor.hub().connect_stream("10.0.0.9:80", handler).unwrap();
    assert_eq!(reactor.hub().end_output(id), SendStatus::Queued);
    reactor.settle().unwrap();
    let (peer, _) = reactor.kernel_mut().dialed().unwrap();
    reactor.settle().unwrap();
    assert!(reactor.kernel_mut().is_ended(peer));
    reactor.kernel_mut().send(peer, b"7");
    reactor.kernel_mut().finish(peer);
    reactor.settle().unwrap();
    assert_eq!(drain(&log), ["7", "close Peer true 0"]);
}

#[test]
fn client_that_finishes_a_half_open_stream_connects_again() {
    /// Answers the end of the input with a word, and ends.
    struct Finishing(Log);

    impl StreamHandler for Finishing {
        fn on_connect(&mut self, _: &mut Stream<'_>) {
            self.0.borrow_mut().push("connect".to_owned());
        }

        fn on_end(&mut self, stream: &mut Stream<'_>) {
            stream.write(b"bye");
            stream.end_output();
        }

        fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
            self.0.borrow_mut().push(format!("close {:?} {}", reason.by, reason.clean));
        }
    }

    let log = Log::default();
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().play("10.0.0.9:80".parse().unwrap());
    let config = StreamConfig::new().allow_half_open(true).reconnect(Some(Reconnect::new()));
    reactor.hub().connect_stream_with("10.0.0.9:80", config, Finishing(Rc::clone(&log))).unwrap();
    for _ in 0..2 {
        reactor.settle().unwrap();
        let (peer, _) = reactor.kernel_mut().dialed().unwrap();
        reactor.settle().unwrap();
        reactor.kernel_mut().finish(peer);
        reactor.settle().unwrap();
        assert_eq!(reactor.kernel_mut().received(peer), b"bye");
        assert_eq!(drain(&log), ["connect", "close Peer true"]);
        reactor.advance(Duration::from_secs(2)).unwrap();
    }
}
