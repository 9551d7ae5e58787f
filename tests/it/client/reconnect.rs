//! Reconnects: backoff, ids, and what ends them.

use super::*;
use ws_reactor::TimerId;

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

    fn on_reconnect(&mut self, _: &mut WebSocket<'_>, attempt: u32, wait: Duration) -> bool {
        assert!(wait <= Duration::from_secs(1 << (attempt - 1).min(6)));
        self.log.borrow_mut().push(format!("attempt {attempt}"));
        attempt < self.last_attempt
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
fn on_reconnect_that_returns_false_ends_the_client() {
    let mut reactor = reactor();
    let log = Log::default();
    let client = Client::new(recording(&log).on_reconnect(|_, _, _| false)).reconnect(Reconnect::default());
    reactor.connect(URL, client).unwrap();
    reactor.advance(Duration::from_secs(600)).unwrap();
    assert_eq!((drain(&log).len(), reactor.hub().stats().connections), (2, 0));
}

#[test]
fn reconnecting_client_has_its_new_id_during_the_wait_and_can_be_closed_then() {
    let mut reactor = reactor();
    let (log, ids): (Log, Rc<RefCell<Vec<ConnectionId>>>) = Default::default();
    let recorded = Rc::clone(&ids);
    let handler = recording(&log).on_reconnect(move |ws, attempt, _| {
        recorded.borrow_mut().push(ws.id());
        attempt < 3
    });
    let minute = Duration::from_secs(60);
    let policy = Reconnect::new().initial_backoff(minute).max_backoff(minute);
    let first = reactor.connect(URL, Client::new(handler).reconnect(policy)).unwrap();
    reactor.settle().unwrap();
    let failed =
        ["error cannot connect to 10.0.0.1:80: connection refused", "close 1006, by the network: connection refused"];
    assert_eq!(drain(&log).len(), failed.len());
    let second = ids.borrow()[0];
    assert!(second != first && !reactor.hub().is_open(second) && !reactor.hub().is_open(first));
    assert_eq!(reactor.hub().send(second, "too early"), SendStatus::Unsupported);
    assert_eq!(reactor.hub().write(second, b"too early"), SendStatus::Unsupported);
    reactor.advance(Duration::from_secs(60)).unwrap();
    assert_eq!((drain(&log).len(), ids.borrow().len()), (2, 2));
    // A close during the wait ends the client.
    let third = ids.borrow()[1];
    reactor.hub().close(third, CloseCode::NORMAL, "");
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
    let handler = handler.on_reconnect(|_, _, _| panic!("a closed client must not reconnect"));
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
    let handler = Callbacks::new().on_reconnect(move |_, attempt, _| {
        newest_attempt.set(attempt);
        attempt < 1_000_000
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
    assert_eq!(drain(&log), ["timer"]);
}
