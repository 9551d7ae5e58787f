//! Rooms, and operations on many sockets.

use std::collections::BTreeSet;

use ws_reactor::socket_io::{Binary, Namespace};

use super::*;

/// Three sockets: `a` in the rooms 1 and 2, `b` in 2, `c` in none.
struct Three {
    world: World,
    all: Namespace,
    sockets: [(Ws, String); 3],
}

fn three() -> Three {
    let io = SocketIo::new();
    io.of("/").on_connection(|socket| {
        if let Some(rooms) = socket.handshake().auth()["rooms"].as_array().cloned() {
            rooms.iter().for_each(|room| socket.join(room.as_str().unwrap()));
        }
        socket.on("to", |socket, room: String| socket.to(&room).emit("e", &()));
        socket.on("broadcast", |socket, (): ()| socket.broadcast().emit("e", &()));
        socket.on("except", |socket, room: String| socket.except(&room).emit("e", &()));
    });
    let (mut world, handle) = World::of(io);
    let sockets = ["{\"rooms\":[\"1\",\"2\"]}", "{\"rooms\":[\"2\"]}", ""].map(|auth| world.join("/", auth));
    Three { world, all: handle.of("/"), sockets }
}

impl Three {
    /// The sockets that have got something since the last call; each got it once.
    fn reached(&mut self) -> BTreeSet<char> {
        self.world.settle();
        let mut reached = BTreeSet::new();
        for ((ws, _), name) in self.sockets.iter().zip(['a', 'b', 'c']) {
            let texts = self.world.texts(*ws);
            assert!(texts.len() <= 1, "{texts:?}");
            if !texts.is_empty() {
                reached.insert(name);
            }
        }
        reached
    }

    fn reaches(&mut self, names: &str) {
        assert_eq!(self.reached(), names.chars().collect());
    }
}

#[test]
fn rooms_choose_the_sockets() {
    let mut three = three();
    let all = three.all.clone();
    all.emit(three.world.reactor.hub(), "e", &());
    three.reaches("abc");
    all.to(three.world.reactor.hub(), "1").emit("e", &());
    three.reaches("a");
    all.to(three.world.reactor.hub(), "1").to("2").emit("e", &());
    three.reaches("ab");
    all.to(three.world.reactor.hub(), "2").except("1").emit("e", &());
    three.reaches("b");
    all.except(three.world.reactor.hub(), "2").emit("e", &());
    three.reaches("c");
    all.to(three.world.reactor.hub(), "none").emit("e", &());
    three.reaches("");
    let id = three.sockets[2].1.clone();
    all.to(three.world.reactor.hub(), &id).emit("e", &());
    three.reaches("c");
    all.local(three.world.reactor.hub()).to_all(["1", "2"]).except_all([&id]).emit("e", &());
    three.reaches("ab");
}

#[test]
fn socket_broadcasts_to_the_others() {
    let mut three = three();
    let (a, c) = (three.sockets[0].0, three.sockets[2].0);
    three.world.send(a, "42[\"broadcast\"]");
    three.reaches("bc");
    three.world.send(a, "42[\"to\",\"2\"]");
    three.reaches("b");
    three.world.send(c, "42[\"to\",\"2\"]");
    three.reaches("ab");
    three.world.send(a, "42[\"except\",\"2\"]");
    three.reaches("c");
}

#[test]
fn sockets_are_moved_between_rooms_and_disconnected() {
    let mut three = three();
    let all = three.all.clone();
    all.to(three.world.reactor.hub(), "2").sockets_join(["3", "4"]);
    assert_eq!((all.room_size("3"), all.room_size("4")), (2, 2));
    all.to(three.world.reactor.hub(), "1").sockets_leave(["3", "2"]);
    assert_eq!((all.room_size("3"), all.room_size("2")), (1, 1));
    let mut rooms: Vec<String> = three.sockets.iter().map(|(_, id)| id.clone()).collect();
    rooms.extend(["1", "2", "3", "4"].map(str::to_owned));
    rooms.sort();
    assert_eq!(all.rooms(), rooms);
    all.to(three.world.reactor.hub(), "2").disconnect_sockets(false);
    three.world.settle();
    assert_eq!(three.world.texts(three.sockets[1].0), ["41"]);
    all.all(three.world.reactor.hub()).disconnect_sockets(true);
    three.world.settle();
    assert_eq!(three.world.frames(three.sockets[0].0), [*b"41", 1000_u16.to_be_bytes()]);
    assert_eq!((all.socket_count(), all.rooms().len()), (0, 0));
}

