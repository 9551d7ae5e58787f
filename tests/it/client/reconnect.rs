//! Reconnects: backoff, ids, and what ends them.

use super::*;
use ws_reactor::{TimerId, http::StatusCode};

/// Logs opening, closing and reconnects, and declines the reconnect number `last_attempt`.
struct Reconnecting {
    log: Log,
    last_attempt: u32,
}

impl Handler for Reconnecting {
    fn on_open(&mut self, _: &mut WebSocket<'_>, _: &Handshake) {
        self.log.borrow_mut().push("open".to_owned());
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, reason: &CloseReason) {
        self.log.borrow_mut().push(format!("close {}", reason.code));
    }

    fn on_reconnect(&mut self, _: &mut WebSocket<'_>, attempt: &Attempt<'_>) -> Retry {
        let Attempt { number, wait, reason, .. } = *attempt;
        assert!(wait <= Duration::from_secs(1 << (number - 1).min(6)));
        assert_eq!(self.log.borrow().last(), Some(&format!("close {}", reason.code)));
        if reason.code == CloseCode::NORMAL {
            assert_eq!((attempt.default, number), (Retry::No, 1));
            return attempt.default;
        }
        self.log.borrow_mut().push(format!("attempt {number}"));
        if number < self.last_attempt { Retry::Yes } else { Retry::No }
    }
}

#[test]
fn client_reconnects_until_a_close_with_1000_or_until_on_reconnect_declines() {
    let log = Log::default();
    let client =
        |last_attempt| Client::new(Reconnecting { log: Rc::clone(&log), last_attempt }).reconnect(Reconnect::default());
    // No server listens at first.
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.connect(URL, client(100)).unwrap();
    reactor.advance(Duration::from_secs(5)).unwrap();
    let attempts = drain(&log);
    assert!(attempts.len() >= 4 && attempts.len().is_multiple_of(2), "{attempts:?}");
    assert_eq!(attempts[..4], ["close 1006", "attempt 1", "close 1006", "attempt 2"]);
    let server = Server::new(|_| {
        on_message(|ws, message| {
            let code = message.as_text().unwrap().parse::<u16>().unwrap();
            ws.close(CloseCode::from(code), "");
        })
    });
    reactor.listen(SERVER, server).unwrap();
    reactor.advance(Duration::from_secs(120)).unwrap();
    assert_eq!(drain(&log).last().map(String::as_str), Some("open"));
    // The connection has been stable: the count of attempts begins again.
    let send = |reactor: &mut Reactor<Sim>, text: &str| {
        // The client's message reaches the server, which closes with that code.
        let ids: Vec<ConnectionId> = reactor.hub().connections().collect();
        for id in ids {
            reactor.hub().send(id, text);
        }
    };
    send(&mut reactor, "1012");
    reactor.advance(Duration::from_secs(2)).unwrap();
    assert_eq!(drain(&log), ["close 1012", "attempt 1", "open"]);
    send(&mut reactor, "1000");
    reactor.advance(Duration::from_secs(200)).unwrap();
    assert_eq!(drain(&log), ["close 1000"]);
    assert_eq!(reactor.hub().stats().connections, 0);
    // The handler declines.
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.connect(URL, client(3)).unwrap();
    reactor.advance(Duration::from_secs(1000)).unwrap();
    assert_eq!(drain(&log), ["close 1006", "attempt 1", "close 1006", "attempt 2", "close 1006", "attempt 3"]);
}

#[test]
fn on_reconnect_that_answers_no_ends_the_client() {
    let mut reactor = reactor();
    let log = Log::default();
    let client = Client::new(recording(&log).on_reconnect(|_, _| Retry::No)).reconnect(Reconnect::default());
    reactor.connect(URL, client).unwrap();
    reactor.advance(Duration::from_secs(600)).unwrap();
    assert_eq!((drain(&log).len(), reactor.hub().stats().connections), (2, 0));
}

