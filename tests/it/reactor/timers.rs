//! Timers of the hub and of connections, and long timeouts.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Handler, OutputLimits, Reactor, ReactorConfig, Server, ServerConfig, StreamConfig, TestSocket, TimerId, WebSocket,
    WebSocketConfig, net::sim::Sim,
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
