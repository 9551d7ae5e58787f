//! Servers joined by pub/sub: the messages of Node's `createAdapter` of `@socket.io/redis-adapter` 8.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    rc::{Rc, Weak},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    super::{
        adapter::{Adapter, Answer, Answers, Operation, Question, RemoteSocket},
        broadcast::ANSWER_TIMEOUT,
        msgpack::{self, Packed, field},
        namespace::Namespace,
        payload::Payload,
        target::Target,
    },
    Asked, new_uid,
    wire::{self, kind},
};
use crate::{
    cluster::{ChannelKind, PubSub, Receiver, Redis},
    reactor::Hub,
};

/// Joins servers of Socket.IO by the pub/sub of Redis: those of this crate, those of Node with
/// `@socket.io/redis-adapter` 8, and programs with `@socket.io/redis-emitter`.
///
/// ```no_run
/// use ws_reactor::{Reactor, Redis, Routes, Server, socket_io::{RedisAdapter, SocketIo}};
///
/// let mut reactor = Reactor::new()?;
/// let redis = RedisAdapter::new(Redis::new("redis://localhost")?);
/// let io = SocketIo::new().adapter(redis.start(reactor.hub()));
/// io.of("/").on_connection(|socket| socket.broadcast().emit("hello", &()));
/// reactor.listen("127.0.0.1:3000", Server::routes(io.mount(Routes::new()))?)?;
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// All namespaces share two connections. While Redis is away, a server serves its own clients, and tries to connect
/// again within half a second; what others publish meanwhile is lost, as what it publishes itself. Questions to other
/// servers then end with an error after their time.
///
/// Of the settings of [`Redis`], the prefix, histories, sharded channels and Sentinels have no effect.
pub struct RedisAdapter {
    redis: Redis,
    key: String,
}

impl RedisAdapter {
    /// Uses a Redis with these settings.
    pub fn new(redis: Redis) -> Self {
        RedisAdapter { redis, key: "socket.io".to_owned() }
    }

    /// Sets what the channels begin with: the `key` of Node's adapter. Default `socket.io`.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// Connects. What is returned makes the adapters, for [`SocketIo::adapter`](crate::socket_io::SocketIo::adapter).
    pub fn start(self, hub: &mut Hub) -> impl Fn(&Namespace) -> RedisNamespace + use<> {
        let RedisAdapter { redis, key } = self;
        let pub_sub = redis.into_pub_sub();
        let shared = Rc::new(Shared { pub_sub: pub_sub.clone(), key, namespaces: RefCell::default() });
        pub_sub.set_receiver(&shared);
        pub_sub.start(hub);
        move |namespace| Joined::open(&shared, namespace)
    }
}

impl fmt::Debug for RedisAdapter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RedisAdapter").field("redis", &self.redis).field("key", &self.key).finish()
    }
}

/// State shared by the namespaces.
struct Shared {
    pub_sub: PubSub,
    key: String,
    /// By each channel and pattern that they subscribe.
    namespaces: RefCell<HashMap<String, Weak<Joined>>>,
}

impl Receiver for Shared {
    fn on_message(&self, hub: &mut Hub, pattern: Option<&[u8]>, channel: &[u8], payload: &[u8]) {
        let (Ok(name), Ok(channel)) = (str::from_utf8(pattern.unwrap_or(channel)), str::from_utf8(channel)) else {
            return;
        };
        let joined = self.namespaces.borrow().get(name).and_then(Weak::upgrade);
        let Some(joined) = joined else { return };
        let understood = match pattern {
            Some(_) => joined.on_broadcast(hub, channel, payload),
            None if channel == joined.requests => joined.on_request(hub, payload),
            None => joined.on_response(hub, payload),
        };
        if understood.is_none() && hub.may_warn() {
            log::warn!(target: super::super::LOG, "a message of {} octets on {channel:?} is not understood", payload.len());
        }
    }
}

/// A namespace joined by Redis. See [`RedisAdapter`].
#[derive(Debug)]
pub struct RedisNamespace(Rc<Joined>);

impl Adapter for RedisNamespace {
    fn publish(&self, hub: &mut Hub, operation: &Operation) {
        self.0.publish(hub, operation);
    }

    fn ask(&self, hub: &mut Hub, question: &Question, answers: &Answers) {
        self.0.ask(hub, question, answers);
    }

    fn close(&self, _: &mut Hub) {
        self.0.close();
    }
}

struct Joined {
    shared: Rc<Shared>,
    namespace: Namespace,
    /// Names this server among the others.
    uid: String,
    broadcasts: String,
    requests: String,
    responses: String,
    own_responses: String,
    /// Questions of this server that are not answered, by their ids.
    asked: Asked,
}

