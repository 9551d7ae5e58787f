//! The pings of all connections, and the answers to them.

use std::{
    collections::HashMap,
    rc::Weak,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    super::{packet, protocol::Protocol},
    Ending, Streams,
};
use crate::{
    protocol::CloseCode,
    reactor::{ConnectionId, Hub},
};

/// Parts in which the connections are pinged, so that no turn has to write to all of them.
const SLICES: usize = 30;

/// Why connections end that do not answer a ping.
const NO_PONG: &str = "no_pong";

/// Time after which an event stream's client connects again that shall not.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Time between two parts: each connection is pinged every three seconds.
const PING_STEP: Duration = Duration::from_millis(100);

pub(super) struct Pings {
    /// Connections to ping. Ended ones are left out when it is their turn.
    slices: Vec<Vec<ConnectionId>>,
    next_slice: usize,
    /// When the next slice is due. `None` without connections.
    next: Option<Instant>,
    /// When each connection has answered last, of those that have to.
    pongs: HashMap<ConnectionId, Instant>,
}

impl Pings {
    pub(super) fn new() -> Self {
        let slices = (0..SLICES).map(|_| Vec::new()).collect();
        Pings { slices, next_slice: 0, next: None, pongs: HashMap::new() }
    }
}

impl Streams {
    /// Adds a connection. A WebSocket is pinged. With the extended protocol it has to answer, if there is a timeout.
    pub(in super::super) fn add_connection(&mut self, hub: &mut Hub, id: ConnectionId, protocol: Protocol) {
        if protocol.is_events() {
            self.event_streams.insert(id, protocol);
            return;
        }
        if protocol.is_extended() && self.settings.pong_timeout.is_some() {
            self.pings.pongs.insert(id, hub.now());
        }
        let slices = &mut self.pings.slices;
        let smallest = (0..SLICES).min_by_key(|slice| slices[*slice].len()).unwrap_or(0);
        slices[smallest].push(id);
        if self.pings.next.is_none() {
            self.schedule_pings(hub, hub.now() + PING_STEP);
        }
    }

    /// A connection has answered a ping.
    pub(in super::super) fn pong(&mut self, hub: &Hub, id: ConnectionId) {
        if let Some(last) = self.pings.pongs.get_mut(&id) {
            *last = hub.now();
        }
    }

    /// Tells clients why their connection ends, and closes it.
    pub(in super::super) fn end_connections(
        &mut self,
        hub: &mut Hub,
        ids: &[ConnectionId],
        why: &str,
        reconnect: bool,
    ) {
        let text = packet::disconnect(why, reconnect);
        let ending = if why == NO_PONG { Ending::Silent } else { Ending::Final };
        for id in ids.iter().filter(|id| hub.is_open(**id)).copied().collect::<Vec<_>>() {
            self.ended.insert(id, ending);
            let protocol = self.event_streams.get(&id).copied().unwrap_or(Protocol::Rails);
            if protocol.is_events() && !reconnect {
                hub.send_retry(id, NEVER);
            }
            protocol.tell(hub, id, "disconnect", &text);
            hub.close(id, CloseCode::NORMAL, "");
        }
    }

    /// Returns `true` if the server ends a connection, and its session with it.
    pub(in super::super) fn is_ended(&self, id: ConnectionId) -> bool {
        self.ended.get(&id) == Some(&Ending::Final)
    }

    /// A connection has ended. Returns whether that was this server's will.
    pub(in super::super) fn forget(&mut self, id: ConnectionId) -> Option<Ending> {
        self.pings.pongs.remove(&id);
        self.event_streams.remove(&id);
        self.ended.remove(&id)
    }

    /// The connections that are open.
    pub(in super::super) fn connections(&self) -> Vec<ConnectionId> {
        self.pings.slices.iter().flatten().chain(self.event_streams.keys()).copied().collect()
    }

    fn schedule_pings(&mut self, hub: &mut Hub, at: Instant) {
        self.pings.next = Some(at);
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
        let Some(mut at) = self.pings.next.take() else { return };
        for _ in 0..SLICES {
            if at > now {
                break;
            }
            self.ping_slice(hub);
            at += PING_STEP;
        }
        if self.pings.slices.iter().any(|slice| !slice.is_empty()) {
            self.schedule_pings(hub, at.max(now));
        }
    }

    fn ping_slice(&mut self, hub: &mut Hub) {
        let Pings { slices, next_slice, pongs, .. } = &mut self.pings;
        *next_slice = (*next_slice + 1) % SLICES;
        let slice = &mut slices[*next_slice];
        slice.retain(|id| hub.is_open(*id));
        if slice.is_empty() {
            return;
        }
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        hub.send_many(slice.iter().copied(), packet::ping(seconds));
        let Some(timeout) = self.settings.pong_timeout else { return };
        let pinged: Vec<_> = slice.iter().copied().filter(|id| pongs.contains_key(id)).collect();
        if pinged.is_empty() {
            return;
        }
        let (own, at) = (Weak::clone(&self.own), hub.now());
        hub.add_timer(timeout, move |hub| {
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().end_silent(hub, &pinged, at);
            }
        });
    }

    /// Ends connections that have not answered a ping.
    fn end_silent(&mut self, hub: &mut Hub, pinged: &[ConnectionId], at: Instant) {
        let is_silent = |id: &&ConnectionId| self.pings.pongs.get(id).is_some_and(|last| *last < at);
        let silent: Vec<_> = pinged.iter().filter(is_silent).copied().collect();
        self.end_connections(hub, &silent, NO_PONG, true);
    }
}