#[test]
fn client_keeps_its_id_and_can_be_closed_during_the_wait() {
    let mut reactor = reactor();
    let (log, ids): (Log, Rc<RefCell<Vec<ConnectionId>>>) = Default::default();
    let recorded = Rc::clone(&ids);
    let handler = recording(&log).on_reconnect(move |ws, _| {
        recorded.borrow_mut().push(ws.id());
        Retry::Yes
    });
    let minute = Duration::from_secs(60);
    let policy = Reconnect::new().initial_backoff(minute).max_backoff(minute);
    let id = reactor.connect(URL, Client::new(handler).reconnect(policy)).unwrap();
    assert_eq!(reactor.hub().send(id, "too early"), SendStatus::Unsupported);
    reactor.settle().unwrap();
    let failed =
        ["error cannot connect to 10.0.0.1:80: connection refused", "close 1006, by the network: connection refused"];
    assert_eq!(drain(&log).len(), failed.len());
    assert!(!reactor.hub().is_open(id));
    // Between two connections nothing can be sent.
    assert_eq!(reactor.hub().send(id, "away"), SendStatus::Closed);
    assert_eq!(reactor.hub().write(id, b"away"), SendStatus::Closed);
    assert_eq!(reactor.hub().ping(id, b""), SendStatus::Closed);
    assert_eq!(reactor.hub().notify(id, "away"), SendStatus::Closed);
    assert!(!reactor.hub().subscribe(id, "away"));
    reactor.advance(Duration::from_secs(60)).unwrap();
    assert_eq!((drain(&log).len(), ids.borrow().as_slice()), (2, &[id, id][..]));
    // A close during the wait ends the client.
    reactor.hub().close(id, CloseCode::NORMAL, "");
    reactor.advance(Duration::from_secs(600)).unwrap();
    assert_eq!(drain(&log), ["close 1006, by the application, not clean"]);
    assert_eq!((ids.borrow().len(), reactor.hub().stats().connections), (2, 0));
}

#[test]
fn client_closed_by_the_application_does_not_reconnect_even_after_a_reset() {
    for reset in [false, true] {
        let mut server = FakeServer::dialed_by(|handler| Client::new(handler).reconnect(Reconnect::default()));
        let response = server.response("");
        server.send(response);
        server.reactor.hub().close(server.id, CloseCode::new(4000), "");
        if reset {
            server.reactor.kernel_mut().reset(server.peer);
        }
        server.reactor.advance(Duration::from_secs(300)).unwrap();
        let events = drain(&server.log);
        assert_eq!(events.iter().filter(|event| event.starts_with("close ")).count(), 1, "{events:?}");
        assert_eq!(server.reactor.hub().stats().connections, 0);
    }
}

// regression: a client that its handler closed in `on_error` was dialed again.
#[test]
fn client_closed_in_on_error_does_not_reconnect() {
    let mut reactor = reactor();
    let log = Log::default();
    let handler = recording(&log).on_error(|ws, _| {
        ws.close(CloseCode::NORMAL, "");
    });
    let handler = handler.on_reconnect(|_, _| panic!("a closed client must not reconnect"));
    reactor.connect(URL, Client::new(handler).reconnect(without_backoff())).unwrap();
    reactor.advance(Duration::from_secs(60)).unwrap();
    assert_eq!((drain(&log).len(), reactor.hub().stats().panics), (1, 0));
}

#[test]
fn thousand_clients_that_lose_their_server_reconnect_spread_over_one_second() {
    let mut reactor = reactor_serving(echo());
    for _ in 0..1000 {
        reactor.connect(URL, Client::new(Callbacks::new()).reconnect(Reconnect::default())).unwrap();
    }
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().opened, 2000);
    // The server restarts: all of its connections are reset.
    for peer in reactor.kernel_mut().peers() {
        reactor.kernel_mut().reset(peer);
    }
    let mut reconnected = Vec::new();
    for _ in 0..10 {
        let before = reactor.hub().stats().connected;
        reactor.advance(Duration::from_millis(100)).unwrap();
        reconnected.push(reactor.hub().stats().connected - before);
    }
    assert_eq!(reconnected.iter().sum::<u64>(), 1000, "{reconnected:?}");
    assert!(reconnected.iter().all(|count| (50..160).contains(count)), "{reconnected:?}");
}

