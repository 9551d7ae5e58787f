//! The streams of a reactor: which subscriptions follow which stream.

mod group;
mod history;
mod member;
mod message_log;
mod pings;
mod presence;
mod roster;
mod topic_log;
mod whispers;

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::{Rc, Weak},
    time::Duration,
};

use self::{
    group::Group,
    history::{History, Idle, IdleKey},
    member::Stage,
    message_log::Log,
    pings::Pings,
    presence::Presences,
    whispers::Whispers,
};
pub(super) use self::{
    member::{Asked, Member},
    message_log::Keep,
};
use super::{
    packet,
    protocol::{Place, Protocol},
};
use crate::{
    protocol::Message,
    reactor::{ConnectionId, Hub, TopicWatch},
};

/// The streams, shared by all connections of a cable.
pub(super) type SharedStreams = Rc<RefCell<Streams>>;

/// The streams that something follows, and those that have a history.
pub(super) struct Streams {
    own: Weak<RefCell<Streams>>,
    pub(super) settings: Settings,
    /// Names this cable among those of other reactors and processes.
    node: Option<Rc<str>>,
    streams: HashMap<Rc<str>, Stream>,
    idle: Idle,
    /// How many logs there were.
    logs: u64,
    whispers: HashMap<Rc<str>, Whispers>,
    presences: Presences,
    pings: Pings,
    /// Connections that are event streams.
    event_streams: HashMap<ConnectionId, Protocol>,
    /// Connections that this server ends, or the last ones of sessions that it ends.
    ended: HashMap<ConnectionId, Ending>,
    counters: CableStats,
}

/// Options of the extended protocol.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// `None`: streams have no history.
    pub(super) keep: Option<Keep>,
    /// Most streams that nothing follows. The oldest ones lose their history.
    pub(super) max_idle: usize,
    /// How long someone counts as present whose connection was cut.
    pub(super) presence_ttl: Duration,
    /// `None`: clients need not answer pings.
    pub(super) pong_timeout: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { keep: None, max_idle: 10_000, presence_ttl: Duration::from_secs(15), pong_timeout: None }
    }
}

/// Counters of a cable on one reactor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CableStats {
    /// Open connections.
    pub connections: usize,
    /// Subscriptions, confirmed or not.
    pub subscriptions: usize,
    /// Sessions whose client has no connection and may come back.
    pub sessions: usize,
    /// Streams that are followed, or have a history.
    pub streams: usize,
    /// Messages broadcast on followed streams.
    pub broadcasts: u64,
    /// Publications on streams that are no JSON. They are dropped.
    pub malformed: u64,
    /// Messages of clients that were ignored: malformed, or for a subscription that there is not.
    pub ignored: u64,
}

/// How the server ends a connection, which decides if the session can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Final,
    /// It was silent, as one whose line is cut.
    Silent,
}

struct Stream {
    watch: TopicWatch,
    /// Subscriptions that follow the stream, or will once it is live, and connections that it may end.
    holders: usize,
    /// Its place among those without holders.
    idle: Option<IdleKey>,
    /// Connections with a subscription of the same identifier and protocol, which get the same message.
    groups: HashMap<GroupKey, Group>,
    /// Connections that end when the stream says so.
    users: Group,
    history: Option<History>,
    /// A client that can ask for its history has followed it.
    has_readers: bool,
}

type GroupKey = (Rc<str>, Protocol);

impl Streams {
    pub(super) fn new() -> SharedStreams {
        Rc::new_cyclic(|own| {
            RefCell::new(Streams {
                own: Weak::clone(own),
                node: None,
                settings: Settings::default(),
                streams: HashMap::new(),
                idle: Idle::default(),
                logs: 0,
                whispers: HashMap::new(),
                presences: Presences::default(),
                pings: Pings::new(),
                event_streams: HashMap::new(),
                ended: HashMap::new(),
                counters: CableStats::default(),
            })
        })
    }

    pub(super) fn stats(&self) -> CableStats {
        CableStats { streams: self.streams.len(), ..self.counters }
    }

    pub(super) fn counters(&mut self) -> &mut CableStats {
        &mut self.counters
    }

