//! The pair of connections to Redis: made together, lost together, and made again.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    channels::{Channels, Commands, News, Outcome},
    connection::Connection,
    payload::Payload,
    settings::Settings,
};
use crate::reactor::{ConnectionId, Hub};

/// The link, which the backplane, both connections and timers share.
pub(super) type SharedLink = Rc<RefCell<Link>>;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Subscriber,
    Publisher,
}

/// Time after which a pair of connections counts as stable: the next wait is the shortest again.
const STABLE: Duration = Duration::from_secs(10);

/// Shortest time between two log lines about refused commands.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The pair of connections, and what it is for.
pub(super) struct Link {
    pub(super) settings: Settings,
    pub(super) channels: Channels,
    commands: Commands,
    /// `None` between two attempts.
    pair: Option<Pair>,
    /// Number of the attempt. Connections of an earlier one are not listened to.
    attempt: u64,
    /// Attempts in a row that did not lead to a stable pair.
    failures: u32,
    outage: Option<Outage>,
    /// Connections that have not answered, which Redis may still serve.
    unanswered: Vec<i64>,
    /// No further attempt is made.
    is_ending: bool,
    complained_at: Option<Instant>,
    pub(super) counters: Counters,
}

/// The connections of one attempt, that which subscribes first.
struct Pair {
    ids: [ConnectionId; 2],
    /// The ids that Redis has given them.
    client_ids: [Option<i64>; 2],
    ready: [bool; 2],
    /// Since both are ready.
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
    /// Messages passed to Redis.
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
            settings,
            channels,
            commands: Commands::default(),
            pair: None,
            attempt: 0,
            failures: 0,
            outage: None,
            unanswered: Vec::new(),
            is_ending: false,
            complained_at: None,
            counters: Counters::default(),
        }))
    }

    /// Changes the settings, before the first attempt.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.channels = self.settings.channels();
    }

    /// Returns `true` if a connection belongs to the current attempt.
    pub(super) fn is_current(&self, attempt: u64) -> bool {
        self.attempt == attempt && self.pair.is_some()
    }

    /// Makes no further attempt.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
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

    pub(super) fn publish(&mut self, hub: &mut Hub, topic: &str, payload: Payload) {
        let publisher = self.pair.as_ref().map(|pair| pair.ids[Role::Publisher as usize]);
        let is_full = publisher.is_some_and(|id| hub.buffered(id) > self.settings.bounds.pending);
        let outcome = match is_full {
            true => Outcome::Lost,
            false => self.channels.publish(topic, payload, &mut self.commands),
        };
        match outcome {
            Outcome::Queued => self.counters.published += 1,
            Outcome::Lost => {
                self.counters.lost += 1;
                if is_full {
                    self.complain(hub, "takes too little: messages for other processes are lost");
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
        let news = read(&mut self.channels, &mut self.commands);
        self.flush(hub);
        match news {
            News::Nothing => {}
            News::Live(topic) => hub.confirm_topic(&topic),
            News::Refused(topic) => {
                let address = &self.settings.url.address;
                log::warn!(target: "ws_reactor::redis", "redis {address}: the topic {topic:?} is refused: {reply}");
            }
            News::PatternRefused => {
                let address = &self.settings.url.address;
                log::warn!(target: "ws_reactor::redis", "redis {address}: a pattern is refused: {reply}");
            }
            News::NotPublished => {
                self.counters.lost += 1;
                self.complain(hub, &format!("does not publish: {reply}"));
            }
            News::Unexpected => {
                return Err(Loss { reason: "Redis has answered what was not asked".to_owned(), is_timeout: false });
            }
        }
        Ok(())
    }

    /// Logs something that may be frequent.
    pub(super) fn complain(&mut self, hub: &Hub, what: &str) {
        let now = hub.now();
        if self.complained_at.is_none_or(|at| now.saturating_duration_since(at) >= COMPLAIN_EVERY) {
            self.complained_at = Some(now);
            log::warn!(target: "ws_reactor::redis", "redis {}: {what}", self.settings.url.address);
        }
    }

    /// Writes the commands.
    fn flush(&mut self, hub: &mut Hub) {
        let Commands { subscriber, publisher } = &mut self.commands;
        let ids = self.pair.as_ref().map(|pair| pair.ids);
        for (role, commands) in [(Role::Subscriber, subscriber), (Role::Publisher, publisher)] {
            if let Some(ids) = ids.filter(|_| !commands.is_empty()) {
                hub.write(ids[role as usize], commands);
            }
            commands.clear();
            if commands.capacity() > LARGE_BUFFER {
                commands.shrink_to(LARGE_BUFFER);
            }
        }
    }
}

/// Room for commands that is kept.
const LARGE_BUFFER: usize = 64 * 1024;

/// Makes an attempt to connect.
pub(super) fn connect(shared: &SharedLink, hub: &mut Hub) {
    let mut link = shared.borrow_mut();
    if link.is_ending {
        return;
    }
    link.attempt += 1;
    let (attempt, address, config) = (link.attempt, link.settings.url.address.clone(), link.settings.stream_config());
    let mut dial = |role| {
        let connection = Connection::new(Rc::clone(shared), role, attempt, &link.settings);
        hub.connect_stream_with(&address, config.clone(), connection)
    };
    let ids = [Role::Subscriber, Role::Publisher].map(|role| dial(role).ok());
    match ids {
        [Some(subscriber), Some(publisher)] => {
            let ids = [subscriber, publisher];
            link.pair = Some(Pair { ids, client_ids: [None; 2], ready: [false; 2], since: None });
        }
        // The loop is ending.
        [subscriber, publisher] => {
            link.is_ending = true;
            [subscriber, publisher].into_iter().flatten().for_each(|id| _ = hub.terminate(id));
        }
    }
}

/// Notes that a connection has logged in.
pub(super) fn on_ready(shared: &SharedLink, hub: &mut Hub, role: Role) {
    let mut link = shared.borrow_mut();
    let link = &mut *link;
    let Some(pair) = &mut link.pair else { return };
    pair.ready[role as usize] = true;
    if pair.ready != [true; 2] {
        return;
    }
    let now = hub.now();
    pair.since = Some(now);
    link.counters.is_connected = true;
    let address = &link.settings.url.address;
    let outage = link.outage.take();
    match &outage {
        None => log::info!(target: "ws_reactor::redis", "redis {address}: connected"),
        Some(outage) => log::info!(
            target: "ws_reactor::redis",
            "redis {address}: connected again after {:.1} s, attempt {}",
            now.saturating_duration_since(outage.since).as_secs_f64(),
            outage.attempts + 1,
        ),
    }
    link.counters.lost += link.channels.connect(&mut link.commands) as u64;
    for id in std::mem::take(&mut link.unanswered) {
        link.channels.execute(&[b"CLIENT", b"KILL", b"ID", id.to_string().as_bytes()], &mut link.commands);
    }
    link.flush(hub);
    if let (Some(outage), Some(on_gap)) = (outage, &link.settings.on_gap)
        && !outage.topics.is_empty()
    {
        let (on_gap, topics, since) = (Rc::clone(on_gap), outage.topics, outage.since);
        hub.next_tick(move |hub| on_gap(hub, &topics, since));
    }
}

/// Ends the pair because one of its connections has ended or misbehaves, and schedules the next attempt.
pub(super) fn lose(shared: &SharedLink, hub: &mut Hub, attempt: u64, loss: Loss) {
    let mut link = shared.borrow_mut();
    let link = &mut *link;
    if !link.is_current(attempt) || link.is_ending {
        return;
    }
    let Some(pair) = link.pair.take() else { return };
    pair.ids.into_iter().for_each(|id| _ = hub.terminate(id));
    if loss.is_timeout {
        link.unanswered.extend(pair.client_ids.into_iter().flatten());
    }
    link.counters.lost += link.channels.disconnect() as u64;
    let (now, address) = (hub.now(), &link.settings.url.address);
    let Loss { reason, .. } = loss;
    if let Some(since) = pair.since {
        link.counters.is_connected = false;
        link.counters.outages += 1;
        if now.saturating_duration_since(since) >= STABLE {
            link.failures = 0;
        }
        log::warn!(target: "ws_reactor::redis", "redis {address}: lost: {reason}");
        let topics = link.channels.wanted().cloned().collect();
        link.outage = Some(Outage { since: now, attempts: 0, topics, reason });
        hub.revoke_topics();
    } else {
        let first = Outage { since: now, attempts: 0, topics: Vec::new(), reason: String::new() };
        let outage = link.outage.get_or_insert(first);
        outage.attempts += 1;
        // The first attempts, and then fewer and fewer.
        if outage.attempts.is_power_of_two() || outage.reason != reason && outage.attempts < 16 {
            let count = outage.attempts;
            log::warn!(target: "ws_reactor::redis", "redis {address}: attempt {count} to connect failed: {reason}");
        }
        outage.reason = reason;
    }
    let wait = link.settings.wait(link.failures, hub);
    link.failures = link.failures.saturating_add(1);
    let shared = Rc::clone(shared);
    hub.add_timer(wait, move |hub| connect(&shared, hub));
}
