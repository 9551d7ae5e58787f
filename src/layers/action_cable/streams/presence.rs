//! The presence of all streams, of this process and of the others.
//!
//! Each process knows its own sessions, and tells the others what changes, on a topic per stream. A process that begins
//! to follow a stream asks for the sessions of the others. Each says in an interval that it is alive. The sessions of
//! those that are silent for too long have ended. From time to time each repeats all of its sessions, which mends what
//! was lost while the backplane was away.

use std::{
    collections::{HashMap, HashSet},
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    super::{
        extended::{self, Person},
        packet::{self, Ignored},
    },
    Member, Stage, Streams,
    roster::{Change, Roster},
};
use crate::{
    protocol::Message,
    reactor::{Hub, TopicWatch},
};

/// Time between signs of life of a process.
const BEAT: Duration = Duration::from_secs(5);

/// Silence after which a process is taken for dead.
const SILENCE: Duration = Duration::from_secs(16);

/// Beats after which a process repeats its sessions.
const REPEAT: u32 = 12;

/// Time after which sessions end that their process has not repeated.
const LEASE: Duration = Duration::from_secs(130);

/// Most processes that are remembered as dead.
const MOST_DEAD: usize = 1000;

/// The topic of the signs of life.
const ALIVE: &str = "action_cable/presence";

/// The streams with presence.
#[derive(Default)]
pub(super) struct Presences {
    rosters: HashMap<Rc<str>, Held>,
    /// When the other processes were heard last.
    nodes: HashMap<Rc<str>, Instant>,
    /// Those that were silent for too long.
    dead: HashSet<Rc<str>>,
    alive: Option<TopicWatch>,
    beats: u32,
    last_session: u64,
}

struct Held {
    roster: Roster,
    watch: TopicWatch,
    /// Subscriptions with presence in this stream, and their sessions.
    holders: usize,
    /// Changes of who is there.
    version: u64,
    /// When other processes have told of their sessions here.
    heard: HashMap<Rc<str>, Instant>,
}

impl Held {
    fn new(watch: TopicWatch) -> Self {
        Held { roster: Roster::default(), watch, holders: 1, version: 0, heard: HashMap::new() }
    }

    /// Ends the sessions of processes that are dead, or have not told of them for too long.
    fn expire(&mut self, dead: &[Rc<str>], now: Instant) -> Vec<Change> {
        let is_late = |heard: &Instant| now.saturating_duration_since(*heard) > LEASE;
        let late: Vec<_> = self.heard.extract_if(|node, heard| dead.contains(node) || is_late(heard)).collect();
        late.iter().flat_map(|(node, _)| self.roster.replace(node, Vec::new())).collect()
    }
}

/// A message between processes.
#[derive(Serialize, Deserialize)]
struct News {
    node: String,
    what: What,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Join(u64, Person),
    Leave(u64),
    /// All processes shall say who is there, or one.
    Ask(Option<String>),
    Here(Vec<(u64, Person)>),
    Alive,
}

impl Streams {
    /// Lets the client of a subscription join a stream, and see who is there.
    pub(in super::super) fn allow_presence(&mut self, hub: &mut Hub, member: &Member, stream: &str) {
        if member.presence.borrow().as_deref().is_some_and(|known| known != stream) {
            self.leave_presence(hub, member);
        }
        self.release_presence(hub, member);
        let stream: Rc<str> = stream.into();
        if member.protocol.is_extended() {
            self.hold_roster(hub, &stream);
        }
        *member.presence.borrow_mut() = Some(stream);
    }

    /// Has a client be present, as soon as it gets messages.
    pub(in super::super) fn join(&mut self, hub: &mut Hub, member: &Member, person: Person) -> Result<(), Ignored> {
        let stream =
            member.presence.borrow().clone().filter(|_| member.protocol.is_extended()).ok_or(Ignored::NotAllowed)?;
        if member.stage.get() != Stage::Confirmed {
            *member.person.borrow_mut() = Some(person);
            return Ok(());
        }
        let session = match member.session.borrow().as_ref() {
            Some((of, session)) if *of == stream => Some(*session),
            _ => None,
        };
        let session = session.unwrap_or_else(|| {
            self.leave_presence(hub, member);
            self.hold_roster(hub, &stream);
            self.presences.last_session += 1;
            *member.session.borrow_mut() = Some((Rc::clone(&stream), self.presences.last_session));
            self.presences.last_session
        });
        let node = self.node(hub);
        let Some(held) = self.presences.rosters.get_mut(&stream) else { return Ok(()) };
        let changes = held.roster.join((node, session), person.clone());
        self.tell_members(hub, &stream, changes);
        self.tell_nodes(hub, &topic(&stream), What::Join(session, person));
        Ok(())
    }

