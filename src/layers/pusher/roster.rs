//! The subscriptions, members and users of all nodes, as this node knows them. Pure.
//!
//! Each node publishes its own changes, with consecutive numbers. A node without a message for the time of its lease
//! counts as ended, with all of its holdings. After a gap in the numbers of a node, the others ask it for its holdings.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::{
    holdings::{Change, Channel, Holdings},
    packet::MemberData,
};

/// Time without a message after which a node counts as ended.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// Interval of the messages of a node that has no changes.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// Time after which a node is asked for its holdings again.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// A change of the holdings of all nodes together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// A channel has its first subscription.
    Occupied { channel: String },
    /// A channel has lost its last one.
    Vacated { channel: String },
    /// A user has the first subscription in a presence channel.
    MemberAdded { channel: String, member: MemberData },
    /// A user has lost the last one.
    MemberRemoved { channel: String, user: String },
    /// The number of subscriptions has changed.
    Count { channel: String },
    /// A user has the first connection.
    Online { user: String },
    /// A user has lost the last one.
    Offline { user: String },
}

/// A node, as its messages describe it.
struct Node {
    holdings: Holdings,
    heard_at: Instant,
    /// Number of the next message, unless one is lost.
    next: u64,
    /// Time of the last question for its holdings, while they are not known because of a lost message.
    asked_at: Option<Instant>,
    /// The parts of its holdings that have arrived, while there are more.
    parts: Option<Parts>,
}

/// An incomplete copy of the holdings of a node.
#[derive(Default)]
struct Parts {
    holdings: Holdings,
    /// Changes since the first part.
    later: Vec<Change>,
}

/// Position of a part among the parts of the holdings of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) is_first: bool,
    pub(super) is_last: bool,
}

/// The nodes of an app.
#[derive(Default)]
pub(super) struct Roster {
    nodes: HashMap<String, Node>,
    /// Of all nodes together.
    all: Holdings,
}

/// The consequences of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) effects: Vec<Effect>,
    /// The sender has to be asked for its holdings.
    pub(super) asks: bool,
}

impl Roster {
    /// The subscriptions of a channel, on all nodes.
    pub(super) fn channel(&self, name: &str) -> Option<&Channel> {
        self.all.channels.get(name)
    }

    /// Occupied channels, sorted.
    pub(super) fn channels(&self) -> impl Iterator<Item = (&str, &Channel)> {
        self.all.channels.iter().map(|(name, channel)| (name.as_str(), channel))
    }

    /// Returns `true` if a user is connected to any node.
    pub(super) fn is_online(&self, user: &str) -> bool {
        self.all.users.contains_key(user)
    }

    /// Users that are connected to any node.
    pub(super) fn users(&self) -> usize {
        self.all.users.len()
    }

    /// Handles a message of a node with its number: a change, or something else.
    pub(super) fn on_message(&mut self, node: &str, number: u64, change: Option<&Change>, now: Instant) -> Outcome {
        let has_missed = self.hear(node, number, now);
        let Some(entry) = self.nodes.get_mut(node) else { return Outcome::default() };
        let asks = match entry.asked_at {
            None => has_missed,
            // The question or the answer may be lost, too.
            Some(asked_at) => now.saturating_duration_since(asked_at) >= ASK_EVERY,
        };
        if asks {
            entry.asked_at = Some(now);
        }
        let mut effects = Vec::new();
        if let Some(change) = change {
            if let Some(parts) = &mut entry.parts {
                parts.later.push(change.clone());
            }
            if entry.asked_at.is_none() && entry.holdings.apply(change) {
                self.apply_to_all(change, &mut effects);
            }
        }
        Outcome { effects, asks }
    }

