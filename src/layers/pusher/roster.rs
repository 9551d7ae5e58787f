//! The subscriptions, members and users of all nodes, as this node knows them. Pure.
//!
//! Each node publishes its own changes, with consecutive numbers. A node without a message for the time of its lease
//! counts as ended, with all of its holdings. After a gap in the numbers of a node, the others ask it for its holdings.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::packet::MemberData;

/// Time without a message after which a node counts as ended.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// Interval of the messages of a node that has no changes.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// Time after which a node is asked for its holdings again.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// A change of the holdings of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// A subscription, of a member in a presence channel.
    Join {
        channel: String,
        member: Option<MemberData>,
    },
    Leave {
        channel: String,
        user: Option<String>,
    },
    /// A connection whose user has signed in.
    SignIn {
        user: String,
    },
    SignOut {
        user: String,
    },
}

/// The subscriptions and users of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holdings {
    channels: BTreeMap<String, Channel>,
    /// Connections by user.
    users: BTreeMap<String, usize>,
}

/// The subscriptions of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Channel {
    pub(super) subscriptions: usize,
    /// Subscriptions of each member, by user.
    members: BTreeMap<String, (usize, MemberData)>,
}

impl Channel {
    pub(super) fn members(&self) -> impl Iterator<Item = &MemberData> {
        self.members.values().map(|(_, member)| member)
    }

    pub(super) fn user_count(&self) -> usize {
        self.members.len()
    }

    pub(super) fn has_member(&self, user: &str) -> bool {
        self.members.contains_key(user)
    }
}

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

impl Holdings {
    /// Applies a change. Returns `false` for the end of something that has not begun.
    pub(super) fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Join { channel, member } => {
                let channel = self.channels.entry(channel.clone()).or_default();
                channel.subscriptions += 1;
                if let Some(member) = member {
                    let (count, known) =
                        channel.members.entry(member.user_id.clone()).or_insert_with(|| (0, member.clone()));
                    *count += 1;
                    known.clone_from(member);
                }
                true
            }
            Change::Leave { channel: name, user } => {
                let Some(channel) = self.channels.get_mut(name) else { return false };
                channel.subscriptions = channel.subscriptions.saturating_sub(1);
                if let Some(user) = user {
                    let Some((count, _)) = channel.members.get_mut(user) else { return false };
                    *count -= 1;
                    if *count == 0 {
                        channel.members.remove(user);
                    }
                }
                if channel.subscriptions == 0 {
                    self.channels.remove(name);
                }
                true
            }
            Change::SignIn { user } => {
                *self.users.entry(user.clone()).or_default() += 1;
                true
            }
            Change::SignOut { user } => {
                let Some(count) = self.users.get_mut(user) else { return false };
                *count -= 1;
                if *count == 0 {
                    self.users.remove(user);
                }
                true
            }
        }
    }

    /// The changes that lead to these holdings from none.
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, channel) in &self.channels {
            let mut plain = channel.subscriptions;
            for (count, member) in channel.members.values() {
                plain = plain.saturating_sub(*count);
                let join = Change::Join { channel: name.clone(), member: Some(member.clone()) };
                changes.extend(std::iter::repeat_n(join, *count));
            }
            changes.extend(std::iter::repeat_n(Change::Join { channel: name.clone(), member: None }, plain));
        }
        for (user, count) in &self.users {
            changes.extend(std::iter::repeat_n(Change::SignIn { user: user.clone() }, *count));
        }
        changes
    }
}

impl Change {
    /// The change that ends what this one has begun.
    fn end(&self) -> Self {
        match self {
            Change::Join { channel, member } => {
                Change::Leave { channel: channel.clone(), user: member.as_ref().map(|member| member.user_id.clone()) }
            }
            Change::SignIn { user } => Change::SignOut { user: user.clone() },
            end => end.clone(),
        }
    }
}

struct Node {
    holdings: Holdings,
    heard_at: Instant,
    /// The number of its next message.
    next: u64,
    /// Time at which it was asked for its holdings, because a message of it is missing. Its changes do not count until
    /// they arrive.
    asked_at: Option<Instant>,
}

