//! The nodes of a Redis Cluster: which of them has a channel, for sharded pub/sub.
//!
//! A channel belongs to one of 16,384 slots, by a hash of its name, and each slot to a node. Every node has a [`Link`]
//! of its own with the channels of its slots. The node of the URL has all slots until another answer is known, so a
//! Redis that is no cluster needs no more than that.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    mem,
    ops::RangeInclusive,
    rc::{Rc, Weak},
    time::Duration,
};

use super::{
    connection,
    link::{Link, RedisStats, SharedLink},
    resp::Reply,
    sentinel::join,
    settings::Settings,
};
use crate::reactor::{Hub, PublishedMessage};

/// Number of slots.
const SLOTS: u16 = 16_384;

/// The wait before the nodes are asked for their slots, so that many refusals lead to one question.
const ASK_AFTER: Duration = Duration::from_millis(50);

/// The wait before they are asked again, while a node is away or no node answers.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The nodes, shared by the backplane, their links and timers.
pub(super) type SharedShards = Rc<RefCell<Shards>>;

/// The nodes and their slots.
pub(super) struct Shards {
    own: Weak<RefCell<Shards>>,
    settings: Settings,
    /// By address.
    nodes: BTreeMap<String, SharedLink>,
    slots: Vec<(RangeInclusive<u16>, String)>,
    /// Topics with subscribers in this process.
    wanted: BTreeSet<Box<str>>,
    /// A question is scheduled, or has no answer yet.
    is_asking: bool,
    /// Counters of nodes that have left.
    past: RedisStats,
    is_ending: bool,
}

/// The slots of each node, from the answer to `CLUSTER SLOTS`.
pub(super) type SlotMap = Vec<(RangeInclusive<u16>, String)>;

impl Shards {
    /// `seed`: the link to the node of the URL.
    pub(super) fn new(seed: &SharedLink) -> SharedShards {
        let settings = seed.borrow().settings.clone();
        let address = settings.url.address.clone();
        Rc::new_cyclic(|own| {
            seed.borrow_mut().shards = Some(Weak::clone(own));
            RefCell::new(Shards {
                own: Weak::clone(own),
                settings,
                nodes: BTreeMap::from([(address.clone(), Rc::clone(seed))]),
                slots: vec![(0..=SLOTS - 1, address)],
                wanted: BTreeSet::new(),
                is_asking: false,
                past: RedisStats::default(),
                is_ending: false,
            })
        })
    }

    /// The link to the node that has a topic.
    fn link_of(&self, topic: &str) -> Option<&SharedLink> {
        let slot = slot_of(&[self.settings.prefix.as_bytes(), topic.as_bytes()].concat());
        let (_, address) = self.slots.iter().find(|(slots, _)| slots.contains(&slot))?;
        self.nodes.get(address)
    }

    pub(super) fn subscribe(&mut self, hub: &mut Hub, topic: &str) {
        self.wanted.insert(topic.into());
        if let Some(link) = self.link_of(topic) {
            link.borrow_mut().subscribe(hub, topic);
        }
    }

    pub(super) fn unsubscribe(&mut self, hub: &mut Hub, topic: &str) {
        self.wanted.remove(topic);
        if let Some(link) = self.link_of(topic) {
            link.borrow_mut().unsubscribe(hub, topic);
        }
    }

    pub(super) fn publish(&mut self, hub: &mut Hub, published: &PublishedMessage<'_>) {
        match self.link_of(published.topic) {
            Some(link) => link.borrow_mut().publish(hub, published),
            None => {
                self.past.lost += 1;
                if self.settings.bounds.holds_own {
                    hub.deliver_held(published.hold(), None);
                }
            }
        }
    }

    /// Asks a node for the slots of all, soon.
    pub(super) fn ask_soon(&mut self, hub: &mut Hub) {
        self.ask_after(hub, ASK_AFTER);
    }

    fn ask_after(&mut self, hub: &mut Hub, wait: Duration) {
        if self.is_ending || mem::replace(&mut self.is_asking, true) {
            return;
        }
        let own = Weak::clone(&self.own);
        hub.add_timer(wait, move |hub| {
            if let Some(shards) = own.upgrade() {
                shards.borrow_mut().ask(hub);
            }
        });
    }

    fn ask(&mut self, hub: &mut Hub) {
        self.is_asking = false;
        let mut connected = self.nodes.values().filter(|link| link.borrow().counters.is_connected);
        match connected.next() {
            // The answer comes by `set_slots`, or the link is lost, or made anew.
            Some(link) => link.borrow_mut().ask_for_slots(hub),
            None => self.ask_after(hub, ASK_AGAIN_AFTER),
        }
    }

