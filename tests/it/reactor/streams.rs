//! Raw streams, and listeners that come and go: what a protocol of one's own may do.

use crate::support::wire;
use std::{cell::RefCell, panic, rc::Rc, time::Duration};

use ws_reactor::{
    Bind, Callbacks, CloseReason, Error, Hub, ListenError, Listening, Reactor, ReactorConfig, Server, Stream,
    StreamHandler, TimerId, Turn, Version,
    net::sim::{PeerId, Sim},
    on_message,
};

type Log = Rc<RefCell<Vec<String>>>;

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.borrow_mut())
}

/// Does what it is told, a word at a time, and notes what it hears.
struct Obedient(Log);

impl Obedient {
    fn note(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }
}

impl StreamHandler for Obedient {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        self.note(format!("connect {}", stream.peer_addr().port()));
        assert!(stream.tls_info().is_none() && stream.buffered() == 0);
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let text = String::from_utf8_lossy(data).into_owned();
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        self.note(word);
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
            "cut" => stream.terminate(),
            "panic" => panic!("{DELIBERATE}"),
            _ => drop(stream.write(word.as_bytes())),
        }
        stream.unread(rest.len());
    }

    fn on_drain(&mut self, stream: &mut Stream<'_>) {
        self.note(format!("drain {}", stream.buffered() < 100_000));
    }

    fn on_timer(&mut self, _: &mut Stream<'_>, _: TimerId) {
        self.note("timer is due");
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        self.note("deadline");
        stream.write(b"late");
        stream.close();
    }

    fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
        self.note(format!("{error:#}"));
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        self.note(format!("close {:?} {}", reason.by, reason.clean));
    }
}

const DELIBERATE: &str = "deliberate: a handler panics";

/// A listener whose handlers are boxed, as those of different kinds are, and one peer.
fn one_peer(log: &Log) -> (Reactor<Sim>, PeerId) {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let noting = Rc::clone(log);
    let factory = move |_| Box::new(Obedient(Rc::clone(&noting))) as Box<dyn StreamHandler>;
    let addr = reactor.listen_stream("10.0.0.1:80", factory).unwrap().addr;
    let peer = reactor.kernel_mut().connect(addr).unwrap();
    reactor.settle().unwrap();
    assert_eq!(taken(log), ["connect 40000"]);
    (reactor, peer)
}

#[test]
fn words_that_are_handed_back_come_again_and_a_pause_holds_them() {
    let log = Log::default();
    let (mut reactor, peer) = one_peer(&log);
    reactor.kernel_mut().send(peer, b"one two pause three four");
    reactor.settle().unwrap();
    assert_eq!(taken(&log), ["one", "two", "pause"]);
    assert_eq!(reactor.kernel_mut().received(peer), b"onetwo");
    reactor.advance(Duration::from_millis(999)).unwrap();
    assert_eq!(taken(&log), [""; 0]);
    reactor.advance(Duration::from_millis(1)).unwrap();
    assert_eq!(
        (taken(&log), reactor.kernel_mut().received(peer)),
        (vec!["three".into(), "four".into()], b"threefour".to_vec())
    );
}

#[test]
fn timers_fire_once_and_deadlines_are_moved_or_taken_back() {
    let log = Log::default();
    let (mut reactor, peer) = one_peer(&log);
    reactor.kernel_mut().send(peer, b"timer cancelled deadline never");
    reactor.advance(Duration::from_secs(10)).unwrap();
    assert_eq!(taken(&log), ["timer", "cancelled", "deadline", "never", "timer is due"]);
    reactor.kernel_mut().send(peer, b"deadline");
    reactor.advance(Duration::from_millis(1999)).unwrap();
    assert_eq!(taken(&log), ["deadline"]);
    reactor.advance(Duration::from_millis(1)).unwrap();
    reactor.kernel_mut().finish(peer);
    reactor.advance(Duration::from_secs(10)).unwrap();
    assert_eq!(taken(&log), ["deadline", "close Application true"]);
    assert_eq!(reactor.kernel_mut().received(peer), b"late");
}

#[test]
fn ends_are_told_as_they_were() {
    for (said, told) in [
        ("close", &["close", "close Application true"][..]),
        ("cut", &["cut", "close Application false"]),
        ("panic", &["panic", "the handler panicked: deliberate: a handler panics", "close Panic false"]),
    ] {
        let log = Log::default();
        let (mut reactor, peer) = one_peer(&log);
        hush();
        reactor.kernel_mut().send(peer, said.as_bytes());
        reactor.settle().unwrap();
        reactor.kernel_mut().finish(peer);
        reactor.advance(Duration::from_secs(10)).unwrap();
        assert_eq!(taken(&log), told);
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
        (taken(&log), reactor.kernel_mut().received(peer).len()),
        (vec!["large".into(), "drain true".into()], 100_000)
    );
    // A shutdown lets streams end in order.
    reactor.hub().shutdown(Duration::from_secs(5));
    reactor.settle().unwrap();
    reactor.kernel_mut().finish(peer);
    assert_eq!(reactor.advance(Duration::from_secs(10)).unwrap(), Turn::Stopped);
    assert_eq!(taken(&log).len(), 1);
}

fn hush() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<String>().is_none_or(|message| message != DELIBERATE) {
            report(info);
        }
    }));
}

/// Notes how the opening of a listener went.
fn noting(log: &Log) -> impl FnOnce(&mut Hub, Result<Listening, ListenError>) + 'static {
    let log = Rc::clone(log);
    move |_, opened| {
        log.borrow_mut().push(match opened {
            Ok(listening) => format!("listening at {}", listening.addr),
            Err(error) => format!("{error:#}"),
        });
    }
}

#[test]
fn handlers_open_listeners_and_close_them_and_what_was_accepted_goes_on() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let log = Log::default();
    let echo = || {
        Server::new(|_| {
            on_message(|ws, message| {
                ws.send(message);
            })
        })
    };
    let first = reactor.listen("10.0.0.1:80", echo()).unwrap();
    reactor.hub().listen("10.0.0.1:81", echo(), noting(&log));
    reactor.hub().listen("10.0.0.1:80", echo(), noting(&log));
    reactor.hub().listen_stream(Bind::to("10.0.0.1:82").backlog(5), |_| Obedient(Log::default()), noting(&log));
    assert!(reactor.kernel_mut().connect("10.0.0.1:81".parse().unwrap()).is_err(), "not before the turn");
    reactor.settle().unwrap();
    let told = taken(&log);
    assert_eq!((told[0].as_str(), told[2].as_str()), ("listening at 10.0.0.1:81", "listening at 10.0.0.1:82"));
    assert!(told[1].starts_with("cannot listen on 10.0.0.1:80"), "{}", told[1]);
    let second = reactor.kernel_mut().connect("10.0.0.1:81".parse().unwrap()).unwrap();
    reactor.kernel_mut().send(second, &wire::request(Version::Rfc6455, "/", ""));
    let accepted = reactor.kernel_mut().connect(first.addr).unwrap();
    reactor.kernel_mut().send(accepted, &wire::request(Version::Rfc6455, "/", ""));
    reactor.settle().unwrap();

    reactor.hub().close_listener(first.id);
    // Twice is once, and the name is nobody else's.
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
    reactor.hub().listen("10.0.0.1:83", Server::new(|_| Callbacks::new()), noting(&log));
    reactor.advance(Duration::from_secs(10)).unwrap();
    assert!(taken(&log)[0].contains("the reactor is shutting down"));
}