    /// Has a subscription follow a stream. Its confirmation waits until the stream is live.
    pub(super) fn follow(&mut self, hub: &mut Hub, member: &Rc<Member>, stream: &str) {
        let name = self.hold(hub, stream);
        self.keep(hub, &name);
        member.streams.borrow_mut().push(Rc::clone(&name));
        if member.protocol != Protocol::Rails {
            self.set_read(&name);
        }
        if member.is_delivered_to() {
            self.add_to_group(member, &name);
        }
        member.waits.set(member.waits.get() + 1);
        let (own, member) = (Weak::clone(&self.own), Rc::clone(member));
        let is_events = member.protocol.is_events();
        let go_on = move |hub: &mut Hub| {
            member.waits.set(member.waits.get() - 1);
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().confirm(hub, &member);
            }
        };
        hub.when_live(stream, move |hub| match is_events {
            // Behind what the channel has sent while there was no stream of events yet.
            true => hub.next_tick(go_on),
            false => go_on(hub),
        });
    }

    /// Has a subscription follow a stream no longer. Returns `false` if it does not.
    pub(super) fn leave(&mut self, hub: &mut Hub, member: &Member, stream: &str) -> bool {
        let mut streams = member.streams.borrow_mut();
        let Some(index) = streams.iter().position(|known| **known == *stream) else { return false };
        let name = streams.remove(index);
        drop(streams);
        self.leave_stream(hub, member, &name);
        true
    }

    pub(super) fn leave_all(&mut self, hub: &mut Hub, member: &Member) {
        for stream in member.streams.take() {
            self.leave_stream(hub, member, &stream);
        }
    }

    /// Ends what a subscription has of a stream: its messages, and its whispers and presence there.
    fn leave_stream(&mut self, hub: &mut Hub, member: &Member, stream: &Rc<str>) {
        self.remove_from_group(member, stream);
        if member.stage.get() != Stage::Ended {
            let is_of = |of: &RefCell<Option<Rc<str>>>| of.borrow().as_ref() == Some(stream);
            if is_of(&member.whispers) {
                self.release_whispers(hub, member);
            }
            if is_of(&member.presence) {
                self.leave_presence(hub, member);
                self.release_presence(hub, member);
            }
        }
        self.release(hub, stream);
    }

    /// The channel has accepted a subscription. Confirms it, if no stream is waited for.
    pub(super) fn accept(&mut self, hub: &mut Hub, member: &Rc<Member>) {
        if member.stage.get() == Stage::New {
            member.stage.set(Stage::Accepted);
            self.confirm(hub, member);
        }
    }

    /// Sends the confirmation, if it is due and was not sent, or was dropped.
    pub(super) fn confirm(&mut self, hub: &mut Hub, member: &Rc<Member>) {
        if member.stage.get() != Stage::Accepted || member.waits.get() > 0 {
            return;
        }
        let (protocol, text) = (member.protocol, packet::answer(&member.quoted(), true));
        // An event stream that is cut before its first message goes on from here.
        let position = member.streams().first().and_then(|stream| Some((Rc::clone(stream), self.position(stream)?)));
        let place = position.as_ref().filter(|_| protocol.is_events()).map(|(stream, position)| Place {
            stream,
            epoch: &position.epoch,
            offset: position.offset,
        });
        if !protocol.tell_at(hub, member.id.get(), packet::CONFIRMED, &text, place.as_ref()).is_queued() {
            return;
        }
        member.is_told.set(true);
        member.stage.set(Stage::Confirmed);
        if protocol != Protocol::Rails {
            if let Some(asked) = member.history.take() {
                self.answer_history(hub, member, asked);
            }
            self.add_to_groups(member);
            self.begin_presence(hub, member);
        }
    }

    /// A client asks again for a subscription that it has.
    pub(super) fn subscribe_again(&mut self, hub: &mut Hub, member: &Rc<Member>) {
        if !member.is_confirmed() || member.is_told.get() {
            return self.confirm(hub, member);
        }
        // Its session goes on, but it does not know of the subscription.
        let text = packet::answer(&member.quoted(), true);
        if member.protocol.tell(hub, member.id.get(), packet::CONFIRMED, &text).is_queued() {
            member.is_told.set(true);
            if let Some(asked) = member.history.take() {
                self.answer_history(hub, member, asked);
            }
            // It asks who is present itself.
            member.roster.set(self.roster_version(member));
            self.go_on(hub, member);
        }
    }

    /// The connection of a session was cut. Its subscriptions go on without it.
    pub(super) fn pause(&mut self, hub: &mut Hub, member: &Rc<Member>) {
        self.leave_later(hub, member);
        if member.stage.get() != Stage::Confirmed {
            return;
        }
        member.stage.set(Stage::Paused);
        for stream in member.streams() {
            self.remove_from_group(member, &stream);
        }
        *member.history.borrow_mut() = Some(Ok(self.positions(member)));
        member.roster.set(self.roster_version(member));
    }

    /// Ends a subscription. `at_once`: its client does not count as present for a while.
    pub(super) fn end(&mut self, hub: &mut Hub, member: &Rc<Member>, at_once: bool) {
        member.stage.set(Stage::Ended);
        self.leave_all(hub, member);
        self.release_whispers(hub, member);
        if at_once {
            self.leave_presence(hub, member);
        } else {
            self.leave_later(hub, member);
        }
        self.release_presence(hub, member);
    }

    fn add_to_groups(&mut self, member: &Member) {
        for stream in member.streams() {
            self.add_to_group(member, &stream);
        }
    }

    fn add_to_group(&mut self, member: &Member, stream: &str) {
        let Some(known) = self.streams.get_mut(stream) else { return };
        let key = (Rc::clone(&member.identifier), member.protocol);
        known.groups.entry(key).or_insert_with(|| Group::new(member.quoted(), member.protocol)).insert(member.id.get());
    }

    fn remove_from_group(&mut self, member: &Member, stream: &str) {
        let Some(known) = self.streams.get_mut(stream) else { return };
        let key = (Rc::clone(&member.identifier), member.protocol);
        if let Some(group) = known.groups.get_mut(&key) {
            group.remove(member.id.get());
            if group.ids().is_empty() {
                known.groups.remove(&key);
            }
        }
    }

    /// Adds a connection that a message of a stream may end: after what was published before, so that a user's new
    /// connection may end the older ones.
    pub(super) fn add_user(&self, hub: &mut Hub, stream: &str, id: ConnectionId) {
        let (own, stream) = (Weak::clone(&self.own), stream.to_owned());
        hub.next_tick(move |hub| {
            let Some(streams) = own.upgrade().filter(|_| hub.is_open(id)) else { return };
            let mut streams = streams.borrow_mut();
            let name = streams.hold(hub, &stream);
            if let Some(known) = streams.streams.get_mut(&name) {
                known.users.insert(id);
            }
        });
    }

    pub(super) fn remove_user(&mut self, hub: &mut Hub, stream: &str, id: ConnectionId) {
        if self.streams.get_mut(stream).is_some_and(|known| known.users.remove(id)) {
            self.release(hub, stream);
        }
    }

    /// Adds a holder to a stream.
    fn hold(&mut self, hub: &mut Hub, stream: &str) -> Rc<str> {
        if let Some((name, _)) = self.streams.get_key_value(stream) {
            let name = Rc::clone(name);
            if let Some(known) = self.streams.get_mut(&name) {
                known.holders += 1;
                known.idle.take().into_iter().for_each(|key| self.idle.remove(key));
            }
            return name;
        }
        let (own, name): (_, Rc<str>) = (Weak::clone(&self.own), stream.into());
        let watched = Rc::clone(&name);
        let watch = hub.watch_topic(stream, move |hub, message| {
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().broadcast(hub, &watched, message);
            }
        });
        let stream = Stream {
            watch,
            holders: 1,
            idle: None,
            groups: HashMap::new(),
            users: Group::default(),
            history: None,
            has_readers: false,
        };
        self.streams.insert(Rc::clone(&name), stream);
        name
    }

    /// Removes a holder of a stream. The last one leaves it to its history.
    fn release(&mut self, hub: &mut Hub, stream: &str) {
        let Some(known) = self.streams.get_mut(stream) else { return };
        known.holders -= 1;
        if known.holders == 0 && !self.set_idle(hub, stream) {
            self.drop_stream(hub, stream);
        }
    }

    fn drop_stream(&mut self, hub: &mut Hub, stream: &str) {
        if let Some((name, gone)) = self.streams.remove_entry(stream) {
            hub.unwatch_topic(gone.watch);
            if let Some(History::OfTopic(_)) = gone.history {
                self.leave_topic(hub, &name);
            }
        }
    }

    /// Sends a publication to the subscriptions of its stream, each with its identifier.
    fn broadcast(&mut self, hub: &mut Hub, name: &str, message: Message<'_>) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let Some(json) = message.as_text().filter(|text| packet::is_json(text)) else {
            self.counters.malformed += 1;
            log::debug!(target: "ws_reactor::action_cable", "stream {name:?}: a publication is no JSON");
            return;
        };
        self.counters.broadcasts += 1;
        let id = hub.watched_event_id();
        let kept = stream.history.as_mut().zip(self.settings.keep);
        let offset = kept.and_then(|(history, keep)| history.push(keep, hub.now(), id, json));
        let place = stream.history.as_ref().zip(offset);
        let place = place.map(|(history, offset)| Place { stream: name, epoch: history.epoch(), offset });
        for group in stream.groups.values() {
            group.send(hub, None, json, place.as_ref());
        }
        if !stream.users.ids().is_empty()
            && let Some(reconnect) = packet::remote_disconnect(json)
        {
            let ids = stream.users.ids().to_vec();
            // Also sessions without a connection.
            self.ended.extend(ids.iter().map(|id| (*id, Ending::Final)));
            self.end_connections(hub, &ids, "remote", reconnect);
        }
        self.on_idle_message(hub, name);
    }

    /// The streams that subscriptions with an identifier follow, sorted.
    pub(super) fn of_identifier(&self, identifier: &str) -> Vec<String> {
        let has_group = |stream: &Stream| stream.groups.keys().any(|(known, _)| **known == *identifier);
        let followed = self.streams.iter().filter(|(_, stream)| has_group(stream));
        let mut names: Vec<String> = followed.map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    }
}
