//! Hooks: refused requests, upgrades, new namespaces, rooms, and listeners that are removed.

use ws_reactor::{
    Message,
    engine_io::{EngineIo, EngineIoHandler, EngineSession},
    socket_io::{Args, ListenerId, Namespace, RoomEvent},
};

use super::*;

const ENGINE: &str = "/engine.io/";

#[test]
fn each_refused_request_is_reported_with_its_code() {
    struct Silent;

    impl EngineIoHandler for Silent {
        fn on_message(&mut self, _: &mut EngineSession<'_>, _: Message<'_>) {}
    }

    let log = Log::default();
    let noted = Rc::clone(&log);
    let engine = EngineIo::new()
        .allow_request(|request, hub, admission| match request.query_value("deny") {
            Some(_) => admission.deny("no entry"),
            None => admission.allow(hub),
        })
        .headers(|_, headers| _ = headers.insert("x-server", "ws".parse().unwrap()))
        .on_connection_error(move |request, error| {
            noted.borrow_mut().push(format!("{} {} {error}", request.method(), error.code()));
        });
    let mut world = World::new(engine.mount(Routes::new(), |_| Silent));
    let denied = world.request("GET", "/engine.io/?EIO=4&transport=polling&deny=1", "", "");
    let response = world.raw(denied).to_lowercase();
    assert!(response.starts_with("http/1.1 403 ") && response.contains("x-server: ws\r\n"), "{response}");
    for target in ["EIO=4", "EIO=3&transport=polling", "EIO=4&transport=polling&sid=unknown", "EIO=4&transport=polling"]
    {
        world.get(&format!("{ENGINE}?{target}"));
    }
    world.upgrade(&format!("{ENGINE}?EIO=4&transport=polling"), "");
    world.upgrade(&format!("{ENGINE}?EIO=4&transport=websocket&deny=1"), "");
    assert_eq!(
        *log.borrow(),
        [
            "GET 4 no entry",
            "GET 0 Transport unknown",
            "GET 5 Unsupported protocol version",
            "GET 1 Session ID unknown",
            "GET 3 Bad request",
            "GET 4 no entry",
        ]
    );
}

#[test]
fn sockets_notice_the_upgrade_of_their_connection() {
    let (io, log) = (SocketIo::new(), Log::default());
    let noted = Rc::clone(&log);
    io.of("/").on_connection(move |socket| {
        let noted = Rc::clone(&noted);
        assert_eq!(socket.transport(), "polling");
        socket.on_upgrade(move |socket| {
            noted.borrow_mut().push(socket.transport().to_owned());
            socket.emit("upgraded", &());
        });
    });
    let (mut world, _) = World::of(io);
    let sid = world.handshake("/socket.io/");
    world.post("/socket.io/", &sid, "40");
    world.poll("/socket.io/", &sid);
    let (ws, _) = world.upgrade(&format!("/socket.io/?EIO=4&transport=websocket&sid={sid}"), "");
    world.send(ws, "2probe");
    assert!(log.borrow().is_empty(), "a probe is no upgrade");
    world.send(ws, "5");
    assert_eq!(*log.borrow(), ["websocket"]);
    assert_eq!(world.texts(ws), ["3probe", "42[\"upgraded\"]"]);
}

#[test]
fn new_namespaces_can_be_set_up_before_clients_join_them() {
    let (io, log) = (SocketIo::new(), Log::default());
    let noted = Rc::clone(&log);
    io.on_new_namespace(move |namespace: &Namespace| {
        noted.borrow_mut().push(namespace.name().to_owned());
        namespace.on_connection(|socket| socket.emit("hello", &()));
    });
    io.of("/static");
    let games = io.of_pattern("/game-*");
    let (mut world, handle) = World::of(io);
    let ws = world.open("/socket.io/");
    world.send(ws, "40/game-1,");
    assert_eq!(world.texts(ws)[1..], ["42/game-1,[\"hello\"]"]);
    world.join_with(ws, "/game-2", "");
    world.join_with(ws, "/static", "");
    world.texts(ws);
    assert_eq!(*log.borrow(), ["/static", "/game-1", "/game-2"]);
    games.emit(world.reactor.hub(), "pause", &1);
    world.settle();
    let mut texts = world.texts(ws);
    texts.sort();
    assert_eq!(texts, ["42/game-1,[\"pause\",1]", "42/game-2,[\"pause\",1]"]);
    assert_eq!(games.namespaces().len(), 2);
    handle.of("/static");
    assert_eq!(log.borrow().len(), 3, "a namespace is new once");
}

