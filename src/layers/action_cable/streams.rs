//! The streams of a reactor: which subscriptions follow which stream, and the pings of all connections.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::packet;
use crate::{
    protocol::{CloseCode, Message},
    reactor::{ConnectionId, Hub, TopicWatch},
};

/// Parts in which the connections are pinged, so that no turn has to write to all of them.
const SLICES: usize = 30;

/// Time between two parts: each connection is pinged every three seconds.
const PING_STEP: Duration = Duration::from_millis(100);

/// The streams, shared by all connections of a cable.
pub(super) type SharedStreams = Rc<RefCell<Streams>>;

/// The streams that something follows.
#[derive(Default)]
pub(super) struct Streams {
    own: Weak<RefCell<Streams>>,
    streams: HashMap<Rc<str>, Stream>,
    /// Connections to ping. Ended ones are left out when it is their turn.
    slices: Vec<Vec<ConnectionId>>,
    next_slice: usize,
    /// When the next slice is due. `None` without connections.
    next_ping: Option<Instant>,
    counters: CableStats,
}

/// Counters of a cable on one reactor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CableStats {
    /// Open connections.
    pub connections: usize,
    /// Subscriptions, confirmed or not.
    pub subscriptions: usize,
    /// Streams that are followed.
    pub streams: usize,
    /// Messages broadcast on followed streams.
    pub broadcasts: u64,
    /// Publications on streams that are no JSON. They are dropped.
    pub malformed: u64,
    /// Messages of clients that were ignored: malformed, or for a subscription that there is not.
    pub ignored: u64,
}

struct Stream {
    watch: TopicWatch,
    /// Subscriptions that follow the stream, or will once it is live.
    followers: usize,
    /// Connections with a subscription of the same identifier, which get the same message.
    groups: HashMap<Rc<str>, Group>,
    /// Connections that end when the stream says so.
    users: Group,
}

/// Connections in no order, with constant time for each change.
#[derive(Default)]
struct Group {
    /// The identifier of their subscriptions, as JSON text.
    quoted: String,
    ids: Vec<ConnectionId>,
    positions: HashMap<ConnectionId, usize>,
}

impl Group {
    fn insert(&mut self, id: ConnectionId) {
        if self.positions.insert(id, self.ids.len()).is_none() {
            self.ids.push(id);
        }
    }

    fn remove(&mut self, id: ConnectionId) -> bool {
        let Some(position) = self.positions.remove(&id) else { return false };
        self.ids.swap_remove(position);
        if let Some(moved) = self.ids.get(position) {
            self.positions.insert(*moved, position);
        }
        true
    }
}

/// How far the confirmation of a subscription is: it waits until every stream is live.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Streams that are not live.
    waits: Cell<usize>,
    state: Cell<GateState>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum GateState {
    /// The channel has not decided.
    #[default]
    Closed,
    Ready,
    Confirmed,
    Ended,
}

impl Gate {
    /// The channel has accepted the subscription. Sends the confirmation, if nothing is waited for.
    pub(super) fn open(&self, hub: &mut Hub, id: ConnectionId, identifier: &str) {
        if self.state.get() == GateState::Closed {
            self.state.set(GateState::Ready);
            self.confirm(hub, id, identifier);
        }
    }

    pub(super) fn end(&self) {
        self.state.set(GateState::Ended);
    }

    /// Returns `true` if the channel has accepted the subscription.
    pub(super) fn is_open(&self) -> bool {
        self.state.get() != GateState::Closed
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.state.get() == GateState::Confirmed
    }

    /// Sends the confirmation, if it is due and was not sent, or was dropped.
    pub(super) fn confirm(&self, hub: &mut Hub, id: ConnectionId, identifier: &str) {
        let is_due = self.state.get() == GateState::Ready && self.waits.get() == 0;
        if is_due && hub.send(id, packet::answer(&packet::quoted(identifier), true)).is_queued() {
            self.state.set(GateState::Confirmed);
        }
    }
}

impl Streams {
    pub(super) fn new() -> SharedStreams {
        Rc::new_cyclic(|own| {
            let slices = (0..SLICES).map(|_| Vec::new()).collect();
            RefCell::new(Streams { own: Weak::clone(own), slices, ..Streams::default() })
        })
    }

    pub(super) fn stats(&self) -> CableStats {
        CableStats { streams: self.streams.len(), ..self.counters }
    }

    pub(super) fn counters(&mut self) -> &mut CableStats {
        &mut self.counters
    }

    /// Has a subscription follow a stream. Its gate waits until the stream is live.
    pub(super) fn follow(
        &mut self,
        hub: &mut Hub,
        stream: &str,
        id: ConnectionId,
        identifier: &Rc<str>,
        gate: &Rc<Gate>,
    ) {
        self.hold(hub, stream);
        if let Some(known) = self.streams.get_mut(stream) {
            let new = || Group { quoted: packet::quoted(identifier), ..Group::default() };
            known.groups.entry(Rc::clone(identifier)).or_insert_with(new).insert(id);
        }
        gate.waits.set(gate.waits.get() + 1);
        let (gate, identifier) = (Rc::clone(gate), Rc::clone(identifier));
        hub.when_live(stream, move |hub| {
            gate.waits.set(gate.waits.get() - 1);
            gate.confirm(hub, id, &identifier);
        });
    }

