//! The channels of a process at Redis, and its publications on them. Pure: commands are appended to buffers, replies
//! are arguments.
//!
//! Redis sends a publication back to the connection that subscribes its channel. It is recognized by its payload: the
//! publications of one connection come back in their order, so what equals the oldest that has not come back is it.
//! For that, a publication waits until the SUBSCRIBE of its channel is answered, and UNSUBSCRIBE waits until all
//! publications have come back.

mod news;
mod publication;
mod words;

use std::{
    collections::{HashMap, VecDeque},
    mem,
    rc::Rc,
};

use self::publication::{OVERHEAD_BYTES, Own, Publication, Returning};
pub(super) use self::{
    news::News,
    publication::{Kept, Outcome},
    words::Words,
};
use super::{
    payload::{Marks, Payload},
    resp::write_command,
    slot_map::slot_of,
};

/// Publications that a payload is compared with.
const MOST_LOOKS: usize = 64;

/// Commands for the connections, and what is known of publications.
#[derive(Debug, Default)]
pub(super) struct Commands {
    pub(super) subscriber: Vec<u8>,
    pub(super) publisher: Vec<u8>,
    pub(super) reader: Vec<u8>,
    /// Numbers of publications that have come back, or of which nothing will come back.
    pub(super) settled: Vec<u64>,
}

/// The channels, by topic.
#[derive(Debug)]
pub(super) struct Channels {
    prefix: Rc<str>,
    words: Words,
    channels: HashMap<Rc<str>, Channel>,
    /// Commands of the connection that subscribes, without a reply.
    requests: VecDeque<Request>,
    /// Commands of the connection that publishes, without a reply.
    publications: VecDeque<Publication>,
    marks: Marks,
    is_connected: bool,
    /// Bytes of publications that wait, and of what is held for those that have not come back.
    pending_bytes: usize,
    bounds: Bounds,
    /// Publications for when there is a connection again, and their bytes.
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// Patterns of channels to subscribe besides.
    patterns: Vec<String>,
}

/// Bytes of publications that may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Those that wait for Redis, and those that have not come back.
    pub(super) pending: usize,
    /// Those that are kept while Redis is away.
    pub(super) kept: usize,
}

#[derive(Debug, Default)]
struct Channel {
    /// There are subscribers in this process.
    is_wanted: bool,
    phase: Phase,
    /// Publications that have not come back.
    own: VecDeque<Own>,
    /// Publications that wait for a reply to SUBSCRIBE or UNSUBSCRIBE, with their numbers.
    waiting: VecDeque<(Payload, u64)>,
    /// One of them has been delivered in this process. It needs a subscription, by which it is recognized.
    is_delivered: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Unsubscribed,
    Subscribing,
    Subscribed,
    Unsubscribing,
    /// Redis does not allow it.
    Refused,
}

/// A command of the connection that subscribes.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Subscribe(Rc<str>),
    Unsubscribe(Rc<str>),
    Pattern,
    Ping,
}

impl Channels {
    pub(super) fn new(prefix: Rc<str>, bounds: Bounds, patterns: Vec<String>, words: Words) -> Self {
        Channels {
            prefix,
            words,
            channels: HashMap::new(),
            requests: VecDeque::new(),
            publications: VecDeque::new(),
            marks: Marks::default(),
            is_connected: false,
            pending_bytes: 0,
            bounds,
            kept: VecDeque::new(),
            kept_bytes: 0,
            patterns,
        }
    }

