//! Servers joined by sharded pub/sub: the messages of Node's `createShardedAdapter` of `@socket.io/redis-adapter` 8.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fmt,
    rc::{Rc, Weak},
};

use super::{
    super::{
        LOG,
        adapter::{Adapter, Answers, Operation, Question},
        namespace::Namespace,
        rooms::RoomEvent,
        target::Target,
    },
    member::{Bus, Member, OnCount},
    message::Message,
};
use crate::{
    cluster::{Receiver, Redis, ShardedPubSub},
    reactor::Hub,
};

/// Joins servers of Socket.IO by the sharded pub/sub of Redis 7 or later, over all nodes of a Redis Cluster: those of
/// this crate, and those of Node with `createShardedAdapter` of `@socket.io/redis-adapter` 8.
///
/// ```no_run
/// use ws_reactor::{Reactor, Redis, socket_io::{ShardedRedisAdapter, SocketIo}};
///
/// let mut reactor = Reactor::new()?;
/// let redis = ShardedRedisAdapter::new(Redis::new("redis://localhost:7000")?);
/// let io = SocketIo::new().adapter(redis.start(reactor.hub()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A broadcast to one room reaches only the servers with members of it, by a channel of its own
/// ([`SubscriptionMode`]). Slots that move, and replicas that take over, are followed; each node has two connections.
/// For outages see [`RedisAdapter`](super::RedisAdapter).
///
/// Of the settings of [`Redis`], the prefix, histories and Sentinels have no effect.
pub struct ShardedRedisAdapter {
    redis: Redis,
    prefix: String,
    mode: SubscriptionMode,
}

/// The rooms that have channels of their own: Node's `subscriptionMode`. All servers need the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SubscriptionMode {
    /// None. All servers get each broadcast.
    Static,
    /// Those that are no socket's own.
    #[default]
    Dynamic,
    /// All.
    DynamicPrivate,
}

impl ShardedRedisAdapter {
    /// Uses a Redis, or a node of a cluster, with these settings.
    pub fn new(redis: Redis) -> Self {
        ShardedRedisAdapter { redis, prefix: "socket.io".to_owned(), mode: SubscriptionMode::default() }
    }

    /// Sets what the channels begin with: Node's `channelPrefix`. Default `socket.io`.
    #[must_use]
    pub fn channel_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the rooms that have channels of their own. Default [`SubscriptionMode::Dynamic`].
    #[must_use]
    pub fn subscription_mode(mut self, mode: SubscriptionMode) -> Self {
        self.mode = mode;
        self
    }

    /// Connects. What is returned makes the adapters, for [`SocketIo::adapter`](crate::socket_io::SocketIo::adapter).
    pub fn start(self, hub: &mut Hub) -> impl Fn(&Namespace) -> ShardedRedisNamespace + use<> {
        let ShardedRedisAdapter { redis, prefix, mode } = self;
        let pub_sub = redis.into_sharded_pub_sub();
        let shared = Rc::new(Shared { pub_sub: pub_sub.clone(), prefix, mode, namespaces: RefCell::default() });
        pub_sub.set_receiver(&shared);
        pub_sub.start(hub);
        move |namespace| ShardedRedisNamespace(Joined::open(&shared, namespace))
    }
}

impl fmt::Debug for ShardedRedisAdapter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("ShardedRedisAdapter");
        debug.field("redis", &self.redis).field("prefix", &self.prefix).field("mode", &self.mode).finish()
    }
}

/// State shared by the namespaces.
struct Shared {
    pub_sub: ShardedPubSub,
    prefix: String,
    mode: SubscriptionMode,
    /// By each channel that they subscribe. The channel of a room may be that of another namespace, too.
    namespaces: RefCell<HashMap<String, Vec<Weak<Joined>>>>,
}

impl Receiver for Shared {
    fn on_message(&self, hub: &mut Hub, _: Option<&[u8]>, channel: &[u8], payload: &[u8]) {
        let Ok(channel) = str::from_utf8(channel) else { return };
        let understood = Message::decode(payload).and_then(|message| {
            let is_for = |joined: &Rc<Joined>| *joined.member.namespace.name() == *message.namespace;
            let joined = {
                let namespaces = self.namespaces.borrow();
                namespaces.get(channel).into_iter().flatten().filter_map(Weak::upgrade).find(is_for)
            };
            match joined {
                Some(joined) => joined.member.handle(hub, &joined, &message, None),
                None => Some(()),
            }
        });
        if understood.is_none() && hub.may_warn() {
            log::warn!(target: LOG, "a message of {} octets on {channel:?} is not understood", payload.len());
        }
    }
}

