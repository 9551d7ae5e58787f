//! Namespaces: joining, middleware, events, ends.

use serde_json::json;
use ws_reactor::socket_io::{Args, Binary, ConnectError, Json, Next};

use super::*;

fn log_ends(io: &SocketIo, name: &str) -> Log {
    let log = Log::default();
    let noted = Rc::clone(&log);
    io.of(name).on_connection(move |socket| {
        let (early, late) = (Rc::clone(&noted), Rc::clone(&noted));
        socket.join("room");
        socket.on_disconnecting(move |socket, reason| {
            early.borrow_mut().push(format!("disconnecting {reason} {}", socket.rooms().len()));
        });
        socket.on_disconnect(move |socket, reason| {
            assert!(!socket.connected());
            late.borrow_mut().push(format!("disconnect {reason}"));
        });
        socket.on("kick", |socket, closes: bool| socket.disconnect(closes));
    });
    log
}

#[test]
fn client_joins_namespaces_with_one_connection() {
    let io = SocketIo::new();
    for name in ["/", "/custom"] {
        io.of(name).on_connection(|socket| {
            let text = format!("{} {}", socket.namespace(), socket.handshake().auth());
            socket.emit("joined", &text);
            socket.on("echo", |socket, args: Args| socket.emit("back", &args));
        });
    }
    let (mut world, handle) = World::of(io);
    let ws = world.open("/socket.io/");
    world.send(ws, "40");
    world.send(ws, "40/custom,{\"token\":1}");
    let texts = world.texts(ws);
    assert_eq!(texts.len(), 4);
    assert!(texts[0].starts_with("40{\"sid\":\"") && texts[2].starts_with("40/custom,{\"sid\":\""), "{texts:?}");
    assert_eq!(texts[1], "42[\"joined\",\"/ {}\"]");
    assert_eq!(texts[3], "42/custom,[\"joined\",\"/custom {\\\"token\\\":1}\"]");
    world.send(ws, "42/custom,[\"echo\",1,{\"a\":null}]");
    world.send(ws, "42[\"echo\"]");
    assert_eq!(world.texts(ws), ["42/custom,[\"back\",1,{\"a\":null}]", "42[\"back\"]"]);
    world.send(ws, "40/unknown,");
    assert_eq!(world.texts(ws), ["44/unknown,{\"message\":\"Invalid namespace\"}"]);
    assert_eq!(handle.namespaces(), ["/", "/custom"]);
    assert_eq!((handle.stats(world.reactor.hub()).sockets, handle.of("/").socket_count()), (2, 1));
}

#[test]
fn binary_values_travel_as_attachments() {
    let io = SocketIo::new();
    io.of("/").on_connection(|socket| {
        socket.on("upload", |socket, (name, file): (String, Binary)| {
            assert_eq!(&file.0[..], b"abc");
            socket.emit("got", &(name, file, Binary::default()));
        });
        socket.on("relay", |socket, (_, value): (u8, Json)| socket.emit("relayed", &(Binary::default(), value)));
    });
    let (mut world, _) = World::of(io);
    let (ws, _) = world.join("/", "");
    world.send(ws, "451-[\"upload\",\"x\",{\"_placeholder\":true,\"num\":0}]");
    assert_eq!(world.texts(ws), [""; 0]);
    world.send_binary(ws, b"abc");
    let placeholder = |number| format!("{{\"_placeholder\":true,\"num\":{number}}}");
    let text = format!("452-[\"got\",\"x\",{},{}]", placeholder(0), placeholder(1));
    assert_eq!(world.frames(ws), [text.into_bytes(), b"abc".to_vec(), Vec::new()]);
    world.send(ws, "451-[\"relay\",1,{\"a\":{\"_placeholder\":true,\"num\":0}}]");
    world.send_binary(ws, b"xyz");
    let text = format!("452-[\"relayed\",{},{{\"a\":{}}}]", placeholder(0), placeholder(1));
    assert_eq!(world.frames(ws), [text.into_bytes(), Vec::new(), b"xyz".to_vec()]);
}

