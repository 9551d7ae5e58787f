//! `testing::Network`: played ends, time, faults, and failures that print the conversation.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

use ws_reactor::{
    Callbacks, Client, CloseCode, Received, Reconnect, Reply, Retry, Server, Version, http::StatusCode,
    net::sim::Faults, on_message, testing::Network,
};

/// A room: each message goes to all others, with the name of its author.
fn chat() -> Server {
    Server::new(|handshake| {
        let name = handshake.query_value("name").unwrap_or_default().into_owned();
        Callbacks::new().on_open(|ws, _| _ = ws.subscribe("room")).on_message(move |ws, message| {
            ws.publish_to_others("room", format!("{name}: {message}"));
        })
    })
    .on_request(|request, _| match request.query_value("name") {
        Some(_) => Reply::upgrade(),
        None => Reply::status(StatusCode::UNAUTHORIZED),
    })
}

fn echo() -> Server {
    Server::new(|_| on_message(|ws, message| _ = ws.send(message)))
}

/// The text of the panic of `test`.
fn failure(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("the test fails");
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

#[test]
fn ann_sees_bob() {
    let mut network = Network::new();
    network.listen("chat.example", chat());
    network.open("ann", "ws://chat.example/?name=Ann");
    network.open("bob", "ws://chat.example/?name=Bob");
    network.send("bob", "hello");
    network.expect("ann", "Bob: hello");
    network.expect_nothing("bob");
}

#[test]
fn every_version_opens_sends_and_closes() {
    for &version in Version::ALL {
        let mut network = Network::new();
        network.listen("a.example:8080", echo());
        network.open_with("ann", "ws://a.example:8080/x", |opening| opening.version(version).header("x-a", "b"));
        let handshake = network.handshake("ann");
        assert_eq!((handshake.version(), handshake.path(), handshake.header("x-a")), (version, "/x", Some("b")));
        network.send("ann", "hello");
        network.expect("ann", "hello");
        network.close("ann", CloseCode::NORMAL, "");
        network.advance(Duration::from_secs(10));
        assert!(!network.is_open("ann"), "{version}");
        assert_eq!(network.hub().stats().connections, 0, "{version}");
    }
}

#[test]
fn refusal_is_a_result_and_its_name_remains_free() {
    let mut network = Network::new();
    network.listen("chat.example", chat());
    let refusal = network.try_open("eve", "ws://chat.example/", |opening| opening).unwrap_err();
    assert_eq!(refusal.status, StatusCode::UNAUTHORIZED);
    let text = failure(|| network.open("eve", "ws://chat.example/"));
    assert!(text.starts_with(r#"ws://chat.example/ refuses "eve" with 401 Unauthorized"#), "{text}");
    network.open("eve", "ws://chat.example/?name=Eve");
}

#[test]
fn failure_prints_the_conversation() {
    let mut network = Network::new();
    network.listen("chat.example", chat());
    network.open("ann", "ws://chat.example/?name=Ann");
    network.open("bob", "ws://chat.example/?name=Bob");
    network.advance(Duration::from_millis(1500));
    network.send("bob", "hello");
    let text = failure(|| network.expect("ann", "hello"));
    let expected = "\
\"ann\" receives \"Bob: hello\"
expected: \"hello\"
the conversation:
     0.000 s  ann  → GET /?name=Ann HTTP/1.1
     0.000 s  ann  open, RFC 6455
     0.000 s  bob  → GET /?name=Bob HTTP/1.1
     0.000 s  bob  open, RFC 6455
     1.500 s  bob  → \"hello\"
     1.500 s  ann  ← \"Bob: hello\"
";
    assert_eq!(text, expected);
    let text = failure(|| network.expect("bob", "hello"));
    assert!(text.starts_with("\"bob\" receives nothing\nexpected: \"hello\"\nthe conversation:\n"), "{text}");
    let text = failure(|| network.send("eve", "hello"));
    assert!(text.starts_with(r#"nobody is called "eve": ["ann", "bob"]"#), "{text}");
}

#[test]
fn expectations_wait_for_timers_and_answer_pings_meanwhile() {
    let mut network = Network::new();
    let server = Server::new(|_| {
        let late = |ws: &mut ws_reactor::WebSocket<'_>, _: &ws_reactor::Handshake| {
            ws.set_timer(Duration::from_secs(90));
        };
        Callbacks::new().on_open(late).on_timer(|ws, _| _ = ws.send("late"))
    });
    network.listen("a.example", server);
    network.open("ann", "ws://a.example/");
    let text = failure(|| network.expect("ann", "late"));
    assert!(text.contains("receives nothing"));
    network.patience(Duration::from_secs(100));
    network.expect("ann", "late");
    // An end that does not answer is dropped after 40 seconds, and receives the ping.
    network.mute("ann");
    network.advance(Duration::from_secs(41));
    assert_eq!(network.received("ann"), [Received::Ping(Vec::new())]);
    assert!(!network.is_open("ann"));
}

#[test]
fn close_and_ends_of_both_sides() {
    let mut network = Network::new();
    let server = Server::new(|_| on_message(|ws, _| _ = ws.close(CloseCode::from(4000), "enough")));
    network.listen("a.example", server);
    network.open("ann", "ws://a.example/");
    network.send("ann", "x");
    network.expect_close("ann", CloseCode::from(4000));
    assert!(!network.is_open("ann"));
    network.open("ann", "ws://a.example/");
    network.send_bytes("ann", &[0xff, 0xff, 0xff]);
    network.expect_close("ann", CloseCode::PROTOCOL_ERROR);
    network.open("ann", "ws://a.example/");
    network.finish("ann");
    network.open("bob", "ws://a.example/");
    network.reset("bob");
    assert_eq!(network.hub().stats().connections, 0);
}

#[test]
fn held_end_reads_again() {
    let mut network = Network::new();
    network.listen("a.example", echo());
    network.open("ann", "ws://a.example/");
    network.hold("ann");
    let long = "x".repeat(200_000);
    network.send("ann", &long);
    network.expect_nothing("ann");
    assert!(network.hub().stats().buffered_bytes > 0);
    network.release("ann");
    network.expect("ann", long);
}

#[test]
fn client_meets_a_played_server_that_refuses_and_breaks() {
    let mut network = Network::new();
    network.play("feed.example");
    let log = Rc::new(RefCell::new(Vec::new()));
    let (errors, attempts) = (Rc::clone(&log), Rc::clone(&log));
    let handler = Callbacks::new()
        .on_open(|ws, _| _ = ws.send("subscribe"))
        .on_error(move |_, error| errors.borrow_mut().push(error.to_string()))
        .on_reconnect(move |_, attempt| {
            attempts.borrow_mut().push(format!("attempt {}", attempt.number));
            Retry::Yes
        });
    let client = Client::new(handler).reconnect(Reconnect::new()).subprotocols(["quotes"]);
    let id = network.connect("ws://feed.example/feed", client);
    network.refuse("feed.example", 503, &[("retry-after", "7")]);
    assert!(!network.hub().is_open(id));
    network.patience(Duration::from_secs(10));
    network.accept("first", "feed.example");
    assert_eq!(network.handshake("first").header("sec-websocket-protocol"), Some("quotes"));
    network.expect("first", "subscribe");
    network.send("first", "EURUSD 1.1");
    network.ping("first", b"there?");
    network.expect("first", Received::Pong(b"there?".to_vec()));
    network.reset("first");
    network.accept("second", "feed.example:80");
    network.expect("second", "subscribe");
    assert_eq!(network.hub().stats().messages_in, 1);
    let found = log.borrow().join(", ");
    assert!(found.starts_with("the server responded with 503 Service Unavailable"), "{found}");
    assert!(found.contains("attempt 1") && found.contains("attempt 2"), "{found}");
    network.close("second", CloseCode::GOING_AWAY, "");
    network.accept("third", "feed.example");
    let text = failure(|| network.accept("fourth", "feed.example"));
    assert!(text.starts_with("no client connects to feed.example\n"), "{text}");
}

#[test]
fn clients_and_servers_of_one_network_meet_by_name() {
    let mut network = Network::new();
    network.listen("hub.example:9000", chat());
    let log = Rc::new(RefCell::new(Vec::new()));
    let received = Rc::clone(&log);
    let bot = on_message(move |ws, message| {
        received.borrow_mut().push(message.to_string());
        ws.send("welcome");
    });
    network.connect("ws://HUB.example:9000/?name=bot", Client::new(bot));
    network.open("ann", "ws://hub.example:9000/?name=Ann");
    network.send("ann", "hello");
    network.expect("ann", "bot: welcome");
    assert_eq!(*log.borrow(), ["Ann: hello"]);
}

#[test]
fn faults_of_a_seed_repeat_and_lose_nothing() {
    let run = |seed| {
        let mut network = Network::with_faults(seed, Faults::ROUGH);
        network.listen("a.example", echo());
        for name in ["ann", "bob"] {
            network.open(name, "ws://a.example/");
            for number in 0..20 {
                network.send(name, &*format!("{number}"));
            }
        }
        for name in ["ann", "bob"] {
            for number in 0..20 {
                network.expect(name, format!("{number}"));
            }
        }
        (network.conversation(), network.hub().stats().turns)
    };
    for seed in 0..30 {
        assert_eq!(run(seed), run(seed));
    }
    assert!((2..30).any(|seed| run(seed).1 != run(1).1), "seeds differ");
}

// regression: a client that took no byte at all received nothing after its release.
#[test]
fn test_socket_that_holds_everything_is_released() {
    let mut socket = ws_reactor::TestSocket::open(Callbacks::new().on_open(|ws, _| _ = ws.subscribe("news")));
    socket.hold(0);
    socket.hub().publish("news", "hello");
    socket.settle();
    assert_eq!(socket.received(), []);
    socket.release();
    assert_eq!(socket.received(), ["hello".into()]);
}
