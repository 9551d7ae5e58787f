//! Recovery of sockets by an adapter that keeps sockets and events.

use ws_reactor::{
    Hub,
    socket_io::{Adapter, Answers, Namespace, OnRestored, Operation, Question, Recovery, RestoredSocket, SavedSocket},
};

use super::*;

/// What the adapter keeps. Time passes before it answers, and before an operation comes back.
#[derive(Default)]
struct Kept {
    sockets: RefCell<Vec<SavedSocket>>,
    events: RefCell<Vec<Operation>>,
}

struct Keeping {
    own: Namespace,
    kept: Rc<Kept>,
}

const TRIP: Duration = Duration::from_millis(10);

impl Adapter for Keeping {
    fn publish(&self, hub: &mut Hub, operation: &Operation) {
        let (own, kept, operation) = (self.own.clone(), Rc::clone(&self.kept), operation.clone());
        hub.add_timer(TRIP, move |hub| {
            kept.events.borrow_mut().push(operation.clone());
            let offset = kept.events.borrow().len().to_string();
            own.apply_at(hub, operation, &offset);
        });
    }

    fn ask(&self, hub: &mut Hub, _: &Question, answers: &Answers) {
        answers.expect(hub, 0);
    }

    fn delivers_own(&self, _: &Operation) -> bool {
        true
    }

    fn recovers(&self) -> bool {
        true
    }

    fn keep_socket(&self, _: &mut Hub, socket: &SavedSocket, time: Duration) {
        assert_eq!(time, Duration::from_secs(120));
        self.kept.sockets.borrow_mut().push(socket.clone());
    }

    fn restore_socket(&self, hub: &mut Hub, recovery_id: &str, offset: &str, call: OnRestored) {
        let (kept, recovery_id) = (Rc::clone(&self.kept), recovery_id.to_owned());
        let offset: usize = offset.parse().unwrap_or(usize::MAX);
        hub.add_timer(TRIP, move |hub| {
            let position = kept.sockets.borrow().iter().position(|socket| socket.recovery_id == recovery_id);
            let socket = position.map(|position| kept.sockets.borrow_mut().remove(position));
            let events = kept.events.borrow();
            let missed = events.iter().skip(offset).filter_map(|event| match event {
                Operation::Emit { payload, .. } => Some(payload.clone()),
                _ => None,
            });
            let restored = socket.map(|socket| RestoredSocket {
                socket,
                missed: missed.collect(),
                position: events.len().to_string(),
                needs_middleware: false,
            });
            drop(events);
            call(hub, restored);
        });
    }
}

fn server() -> (World, SocketIoHandle) {
    let kept: Rc<Kept> = Rc::default();
    let io = SocketIo::new()
        .adapter(move |own| Keeping { own: own.clone(), kept: Rc::clone(&kept) })
        .recovery(Recovery::new());
    io.of("/").on_connection(|socket| {
        let text = format!("{} {:?} {}", socket.recovered(), &socket.rooms()[1..], socket.data());
        socket.volatile().emit("joined", &text);
        if !socket.recovered() {
            socket.join("room");
            socket.set_data(serde_json::json!({"n": 1}));
        }
    });
    World::of(io)
}

/// Joins. Returns the packets behind the answer, and the id and recovery id in the answer.
fn join(world: &mut World, auth: &str) -> (Ws, Vec<String>, [String; 2]) {
    let ws = world.open("/socket.io/");
    world.send(ws, &format!("40{auth}"));
    world.sleep(2 * TRIP);
    let mut texts = world.texts(ws);
    let position = texts.iter().position(|text| text.starts_with("40")).unwrap_or_else(|| panic!("{texts:?}"));
    let answer: serde_json::Value = serde_json::from_str(&texts.remove(position)[2..]).unwrap();
    (ws, texts, ["sid", "pid"].map(|name| answer[name].as_str().unwrap().to_owned()))
}

#[test]
fn client_comes_back_to_what_the_adapter_has_kept() {
    let (mut world, handle) = server();
    let (ws, texts, [sid, pid]) = join(&mut world, "");
    assert_eq!(texts, ["42[\"joined\",\"false [] {}\"]"]);
    let all = handle.of("/");
    all.to(world.reactor.hub(), "room").emit("e", &1);
    let socket = all.sockets().remove(0);
    socket.with(world.reactor.hub()).emit("own", &2);
    world.settle();
    assert_eq!(world.texts(ws), [""; 0], "events come when the adapter brings them");
    world.sleep(2 * TRIP);
    assert_eq!(world.texts(ws), ["42[\"e\",1,\"1\"]", "42[\"own\",2,\"2\"]"]);
    world.cut(ws.0);
    all.to(world.reactor.hub(), "room").emit("e", &3);
    world.sleep(2 * TRIP);
    let auth = format!("{{\"pid\":\"{pid}\",\"offset\":\"2\"}}");
    let (ws, texts, [again, same]) = join(&mut world, &auth);
    assert_eq!((&again, &same), (&sid, &pid));
    assert_eq!(texts, ["42[\"e\",3]", "42[\"joined\",\"true [\\\"room\\\"] {\\\"n\\\":1}\"]"]);
    all.to(world.reactor.hub(), "room").emit("e", &4);
    world.sleep(2 * TRIP);
    assert_eq!(world.texts(ws), ["42[\"e\",4,\"4\"]"]);
    let (_, texts, [other, _]) = join(&mut world, &auth);
    assert_ne!(other, sid, "a recovery id is used once");
    assert_eq!(texts, ["42[\"joined\",\"false [] {}\"]"]);
}

#[test]
fn second_connect_while_the_adapter_looks_closes_the_client() {
    let (mut world, handle) = server();
    let ws = world.open("/socket.io/");
    world.send(ws, "40{\"pid\":\"unknown\",\"offset\":\"1\"}");
    world.send(ws, "40");
    assert_eq!(world.frames(ws), [1000_u16.to_be_bytes()]);
    world.sleep(2 * TRIP);
    assert_eq!(handle.of("/").socket_count(), 0);
}

#[test]
fn client_that_leaves_while_the_adapter_looks_leaves_nothing() {
    let (mut world, handle) = server();
    let ws = world.open("/socket.io/");
    world.send(ws, "40{\"pid\":\"unknown\",\"offset\":\"1\"}");
    world.cut(ws.0);
    world.sleep(2 * TRIP);
    assert_eq!((handle.of("/").socket_count(), handle.stats(world.reactor.hub()).sessions), (0, 0));
}
