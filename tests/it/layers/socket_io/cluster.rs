//! Several servers, joined by an adapter of the tests.

use std::{cell::Cell, rc::Weak};

use ws_reactor::{
    Hub,
    socket_io::{Adapter, Answers, Args, Namespace, Operation, Question},
};

use super::*;

/// The namespaces of the servers, which are on one reactor.
#[derive(Default, Clone)]
struct Line(Rc<RefCell<Vec<Namespace>>>, Rc<Cell<bool>>);

struct Joined {
    own: Namespace,
    line: Weak<RefCell<Vec<Namespace>>>,
    is_down: Rc<Cell<bool>>,
}

impl Joined {
    fn others(&self) -> Vec<Namespace> {
        let Some(line) = self.line.upgrade() else { return Vec::new() };
        let all = line.borrow();
        // Handles of one namespace are told apart by their sockets.
        all.iter().filter(|other| !std::ptr::eq(other.name(), self.own.name())).cloned().collect()
    }
}

impl Adapter for Joined {
    fn publish(&self, hub: &mut Hub, operation: &Operation) {
        self.others().iter().for_each(|other| other.apply(hub, operation.clone()));
    }

    fn ask(&self, hub: &mut Hub, question: &Question, answers: &Answers) {
        if self.is_down.get() {
            return;
        }
        let others = self.others();
        answers.expect(hub, others.len());
        for other in others {
            let answers = answers.clone();
            other.answer(hub, question.clone(), move |hub, answer| answers.add(hub, answer));
        }
    }
}

/// Two servers on one reactor, at two addresses.
struct Two {
    world: World,
    handles: [SocketIoHandle; 2],
    line: Line,
    log: Log,
}

const OTHER: &str = "10.0.0.1:81";

impl Two {
    fn new() -> Self {
        let (line, log) = (Line::default(), Log::default());
        let make = |name: &'static str| {
            let line = line.clone();
            let io = SocketIo::new().adapter(move |own| {
                line.0.borrow_mut().push(own.clone());
                Joined { own: own.clone(), line: Rc::downgrade(&line.0), is_down: Rc::clone(&line.1) }
            });
            io.of("/").on_connection(|socket| {
                socket.join("room");
                socket.on("all", |socket, (): ()| socket.broadcast().emit("e", &()));
            });
            let noted = Rc::clone(&log);
            io.of("/").on_server_event("hello", move |hub, args: Args, ack| {
                noted.borrow_mut().push(format!("{name} {args:?}"));
                ack.send(hub, name);
            });
            io
        };
        let (one, two) = (make("one"), make("two"));
        let handles = [one.handle(), two.handle()];
        let mut world = World::new(one.mount(Routes::new()));
        let server = Server::routes(two.mount(Routes::new())).unwrap().ping_after(None);
        world.reactor.listen(OTHER, server).unwrap();
        Two { world, handles, line, log }
    }

    fn join_other(&mut self) -> Ws {
        let kernel = self.world.reactor.kernel_mut();
        let peer = kernel.connect(OTHER.parse().unwrap()).unwrap();
        let headers = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n";
        self.world.further_request(peer, "GET", "/socket.io/?EIO=4&transport=websocket", headers, "");
        self.world.texts(Ws(peer));
        self.world.send(Ws(peer), "40");
        self.world.texts(Ws(peer));
        Ws(peer)
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        self.line.0.borrow_mut().clear();
    }
}

#[test]
fn operations_reach_the_sockets_of_all_servers() {
    let mut two = Two::new();
    let (a, _) = two.world.join("/", "");
    let b = two.join_other();
    two.world.send(a, "42[\"all\"]");
    assert_eq!((two.world.texts(a).len(), two.world.texts(b)), (0, vec!["42[\"e\"]".to_owned()]));
    let of_one = two.handles[0].of("/");
    of_one.to(two.world.reactor.hub(), "room").emit("r", &1);
    two.world.settle();
    assert_eq!((two.world.texts(a).len(), two.world.texts(b).len()), (1, 1));
    of_one.local(two.world.reactor.hub()).emit("l", &1);
    two.world.settle();
    assert_eq!((two.world.texts(a).len(), two.world.texts(b).len()), (1, 0));
    of_one.all(two.world.reactor.hub()).sockets_join(["x"]);
    assert_eq!(two.handles[1].of("/").room_size("x"), 1);
    of_one.to(two.world.reactor.hub(), "x").sockets_leave(["room"]);
    assert_eq!(two.handles[1].of("/").room_size("room"), 0);
    let other = two.handles[1].of("/").sockets()[0].id().to_owned();
    of_one.to(two.world.reactor.hub(), &other).disconnect_sockets(false);
    two.world.settle();
    assert_eq!(two.world.texts(b), ["41"]);
    assert_eq!(of_one.socket_count(), 1);
}

#[test]
fn answers_of_all_servers_are_collected() {
    let mut two = Two::new();
    let (a, _) = two.world.join("/", "");
    let b = two.join_other();
    let of_one = two.handles[0].of("/");
    let log = Log::default();
    let noted = Rc::clone(&log);
    of_one.fetch_sockets(two.world.reactor.hub(), move |_, sockets| {
        noted.borrow_mut().push(format!("{} sockets", sockets.unwrap().len()));
    });
    let noted = Rc::clone(&log);
    of_one.all(two.world.reactor.hub()).emit_with_ack("q", &(), move |_, answers| {
        noted.borrow_mut().push(format!("{answers:?}"));
    });
    two.world.settle();
    assert_eq!(log.take(), ["2 sockets"]);
    for ws in [a, b] {
        let text = two.world.texts(ws).remove(0);
        let number = text[2..text.find('[').unwrap()].to_owned();
        two.world.send(ws, &format!("43{number}[1]"));
    }
    assert_eq!(log.take(), ["Ok([[\"1\"], [\"1\"]])"]);
    let noted = Rc::clone(&log);
    of_one.server_emit(two.world.reactor.hub(), "hello", &(1, 2));
    of_one.server_emit_with_ack(two.world.reactor.hub(), "hello", &3, move |_, answers| {
        noted.borrow_mut().push(format!("{answers:?}"));
    });
    two.world.settle();
    assert_eq!(two.log.take(), ["two [\"1\", \"2\"]", "two [\"3\"]"], "not to itself");
    assert_eq!(log.take(), ["Ok([[\"\\\"two\\\"\"]])"]);
}

#[test]
fn servers_that_do_not_answer_are_an_error() {
    let mut two = Two::new();
    two.world.join("/", "");
    two.line.1.set(true);
    let of_one = two.handles[0].of("/");
    let log = Log::default();
    let noted = Rc::clone(&log);
    of_one.fetch_sockets(two.world.reactor.hub(), move |_, sockets| {
        noted.borrow_mut().push(format!("{:?}", sockets.unwrap_err()));
    });
    two.world.sleep(Duration::from_millis(4900));
    assert!(log.borrow().is_empty());
    two.world.sleep(Duration::from_millis(200));
    assert_eq!(*log.borrow(), ["Timeout"]);
    let noted = Rc::clone(&log);
    of_one.local(two.world.reactor.hub()).fetch_sockets(move |_, sockets| {
        noted.borrow_mut().push(format!("{} here", sockets.unwrap().len()));
    });
    two.world.settle();
    assert_eq!(log.borrow()[1..], ["1 here"]);
}
