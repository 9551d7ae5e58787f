//! Engine.IO: handshakes, refusals, WebSockets, upgrades.

use ws_reactor::{
    Message,
    engine_io::{CloseReason, EngineIo, EngineIoHandler, EngineSession},
};

use super::*;

/// Sends each message back, and writes down the ends.
pub(super) struct Echo(pub(super) Log);

impl EngineIoHandler for Echo {
    fn on_message(&mut self, session: &mut EngineSession<'_>, message: Message<'_>) {
        match message {
            Message::Text("close") => session.close(),
            Message::Text("panic") => panic!("deliberate: a handler panics"),
            other => session.send(other),
        }
    }

    fn on_close(&mut self, session: &mut EngineSession<'_>, reason: CloseReason) {
        session.send("nobody gets this");
        self.0.borrow_mut().push(format!("{} {reason}", session.transport()));
    }
}

pub(super) fn echo(change: impl FnOnce(EngineIo) -> EngineIo) -> (World, Log) {
    let log = Log::default();
    let noted = Rc::clone(&log);
    let routes = change(EngineIo::new()).mount(Routes::new(), move |_| Echo(Rc::clone(&noted)));
    (World::new(routes), log)
}

pub(super) const PATH: &str = "/engine.io/";
const WS: &str = "/engine.io/?EIO=4&transport=websocket";

#[test]
fn handshake_has_the_options_of_the_server() {
    let (mut world, _) = echo(|engine| engine.ping_interval(Duration::from_millis(300)).max_payload(5000));
    let peer = world.request("GET", "/engine.io/?EIO=4&transport=polling", "", "");
    let response = world.raw(peer);
    assert!(response.contains("Content-Type: text/plain; charset=UTF-8\r\n"), "{response}");
    assert!(response.contains("Cache-Control: no-store\r\n"), "{response}");
    let (_, body) = response.split_once("\r\n\r\n0").unwrap();
    let open: serde_json::Value = serde_json::from_str(body).unwrap();
    let sid = open["sid"].as_str().unwrap();
    assert_eq!(sid.len(), 20);
    let rest = r#","upgrades":["websocket"],"pingInterval":300,"pingTimeout":20000,"maxPayload":5000}"#;
    assert_eq!(body, format!("{{\"sid\":\"{sid}\"{rest}"));
    let ws = world.open(PATH);
    world.send(ws, "4hello");
    world.send_binary(ws, &[1, 2]);
    assert_eq!(world.frames(ws), [b"4hello".to_vec(), vec![1, 2]]);
}