#[test]
fn middleware_lets_in_or_refuses_now_or_later() {
    let io = SocketIo::new();
    let log = Log::default();
    let (first, second) = (Rc::clone(&log), Rc::clone(&log));
    io.of("/").middleware(move |socket| {
        first.borrow_mut().push("first".to_owned());
        socket.join("early");
        match socket.handshake().auth()["token"] == "bad" {
            true => Err(ConnectError::new("refused").with_data(json!({"code": 7}))),
            false => Ok(()),
        }
    });
    io.of("/").middleware_later(move |socket, next: Next| {
        second.borrow_mut().push("second".to_owned());
        socket.hub().add_timer(Duration::from_millis(50), |hub| next.accept(hub));
    });
    io.of("/").on_connection(|socket| {
        let rooms = socket.rooms().len();
        socket.emit("rooms", &rooms);
    });
    let (mut world, handle) = World::of(io);
    let ws = world.open("/socket.io/");
    world.send(ws, "40{\"token\":\"bad\"}");
    assert_eq!(world.texts(ws), ["44{\"message\":\"refused\",\"data\":{\"code\":7}}"]);
    assert_eq!((handle.of("/").room_size("early"), log.borrow().len()), (0, 1));
    world.send(ws, "40{\"token\":\"good\"}");
    assert!(world.texts(ws).is_empty() && handle.of("/").socket_count() == 0);
    // Nobody is in the namespace before middleware has decided.
    handle.of("/").to(world.reactor.hub(), "early").emit("secret", &());
    world.settle();
    assert!(world.texts(ws).is_empty());
    world.sleep(Duration::from_millis(50));
    let texts = world.texts(ws);
    assert!(texts[0].starts_with("40{\"sid\"") && texts[1] == "42[\"rooms\",2]", "{texts:?}");
}

#[test]
fn second_connect_while_middleware_runs_closes_the_client() {
    let io = SocketIo::new();
    io.of("/")
        .middleware_later(|socket, next| _ = socket.hub().add_timer(Duration::from_secs(1), |hub| next.accept(hub)));
    let (mut world, handle) = World::of(io);
    let ws = world.open("/socket.io/");
    world.send(ws, "40");
    world.send(ws, "40");
    assert_eq!(world.frames(ws), [1000_u16.to_be_bytes()]);
    world.sleep(Duration::from_secs(2));
    assert_eq!((handle.of("/").socket_count(), handle.of("/").rooms().len()), (0, 0));
}

#[test]
fn packet_without_a_place_closes_the_client() {
    let cases = [
        ("42[\"a\"]", "forced server close"),
        ("40", "forced server close"),
        ("44{\"message\":\"x\"}", "forced server close"),
        ("41/other,", "forced server close"),
        ("42", "forced close"),
        ("42{}", "forced close"),
        ("42[]", "forced close"),
        ("42[null]", "forced close"),
        ("42[\"connect\"]", "forced close"),
        ("41{}", "forced close"),
        ("47", "forced close"),
        ("4abc", "forced close"),
        ("4511-[\"a\"]", "forced close"),
        ("451-[\"a\",{\"_placeholder\":true,\"num\":3}]", "forced close"),
    ];
    for (packet, reason) in cases {
        let io = SocketIo::new();
        let log = log_ends(&io, "/");
        let (mut world, handle) = World::of(io);
        let ws = match packet {
            // Only a client that has not joined.
            "42[\"a\"]" => world.open("/socket.io/"),
            _ => world.join("/", "").0,
        };
        world.send(ws, packet);
        if packet.starts_with("451-") {
            world.send_binary(ws, b"x");
        }
        assert_eq!(world.frames(ws).last().unwrap()[..], 1000_u16.to_be_bytes(), "{packet}");
        match packet {
            "42[\"a\"]" => assert!(log.borrow().is_empty()),
            _ => assert_eq!(
                *log.borrow(),
                [format!("disconnecting {reason} 2"), format!("disconnect {reason}")],
                "{packet}"
            ),
        }
        let stats = handle.stats(world.reactor.hub());
        assert_eq!((stats.sessions, stats.sockets, stats.rooms), (0, 0, 0), "{packet}");
    }
}