/// The nodes of an app.
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
    pub(super) fn new() -> Self {
        Roster { nodes: HashMap::new(), all: Holdings::default() }
    }

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

    /// A message of a node with its number: a change, or something else.
    pub(super) fn on_message(&mut self, node: &str, number: u64, change: Option<&Change>, now: Instant) -> Outcome {
        let is_new = !self.nodes.contains_key(node);
        let entry = self.nodes.entry(node.to_owned()).or_insert_with(|| Node {
            holdings: Holdings::default(),
            heard_at: now,
            next: number,
            asked_at: None,
        });
        entry.heard_at = now;
        // The first message of a node that has just started has the number 0.
        let has_missed = number != entry.next || is_new && number != 0;
        entry.next = number.saturating_add(1);
        let asks = match entry.asked_at {
            None => has_missed,
            // The question or the answer may be lost, too.
            Some(asked_at) => now.saturating_duration_since(asked_at) >= ASK_EVERY,
        };
        if asks {
            entry.asked_at = Some(now);
        }
        let mut effects = Vec::new();
        if let Some(change) = change.filter(|_| entry.asked_at.is_none())
            && entry.holdings.apply(change)
        {
            self.apply_to_all(change, &mut effects);
        }
        Outcome { effects, asks }
    }

    /// Returns `true` if the holdings of a node are known.
    pub(super) fn knows(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.asked_at.is_none())
    }

    /// The holdings of a node have arrived.
    pub(super) fn on_holdings(&mut self, node: &str, number: u64, holdings: Holdings, now: Instant) -> Vec<Effect> {
        let entry = Node { holdings, heard_at: now, next: number.saturating_add(1), asked_at: None };
        let new = entry.holdings.changes();
        let old = self.nodes.insert(node.to_owned(), entry).map(|node| node.holdings.changes()).unwrap_or_default();
        let mut effects = Vec::new();
        // What is in both must not end in between.
        new.iter().for_each(|change| self.apply_to_all(change, &mut effects));
        old.iter().for_each(|change| self.apply_to_all(&change.end(), &mut effects));
        with_last_counts(effects)
    }

    /// A node has ended.
    pub(super) fn on_bye(&mut self, node: &str) -> Vec<Effect> {
        let changes = self.nodes.remove(node).map(|node| node.holdings.changes()).unwrap_or_default();
        let mut effects = Vec::new();
        changes.iter().for_each(|change| self.apply_to_all(&change.end(), &mut effects));
        with_last_counts(effects)
    }

    /// Nodes whose leases have ended.
    pub(super) fn expired(&self, own: &str, now: Instant) -> Vec<String> {
        let is_expired = |node: &Node| now.saturating_duration_since(node.heard_at) > LEASE;
        let expired = self.nodes.iter().filter(|(name, node)| *name != own && is_expired(node));
        expired.map(|(name, _)| name.clone()).collect()
    }

    /// Returns `true` if a node is the first one by name: it reports the effects of the end of others.
    pub(super) fn is_first(&self, own: &str) -> bool {
        self.nodes.keys().all(|node| node.as_str() >= own)
    }

    /// As [`is_first`](Self::is_first), without another node.
    pub(super) fn is_first_without(&self, own: &str, other: &str) -> bool {
        self.nodes.keys().all(|node| node.as_str() >= own || node == other)
    }

    /// Returns `true` if no node is known.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
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

