//! Topics and their subscribers. Each side of a membership stores its position on the other side, so that leaving a
//! topic takes constant time.

use std::{
    collections::{HashMap, HashSet},
    mem,
    rc::Rc,
};

use slab::Slab;

use crate::reactor::slack::{Peak, shrink_list, shrink_slab};

/// Topics and their members. A topic exists while it has members, or is held.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// A keyed hash function, because the names may come from peers.
    names: HashMap<Rc<str>, usize>,
    topics: Slab<Topic>,
    /// Keys of the topics that have a subscriber that is no connection.
    held: HashSet<usize>,
    /// Indexed by the key of the connection.
    subscriptions: Vec<Vec<Subscription>>,
    peak: Peak,
    /// Topics that have begun or ceased to have members, for a backplane. `None` without one.
    edges: Option<Vec<TopicEdge>>,
}

#[derive(Debug)]
struct Topic {
    name: Rc<str>,
    members: Vec<Member>,
}

/// A connection in the member list of a topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) connection: u32,
    /// Position in the connection's list of subscriptions.
    slot: u32,
}

/// A topic in the subscription list of a connection.
#[derive(Debug, Clone, Copy)]
struct Subscription {
    topic: u32,
    /// Position in the topic's list of members.
    slot: u32,
}

/// A topic has begun or ceased to have subscribers on a reactor.
#[derive(Debug)]
pub(crate) struct TopicEdge {
    pub(crate) topic: Box<str>,
    pub(crate) has_subscribers: bool,
}

impl Topics {
    /// Adds a connection to a topic. Returns `false` if it is a member already. Linear in the length of the shorter
    /// list: topics of the connection, or members of the topic.
    pub(crate) fn subscribe(&mut self, connection: usize, name: &str) -> bool {
        let key = self.key_of(name);
        if self.subscriptions.len() <= connection {
            self.subscriptions.resize_with(connection + 1, Vec::new);
        }
        if self.slot(connection, key).is_some() {
            return false;
        }
        let own = &mut self.subscriptions[connection];
        let members = &mut self.topics[key].members;
        members.push(Member { connection: connection as u32, slot: own.len() as u32 });
        own.push(Subscription { topic: key as u32, slot: members.len() as u32 - 1 });
        true
    }

    /// The key of a topic, which exists from now on.
    #[inline]
    fn key_of(&mut self, name: &str) -> usize {
        if let Some(key) = self.names.get(name) {
            return *key;
        }
        let name: Rc<str> = name.into();
        let key = self.topics.insert(Topic { name: Rc::clone(&name), members: Vec::new() });
        self.note_edge(&name, true);
        self.names.insert(name, key);
        self.peak.note(self.topics.len());
        key
    }