    /// Has a subscription follow a stream no longer.
    pub(super) fn leave(&mut self, hub: &mut Hub, stream: &str, id: ConnectionId, identifier: &str) {
        if let Some(known) = self.streams.get_mut(stream)
            && let Some(group) = known.groups.get_mut(identifier)
        {
            group.remove(id);
            if group.ids.is_empty() {
                known.groups.remove(identifier);
            }
        }
        self.release(hub, stream);
    }

    /// Adds a connection that a message of a stream may end: after what was published before, so that a user's new
    /// connection may end the older ones.
    pub(super) fn add_user(&self, hub: &mut Hub, stream: &str, id: ConnectionId) {
        let (own, stream) = (Weak::clone(&self.own), stream.to_owned());
        hub.next_tick(move |hub| {
            let Some(streams) = own.upgrade().filter(|_| hub.is_open(id)) else { return };
            let mut streams = streams.borrow_mut();
            streams.hold(hub, &stream);
            if let Some(known) = streams.streams.get_mut(&*stream) {
                known.users.insert(id);
            }
        });
    }

    pub(super) fn remove_user(&mut self, hub: &mut Hub, stream: &str, id: ConnectionId) {
        if self.streams.get_mut(stream).is_some_and(|known| known.users.remove(id)) {
            self.release(hub, stream);
        }
    }

    fn hold(&mut self, hub: &mut Hub, stream: &str) {
        if let Some(known) = self.streams.get_mut(stream) {
            known.followers += 1;
            return;
        }
        let (own, name): (_, Rc<str>) = (Weak::clone(&self.own), stream.into());
        let watched = Rc::clone(&name);
        let watch = hub.watch_topic(stream, move |hub, message| {
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().broadcast(hub, &watched, message);
            }
        });
        let (groups, users) = (HashMap::new(), Group::default());
        self.streams.insert(name, Stream { watch, followers: 1, groups, users });
    }

    fn release(&mut self, hub: &mut Hub, stream: &str) {
        let Some(known) = self.streams.get_mut(stream) else { return };
        known.followers -= 1;
        if known.followers == 0
            && let Some(gone) = self.streams.remove(stream)
        {
            hub.unwatch_topic(gone.watch);
        }
    }

    /// Sends a publication to the subscriptions of its stream, each with its identifier.
    fn broadcast(&mut self, hub: &mut Hub, name: &str, message: Message<'_>) {
        let Some(stream) = self.streams.get(name) else { return };
        let Some(json) = message.as_text().filter(|text| packet::is_json(text)) else {
            self.counters.malformed += 1;
            log::debug!(target: "ws_reactor::action_cable", "stream {name:?}: a publication is no JSON");
            return;
        };
        self.counters.broadcasts += 1;
        for group in stream.groups.values() {
            // A closing connection with many subscriptions costs nothing.
            if group.ids.iter().any(|id| hub.is_open(*id)) {
                hub.send_many(group.ids.iter().copied(), packet::message(&group.quoted, json));
            }
        }
        if !stream.users.ids.is_empty()
            && let Some(reconnect) = packet::remote_disconnect(json)
        {
            let text = packet::disconnect("remote", reconnect);
            hub.send_many(stream.users.ids.iter().copied(), text);
            for id in &stream.users.ids {
                hub.close(*id, CloseCode::NORMAL, "");
            }
        }
    }

    /// Adds a connection that is to be pinged.
    pub(super) fn ping(&mut self, hub: &mut Hub, id: ConnectionId) {
        let smallest = (0..SLICES).min_by_key(|slice| self.slices[*slice].len()).unwrap_or(0);
        self.slices[smallest].push(id);
        if self.next_ping.is_none() {
            self.schedule_pings(hub, hub.now() + PING_STEP);
        }
    }

    fn schedule_pings(&mut self, hub: &mut Hub, at: Instant) {
        self.next_ping = Some(at);
        let own = Weak::clone(&self.own);
        hub.add_timer(at.saturating_duration_since(hub.now()), move |hub| {
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().ping_due_slices(hub);
            }
        });
    }

    /// Pings the connections of all slices that are due: several, if the loop was late.
    fn ping_due_slices(&mut self, hub: &mut Hub) {
        let now = hub.now();
        let Some(mut at) = self.next_ping.take() else { return };
        for _ in 0..SLICES {
            if at > now {
                break;
            }
            self.ping_slice(hub);
            at += PING_STEP;
        }
        if self.slices.iter().any(|slice| !slice.is_empty()) {
            self.schedule_pings(hub, at.max(now));
        }
    }

    fn ping_slice(&mut self, hub: &mut Hub) {
        self.next_slice = (self.next_slice + 1) % SLICES;
        let slice = &mut self.slices[self.next_slice];
        slice.retain(|id| hub.is_open(*id));
        if !slice.is_empty() {
            let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            hub.send_many(slice.iter().copied(), packet::ping(seconds));
        }
    }

    /// The streams that subscriptions with an identifier follow, sorted.
    pub(super) fn of_identifier(&self, identifier: &str) -> Vec<String> {
        let followed = self.streams.iter().filter(|(_, stream)| stream.groups.contains_key(identifier));
        let mut names: Vec<String> = followed.map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    }

    /// The connections that are open.
    pub(super) fn connections(&self) -> Vec<ConnectionId> {
        self.slices.iter().flatten().copied().collect()
    }
}