impl Joined {
    fn open(shared: &Rc<Shared>, namespace: &Namespace) -> RedisNamespace {
        let (key, name) = (&shared.key, namespace.name());
        let uid = new_uid();
        let responses = format!("{key}-response#{name}#");
        let joined = Rc::new(Joined {
            shared: Rc::clone(shared),
            namespace: namespace.clone(),
            broadcasts: format!("{key}#{name}#"),
            requests: format!("{key}-request#{name}#"),
            own_responses: format!("{responses}{uid}#"),
            responses,
            uid,
            asked: Asked::default(),
        });
        let pattern = joined.pattern();
        let channels = [&joined.requests, &joined.responses, &joined.own_responses];
        let mut namespaces = shared.namespaces.borrow_mut();
        for name in channels.into_iter().chain([&pattern]) {
            namespaces.insert(name.clone(), Rc::downgrade(&joined));
        }
        drop(namespaces);
        shared.pub_sub.subscribe(ChannelKind::Plain, &channels.map(String::as_str));
        shared.pub_sub.subscribe(ChannelKind::Pattern, &[&pattern]);
        RedisNamespace(joined)
    }

    /// The pattern of the channels of broadcasts.
    fn pattern(&self) -> String {
        let mut pattern = String::new();
        for character in self.broadcasts.chars() {
            // Names are no patterns.
            if matches!(character, '*' | '?' | '[' | ']' | '\\') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern + "*"
    }

    fn close(&self) {
        let pattern = self.pattern();
        let channels = [&self.requests, &self.responses, &self.own_responses];
        let mut namespaces = self.shared.namespaces.borrow_mut();
        channels.into_iter().chain([&pattern]).for_each(|name| _ = namespaces.remove(name));
        drop(namespaces);
        self.shared.pub_sub.unsubscribe(ChannelKind::Plain, &channels.map(String::as_str));
        self.shared.pub_sub.unsubscribe(ChannelKind::Pattern, &[&pattern]);
    }

    fn request(&self, hub: &mut Hub, mut request: Value) {
        request["uid"] = self.uid.as_str().into();
        self.shared.pub_sub.publish(hub, &self.requests, request.to_string().as_bytes());
    }

    fn respond(&self, hub: &mut Hub, response: &Value) {
        self.shared.pub_sub.publish(hub, &self.responses, response.to_string().as_bytes());
    }

    fn packet(&self, payload: &Payload) -> Option<Packed> {
        let data = msgpack::packed(payload);
        if data.is_none() {
            log::error!(target: super::super::LOG, "an event is nested too deeply for other servers");
        }
        Some(wire::map([("type", 2.into()), ("data", data?), ("nsp", self.namespace.name().into())]))
    }

    fn publish(&self, hub: &mut Hub, operation: &Operation) {
        match operation {
            Operation::Emit { payload, target, flags } => {
                let Some(packet) = self.packet(payload) else { return };
                let options = wire::options(target, *flags, None);
                let message = Packed::Array(vec![self.uid.as_str().into(), packet, options]);
                let channel = match &*target.rooms {
                    [room] => format!("{}{room}#", self.broadcasts),
                    _ => self.broadcasts.clone(),
                };
                self.shared.pub_sub.publish(hub, &channel, &msgpack::pack(&message));
            }
            Operation::Join { target, rooms } => self.move_sockets(hub, kind::JOIN, target, rooms),
            Operation::Leave { target, rooms } => self.move_sockets(hub, kind::LEAVE, target, rooms),
            Operation::Disconnect { target, closes } => {
                let options = wire::target_json(target);
                self.request(hub, json!({"type": kind::DISCONNECT, "opts": options, "close": closes}));
            }
            Operation::ServerEmit { payload } => {
                self.request(hub, json!({"type": kind::SERVER_EMIT, "data": plain(payload)}));
            }
        }
    }

    fn move_sockets(&self, hub: &mut Hub, kind: u64, target: &Target, rooms: &[Rc<str>]) {
        let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
        self.request(hub, json!({"type": kind, "opts": wire::target_json(target), "rooms": rooms}));
    }

    /// Asks the other servers, once it is known how many there are.
    fn ask(self: &Rc<Self>, hub: &mut Hub, question: &Question, answers: &Answers) {
        let id = self.asked.add(hub, answers);
        let request = match question {
            Question::Emit { payload, target, flags, timeout } => {
                let Some(packet) = self.packet(payload) else { return answers.expect(hub, 0) };
                let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                let message = wire::map([
                    ("uid", self.uid.as_str().into()),
                    ("requestId", id.into()),
                    ("type", kind::BROADCAST.into()),
                    ("packet", packet),
                    ("opts", wire::options(target, *flags, Some(timeout))),
                ]);
                msgpack::pack(&message)
            }
            Question::Fetch { target } => {
                let options = wire::target_json(target);
                let request = json!({"uid": self.uid, "requestId": id, "type": kind::FETCH, "opts": options});
                request.to_string().into_bytes()
            }
            Question::ServerEmit { payload } => {
                let data = plain(payload);
                let request = json!({"uid": self.uid, "requestId": id, "type": kind::SERVER_EMIT, "data": data});
                request.to_string().into_bytes()
            }
        };
        let (joined, answers) = (Rc::clone(self), answers.clone());
        let ask = move |hub: &mut Hub, servers: Option<usize>| {
            // Without Redis the answers are missing at the end of their time.
            let Some(others) = servers.map(|servers| servers.saturating_sub(1)) else { return };
            if others > 0 {
                joined.shared.pub_sub.publish(hub, &joined.requests, &request);
            }
            answers.expect(hub, others);
        };
        self.shared.pub_sub.count(hub, &self.requests, ask);
    }

    /// A broadcast of another server, or of an emitter.
    fn on_broadcast(&self, hub: &mut Hub, channel: &str, message: &[u8]) -> Option<()> {
        let room = channel.strip_prefix(&*self.broadcasts)?;
        if let Some(room) = room.strip_suffix('#').filter(|room| !room.is_empty())
            && self.namespace.room_size(room) == 0
        {
            return Some(());
        }
        let message = msgpack::unpack(message)?;
        let [uid, packet, options] = &**message.as_array()? else { return None };
        if uid.as_str() == Some(&self.uid) {
            return Some(());
        }
        let namespace = field(packet, "nsp").map_or(Some("/"), Packed::as_str)?;
        if namespace != self.namespace.name() {
            return Some(());
        }
        let payload = msgpack::event_payload(field(packet, "data")?.as_array()?)?;
        let (target, flags, _) = wire::read_options(options);
        self.namespace.apply(hub, Operation::Emit { payload, target, flags });
        Some(())
    }

    fn on_request(self: &Rc<Self>, hub: &mut Hub, message: &[u8]) -> Option<()> {
        if message.first() != Some(&b'{') {
            return self.on_packed_request(hub, &msgpack::unpack(message)?);
        }
        let request: Value = serde_json::from_slice(message).ok()?;
        if request["uid"] == self.uid.as_str() {
            return Some(());
        }
        let (id, options) = (request["requestId"].clone(), &request["opts"]);
        let target = match request["sid"].as_str() {
            Some(sid) => Target { rooms: vec![sid.into()], except: Vec::new() },
            None => wire::read_target(options),
        };
        match request["type"].as_u64()? {
            kind::SOCKETS => {
                let target = Target { rooms: wire::names(&request["rooms"]), except: Vec::new() };
                let sockets: Vec<String> = self.fetch(&target).into_iter().map(|socket| socket.id).collect();
                self.respond(hub, &json!({"requestId": id, "sockets": sockets}));
            }
            kind::ALL_ROOMS => self.respond(hub, &json!({"requestId": id, "rooms": self.namespace.rooms()})),
            kind @ (kind::JOIN | kind::LEAVE) => {
                let mut rooms = wire::names(&request["rooms"]);
                rooms.extend(request["room"].as_str().map(Rc::from));
                self.namespace.apply(
                    hub,
                    match kind {
                        kind::JOIN => Operation::Join { target, rooms },
                        _ => Operation::Leave { target, rooms },
                    },
                );
                self.confirm(hub, &request);
            }
            kind::DISCONNECT => {
                let closes = request["close"] == true;
                self.namespace.apply(hub, Operation::Disconnect { target, closes });
                self.confirm(hub, &request);
            }
            kind::FETCH => {
                let sockets: Vec<Value> = self.fetch(&target).iter().map(wire::socket_json).collect();
                self.respond(hub, &json!({"requestId": id, "sockets": sockets}));
            }
            kind::SERVER_EMIT => {
                let payload = Payload::from_parts(&request["data"].to_string(), Vec::new())?;
                payload.event()?;
                if id.is_null() {
                    self.namespace.apply(hub, Operation::ServerEmit { payload });
                    return Some(());
                }
                let joined = Rc::clone(self);
                self.namespace.answer(hub, Question::ServerEmit { payload }, move |hub, answer| {
                    if let Answer::Server(args) = answer {
                        let data: Value = args.get(0).unwrap_or_default();
                        joined.respond(hub, &json!({"type": kind::SERVER_EMIT, "requestId": id, "data": data}));
                    }
                });
            }
            _ => return None,
        }
        Some(())
    }

    /// Confirms a request for one socket, if that is here.
    fn confirm(&self, hub: &mut Hub, request: &Value) {
        if request["sid"].as_str().is_some_and(|sid| self.namespace.room_size(sid) > 0) {
            self.respond(hub, &json!({"requestId": request["requestId"]}));
        }
    }

    fn fetch(&self, target: &Target) -> Vec<RemoteSocket> {
        self.namespace.0.select(target).iter().map(|socket| RemoteSocket::of(socket)).collect()
    }

    /// A broadcast whose clients answer.
    fn on_packed_request(self: &Rc<Self>, hub: &mut Hub, request: &Packed) -> Option<()> {
        if field(request, "uid").and_then(Packed::as_str) == Some(&self.uid) {
            return Some(());
        }
        let id = field(request, "requestId")?.as_str()?.to_owned();
        if field(request, "type")?.as_u64()? != kind::BROADCAST {
            return None;
        }
        let payload = msgpack::event_payload(field(field(request, "packet")?, "data")?.as_array()?)?;
        let (target, flags, timeout) = wire::read_options(field(request, "opts")?);
        let timeout = timeout.map_or(ANSWER_TIMEOUT, Duration::from_millis);
        let joined = Rc::clone(self);
        let question = Question::Emit { payload, target, flags, timeout };
        self.namespace.answer(hub, question, move |hub, answer| match answer {
            Answer::Asked(clients) => {
                let count = json!({"type": kind::CLIENT_COUNT, "requestId": id, "clientCount": clients});
                joined.respond(hub, &count);
            }
            Answer::Args(args) => {
                // As Node's server, which passes on the first argument.
                let ack = wire::map([
                    ("type", kind::ACK.into()),
                    ("requestId", id.as_str().into()),
                    ("packet", wire::first_of(&args)),
                ]);
                joined.shared.pub_sub.publish(hub, &joined.responses, &msgpack::pack(&ack));
            }
            Answer::Sockets(_) | Answer::Server(_) => {}
        });
        Some(())
    }

    fn on_response(&self, hub: &mut Hub, message: &[u8]) -> Option<()> {
        if message.first() != Some(&b'{') {
            let response = msgpack::unpack(message)?;
            let answers = self.asked.get(field(&response, "requestId")?.as_str()?);
            let packet = field(&response, "packet").unwrap_or(&Packed::Nil);
            if let Some(answers) = answers
                && field(&response, "type").and_then(Packed::as_u64) == Some(kind::ACK)
            {
                answers.add(hub, Answer::Args(msgpack::payload(std::slice::from_ref(packet))?.into_args()?));
            }
            return Some(());
        }
        let response: Value = serde_json::from_slice(message).ok()?;
        let Some(answers) = response["requestId"].as_str().and_then(|id| self.asked.get(id)) else { return Some(()) };
        let answer = match response["type"].as_u64() {
            Some(kind::CLIENT_COUNT) => Answer::Asked(usize::try_from(response["clientCount"].as_u64()?).ok()?),
            Some(kind::SERVER_EMIT) => {
                let args = Value::Array(vec![response["data"].clone()]);
                Answer::Server(Payload::from_parts(&args.to_string(), Vec::new())?.into_args()?)
            }
            _ => {
                let sockets = response["sockets"].as_array()?;
                Answer::Sockets(sockets.iter().filter_map(wire::read_socket).collect())
            }
        };
        answers.add(hub, answer);
        Some(())
    }
}

impl fmt::Debug for Joined {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Joined").field("namespace", &self.namespace.name()).finish_non_exhaustive()
    }
}

/// A payload as JSON. Binary values, which JSON has not, are null.
fn plain(payload: &Payload) -> Value {
    fn without_binary(value: &mut Value) {
        match value {
            Value::Object(entries) if entries.get("_placeholder") == Some(&Value::Bool(true)) => *value = Value::Null,
            Value::Object(entries) => entries.values_mut().for_each(without_binary),
            Value::Array(items) => items.iter_mut().for_each(without_binary),
            _ => {}
        }
    }

    let mut value: Value = serde_json::from_str(payload.json()).unwrap_or_default();
    if !payload.attachments().is_empty() {
        without_binary(&mut value);
    }
    value
}