#[test]
fn binary_message_without_a_packet_closes_the_client() {
    let io = SocketIo::new();
    let log = log_ends(&io, "/");
    let (mut world, _) = World::of(io);
    let (ws, _) = world.join("/", "");
    world.send_binary(ws, b"x");
    assert_eq!(log.borrow().last().unwrap(), "disconnect forced close");
}

/// What a client or the server does.
type Act = dyn Fn(&mut World, Ws, &SocketIoHandle);

#[test]
fn socket_ends_with_a_reason() {
    let cases: [(&Act, &str); 6] = [
        (&|world, ws, _| world.send(ws, "41"), "client namespace disconnect"),
        (&|world, ws, _| world.send(ws, "42[\"kick\",false]"), "server namespace disconnect"),
        (&|world, ws, _| world.send(ws, "42[\"kick\",true]"), "server namespace disconnect"),
        (&|world, ws, _| world.cut(ws.0), "transport close"),
        (&|world, _, _| world.sleep(Duration::from_secs(46)), "ping timeout"),
        (
            &|world, _, handle| {
                handle.close(world.reactor.hub());
                world.settle();
            },
            "server shutting down",
        ),
    ];
    for (act, reason) in cases {
        let io = SocketIo::new();
        let log = log_ends(&io, "/");
        let (mut world, handle) = World::of(io);
        let (ws, _) = world.join("/", "");
        act(&mut world, ws, &handle);
        assert_eq!(*log.borrow(), [format!("disconnecting {reason} 2"), format!("disconnect {reason}")]);
        assert_eq!((handle.of("/").socket_count(), handle.of("/").rooms().len()), (0, 0), "{reason}");
    }
}

#[test]
fn server_disconnects_one_namespace_and_the_connection_stays() {
    let io = SocketIo::new();
    log_ends(&io, "/");
    io.of("/custom").on_connection(|socket| {
        socket.on("echo", |socket, args: Args| socket.emit("back", &args));
    });
    let (mut world, _) = World::of(io);
    let (ws, _) = world.join("/", "");
    world.join_with(ws, "/custom", "");
    world.send(ws, "42[\"kick\",false]");
    assert_eq!(world.texts(ws), ["41"]);
    world.send(ws, "42/custom,[\"echo\"]");
    assert_eq!(world.texts(ws), ["42/custom,[\"back\"]"]);
}

#[test]
fn client_that_joins_nothing_is_closed() {
    let (mut world, handle) = World::of(SocketIo::new().connect_timeout(Duration::from_secs(1)));
    let ws = world.open("/socket.io/");
    world.sleep(Duration::from_millis(900));
    assert!(world.frames(ws).is_empty());
    world.sleep(Duration::from_millis(200));
    assert_eq!(world.frames(ws), [1000_u16.to_be_bytes()]);
    assert_eq!(handle.stats(world.reactor.hub()).sessions, 0);
}

#[test]
fn namespaces_of_a_pattern_come_and_go_with_their_sockets() {
    let io = SocketIo::new();
    io.of_pattern("/dyn-*").on_connection(|socket| {
        let name = socket.namespace().to_owned();
        socket.emit("in", &name);
    });
    let by_token = io.of_matching(|name, auth| name == "/secret" && auth["token"] == 1);
    by_token.middleware(|_| Err("never"));
    let (mut world, handle) = World::of(io);
    let (ws, _) = world.join("/dyn-1", "");
    world.join_with(ws, "/dyn-2", "");
    assert_eq!(handle.namespaces(), ["/dyn-1", "/dyn-2"]);
    world.send(ws, "41/dyn-1,");
    assert_eq!(handle.namespaces(), ["/dyn-2"]);
    world.send(ws, "40/secret,{}");
    world.send(ws, "40/secret,{\"token\":1}");
    let refusals = ["44/secret,{\"message\":\"Invalid namespace\"}", "44/secret,{\"message\":\"never\"}"];
    assert_eq!(world.texts(ws)[..], refusals);
    world.cut(ws.0);
    assert!(handle.namespaces().is_empty(), "a refused socket leaves no namespace behind");
}

