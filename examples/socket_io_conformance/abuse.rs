//! Each operation of Socket.IO as an event, for tests with foreign clients and broken ones.

use std::{cell::RefCell, collections::VecDeque, error::Error, rc::Rc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use ws_reactor::{
    Cors,
    socket_io::{
        AckError, Args, Broadcast, ConnectError, Json, Namespace, Recovery, RemoteSocket, Socket, SocketIo,
        SocketIoHandle,
    },
};

/// The last disconnections of a namespace: ids and reasons.
type Disconnects = Rc<RefCell<VecDeque<(String, &'static str)>>>;

/// Sockets can be recovered by this server alone.
pub(crate) fn recovering(io: SocketIo) -> SocketIo {
    io.recovery(Recovery::new().max_disconnection(Duration::from_secs(4)).max_bytes(8 * 1024 * 1024))
}

/// The server. `join` has its sockets recovered, or joins it with others.
pub(crate) fn server(
    join: impl FnOnce(SocketIo) -> Result<SocketIo, Box<dyn Error>>,
) -> Result<SocketIo, Box<dyn Error>> {
    let second = Duration::from_secs(1);
    let io = SocketIo::new()
        .engine(move |engine| {
            let cors = Cors::origins(["http://good.test"]).expect("the pattern is valid").credentials(true);
            engine
                .ping_interval(second)
                .ping_timeout(second)
                .upgrade_timeout(second)
                .max_payload(100_000)
                .max_waiting_bytes(4 * 1024 * 1024)
                .cors(cors)
                .allow_request(|request, hub, admission| match request.query_value("deny") {
                    Some(_) => admission.deny("Forbidden"),
                    None => admission.allow(hub),
                })
        })
        .connect_timeout(second);
    let io = join(io)?;
    let handle = io.handle();
    for name in ["/", "/custom"] {
        let namespace = io.of(name);
        namespace.middleware_later(decide);
        let (handle, disconnects) = (handle.clone(), Disconnects::default());
        namespace.on_connection(move |socket| serve(socket, &handle, &disconnects));
        let of_server = namespace.clone();
        namespace.on_server_event("hello", move |hub, args: Args, _| of_server.local(hub).emit("hello", &args));
        namespace.on_server_event("ask", |hub, args: Args, ack| ack.send(hub, &json!({"got": list(&args)})));
    }
    let dynamic = io.of_matching(|name, _| {
        name.strip_prefix("/dyn-")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
    });
    dynamic.middleware_later(decide);
    // The list of a namespace outlives it: a new namespace of the same name continues the list.
    let by_name: Rc<RefCell<std::collections::HashMap<String, Disconnects>>> = Rc::default();
    dynamic.on_connection(move |socket| {
        let disconnects = Rc::clone(by_name.borrow_mut().entry(socket.namespace().to_owned()).or_default());
        serve(socket, &handle, &disconnects);
    });
    Ok(io)
}

/// The arguments as JSON values.
fn list(args: &Args) -> Vec<Value> {
    args.list().unwrap_or_default()
}

fn decide(socket: &mut Socket<'_>, next: ws_reactor::socket_io::Next) {
    let auth = socket.handshake().auth().clone();
    if auth["refuse"] == true {
        socket.join("refused");
        next.refuse(socket.hub(), ConnectError::new("refused").with_data(json!({"code": 7})));
    } else if let Some(milliseconds) = auth["slow"].as_u64() {
        socket.hub().add_timer(Duration::from_millis(milliseconds), |hub| next.accept(hub));
    } else {
        next.accept(socket.hub());
    }
}

fn serve(socket: &mut Socket<'_>, handle: &SocketIoHandle, disconnects: &Disconnects) {
    let ends = Rc::clone(disconnects);
    socket.on_disconnect(move |socket, reason| {
        let mut ends = ends.borrow_mut();
        ends.push_back((socket.id().to_owned(), reason.as_str()));
        if ends.len() > 1000 {
            ends.pop_front();
        }
    });
    let namespace = handle.of(socket.namespace());
    answer(socket);
    change(socket);
    broadcast(socket, &namespace);
    talk_to_servers(socket, &namespace);
    count(socket, handle, &namespace, disconnects);
}

fn answer(socket: &mut Socket<'_>) {
    socket.on_with_ack("echo", |socket, args: Args, ack| ack.send(socket.hub(), &args));
    socket.on("message", |socket, args: Args| socket.emit("message-back", &args));
    socket.on_with_ack("message-with-ack", |socket, args: Args, ack| ack.send(socket.hub(), &args));
    socket.on_with_ack("whoami", |socket, (): (), ack| {
        let mut rooms = socket.rooms();
        rooms.sort();
        let data = socket.data().clone();
        let who = json!({"id": socket.id(), "recovered": socket.recovered(), "data": data, "rooms": rooms});
        ack.send(socket.hub(), &who);
    });
    socket.on_with_ack("ask", |socket, query: Query, ack| {
        let args = query.args();
        socket.timeout(query.timeout()).emit_with_ack("question", &args, |socket, answer| match answer {
            // A list of arguments is one argument.
            Ok(answer) => ack.send(socket.hub(), &(Value::Null, answer)),
            Err(AckError::Timeout) => ack.send(socket.hub(), "timeout"),
            Err(_) => {}
        });
    });
}

fn change(socket: &mut Socket<'_>) {
    socket.on_with_ack("join", |socket, rooms: Names, ack| {
        rooms.list().iter().for_each(|room| socket.join(room));
        ack.send(socket.hub(), &());
    });
    socket.on_with_ack("leave", |socket, rooms: Names, ack| {
        rooms.list().iter().for_each(|room| socket.leave(room));
        ack.send(socket.hub(), &());
    });
    socket.on_with_ack("data", |socket, data: Value, ack| {
        socket.set_data(data);
        ack.send(socket.hub(), &());
    });
    socket.on("kick", |socket, closes: Option<bool>| socket.disconnect(closes == Some(true)));
}

/// A name or a list of names.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

impl Names {
    fn list(&self) -> &[String] {
        match self {
            Names::One(name) => std::slice::from_ref(name),
            Names::Many(names) => names,
        }
    }
}

/// The sockets of an operation, and its arguments.
#[derive(Deserialize, Clone)]
struct Query {
    #[serde(default)]
    from: Option<String>,
    #[serde(default, alias = "in")]
    to: Option<Names>,
    #[serde(default)]
    except: Option<Names>,
    #[serde(default)]
    volatile: bool,
    #[serde(default)]
    local: bool,
    #[serde(default)]
    event: String,
    #[serde(default)]
    args: Vec<Json>,
    #[serde(default)]
    fill: Option<usize>,
    #[serde(default)]
    timeout: Option<u64>,
    #[serde(default)]
    rooms: Option<Names>,
    #[serde(default)]
    close: bool,
}

impl Query {
    fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout.unwrap_or(5000))
    }

    fn rooms(&self) -> &[String] {
        self.rooms.as_ref().map_or(&[], Names::list)
    }

    /// The arguments, one by one.
    fn args(&self) -> Spread {
        let filling = self.fill.map(|count| Json::from(Value::from("x".repeat(count))));
        Spread(self.args.iter().cloned().chain(filling).collect())
    }

    /// The sockets.
    fn select<'a>(&self, socket: &'a mut Socket<'_>, namespace: &Namespace) -> Broadcast<'a> {
        let mut broadcast = match self.from.as_deref() {
            Some("socket") => socket.broadcast(),
            _ => namespace.all(socket.hub()),
        };
        broadcast = broadcast.to_all(self.to.iter().flat_map(Names::list));
        broadcast = broadcast.except_all(self.except.iter().flat_map(Names::list));
        if self.volatile {
            broadcast = broadcast.volatile();
        }
        if self.local { broadcast.local() } else { broadcast }
    }
}

