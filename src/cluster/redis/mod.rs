//! Redis as a backplane.

mod channels;
mod connection;
mod link;
pub(crate) mod log;
mod login;
mod payload;
#[cfg(feature = "socket-io-redis")]
pub(crate) mod pub_sub;
mod resp;
mod sentinel;
mod settings;
mod shards;
mod slot_map;
mod url;

use std::{
    cell::RefCell,
    fmt,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

#[cfg(feature = "socket-io-redis")]
use self::pub_sub::{PubSub, ShardedPubSub};
use self::{
    channels::Bounds,
    link::{Link, SharedLink},
    settings::Settings,
    shards::{Shards, SharedShards},
    url::RedisUrl,
};
pub use self::{link::RedisStats, url::RedisUrlError};
#[cfg(feature = "tls")]
use crate::net::tls::{self, TlsConnector};
#[cfg(any(test, fuzzing))]
use crate::reactor::Target;
use crate::{
    protocol::Message,
    reactor::{Backplane, HistoryLimits, Hub, PublishedMessage},
};

/// Redis, or Valkey, as a [`Backplane`]: publications of this process reach the subscribers of all processes that use
/// the same Redis, by its pub/sub.
///
/// ```no_run
/// use ws_reactor::{Callbacks, Reactor, Redis, Server};
///
/// let mut reactor = Reactor::new()?;
/// reactor.hub().set_backplane(Redis::new("redis://:password@localhost/0")?.prefix("chat:"));
/// let server = Server::new(|_| {
///     Callbacks::new()
///         .on_open(|ws, _| { ws.subscribe("lobby"); })
///         .on_message(|ws, message| { ws.publish("lobby", message); })
/// });
/// reactor.listen("127.0.0.1:8080", server)?;
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # URLs
///
/// `redis://[user[:password]@]host[:port][/database]`, `rediss://…` with TLS, and
/// `unix://[user:password@]/path[?db=N]`, also as `redis+unix://…`. User and password are percent-decoded. All
/// addresses of a name are tried.
///
/// `redis+sentinel://[user[:password]@]host[:port],host…/master[/database]` asks Sentinels for the master, and follows
/// them when another Redis becomes it. User and password are those of Redis. A third connection hears of switches.
///
/// # Messages
///
/// A topic is the channel of the same name behind the [`prefix`](Self::prefix). Text is the payload as it is, and
/// binary follows the octet 0xFF, which is in no text. So other programs can publish and subscribe. Names of events and
/// keys of [`publish_latest`](Hub::publish_latest) are not passed on.
///
/// Subscribers in this process get a message at once, and do not get it again from Redis. Publications of one process
/// arrive in their order. Those of several processes may arrive in a different order in each of them, because each
/// process delivers its own first, unless all have [`one_order`](Self::one_order).
///
/// # Connections
///
/// One subscribes, and one publishes. With a [`history_stream`](Self::history_stream) a third one reads that. A channel
/// is subscribed at the first subscriber of its topic in this process, and unsubscribed at the last. In a
/// [group](crate::ReactorGroup) the first reactor has the connections.
///
/// # Outages
///
/// While Redis is away, this process goes on by itself. Its messages are lost for others and counted
/// ([`RedisStats::lost`]), unless they are [kept](Self::keep_while_away). Each is delivered to others at most once. It
/// connects again after 0.1 s to 4 s, and subscribes the channels that have subscribers then.
/// [`on_gap`](Self::on_gap) says what may be missing. Loss and return are logged as `ws_reactor::redis`, without the
/// password.
///
/// A Redis that does not answer a PING within [`ping_interval`](Self::ping_interval) counts as away.
pub struct Redis {
    link: SharedLink,
    /// The nodes of a cluster, if pub/sub is sharded. The link is that to the node of the URL.
    shards: Rc<RefCell<Option<SharedShards>>>,
}

impl Redis {
    /// Uses the Redis of a [URL](Self#urls). It is connected once it is [attached](Hub::set_backplane).
    ///
    /// # Errors
    ///
    /// [`RedisUrlError`] if the URL is not valid.
    pub fn new(url: &str) -> Result<Self, RedisUrlError> {
        let url = RedisUrl::parse(url)?;
        Ok(Redis {
            link: Link::new(Settings {
                #[cfg(feature = "tls")]
                tls: url.tls_name.as_ref().and_then(|_| tls::default_client()),
                url,
                prefix: String::new(),
                name: "ws-reactor".to_owned(),
                is_resp3: false,
                connect_timeout: Duration::from_secs(5),
                ping_interval: Duration::from_secs(5),
                bounds: Bounds { pending: 8 * 1024 * 1024, kept: 0 },
                history: None,
                has_one_order: false,
                is_sharded: false,
                on_gap: None,
                patterns: Vec::new(),
            }),
            shards: Rc::default(),
        })
    }

    fn set(self, set: impl FnOnce(&mut Settings)) -> Self {
        self.link.borrow_mut().change(set);
        self
    }

    /// Sets what the channels begin with, ahead of the topic. Default: nothing.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        self.set(|settings| settings.prefix = prefix.into())
    }

    /// Sets the name of the connections in `CLIENT LIST`. Default `ws-reactor`. A Redis that refuses it is used all the
    /// same.
    #[must_use]
    pub fn client_name(self, name: impl Into<String>) -> Self {
        self.set(|settings| settings.name = name.into())
    }

    /// Sets whether version 3 of the protocol is spoken, from Redis 6 on (`HELLO 3`). Default `false`: version 2.
    #[must_use]
    pub fn resp3(self, is_resp3: bool) -> Self {
        self.set(|settings| settings.is_resp3 = is_resp3)
    }

    /// Sets what verifies the certificate of a `rediss://` URL. Default: the roots of a
    /// [`Client`](crate::Client) that was given none.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: impl Into<TlsConnector>) -> Self {
        self.set(|settings| settings.tls = Some(tls.into()))
    }

    /// Sets the time in which Redis has to accept a connection, to finish TLS, and to answer the log-in, each. Default
    /// 5 s.
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.connect_timeout = timeout)
    }

    /// Sets the interval of PINGs on each connection. Default 5 s. A PING without an answer for an interval ends all of
    /// them.
    #[must_use]
    pub fn ping_interval(self, interval: Duration) -> Self {
        self.set(|settings| settings.ping_interval = interval.max(Duration::from_millis(1)))
    }

    /// Sets how many bytes of messages may wait because Redis does not take them. Default 8 MiB. Others do not get
    /// what is published beyond that. A single message may exceed it.
    #[must_use]
    pub fn pending_bytes(self, bytes: usize) -> Self {
        self.set(|settings| settings.bounds.pending = bytes)
    }

    /// Sets how many bytes of messages are kept while Redis is away, and published when it is back. Default 0: none.
    /// Many applications prefer a gap to messages that are late. Processes that come back later than this one miss
    /// them.
    #[must_use]
    pub fn keep_while_away(self, bytes: usize) -> Self {
        self.set(|settings| settings.bounds.kept = bytes)
    }

    /// Sets whether the channels are those of sharded pub/sub (`SSUBSCRIBE` and `SPUBLISH`, Redis 7 or later). Default
    /// `false`.
    ///
    /// In a Redis Cluster a channel then belongs to one node, which alone passes its messages on. Each node has a pair
    /// of connections. What a node refuses because another one has the slot is lost for others, and the slots are asked
    /// for again; so they are when a node is away. Without this setting any node of a cluster serves all channels.
    ///
    /// All processes need the same setting. It excludes [`history_stream`](Self::history_stream), which has no effect
    /// then, and Sentinels. Patterns are those of plain pub/sub.
    #[must_use]
    pub fn sharded(self, is_sharded: bool) -> Self {
        self.set(|settings| settings.is_sharded = is_sharded)
    }

    /// Sets whether subscribers in this process get its messages when they come back from Redis, and not at once: all
    /// processes with this setting then have the messages of a topic in one order. Default `false`.
    ///
    /// It costs a round trip to Redis. A message that Redis does not take is delivered after the earlier ones of its
    /// topic, and any while it is away at once. [`Published`](crate::Published) counts no subscriber.
    #[must_use]
    pub fn one_order(self, has_one_order: bool) -> Self {
        self.set(|settings| settings.has_one_order = has_one_order)
    }

    /// Keeps the [histories](Hub::keep_history) of topics in a stream of Redis (5 or later) with this key, so that all
    /// processes have them: `Last-Event-ID` works after a connection to another process, and after a restart. Default:
    /// each process has its own histories.
    ///
    /// The stream has about `max_events` events, those of all topics together, and each process with the same key
    /// keeps that many in memory, 32 MiB at most. What is published on a topic with a history is not sent to its
    /// channel: processes without this setting do not get it. Subscribers get it with its id, in one order, when it
    /// comes back from Redis ([as for `one_order`](Self::one_order)). After an outage they get what others have
    /// published meanwhile.
    ///
    /// An entry has the fields `topic`, `data` (or `binary`), `event` if it has a name, and `origin`. Other programs
    /// may add entries without an origin:
    ///
    /// ```sh
    /// redis-cli xadd chat:history MAXLEN '~' 10000 '*' topic lobby data 'the server restarts at noon'
    /// ```
    ///
    /// The id of an event is that of its entry: `1700000000123-4` is 1,700,000,000,123,004. More than 1,000 entries in
    /// a millisecond count on from there, and may have other ids in another process. An event of the time without Redis
    /// has no id, and is in no history.
    #[must_use]
    pub fn history_stream(self, key: impl Into<String>, max_events: usize) -> Self {
        self.set(|settings| settings.history = Some((key.into(), max_events)))
    }

    /// Has `call` called with the channel and the message of whatever is published on channels that match a pattern of
    /// Redis, such as `news.*`. The pattern and the channel are those of Redis, with the prefix. What this process
    /// publishes on them is among it.
    ///
    /// ```no_run
    /// use ws_reactor::{Reactor, Redis};
    ///
    /// let redis = Redis::new("redis://localhost")?.on_pattern("prices.*", |hub, channel, message| {
    ///     hub.publish_local("prices", format!("{channel} {message}"));
    /// });
    /// Reactor::new()?.hub().set_backplane(redis);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn on_pattern(self, pattern: impl Into<String>, call: impl Fn(&mut Hub, &str, Message<'_>) + 'static) -> Self {
        self.set(|settings| settings.patterns.push((pattern.into(), Rc::new(call))))
    }

    /// Has `call` called after an outage: with the topics that had subscribers when it began, whose messages of other
    /// processes may be missing since that time.
    ///
    /// Their channels are being subscribed again then. [`Hub::when_live`] says when that is done.
    ///
    /// ```no_run
    /// use ws_reactor::{Reactor, Redis};
    ///
    /// let redis = Redis::new("redis://localhost")?.on_gap(|hub, topics, _| {
    ///     for topic in topics {
    ///         hub.publish_local(topic, "reload");
    ///     }
    /// });
    /// Reactor::new()?.hub().set_backplane(redis);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn on_gap(self, call: impl Fn(&mut Hub, &[Rc<str>], Instant) + 'static) -> Self {
        self.set(|settings| settings.on_gap = Some(Rc::new(call)))
    }

    /// Sharded pub/sub as it is, with these settings.
    #[cfg(feature = "socket-io-redis")]
    pub(crate) fn into_sharded_pub_sub(self) -> ShardedPubSub {
        let settings = self.link.borrow().settings.clone();
        ShardedPubSub::new(settings)
    }

    /// Pub/sub as it is, with these settings.
    #[cfg(feature = "socket-io-redis")]
    pub(crate) fn into_pub_sub(self) -> PubSub {
        let settings = self.link.borrow().settings.clone();
        PubSub::new(settings)
    }

    /// A handle that reads the counters after the Redis was attached.
    pub fn handle(&self) -> RedisHandle {
        RedisHandle { link: Rc::downgrade(&self.link), shards: Rc::downgrade(&self.shards) }
    }
}

