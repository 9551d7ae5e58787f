//! Timers of the hub and of connections, and long timeouts.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Handler, Hub, OutputLimits, Reactor, ReactorConfig, Received, Server, ServerConfig, Stream, StreamConfig,
    StreamHandler, TestSocket, TimerId, Turn, WebSocket, WebSocketConfig, net::sim::Sim,
};

use crate::support::played::echo;

// regression: between two turns the hub reported the time of the last turn.
#[test]
fn timer_added_between_turns_counts_from_the_current_time() {
    let mut socket = TestSocket::connect(echo().ping_after(None), "/");
    let before = socket.hub().now();
    socket.reset_after(Duration::from_secs(60));
    assert_eq!(socket.hub().now() - before, Duration::from_secs(60));
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().advance(Duration::from_secs(60));
    let fired = Rc::new(RefCell::new(false));
    let set = Rc::clone(&fired);
    reactor.hub().add_timer(Duration::from_secs(10), move |_| *set.borrow_mut() = true);
    reactor.settle().unwrap();
    assert!(!*fired.borrow(), "the ten seconds begin now, not with the last turn");
    reactor.advance(Duration::from_secs(10)).unwrap();
    assert!(*fired.borrow());
}

// regression: deadlines overflowed.
#[test]
fn timeout_of_duration_max_never_expires() {
    let output = OutputLimits::new().high_water_bytes(10).stall_timeout(Duration::MAX);
    let stream = StreamConfig::new().output(output).closing_timeout(Duration::MAX);
    let websocket = WebSocketConfig::new().ping_after(Some(Duration::MAX)).pong_timeout(Duration::MAX).stream(stream);
    let unlimited =
        ServerConfig::new().opening_timeout(Duration::MAX).linger_timeout(Duration::MAX).websocket(websocket);
    let mut socket = TestSocket::connect(echo().configure(|config| *config = unlimited), "/");
    socket.hold(1);
    socket.send("more than ten bytes");
    socket.send("more than ten bytes");
    socket.hub().add_timer(Duration::MAX, |_| {});
    socket.hub().add_periodic_timer(Duration::MAX, |_| {});
    socket.hub().shutdown(Duration::MAX);
    socket.settle();
    assert!(!socket.is_closed());
}

#[test]
fn periodic_timer_of_a_connection_fires_until_it_is_cancelled_or_the_connection_ends() {
    struct Ticking(Option<TimerId>, u32);

    impl Handler for Ticking {
        fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &ws_reactor::Handshake) {
            self.0 = Some(ws.set_periodic_timer(Duration::from_secs(10)));
        }

        fn on_timer(&mut self, ws: &mut WebSocket<'_>, timer: TimerId) {
            assert_eq!(Some(timer), self.0);
            self.1 += 1;
            ws.send(format!("tick {}", self.1));
            if self.1 == 3 {
                assert!(ws.cancel_timer(timer) && !ws.cancel_timer(timer));
            }
        }
    }

    let mut socket = TestSocket::connect(Server::new(|_| Ticking(None, 0)).ping_after(None), "/");
    socket.advance(Duration::from_secs(9));
    assert!(socket.received().is_empty());
    socket.advance(Duration::from_secs(100));
    assert_eq!(socket.received(), ["tick 1".into(), "tick 2".into(), "tick 3".into()]);
    let mut socket = TestSocket::connect(Server::new(|_| Ticking(None, 0)).ping_after(None), "/");
    socket.reset();
    socket.advance(Duration::from_secs(100));
    assert_eq!(socket.hub().stats().panics, 0);
}