/// The effects of many changes, with only the last count of each channel.
fn with_last_counts(mut effects: Vec<Effect>) -> Vec<Effect> {
    let mut counted = HashSet::new();
    effects.reverse();
    effects.retain(|effect| match effect {
        Effect::Count { channel } => counted.insert(channel.clone()),
        _ => true,
    });
    effects.reverse();
    effects
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        roster: Roster,
        numbers: HashMap<String, u64>,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            World { roster: Roster::new(), numbers: HashMap::new(), now: Instant::now() }
        }

        fn next(&mut self, node: &str) -> u64 {
            let number = self.numbers.entry(node.to_owned()).or_default();
            *number += 1;
            *number - 1
        }

        fn say(&mut self, node: &str, change: &Change) -> Vec<Effect> {
            let number = self.next(node);
            let outcome = self.roster.on_message(node, number, Some(change), self.now);
            assert!(!outcome.asks);
            outcome.effects
        }
    }

    fn member(user: &str) -> MemberData {
        MemberData { user_id: user.to_owned(), user_info: None }
    }

    fn join(channel: &str, user: Option<&str>) -> Change {
        Change::Join { channel: channel.to_owned(), member: user.map(member) }
    }

    fn leave(channel: &str, user: Option<&str>) -> Change {
        Change::Leave { channel: channel.to_owned(), user: user.map(str::to_owned) }
    }

    fn occupied(channel: &str) -> Effect {
        Effect::Occupied { channel: channel.to_owned() }
    }

    fn vacated(channel: &str) -> Effect {
        Effect::Vacated { channel: channel.to_owned() }
    }

    fn count(channel: &str) -> Effect {
        Effect::Count { channel: channel.to_owned() }
    }

    fn added(channel: &str, user: &str) -> Effect {
        Effect::MemberAdded { channel: channel.to_owned(), member: member(user) }
    }

    fn removed(channel: &str, user: &str) -> Effect {
        Effect::MemberRemoved { channel: channel.to_owned(), user: user.to_owned() }
    }

    #[test]
    fn first_and_last_subscription_of_all_nodes_count() {
        let mut world = World::new();
        assert_eq!(world.say("a", &join("c", None)), [occupied("c"), count("c")]);
        assert_eq!(world.say("b", &join("c", None)), [count("c")]);
        assert_eq!(world.roster.channel("c").unwrap().subscriptions, 2);
        assert_eq!(world.say("a", &leave("c", None)), [count("c")]);
        assert_eq!(world.say("a", &leave("c", None)), [], "a node ends only what it has");
        assert_eq!(world.say("b", &leave("c", None)), [vacated("c")]);
        assert_eq!(world.roster.channels().count(), 0);
    }

    #[test]
    fn user_is_a_member_from_the_first_to_the_last_connection() {
        let mut world = World::new();
        assert_eq!(world.say("a", &join("p", Some("u"))), [occupied("p"), added("p", "u"), count("p")]);
        assert_eq!(world.say("b", &join("p", Some("u"))), [count("p")]);
        assert_eq!(world.say("b", &join("p", Some("v"))), [added("p", "v"), count("p")]);
        let channel = world.roster.channel("p").unwrap();
        assert_eq!((channel.user_count(), channel.subscriptions), (2, 3));
        assert_eq!(world.say("a", &leave("p", Some("u"))), [count("p")]);
        assert_eq!(world.say("b", &leave("p", Some("u"))), [removed("p", "u"), count("p")]);
        assert_eq!(world.say("b", &leave("p", Some("v"))), [removed("p", "v"), vacated("p")]);
    }

    #[test]
    fn users_are_online_with_any_connection() {
        let mut world = World::new();
        let (on, off) = (Change::SignIn { user: "u".to_owned() }, Change::SignOut { user: "u".to_owned() });
        assert_eq!(world.say("a", &on), [Effect::Online { user: "u".to_owned() }]);
        assert_eq!(world.say("b", &on), []);
        assert_eq!(world.say("a", &off), []);
        assert!(world.roster.is_online("u"));
        assert_eq!(world.say("b", &off), [Effect::Offline { user: "u".to_owned() }]);
    }

    #[test]
    fn silent_node_ends_once_with_its_holdings() {
        let mut world = World::new();
        world.say("a", &join("p", Some("u")));
        world.say("b", &join("p", Some("u")));
        world.say("b", &join("p", Some("v")));
        world.now += LEASE + Duration::from_secs(1);
        let number = world.next("a");
        world.roster.on_message("a", number, None, world.now);
        assert_eq!(world.roster.expired("a", world.now), ["b"]);
        assert_eq!(world.roster.on_bye("b"), [removed("p", "v"), count("p")]);
        assert_eq!(world.roster.on_bye("b"), []);
        assert!(world.roster.is_first("a"));
    }

    #[test]
    fn node_with_a_missing_message_is_asked_once_for_its_holdings() {
        let mut world = World::new();
        world.say("a", &join("p", Some("u")));
        world.say("a", &join("p", Some("v")));
        world.next("a");
        let number = world.next("a");
        let outcome = world.roster.on_message("a", number, Some(&join("p", Some("w"))), world.now);
        assert_eq!(outcome, Outcome { effects: Vec::new(), asks: true });
        let number = world.next("a");
        let outcome = world.roster.on_message("a", number, Some(&leave("p", Some("w"))), world.now);
        assert_eq!(outcome, Outcome::default(), "it was asked");
        let mut holdings = Holdings::default();
        [join("p", Some("v")), join("p", Some("x"))].iter().for_each(|change| _ = holdings.apply(change));
        let number = world.next("a");
        let effects = world.roster.on_holdings("a", number, holdings, world.now);
        assert_eq!(effects, [added("p", "x"), removed("p", "u"), count("p")]);
        assert_eq!(world.say("a", &leave("p", Some("x"))), [removed("p", "x"), count("p")]);
    }

    #[test]
    fn node_that_has_started_earlier_is_asked() {
        let mut world = World::new();
        let outcome = world.roster.on_message("old", 17, Some(&join("c", None)), world.now);
        assert_eq!(outcome, Outcome { effects: Vec::new(), asks: true });
        assert_eq!(world.roster.channel("c"), None);
    }
}
