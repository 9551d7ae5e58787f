//! The messages between the nodes of an app.

use std::{
    collections::VecDeque,
    rc::{Rc, Weak},
    time::Duration,
};

use super::{
    app::{App, RESTART, close_all},
    envelope::{Envelope, Message},
    events::PusherEvent,
    holdings::Change,
    liveness::EXPIRE_EVERY,
    parts::{Content, PART_BYTES},
    roster::{ALIVE_EVERY, Effect, LEASE, Outcome, Position},
};
use crate::reactor::{HistoryLimits, Hub};

/// Time in which the others answer a new node.
const GATHER: Duration = Duration::from_millis(200);

/// Time after which a node without a connection to the others is ready.
const READY: Duration = Duration::from_secs(5);

/// Time after the start of a node in which the holdings of the others arrive.
const EARLY: Duration = Duration::from_secs(1);

/// Most events that are not reported in this time.
const MAX_EARLY: usize = 10_000;

impl App {
    /// Joins the other nodes, unless the app has joined them.
    pub(super) fn start(self: &Rc<Self>, hub: &mut Hub) {
        if self.node.get().is_some() {
            return;
        }
        let mut random = [0; 16];
        hub.random(&mut random);
        self.node.get_or_init(|| format!("{:032x}", u128::from_ne_bytes(random)));
        if hub.group_size() > 1 {
            // A topic with a history has one order on all reactors of a group.
            hub.keep_history(&self.topic, HistoryLimits::new().max_events(1));
        }
        let app = Rc::downgrade(self);
        hub.watch_topic(&self.topic, move |hub, message| {
            if let Some((app, text)) = app.upgrade().zip(message.as_text()) {
                app.on_topic(hub, text);
            }
        });
        self.follow_liveness(hub, Message::Hello);
        self.every(hub, ALIVE_EVERY, |app, hub| _ = app.publish(hub, Message::Alive));
        self.every(hub, EXPIRE_EVERY, App::expire);
        // Without a connection to the others, their holdings do not arrive.
        self.after(hub, READY, |app, hub| app.become_ready(hub));
        self.after(hub, LEASE, |app, hub| app.report_early(hub));
    }

    /// Calls `call` once the holdings of the other nodes have arrived, or there is no connection to them for a time.
    pub(super) fn when_ready(&self, hub: &mut Hub, call: impl FnOnce(&mut Hub) + 'static) {
        match &mut *self.waiting_calls.borrow_mut() {
            Some(waiting) => waiting.push(Box::new(call)),
            None => hub.next_tick(call),
        }
    }

    fn become_ready(&self, hub: &mut Hub) {
        let waiting = self.waiting_calls.take();
        waiting.into_iter().flatten().for_each(|call| hub.next_tick(call));
    }

    fn every(self: &Rc<Self>, hub: &mut Hub, interval: Duration, call: impl Fn(&Rc<Self>, &mut Hub) + 'static) {
        let app: Weak<App> = Rc::downgrade(self);
        hub.add_periodic_timer(interval, move |hub| {
            if let Some(app) = app.upgrade() {
                call(&app, hub);
            }
        });
    }

    fn after(self: &Rc<Self>, hub: &mut Hub, time: Duration, call: impl FnOnce(&Rc<Self>, &mut Hub) + 'static) {
        let app: Weak<App> = Rc::downgrade(self);
        hub.add_timer(time, move |hub| {
            if let Some(app) = app.upgrade() {
                call(&app, hub);
            }
        });
    }

    /// Notes when the messages of the other nodes begin to arrive, with a first message, and when they cease to.
    fn follow_liveness(self: &Rc<Self>, hub: &mut Hub, first: Message) {
        let app: Weak<App> = Rc::downgrade(self);
        hub.when_live(&self.topic, move |hub| {
            let Some(app) = app.upgrade() else { return };
            app.liveness.borrow_mut().on_live(hub.now());
            app.publish(hub, first);
            let of_app = Rc::downgrade(&app);
            hub.when_interrupted(&app.topic, move |hub| {
                if let Some(app) = of_app.upgrade() {
                    app.liveness.borrow_mut().on_interrupted();
                    app.follow_liveness(hub, Message::Back);
                }
            });
        });
    }

    /// Returns `true` if an interruption has not ended for all nodes.
    pub(super) fn is_cut_off(&self, hub: &Hub) -> bool {
        self.liveness.borrow().was_interrupted() && !self.is_settled(hub)
    }

    /// Returns `true` if a message that is published now reaches all other nodes.
    fn is_settled(&self, hub: &Hub) -> bool {
        let has_heard = |since| self.roster.borrow().has_heard_all(self.node(), since);
        self.liveness.borrow().is_settled(hub.now(), has_heard)
    }

