//! Events of the application, sent to handlers of other connections by handlers and by threads.

use std::{any::Any, rc::Rc};

use ws_reactor::{CloseCode, Handler, Message, SendStatus, Server, TestSocket, WebSocket};

use crate::support::{idle_socket, played::Log};

struct Say(&'static str);
struct Kick;

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
fn event_is_delivered_after_the_callback_that_sent_it() {
    let (mut socket, log) = member();
    socket.send("self");
    assert_eq!(*log.borrow(), ["message handled", "event by myself"]);
    assert_eq!(socket.received(), ["by myself".into()]);
    socket.send("kick");
    assert!(matches!(socket.received()[..], [ws_reactor::Received::Close(Some((CloseCode::POLICY_VIOLATION, _)))]));
}

#[test]
fn event_sent_while_events_are_delivered_arrives_in_the_next_turn() {
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
fn event_for_a_connection_that_is_not_open_returns_closed() {
    let ((_one, id), (mut other, _)) = (idle_socket(), idle_socket());
    assert_eq!(other.hub().notify(id, Kick), SendStatus::Closed);
    let remote = other.hub().remote();
    assert_eq!(remote.notify(id, Kick), Ok(()));
    other.settle();
    assert!(!other.is_closed());
}