#[test]
fn interval_of_a_periodic_timer_changes_from_outside_and_from_its_own_call() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let calls = Rc::new(RefCell::new(Vec::new()));
    let (noted, began, own) = (Rc::clone(&calls), reactor.hub().now(), Rc::new(RefCell::new(None)));
    let id = Rc::clone(&own);
    let timer = reactor.hub().add_periodic_timer(Duration::from_secs(10), move |hub| {
        let now = hub.now() - began;
        noted.borrow_mut().push(now.as_secs());
        if now.as_secs() == 23 {
            assert!(hub.set_timer_interval(id.borrow().unwrap(), Duration::from_secs(1)));
        }
    });
    *own.borrow_mut() = Some(timer);
    reactor.advance(Duration::from_secs(13)).unwrap();
    assert!(reactor.hub().set_timer_interval(timer, Duration::from_secs(5)));
    reactor.advance(Duration::from_secs(13)).unwrap();
    assert_eq!(*calls.borrow(), [10, 18, 23, 24, 25, 26]);
    assert!(reactor.hub().set_timer_interval(timer, Duration::ZERO));
    reactor.turn(Some(Duration::ZERO)).unwrap();
    assert!(reactor.hub().cancel_timer(timer) && !reactor.hub().set_timer_interval(timer, Duration::from_secs(1)));
    let once = reactor.hub().add_timer(Duration::from_secs(1), |_| {});
    assert!(!reactor.hub().set_timer_interval(once, Duration::from_secs(9)));
}

#[test]
fn interval_of_a_timer_of_a_connection_changes() {
    struct Slower(u64);

    impl Handler for Slower {
        fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &ws_reactor::Handshake) {
            ws.set_periodic_timer(Duration::from_secs(1));
        }

        fn on_timer(&mut self, ws: &mut WebSocket<'_>, timer: TimerId) {
            self.0 += 1;
            assert!(ws.hub().set_timer_interval(timer, Duration::from_secs(1 + self.0)));
            ws.send(self.0.to_string());
        }
    }

    let mut socket = TestSocket::connect(Server::new(|_| Slower(0)).ping_after(None), "/");
    // After 1, 3, 6 and 10 seconds.
    socket.advance(Duration::from_secs(10));
    let expected = ["1", "2", "3", "4"].map(|text| Received::Message(text.into()));
    assert_eq!(socket.received(), expected);
}

#[test]
fn second_shutdown_can_shorten_the_first_and_not_lengthen_it() {
    /// Stays open during a shutdown.
    struct Stays;

    impl StreamHandler for Stays {
        fn on_shutdown(&mut self, _: &mut Stream<'_>) {}
    }

    // In seconds: the first time-out, the time of the second call, its time-out, the end.
    for (first, at, second, end) in [(60, 0, 2, 2), (60, 1, 2, 3), (3, 0, 60, 3), (3, 1, 60, 3), (3, 1, 2, 3)] {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let addr = reactor.listen_stream("10.0.0.1:80", |_| Stays).unwrap().addr;
        reactor.kernel_mut().connect(addr).unwrap();
        reactor.settle().unwrap();
        reactor.hub().shutdown(Duration::from_secs(first));
        if at > 0 {
            reactor.advance(Duration::from_secs(at)).unwrap();
        }
        reactor.hub().shutdown(Duration::from_secs(second));
        let moment = Duration::from_millis(1);
        assert_eq!(reactor.advance(Duration::from_secs(end - at) - moment).unwrap(), Turn::Running);
        assert_eq!(reactor.advance(moment).unwrap(), Turn::Stopped, "{first} s, after {at} s {second} s");
    }
}

#[test]
fn shutdown_hooks_are_called_once_at_the_end_the_last_one_first() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let calls = Rc::new(RefCell::new(Vec::new()));
    for name in ["first", "second"] {
        let noted = Rc::clone(&calls);
        reactor.hub().add_shutdown_hook(move |_| noted.borrow_mut().push(name));
    }
    reactor.settle().unwrap();
    assert!(calls.borrow().is_empty());
    for _ in 0..2 {
        reactor.hub().stop();
        reactor.settle().unwrap();
    }
    assert_eq!(*calls.borrow(), ["second", "first"]);
}

#[test]
fn shutdown_hook_that_adds_itself_again_is_called_once_for_each_end() {
    fn again(hub: &mut Hub, calls: Rc<RefCell<u32>>) {
        *calls.borrow_mut() += 1;
        hub.add_shutdown_hook(move |hub| again(hub, calls));
    }

    let mut reactor = Reactor::new().unwrap();
    let calls = Rc::new(RefCell::new(0));
    again(reactor.hub(), Rc::clone(&calls));
    for expected in [2, 3] {
        reactor.hub().next_tick(Hub::stop);
        reactor.run().unwrap();
        assert_eq!(*calls.borrow(), expected);
    }
}