    /// Has a client be present that has said so before it got messages.
    pub(super) fn begin_presence(&mut self, hub: &mut Hub, member: &Member) {
        if let Some(person) = member.person.take() {
            // Where nobody can be present, there is nothing to tell.
            _ = self.join(hub, member, person);
        }
    }

    /// Has a client be present no longer. Returns `false` if it is not.
    pub(in super::super) fn leave_presence(&mut self, hub: &mut Hub, member: &Member) -> bool {
        member.person.take();
        Streams::stay(hub, member);
        let Some((stream, session)) = member.session.take() else { return false };
        let node = self.node(hub);
        if let Some(held) = self.presences.rosters.get_mut(&stream) {
            let change = held.roster.leave(&(node, session));
            self.tell_members(hub, &stream, change);
            self.tell_nodes(hub, &topic(&stream), What::Leave(session));
            self.release_roster(hub, &stream);
        }
        true
    }

    /// The line of a client was cut. It counts as present for a while.
    pub(super) fn leave_later(&mut self, hub: &mut Hub, member: &Rc<Member>) {
        if member.session.borrow().is_none() {
            return;
        }
        if member.departure.get().is_some() {
            return;
        }
        let (own, of) = (Weak::clone(&self.own), Rc::clone(member));
        let timer = hub.add_timer(self.settings.presence_ttl, move |hub| {
            of.departure.set(None);
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().leave_presence(hub, &of);
            }
        });
        member.departure.set(Some(timer));
    }

    /// A client is back before its time was over.
    pub(super) fn stay(hub: &mut Hub, member: &Member) {
        if let Some(timer) = member.departure.take() {
            hub.cancel_timer(timer);
        }
    }

    /// Changes whenever someone comes or goes where a subscription has presence.
    pub(super) fn roster_version(&self, member: &Member) -> u64 {
        let stream = member.presence.borrow();
        stream.as_ref().and_then(|stream| self.presences.rosters.get(stream)).map_or(0, |held| held.version)
    }

    /// Tells a client who is present.
    pub(in super::super) fn tell_presence(&self, hub: &mut Hub, member: &Member, data: Option<&str>) {
        let stream = member.presence.borrow().clone().filter(|_| member.is_confirmed());
        let held = stream.and_then(|stream| self.presences.rosters.get(&stream));
        let text = match held {
            Some(held) => {
                extended::presence_info(&member.quoted(), held.roster.people(), extended::wants_records(data))
            }
            None => extended::presence_error(&member.quoted()),
        };
        hub.send(member.id.get(), text);
    }

    pub(super) fn release_presence(&mut self, hub: &mut Hub, member: &Member) {
        if let Some(stream) = member.presence.take().filter(|_| member.protocol.is_extended()) {
            self.release_roster(hub, &stream);
        }
    }

    fn hold_roster(&mut self, hub: &mut Hub, stream: &Rc<str>) {
        if let Some(held) = self.presences.rosters.get_mut(stream) {
            held.holders += 1;
            return;
        }
        let (own, name, topic) = (Weak::clone(&self.own), Rc::clone(stream), topic(stream));
        let watch = hub.watch_topic(&topic, move |hub, message| {
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().hear(hub, Some(&name), message);
            }
        });
        self.presences.rosters.insert(Rc::clone(stream), Held::new(watch));
        let own = Weak::clone(&self.own);
        hub.when_live(&topic.clone(), move |hub| {
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().tell_nodes(hub, &topic, What::Ask(None));
            }
        });
        self.begin_beats(hub);
    }

    fn release_roster(&mut self, hub: &mut Hub, stream: &str) {
        let Some(held) = self.presences.rosters.get_mut(stream) else { return };
        held.holders -= 1;
        if held.holders == 0
            && let Some(gone) = self.presences.rosters.remove(stream)
        {
            hub.unwatch_topic(gone.watch);
        }
    }

    fn begin_beats(&mut self, hub: &mut Hub) {
        if self.presences.alive.is_some() {
            return;
        }
        let own = Weak::clone(&self.own);
        self.presences.alive = Some(hub.watch_topic(ALIVE, move |hub, message| {
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().hear(hub, None, message);
            }
        }));
        self.schedule_beat(hub);
    }

    fn schedule_beat(&self, hub: &mut Hub) {
        let own = Weak::clone(&self.own);
        hub.add_timer(BEAT, move |hub| {
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().beat(hub);
            }
        });
    }

    /// Says that this process is alive, and what it knows, and forgets those that are not.
    fn beat(&mut self, hub: &mut Hub) {
        if self.presences.rosters.is_empty() {
            self.presences.alive.take().map(|watch| hub.unwatch_topic(watch));
            self.presences.nodes.clear();
            return;
        }
        self.tell_nodes(hub, ALIVE, What::Alive);
        self.presences.beats += 1;
        let (now, node) = (hub.now(), self.node(hub));
        let is_silent = |heard: &Instant| now.saturating_duration_since(*heard) > SILENCE;
        let dead: Vec<_> = self.presences.nodes.extract_if(|_, heard| is_silent(heard)).map(|(node, _)| node).collect();
        if self.presences.dead.len() < MOST_DEAD {
            self.presences.dead.extend(dead.iter().cloned());
        }
        let part = self.presences.beats % REPEAT;
        let streams: Vec<Rc<str>> = self.presences.rosters.keys().cloned().collect();
        for stream in &streams {
            let Some(held) = self.presences.rosters.get_mut(stream) else { continue };
            let changes = held.expire(&dead, now);
            // A part of the streams in each beat.
            let own = (part_of(stream) == part).then(|| held.roster.sessions_of(&node));
            self.tell_members(hub, stream, changes);
            if let Some(own) = own {
                self.tell_nodes(hub, &topic(stream), What::Here(own));
            }
        }
        self.schedule_beat(hub);
    }

    /// Another process has told something: of a stream, or that it is alive.
    fn hear(&mut self, hub: &mut Hub, stream: Option<&Rc<str>>, message: Message<'_>) {
        let news = message.as_text().and_then(|text| serde_json::from_str::<News>(text).ok());
        let own = self.node(hub);
        let Some(News { node, what }) = news.filter(|news| *news.node != *own) else { return };
        let node: Rc<str> = node.into();
        let now = hub.now();
        self.presences.nodes.insert(Rc::clone(&node), now);
        if self.presences.dead.remove(&node) {
            // It was silent, and has people that were forgotten.
            for stream in self.presences.rosters.keys().cloned().collect::<Vec<_>>() {
                self.tell_nodes(hub, &topic(&stream), What::Ask(Some(node.to_string())));
            }
        }
        let Some((stream, held)) = stream.and_then(|name| Some((name, self.presences.rosters.get_mut(name)?))) else {
            return;
        };
        held.heard.insert(Rc::clone(&node), now);
        let changes = match what {
            What::Join(session, person) if person.is_valid() => held.roster.join((node, session), person),
            What::Here(sessions) if sessions.iter().all(|(_, person)| person.is_valid()) => {
                held.roster.replace(&node, sessions)
            }
            What::Leave(session) => held.roster.leave(&(node, session)).into_iter().collect(),
            What::Ask(of) if of.as_deref().is_none_or(|of| *of == *own) => {
                let sessions = held.roster.sessions_of(&own);
                return self.tell_nodes(hub, &topic(stream), What::Here(sessions));
            }
            What::Join(..) | What::Here(_) | What::Ask(_) | What::Alive => return,
        };
        self.tell_members(hub, stream, changes);
    }

    fn tell_nodes(&mut self, hub: &mut Hub, topic: &str, what: What) {
        let news = News { node: self.node(hub).to_string(), what };
        if let Ok(text) = serde_json::to_string(&news) {
            hub.publish(topic, Message::Text(&text));
        }
    }

    /// Tells the clients of a stream who has come or gone.
    fn tell_members(&mut self, hub: &mut Hub, stream: &str, changes: impl IntoIterator<Item = Change>) {
        let changes: Vec<Change> = changes.into_iter().collect();
        if let Some(held) = self.presences.rosters.get_mut(stream) {
            held.version += changes.len() as u64;
        }
        let Some(known) = self.streams.get(stream) else { return };
        for Change { person, is_here } in changes {
            for ((_, protocol), group) in &known.groups {
                if protocol.is_extended() {
                    group.tell(hub, |identifier| extended::presence_change(identifier, &person, is_here));
                }
            }
        }
    }
}

/// The beat in which a stream's sessions are repeated.
fn part_of(stream: &str) -> u32 {
    stream.bytes().fold(0, |sum: u32, octet| sum.wrapping_mul(31).wrapping_add(octet.into())) % REPEAT
}

impl Person {
    /// Returns `true` if its parts are JSON.
    fn is_valid(&self) -> bool {
        packet::is_json(&self.id) && packet::is_json(&self.info)
    }
}

fn topic(stream: &str) -> String {
    format!("{ALIVE}/{stream}")
}
