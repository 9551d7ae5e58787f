//! Sharded pub/sub as it is: each channel at the node of a Redis Cluster that has its slot.
//!
//! The node of the URL has all slots until another answer is known, so a Redis that is no cluster needs no more.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    rc::{Rc, Weak},
    time::Duration,
};

use super::{
    super::{
        resp::Reply,
        settings::Settings,
        slot_map::{SLOTS, SlotMap, is_whole, read_slots, slot_of},
    },
    ChannelKind, PubSub, Receiver, is_of_cluster, read_count,
};
use crate::reactor::Hub;

/// The wait before a node is asked for the slots, so that many refusals lead to one question.
const ASK_AFTER: Duration = Duration::from_millis(50);

/// The wait before it is asked again, while a node is away or slots have none.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Sharded pub/sub of a Redis or a Redis Cluster.
#[derive(Clone)]
pub(crate) struct ShardedPubSub(Rc<RefCell<Nodes>>);

struct Nodes {
    settings: Settings,
    receiver: Option<Weak<dyn Receiver>>,
    /// By address.
    nodes: BTreeMap<String, PubSub>,
    slots: SlotMap,
    channels: BTreeSet<String>,
    /// A node has refused channels, or given them up: all are subscribed again.
    has_refused: bool,
    /// A question for the slots is scheduled, or not answered.
    is_asking: bool,
    /// Number of publications without a reply.
    in_flight: usize,
    /// Publications that a node has refused, for another one.
    refused: VecDeque<Publication>,
    /// Those behind them, to be sent after them.
    held: VecDeque<Publication>,
    waiting_bytes: usize,
}

struct Publication {
    channel: String,
    payload: Rc<[u8]>,
}

impl ShardedPubSub {
    pub(in super::super) fn new(settings: Settings) -> Self {
        ShardedPubSub(Rc::new(RefCell::new(Nodes {
            slots: vec![(0..=SLOTS - 1, settings.url.address.clone())],
            settings,
            receiver: None,
            nodes: BTreeMap::new(),
            channels: BTreeSet::new(),
            has_refused: false,
            is_asking: false,
            in_flight: 0,
            refused: VecDeque::new(),
            held: VecDeque::new(),
            waiting_bytes: 0,
        })))
    }

    /// Sets the receiver of messages.
    pub(crate) fn set_receiver(&self, receiver: &Rc<impl Receiver + 'static>) {
        let receiver: Weak<dyn Receiver> = Rc::downgrade(receiver) as Weak<dyn Receiver>;
        self.0.borrow_mut().receiver = Some(receiver);
    }

    /// Connects to the node of the URL.
    pub(crate) fn start(&self, hub: &mut Hub) {
        let address = self.0.borrow().settings.url.address.clone();
        self.add_node(hub, &address);
    }

    /// Subscribes a channel, now and after each loss.
    pub(crate) fn subscribe(&self, channel: &str) {
        self.0.borrow_mut().channels.insert(channel.to_owned());
        if let Some(node) = self.node_of(channel) {
            node.subscribe(ChannelKind::Sharded, &[channel]);
        }
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&self, channel: &str) {
        self.0.borrow_mut().channels.remove(channel);
        if let Some(node) = self.node_of(channel) {
            node.unsubscribe(ChannelKind::Sharded, &[channel]);
        }
    }

    /// Publishes a payload. It is lost if its node is away.
    pub(crate) fn publish(&self, hub: &mut Hub, channel: &str, payload: &[u8]) {
        let publication = Publication { channel: channel.to_owned(), payload: payload.into() };
        let waits = !self.0.borrow().refused.is_empty();
        match waits {
            true => self.0.borrow_mut().hold(publication),
            false => self.send(hub, publication),
        }
    }

    fn send(&self, hub: &mut Hub, publication: Publication) {
        let Some(node) = self.node_of(&publication.channel) else { return };
        self.0.borrow_mut().in_flight += 1;
        let (own, payload) = (self.clone(), Rc::clone(&publication.payload));
        let channel = publication.channel.clone();
        let command: &[&[u8]] = &[b"SPUBLISH", channel.as_bytes(), &payload];
        node.ask(hub, command, move |hub, reply| own.on_published(hub, publication, reply));
    }

    fn on_published(&self, hub: &mut Hub, publication: Publication, reply: Option<&Reply<'_>>) {
        let mut nodes = self.0.borrow_mut();
        nodes.in_flight -= 1;
        let is_refused = matches!(reply, Some(Reply::Error(error)) if is_of_cluster(error));
        if is_refused {
            nodes.refuse(publication);
        }
        let is_last = nodes.in_flight == 0 && !nodes.refused.is_empty() && !nodes.is_asking;
        drop(nodes);
        match is_refused {
            true => self.ask_after(hub, ASK_AFTER),
            // The slots have come before.
            false if is_last => self.send_refused(hub),
            false => {}
        }
    }

    /// Asks how many connections subscribe a channel.
    pub(crate) fn count(&self, hub: &mut Hub, channel: &str, call: impl FnOnce(&mut Hub, Option<usize>) + 'static) {
        let Some(node) = self.node_of(channel) else { return call(hub, None) };
        let command: &[&[u8]] = &[b"PUBSUB", b"SHARDNUMSUB", channel.as_bytes()];
        node.ask(hub, command, |hub, reply| call(hub, read_count(reply)));
    }

    fn node_of(&self, channel: &str) -> Option<PubSub> {
        let nodes = self.0.borrow();
        let slot = slot_of(channel.as_bytes());
        let (_, address) = nodes.slots.iter().find(|(slots, _)| slots.contains(&slot))?;
        nodes.nodes.get(address).cloned()
    }