#[test]
fn listeners_get_their_arguments_and_others_are_dropped() {
    let io = SocketIo::new();
    let log = Log::default();
    let noted = Rc::clone(&log);
    io.of("/").on_connection(move |socket| {
        let note = |log: &Log| {
            let log = Rc::clone(log);
            move |line: String| log.borrow_mut().push(line)
        };
        let (pair, one, all, once) = (note(&noted), note(&noted), note(&noted), note(&noted));
        socket.on("x", move |_, (a, b): (String, Option<u8>)| pair(format!("pair {a} {b:?}")));
        socket.on("x", move |_, a: String| one(format!("one {a}")));
        socket.on_any(move |_, event, args| all(format!("any {event} {args:?}")));
        socket.once("x", move |_, _: Args, _| once("once".to_owned()));
        socket.filter(|_, event, _| event != "blocked");
        socket.on("off", |socket, (): ()| {
            socket.off("x");
            socket.off_any();
        });
    });
    let (mut world, _) = World::of(io);
    let (ws, _) = world.join("/", "");
    world.send(ws, "42[\"x\",\"a\",1,2]");
    assert_eq!(log.take(), ["any x [\"\\\"a\\\"\", \"1\", \"2\"]", "pair a Some(1)", "one a", "once"]);
    world.send(ws, "42[\"x\",5]");
    assert_eq!(log.take(), ["any x [\"5\"]"], "arguments of another type");
    world.send(ws, "42[\"blocked\"]");
    assert_eq!(log.take(), ["any blocked []"]);
    world.send(ws, "42[\"off\"]");
    world.send(ws, "42[\"x\",\"a\"]");
    assert_eq!(log.take(), ["any off []"]);
}

#[test]
fn deeply_nested_json_is_passed_on_and_ends_nothing() {
    let io = SocketIo::new();
    io.of("/").on_connection(|socket| {
        socket.on("raw", |socket, args: Args| socket.emit("raw", &args));
        socket.on("value", |socket, value: serde_json::Value| socket.emit("value", &value));
    });
    let (mut world, _) = World::of(io);
    let (ws, _) = world.join("/", "");
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    world.send(ws, &format!("42[\"value\",{deep}]"));
    world.send(ws, &format!("42[\"raw\",{deep}]"));
    assert_eq!(world.texts(ws), [format!("42[\"raw\",{deep}]")]);
}

#[test]
fn events_of_polling_clients_come_in_order_with_the_connect_packet() {
    let io = SocketIo::new();
    io.of("/").on_connection(|socket| {
        socket.on("echo", |socket, args: Args| socket.emit("back", &args));
    });
    let (mut world, _) = World::of(io);
    let sid = world.handshake("/socket.io/");
    world.post("/socket.io/", &sid, "40\u{1e}42[\"echo\",1]\u{1e}42[\"echo\",2]");
    let poll = world.poll("/socket.io/", &sid);
    let body = world.response(poll).1;
    let packets: Vec<&str> = body.split('\u{1e}').collect();
    assert_eq!(packets[1..], ["42[\"back\",1]", "42[\"back\",2]"], "{body}");
}

#[test]
fn kicked_client_is_told_in_each_namespace() {
    let io = SocketIo::new();
    log_ends(&io, "/");
    let other = log_ends(&io, "/other");
    let (mut world, handle) = World::of(io);
    let (ws, _) = world.join("/", "");
    world.join_with(ws, "/other", "");
    world.send(ws, "42[\"kick\",true]");
    let mut texts = world.frames(ws);
    assert_eq!(texts.pop().unwrap(), 1000_u16.to_be_bytes());
    texts.sort();
    assert_eq!(texts, [b"41".to_vec(), b"41/other,".to_vec()]);
    assert_eq!(other.borrow()[1], "disconnect server namespace disconnect");
    assert_eq!(handle.stats(world.reactor.hub()).sessions, 0);
}