    fn on_topic(self: &Rc<Self>, hub: &mut Hub, text: &str) {
        let Some(Envelope { node, number, message }) = Envelope::decode(text) else {
            if hub.may_warn() {
                log::warn!(target: super::LOG, "dropped a malformed message on the topic {:?}", self.topic);
            }
            return;
        };
        let is_own = node == self.node();
        if is_own {
            self.backlog.borrow_mut().pop(number);
        }
        match message {
            Message::Holdings { holdings, last_token, is_first, is_last } => {
                let position = Position { is_first, is_last };
                let outcome = self.roster.borrow_mut().on_part(&node, number, holdings, position, hub.now());
                self.settle(hub, &node, outcome);
                if !is_own {
                    self.drop_early();
                }
                if is_own && is_last && self.roster.borrow().knows(&node) {
                    self.confirm_pending(hub, last_token);
                }
            }
            Message::Change { change, token } => {
                self.on_message(hub, &node, number, Some(&change));
                if let Some(token) = token.filter(|_| is_own) {
                    self.on_own_token(hub, token);
                }
            }
            message => {
                self.on_message(hub, &node, number, None);
                self.on_other(hub, &node, message);
            }
        }
        if is_own {
            self.on_return(hub, number);
        }
    }

    /// A message of this node has come back, and was handled.
    fn on_return(self: &Rc<Self>, hub: &mut Hub, number: u64) {
        let is_due = self.parts.borrow_mut().on_return(number);
        if is_due {
            self.send_parts(hub);
        }
        let answers = self.answers.borrow_mut().take(number);
        if answers.is_empty() {
            return;
        }
        // A message also comes back when the backplane gives up on it, and the interruption is noted in this turn.
        let app: Weak<App> = Rc::downgrade(self);
        hub.next_tick(move |hub| {
            let Some(app) = app.upgrade() else { return };
            let is_settled = app.is_settled(hub);
            answers.into_iter().for_each(|(answer, is_returned)| answer.give(hub, is_returned && is_settled));
        });
    }

    /// Publishes a message that changes nothing. Once it has come back, all earlier changes are known. Returns its
    /// number.
    pub(super) fn publish_mark(&self, hub: &mut Hub) -> Option<u64> {
        self.publish(hub, Message::Alive)
    }

    fn on_message(self: &Rc<Self>, hub: &mut Hub, node: &str, number: u64, change: Option<&Change>) {
        let outcome = self.roster.borrow_mut().on_message(node, number, change, hub.now());
        self.settle(hub, node, outcome);
    }

    /// Carries out the consequences of a message of a node.
    fn settle(self: &Rc<Self>, hub: &mut Hub, node: &str, outcome: Outcome) {
        let is_own = node == self.node();
        if outcome.asks && is_own {
            self.parts.borrow_mut().add_once(Content::Holdings);
            self.send_parts(hub);
        } else if outcome.asks {
            self.publish(hub, Message::Ask { node: node.to_owned() });
        }
        self.notify(hub, outcome.effects, is_own);
    }

    fn on_other(self: &Rc<Self>, hub: &mut Hub, node: &str, message: Message) {
        let is_own = node == self.node();
        match message {
            Message::Event(event) => self.deliver(hub, &event),
            Message::Terminate { user } => self.terminate_local(hub, &user),
            Message::Hello if is_own => {
                self.after(hub, GATHER, |app, hub| app.become_ready(hub));
                self.after(hub, EARLY, |app, hub| app.report_early(hub));
            }
            Message::Hello => {
                self.parts.borrow_mut().add(Content::Holdings);
                self.parts.borrow_mut().add(Content::Cached);
                self.send_parts(hub);
            }
            Message::Back if !is_own => _ = self.publish(hub, Message::Alive),
            Message::Ask { node } if node == self.node() => {
                self.parts.borrow_mut().add_once(Content::Holdings);
                self.send_parts(hub);
            }
            Message::Cached { events } if !is_own => {
                if node < self.node() {
                    // One node is enough.
                    self.parts.borrow_mut().cancel(Content::Cached);
                }
                let now = hub.now();
                for (event, left_ms) in events {
                    self.cache.borrow_mut().restore(event, Duration::from_millis(left_ms), now);
                }
            }
            Message::Bye if is_own && self.roster.borrow().is_alone(node) => {
                let effects = self.roster.borrow_mut().end(node);
                self.notify(hub, effects, true);
            }
            Message::Bye if !is_own => _ = self.publish(hub, Message::Ended { node: node.to_owned() }),
            // The first of these messages has the effects.
            Message::Ended { node: ended } => {
                let effects = self.roster.borrow_mut().end(&ended);
                self.notify(hub, effects, is_own);
                if ended == self.node() {
                    self.parts.borrow_mut().add_once(Content::Holdings);
                    self.send_parts(hub);
                }
            }
            _ => {}
        }
    }