    /// Returns `true` if a topic has subscribers of any kind.
    pub(crate) fn exists(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Adds a subscriber that is no connection.
    pub(crate) fn hold(&mut self, name: &str) {
        let key = self.key_of(name);
        self.held.insert(key);
    }

    /// Removes the subscriber that is no connection.
    pub(crate) fn release(&mut self, name: &str) {
        let Some(key) = self.names.get(name).copied() else { return };
        self.held.remove(&key);
        if self.topics[key].members.is_empty() {
            self.remove_topic(key);
        }
    }

    #[inline]
    fn remove_topic(&mut self, key: usize) {
        let gone = self.topics.remove(key);
        self.names.remove(&gone.name);
        self.note_edge(&gone.name, false);
    }

    /// Removes a connection from a topic. Returns `false` if it is not a member.
    pub(crate) fn unsubscribe(&mut self, connection: usize, name: &str) -> bool {
        let Some(slot) = self.names.get(name).and_then(|key| self.slot(connection, *key)) else { return false };
        self.remove(connection, slot);
        true
    }

    /// Position of a topic in the connection's list; searches the shorter of the two lists.
    fn slot(&self, connection: usize, topic: usize) -> Option<usize> {
        let own = self.subscriptions.get(connection).map_or(&[][..], Vec::as_slice);
        let members = &self.topics[topic].members;
        match own.len() <= members.len() {
            true => own.iter().position(|subscription| subscription.topic as usize == topic),
            false => {
                let member = members.iter().find(|member| member.connection as usize == connection);
                member.map(|member| member.slot as usize)
            }
        }
    }

    /// Removes a connection from all its topics.
    pub(crate) fn leave_all(&mut self, connection: usize) {
        while self.subscriptions.get(connection).is_some_and(|own| !own.is_empty()) {
            self.remove(connection, self.subscriptions[connection].len() - 1);
        }
        if let Some(own) = self.subscriptions.get_mut(connection) {
            *own = Vec::new();
        }
    }

    /// The members of a topic.
    pub(crate) fn members(&self, name: &str) -> &[Member] {
        self.names.get(name).map_or(&[], |key| &self.topics[*key].members)
    }

    /// Has topics reported from now on that begin and cease to have members, those that have some first.
    pub(crate) fn report_edges(&mut self) {
        let edge = |name: &Rc<str>| TopicEdge { topic: (**name).into(), has_subscribers: true };
        self.edges.get_or_insert_with(|| self.names.keys().map(edge).collect());
    }

    fn note_edge(&mut self, name: &Rc<str>, has_subscribers: bool) {
        if let Some(edges) = &mut self.edges {
            edges.push(TopicEdge { topic: (**name).into(), has_subscribers });
        }
    }

    #[inline]
    pub(crate) fn has_edges(&self) -> bool {
        self.edges.as_ref().is_some_and(|edges| !edges.is_empty())
    }

    /// The edges since the last call.
    pub(crate) fn take_edges(&mut self) -> Vec<TopicEdge> {
        self.edges.as_mut().map(mem::take).unwrap_or_default()
    }

    /// Returns `true` if the tables have become much larger than their contents.
    pub(crate) fn has_excess(&self) -> bool {
        self.peak.is_past(self.topics.len(), self.topics.capacity())
    }

    /// Frees unused capacity.
    pub(crate) fn shrink(&mut self) {
        self.peak.reset(self.topics.len());
        self.names.shrink_to_fit();
        shrink_slab(&mut self.topics);
        let used = self.subscriptions.iter().rposition(|own| !own.is_empty()).map_or(0, |last| last + 1);
        self.subscriptions.truncate(used);
        shrink_list(&mut self.subscriptions);
    }

    fn remove(&mut self, connection: usize, slot: usize) {
        let own = &mut self.subscriptions[connection];
        let Subscription { topic, slot: at } = own.swap_remove(slot);
        if let Some(moved) = own.get(slot) {
            self.topics[moved.topic as usize].members[moved.slot as usize].slot = slot as u32;
        }
        let members = &mut self.topics[topic as usize].members;
        members.swap_remove(at as usize);
        if let Some(moved) = members.get(at as usize) {
            self.subscriptions[moved.connection as usize][moved.slot as usize].slot = at;
        } else if members.is_empty() && (self.held.is_empty() || !self.held.contains(&(topic as usize))) {
            self.remove_topic(topic as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topic_is_removed_with_its_last_member() {
        let mut topics = Topics::default();
        assert!(topics.subscribe(3, "news"));
        assert!(!topics.subscribe(3, "news"), "second subscription of the same member");
        assert!(topics.unsubscribe(3, "news"));
        assert!(!topics.unsubscribe(3, "news"));
        assert!(topics.names.is_empty() && topics.topics.is_empty());
    }

    #[test]
    fn topic_that_is_held_stays_without_members() {
        let mut topics = Topics::default();
        topics.report_edges();
        topics.hold("news");
        assert!(topics.subscribe(3, "news") && topics.unsubscribe(3, "news"));
        assert!(topics.subscribe(4, "news"));
        topics.release("news");
        topics.release("unknown");
        let edges =
            |topics: &mut Topics| topics.take_edges().iter().map(|edge| edge.has_subscribers).collect::<Vec<_>>();
        assert_eq!(edges(&mut topics), [true]);
        assert!(topics.unsubscribe(4, "news"));
        assert_eq!(edges(&mut topics), [false]);
        assert!(topics.topics.is_empty());
    }

    proptest! {
        #[test]
        fn topics_agree_with_a_map_of_sets(steps in proptest::collection::vec((0_u8..8, 0_usize..6, 0_u8..5), 1..200)) {
            let (mut topics, mut model) = (Topics::default(), BTreeMap::<String, BTreeSet<usize>>::new());
            for (step, connection, topic) in steps {
                let name = format!("topic {topic}");
                match step {
                    0 => {
                        topics.leave_all(connection);
                        model.values_mut().for_each(|members| { members.remove(&connection); });
                    }
                    1..=3 => {
                        let was_there = model.entry(name.clone()).or_default().remove(&connection);
                        prop_assert_eq!(topics.unsubscribe(connection, &name), was_there);
                    }
                    _ => {
                        let is_new = topics.subscribe(connection, &name);
                        prop_assert_eq!(is_new, model.entry(name).or_default().insert(connection));
                    }
                }
                for (name, members) in &model {
                    let ours = topics.members(name).iter().map(|member| member.connection as usize);
                    let ours: BTreeSet<usize> = ours.collect();
                    prop_assert_eq!(&ours, members);
                }
            }
        }
    }
}