#[test]
fn changes_of_rooms_are_reported_in_their_order() {
    let (io, log) = (SocketIo::new(), Log::default());
    let noted = Rc::clone(&log);
    io.of("/").on_room_event(move |_, namespace, event| {
        assert_eq!(namespace.name(), "/");
        let text = match event {
            RoomEvent::Created { room } => format!("create {}", label(room)),
            RoomEvent::Joined { room, socket } => format!("{} joins {}", label(socket), label(room)),
            RoomEvent::Left { room, socket } => format!("{} leaves {}", label(socket), label(room)),
            RoomEvent::Deleted { room } => format!("delete {}", label(room)),
            _ => unreachable!("there are no others"),
        };
        noted.borrow_mut().push(text);
    });
    io.of("/").on_connection(|socket| {
        socket.on("join", |socket, room: String| socket.join(&room));
        socket.on("leave", |socket, room: String| socket.leave(&room));
    });
    let (mut world, handle) = World::of(io);
    let (first, _) = world.join("/", "");
    let (second, _) = world.join("/", "");
    assert_eq!(log.take(), ["create ID", "ID joins ID", "create ID", "ID joins ID"]);
    world.send(first, "42[\"join\",\"a\"]");
    world.send(first, "42[\"join\",\"a\"]");
    world.send(second, "42[\"join\",\"a\"]");
    assert_eq!(log.take(), ["create a", "ID joins a", "ID joins a"]);
    world.send(first, "42[\"leave\",\"a\"]");
    world.send(first, "42[\"leave\",\"a\"]");
    assert_eq!(log.take(), ["ID leaves a"]);
    let all = handle.of("/");
    all.all(world.reactor.hub()).sockets_join(["b"]);
    world.settle();
    assert_eq!(log.take(), ["create b", "ID joins b", "ID joins b"]);
    world.cut(second.0);
    assert_eq!(log.take(), ["ID leaves ID", "delete ID", "ID leaves a", "delete a", "ID leaves b"]);
}

/// Ids of sockets differ from run to run.
fn label(name: &str) -> &str {
    if name.len() == 20 { "ID" } else { name }
}

#[test]
fn one_listener_is_removed_and_the_others_stay() {
    let io = SocketIo::new();
    io.of("/").on_connection(|socket| {
        let first = socket.on("e", |socket, (): ()| socket.emit("first", &()));
        socket.on("e", |socket, (): ()| socket.emit("second", &()));
        let any = socket.on_any(|socket, event, _: &Args| {
            let event = event.to_owned();
            socket.emit("any", &event);
        });
        let remove = move |socket: &mut ws_reactor::socket_io::Socket<'_>, id: ListenerId| socket.off_listener(id);
        socket.on("remove first", move |socket, (): ()| remove(socket, first));
        socket.on("remove any", move |socket, (): ()| remove(socket, any));
        socket.on("remove all", |socket, (): ()| socket.off_all());
    });
    let (mut world, _) = World::of(io);
    let (ws, _) = world.join("/", "");
    let mut emitted = |event: &str| {
        world.send(ws, &format!("42[\"{event}\"]"));
        world.texts(ws)
    };
    assert_eq!(emitted("e"), ["42[\"any\",\"e\"]", "42[\"first\"]", "42[\"second\"]"]);
    assert_eq!(emitted("remove first"), ["42[\"any\",\"remove first\"]"]);
    assert_eq!(emitted("e"), ["42[\"any\",\"e\"]", "42[\"second\"]"]);
    assert_eq!(emitted("remove any"), ["42[\"any\",\"remove any\"]"]);
    assert_eq!(emitted("e"), ["42[\"second\"]"]);
    assert_eq!(emitted("remove all"), [""; 0]);
    assert_eq!(emitted("e"), [""; 0]);
}