/// A namespace joined by Redis. See [`ShardedRedisAdapter`].
#[derive(Debug)]
pub struct ShardedRedisNamespace(Rc<Joined>);

impl Adapter for ShardedRedisNamespace {
    fn publish(&self, hub: &mut Hub, operation: &Operation) {
        let Some(message) = self.0.member.operation(operation) else { return };
        let channel = match operation {
            Operation::Emit { target: Target { rooms, .. }, .. } => match &**rooms {
                [room] if self.0.has_channel_of_its_own(room) => self.0.channel_of(room),
                _ => self.0.channel.clone(),
            },
            _ => self.0.channel.clone(),
        };
        self.0.shared.pub_sub.publish(hub, &channel, &message.encode());
    }

    fn ask(&self, hub: &mut Hub, question: &Question, answers: &Answers) {
        self.0.member.ask(hub, &self.0, question, answers);
    }

    fn on_room_event(&self, _: &mut Hub, event: &RoomEvent) {
        match event {
            RoomEvent::Created { room } => self.0.on_room_created(room),
            RoomEvent::Deleted { room } => self.0.on_room_deleted(room),
            RoomEvent::Joined { .. } | RoomEvent::Left { .. } => {}
        }
    }

    fn close(&self, _: &mut Hub) {
        self.0.close();
    }
}

struct Joined {
    shared: Rc<Shared>,
    member: Rc<Member>,
    channel: String,
    /// Rooms with channels that are subscribed.
    rooms: RefCell<HashSet<String>>,
}

impl Joined {
    fn open(shared: &Rc<Shared>, namespace: &Namespace) -> Rc<Self> {
        let joined = Rc::new(Joined {
            shared: Rc::clone(shared),
            member: Rc::new(Member::new(namespace)),
            channel: format!("{}#{}#", shared.prefix, namespace.name()),
            rooms: RefCell::default(),
        });
        for channel in [joined.channel.clone(), joined.channel_of(&joined.member.uid)] {
            joined.subscribe(channel);
        }
        joined
    }

    fn subscribe(self: &Rc<Self>, channel: String) {
        let mut namespaces = self.shared.namespaces.borrow_mut();
        let of_channel = namespaces.entry(channel.clone()).or_default();
        of_channel.push(Rc::downgrade(self));
        if of_channel.len() == 1 {
            self.shared.pub_sub.subscribe(&channel);
        }
    }

    fn unsubscribe(&self, channel: &str) {
        let mut namespaces = self.shared.namespaces.borrow_mut();
        let Some(of_channel) = namespaces.get_mut(channel) else { return };
        of_channel.retain(|joined| !std::ptr::eq(joined.as_ptr(), self));
        if of_channel.is_empty() {
            namespaces.remove(channel);
            self.shared.pub_sub.unsubscribe(channel);
        }
    }

    /// The channel of a room, or of the answers to the server with a uid.
    fn channel_of(&self, name: &str) -> String {
        format!("{}{name}#", self.channel)
    }

    /// Node's servers take each name of 20 characters for that of a socket.
    fn has_channel_of_its_own(&self, room: &str) -> bool {
        match self.shared.mode {
            SubscriptionMode::Static => false,
            SubscriptionMode::Dynamic => room.encode_utf16().count() != 20,
            SubscriptionMode::DynamicPrivate => true,
        }
    }

    fn on_room_created(self: &Rc<Self>, room: &str) {
        if self.has_channel_of_its_own(room) && self.rooms.borrow_mut().insert(room.to_owned()) {
            self.subscribe(self.channel_of(room));
        }
    }

    fn on_room_deleted(&self, room: &str) {
        let was_subscribed = self.rooms.borrow_mut().remove(room);
        if was_subscribed {
            self.unsubscribe(&self.channel_of(room));
        }
    }

    fn close(&self) {
        let rooms = self.rooms.take();
        let of_rooms = rooms.iter().map(|room| self.channel_of(room));
        let all = of_rooms.chain([self.channel.clone(), self.channel_of(&self.member.uid)]);
        all.for_each(|channel| self.unsubscribe(&channel));
    }
}

impl Bus for Joined {
    fn publish(&self, hub: &mut Hub, message: &Message) {
        self.shared.pub_sub.publish(hub, &self.channel, &message.encode());
    }

    fn respond(&self, hub: &mut Hub, uid: &str, message: &Message) {
        self.shared.pub_sub.publish(hub, &self.channel_of(uid), &message.encode());
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