    /// A node has said which node has which slots.
    pub(super) fn set_slots(&mut self, hub: &mut Hub, slots: SlotMap) {
        if self.is_ending {
            return;
        }
        let before: Vec<_> = self.wanted.iter().map(|topic| (topic.clone(), self.link_of(topic).cloned())).collect();
        for (_, address) in &slots {
            if !self.nodes.contains_key(address) {
                let link = self.link_to(address);
                connection::connect(&link, hub);
                self.nodes.insert(address.clone(), link);
            }
        }
        self.slots = slots;
        for (topic, old) in before {
            let new = self.link_of(&topic);
            if old.as_ref().map(Rc::as_ptr) == new.map(Rc::as_ptr) {
                continue;
            }
            if let Some(old) = old {
                old.borrow_mut().unsubscribe(hub, &topic);
            }
            if let Some(new) = new {
                new.borrow_mut().subscribe(hub, &topic);
            }
        }
        self.leave_nodes_without_slots(hub);
        let is_away = |link: &SharedLink| !link.borrow().counters.is_connected;
        self.nodes.values().for_each(|link| link.borrow_mut().try_refused_again(hub));
        if self.nodes.values().any(is_away) {
            // Another node takes its slots, perhaps.
            self.ask_after(hub, ASK_AGAIN_AFTER);
        }
    }

    fn link_to(&self, address: &str) -> SharedLink {
        let mut settings = self.settings.clone();
        settings.url.address = address.to_owned();
        let link = Link::new(settings);
        link.borrow_mut().shards = Some(Weak::clone(&self.own));
        link
    }

    fn leave_nodes_without_slots(&mut self, hub: &mut Hub) {
        let Shards { nodes, slots, past, .. } = self;
        nodes.retain(|address, link| {
            let is_in_use = slots.iter().any(|(_, owner)| owner == address);
            if !is_in_use {
                let mut link = link.borrow_mut();
                past.add(&link.counters);
                link.leave(hub);
            }
            is_in_use
        });
    }

    /// The counters of all nodes.
    pub(super) fn stats(&self) -> RedisStats {
        let mut stats = self.past;
        self.nodes.values().for_each(|link| stats.add(&link.borrow().counters));
        stats.is_connected = self.nodes.values().all(|link| link.borrow().counters.is_connected);
        stats
    }

    /// Makes no further attempt.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
        self.nodes.values().for_each(|link| link.borrow_mut().end());
    }
}

/// Reads the answer to `CLUSTER SLOTS` of the node that is `asked`, which has this id. `None` if it is none.
pub(super) fn read_slots(reply: &Reply<'_>, asked: &str, own_id: &[u8]) -> Option<SlotMap> {
    let range = |reply: &Reply<'_>| {
        let [Reply::Integer(first), Reply::Integer(last), master, ..] = reply.items() else { return None };
        let [host, Reply::Integer(port), id, ..] = master.items() else { return None };
        // It may have another name there than in the URL, or none.
        let is_asked = id.as_bytes() == Some(own_id);
        let address = match host.as_bytes().filter(|_| !is_asked) {
            Some(host) if !host.is_empty() && host != b"?" => join(host, port.to_string().as_bytes()),
            _ => asked.to_owned(),
        };
        Some((u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?, address))
    };
    let slots: SlotMap = reply.items().iter().map(range).collect::<Option<_>>()?;
    (!slots.is_empty()).then_some(slots)
}

/// The slot of a channel: a hash of its name, or of the part in the first braces if there are some.
fn slot_of(channel: &[u8]) -> u16 {
    let position = |bytes: &[u8], octet| bytes.iter().position(|other| *other == octet);
    let tag = position(channel, b'{').and_then(|open| {
        let rest = &channel[open + 1..];
        position(rest, b'}').filter(|length| *length > 0).map(|length| &rest[..length])
    });
    crc16(tag.unwrap_or(channel)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, octet| {
        (0..8).fold(crc ^ u16::from(*octet) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first is the check value of the CRC. The others are those of `CLUSTER KEYSLOT` of Redis 7.0.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        let cases: [(&str, u16); 6] = [
            ("123456789", 12739),
            ("foo", 12182),
            ("{user1000}.following", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
        ];
        for (channel, slot) in cases {
            assert_eq!(slot_of(channel.as_bytes()), slot, "{channel}");
        }
    }

    #[test]
    fn slots_of_nodes_are_read_and_an_answer_that_is_none_is_not() {
        let node = |host: Reply<'static>, port| {
            let id = if port == 4 { &b"own"[..] } else { b"other" };
            Reply::List(vec![host, Reply::Integer(port), Reply::Text(id)])
        };
        let range = |first, last, node| Reply::List(vec![Reply::Integer(first), Reply::Integer(last), node]);
        let slots = Reply::List(vec![
            range(0, 99, node(Reply::Text(b"10.0.0.1"), 1)),
            range(100, 16383, node(Reply::Text(b"::1"), 2)),
            range(7, 7, node(Reply::Null, 3)),
            range(8, 9, node(Reply::Text(b"10.0.0.4"), 4)),
        ]);
        let expected = [(0..=99, "10.0.0.1:1"), (100..=16383, "[::1]:2"), (7..=7, "asked:9"), (8..=9, "asked:9")];
        let expected = expected.map(|(slots, address)| (slots, address.to_owned()));
        assert_eq!(read_slots(&slots, "asked:9", b"own"), Some(expected.to_vec()));
        for none in [Reply::Error(b"ERR no cluster"), Reply::List(vec![]), Reply::List(vec![Reply::Null])] {
            assert_eq!(read_slots(&none, "asked:9", b"own"), None);
        }
    }
}
