//! Servers joined by a stream: the messages of Node's `@socket.io/redis-streams-adapter` 0.3.
//!
//! Operations are entries of the stream. Questions, answers and events for servers go by pub/sub. With recovery of
//! sockets, an event is delivered on each server when that reads its entry, whose id is its offset: so all servers have
//! one order, and a client that comes back to another server misses nothing and gets nothing twice. The exception are
//! events of this server on their way while Redis is lost: they are delivered here at once, without offsets.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    fmt, mem,
    rc::{Rc, Weak},
    time::Duration,
};

use super::{
    super::{
        LOG,
        adapter::{Adapter, Answers, OnRestored, Operation, Question, SavedSocket},
        namespace::Namespace,
        payload::Payload,
    },
    member::{Bus, Member, OnCount},
    message::Message,
    restoring::{EventLog, KeptSocket, Restoring, read_socket, write_socket},
};
use crate::{
    cluster::{ChannelKind, EntryId, PubSub, Receiver, Redis, StreamEntry},
    reactor::Hub,
};

/// Joins servers of Socket.IO by a stream of Redis: those of this crate, and those of Node with
/// `@socket.io/redis-streams-adapter` 0.3.
///
/// With [`SocketIo::recovery`](crate::socket_io::SocketIo::recovery) a client that was cut can come back to any server.
/// An event then reaches the clients of this server when it comes back from Redis, and has the same place among all
/// others on each server.
///
/// ```no_run
/// use ws_reactor::{Reactor, Redis, socket_io::{Recovery, RedisStreamsAdapter, SocketIo}};
///
/// let mut reactor = Reactor::new()?;
/// let redis = RedisStreamsAdapter::new(Redis::new("redis://localhost")?);
/// let io = SocketIo::new().adapter(redis.start(reactor.hub())).recovery(Recovery::new());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// While Redis is away, a server serves its own clients; they cannot come back to events of that time. What other
/// servers have appended meanwhile arrives afterwards, as far as the stream has not been [trimmed](Self::max_entries).
/// Questions to other servers end with an error after their time. Needs Redis 6.2 or later, and no cluster, with one
/// stream: Node's `streamCount` of 1, and no sharded pub/sub.
///
/// A socket that a server of Node has kept passes by the middleware of its namespace, because Node's adapter does not
/// keep which namespace that is.
///
/// Of the settings of [`Redis`], the prefix, histories, sharded channels and Sentinels have no effect, and neither have
/// the bounds of [`Recovery`](crate::socket_io::Recovery).
pub struct RedisStreamsAdapter {
    redis: Redis,
    settings: Settings,
}

#[derive(Debug)]
struct Settings {
    stream: String,
    max_entries: usize,
    channel_prefix: String,
    socket_prefix: String,
}

impl RedisStreamsAdapter {
    /// Uses a Redis with these settings.
    pub fn new(redis: Redis) -> Self {
        let settings = Settings {
            stream: "socket.io".to_owned(),
            max_entries: 10_000,
            channel_prefix: "socket.io".to_owned(),
            socket_prefix: "sio:session:".to_owned(),
        };
        RedisStreamsAdapter { redis, settings }
    }

    /// Sets the key of the stream: Node's `streamName`. Default `socket.io`.
    #[must_use]
    pub fn stream(mut self, key: impl Into<String>) -> Self {
        self.settings.stream = key.into();
        self
    }

    /// Sets the number of entries that the stream keeps at least: Node's `maxLen`. Default 10,000. A client can come
    /// back as long as the last entry that it has got is kept.
    #[must_use]
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.settings.max_entries = entries.max(1);
        self
    }

    /// Sets what the channels of questions begin with: Node's `channelPrefix`. Default `socket.io`.
    #[must_use]
    pub fn channel_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.channel_prefix = prefix.into();
        self
    }

    /// Sets what the keys of sockets that were cut begin with: Node's `sessionKeyPrefix`. Default `sio:session:`.
    #[must_use]
    pub fn session_key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.socket_prefix = prefix.into();
        self
    }

    /// Connects. What is returned makes the adapters, for [`SocketIo::adapter`](crate::socket_io::SocketIo::adapter).
    pub fn start(self, hub: &mut Hub) -> impl Fn(&Namespace) -> RedisStreamsNamespace + use<> {
        let pub_sub = self.redis.into_pub_sub();
        let shared = Rc::new(Shared {
            pub_sub: pub_sub.clone(),
            log: EventLog::new(&pub_sub, &self.settings.stream),
            settings: self.settings,
            recovers: Cell::new(true),
            by_name: RefCell::default(),
            by_channel: RefCell::default(),
        });
        pub_sub.set_receiver(&shared);
        pub_sub.read_stream(&shared.settings.stream);
        pub_sub.start(hub);
        move |namespace| RedisStreamsNamespace(Joined::open(&shared, namespace))
    }
}

impl fmt::Debug for RedisStreamsAdapter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("RedisStreamsAdapter");
        debug.field("redis", &self.redis).field("settings", &self.settings).finish()
    }
}

