//! The connections to Redis: made together, lost together, and made again.

mod attempts;
mod held;
mod histories;
mod slots;

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use self::held::{Due, Held};
use super::{
    channels::{Channels, Commands, News, Outcome},
    log::Log,
    settings::Settings,
    slot_map::SlotMap,
};
use crate::reactor::{ConnectionId, HeldMessage, Hub, PublishedMessage};

/// The link, which the backplane, both connections and timers share.
pub(super) type SharedLink = Rc<RefCell<Link>>;

/// The task of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Subscriber,
    Publisher,
    /// Reads the stream of histories, if there is one.
    Reader,
}

/// Shortest time between two log lines of a kind.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// A kind of log line that has a lowest interval: clients may cause it, for example by their topics.
#[derive(Debug, Clone, Copy)]
pub(super) enum Complaint {
    Refused,
    NotPublished,
    TakesTooLittle,
    Unreadable,
}

/// The pair of connections, and what it is for.
pub(super) struct Link {
    pub(super) settings: Settings,
    pub(super) channels: Channels,
    log: Option<Log>,
    commands: Commands,
    /// Number of the last publication.
    last_number: u64,
    /// Publications that subscribers in this process have not got, by number.
    held: Held<HeldMessage>,
    /// Where Redis is. With Sentinels, where the last one has said that it is.
    address: String,
    /// Called with what is known of a cluster, if it is a node of one.
    pub(super) on_news: Option<OnNews>,
    /// The id of the node in its cluster.
    node_id: Vec<u8>,
    /// The connection to a Sentinel.
    pub(super) sentinel: Option<ConnectionId>,
    /// `None` between two attempts, and while Sentinels are asked.
    pair: Option<Connections>,
    /// An attempt is in progress, or has led to connections.
    is_active: bool,
    /// Number of the attempt. Connections of an earlier one are not listened to.
    attempt: u64,
    /// Attempts in a row that did not lead to a stable pair.
    failures: u32,
    outage: Option<Outage>,
    /// Connections that have not answered, which Redis may still serve.
    unanswered: Vec<i64>,
    /// No further attempt is made.
    is_ending: bool,
    /// When a kind of complaint was logged last.
    complained_at: [Option<Instant>; 4],
    pub(super) counters: Counters,
}

/// The connections of one attempt, in the order of their roles.
struct Connections {
    ids: Vec<ConnectionId>,
    /// The ids that Redis has given them.
    client_ids: [Option<i64>; 3],
    ready: [bool; 3],
    /// Since all are ready.
    since: Option<Instant>,
}

/// A time without a pair.
struct Outage {
    since: Instant,
    attempts: u32,
    /// Topics that had subscribers when it began. Empty before the first pair.
    topics: Vec<Rc<str>>,
    reason: String,
}

/// Counters of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// Both connections are ready.
    pub is_connected: bool,
    /// Messages passed to Redis, or kept for it.
    pub published: u64,
    /// Messages of other processes delivered.
    pub received: u64,
    /// Messages that other processes did not get, or may not have got: Redis was away, refused them, or took too
    /// little.
    pub lost: u64,
    /// Payloads of other programs that are neither text nor marked as binary.
    pub unreadable: u64,
    /// Times that the connection was lost.
    pub outages: u64,
}

type Counters = RedisStats;

impl RedisStats {
    /// Adds the numbers of another link.
    pub(super) fn add(&mut self, other: &RedisStats) {
        self.published += other.published;
        self.received += other.received;
        self.lost += other.lost;
        self.unreadable += other.unreadable;
        self.outages += other.outages;
    }
}

/// News of a node about its cluster.
pub(super) enum NodeNews {
    /// It is not known any more which node has which slots.
    IsOutdated,
    Slots(SlotMap),
    /// It has no slots to tell of.
    NoSlots,
}

/// Called with what a node tells.
pub(super) type OnNews = Rc<dyn Fn(&mut Hub, NodeNews)>;

/// Why a pair has ended.
#[derive(Debug)]
pub(super) struct Loss {
    pub(super) reason: String,
    /// Redis did not answer in time, and may still serve the connections.
    pub(super) is_timeout: bool,
}

