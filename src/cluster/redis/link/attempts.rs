//! Attempts to connect, and outages.

use std::{
    mem,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{Connections, Link, Loss, Outage, Role};
use crate::reactor::{ConnectionId, Hub};

/// Time after which a pair of connections counts as stable: the next wait is the shortest again.
const STABLE: Duration = Duration::from_secs(10);

impl Link {
    /// Begins an attempt, and returns its number. `None` if no further one is to be made.
    pub(in crate::cluster::redis) fn begin(&mut self) -> Option<u64> {
        self.attempt += u64::from(!self.is_ending);
        self.is_active = !self.is_ending;
        self.is_active.then_some(self.attempt)
    }

    /// Notes the connections of the attempt.
    pub(in crate::cluster::redis) fn set_pair(&mut self, ids: Vec<ConnectionId>) {
        let mut ready = [true; 3];
        ready[..ids.len()].fill(false);
        self.pair = Some(Connections { ids, client_ids: [None; 3], ready, since: None });
    }

    /// The tasks that need a connection each.
    pub(in crate::cluster::redis) fn roles(&self) -> impl Iterator<Item = Role> + use<> {
        let reader = self.log.as_ref().map(|_| Role::Reader);
        [Role::Subscriber, Role::Publisher].into_iter().chain(reader)
    }

    /// Notes that a connection has logged in.
    pub(in crate::cluster::redis) fn on_ready(&mut self, hub: &mut Hub, role: Role) {
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
        self.ask_cluster(hub);
        if let Some(outage) = outage {
            self.report_gap(hub, outage.topics, outage.since);
        }
    }

    /// Ends the pair because one of its connections has ended or misbehaves. Returns the wait before the next attempt,
    /// unless that is under way.
    pub(in crate::cluster::redis) fn lose(&mut self, hub: &mut Hub, attempt: u64, loss: Loss) -> Option<Duration> {
        if !self.is_current(attempt) {
            return None;
        }
        self.is_active = false;
        let Loss { reason, is_timeout } = loss;
        if let Some(sentinel) = self.sentinel.take() {
            hub.terminate(sentinel);
        }
        let connections = self.drop_connections(hub);
        if self.is_ending {
            return None;
        }
        if let Some(connections) = connections.as_ref().filter(|_| is_timeout) {
            self.unanswered.extend(connections.client_ids.into_iter().flatten());
        }
        match connections.and_then(|connections| connections.since) {
            Some(since) => self.begin_outage(hub, since, reason),
            None => self.note_failure(hub, reason),
        }
        self.ask_cluster(hub);
        let wait = self.settings.wait(self.failures, hub);
        self.failures = self.failures.saturating_add(1);
        Some(wait)
    }

    /// Ends the connections, and delivers what was to come back by them.
    pub(super) fn drop_connections(&mut self, hub: &mut Hub) -> Option<Connections> {
        let connections = self.pair.take()?;
        connections.ids.iter().for_each(|id| _ = hub.terminate(*id));
        self.counters.lost += self.channels.disconnect() as u64;
        if let Some(log) = &mut self.log {
            log.disconnect();
        }
        self.deliver_all_held(hub);
        Some(connections)
    }

    /// Tells the application of topics whose messages may be missing.
    pub(super) fn report_gap(&self, hub: &mut Hub, topics: Vec<Rc<str>>, since: Instant) {
        if let Some(on_gap) = self.settings.on_gap.as_ref().filter(|_| !topics.is_empty()) {
            let on_gap = Rc::clone(on_gap);
            hub.next_tick(move |hub| on_gap(hub, &topics, since));
        }
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
        let topics: Vec<Rc<str>> = self.channels.wanted().cloned().collect();
        hub.revoke_topics(topics.iter().map(|topic| &**topic));
        self.outage = Some(Outage { since: now, attempts: 0, topics, reason });
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