/// State shared by the namespaces.
struct Shared {
    pub_sub: PubSub,
    settings: Settings,
    log: Rc<EventLog>,
    /// Clients can come back, which all namespaces have in common. `true` before the first namespace.
    recovers: Cell<bool>,
    by_name: RefCell<HashMap<String, Weak<Joined>>>,
    by_channel: RefCell<HashMap<String, Weak<Joined>>>,
}

impl Shared {
    /// Returns `true` if clients can come back.
    fn recovers(&self) -> bool {
        let first = self.by_name.borrow().values().find_map(Weak::upgrade);
        if let Some(joined) = first {
            self.recovers.set(joined.member.namespace.0.recovers());
        }
        self.recovers.get()
    }

    /// Handles an entry. `None` if it is not understood.
    fn handle(&self, hub: &mut Hub, entry: &StreamEntry) -> Option<()> {
        let message = Message::of_entry(entry);
        self.log.on_entry(entry.id, message.as_ref().filter(|_| self.recovers()));
        let joined = self.by_name.borrow().get(entry.field("nsp")?).and_then(Weak::upgrade);
        let Some(joined) = joined else { return Some(()) };
        let offset = entry.id.to_string();
        if entry.field("uid") == Some(&joined.member.uid) {
            joined.on_own(hub, entry.field(NUMBER)?.parse().ok()?, &offset);
            return Some(());
        }
        joined.member.handle(hub, &joined, &message?, Some(&offset))
    }
}

impl Receiver for Shared {
    fn on_message(&self, hub: &mut Hub, _: Option<&[u8]>, channel: &[u8], payload: &[u8]) {
        let Ok(channel) = str::from_utf8(channel) else { return };
        let joined = self.by_channel.borrow().get(channel).and_then(Weak::upgrade);
        let Some(joined) = joined else { return };
        let message = Message::decode(payload);
        let understood = message.and_then(|message| joined.member.handle(hub, &joined, &message, None));
        if understood.is_none() && hub.may_warn() {
            log::warn!(target: LOG, "a message of {} octets on {channel:?} is not understood", payload.len());
        }
    }

    fn on_position(&self, _: &mut Hub, known: EntryId) {
        self.log.begin(known);
    }

    fn on_loss(&self, hub: &mut Hub) {
        let joined: Vec<_> = self.by_name.borrow().values().filter_map(Weak::upgrade).collect();
        joined.iter().for_each(|joined| joined.carry_out(hub, u64::MAX));
    }

    fn on_entry(&self, hub: &mut Hub, entry: StreamEntry) {
        if self.handle(hub, &entry).is_none() && hub.may_warn() {
            log::warn!(target: LOG, "entry {} of {:?} is not understood", entry.id, self.settings.stream);
        }
    }
}

/// The field of an entry with its number among those of its server. Node's servers do not look at it.
const NUMBER: &str = "n";

/// A namespace joined by a stream. See [`RedisStreamsAdapter`].
#[derive(Debug)]
pub struct RedisStreamsNamespace(Rc<Joined>);

impl Adapter for RedisStreamsNamespace {
    fn publish(&self, hub: &mut Hub, operation: &Operation) {
        let joined = &self.0;
        let Some(message) = joined.member.operation(operation) else {
            if joined.delivers_own(operation) {
                joined.member.namespace.apply(hub, operation.clone());
            }
            return;
        };
        match operation {
            Operation::ServerEmit { .. } => Bus::publish(&**joined, hub, &message),
            _ => joined.append(hub, &message, joined.delivers_own(operation).then(|| operation.clone())),
        }
    }

    fn ask(&self, hub: &mut Hub, question: &Question, answers: &Answers) {
        self.0.member.ask(hub, &self.0, question, answers);
    }

    fn delivers_own(&self, operation: &Operation) -> bool {
        self.0.delivers_own(operation)
    }

    fn recovers(&self) -> bool {
        true
    }

    fn keep_socket(&self, hub: &mut Hub, socket: &SavedSocket, time: Duration) {
        let shared = &self.0.shared;
        let key = format!("{}{}", shared.settings.socket_prefix, socket.recovery_id);
        shared.pub_sub.store(hub, &key, &write_socket(socket, self.0.member.namespace.name()), time);
    }

    fn restore_socket(&self, hub: &mut Hub, recovery_id: &str, offset: &str, call: OnRestored) {
        let Ok(offset) = offset.parse::<EntryId>() else { return call(hub, None) };
        let (shared, recovery_id) = (&self.0.shared, recovery_id.to_owned());
        let (log, namespace) = (Rc::clone(&shared.log), self.0.member.namespace.name().to_owned());
        let max_bytes = self.0.member.namespace.0.recovery().map_or(0, |recovery| recovery.max_bytes);
        let key = format!("{}{recovery_id}", shared.settings.socket_prefix);
        shared.pub_sub.take(hub, &key, move |hub, value| {
            let kept = value.and_then(|value| read_socket(&value));
            let is_wanted = |kept: &KeptSocket| {
                kept.socket.recovery_id == recovery_id && kept.namespace.as_ref().is_none_or(|kept| *kept == namespace)
            };
            match kept.filter(is_wanted) {
                Some(kept) => Restoring::new(log, namespace, kept, offset, max_bytes, call).begin(hub),
                None => call(hub, None),
            }
        });
    }