// regression: one turn repeated attempts that failed immediately, without end.
#[test]
fn reconnects_that_fail_at_once_without_backoff_do_not_starve_other_work() {
    let mut reactor = reactor();
    let (attempts, ticks) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let newest_attempt = Rc::clone(&attempts);
    let handler = Callbacks::new().on_reconnect(move |_, attempt| {
        newest_attempt.set(attempt.number);
        Retry::Yes
    });
    // The simulated system has no files: connecting fails before it waits for anything.
    reactor.connect("ws+unix:/nowhere", Client::new(handler).reconnect(without_backoff())).unwrap();
    for _ in 0..100 {
        let ticks = Rc::clone(&ticks);
        reactor.hub().next_tick(move |_| ticks.set(ticks.get() + 1));
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(ticks.get() == 100 && (1..=200).contains(&attempts.get()), "{attempts:?}");
}

// regression: the handler was not notified of a timer that it set before the connection was dialed.
#[test]
fn timer_set_in_on_reconnect_fires_during_the_wait() {
    /// Sets a timer in each `on_reconnect`.
    struct Timing(Log);
    impl Handler for Timing {
        fn on_reconnect(&mut self, ws: &mut WebSocket<'_>, _: &Attempt<'_>) -> Retry {
            ws.set_timer(Duration::from_millis(1));
            Retry::Yes
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
    assert_eq!(drain(&log), ["timer"]);
}

/// A client that is refused with a response, and its events up to the answer of `on_reconnect` and its wait.
fn refused_with(response: &str, answer: fn(&Attempt<'_>) -> Retry) -> (Reactor<Sim>, Vec<String>, Duration) {
    let (attempts, wait) = (Log::default(), Rc::new(Cell::new(Duration::ZERO)));
    let (log, waits) = (Rc::clone(&attempts), Rc::clone(&wait));
    let mut server = FakeServer::dialed_by(|handler| {
        let handler = handler.on_reconnect(move |ws, attempt| {
            let refusal = attempt.refusal.map(|refusal| refusal.status.as_u16());
            log.borrow_mut().push(format!("{} {refusal:?} {:?}", attempt.number, attempt.default));
            waits.set(attempt.wait);
            let id = ws.id();
            assert!(!ws.hub().is_open(id));
            answer(attempt)
        });
        Client::new(handler).reconnect(Reconnect::default())
    });
    server.send(response);
    server.reactor.kernel_mut().finish(server.peer);
    server.reactor.settle().unwrap();
    let attempts = drain(&attempts);
    (server.reactor, attempts, wait.get())
}

#[test]
fn client_that_is_refused_with_4xx_ends_except_for_408_425_and_429() {
    for (status, ends) in [
        (400, true),
        (401, true),
        (403, true),
        (404, true),
        (410, true),
        (426, true),
        (408, false),
        (425, false),
        (429, false),
        (500, false),
        (502, false),
        (503, false),
        (302, false),
        (200, false),
    ] {
        let response = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let (mut reactor, attempts, _) = refused_with(&response, |attempt| attempt.default);
        let default = if ends { "No" } else { "Yes" };
        assert_eq!(attempts, [format!("1 Some({status}) {default}")]);
        assert_eq!(reactor.hub().stats().connections, usize::from(!ends), "{status}");
    }
}

#[test]
fn handler_may_reconnect_after_a_refusal_that_ends_the_client_by_default() {
    let (mut reactor, attempts, _) = refused_with("HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n", |_| Retry::Yes);
    assert_eq!(attempts, ["1 Some(401) No"]);
    reactor.advance(Duration::from_secs(1)).unwrap();
    assert!(reactor.kernel_mut().dialed().is_some(), "the client has dialed again");
}

#[test]
fn client_that_receives_a_tls_alert_ends_because_the_scheme_is_wrong() {
    let (mut reactor, attempts, _) = refused_with("\x15\x03\x01\x00\x02\x02\x46", |attempt| attempt.default);
    assert_eq!((attempts, reactor.hub().stats().connections), (vec!["1 None No".to_owned()], 0));
}

#[test]
fn retry_after_of_429_and_503_is_added_to_the_wait_up_to_one_hour() {
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\n";
    for (status, headers, seconds) in [
        (503, "Retry-After: 30\r\n", 30),
        (429, "Retry-After: 30\r\n", 30),
        (503, date, 60),
        (503, "Retry-After: 1000000\r\n", 3600),
        (500, "Retry-After: 30\r\n", 0),
        (503, "Retry-After: soon\r\n", 0),
    ] {
        let response = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\n\r\n");
        let (mut reactor, _, wait) = refused_with(&response, |attempt| attempt.default);
        let (least, most) = (Duration::from_secs(seconds), Duration::from_secs(seconds + 1));
        assert!((least..=most).contains(&wait), "{status} {headers}: {wait:?}");
        reactor.advance(wait.saturating_sub(Duration::from_millis(1))).unwrap();
        assert!(wait.is_zero() || reactor.kernel_mut().dialed().is_none());
        reactor.advance(Duration::from_millis(1)).unwrap();
        assert!(reactor.kernel_mut().dialed().is_some(), "{status} {headers}");
    }
}

/// An open client that reconnects at once, of a server that closes with 1012 for the message `restart`. Each turn
/// executes one command of another thread, and delivers one event.
fn restarted(handler: Callbacks) -> (Reactor<Sim>, ConnectionId) {
    let server = Server::new(|_| {
        on_message(|ws, message| {
            if message.as_text() == Some("restart") {
                ws.close(CloseCode::SERVICE_RESTART, "");
            } else {
                ws.send(message);
            }
        })
    });
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::new().command_budget(1).event_budget(1));
    reactor.listen(SERVER, server).unwrap();
    reactor.set_resolver(FixedResolver);
    let id = reactor.connect(URL, Client::new(handler).reconnect(without_backoff())).unwrap();
    reactor.settle().unwrap();
    assert!(reactor.hub().is_open(id));
    reactor.hub().send(id, "restart");
    (reactor, id)
}

#[test]
fn queue_timers_and_subscriptions_of_a_client_end_with_each_connection() {
    let log = Log::default();
    let timers = Rc::clone(&log);
    let handler = recording(&log).on_timer(move |_, _| timers.borrow_mut().push("timer".to_owned()));
    let first = Cell::new(true);
    let handler = handler.on_open(move |ws, _| {
        if first.replace(false) {
            ws.set_timer(Duration::from_secs(1));
        }
    });
    let (mut reactor, id) = restarted(handler);
    reactor.hub().subscribe(id, "news");
    reactor.settle().unwrap();
    assert!(reactor.hub().is_open(id), "the client has connected again");
    assert_eq!((reactor.hub().subscribers("news"), reactor.hub().buffered(id)), (0, 0));
    assert_eq!(reactor.hub().send(id, "hello"), SendStatus::Queued);
    reactor.advance(Duration::from_secs(2)).unwrap();
    assert_eq!(drain(&log), ["close 1012, by the peer, clean", "message hello"]);
    assert_eq!(reactor.hub().stats().opened, 4, "two connections with two ends each");
}

#[test]
fn command_of_another_thread_for_a_connection_does_not_reach_the_next_one() {
    let log = Log::default();
    let events = Rc::clone(&log);
    let handler = recording(&log).on_event(move |_, _| events.borrow_mut().push("event".to_owned()));
    let (mut reactor, id) = restarted(handler);
    let remote = reactor.remote();
    for _ in 0..50 {
        remote.run(|_| ()).unwrap();
    }
    remote.send(id, "for the last connection").unwrap();
    remote.send_latest(id, "key", "for the last connection").unwrap();
    remote.notify(id, "for the last connection").unwrap();
    remote.subscribe(id, "news").unwrap();
    for _ in 0..50 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(reactor.hub().is_open(id), "the client has connected again");
    let open = "open RFC 6455 None via 10.0.0.1:80";
    assert_eq!(drain(&log), [open, "close 1012, by the peer, clean", open]);
    remote.send(id, "for this connection").unwrap();
    reactor.settle().unwrap();
    assert_eq!(drain(&log), ["message for this connection"]);
    assert_eq!(reactor.hub().subscribers("news"), 0);
    // A close is meant for the client, whichever connection it has.
    remote.close(id, CloseCode::NORMAL, "").unwrap();
    reactor.settle().unwrap();
    assert_eq!(drain(&log), ["close 1000, by the application, clean"]);
    assert_eq!(reactor.hub().stats().connections, 0);
}

#[test]
fn event_for_a_connection_does_not_reach_the_next_one() {
    let log = Log::default();
    let events = Rc::clone(&log);
    let handler = recording(&log).on_event(move |_, _| events.borrow_mut().push("event".to_owned()));
    let (mut reactor, id) = restarted(handler);
    for _ in 0..100 {
        assert_eq!(reactor.hub().notify(id, "for the last connection"), SendStatus::Queued);
    }
    reactor.settle().unwrap();
    for _ in 0..100 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let events = drain(&log);
    let closed = events.iter().position(|event| event.starts_with("close")).unwrap();
    assert!(events[..closed].contains(&"event".to_owned()), "{events:?}");
    assert_eq!(events[closed + 1..], ["open RFC 6455 None via 10.0.0.1:80"]);
}

#[test]
fn raw_stream_reconnects_by_its_policy_under_the_same_id() {
    /// Counts its connections, and ends after the third.
    struct Line(Log);
    impl StreamHandler for Line {
        fn on_connect(&mut self, stream: &mut Stream<'_>) {
            self.0.borrow_mut().push(format!("connected {}", stream.id()));
            stream.write(b"hello");
        }

        fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
            self.0.borrow_mut().push(format!("close {reason}"));
        }

        fn on_reconnect(&mut self, stream: &mut Stream<'_>, attempt: &Attempt<'_>) -> Retry {
            assert_eq!(stream.write(b"too early"), SendStatus::Closed);
            self.0.borrow_mut().push(format!("attempt {}", attempt.number));
            if attempt.number < 3 { attempt.default } else { Retry::No }
        }
    }
    /// Ends each stream after its first bytes.
    struct Once;
    impl StreamHandler for Once {
        fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
            assert_eq!(data, b"hello");
            stream.close();
        }
    }
    let mut reactor = reactor();
    reactor.listen_stream("10.0.0.1:43", |_| Once).unwrap();
    let log = Log::default();
    let config = StreamConfig::new().reconnect(Some(without_backoff()));
    let id = reactor.hub().connect_stream_with("10.0.0.1:43", config, Line(Rc::clone(&log))).unwrap();
    reactor.settle().unwrap();
    let (connected, end) = (format!("connected {id}"), "close 1005, by the peer, clean");
    let all = [&*connected, end, "attempt 1", &connected, end, "attempt 2", &connected, end, "attempt 3"];
    assert_eq!(drain(&log), all);
    assert_eq!(reactor.hub().stats().connections, 0);
}

// regression: the answer to the lookup of an attempt that had timed out was taken for the next attempt, which began
// during its wait, without a deadline.
#[test]
fn late_answer_of_a_resolver_does_not_reach_the_next_attempt() {
    for late in [Ok(&["10.0.0.1:80"][..]), Err(std::io::Error::other("late"))] {
        let (mut reactor, resolver, log) = (reactor(), ManualResolver::default(), Log::default());
        reactor.set_resolver(resolver.clone());
        reactor.kernel_mut().play(SERVER.parse().unwrap());
        let hour = Duration::from_secs(3600);
        let policy = Reconnect::new().initial_backoff(hour).max_backoff(hour);
        reactor.connect("ws://example.com/", Client::new(recording(&log)).reconnect(policy)).unwrap();
        reactor.advance(Duration::from_secs(30)).unwrap();
        assert_eq!(drain(&log).len(), 2, "resolving timed out");
        resolver.answer(late);
        reactor.advance(Duration::from_millis(10)).unwrap();
        assert_eq!((drain(&log), reactor.kernel_mut().dialed()), (Vec::new(), None));
    }
}

// regression: after a connection that was open, the handler was dropped without `on_close`.
#[test]
fn client_that_is_closed_in_on_reconnect_gets_on_close() {
    for was_open in [false, true] {
        for terminates in [false, true] {
            let mut server = FakeServer::dialed_by(|handler| {
                let handler = handler.on_reconnect(move |ws, _| {
                    if terminates {
                        ws.terminate();
                    } else {
                        ws.close(CloseCode::NORMAL, "");
                    }
                    Retry::Yes
                });
                Client::new(handler).reconnect(Reconnect::default())
            });
            if was_open {
                let response = server.response("");
                server.send(response);
            }
            server.reactor.kernel_mut().reset(server.peer);
            server.reactor.advance(Duration::from_secs(10)).unwrap();
            let events = drain(&server.log);
            assert_eq!(events.last().unwrap(), "close 1006, by the application, not clean", "{events:?}");
            assert_eq!(events.iter().filter(|event| event.starts_with("close")).count(), 2, "{events:?}");
            assert_eq!(server.reactor.hub().stats().connections, 0);
        }
    }
}

// regression: a pause that was executed during the wait held up the handshake of the next connection.
#[test]
fn pause_between_two_connections_does_not_reach_the_next_one() {
    let (mut reactor, id) = restarted(Callbacks::new());
    while reactor.hub().is_open(id) {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let remote = reactor.remote();
    remote.pause(id).unwrap();
    assert!(!reactor.hub().pause(id) && !reactor.hub().resume(id));
    reactor.settle().unwrap();
    assert!(reactor.hub().is_open(id), "the handshake was read");
}

/// A server that refuses each token but the newest, and records path and token of each request.
fn listen_for_tokens(reactor: &mut Reactor<Sim>, valid: &Rc<Cell<u32>>) -> Log {
    let (requests, valid) = (Log::default(), Rc::clone(valid));
    let recorded = Rc::clone(&requests);
    let server = echo().on_request(move |request, _| {
        let token = request.header("authorization").unwrap_or("none").to_owned();
        let refused = token != format!("Bearer {}", valid.get());
        let host = request.header("host").unwrap_or("-");
        let query = request.query_string().unwrap_or("-");
        recorded.borrow_mut().push(format!("{}?{query} {token} {host}", request.path()));
        if refused { Reply::status(StatusCode::UNAUTHORIZED) } else { Reply::upgrade() }
    });
    reactor.listen(SERVER, server).unwrap();
    requests
}

#[test]
fn on_request_renews_token_and_target_of_each_attempt() {
    let mut reactor = reactor();
    let valid = Rc::new(Cell::new(1));
    let requests = listen_for_tokens(&mut reactor, &valid);
    let (log, attempts) = (Log::default(), Rc::new(Cell::new(0)));
    let handler = recording(&log).on_reconnect(|_, attempt| {
        assert!(attempt.refusal.is_none_or(|refusal| refusal.status == StatusCode::UNAUTHORIZED));
        Retry::Yes
    });
    let number = Rc::clone(&attempts);
    let client = Client::new(handler)
        .header("x-kept".parse().unwrap(), "yes".parse().unwrap())
        .reconnect(without_backoff())
        .on_request(move |request| {
            number.set(number.get() + 1);
            assert_eq!((request.target(), request.headers.len()), ("/feed?from=0", 1), "the client's own values");
            assert!(request.set_target("/ {").is_err() && request.set_target("/a#b").is_err());
            assert_eq!(request.target(), "/feed?from=0");
            request.set_target(&format!("/feed?from={}", number.get())).unwrap();
            request.headers.insert("authorization", format!("Bearer {}", number.get()).parse().unwrap());
            request.headers.insert("host", "other.example".parse().unwrap());
            request.headers.insert("sec-websocket-key", "mine".parse().unwrap());
        });
    let id = reactor.connect("ws://10.0.0.1/feed?from=0", client).unwrap();
    reactor.settle().unwrap();
    assert!(reactor.hub().is_open(id));
    assert_eq!(drain(&requests), ["/feed?from=1 Bearer 1 other.example"]);
    // The token expires, and the server ends the connection. The second attempt has the wrong token.
    valid.set(3);
    let peers: Vec<_> = reactor.kernel_mut().peers().collect();
    reactor.kernel_mut().reset(peers[0]);
    reactor.advance(Duration::from_millis(1)).unwrap();
    assert_eq!(drain(&requests), ["/feed?from=2 Bearer 2 other.example", "/feed?from=3 Bearer 3 other.example"]);
    assert!(reactor.hub().is_open(id));
    assert_eq!(attempts.get(), 3);
}

#[test]
fn headers_of_on_request_do_not_follow_a_redirect_to_another_server() {
    let (mut reactor, calls, seen) = (reactor(), Rc::new(Cell::new(0)), Log::default());
    let home = echo().on_request(|_, _| {
        let redirect = ws_reactor::http::Response::builder().status(302).header("location", "http://10.0.0.1:81/there");
        Reply::from(redirect.body(Vec::new()).unwrap())
    });
    let recorded = Rc::clone(&seen);
    let there = echo().on_request(move |request, _| {
        recorded.borrow_mut().push(format!(
            "{} {:?} {:?}",
            request.path(),
            request.header("cookie"),
            request.header("x")
        ));
        Reply::upgrade()
    });
    reactor.listen(SERVER, home).unwrap();
    reactor.listen("10.0.0.1:81", there).unwrap();
    let count = Rc::clone(&calls);
    let client = Client::new(Callbacks::new()).follow_redirects(3).on_request(move |request| {
        count.set(count.get() + 1);
        request.headers.insert("cookie", "secret=1".parse().unwrap());
        request.headers.insert("x", "public".parse().unwrap());
    });
    reactor.connect(URL, client).unwrap();
    reactor.settle().unwrap();
    assert_eq!((drain(&seen), calls.get()), (vec![r#"/there None Some("public")"#.to_owned()], 1));
}

#[test]
fn on_reconnect_decides_after_a_close_with_1000_and_after_the_last_attempt() {
    for goes_on in [false, true] {
        let (mut reactor, log) = (reactor(), Log::default());
        let attempts = Rc::clone(&log);
        let handler = Callbacks::new().on_reconnect(move |_, attempt| {
            attempts.borrow_mut().push(format!("{} {:?}", attempt.number, attempt.default));
            if goes_on { Retry::Yes } else { attempt.default }
        });
        let ended = Rc::new(Cell::new(false));
        let client = Client::new(handler).reconnect(without_backoff().max_attempts(Some(2)));
        reactor.kernel_mut().play(SERVER.parse().unwrap());
        let id = reactor.connect(URL, client).unwrap();
        let hook = Rc::clone(&ended);
        reactor.hub().when_closed(id, move |_| hook.set(true));
        for _ in 0..4 {
            reactor.settle().unwrap();
            while let Some((peer, _)) = reactor.kernel_mut().dialed() {
                reactor.kernel_mut().reset(peer);
            }
        }
        reactor.settle().unwrap();
        let all = ["1 Yes", "2 Yes", "3 No", "4 No"];
        assert_eq!(drain(&log), if goes_on { &all[..] } else { &all[..3] });
        assert_eq!((ended.get(), reactor.hub().stats().connections == 0), (!goes_on, !goes_on));
    }
}

#[test]
fn reconnect_gives_up_a_dead_connection_and_keeps_the_client() {
    let (mut reactor, log) = (reactor(), Log::default());
    reactor.listen(SERVER, echo()).unwrap();
    let handler = recording(&log).on_open(|ws, _| _ = ws.set_timer(Duration::from_secs(3))).on_timer(|ws, _| {
        // No message for three seconds.
        ws.send("lost");
        ws.reconnect();
    });
    let id = reactor.connect(URL, Client::new(handler).reconnect(without_backoff())).unwrap();
    assert!(!reactor.hub().reconnect(id), "not open yet");
    reactor.advance(Duration::from_secs(10)).unwrap();
    let ends = drain(&log);
    assert_eq!(ends, vec!["close 1006, by the application, to reconnect, 10 bytes not sent"; 3]);
    assert!(reactor.hub().is_open(id));
    reactor.remote().reconnect(id).unwrap();
    reactor.settle().unwrap();
    assert_eq!(drain(&log).len(), 1);
    assert!(reactor.hub().is_open(id));
    // Without a policy, and after `close`, the client ends.
    reactor.hub().close(id, CloseCode::NORMAL, "");
    reactor.hub().reconnect(id);
    let single = reactor.connect(URL, Client::new(Callbacks::new())).unwrap();
    reactor.settle().unwrap();
    assert!(reactor.hub().reconnect(single));
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().connections, 0);
}
