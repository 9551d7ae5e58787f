//! The nodes of a Redis Cluster: which of them has a channel, for sharded pub/sub.
//!
//! A channel belongs to one of 16,384 slots, by a hash of its name, and each slot to a node. Every node has a [`Link`]
//! of its own with the channels of its slots. The node of the URL has all slots until another answer is known, so a
//! Redis that is no cluster needs no more than that.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    mem,
    rc::{Rc, Weak},
    time::Duration,
};

use super::{
    connection,
    link::{Link, NodeNews, OnNews, RedisStats, SharedLink},
    settings::Settings,
    slot_map::{SLOTS, SlotMap, is_whole, slot_of},
};
use crate::reactor::{Hub, PublishedMessage};

/// The wait before the nodes are asked for their slots, so that many refusals lead to one question.
const ASK_AFTER: Duration = Duration::from_millis(50);

/// The wait before they are asked again, while a node is away or no node answers.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The longest wait before they are asked because commands are refused.
const MOST_PATIENCE: Duration = Duration::from_secs(2);

/// The nodes, shared by the backplane, their links and timers.
pub(super) type SharedShards = Rc<RefCell<Shards>>;

/// The nodes and their slots.
pub(super) struct Shards {
    own: Weak<RefCell<Shards>>,
    settings: Settings,
    /// By address.
    nodes: BTreeMap<String, SharedLink>,
    slots: SlotMap,
    /// Topics with subscribers in this process.
    wanted: BTreeSet<Rc<str>>,
    /// A question is scheduled.
    is_asking: bool,
    /// The wait before the next question: longer, as long as answers bring nothing new.
    patience: Duration,
    /// The node that subscribes the patterns.
    pattern_node: String,
    /// Counters of nodes that have left.
    past: RedisStats,
    is_ending: bool,
}

impl Shards {
    /// `seed`: the link to the node of the URL.
    pub(super) fn new(seed: &SharedLink) -> SharedShards {
        let settings = seed.borrow().settings.clone();
        let address = settings.url.address.clone();
        Rc::new_cyclic(|own| {
            seed.borrow_mut().on_news = Some(on_news(own));
            RefCell::new(Shards {
                own: Weak::clone(own),
                settings,
                nodes: BTreeMap::from([(address.clone(), Rc::clone(seed))]),
                slots: vec![(0..=SLOTS - 1, address)],
                wanted: BTreeSet::new(),
                is_asking: false,
                patience: ASK_AFTER,
                pattern_node: String::new(),
                past: RedisStats::default(),
                is_ending: false,
            })
        })
    }

    /// Has the node of the URL subscribe the patterns, until it leaves.
    pub(super) fn start(&mut self, hub: &mut Hub) {
        self.pattern_node.clone_from(&self.settings.url.address);
        if let Some(seed) = self.nodes.get(&self.pattern_node) {
            seed.borrow_mut().subscribe_patterns(hub);
        }
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
                if self.settings.has_one_order {
                    hub.deliver_held(published.hold(), None);
                }
            }
        }
    }

    /// Asks a node for the slots of all, soon.
    pub(super) fn ask_soon(&mut self, hub: &mut Hub) {
        self.ask_after(hub, self.patience);
    }

    /// The node that was asked has none to tell of.
    pub(super) fn ask_again(&mut self, hub: &mut Hub) {
        self.ask_after(hub, ASK_AGAIN_AFTER);
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
        let is_new = self.slots != slots;
        self.patience = if is_new { ASK_AFTER } else { (2 * self.patience).min(MOST_PATIENCE) };
        if is_new {
            self.move_slots(hub, slots);
        }
        self.nodes.values().for_each(|link| link.borrow_mut().try_refused_again(hub));
        let is_away = |link: &SharedLink| !link.borrow().counters.is_connected;
        if !is_whole(&self.slots) || self.nodes.values().any(is_away) {
            // Another node takes the slots, perhaps.
            self.ask_after(hub, ASK_AGAIN_AFTER);
        }
    }

    fn move_slots(&mut self, hub: &mut Hub, slots: SlotMap) {
        let before: Vec<_> = self.wanted.iter().map(|topic| (Rc::clone(topic), self.link_of(topic).cloned())).collect();
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
                old.borrow_mut().give_up(hub, &topic);
            }
            if let Some(new) = new {
                new.borrow_mut().subscribe(hub, &topic);
            }
        }
        self.leave_nodes_without_slots(hub);
        if !self.nodes.contains_key(&self.pattern_node)
            && let Some((address, link)) = self.nodes.first_key_value()
        {
            self.pattern_node.clone_from(address);
            link.borrow_mut().subscribe_patterns(hub);
        }
    }

    fn link_to(&self, address: &str) -> SharedLink {
        let mut settings = self.settings.clone();
        settings.url.address = address.to_owned();
        let link = Link::new(settings);
        link.borrow_mut().on_news = Some(on_news(&self.own));
        link
    }

    fn leave_nodes_without_slots(&mut self, hub: &mut Hub) {
        let is_in_use = |address: &String| self.slots.iter().any(|(_, owner)| owner == address);
        let needless: Vec<String> = self.nodes.keys().filter(|address| !is_in_use(address)).cloned().collect();
        for address in needless {
            let Some(link) = self.nodes.remove(&address) else { continue };
            let kept = link.borrow_mut().leave(hub);
            self.past.add(&link.borrow().counters);
            for kept in kept {
                match kept.topic().and_then(|topic| self.link_of(topic)) {
                    Some(link) => link.borrow_mut().publish_kept(hub, kept),
                    None => self.past.lost += 1,
                }
            }
        }
    }

    /// Delivers what is held.
    pub(super) fn release(&mut self, hub: &mut Hub) {
        self.nodes.values().for_each(|link| link.borrow_mut().deliver_all_held(hub));
    }

    /// Ends all connections.
    pub(super) fn leave(&mut self, hub: &mut Hub) {
        self.is_ending = true;
        self.nodes.values().for_each(|link| drop(link.borrow_mut().leave(hub)));
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

/// Passes the news of a link on. Not within the call, in which the link is in use.
fn on_news(shards: &Weak<RefCell<Shards>>) -> OnNews {
    let shards = Weak::clone(shards);
    Rc::new(move |hub, news| {
        let Some(shards) = shards.upgrade() else { return };
        hub.next_tick(move |hub| match news {
            NodeNews::IsOutdated => shards.borrow_mut().ask_soon(hub),
            NodeNews::Slots(slots) => shards.borrow_mut().set_slots(hub, slots),
            NodeNews::NoSlots => shards.borrow_mut().ask_again(hub),
        });
    })
}
