//! Events of the application reach the handler of another connection, from handlers and from threads; timers of a
//! connection may be periodic.

use std::{any::Any, cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{CloseCode, Handler, Message, SendStatus, Server, TestSocket, TimerId, WebSocket};

use crate::support::idle_socket;

struct Say(&'static str);
struct Kick;

type Log = Rc<RefCell<Vec<String>>>;

struct Member(Log);

impl Handler for Member {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &ws_reactor::Handshake) {
        ws.subscribe("members");
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let id = ws.id();
        match message.as_text() {
            Some("self") => assert_eq!(ws.hub().notify(id, Say("by myself")), SendStatus::Queued),
            Some("again") => assert_eq!(ws.hub().notify(id, "again"), SendStatus::Queued),
            _ => _ = ws.hub().notify(id, Kick),
        }
        self.0.borrow_mut().push("message handled".to_owned());
    }

    fn on_event(&mut self, ws: &mut WebSocket<'_>, event: &dyn Any) {
        if let Some(Say(words)) = event.downcast_ref() {
            self.0.borrow_mut().push(format!("event {words}"));
            ws.send(*words);
        } else if event.is::<Kick>() {
            ws.close(CloseCode::POLICY_VIOLATION, "kicked");
        } else if event.is::<&str>() {
            let (id, turns) = (ws.id(), ws.hub().stats().turns);
            self.0.borrow_mut().push(format!("turn {turns}"));
            if self.0.borrow().len() < 4 {
                ws.hub().notify(id, "again");
            }
        }
    }
}

fn member() -> (TestSocket, Log) {
    let log = Log::default();
    let shared = Rc::clone(&log);
    (TestSocket::connect(Server::new(move |_| Member(Rc::clone(&shared))), "/"), log)
}

#[test]
fn event_is_delivered_after_the_callback_that_noted_it() {
    let (mut socket, log) = member();
    socket.send("self");
    assert_eq!(*log.borrow(), ["message handled", "event by myself"]);
    assert_eq!(socket.received(), ["by myself".into()]);
    socket.send("kick");
    assert!(matches!(socket.received()[..], [ws_reactor::Received::Close(Some((CloseCode::POLICY_VIOLATION, _)))]));
}

#[test]
fn event_noted_while_events_are_delivered_comes_in_the_next_turn() {
    let (mut socket, log) = member();
    socket.send("again");
    let turns: Vec<u64> = log.borrow()[1..].iter().map(|line| line[5..].parse().unwrap()).collect();
    assert_eq!(turns, [turns[0], turns[0] + 1, turns[0] + 2]);
}

#[test]
fn event_for_a_topic_or_from_another_thread_reaches_each_handler() {
    let (mut socket, log) = member();
    assert_eq!(socket.hub().notify_topic("members", Say("to all")), 1);
    assert_eq!(socket.hub().notify_topic("nobody", Say("to none")), 0);
    let remote = socket.hub().remote();
    std::thread::spawn(move || remote.notify_topic("members", Say("from afar")).unwrap()).join().unwrap();
    socket.settle();
    assert_eq!(*log.borrow(), ["event to all", "event from afar"]);
}

#[test]
fn event_for_a_connection_that_is_not_open_is_answered_closed() {
    let ((_one, id), (mut other, _)) = (idle_socket(), idle_socket());
    assert_eq!(other.hub().notify(id, Kick), SendStatus::Closed);
    let remote = other.hub().remote();
    assert_eq!(remote.notify(id, Kick), Ok(()));
    other.settle();
    assert!(!other.is_closed());
}

#[test]
fn periodic_timer_of_a_connection_goes_on_until_it_is_cancelled_or_the_connection_ends() {
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