    fn missed_since(&self, position: &str, rooms: &[Rc<str>]) -> Vec<Payload> {
        let position = position.parse().unwrap_or_default();
        self.0.shared.log.since(position, self.0.member.namespace.name(), rooms).unwrap_or_default()
    }

    fn close(&self, _: &mut Hub) {
        self.0.close();
    }
}

struct Joined {
    shared: Rc<Shared>,
    member: Rc<Member>,
    /// The channel of questions.
    channel: String,
    next_number: Cell<u64>,
    /// Operations of this server that are carried out here when they come back.
    pending: RefCell<BTreeMap<u64, Operation>>,
}

impl Joined {
    fn open(shared: &Rc<Shared>, namespace: &Namespace) -> Rc<Self> {
        let joined = Rc::new(Joined {
            shared: Rc::clone(shared),
            member: Rc::new(Member::new(namespace)),
            channel: format!("{}#{}#", shared.settings.channel_prefix, namespace.name()),
            next_number: Cell::default(),
            pending: RefCell::default(),
        });
        shared.by_name.borrow_mut().insert(namespace.name().to_owned(), Rc::downgrade(&joined));
        let channels = joined.channels();
        for channel in &channels {
            shared.by_channel.borrow_mut().insert(channel.clone(), Rc::downgrade(&joined));
        }
        shared.pub_sub.subscribe(ChannelKind::Plain, &channels.each_ref().map(String::as_str));
        joined
    }

    /// The channel of questions, and that of answers to this server.
    fn channels(&self) -> [String; 2] {
        [self.channel.clone(), format!("{}{}#", self.channel, self.member.uid)]
    }

    fn close(&self) {
        let channels = self.channels();
        self.shared.pub_sub.unsubscribe(ChannelKind::Plain, &channels.each_ref().map(String::as_str));
        channels.iter().for_each(|channel| _ = self.shared.by_channel.borrow_mut().remove(channel));
        self.shared.by_name.borrow_mut().remove(self.member.namespace.name());
    }

    /// All that concerns sockets is carried out in the order of the stream, so that an event reaches those that were in
    /// its rooms before.
    fn delivers_own(&self, operation: &Operation) -> bool {
        let concerns_sockets = !matches!(operation, Operation::ServerEmit { .. });
        concerns_sockets && self.member.namespace.0.recovers() && self.shared.log.is_reading()
    }

    /// Appends a message to the stream. `operation`: to be carried out here when it comes back.
    fn append(self: &Rc<Self>, hub: &mut Hub, message: &Message, operation: Option<Operation>) {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        if let Some(operation) = operation {
            self.pending.borrow_mut().insert(number, operation);
        }
        let (kind, number_text, data) = (message.kind.to_string(), number.to_string(), message.data_text());
        let fields = [
            ("uid", message.uid.as_str()),
            ("nsp", message.namespace.as_str()),
            ("type", kind.as_str()),
            ("data", data.as_str()),
            (NUMBER, number_text.as_str()),
        ];
        let (joined, settings) = (Rc::clone(self), &self.shared.settings);
        self.shared.pub_sub.append(hub, &settings.stream, settings.max_entries, &fields, move |hub, id| {
            // Redis may have a stream whose ids are behind those that were read.
            if id.is_none_or(|id| !joined.shared.log.will_read(id)) {
                joined.carry_out(hub, number);
            }
        });
    }

    /// Carries an operation out that does not come back, and those before it. If they do all the same, they are known
    /// no more.
    fn carry_out(&self, hub: &mut Hub, number: u64) {
        self.due(number).into_values().for_each(|operation| self.member.namespace.apply(hub, operation));
    }

    /// Takes the pending operations up to a number.
    fn due(&self, number: u64) -> BTreeMap<u64, Operation> {
        let mut pending = self.pending.borrow_mut();
        let later = pending.split_off(&number.saturating_add(1));
        mem::replace(&mut *pending, later)
    }

    /// An operation of this server has come back.
    fn on_own(&self, hub: &mut Hub, number: u64, offset: &str) {
        for (own, operation) in self.due(number) {
            match own == number {
                true => self.member.namespace.apply_at(hub, operation, offset),
                // Redis has lost its entry.
                false => self.member.namespace.apply(hub, operation),
            }
        }
    }
}

impl Bus for Joined {
    fn publish(&self, hub: &mut Hub, message: &Message) {
        self.shared.pub_sub.publish(hub, &self.channel, &message.encode_packed());
    }

    fn respond(&self, hub: &mut Hub, uid: &str, message: &Message) {
        self.shared.pub_sub.publish(hub, &format!("{}{uid}#", self.channel), &message.encode_packed());
    }

    fn count(&self, hub: &mut Hub, call: OnCount) {
        self.shared.pub_sub.count(hub, &self.channel, call);
    }
}

impl fmt::Debug for Joined {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = self.member.namespace.name();
        formatter.debug_struct("Joined").field("namespace", &namespace).finish_non_exhaustive()
    }
}