/// A list whose items are arguments of their own.
struct Spread(Vec<Json>);

impl serde::Serialize for Spread {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|item| tuple.serialize_element(item))?;
        tuple.end()
    }
}

fn broadcast(socket: &mut Socket<'_>, namespace: &Namespace) {
    let all = namespace.clone();
    socket.on_with_ack("emit", move |socket, query: Query, ack| {
        query.select(socket, &all).emit(&query.event, &query.args());
        ack.send(socket.hub(), &());
    });
    let all = namespace.clone();
    socket.on_with_ack("emit-ack", move |socket, query: Query, ack| {
        let broadcast = query.select(socket, &all).timeout(query.timeout());
        broadcast.emit_with_ack(&query.event, &query.args(), |hub, answers| ack.send(hub, &outcome(answers)));
    });
    let all = namespace.clone();
    socket.on_with_ack("fetch", move |socket, query: Query, ack| {
        query.select(socket, &all).fetch_sockets(|hub, sockets| match sockets {
            Ok(sockets) => ack.send(hub, &sockets.iter().map(described).collect::<Vec<_>>()),
            Err(error) => ack.send(hub, &json!({"error": error.to_string()})),
        });
    });
    let all = namespace.clone();
    socket.on_with_ack("sockets-join", move |socket, query: Query, ack| {
        query.select(socket, &all).sockets_join(query.rooms());
        ack.send(socket.hub(), &());
    });
    let all = namespace.clone();
    socket.on_with_ack("sockets-leave", move |socket, query: Query, ack| {
        query.select(socket, &all).sockets_leave(query.rooms());
        ack.send(socket.hub(), &());
    });
    let all = namespace.clone();
    socket.on_with_ack("disconnect-sockets", move |socket, query: Query, ack| {
        ack.send(socket.hub(), &());
        query.select(socket, &all).disconnect_sockets(query.close);
    });
}