#[test]
fn requests_without_a_place_are_refused_with_their_codes() {
    let (mut world, _) = echo(|engine| engine);
    let sid = world.handshake(PATH);
    let cases = [
        ("GET", "EIO=4", 0, "Transport unknown"),
        ("GET", "EIO=4&transport=carrier-pigeon", 0, "Transport unknown"),
        ("GET", "EIO=4&transport=polling&sid=unknown", 1, "Session ID unknown"),
        ("POST", "EIO=4&transport=polling&sid=unknown", 1, "Session ID unknown"),
        ("POST", "EIO=4&transport=polling", 2, "Bad handshake method"),
        ("PUT", "EIO=4&transport=polling", 2, "Bad handshake method"),
        ("DELETE", "EIO=4&transport=polling", 2, "Bad handshake method"),
        ("GET", "EIO=4&transport=websocket", 3, "Bad request"),
        ("GET", &format!("EIO=4&transport=websocket&sid={sid}"), 3, "Bad request"),
        ("GET", "EIO=3&transport=polling", 5, "Unsupported protocol version"),
        ("GET", "transport=polling", 5, "Unsupported protocol version"),
    ];
    for (method, query, code, message) in cases {
        let peer = world.request(method, &format!("/engine.io/?{query}"), "", "");
        let response = world.response(peer);
        assert_eq!(response, (400, format!(r#"{{"code":{code},"message":"{message}"}}"#)), "{method} {query}");
    }
    let peer = world.request("PUT", &format!("/engine.io/?EIO=4&transport=polling&sid={sid}"), "", "4x");
    assert_eq!(world.response(peer).0, 400);
    assert_eq!(world.post(PATH, &sid, "4still there").0, 200);
    for path in ["/engine.io?EIO=4&transport=polling", "/", "/engine.io/x"] {
        assert_eq!(world.get(path).0, 404, "{path}");
    }
}

#[test]
fn websocket_without_a_place_is_refused_as_text() {
    let (mut world, _) = echo(|engine| engine);
    let cases = [
        ("EIO=4&transport=websocket&sid=unknown", "Session ID unknown"),
        ("EIO=3&transport=websocket", "Unsupported protocol version"),
        ("EIO=4&transport=polling", "Bad request"),
        ("EIO=4", "Transport unknown"),
    ];
    for (query, message) in cases {
        let (ws, head) = world.upgrade(&format!("/engine.io/?{query}"), "");
        assert!(head.starts_with("HTTP/1.1 400 ") && head.contains("Content-Type: text/html\r\n"), "{query}: {head}");
        let body: Vec<u8> = world.early.drain(..).flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(String::from_utf8(body).unwrap(), message, "{query}");
        let _ = ws;
    }
}

#[test]
fn hook_decides_on_handshakes_at_once_or_later() {
    let (mut world, _) = echo(|engine| {
        engine.allow_request(|request, hub, admission| match request.query_value("token").as_deref() {
            Some("valid") => admission.allow(hub),
            Some("slow") => _ = hub.add_timer(Duration::from_millis(10), |hub| admission.allow(hub)),
            Some(other) => admission.deny(other),
            None => drop(admission),
        })
    });
    let query = |token: &str| format!("/engine.io/?EIO=4&transport=polling&token={token}");
    assert_eq!(world.get(&query("valid")).0, 200);
    assert_eq!(world.get(&query("go%20away")), (403, r#"{"code":4,"message":"go away"}"#.to_owned()));
    assert_eq!(world.get("/engine.io/?EIO=4&transport=polling").0, 403);
    let peer = world.request("GET", &query("slow"), "", "");
    assert_eq!(world.raw(peer), "");
    world.sleep(Duration::from_millis(10));
    assert_eq!(world.response(peer).0, 200);
    let (_, head) = world.upgrade(&format!("{WS}&token=no"), "");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    let (_, head) = world.upgrade(&format!("{WS}&token=valid"), "");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

#[test]
fn headers_and_a_cookie_are_added() {
    let (mut world, _) = echo(|engine| {
        let add = |name: &'static str| {
            move |_: &ws_reactor::Request, headers: &mut ws_reactor::http::HeaderMap| {
                headers.insert(name, ws_reactor::http::HeaderValue::from_static("1"));
            }
        };
        engine.cookie("io").initial_headers(add("x-first")).headers(add("x-each"))
    });
    let peer = world.request("GET", "/engine.io/?EIO=4&transport=polling", "", "");
    let response = world.raw(peer);
    let sid = response.split("\"sid\":\"").nth(1).unwrap()[..20].to_owned();
    let cookie = format!("Set-Cookie: io={sid}; Path=/; HttpOnly; SameSite=Lax\r\n");
    assert!(response.contains(&cookie), "{response}");
    assert!(response.contains("X-First: 1\r\n") && response.contains("X-Each: 1\r\n"), "{response}");
    let peer = world.request("POST", &format!("/engine.io/?EIO=4&transport=polling&sid={sid}"), "", "4x");
    let response = world.raw(peer);
    assert!(!response.contains("X-First") && response.contains("X-Each: 1\r\n"), "{response}");
    let (_, head) = world.upgrade(WS, "");
    assert!(head.contains("Set-Cookie: io=") && head.contains("X-First: 1\r\n"), "{head}");
}

#[test]
fn session_moves_from_polling_to_a_websocket() {
    let (mut world, log) = echo(|engine| engine);
    let sid = world.handshake(PATH);
    let poll = world.poll(PATH, &sid);
    let (ws, head) = world.upgrade(&format!("{WS}&sid={sid}"), "");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    world.send(ws, "2probe");
    assert_eq!(world.texts(ws), ["3probe"]);
    assert_eq!(world.response(poll), (200, "6".to_owned()));
    let poll = world.poll(PATH, &sid);
    world.sleep(Duration::from_millis(100));
    assert_eq!(world.response(poll), (200, "6".to_owned()), "a client that polls again is not kept waiting");
    assert_eq!(world.post(PATH, &sid, "4late"), (200, "ok".to_owned()));
    world.send(ws, "5");
    assert_eq!(world.texts(ws), ["4late"]);
    let (status, body) = world.get(&format!("/engine.io/?EIO=4&transport=polling&sid={sid}"));
    assert_eq!((status, body.contains("\"code\":3")), (400, true));
    let (second, head) = world.upgrade(&format!("{WS}&sid={sid}"), "");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(world.frames(second), [1000_u16.to_be_bytes()], "a second WebSocket is closed");
    world.send(ws, "4on");
    assert_eq!(world.texts(ws), ["4on"]);
    world.send(ws, "1");
    assert_eq!(*log.borrow(), ["websocket transport close"]);
}

#[test]
fn failed_probe_leaves_the_session_with_polling() {
    let (mut world, log) = echo(|engine| engine);
    let sid = world.handshake(PATH);
    let (ws, _) = world.upgrade(&format!("{WS}&sid={sid}"), "");
    world.send(ws, "4not a probe");
    assert_eq!(world.frames(ws), [1000_u16.to_be_bytes()]);
    assert_eq!(world.post(PATH, &sid, "4x").0, 200);
    let poll = world.poll(PATH, &sid);
    assert_eq!(world.response(poll), (200, "4x".to_owned()));
    assert!(log.borrow().is_empty());
}

/// What a client does.
type Act = dyn Fn(&mut World, Ws);

#[test]
fn websocket_ends_its_session_with_a_reason() {
    let cases: [(&Act, &str); 7] = [
        (&|world, ws| world.send(ws, "1"), "transport close"),
        (&|world, ws| world.frame(ws, 8, &1000_u16.to_be_bytes()), "transport close"),
        (&|world, ws| world.cut(ws.0), "transport close"),
        (&|world, ws| world.send(ws, "x"), "parse error"),
        (&|world, ws| world.send(ws, "2"), "transport error"),
        (&|world, ws| world.frame(ws, 1, &[0xff]), "transport error"),
        (&|world, ws| world.send(ws, "4close"), "forced close"),
    ];
    for (act, reason) in cases {
        let (mut world, log) = echo(|engine| engine);
        let ws = world.open(PATH);
        act(&mut world, ws);
        assert_eq!(*log.borrow(), [format!("websocket {reason}")]);
    }
}

#[test]
fn message_that_is_too_long_closes_with_1009_and_no_text() {
    let (mut world, log) = echo(|engine| engine.max_payload(100));
    let ws = world.open(PATH);
    world.send(ws, &format!("4{}", "x".repeat(100)));
    assert_eq!(world.frames(ws), [1009_u16.to_be_bytes()]);
    assert_eq!(*log.borrow(), ["websocket transport error"]);
}

#[test]
fn panic_in_a_handler_ends_its_connection_alone() {
    crate::support::silence_deliberate_panics();
    let (mut world, log) = echo(|engine| engine);
    let (ws, other) = (world.open(PATH), world.open(PATH));
    world.send(ws, "4panic");
    world.send(other, "4fine");
    assert_eq!(world.texts(other), ["4fine"]);
    assert_eq!(log.borrow().len(), 1);
    assert!(world.is_closed(ws.0) || world.frames(ws).len() == 1);
}

#[test]
fn client_that_takes_no_binary_frames_gets_base64() {
    let (mut world, _) = echo(|engine| engine);
    let (ws, _) = world.upgrade(&format!("{WS}&b64=1"), "");
    world.texts(ws);
    world.send(ws, "bAQI=");
    assert_eq!(world.texts(ws), ["bAQI="]);
}

#[test]
fn websocket_whose_client_does_not_read_is_closed() {
    let (mut world, log) = echo(|engine| engine.max_waiting_bytes(100_000));
    let ws = world.open(PATH);
    world.reactor.kernel_mut().hold(ws.0, 1000);
    let text = format!("4{}", "x".repeat(60_000));
    world.send(ws, &text);
    assert!(log.borrow().is_empty());
    world.send(ws, &text);
    assert_eq!(*log.borrow(), ["websocket transport error"]);
}

#[test]
fn sessions_are_bounded() {
    let (mut world, _) = echo(|engine| engine.max_sessions(2));
    world.handshake(PATH);
    world.handshake(PATH);
    assert_eq!(world.get("/engine.io/?EIO=4&transport=polling").0, 503);
    let (_, head) = world.upgrade(WS, "");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
}

#[test]
fn server_that_is_dropped_with_sessions_and_events_leaves_nothing() {
    // The leak detector looks at this.
    let io = SocketIo::new();
    io.of("/").on_connection(|socket| {
        let handle = socket.handle();
        socket.on_disconnect(move |_, _| drop(handle.clone()));
    });
    let own = io.handle();
    io.of("/").on_connection(move |_| drop(own.clone()));
    let (mut world, handle) = World::of(io);
    world.join("/", "");
    world.join("/", "");
    handle.close(world.reactor.hub());
    drop(world);
    let sid = |world: &mut World| world.handshake(PATH);
    let (mut world, _) = echo(|engine| engine);
    sid(&mut world);
    world.open(PATH);
}