    /// Sends the next part, if it is due.
    fn send_parts(&self, hub: &mut Hub) {
        let now = hub.now();
        let next = self.parts.borrow_mut().next(|content| match content {
            Content::Holdings => self.holdings(),
            Content::Cached => {
                let parts = self.cache.borrow().parts(PART_BYTES, now);
                parts.into_iter().map(|events| Message::Cached { events }).collect()
            }
        });
        if let Some(part) = next {
            let number = self.publish(hub, part);
            self.parts.borrow_mut().sent(number);
        }
    }

    /// The holdings of this node, in parts.
    fn holdings(&self) -> VecDeque<Message> {
        let (parts, last_token) = {
            let local = self.local.borrow();
            (local.holdings().into_parts(PART_BYTES), local.last_token())
        };
        let last = parts.len() - 1;
        let part = |(index, holdings)| {
            let (is_first, is_last) = (index == 0, index == last);
            Message::Holdings { holdings, last_token, is_first, is_last }
        };
        parts.into_iter().enumerate().map(part).collect()
    }

    fn expire(self: &Rc<Self>, hub: &mut Hub) {
        let now = hub.now();
        self.cache.borrow_mut().expire(now);
        self.liveness.borrow_mut().check(now);
        if self.liveness.borrow().is_live_for(LEASE, now) {
            let expired = self.roster.borrow().expired(self.node(), now);
            for node in expired {
                log::warn!(target: super::LOG, "no message from node {node} of app {}: it has ended", self.options.id);
                self.publish(hub, Message::Ended { node });
            }
        }
    }

    /// Leaves the other nodes, and closes all connections.
    pub(super) fn leave(&self, hub: &mut Hub) {
        if self.node.get().is_some() && !self.has_left.get() {
            self.report_early(hub);
            self.publish(hub, Message::Bye);
            self.has_left.set(true);
            if let Some(webhooks) = &self.webhooks {
                webhooks.hurry(hub);
            }
        }
        let ids = self.local.borrow().ids();
        close_all(hub, ids, RESTART);
    }

    /// Tells the application about an event.
    pub(super) fn report(&self, hub: &mut Hub, event: PusherEvent) {
        if !self.has_listener() {
            return;
        }
        let is_full = match &mut *self.early.borrow_mut() {
            Some(early) => {
                early.push(event);
                early.len() >= MAX_EARLY
            }
            None => return self.report_now(hub, event),
        };
        if is_full {
            self.report_early(hub);
        }
    }

    /// Returns `true` if events are reported at all.
    pub(super) fn has_listener(&self) -> bool {
        self.webhooks.is_some() || self.hook.borrow().is_some()
    }

    /// Reports the events of the time in which the other nodes were not known.
    fn report_early(&self, hub: &mut Hub) {
        let early = self.early.take();
        early.into_iter().flatten().for_each(|event| self.report_now(hub, event));
    }

    /// Drops the events of that time that are no news: another node has had the channel or member before.
    fn drop_early(&self) {
        let node = self.node();
        let is_news = |event: &PusherEvent| {
            let (channel, user) = match event {
                PusherEvent::ChannelOccupied { channel } | PusherEvent::ChannelVacated { channel } => (channel, None),
                PusherEvent::MemberAdded { channel, user_id } | PusherEvent::MemberRemoved { channel, user_id } => {
                    (channel, Some(&**user_id))
                }
                _ => return true,
            };
            !self.roster.borrow().is_held_elsewhere(node, channel, user)
        };
        if let Some(early) = &mut *self.early.borrow_mut() {
            early.retain(is_news);
        }
    }

    fn report_now(&self, hub: &mut Hub, event: PusherEvent) {
        if let Some(webhooks) = &self.webhooks {
            webhooks.push(hub, &event);
        }
        let hook = self.hook.borrow().clone();
        if let Some(hook) = hook {
            // A panic of the hook must not end the watch of the topic.
            hub.next_tick(move |hub| hook(hub, &event));
        }
    }

    /// Tells the clients of this node about changes. `reports`: this node tells the application, too.
    fn notify(&self, hub: &mut Hub, effects: Vec<Effect>, reports: bool) {
        for effect in effects {
            let event = self.notify_clients(hub, effect);
            if let Some(event) = event.filter(|_| reports) {
                self.report(hub, event);
            }
        }
    }
}