    fn add_node(&self, hub: &mut Hub, address: &str) {
        let mut settings = self.0.borrow().settings.clone();
        settings.url.address = address.to_owned();
        let node = PubSub::new(settings);
        node.0.borrow_mut().receiver = self.0.borrow().receiver.clone();
        let own = Rc::downgrade(&self.0);
        node.set_on_trouble(Rc::new(move |hub, is_refused| {
            if let Some(nodes) = own.upgrade() {
                nodes.borrow_mut().has_refused |= is_refused;
                ShardedPubSub(nodes).ask_after(hub, ASK_AFTER);
            }
        }));
        self.0.borrow_mut().nodes.insert(address.to_owned(), node.clone());
        node.start(hub);
    }

    /// Asks a node for the slots of all, later.
    fn ask_after(&self, hub: &mut Hub, wait: Duration) {
        if mem::replace(&mut self.0.borrow_mut().is_asking, true) {
            return;
        }
        let own = self.clone();
        hub.add_timer(wait, move |hub| own.ask(hub));
    }

    fn ask(&self, hub: &mut Hub) {
        let connected = {
            let nodes = self.0.borrow();
            let mut connected = nodes.nodes.iter().filter(|(_, node)| node.is_connected());
            connected.next().map(|(address, node)| (address.clone(), node.clone()))
        };
        let Some((address, node)) = connected else {
            // All nodes may have new addresses, which that of the URL tells.
            let seed = self.0.borrow().settings.url.address.clone();
            let is_known = self.0.borrow().nodes.contains_key(&seed);
            if !is_known {
                self.add_node(hub, &seed);
            }
            return self.ask_again(hub);
        };
        let own = self.clone();
        let of_slots = node.clone();
        node.ask(hub, &[b"CLUSTER", b"MYID"], move |hub, reply| {
            let Some(id) = reply.and_then(Reply::as_bytes).map(<[u8]>::to_vec) else { return own.ask_again(hub) };
            of_slots.ask(hub, &[b"CLUSTER", b"SLOTS"], move |hub, reply| {
                match reply.and_then(|reply| read_slots(reply, &address, &id)) {
                    Some(slots) => own.set_slots(hub, slots),
                    None => own.ask_again(hub),
                }
            });
        });
    }

    /// Asks again in a while, if there is still something to know.
    fn ask_again(&self, hub: &mut Hub) {
        self.0.borrow_mut().is_asking = false;
        let is_complete = {
            let nodes = self.0.borrow();
            nodes.refused.is_empty() && !nodes.has_refused && nodes.nodes.values().all(PubSub::is_connected)
        };
        if !is_complete {
            self.ask_after(hub, ASK_AGAIN_AFTER);
        }
    }

    fn set_slots(&self, hub: &mut Hub, slots: SlotMap) {
        let addresses: BTreeSet<String> = slots.iter().map(|(_, address)| address.clone()).collect();
        let is_known = |address: &&String| self.0.borrow().nodes.contains_key(*address);
        let new: Vec<String> = addresses.iter().filter(|address| !is_known(address)).cloned().collect();
        new.iter().for_each(|address| self.add_node(hub, address));
        let channels = self.0.borrow().channels.clone();
        let before: Vec<_> = channels.iter().map(|channel| self.node_of(channel)).collect();
        let is_whole = is_whole(&slots);
        self.0.borrow_mut().slots = slots;
        let has_refused = mem::take(&mut self.0.borrow_mut().has_refused);
        for (channel, before) in channels.iter().zip(before) {
            let now = self.node_of(channel);
            let has_moved =
                before.as_ref().map(|node| Rc::as_ptr(&node.0)) != now.as_ref().map(|node| Rc::as_ptr(&node.0));
            if has_moved && let Some(before) = before {
                before.unsubscribe(ChannelKind::Sharded, &[channel]);
            }
            if (has_moved || has_refused)
                && let Some(now) = now
            {
                now.subscribe(ChannelKind::Sharded, &[channel]);
            }
        }
        let needless: Vec<PubSub> = {
            let mut nodes = self.0.borrow_mut();
            let (kept, needless) =
                mem::take(&mut nodes.nodes).into_iter().partition(|(address, _)| addresses.contains(address));
            nodes.nodes = kept;
            let needless: BTreeMap<String, PubSub> = needless;
            needless.into_values().collect()
        };
        needless.iter().for_each(|node| node.end(hub));
        self.send_refused(hub);
        match is_whole {
            true => self.ask_again(hub),
            false => {
                self.0.borrow_mut().is_asking = false;
                self.ask_after(hub, ASK_AGAIN_AFTER);
            }
        }
    }

    /// Sends what was refused, and what was held behind it: once no reply is missing, so that the order is kept.
    fn send_refused(&self, hub: &mut Hub) {
        let publications = {
            let mut nodes = self.0.borrow_mut();
            if nodes.in_flight > 0 {
                return;
            }
            nodes.waiting_bytes = 0;
            let refused = mem::take(&mut nodes.refused);
            refused.into_iter().chain(mem::take(&mut nodes.held))
        };
        publications.for_each(|publication| self.send(hub, publication));
    }
}

impl Nodes {
    fn refuse(&mut self, publication: Publication) {
        if self.takes(&publication) {
            self.refused.push_back(publication);
        }
    }

    fn hold(&mut self, publication: Publication) {
        if self.takes(&publication) {
            self.held.push_back(publication);
        }
    }

    /// Counts a publication that waits. Returns `false` if too much waits: it is lost.
    fn takes(&mut self, publication: &Publication) -> bool {
        self.waiting_bytes += publication.channel.len() + publication.payload.len();
        self.waiting_bytes <= self.settings.bounds.pending
    }
}