    /// Topics with subscribers in this process.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &Rc<str>> {
        self.channels.iter().filter(|(_, channel)| channel.is_wanted).map(|(topic, _)| topic)
    }

    /// Returns `true` if the messages of others on a topic arrive.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        self.channels.get(topic).is_some_and(|channel| channel.phase == Phase::Subscribed)
    }

    /// A topic has its first subscriber.
    pub(super) fn subscribe(&mut self, topic: &str, commands: &mut Commands) {
        let topic: Rc<str> = topic.into();
        self.channels.entry(Rc::clone(&topic)).or_default().is_wanted = true;
        self.advance(&topic, commands);
    }

    /// A topic has lost its last subscriber.
    pub(super) fn unsubscribe(&mut self, topic: &str, commands: &mut Commands) {
        if let Some(channel) = self.channels.get_mut(topic) {
            channel.is_wanted = false;
            self.advance(&Rc::from(topic), commands);
        }
    }

    /// Publishes a message. Its number is larger than all earlier ones.
    pub(super) fn publish(&mut self, topic: &str, payload: Payload, number: u64, commands: &mut Commands) -> Outcome {
        if !self.is_connected {
            commands.settled.push(number);
            return self.keep(Kept::Message { topic: topic.into(), payload, number });
        }
        let cost = payload.len() + OVERHEAD_BYTES;
        if self.pending_bytes > 0 && self.pending_bytes + cost > self.bounds.pending {
            commands.settled.push(number);
            return Outcome::Lost;
        }
        match self.channels.get_mut(topic) {
            Some(channel) if channel.must_wait() => {
                self.pending_bytes += cost;
                channel.waiting.push_back((payload, number));
                channel.is_delivered |= channel.is_wanted;
            }
            _ => self.write(&Rc::from(topic), payload, number, commands),
        }
        Outcome::Queued
    }

    /// Has a command executed that appends a publication to the stream of histories.
    pub(super) fn append(&mut self, command: Vec<u8>, number: u64, commands: &mut Commands) -> Outcome {
        if !self.is_connected {
            commands.settled.push(number);
            return self.keep(Kept::Entry { command, number });
        }
        commands.publisher.extend_from_slice(&command);
        self.publications.push_back(Publication::Append(number));
        Outcome::Queued
    }

    /// Keeps a publication for when there is a connection again.
    fn keep(&mut self, publication: Kept) -> Outcome {
        let cost = publication.cost();
        if self.kept_bytes + cost > self.bounds.kept {
            return Outcome::Lost;
        }
        self.kept_bytes += cost;
        self.kept.push_back(publication);
        Outcome::Queued
    }

    /// Subscribes patterns from now on.
    pub(super) fn set_patterns(&mut self, patterns: Vec<String>, commands: &mut Commands) {
        self.patterns = patterns;
        if self.is_connected {
            self.subscribe_patterns(commands);
        }
    }

    fn subscribe_patterns(&mut self, commands: &mut Commands) {
        for pattern in &self.patterns {
            write_command(&[b"PSUBSCRIBE", pattern.as_bytes()], &mut commands.subscriber);
            self.requests.push_back(Request::Pattern);
        }
    }

    /// Takes the publications that are kept.
    pub(super) fn take_kept(&mut self) -> VecDeque<Kept> {
        self.kept_bytes = 0;
        mem::take(&mut self.kept)
    }

    /// Publishes what was kept, here or for another node.
    pub(super) fn publish_kept(&mut self, kept: Kept, commands: &mut Commands) -> Outcome {
        match kept {
            Kept::Message { topic, payload, number } => self.publish(&topic, payload, number, commands),
            Kept::Entry { command, number } => self.append(command, number, commands),
        }
    }

    /// All connections are ready. Returns the number of kept publications that are lost, because too many wait.
    pub(super) fn connect(&mut self, commands: &mut Commands) -> usize {
        self.is_connected = true;
        self.subscribe_patterns(commands);
        let topics: Vec<Rc<str>> = self.wanted().cloned().collect();
        topics.iter().for_each(|topic| self.advance(topic, commands));
        let kept = self.take_kept().into_iter();
        kept.map(|kept| self.publish_kept(kept, commands)).filter(|outcome| *outcome == Outcome::Lost).count()
    }

    /// A connection is lost. Returns the number of publications that others may not get: a command that is written is
    /// not written again, because Redis may have executed it.
    pub(super) fn disconnect(&mut self) -> usize {
        self.is_connected = false;
        self.pending_bytes = 0;
        self.requests.clear();
        let without_reply = mem::take(&mut self.publications);
        let is_message = |command: &&Publication| matches!(command, Publication::Publish(_) | Publication::Append(_));
        let mut lost = without_reply.iter().filter(is_message).count();
        let mut waiting = Vec::new();
        self.channels.retain(|topic, channel| {
            let own = mem::take(&mut channel.waiting).into_iter();
            waiting.extend(own.map(|(payload, number)| Kept::Message { topic: Rc::clone(topic), payload, number }));
            *channel = Channel { is_wanted: channel.is_wanted, ..Channel::default() };
            channel.is_wanted
        });
        for publication in waiting {
            lost += usize::from(self.keep(publication) == Outcome::Lost);
        }
        lost
    }

    /// Has the connection that subscribes answer.
    pub(super) fn ping_subscriber(&mut self, commands: &mut Commands) {
        self.requests.push_back(Request::Ping);
        write_command(&[b"PING"], &mut commands.subscriber);
    }

    /// Asks for the slots of the nodes.
    pub(super) fn ask_for_slots(&mut self, commands: &mut Commands) {
        for (question, word) in [(Publication::NodeId, &b"MYID"[..]), (Publication::Slots, b"SLOTS")] {
            self.publications.push_back(question);
            write_command(&[b"CLUSTER", word], &mut commands.publisher);
        }
    }

    /// Subscribes channels that were refused once more.
    pub(super) fn try_refused_again(&mut self, commands: &mut Commands) {
        let refused = self.channels.iter_mut().filter(|(_, channel)| channel.phase == Phase::Refused);
        let topics: Vec<Rc<str>> = refused
            .map(|(topic, channel)| {
                channel.phase = Phase::Unsubscribed;
                Rc::clone(topic)
            })
            .collect();
        topics.iter().for_each(|topic| self.advance(topic, commands));
    }

    /// Has a command executed whose reply does not matter.
    pub(super) fn execute(&mut self, command: &[&[u8]], commands: &mut Commands) {
        self.publications.push_back(Publication::Other);
        write_command(command, &mut commands.publisher);
    }

    /// A message has arrived. Returns its topic, unless it is one of this process that has come back, or nobody wants
    /// it any more.
    pub(super) fn receive(&mut self, channel: &[u8], payload: &[u8], commands: &mut Commands) -> Option<Rc<str>> {
        let topic = self.by_name(channel)?;
        // It is the oldest, unless Redis has refused that: the reply comes by the other connection, and may be later.
        let channel = self.channels.get_mut(&topic)?;
        let index = self.marks.find(channel.own.iter().take(MOST_LOOKS).map(|own| &own.mark), payload);
        let Some(own) = index.and_then(|index| channel.own.remove(index)) else {
            return channel.is_wanted.then_some(topic);
        };
        self.pending_bytes -= own.cost;
        commands.settled.push(own.number);
        self.advance(&topic, commands);
        None
    }

    /// A channel is subscribed.
    pub(super) fn on_subscribed(&mut self, channel: &[u8], commands: &mut Commands) -> News {
        let Some(Request::Subscribe(topic)) = self.requests.pop_front() else { return News::Unexpected };
        if self.name(&topic).as_bytes() != channel {
            return News::Unexpected;
        }
        self.enter(&topic, Phase::Subscribed, commands);
        News::Live(topic)
    }

    /// A channel is not subscribed any more.
    pub(super) fn on_unsubscribed(&mut self, channel: &[u8], commands: &mut Commands) -> News {
        match self.requests.front() {
            Some(Request::Unsubscribe(topic)) if self.name(topic).as_bytes() == channel => {
                let topic = Rc::clone(topic);
                self.requests.pop_front();
                self.enter(&topic, Phase::Unsubscribed, commands);
                News::Nothing
            }
            _ if self.words.has_slots => self.on_moved(channel, commands),
            _ => News::Unexpected,
        }
    }

    /// Redis has unsubscribed a channel by itself. What has not come back does not come any more.
    fn on_moved(&mut self, channel: &[u8], commands: &mut Commands) -> News {
        // It may be the answer to an UNSUBSCRIBE, before which the channel had moved.
        let Some(topic) = self.by_name(channel) else { return News::Nothing };
        for publication in &mut self.publications {
            if matches!(publication, Publication::Publish(Some(returning)) if returning.topic == topic) {
                *publication = Publication::Publish(None);
            }
        }
        let Some(channel) = self.channels.get_mut(&topic) else { return News::Nothing };
        for own in mem::take(&mut channel.own) {
            self.pending_bytes -= own.cost;
            commands.settled.push(own.number);
        }
        if channel.phase == Phase::Subscribed {
            self.enter(&topic, Phase::Refused, commands);
        }
        News::Moved(topic)
    }

    /// A pattern is subscribed.
    pub(super) fn on_pattern(&mut self) -> News {
        if self.requests.pop_front() == Some(Request::Pattern) { News::Nothing } else { News::Unexpected }
    }

    /// The reply to a PING on the connection that subscribes.
    pub(super) fn on_pong(&mut self) -> News {
        if self.requests.pop_front() == Some(Request::Ping) { News::Nothing } else { News::Unexpected }
    }

    /// Redis has refused the oldest command of the connection that subscribes. `slot`: that which has moved, if that is
    /// why.
    pub(super) fn on_refused(&mut self, slot: Option<u16>, commands: &mut Commands) -> News {
        if let (Some(slot), Some(Request::Subscribe(topic) | Request::Unsubscribe(topic))) =
            (slot, self.requests.front())
            && slot_of(self.name(topic).as_bytes()) != slot
        {
            // The answer to an UNSUBSCRIBE that Redis has anticipated by itself.
            return News::Nothing;
        }
        match self.requests.pop_front() {
            Some(Request::Subscribe(topic)) => {
                self.enter(&topic, Phase::Refused, commands);
                News::Refused(topic)
            }
            Some(Request::Unsubscribe(topic)) => {
                self.enter(&topic, Phase::Unsubscribed, commands);
                News::Nothing
            }
            Some(Request::Pattern) => News::PatternRefused,
            Some(Request::Ping) => News::Nothing,
            None => News::Unexpected,
        }
    }

    /// The reply to the oldest command of the connection that publishes.
    pub(super) fn on_reply(&mut self, is_error: bool, commands: &mut Commands) -> News {
        match self.publications.pop_front() {
            None => News::Unexpected,
            Some(Publication::Append(number)) if is_error => {
                commands.settled.push(number);
                News::NotPublished
            }
            Some(Publication::Append(number)) => News::Appended(number),
            Some(Publication::Publish(Some(refused))) if is_error => {
                commands.settled.push(refused.number);
                let was_waited_for = self.forget(&refused, commands);
                self.advance(&refused.topic, commands);
                match was_waited_for || !self.channels.get(&refused.topic).is_some_and(|channel| channel.is_wanted) {
                    true => News::NotPublished,
                    false => News::NotPublishedButReceived(refused.topic, refused.mark),
                }
            }
            Some(Publication::Publish(None)) if is_error => News::NotPublished,
            Some(Publication::NodeId) if !is_error => News::NodeId,
            Some(Publication::Slots) if !is_error => News::Slots,
            Some(_) => News::Nothing,
        }
    }

    /// Waits no longer for a publication that Redis has refused, or for one that is equal to it: what came back of that
    /// was taken for this one. Returns `false` if none is waited for.
    fn forget(&mut self, refused: &Returning, commands: &mut Commands) -> bool {
        let Some(channel) = self.channels.get_mut(&refused.topic) else { return true };
        let own = &mut channel.own;
        let index = own.iter().position(|own| own.number == refused.number);
        let index = index.or_else(|| own.iter().position(|own| own.mark == refused.mark));
        let Some(own) = index.and_then(|index| own.remove(index)) else { return false };
        self.pending_bytes -= own.cost;
        // If it is another one, that has come back.
        commands.settled.push(own.number);
        true
    }

    /// Notes the reply to SUBSCRIBE or UNSUBSCRIBE, and writes what has waited for it.
    fn enter(&mut self, topic: &Rc<str>, phase: Phase, commands: &mut Commands) {
        let Some(channel) = self.channels.get_mut(topic) else { return };
        channel.phase = phase;
        // A channel that is needed again subscribes first.
        if !(phase == Phase::Unsubscribed && (channel.is_wanted || channel.is_delivered)) {
            channel.is_delivered = false;
            for (payload, number) in mem::take(&mut channel.waiting) {
                self.pending_bytes -= payload.len() + OVERHEAD_BYTES;
                self.write(topic, payload, number, commands);
            }
        }
        self.advance(topic, commands);
    }

    /// Writes a PUBLISH.
    fn write(&mut self, topic: &Rc<str>, payload: Payload, number: u64, commands: &mut Commands) {
        payload.write(self.words.publish, &self.name(topic), &mut commands.publisher);
        let mut entry = None;
        match self.channels.get_mut(topic).filter(|channel| channel.phase == Phase::Subscribed) {
            Some(channel) => {
                let mark = self.marks.of(&payload);
                let own = Own { number, mark: mark.clone(), cost: mark.held() + OVERHEAD_BYTES };
                self.pending_bytes += own.cost;
                channel.own.push_back(own);
                entry = Some(Returning { topic: Rc::clone(topic), number, mark });
            }
            None => commands.settled.push(number),
        }
        self.publications.push_back(Publication::Publish(entry));
    }

    /// Takes the next step towards what is wanted.
    fn advance(&mut self, topic: &Rc<str>, commands: &mut Commands) {
        let Some(channel) = self.channels.get_mut(topic) else { return };
        let request = match channel.phase {
            Phase::Unsubscribed if (channel.is_wanted || channel.is_delivered) && self.is_connected => {
                Request::Subscribe(Rc::clone(topic))
            }
            Phase::Subscribed if !channel.is_wanted && channel.own.is_empty() => Request::Unsubscribe(Rc::clone(topic)),
            Phase::Unsubscribed | Phase::Refused if !channel.is_wanted => {
                self.channels.remove(topic);
                return;
            }
            _ => return,
        };
        let (command, phase) = match request {
            Request::Subscribe(_) => (self.words.subscribe, Phase::Subscribing),
            _ => (self.words.unsubscribe, Phase::Unsubscribing),
        };
        channel.phase = phase;
        write_command(&[command.as_bytes(), self.name(topic).as_bytes()], &mut commands.subscriber);
        self.requests.push_back(request);
    }

    /// The channel of a topic.
    fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// The topic of a channel that is known.
    fn by_name(&self, channel: &[u8]) -> Option<Rc<str>> {
        let topic = std::str::from_utf8(channel.strip_prefix(self.prefix.as_bytes())?).ok()?;
        self.channels.get_key_value(topic).map(|(topic, _)| Rc::clone(topic))
    }
}

impl Channel {
    /// It is not known whether a publication would come back.
    fn must_wait(&self) -> bool {
        matches!(self.phase, Phase::Subscribing | Phase::Unsubscribing)
    }
}

#[cfg(test)]
#[path = "channels_tests.rs"]
mod tests;
