//! Raw streams, with handlers of the application's own protocol.

use std::{rc::Rc, time::Duration};

use ws_reactor::{
    CloseReason, Error, Reactor, ReactorConfig, Stream, StreamHandler, TimerId, Turn,
    net::sim::{PeerId, Sim},
};

use crate::support::{
    played::{Log, drain},
    silence_deliberate_panics,
};

/// Executes the words it receives, one at a time, and records its callbacks.
struct Scripted(Log);

impl Scripted {
    fn record(&self, entry: impl Into<String>) {
        self.0.borrow_mut().push(entry.into());
    }
}

impl StreamHandler for Scripted {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        self.record(format!("connect {}", stream.peer_addr().port().unwrap_or_default()));
        assert!(stream.tls_info().is_none() && stream.buffered() == 0);
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let text = String::from_utf8_lossy(data).into_owned();
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        self.record(word);
        match word {
            "pause" => {
                stream.pause();
                let id = stream.id();
                stream.hub().add_timer(Duration::from_secs(1), move |hub| assert!(hub.resume(id)));
            }
            "timer" => drop(stream.set_timer(Duration::from_secs(1))),
            "cancelled" => {
                let timer = stream.set_timer(Duration::from_secs(1));
                assert!(stream.cancel_timer(timer) && !stream.cancel_timer(timer));
            }
            "deadline" => {
                let soon = stream.hub().now() + Duration::from_secs(2);
                stream.set_deadline(Some(soon));
            }
            "never" => stream.set_deadline(None),
            "large" => drop(stream.write(&[b'x'; 100_000])),
            "close" => stream.close(),
            "terminate" => stream.terminate(),
            "panic" => panic!("deliberate: a handler panics"),
            _ => drop(stream.write(word.as_bytes())),
        }
        stream.unread(rest.len());
    }

    fn on_drain(&mut self, stream: &mut Stream<'_>) {
        self.record(format!("drain {}", stream.buffered() < 100_000));
    }

    fn on_timer(&mut self, _: &mut Stream<'_>, _: TimerId) {
        self.record("timer is due");
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        self.record("deadline");
        stream.write(b"late");
        stream.close();
    }

    fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
        self.record(format!("{error:#}"));
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        self.record(format!("close {:?} {}", reason.by, reason.clean));
    }
}

/// A listener with boxed handlers, and one peer.
fn one_peer(log: &Log) -> (Reactor<Sim>, PeerId) {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let shared = Rc::clone(log);
    let factory = move |_| Box::new(Scripted(Rc::clone(&shared))) as Box<dyn StreamHandler>;
    let addr = reactor.listen_stream("10.0.0.1:80", factory).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.settle().unwrap();
    assert_eq!(drain(log), ["connect 40000"]);
    (reactor, peer)
}

#[test]
fn unread_bytes_are_delivered_again_and_a_paused_stream_delivers_none() {
    let log = Log::default();
    let (mut reactor, peer) = one_peer(&log);
    reactor.kernel_mut().send(peer, b"one two pause three four");
    reactor.settle().unwrap();
    assert_eq!(drain(&log), ["one", "two", "pause"]);
    assert_eq!(reactor.kernel_mut().received(peer), b"onetwo");
    reactor.advance(Duration::from_millis(999)).unwrap();
    assert_eq!(drain(&log), [""; 0]);
    reactor.advance(Duration::from_millis(1)).unwrap();
    assert_eq!(
        (drain(&log), reactor.kernel_mut().received(peer)),
        (vec!["three".into(), "four".into()], b"threefour".to_vec())
    );
}