impl Backplane for Redis {
    fn start(&mut self, hub: &mut Hub) {
        let is_sharded = self.link.borrow().settings.is_sharded;
        if is_sharded {
            let shards = Shards::new(&self.link);
            shards.borrow_mut().start(hub);
            *self.shards.borrow_mut() = Some(shards);
        }
        connection::connect(&self.link, hub);
    }

    fn subscribe(&mut self, hub: &mut Hub, topic: &str) {
        match &*self.shards.borrow() {
            Some(shards) => shards.borrow_mut().subscribe(hub, topic),
            None => self.link.borrow_mut().subscribe(hub, topic),
        }
    }

    fn unsubscribe(&mut self, hub: &mut Hub, topic: &str) {
        match &*self.shards.borrow() {
            Some(shards) => shards.borrow_mut().unsubscribe(hub, topic),
            None => self.link.borrow_mut().unsubscribe(hub, topic),
        }
    }

    fn delivers_own(&self) -> bool {
        self.link.borrow().settings.has_one_order
    }

    fn keeps_histories(&self) -> bool {
        let link = self.link.borrow();
        link.settings.history.is_some() && !link.settings.is_sharded
    }

    fn release(&mut self, hub: &mut Hub) {
        match &*self.shards.borrow() {
            Some(shards) => shards.borrow_mut().release(hub),
            None => self.link.borrow_mut().deliver_all_held(hub),
        }
    }