#[test]
fn sockets_are_fetched_with_their_rooms_and_data() {
    let mut three = three();
    let all = three.all.clone();
    let (_, id) = three.sockets[0].clone();
    all.socket(&id).unwrap().with(three.world.reactor.hub()).set_data(serde_json::json!({"name": "ann"}));
    let fetched = Log::default();
    let noted = Rc::clone(&fetched);
    all.to(three.world.reactor.hub(), "1").fetch_sockets(move |_, sockets| {
        for socket in sockets.unwrap() {
            assert_eq!(socket.handshake["auth"]["rooms"][0], "1");
            noted.borrow_mut().push(format!("{} {:?} {}", socket.id, socket.rooms, socket.data));
        }
    });
    assert!(fetched.borrow().is_empty(), "not inside the call");
    three.world.settle();
    assert_eq!(*fetched.borrow(), [format!("{id} [{id:?}, \"1\", \"2\"] {{\"name\":\"ann\"}}")]);
}

#[test]
fn volatile_event_is_dropped_for_a_client_that_cannot_take_it() {
    let io = SocketIo::new();
    io.of("/").on_connection(|socket| {
        socket.on("me", |socket, (): ()| socket.volatile().emit("v", &()));
    });
    let (mut world, handle) = World::of(io);
    let all = handle.of("/");
    let sid = world.handshake("/socket.io/");
    world.post("/socket.io/", &sid, "40");
    let poll = world.poll("/socket.io/", &sid);
    world.response(poll);
    all.all(world.reactor.hub()).volatile().emit("v", &1);
    world.post("/socket.io/", &sid, "42[\"me\"]");
    let poll = world.poll("/socket.io/", &sid);
    assert_eq!(world.raw(poll), "", "no poll was waiting");
    all.all(world.reactor.hub()).volatile().emit("v", &2);
    world.settle();
    assert_eq!(world.response(poll).1, "42[\"v\",2]");
    let (ws, _) = world.join("/", "");
    world.reactor.kernel_mut().hold(ws.0, 1000);
    let big = "x".repeat(100_000);
    all.emit(world.reactor.hub(), "e", &big);
    world.settle();
    all.all(world.reactor.hub()).volatile().emit("v", &3);
    world.settle();
    world.reactor.kernel_mut().release(ws.0);
    world.settle();
    assert_eq!(world.texts(ws).len(), 1, "the event that is not volatile");
}

#[test]
fn broadcast_reaches_polling_clients_and_websockets_alike() {
    let (mut world, handle) = World::of({
        let io = SocketIo::new();
        io.of("/");
        io
    });
    let sid = world.handshake("/socket.io/");
    world.post("/socket.io/", &sid, "40");
    let poll = world.poll("/socket.io/", &sid);
    world.response(poll);
    let (ws, _) = world.join("/", "");
    handle.of("/").emit(world.reactor.hub(), "e", &("x", Binary::from(&[1, 2][..])));
    world.settle();
    let text = "451-[\"e\",\"x\",{\"_placeholder\":true,\"num\":0}]";
    assert_eq!(world.frames(ws), [text.as_bytes().to_vec(), vec![1, 2]]);
    let poll = world.poll("/socket.io/", &sid);
    assert_eq!(world.response(poll).1, format!("{text}\u{1e}bAQI="));
}

#[test]
fn reserved_names_and_values_that_are_no_json_are_not_sent() {
    let (mut world, handle) = World::of({
        let io = SocketIo::new();
        io.of("/");
        io
    });
    let (ws, _) = world.join("/", "");
    let all = handle.of("/");
    all.emit(world.reactor.hub(), "connect", &());
    all.emit(world.reactor.hub(), "e", &std::collections::BTreeMap::from([((1, 2), 3)]));
    world.settle();
    assert!(world.texts(ws).is_empty());
}

#[test]
fn what_is_sent_can_be_watched() {
    let io = SocketIo::new();
    let log = Log::default();
    let noted = Rc::clone(&log);
    io.of("/").on_connection(move |socket| {
        let noted = Rc::clone(&noted);
        socket.on_any_outgoing(move |_, event, args| noted.borrow_mut().push(format!("{event} {args:?}")));
        socket.emit("hello", &1);
    });
    let (mut world, handle) = World::of(io);
    world.join("/", "");
    handle.of("/").emit(world.reactor.hub(), "all", &"x");
    world.settle();
    assert_eq!(*log.borrow(), ["hello [\"1\"]", "all [\"\\\"x\\\"\"]"]);
}