/// Null or `timeout`, and the first argument of each answer.
fn outcome(answers: Result<Vec<Args>, Vec<Args>>) -> (Option<&'static str>, Vec<Json>) {
    let first = |answers: Vec<Args>| {
        answers.iter().map(|args| args.get(0).unwrap_or_else(|_| Json::from(Value::Null))).collect()
    };
    match answers {
        Ok(answers) => (None, first(answers)),
        Err(answers) => (Some("timeout"), first(answers)),
    }
}

fn described(socket: &RemoteSocket) -> Value {
    let mut rooms = socket.rooms.clone();
    rooms.sort();
    json!({"id": socket.id, "rooms": rooms, "data": socket.data})
}

fn talk_to_servers(socket: &mut Socket<'_>, namespace: &Namespace) {
    let servers = namespace.clone();
    socket.on_with_ack("server-emit", move |socket, args: Vec<Json>, ack| {
        servers.server_emit(socket.hub(), "hello", &Spread(args));
        ack.send(socket.hub(), &());
    });
    let servers = namespace.clone();
    socket.on_with_ack("server-ask", move |socket, args: Vec<Json>, ack| {
        let args = Spread(args);
        servers.server_emit_with_ack(socket.hub(), "ask", &args, |hub, answers| ack.send(hub, &outcome(answers)));
    });
}

fn count(socket: &mut Socket<'_>, handle: &SocketIoHandle, namespace: &Namespace, disconnects: &Disconnects) {
    let (all, own) = (handle.clone(), namespace.clone());
    socket.on_with_ack("counts", move |socket, (): (), ack| {
        let hub = socket.hub();
        let stats = all.stats(hub);
        let counts = json!({
            "connections": stats.sessions,
            "sockets": own.socket_count(),
            "rooms": own.rooms().len(),
            "namespaces": stats.namespaces,
            "acks": own.pending_acks(),
        });
        ack.send(hub, &counts);
    });
    let own = namespace.clone();
    socket.on_with_ack("room-size", move |socket, room: String, ack| ack.send(socket.hub(), &own.room_size(&room)));
    let ends = Rc::clone(disconnects);
    socket.on_with_ack("disconnects", move |socket, (): (), ack| {
        let ends: Vec<_> = ends.borrow().iter().cloned().collect();
        ack.send(socket.hub(), &ends);
    });
}