impl Link {
    pub(super) fn new(settings: Settings) -> SharedLink {
        let channels = settings.channels();
        Rc::new(RefCell::new(Link {
            channels,
            log: settings.log(),
            commands: Commands::default(),
            last_number: 0,
            held: Held::default(),
            address: settings.url.address.clone(),
            settings,
            on_news: None,
            node_id: Vec::new(),
            sentinel: None,
            pair: None,
            is_active: false,
            attempt: 0,
            failures: 0,
            outage: None,
            unanswered: Vec::new(),
            is_ending: false,
            complained_at: [None; 4],
            counters: Counters::default(),
        }))
    }

    /// Changes the settings, before the first attempt.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.channels = self.settings.channels();
        self.log = self.settings.log();
    }

    /// Returns `true` if a connection belongs to the current attempt.
    pub(super) fn is_current(&self, attempt: u64) -> bool {
        self.attempt == attempt && self.is_active
    }

    /// Makes no further attempt.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
    }

    pub(super) fn has_pair(&self) -> bool {
        self.pair.is_some()
    }

    /// Where Redis is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Notes where the master is that the Sentinels watch.
    pub(super) fn set_address(&mut self, address: String) {
        self.address = address;
    }

    /// Notes the id that Redis has given a connection.
    pub(super) fn set_client_id(&mut self, role: Role, id: i64) {
        if let Some(pair) = &mut self.pair {
            pair.client_ids[role as usize] = Some(id);
        }
    }

    pub(super) fn subscribe(&mut self, hub: &mut Hub, topic: &str) {
        self.channels.subscribe(topic, &mut self.commands);
        self.flush(hub);
    }

    pub(super) fn unsubscribe(&mut self, hub: &mut Hub, topic: &str) {
        self.channels.unsubscribe(topic, &mut self.commands);
        self.flush(hub);
    }

    pub(super) fn publish(&mut self, hub: &mut Hub, published: &PublishedMessage<'_>) {
        self.last_number += 1;
        let (topic, number) = (published.topic, self.last_number);
        let log = self.log.as_ref().filter(|log| log.is_kept(topic));
        if self.settings.has_one_order || log.is_some() {
            let bytes = published.message.as_message().len();
            self.held.insert(number, topic, published.hold(), bytes);
        }
        let publisher = self.pair.as_ref().map(|pair| pair.ids[Role::Publisher as usize]);
        let is_full = |waiting: usize| waiting > self.settings.bounds.pending;
        let is_full = publisher.is_some_and(|id| is_full(hub.buffered(id)) || is_full(self.held.bytes()));
        let outcome = match log {
            _ if is_full => {
                self.commands.settled.push(number);
                Outcome::Lost
            }
            Some(log) if log.is_readable() => {
                let command = log.append(topic, published.event, published.message.as_message(), number);
                self.channels.append(command, number, &mut self.commands)
            }
            _ => {
                let outcome = self.channels.publish(topic, published.message.into(), number, &mut self.commands);
                if !self.settings.has_one_order {
                    self.commands.settled.push(number);
                }
                outcome
            }
        };
        match outcome {
            Outcome::Queued => self.counters.published += 1,
            Outcome::Lost => {
                self.counters.lost += 1;
                if is_full {
                    self.complain(
                        hub,
                        Complaint::TakesTooLittle,
                        "takes too little: messages for other processes are lost",
                    );
                }
            }
        }
        self.flush(hub);
    }

    /// Sends a PING.
    pub(super) fn ping(&mut self, hub: &mut Hub, role: Role) {
        match role {
            Role::Subscriber => self.channels.ping_subscriber(&mut self.commands),
            Role::Publisher => self.channels.execute(&[b"PING"], &mut self.commands),
            Role::Reader => {
                if let Some(log) = &mut self.log {
                    log.ping(&mut self.commands.reader);
                }
            }
        }
        self.flush(hub);
    }

    /// Handles a message. Returns its topic if it is to be delivered.
    pub(super) fn receive(&mut self, hub: &mut Hub, channel: &[u8], payload: &[u8]) -> Option<Rc<str>> {
        let topic = self.channels.receive(channel, payload, &mut self.commands);
        self.flush(hub);
        topic
    }

    /// Handles what a reply says. An unexpected one ends the pair.
    pub(super) fn handle(
        &mut self,
        hub: &mut Hub,
        reply: &str,
        read: impl FnOnce(&mut Channels, &mut Commands) -> News,
    ) -> Result<(), Loss> {
        let news = self.read(read);
        self.take_news(hub, reply, news)
    }

    /// Has the channels read a reply.
    pub(super) fn read(&mut self, read: impl FnOnce(&mut Channels, &mut Commands) -> News) -> News {
        read(&mut self.channels, &mut self.commands)
    }

    /// Handles what a reply says.
    pub(super) fn take_news(&mut self, hub: &mut Hub, reply: &str, news: News) -> Result<(), Loss> {
        self.flush(hub);
        match news {
            News::Nothing | News::NodeId | News::Slots => {}
            News::Live(topic) => hub.confirm_topic(&topic),
            News::Appended(_) => {}
            News::Moved(topic) => {
                self.report_gap(hub, vec![topic], hub.now());
                self.ask_cluster(hub);
            }
            News::Refused(_) if slots::may_pass(reply) => self.ask_cluster(hub),
            News::Refused(topic) => {
                self.complain(hub, Complaint::Refused, &format!("the topic {topic:?} is refused: {reply}"));
            }
            News::PatternRefused => self.complain(hub, Complaint::Refused, &format!("a pattern is refused: {reply}")),
            News::NotPublished => {
                self.counters.lost += 1;
                if slots::may_pass(reply) {
                    self.ask_cluster(hub);
                }
                self.complain(hub, Complaint::NotPublished, &format!("does not publish: {reply}"));
            }
            News::NotPublishedButReceived(topic, mark) => {
                self.counters.lost += 1;
                self.complain(hub, Complaint::NotPublished, &format!("does not publish: {reply}"));
                if let Some(message) = mark.message() {
                    self.counters.received += 1;
                    hub.deliver(&topic, message);
                }
            }
            News::Unexpected => {
                return Err(Loss::unexpected());
            }
        }
        Ok(())
    }

    /// Logs something that may be frequent.
    pub(super) fn complain(&mut self, hub: &Hub, kind: Complaint, what: &str) {
        let (now, last) = (hub.now(), &mut self.complained_at[kind as usize]);
        if last.is_none_or(|at| now.saturating_duration_since(at) >= COMPLAIN_EVERY) {
            *last = Some(now);
            log::warn!(target: "ws_reactor::redis", "redis {}: {what}", self.address);
        }
    }

    /// Writes the commands, and delivers what is held of publications of which nothing comes back, or that are back.
    fn flush(&mut self, hub: &mut Hub) {
        let Commands { subscriber, publisher, reader, settled } = &mut self.commands;
        let ids = self.pair.as_ref().map_or(&[][..], |pair| &pair.ids);
        let all = [(Role::Subscriber, subscriber), (Role::Publisher, publisher), (Role::Reader, reader)];
        for (role, commands) in all {
            if let Some(id) = ids.get(role as usize).filter(|_| !commands.is_empty()) {
                hub.write(*id, commands);
            }
            commands.clear();
            if commands.capacity() > LARGE_BUFFER {
                commands.shrink_to(LARGE_BUFFER);
            }
        }
        for number in settled.drain(..) {
            deliver(hub, self.held.settle(number, None));
        }
    }
}

/// Delivers messages whose turn has come.
fn deliver(hub: &mut Hub, due: Vec<Due<HeldMessage>>) {
    for (message, id) in due {
        hub.deliver_held(message, id);
    }
}

impl Loss {
    fn unexpected() -> Self {
        Loss { reason: "Redis has answered what was not asked".to_owned(), is_timeout: false }
    }
}

/// Room for commands that is kept.
const LARGE_BUFFER: usize = 64 * 1024;
