//! Answers in both directions.

use ws_reactor::socket_io::{AckError, Args, SocketIoTest};

use super::*;

#[test]
fn event_is_answered_once_and_only_if_the_client_asks() {
    let io = SocketIo::new();
    io.of("/").on_connection(|socket| {
        socket.on_with_ack("sum", |socket, (a, b): (i64, i64), ack| {
            socket.emit("wanted", &ack.is_wanted());
            ack.send(socket.hub(), &(a + b, "x"));
        });
        socket.on_with_ack("sum", |socket, _: Args, ack| ack.send(socket.hub(), "a second answer"));
        socket.on_with_ack("later", |socket, (): (), ack| {
            socket.hub().add_timer(Duration::from_secs(1), |hub| ack.send(hub, &()));
        });
    });
    let (mut world, _) = World::of(io);
    let (ws, _) = world.join("/", "");
    world.send(ws, "420[\"sum\",1,2]");
    assert_eq!(world.texts(ws), ["42[\"wanted\",true]", "430[3,\"x\"]"]);
    world.send(ws, "42[\"sum\",1,2]");
    assert_eq!(world.texts(ws), ["42[\"wanted\",false]"]);
    world.send(ws, "4217[\"later\"]");
    assert!(world.texts(ws).is_empty());
    world.sleep(Duration::from_secs(1));
    assert_eq!(world.texts(ws), ["4317[]"]);
}

/// A server whose sockets ask their clients, and the outcomes.
fn asking(timeout: Option<Duration>) -> (World, Ws, Log, SocketIoHandle) {
    let io = SocketIo::new();
    let log = Log::default();
    let noted = Rc::clone(&log);
    io.of("/").on_connection(move |socket| {
        let noted = Rc::clone(&noted);
        socket.on("ask", move |socket, (): ()| {
            let noted = Rc::clone(&noted);
            let call = move |_: &mut ws_reactor::socket_io::Socket<'_>, answer: Result<Args, AckError>| {
                noted.borrow_mut().push(match answer {
                    Ok(args) => format!("{args:?}"),
                    Err(error) => error.to_string(),
                });
            };
            match timeout {
                Some(timeout) => socket.timeout(timeout).emit_with_ack("question", &(), call),
                None => socket.emit_with_ack("question", &(), call),
            }
        });
    });
    let (mut world, handle) = World::of(io);
    let (ws, _) = world.join("/", "");
    world.send(ws, "42[\"ask\"]");
    assert_eq!(world.texts(ws), ["420[\"question\"]"]);
    (world, ws, log, handle)
}

#[test]
fn client_answers_once() {
    let (mut world, ws, log, handle) = asking(None);
    assert_eq!(handle.of("/").pending_acks(), 1);
    world.send(ws, "437[1]");
    world.send(ws, "430[1,\"x\"]");
    world.send(ws, "430[2]");
    assert_eq!(*log.borrow(), ["[\"1\", \"\\\"x\\\"\"]"]);
    assert_eq!(handle.of("/").pending_acks(), 0);
    world.send(ws, "42[\"ask\"]");
    assert_eq!(world.texts(ws), ["421[\"question\"]"], "numbers go on");
}

#[test]
fn answer_that_does_not_come_is_an_error() {
    let (mut world, ws, log, handle) = asking(Some(Duration::from_secs(1)));
    world.sleep(Duration::from_secs(1));
    assert_eq!(*log.borrow(), ["operation has timed out"]);
    assert_eq!(handle.of("/").pending_acks(), 0);
    world.send(ws, "430[1]");
    assert_eq!(log.borrow().len(), 1, "an answer that is too late");
    let (mut world, ws, log, _) = asking(Some(Duration::from_secs(1)));
    world.cut(ws.0);
    assert_eq!(*log.borrow(), ["socket has been disconnected"]);
    world.sleep(Duration::from_secs(2));
    assert_eq!(log.borrow().len(), 1);
}

#[test]
fn broadcast_collects_the_answers_of_all() {
    let io = SocketIo::new();
    let (mut world, handle) = World::of(io);
    let all = handle.of("/");
    let (a, _) = world.join("/", "");
    let (b, _) = world.join("/", "");
    let log = Log::default();
    let ask = |world: &mut World, room: Option<&str>| {
        let noted = Rc::clone(&log);
        let hub = world.reactor.hub();
        let broadcast = match room {
            Some(room) => all.to(hub, room),
            None => all.all(hub),
        };
        broadcast.timeout(Duration::from_secs(1)).emit_with_ack("q", &1, move |_, answers| {
            let numbers = |answers: Vec<Args>| answers.iter().map(|args| args.get(0).unwrap()).collect::<Vec<u8>>();
            noted.borrow_mut().push(format!("{:?}", answers.map(numbers).map_err(numbers)));
        });
        assert!(!noted_at_once(&log));
        world.settle();
    };
    ask(&mut world, None);
    let number = |text: &str| text[2..text.find('[').unwrap()].to_owned();
    let (of_a, of_b) = (number(&world.texts(a)[0]), number(&world.texts(b)[0]));
    world.send(b, &format!("43{of_b}[2]"));
    world.send(a, &format!("43{of_a}[1]"));
    assert_eq!(log.take(), ["Ok([2, 1])"]);
    ask(&mut world, None);
    let of_a = number(&world.texts(a)[0]);
    world.send(a, &format!("43{of_a}[1]"));
    world.sleep(Duration::from_secs(1));
    assert_eq!(log.take(), ["Err([1])"]);
    assert_eq!(all.pending_acks(), 0);
    ask(&mut world, Some("empty"));
    assert_eq!(log.take(), ["Ok([])"], "nobody is asked");
}

/// Nothing is told inside the call that asks.
fn noted_at_once(log: &Log) -> bool {
    !log.borrow().is_empty()
}

#[test]
fn test_client_joins_speaks_and_is_refused() {
    let io = SocketIo::new();
    io.of("/chat").middleware(|socket| match socket.handshake().auth()["name"].as_str() {
        Some(_) => Ok(()),
        None => Err("a name is needed"),
    });
    io.of("/chat").on_connection(|socket| {
        socket.on_with_ack("double", |socket, number: u64, ack| ack.send(socket.hub(), &(2 * number)));
        socket.on("ping", |socket, (): ()| {
            let handle = socket.handle();
            socket.hub().add_timer(Duration::from_secs(60), move |hub| handle.with(hub).emit("pong", "late"));
        });
    });
    let handle = io.handle();
    let mut client = SocketIoTest::connect(io, "/chat", &serde_json::json!({"name": "ann"})).unwrap();
    assert_eq!(client.emit_with_ack("double", &21), Some(vec![42.into()]));
    assert_eq!(client.emit_with_ack("unknown", &()), None);
    client.emit("ping", &());
    client.advance(Duration::from_secs(61));
    assert_eq!(client.received(), [("pong".to_owned(), vec!["late".into()])]);
    assert!(client.is_connected());
    client.disconnect();
    assert_eq!(handle.of("/chat").socket_count(), 0);
    let io = SocketIo::new();
    io.of("/").middleware(|_| Err("closed"));
    let error = SocketIoTest::connect(io, "/", &serde_json::json!({})).unwrap_err();
    assert_eq!(error, serde_json::json!({"message": "closed"}));
}
