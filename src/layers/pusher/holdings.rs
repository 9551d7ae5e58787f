//! The subscriptions and users of a node, and their changes. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::packet::MemberData;

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

/// The subscriptions and users of a node, or of all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holdings {
    pub(super) channels: BTreeMap<String, Channel>,
    /// Connections by user.
    pub(super) users: BTreeMap<String, usize>,
}

/// The subscriptions of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Channel {
    pub(super) subscriptions: usize,
    /// Members by user, each with its number of subscriptions.
    pub(super) members: BTreeMap<String, (usize, MemberData)>,
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

    /// Bytes of the channel as JSON, about.
    fn bytes(&self) -> usize {
        let of_member =
            |member: &MemberData| 2 * member.user_id.len() + member.user_info.as_ref().map_or(0, String::len);
        64 + self.members().map(|member| 64 + of_member(member)).sum::<usize>()
    }
}

impl Holdings {
    /// Applies a change. Returns `false`, without an effect, if it ends something that the node does not hold.
    pub(super) fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Join { channel, member } => {
                let channel = self.channels.entry(channel.clone()).or_default();
                channel.subscriptions += 1;
                if let Some(member) = member {
                    let new = || (0, member.clone());
                    channel.members.entry(member.user_id.clone()).or_insert_with(new).0 += 1;
                }
                true
            }
            Change::Leave { channel: name, user } => {
                let Some(channel) = self.channels.get_mut(name) else { return false };
                if let Some(user) = user {
                    let Some((count, _)) = channel.members.get_mut(user) else { return false };
                    *count -= 1;
                    if *count == 0 {
                        channel.members.remove(user);
                    }
                }
                channel.subscriptions -= 1;
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

    /// Returns `true` if all counts are possible.
    pub(super) fn is_valid(&self) -> bool {
        let is_valid = |channel: &Channel| {
            let counts = || channel.members.values().map(|(count, _)| *count);
            let sum = counts().try_fold(0_usize, usize::checked_add);
            channel.subscriptions > 0
                && counts().all(|count| count > 0)
                && sum.is_some_and(|sum| sum <= channel.subscriptions)
        };
        self.channels.values().all(is_valid) && self.users.values().all(|count| *count > 0)
    }

    /// Adds the holdings of another part.
    pub(super) fn extend(&mut self, part: Holdings) {
        self.channels.extend(part.channels);
        self.users.extend(part.users);
    }

    /// Splits the holdings into parts of about a number of bytes as JSON: at least one.
    pub(super) fn into_parts(self, bytes: usize) -> Vec<Holdings> {
        let (mut parts, mut left) = (vec![Holdings::default()], bytes);
        let mut part_for = |parts: &mut Vec<Holdings>, cost: usize| {
            if cost > left && *parts.last().unwrap_or(&Holdings::default()) != Holdings::default() {
                parts.push(Holdings::default());
                left = bytes;
            }
            left = left.saturating_sub(cost);
            parts.len() - 1
        };
        for (name, channel) in self.channels {
            let index = part_for(&mut parts, name.len() + channel.bytes());
            parts[index].channels.insert(name, channel);
        }
        for (user, count) in self.users {
            let index = part_for(&mut parts, user.len() + 8);
            parts[index].users.insert(user, count);
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holdings() -> Holdings {
        let mut holdings = Holdings::default();
        for number in 0..20 {
            let member = MemberData { user_id: format!("u{number}"), user_info: None };
            holdings.apply(&Change::Join { channel: "presence-a".to_owned(), member: Some(member) });
            holdings.apply(&Change::Join { channel: format!("c{number}"), member: None });
            holdings.apply(&Change::SignIn { user: format!("u{number}") });
        }
        holdings
    }

    #[test]
    fn parts_together_are_the_holdings() {
        let parts = holdings().into_parts(200);
        assert!((5..30).contains(&parts.len()), "{}", parts.len());
        let mut together = Holdings::default();
        parts.into_iter().for_each(|part| together.extend(part));
        assert_eq!(together, holdings());
        assert_eq!(holdings().into_parts(1 << 20).len(), 1);
        assert_eq!(Holdings::default().into_parts(10), [Holdings::default()]);
    }

    #[test]
    fn end_of_something_that_is_not_held_has_no_effect() {
        let mut changed = holdings();
        let leave =
            |channel: &str, user: &str| Change::Leave { channel: channel.to_owned(), user: Some(user.to_owned()) };
        for change in [leave("none", "u1"), leave("presence-a", "x"), Change::SignOut { user: "x".to_owned() }] {
            assert!(!changed.apply(&change));
        }
        assert_eq!(changed, holdings());
        assert!(changed.apply(&leave("presence-a", "u1")) && changed.channels["presence-a"].subscriptions == 19);
    }

    #[test]
    fn impossible_counts_are_not_valid() {
        assert!(holdings().is_valid() && Holdings::default().is_valid());
        let mut none = holdings();
        none.channels.insert("x".to_owned(), Channel::default());
        let mut few = holdings();
        few.channels.get_mut("presence-a").unwrap().subscriptions = 19;
        let mut user = holdings();
        user.users.insert("x".to_owned(), 0);
        assert!(![none, few, user].iter().any(Holdings::is_valid));
    }
}