#[test]
fn timer_fires_once_and_deadline_can_be_removed_and_set_again() {
    let log = Log::default();
    let (mut reactor, peer) = one_peer(&log);
    reactor.kernel_mut().send(peer, b"timer cancelled deadline never");
    reactor.advance(Duration::from_secs(10)).unwrap();
    assert_eq!(drain(&log), ["timer", "cancelled", "deadline", "never", "timer is due"]);
    reactor.kernel_mut().send(peer, b"deadline");
    reactor.advance(Duration::from_millis(1999)).unwrap();
    assert_eq!(drain(&log), ["deadline"]);
    reactor.advance(Duration::from_millis(1)).unwrap();
    reactor.kernel_mut().finish(peer);
    reactor.advance(Duration::from_secs(10)).unwrap();
    assert_eq!(drain(&log), ["deadline", "close Application true"]);
    assert_eq!(reactor.kernel_mut().received(peer), b"late");
}

#[test]
fn end_is_reported_with_its_cause() {
    for (word, events) in [
        ("close", &["close", "close Application true"][..]),
        ("terminate", &["terminate", "close Application false"]),
        ("panic", &["panic", "the handler panicked: deliberate: a handler panics", "close Panic false"]),
    ] {
        let log = Log::default();
        let (mut reactor, peer) = one_peer(&log);
        silence_deliberate_panics();
        reactor.kernel_mut().send(peer, word.as_bytes());
        reactor.settle().unwrap();
        reactor.kernel_mut().finish(peer);
        reactor.advance(Duration::from_secs(10)).unwrap();
        assert_eq!(drain(&log), events);
        assert!(reactor.kernel_mut().is_closed(peer) && reactor.hub().stats().connections == 0);
    }
    let log = Log::default();
    let (mut reactor, peer) = one_peer(&log);
    reactor.kernel_mut().hold(peer, 1000);
    reactor.kernel_mut().send(peer, b"large");
    reactor.settle().unwrap();
    reactor.kernel_mut().release(peer);
    reactor.settle().unwrap();
    assert_eq!(
        (drain(&log), reactor.kernel_mut().received(peer).len()),
        (vec!["large".into(), "drain true".into()], 100_000)
    );
    // A shutdown closes streams in order.
    reactor.hub().shutdown(Duration::from_secs(5));
    reactor.settle().unwrap();
    reactor.kernel_mut().finish(peer);
    assert_eq!(reactor.advance(Duration::from_secs(10)).unwrap(), Turn::Stopped);
    assert_eq!(drain(&log).len(), 1);
}

/// Closes the stream, and then removes the deadline as if it were still open.
struct CloseThenClearDeadline;

impl StreamHandler for CloseThenClearDeadline {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        stream.close();
        stream.set_deadline(None);
    }
}

// regression: `set_deadline(None)` removed the closing timeout.
#[test]
fn closing_stream_keeps_its_deadline() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen_stream("10.0.0.1:80", |_| CloseThenClearDeadline).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.advance(Duration::from_secs(6)).unwrap();
    assert!(reactor.kernel_mut().is_closed(peer));
}

// regression: a deadline that the handler moved while the socket was read before the judgement passed nevertheless.
#[test]
fn deadline_that_is_moved_by_the_last_read_does_not_pass() {
    /// Moves its deadline by 30 s with each 1.5 MB.
    struct Idle(usize);
    impl Idle {
        fn wait(stream: &mut Stream<'_>) {
            let deadline = stream.hub().now() + Duration::from_secs(30);
            stream.set_deadline(Some(deadline));
        }
    }
    impl StreamHandler for Idle {
        fn on_connect(&mut self, stream: &mut Stream<'_>) {
            Idle::wait(stream);
        }

        fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
            let before = self.0 / 1_500_000;
            self.0 += data.len();
            if self.0 / 1_500_000 > before {
                Idle::wait(stream);
            }
        }
    }
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen_stream("10.0.0.1:80", |_| Idle(0)).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.settle().unwrap();
    reactor.kernel_mut().send(peer, &vec![0; 2_500_000]);
    // The process is stopped for a minute.
    reactor.kernel_mut().advance(Duration::from_secs(60));
    reactor.advance(Duration::from_secs(29)).unwrap();
    assert!(!reactor.kernel_mut().is_closed(peer));
    reactor.advance(Duration::from_secs(1)).unwrap();
    assert!(reactor.kernel_mut().is_closed(peer));
}