    /// Handles a part of the holdings of a node. The last one replaces the holdings, with the changes since the first.
    pub(super) fn on_part(
        &mut self,
        node: &str,
        number: u64,
        part: Holdings,
        position: Position,
        now: Instant,
    ) -> Outcome {
        let has_missed = self.hear(node, number, now);
        let Some(entry) = self.nodes.get_mut(node) else { return Outcome::default() };
        if has_missed {
            entry.asked_at.get_or_insert(now);
        }
        if position.is_first {
            entry.parts = Some(Parts::default());
        }
        let Some(parts) = &mut entry.parts else {
            // An earlier part is lost.
            entry.asked_at = Some(now);
            return Outcome { effects: Vec::new(), asks: true };
        };
        parts.holdings.extend(part);
        if !position.is_last {
            return Outcome::default();
        }
        let Parts { mut holdings, later } = entry.parts.take().unwrap_or_default();
        later.iter().for_each(|change| _ = holdings.apply(change));
        entry.asked_at = None;
        let old = std::mem::replace(&mut entry.holdings, holdings.clone());
        Outcome { effects: self.replace(&old, &holdings), asks: false }
    }

    /// Notes a message of a node. Returns `true` if an earlier one is lost.
    fn hear(&mut self, node: &str, number: u64, now: Instant) -> bool {
        // The first message of a node has the number 0.
        let entry = self.nodes.entry(node.to_owned()).or_insert_with(|| Node {
            holdings: Holdings::default(),
            heard_at: now,
            next: 0,
            asked_at: None,
            parts: None,
        });
        entry.heard_at = now;
        let has_missed = number != entry.next;
        entry.next = number.saturating_add(1);
        if has_missed {
            entry.parts = None;
        }
        has_missed
    }