#[test]
fn name_of_a_pattern_never_makes_a_namespace_without_its_middleware() {
    let io = SocketIo::new();
    io.of_pattern("/dyn-*").middleware(|_| Err("of the pattern"));
    io.of_matching(|name, auth| name.starts_with("/auth-") && auth["x"] == 1).middleware(|_| Err("of the function"));
    let (mut world, handle) = World::of(io);
    handle.of("/dyn-1").emit(world.reactor.hub(), "e", &());
    handle.of("/auth-1").emit(world.reactor.hub(), "e", &());
    let calls = Log::default();
    let noted = Rc::clone(&calls);
    handle.of("/dyn-1").on_connection(move |_| noted.borrow_mut().push("of the child".to_owned()));
    let ws = world.open("/socket.io/");
    world.send(ws, "40/dyn-1,");
    world.send(ws, "40/dyn-2,");
    world.send(ws, "40/auth-1,{\"x\":1}");
    world.send(ws, "40/auth-1,");
    let refusals = [
        "44/dyn-1,{\"message\":\"of the pattern\"}",
        "44/dyn-2,{\"message\":\"of the pattern\"}",
        "44/auth-1,{\"message\":\"of the function\"}",
        "44/auth-1,{\"message\":\"Invalid namespace\"}",
    ];
    assert_eq!(world.texts(ws)[..], refusals);
    assert!(calls.borrow().is_empty() && handle.namespaces().is_empty());
}

#[test]
fn auth_and_namespaces_of_a_client_are_bounded() {
    let io = SocketIo::new().max_namespaces(2).max_auth_bytes(100);
    io.of_pattern("/*");
    let (mut world, _) = World::of(io);
    let ws = world.open("/socket.io/");
    (1..=3).for_each(|number| world.send(ws, &format!("40/{number},")));
    assert_eq!(world.texts(ws).pop().unwrap(), "44/3,{\"message\":\"Too many namespaces\"}");
    world.send(ws, "41/1,");
    world.join_with(ws, "/3", "");
    let ws = world.open("/socket.io/");
    world.send(ws, &format!("40{{\"x\":\"{}\"}}", "x".repeat(100)));
    assert_eq!(world.frames(ws), [1000_u16.to_be_bytes()]);
}

#[test]
fn deeply_nested_objects_of_a_binary_event_are_passed_on() {
    let io = SocketIo::new();
    io.of("/").on_connection(|socket| {
        socket.on("raw", |socket, args: Args| socket.emit("raw", &args));
    });
    let (mut world, _) = World::of(io);
    let (ws, _) = world.join("/", "");
    let deep = format!("{}1e999{}", "{\"\":".repeat(100_000), "}".repeat(100_000));
    world.send(ws, &format!("451-[\"raw\",{deep},{{\"_placeholder\":true,\"num\":0}}]"));
    world.send_binary(ws, b"x");
    let placeholder = "{\"_placeholder\":true,\"num\":0}";
    assert_eq!(world.texts(ws), [format!("451-[\"raw\",{deep},{placeholder}]"), "x".to_owned()]);
}

#[test]
fn client_whose_middleware_never_decides_is_closed() {
    let io = SocketIo::new().connect_timeout(Duration::from_secs(1));
    io.of("/").middleware_later(|socket, next| {
        let handle = socket.handle();
        socket.on("x", move |_, (): ()| assert!(!handle.id().is_empty()));
        drop(next);
    });
    let (mut world, handle) = World::of(io);
    let ws = world.open("/socket.io/");
    world.send(ws, "40");
    world.sleep(Duration::from_secs(2));
    assert_eq!(world.frames(ws), [1000_u16.to_be_bytes()]);
    assert_eq!(handle.stats(world.reactor.hub()).sessions, 0);
}