    fn end(&mut self, hub: &mut Hub) {
        match &*self.shards.borrow() {
            Some(shards) => shards.borrow_mut().leave(hub),
            None => drop(self.link.borrow_mut().leave(hub)),
        }
    }

    fn keep_history(&mut self, hub: &mut Hub, topic: &str, _: HistoryLimits) {
        self.link.borrow_mut().keep_history(hub, topic);
    }

    fn forget_history(&mut self, _: &mut Hub, topic: &str) {
        self.link.borrow_mut().forget_history(topic);
    }

    fn publish(&mut self, hub: &mut Hub, published: PublishedMessage<'_>) {
        match &*self.shards.borrow() {
            Some(shards) => shards.borrow_mut().publish(hub, &published),
            None => self.link.borrow_mut().publish(hub, &published),
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        match &*self.shards.borrow() {
            Some(shards) => shards.borrow_mut().end(),
            None => self.link.borrow_mut().end(),
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Redis").field("url", &self.link.borrow().settings.url).finish_non_exhaustive()
    }
}

/// Fuzz target: replies of Redis, and its URLs.
#[cfg(any(test, fuzzing))]
pub(crate) fn check(input: &[u8]) {
    resp::check(input);
    if let Ok(url) = str::from_utf8(input)
        && let Ok(url) = RedisUrl::parse(url)
    {
        let addresses = url.sentinels.map_or(vec![url.address], |sentinels| sentinels.addresses);
        let is_address = |address: &String| address.parse::<Target>().is_ok();
        assert!(addresses.iter().all(is_address), "{addresses:?}");
    }
}

/// Reads the counters of a [`Redis`] that is attached.
#[derive(Clone)]
pub struct RedisHandle {
    link: Weak<RefCell<Link>>,
    shards: Weak<RefCell<Option<SharedShards>>>,
}

impl RedisHandle {
    /// The counters. All zero once the reactor is dropped.
    pub fn stats(&self) -> RedisStats {
        let shards = self.shards.upgrade();
        if let Some(shards) = shards.as_ref().and_then(|shards| shards.borrow().clone()) {
            return shards.borrow().stats();
        }
        self.link.upgrade().map(|link| link.borrow().counters).unwrap_or_default()
    }
}

impl fmt::Debug for RedisHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("RedisHandle").field(&self.stats()).finish()
    }
}
