//! The pair of connections to Redis: made together, lost together, and made again.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    mem,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    channels::{Channels, Commands, News, Outcome},
    log::{Entry, Log, Read},
    resp::Reply,
    settings::Settings,
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

/// Time after which a pair of connections counts as stable: the next wait is the shortest again.
const STABLE: Duration = Duration::from_secs(10);

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
    held: BTreeMap<u64, HeldMessage>,
    /// Where Redis is. With Sentinels, where the last one has said that it is.
    address: String,
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
            channels,
            log: settings.log(),
            commands: Commands::default(),
            last_number: 0,
            held: BTreeMap::new(),
            address: settings.url.address.clone(),
            settings,
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

    pub(super) fn keep_history(&mut self, hub: &mut Hub, topic: &str) {
        let past = self.log.as_mut().and_then(|log| log.keep(topic));
        if let Some((events, missing_to)) = past {
            restore(hub, topic, &events, missing_to);
        }
    }

    pub(super) fn forget_history(&mut self, topic: &str) {
        if let Some(log) = &mut self.log {
            log.forget(topic);
        }
    }

    pub(super) fn publish(&mut self, hub: &mut Hub, published: &PublishedMessage<'_>) {
        self.last_number += 1;
        let (topic, number) = (published.topic, self.last_number);
        let log = self.log.as_ref().filter(|log| log.is_kept(topic));
        if self.settings.bounds.holds_own || log.is_some() {
            self.held.insert(number, published.hold());
        }
        let publisher = self.pair.as_ref().map(|pair| pair.ids[Role::Publisher as usize]);
        let is_full = publisher.is_some_and(|id| hub.buffered(id) > self.settings.bounds.pending);
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
                if !self.settings.bounds.holds_own {
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
        let news = read(&mut self.channels, &mut self.commands);
        self.flush(hub);
        match news {
            News::Nothing => {}
            News::Live(topic) => hub.confirm_topic(&topic),
            News::Refused(topic) => {
                self.complain(hub, Complaint::Refused, &format!("the topic {topic:?} is refused: {reply}"));
            }
            News::PatternRefused => self.complain(hub, Complaint::Refused, &format!("a pattern is refused: {reply}")),
            News::NotPublished => {
                self.counters.lost += 1;
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

    /// Handles a reply of the connection that reads the stream of histories.
    pub(super) fn read_log(&mut self, hub: &mut Hub, reply: &Reply<'_>, text: &str) -> Result<(), Loss> {
        let Some(log) = &mut self.log else { return Ok(()) };
        match log.on_reply(reply, &mut self.commands.reader) {
            Read::Nothing => {}
            Read::Entries { loaded, entries } => {
                if let Some(to) = loaded {
                    for topic in log.kept() {
                        if let Some((events, missing_to)) = log.past_of(&topic, to) {
                            restore(hub, &topic, &events, missing_to);
                        }
                    }
                }
                entries.into_iter().for_each(|entry| self.deliver_entry(hub, &entry));
            }
            Read::Missed(to) => log.kept().iter().for_each(|topic| restore(hub, topic, &[], to)),
            Read::Refused => {
                self.complain(hub, Complaint::Refused, &format!("the stream of histories cannot be read: {text}"));
                self.deliver_all_held(hub);
            }
            Read::Unexpected => return Err(Loss::unexpected()),
        }
        self.flush(hub);
        Ok(())
    }

    /// Delivers an entry of the stream of histories.
    fn deliver_entry(&mut self, hub: &mut Hub, entry: &Entry) {
        let held = entry.own.and_then(|number| self.held.remove(&number));
        match (held, entry.event()) {
            (Some(held), event) => _ = hub.deliver_held(held, event.map(|_| entry.id)),
            // Subscribers have it.
            (None, _) if entry.own.is_some() => restore(hub, &entry.topic, std::slice::from_ref(entry), 0),
            (None, Some(event)) => {
                self.counters.received += 1;
                hub.deliver_event_with_id(&entry.topic, event, entry.id);
            }
            (None, None) => {
                self.counters.received += 1;
                hub.deliver(&entry.topic, &entry.message);
            }
        }
    }

    /// Delivers what is held, in the order of publishing: nothing comes back of it.
    fn deliver_all_held(&mut self, hub: &mut Hub) {
        for held in mem::take(&mut self.held).into_values() {
            hub.deliver_held(held, None);
        }
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
            if let Some(held) = self.held.remove(&number) {
                hub.deliver_held(held, None);
            }
        }
    }
}

impl Loss {
    fn unexpected() -> Self {
        Loss { reason: "Redis has answered what was not asked".to_owned(), is_timeout: false }
    }
}

/// Adds entries to the history of a topic.
fn restore(hub: &mut Hub, topic: &str, entries: &[Entry], missing_to: u64) {
    let events = entries.iter().filter_map(|entry| Some((entry.id, entry.event()?)));
    hub.restore_history(topic, events, missing_to);
}

/// Room for commands that is kept.
const LARGE_BUFFER: usize = 64 * 1024;

impl Link {
    /// Begins an attempt, and returns its number. `None` if no further one is to be made.
    pub(super) fn begin(&mut self) -> Option<u64> {
        self.attempt += u64::from(!self.is_ending);
        self.is_active = !self.is_ending;
        self.is_active.then_some(self.attempt)
    }

    /// Notes the connections of the attempt.
    pub(super) fn set_pair(&mut self, ids: Vec<ConnectionId>) {
        let mut ready = [true; 3];
        ready[..ids.len()].fill(false);
        self.pair = Some(Connections { ids, client_ids: [None; 3], ready, since: None });
    }

    /// The tasks that need a connection each.
    pub(super) fn roles(&self) -> impl Iterator<Item = Role> + use<> {
        let reader = self.log.as_ref().map(|_| Role::Reader);
        [Role::Subscriber, Role::Publisher].into_iter().chain(reader)
    }

    /// Notes that a connection has logged in.
    pub(super) fn on_ready(&mut self, hub: &mut Hub, role: Role) {
        let Some(pair) = &mut self.pair else { return };
        pair.ready[role as usize] = true;
        if pair.ready != [true; 3] {
            return;
        }
        let now = hub.now();
        pair.since = Some(now);
        self.counters.is_connected = true;
        let address = &self.address;
        let outage = self.outage.take();
        match &outage {
            None => log::info!(target: "ws_reactor::redis", "redis {address}: connected"),
            Some(outage) => log::info!(
                target: "ws_reactor::redis",
                "redis {address}: connected again after {:.1} s, attempt {}",
                now.saturating_duration_since(outage.since).as_secs_f64(),
                outage.attempts + 1,
            ),
        }
        if let Some(log) = &mut self.log {
            log.connect(&mut self.commands.reader);
        }
        self.counters.lost += self.channels.connect(&mut self.commands) as u64;
        for id in mem::take(&mut self.unanswered) {
            self.channels.execute(&[b"CLIENT", b"KILL", b"ID", id.to_string().as_bytes()], &mut self.commands);
        }
        self.flush(hub);
        if let (Some(outage), Some(on_gap)) = (outage, &self.settings.on_gap)
            && !outage.topics.is_empty()
        {
            let (on_gap, topics, since) = (Rc::clone(on_gap), outage.topics, outage.since);
            hub.next_tick(move |hub| on_gap(hub, &topics, since));
        }
    }

    /// Ends the pair because one of its connections has ended or misbehaves. Returns the wait before the next attempt,
    /// unless that is under way.
    pub(super) fn lose(&mut self, hub: &mut Hub, attempt: u64, loss: Loss) -> Option<Duration> {
        if !self.is_current(attempt) || self.is_ending {
            return None;
        }
        self.is_active = false;
        let Loss { reason, is_timeout } = loss;
        let pair = self.pair.take();
        if let Some(sentinel) = self.sentinel.take() {
            hub.terminate(sentinel);
        }
        if let Some(pair) = &pair {
            pair.ids.iter().for_each(|id| _ = hub.terminate(*id));
            if is_timeout {
                self.unanswered.extend(pair.client_ids.into_iter().flatten());
            }
            self.counters.lost += self.channels.disconnect() as u64;
            if let Some(log) = &mut self.log {
                log.disconnect();
            }
            self.deliver_all_held(hub);
        }
        match pair.and_then(|pair| pair.since) {
            Some(since) => self.begin_outage(hub, since, reason),
            None => self.note_failure(hub, reason),
        }
        let wait = self.settings.wait(self.failures, hub);
        self.failures = self.failures.saturating_add(1);
        Some(wait)
    }

    /// A pair is lost that was ready since this time.
    fn begin_outage(&mut self, hub: &mut Hub, ready_since: Instant, reason: String) {
        let now = hub.now();
        self.counters.is_connected = false;
        self.counters.outages += 1;
        if now.saturating_duration_since(ready_since) >= STABLE {
            self.failures = 0;
        }
        log::warn!(target: "ws_reactor::redis", "redis {}: lost: {reason}", self.address);
        let topics = self.channels.wanted().cloned().collect();
        self.outage = Some(Outage { since: now, attempts: 0, topics, reason });
        hub.revoke_topics();
    }

    /// An attempt has failed.
    fn note_failure(&mut self, hub: &Hub, reason: String) {
        let first = || Outage { since: hub.now(), attempts: 0, topics: Vec::new(), reason: String::new() };
        let outage = self.outage.get_or_insert_with(first);
        outage.attempts += 1;
        // The first attempts, and then fewer and fewer.
        let (count, is_new) = (outage.attempts, outage.reason != reason);
        if count.is_power_of_two() || is_new && count < 16 {
            let address = &self.address;
            log::warn!(target: "ws_reactor::redis", "redis {address}: attempt {count} to connect failed: {reason}");
        }
        outage.reason = reason;
    }
}