    /// Returns `true` if the holdings of a node are known.
    pub(super) fn knows(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.asked_at.is_none())
    }

    /// Removes a node with its holdings.
    pub(super) fn end(&mut self, node: &str) -> Vec<Effect> {
        let old = self.nodes.remove(node).map(|node| node.holdings).unwrap_or_default();
        self.replace(&old, &Holdings::default())
    }

    /// Nodes whose leases have ended, without the own one.
    pub(super) fn expired(&self, own: &str, now: Instant) -> Vec<String> {
        let is_expired = |node: &Node| now.saturating_duration_since(node.heard_at) > LEASE;
        let expired = self.nodes.iter().filter(|(name, node)| *name != own && is_expired(node));
        expired.map(|(name, _)| name.clone()).collect()
    }

    /// Returns `true` if all known nodes, without the own one, have been heard since a time.
    pub(super) fn has_heard_all(&self, own: &str, since: Instant) -> bool {
        self.nodes.iter().all(|(name, node)| name == own || node.heard_at >= since)
    }

    /// Returns `true` if no other node is known.
    pub(super) fn is_alone(&self, own: &str) -> bool {
        self.nodes.keys().all(|node| node == own)
    }

    /// Returns `true` if a node other than the own one has a subscription to a channel, of a user if one is given.
    pub(super) fn is_held_elsewhere(&self, own: &str, channel: &str, user: Option<&str>) -> bool {
        self.nodes.iter().filter(|(name, _)| *name != own).any(|(_, node)| {
            let channel = node.holdings.channels.get(channel);
            channel.is_some_and(|channel| user.is_none_or(|user| channel.has_member(user)))
        })
    }

    /// Replaces the holdings of a node in those of all nodes.
    fn replace(&mut self, old: &Holdings, new: &Holdings) -> Vec<Effect> {
        let mut effects = Vec::new();
        if old == new {
            return effects;
        }
        let none = Channel::default();
        let names: BTreeSet<&String> = old.channels.keys().chain(new.channels.keys()).collect();
        for name in names {
            let (old, new) = (old.channels.get(name).unwrap_or(&none), new.channels.get(name).unwrap_or(&none));
            if old != new {
                self.replace_channel(name, old, new, &mut effects);
            }
        }
        let users: BTreeSet<&String> = old.users.keys().chain(new.users.keys()).collect();
        for user in users {
            let count = |holdings: &Holdings| holdings.users.get(user).copied().unwrap_or_default();
            match replace_count(&mut self.all.users, user, count(old), count(new)) {
                (0, 1..) => effects.push(Effect::Online { user: user.clone() }),
                (1.., 0) => effects.push(Effect::Offline { user: user.clone() }),
                _ => {}
            }
        }
        effects
    }

    fn replace_channel(&mut self, name: &str, old: &Channel, new: &Channel, effects: &mut Vec<Effect>) {
        let channel = self.all.channels.entry(name.to_owned()).or_default();
        let before = channel.subscriptions;
        channel.subscriptions = (before + new.subscriptions).saturating_sub(old.subscriptions);
        let after = channel.subscriptions;
        if (before, after > 0) == (0, true) {
            effects.push(Effect::Occupied { channel: name.to_owned() });
        }
        let mut removed = Vec::new();
        let users: BTreeSet<&String> = old.members.keys().chain(new.members.keys()).collect();
        for user in users {
            let count = |channel: &Channel| channel.members.get(user).map_or(0, |(count, _)| *count);
            let known = count(channel);
            let left = (known + count(new)).saturating_sub(count(old));
            match (channel.members.get_mut(user), new.members.get(user)) {
                (Some(_), _) if left == 0 => {
                    channel.members.remove(user);
                    removed.push(Effect::MemberRemoved { channel: name.to_owned(), user: user.clone() });
                }
                (Some((count, _)), _) => *count = left,
                (None, Some((_, member))) if left > 0 => {
                    channel.members.insert(user.clone(), (left, member.clone()));
                    effects.push(Effect::MemberAdded { channel: name.to_owned(), member: member.clone() });
                }
                _ => {}
            }
        }
        effects.append(&mut removed);
        if after == 0 {
            self.all.channels.remove(name);
            if before > 0 {
                effects.push(Effect::Vacated { channel: name.to_owned() });
            }
        } else if before != after {
            effects.push(Effect::Count { channel: name.to_owned() });
        }
    }

    fn apply_to_all(&mut self, change: &Change, effects: &mut Vec<Effect>) {
        match change {
            Change::Join { channel, member } => {
                let before = self.all.channels.get(channel);
                let is_first = before.is_none();
                let is_new =
                    |member: &&MemberData| before.is_none_or(|channel| !channel.members.contains_key(&member.user_id));
                let added = member.as_ref().filter(is_new).cloned();
                self.all.apply(change);
                let channel = channel.clone();
                effects.extend(is_first.then(|| Effect::Occupied { channel: channel.clone() }));
                effects.extend(added.map(|member| Effect::MemberAdded { channel: channel.clone(), member }));
                effects.push(Effect::Count { channel });
            }
            Change::Leave { channel, user } => {
                if !self.all.apply(change) {
                    return;
                }
                let after = self.all.channels.get(channel);
                let is_gone = |user: &&String| after.is_none_or(|channel| !channel.members.contains_key(*user));
                let removed = user.as_ref().filter(is_gone).cloned();
                let (channel, is_last) = (channel.clone(), after.is_none());
                effects.extend(removed.map(|user| Effect::MemberRemoved { channel: channel.clone(), user }));
                effects.push(if is_last { Effect::Vacated { channel } } else { Effect::Count { channel } });
            }
            Change::SignIn { user } => {
                let is_first = !self.all.users.contains_key(user);
                self.all.apply(change);
                effects.extend(is_first.then(|| Effect::Online { user: user.clone() }));
            }
            Change::SignOut { user } => {
                let was_there = self.all.apply(change);
                let is_last = was_there && !self.all.users.contains_key(user);
                effects.extend(is_last.then(|| Effect::Offline { user: user.clone() }));
            }
        }
    }
}

/// Replaces the count of a node in the sum of a name. Returns the sum before and after.
fn replace_count(sums: &mut BTreeMap<String, usize>, name: &str, old: usize, new: usize) -> (usize, usize) {
    let before = sums.get(name).copied().unwrap_or_default();
    let after = (before + new).saturating_sub(old);
    match after {
        0 => _ = sums.remove(name),
        after => _ = sums.insert(name.to_owned(), after),
    }
    (before, after)
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
