//! Text messages in a row, which arrive in one read: what a handler does in the middle of them applies at once.

use std::{cell::RefCell, rc::Rc};

use ws_reactor::{Callbacks, Client, CloseCode, Server, TestSocket, WebSocket, WebSocketConfig};

use crate::support::{played::FakeServer, silence_deliberate_panics, wire};

/// What a handler has received, and how the connection ended.
type Log = Rc<RefCell<Vec<String>>>;

/// A handler that logs, and then does as the message says.
fn obeying(log: &Log) -> Callbacks {
    let (messages, ends) = (Rc::clone(log), Rc::clone(log));
    Callbacks::new()
        .on_message(move |ws, message| {
            messages.borrow_mut().push(message.to_string());
            obey(ws, message.as_text().unwrap_or_default(), &messages);
        })
        .on_close(move |_, reason| ends.borrow_mut().push(format!("{:?}", reason.by)))
}

fn obey(ws: &mut WebSocket<'_>, text: &str, log: &Log) {
    let (id, log) = (ws.id(), Rc::clone(log));
    match text {
        "pause" => {
            ws.pause();
            ws.hub().next_tick(move |hub| {
                log.borrow_mut().push("resumed".to_owned());
                hub.resume(id);
            });
        }
        "close" => _ = ws.close(CloseCode::NORMAL, ""),
        "terminate" => ws.terminate(),
        "limit" => ws.set_max_frame_bytes(5),
        "panic" => panic!("deliberate: a message in the middle of a read"),
        _ => {}
    }
}

/// Sends messages in one read to a server, and to a client. Returns what both have logged.
fn received(texts: &[&[u8]]) -> Vec<String> {
    received_within(WebSocketConfig::default().message_budget, texts)
}

fn received_within(message_budget: usize, texts: &[&[u8]]) -> Vec<String> {
    let log = Log::default();
    let (server_log, client_log) = (Rc::clone(&log), Rc::clone(&log));
    let server = Server::new(move |_| obeying(&server_log));
    let server = server.configure(|config| config.websocket.message_budget = message_budget);
    let mut socket = TestSocket::connect(server, "/");
    socket.send_bytes(&texts.iter().flat_map(|text| wire::raw(0x81, text)).collect::<Vec<u8>>());
    let by_server = log.take();

    let mut server = FakeServer::dialed_by(move |_| {
        let client = Client::new(obeying(&client_log));
        client.configure(|config| config.websocket.message_budget = message_budget)
    });
    let frames = texts.iter().flat_map(|text| [&[0x81, text.len() as u8], *text].concat());
    server.send([server.response("").into_bytes(), frames.collect()].concat());
    assert_eq!(*log.borrow(), by_server, "client and server");
    by_server
}

#[test]
fn all_messages_of_a_read_arrive_in_order() {
    let texts: Vec<String> = (0..500).map(|number| format!("№ {number}")).collect();
    let bytes: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    for budget in [1, 2, 31, 32, 33, 1024] {
        assert_eq!(received_within(budget, &bytes), texts, "budget of {budget}");
    }
}

#[test]
fn messages_with_a_longer_header_than_they_need_are_handed_back_intact() {
    // regression: a pause in the middle of such messages panicked
    let log = Log::default();
    let mut socket = TestSocket::open(obeying(&log));
    let frame = |text: &str| [&[0x81, 0x80 | 126, 0, text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat();
    socket.send_bytes(&["one", "pause", "two", "three"].map(frame).concat());
    assert_eq!(log.take(), ["one", "pause", "resumed", "two", "three"]);
}

#[test]
fn long_message_between_short_ones_arrives_in_its_place() {
    let log = Log::default();
    let mut socket = TestSocket::open(obeying(&log));
    let long = "long ".repeat(2000);
    let texts = ["one", &long, "two", "three", &long, "four"];
    socket.send_bytes(&texts.iter().flat_map(|text| wire::raw(0x81, text.as_bytes())).collect::<Vec<u8>>());
    assert!(log.take() == texts);
}

#[test]
fn pause_holds_the_next_message_of_the_read() {
    assert_eq!(received(&[b"one", b"pause", b"two", b"three"]), ["one", "pause", "resumed", "two", "three"]);
    assert_eq!(received(&[b"pause", b"pause", b"one"]), ["pause", "resumed", "pause", "resumed", "one"]);
}

#[test]
fn close_or_terminate_drops_the_next_messages_of_the_read() {
    assert_eq!(received(&[b"one", b"close", b"two", b"three"]), ["one", "close"]);
    assert_eq!(received(&[b"one", b"terminate", b"two"]), ["one", "terminate", "Application"]);
}

#[test]
fn changed_limit_applies_to_the_next_message_of_the_read() {
    let events = received(&[b"before the limit", b"limit", b"five5", b"sixsix", b"one"]);
    assert_eq!(events[..3], ["before the limit", "limit", "five5"]);
    assert!(events.len() <= 4, "{events:?}");
}

#[test]
fn panic_in_a_handler_drops_the_next_messages_of_the_read() {
    silence_deliberate_panics();
    let events = received(&[b"one", b"panic", b"two"]);
    assert!(events[..2] == ["one", "panic"] && !events.contains(&"two".to_owned()), "{events:?}");
}

#[test]
fn messages_before_one_that_is_not_utf_8_arrive() {
    for invalid in [&b"\xff"[..], "é".as_bytes().split_at(1).0, "é".as_bytes().split_at(1).1] {
        let events = received(&[b"one", "zwölf".as_bytes(), invalid, "é".as_bytes().split_at(1).1, b"two"]);
        assert_eq!(events[..2], ["one", "zwölf"]);
        assert!(events.len() <= 3 && !events.contains(&"two".to_owned()), "{events:?}");
    }
}
