//! What has gone wrong with clients once, and must not again.

#[cfg(feature = "tls")]
use crate::support::secure;
use std::{cell::Cell, rc::Rc, time::Duration};

use crate::support::played::{Log, SERVER, URL, echo, noting, played, reactor, taken};
use ws_reactor::{
    Callbacks, Client, CloseCode, ConnectError, Handler, Reconnect, Stream, StreamConfig, StreamHandler, TimerId,
    WebSocket,
    net::{Answer, Resolver},
};

/// Attempts without a wait.
fn at_once() -> Reconnect {
    Reconnect::new().initial_backoff(Duration::ZERO).max_backoff(Duration::ZERO)
}

#[test]
fn a_connection_that_fails_at_once_again_and_again_leaves_others_their_turns() {
    let mut reactor = reactor();
    let (attempts, ticks) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (counted, ticking) = (Rc::clone(&attempts), Rc::clone(&ticks));
    let handler = Callbacks::new().on_reconnect(move |_, attempt, _| {
        counted.set(attempt);
        attempt < 1_000_000
    });
    // The simulated system has no files: connecting fails before anything is waited for.
    reactor.connect("ws+unix:/nowhere", Client::new(handler).reconnect(at_once())).unwrap();
    for _ in 0..100 {
        let ticking = Rc::clone(&ticking);
        reactor.hub().next_tick(move |_| ticking.set(ticking.get() + 1));
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(ticks.get() == 100 && (1..=200).contains(&attempts.get()), "{attempts:?}");
}

#[test]
fn a_panic_in_on_error_leaves_the_end_to_be_told() {
    for answer in ["HTTP/1.1 404 No\r\n\r\nbody", "", "nonsense\r\n\r\n"] {
        let mut played = played(|handler| Client::new(handler.on_error(|_, _| panic!("deliberate"))));
        let mut told = played.say(answer);
        played.reactor.kernel_mut().finish(played.peer);
        played.reactor.settle().unwrap();
        played.reactor.advance(Duration::from_secs(2)).unwrap();
        told.extend(taken(&played.log));
        assert!(told.len() == 1 && told[0].starts_with("close 1006"), "{answer:?}: {told:?}");
    }
}

#[test]
fn a_panic_in_on_close_does_not_end_the_coming_back() {
    let mut reactor = reactor();
    reactor.listen(SERVER, echo()).unwrap();
    let log = Log::default();
    let handler = noting(&log).on_close(|_, _| panic!("deliberate"));
    reactor.connect(URL, Client::new(handler).reconnect(at_once())).unwrap();
    reactor.settle().unwrap();
    let last = reactor.kernel_mut().peers().last().unwrap();
    reactor.kernel_mut().reset(last);
    reactor.settle().unwrap();
    assert_eq!(taken(&log).iter().filter(|told| told.starts_with("open")).count(), 2);
}

#[test]
fn a_panic_over_coming_back_costs_that_attempt() {
    let mut reactor = reactor();
    let log = Log::default();
    let first = Cell::new(true);
    let handler = noting(&log).on_reconnect(move |_, _, _| {
        assert!(!first.replace(false), "not yet");
        true
    });
    reactor.connect(URL, Client::new(handler).reconnect(at_once())).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    while reactor.hub().stats().panics == 0 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(taken(&log).contains(&"error the handler panicked: not yet".to_owned()));
    reactor.listen(SERVER, echo()).unwrap();
    reactor.settle().unwrap();
    assert_eq!(taken(&log).iter().filter(|told| told.starts_with("open")).count(), 1);
    assert_eq!(reactor.hub().stats().panics, 1);
}

#[test]
fn a_resolver_that_panics_has_no_answer() {
    struct Panicking;
    impl Resolver for Panicking {
        fn resolve(&self, name: &str, _: u16, _: Answer) {
            panic!("who is {name}?");
        }
    }
    let mut reactor = reactor();
    reactor.set_resolver(Panicking);
    let log = Log::default();
    reactor.connect(URL, Client::new(noting(&log))).unwrap();
    reactor.settle().unwrap();
    let told = taken(&log);
    assert!(told[0].starts_with("error ") && told[1].starts_with("close 1006"), "{told:?}");
    assert_eq!(reactor.hub().stats().connections, 0);
}

#[test]
fn a_timer_that_is_set_before_the_connection_is_made_goes_off() {
    struct Timing(Log);
    impl Handler for Timing {
        fn on_reconnect(&mut self, ws: &mut WebSocket<'_>, _: u32, _: Duration) -> bool {
            ws.set_timer(Duration::from_millis(1));
            true
        }

        fn on_timer(&mut self, _: &mut WebSocket<'_>, _: TimerId) {
            self.0.borrow_mut().push("timer".to_owned());
        }
    }
    let mut reactor = reactor();
    let log = Log::default();
    let hour = Duration::from_secs(3600);
    let policy = Reconnect::new().initial_backoff(hour).max_backoff(hour);
    reactor.connect(URL, Client::new(Timing(Rc::clone(&log))).reconnect(policy)).unwrap();
    reactor.advance(Duration::from_millis(10)).unwrap();
    assert_eq!(taken(&log), ["timer"]);
}

#[test]
fn a_client_that_is_closed_while_its_failure_is_told_stays_away() {
    let mut reactor = reactor();
    let log = Log::default();
    let handler = noting(&log).on_error(|ws, _| {
        ws.close(CloseCode::NORMAL, "");
    });
    let handler = handler.on_reconnect(|_, _, _| panic!("it is to stay away"));
    reactor.connect(URL, Client::new(handler).reconnect(at_once())).unwrap();
    reactor.advance(Duration::from_secs(60)).unwrap();
    assert_eq!((taken(&log).len(), reactor.hub().stats().panics), (1, 0));
}

#[test]
fn a_handlers_own_deadline_is_not_taken_for_that_of_connecting() {
    /// Sets its own at once, and notes when it has passed.
    struct Own(Log);
    impl StreamHandler for Own {
        fn on_dial(&mut self, stream: &mut Stream<'_>) {
            let at = stream.hub().now() + Duration::from_secs(3);
            stream.set_deadline(Some(at));
        }

        fn on_deadline(&mut self, _: &mut Stream<'_>) {
            self.0.borrow_mut().push("own".to_owned());
        }
    }
    let mut reactor = reactor();
    reactor.kernel_mut().silence("10.0.0.2:80".parse().unwrap());
    reactor.kernel_mut().play("10.0.0.3:80".parse().unwrap());
    for to in ["10.0.0.2:80", "10.0.0.3:80"] {
        let log = Log::default();
        let settings = StreamConfig::new().connect_timeout(Duration::from_secs(5));
        reactor.hub().connect_stream_with(to, settings, Own(Rc::clone(&log))).unwrap();
        reactor.advance(Duration::from_secs(4)).unwrap();
        assert_eq!(taken(&log), ["own"], "{to}");
    }
}

#[test]
fn a_bad_answer_is_not_called_a_bad_request() {
    let mut played = played(Client::new);
    let told = played.say("SSH-2.0-x\r\n\r\n");
    assert_eq!(told[0], "error opening handshake failed: the response cannot be read: not HTTP/1");
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    let error = reactor().connect("ws://user:secret@host:99999/", Client::new(Callbacks::new())).unwrap_err();
    assert!(matches!(&error, ConnectError::Url { url, .. } if url == "ws://host:99999/"), "{error}");
}

#[cfg(feature = "tls")]
mod by_tls {
    use std::{sync::mpsc, thread};

    use ws_reactor::{BlockingSocket, Error, Reactor, Server, TlsClientConfig, TlsConnector};

    use super::*;

    fn anybody() -> TlsConnector {
        TlsClientConfig::dangerously_trusting_everybody().into()
    }

    #[test]
    fn what_came_before_tls_does_not_pass_for_what_comes_within() {
        /// STARTTLS, as one writes it who hands back what is not of the greeting.
        struct Mail(Log);
        impl StreamHandler for Mail {
            fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
                self.0.borrow_mut().push(format!("data {}", data.escape_ascii()));
                if let Some(rest) = data.strip_prefix(b"220 go\r\n") {
                    stream.start_tls(&anybody(), "mail.example");
                    stream.unread(rest.len());
                }
            }

            fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
                self.0.borrow_mut().push(format!("error {error:#}"));
            }
        }
        let mut reactor = reactor();
        reactor.kernel_mut().play("10.0.0.1:25".parse().unwrap());
        let log = Log::default();
        reactor.connect_stream("mail.example:25", Mail(Rc::clone(&log))).unwrap();
        reactor.settle().unwrap();
        let (peer, _) = reactor.kernel_mut().dialed().unwrap();
        reactor.kernel_mut().send(peer, b"220 go\r\nEVIL");
        reactor.settle().unwrap();
        let told = taken(&log);
        assert_eq!(told, ["data 220 go\\r\\nEVIL", "error TLS failed: the peer spoke before TLS began"]);
    }

    #[test]
    fn tls_is_laid_once_at_a_time() {
        struct Twice(Log);
        impl StreamHandler for Twice {
            fn on_connect(&mut self, stream: &mut Stream<'_>) {
                stream.start_tls(&anybody(), "outer.example");
                stream.start_tls(&anybody(), "inner.example");
            }

            fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
                self.0.borrow_mut().push(format!("{error:#}"));
            }
        }
        let mut reactor = reactor();
        reactor.kernel_mut().play("10.0.0.1:443".parse().unwrap());
        let log = Log::default();
        reactor.connect_stream("10.0.0.1:443", Twice(Rc::clone(&log))).unwrap();
        reactor.settle().unwrap();
        assert_eq!(taken(&log), ["connection failed: TLS is being laid already"]);
    }

    #[test]
    fn a_blocking_send_by_wss_leaves_nothing_behind() {
        const MESSAGES: usize = 100;
        let (tell, told) = mpsc::channel();
        let (count, counted) = mpsc::channel();
        let server = thread::spawn(move || {
            let mut reactor = Reactor::new().unwrap();
            let server = Server::new(move |_| {
                let (count, mut seen) = (count.clone(), 0);
                // Reads nothing for a while, so that the client's socket is full.
                Callbacks::new()
                    .on_open(|ws, _| {
                        let id = ws.id();
                        ws.pause();
                        ws.hub().add_timer(Duration::from_millis(200), move |hub| {
                            hub.resume(id);
                        });
                    })
                    .on_message(move |ws, _| {
                        seen += 1;
                        if seen == MESSAGES {
                            count.send(seen).unwrap();
                            ws.hub().stop();
                        }
                    })
            });
            let listening = reactor.listen("127.0.0.1:0", secure::server(server)).unwrap();
            tell.send(listening.addr.port()).unwrap();
            reactor.run().unwrap();
        });
        let url = format!("wss://localhost:{}/", told.recv().unwrap());
        // Whatever handler is given, it is not in the way.
        let mut socket = BlockingSocket::connect_with(&url, |_| Client::new(Callbacks::new()).tls(anybody())).unwrap();
        for _ in 0..MESSAGES {
            socket.send("x".repeat(100_000)).unwrap();
        }
        assert_eq!(counted.recv_timeout(Duration::from_secs(20)), Ok(MESSAGES), "while nothing is called");
        server.join().unwrap();
        drop(socket);
    }
}
