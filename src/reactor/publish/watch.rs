//! Functions that are called with what is published on a topic.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use slab::Slab;

use crate::{
    protocol::{Message, OwnedMessage},
    reactor::hub::Hub,
};

/// A function of [`Hub::watch_topic`]. An id is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicWatch {
    key: usize,
    serial: u64,
}

type Call = Box<dyn FnMut(&mut Hub, Message<'_>)>;

/// The functions, by topic.
#[derive(Default)]
pub(in crate::reactor) struct Watches {
    topics: HashMap<Rc<str>, Vec<TopicWatch>>,
    watches: Slab<Watch>,
    last_serial: u64,
    /// The id of the message that a watch is called with.
    event_id: Option<u64>,
}

struct Watch {
    topic: Rc<str>,
    serial: u64,
    /// `None` while it is called.
    call: Option<Call>,
    /// The ids of the events with which it will be called.
    waiting: VecDeque<u64>,
}

impl Watches {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    fn get_mut(&mut self, watch: TopicWatch) -> Option<&mut Watch> {
        self.watches.get_mut(watch.key).filter(|known| known.serial == watch.serial)
    }
}

impl Hub {
    /// Has `call` called with each message that is published on a topic, wherever that was: a subscriber that is no
    /// connection. In a [group](crate::ReactorGroup) it is called on this reactor.
    ///
    /// The call follows the publication as a [tick](Self::next_tick) does, in the order of publishing. It may publish,
    /// also on the same topic, and may end watches, its own included. A panic ends the watch.
    /// [`Published`](crate::Published) does not count watches.
    ///
    /// ```
    /// use ws_reactor::Reactor;
    ///
    /// let mut reactor = Reactor::new()?;
    /// let hub = reactor.hub();
    /// let watch = hub.watch_topic("orders", |hub, message| {
    ///     println!("{message}");
    ///     hub.stop();
    /// });
    /// hub.publish("orders", "one coffee");
    /// reactor.run()?;
    /// assert!(reactor.hub().unwatch_topic(watch));
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn watch_topic(&mut self, topic: &str, call: impl FnMut(&mut Hub, Message<'_>) + 'static) -> TopicWatch {
        let known = self.watches.topics.get_key_value(topic).map(|(topic, _)| Rc::clone(topic));
        let topic = known.unwrap_or_else(|| topic.into());
        let watches = &mut self.watches;
        watches.last_serial += 1;
        let serial = watches.last_serial;
        let key = watches.watches.insert(Watch {
            topic: Rc::clone(&topic),
            serial,
            call: Some(Box::new(call)),
            waiting: VecDeque::new(),
        });
        let watch = TopicWatch { key, serial };
        let of_topic = watches.topics.entry(Rc::clone(&topic)).or_default();
        of_topic.push(watch);
        if of_topic.len() == 1 {
            self.topics.hold(&topic);
        }
        watch
    }

    /// While a [watch](Self::watch_topic) is called: the id of its message in the [history](Self::keep_history) of the
    /// topic. `None` if it is in none.
    pub fn watched_event_id(&self) -> Option<u64> {
        self.watches.event_id
    }

    /// The id of the first event of a [history](Self::keep_history) with which a watch will be called. `None` if it has
    /// had them all. For a watch that reads the history, too: the calls follow the publications later.
    pub fn next_watched_event_id(&self, watch: TopicWatch) -> Option<u64> {
        let watch = self.watches.watches.get(watch.key).filter(|known| known.serial == watch.serial)?;
        watch.waiting.front().copied()
    }

    /// Ends a watch. Returns `false` if it has ended.
    pub fn unwatch_topic(&mut self, watch: TopicWatch) -> bool {
        if self.watches.get_mut(watch).is_none() {
            return false;
        }
        let Watch { topic, .. } = self.watches.watches.remove(watch.key);
        if let Some(of_topic) = self.watches.topics.get_mut(&topic) {
            of_topic.retain(|other| *other != watch);
            if of_topic.is_empty() {
                self.watches.topics.remove(&topic);
                self.topics.release(&topic);
            }
        }
        true
    }

    /// Has the watches of a topic called with a message.
    #[cold]
    pub(super) fn call_watches(&mut self, topic: &str, message: Message<'_>, event_id: Option<u64>) {
        // Those that are added later were not there when it was published.
        let Some(watches) = self.watches.topics.get(topic).cloned() else { return };
        let message = Rc::new(OwnedMessage::from(message));
        for watch in watches {
            let message = Rc::clone(&message);
            if let (Some(id), Some(known)) = (event_id, self.watches.get_mut(watch)) {
                known.waiting.push_back(id);
            }
            // One tick each: a panic ends no other.
            self.next_tick(move |hub| hub.call_watch(watch, (&*message).into(), event_id));
        }
    }

    fn call_watch(&mut self, watch: TopicWatch, message: Message<'_>, event_id: Option<u64>) {
        let Some(known) = self.watches.get_mut(watch) else { return };
        if event_id.is_some() {
            known.waiting.pop_front();
        }
        let Some(mut call) = known.call.take() else {
            // It has panicked.
            self.unwatch_topic(watch);
            return;
        };
        self.watches.event_id = event_id;
        call(self, message);
        self.watches.event_id = None;
        if let Some(watch) = self.watches.get_mut(watch) {
            watch.call = Some(call);
        }
    }
}
