//! The session of a client: its user and its subscriptions. One of the extended protocol may outlive its connection.

use std::{any::Any, collections::HashMap, rc::Rc};

use super::{
    Cable,
    channel::{Action, Channel, ChannelTimers, Subscription, SubscriptionState},
    extended::{self, HistoryRequest, Person},
    packet::{self, Command, CommandKind, Extended, Ignored},
    streams::Member,
};
use crate::{
    protocol::Message,
    reactor::{ConnectionId, Hub, TimerId},
};

pub(super) struct Session {
    /// Its connection, or the last one that it had.
    id: ConnectionId,
    /// The name by which its client gets it again, with the extended protocol.
    pub(super) sid: Option<Rc<str>>,
    user: Rc<dyn Any>,
    /// The topic by which it may be ended from elsewhere.
    user_stream: Option<String>,
    has_connection: bool,
    /// By identifier.
    subscriptions: HashMap<Rc<str>, Entry>,
    /// Bytes of all identifiers.
    identifier_bytes: usize,
    timers: ChannelTimers,
}

/// A subscription. It stays in the map while its channel is called, so that a panic leaves it to be ended.
struct Entry {
    /// `None` while it is called, and after it has panicked.
    channel: Option<Box<dyn Channel>>,
    state: SubscriptionState,
}

impl Session {
    pub(super) fn open(
        cable: &Cable,
        hub: &mut Hub,
        id: ConnectionId,
        user: Rc<dyn Any>,
        user_stream: Option<String>,
        sid: Option<Rc<str>>,
    ) -> Self {
        let mut session = Session {
            id,
            sid,
            user,
            user_stream,
            has_connection: false,
            subscriptions: HashMap::new(),
            identifier_bytes: 0,
            timers: HashMap::new(),
        };
        session.connect(cable, hub);
        session
    }

    fn connect(&mut self, cable: &Cable, hub: &mut Hub) {
        self.has_connection = true;
        let mut streams = cable.streams.borrow_mut();
        if let Some(stream) = &self.user_stream {
            streams.add_user(hub, stream, self.id);
        }
        streams.counters().connections += 1;
        streams.ping(hub, self.id, self.sid.is_some());
    }

    fn disconnect(&mut self, cable: &Cable, hub: &mut Hub) {
        if !std::mem::take(&mut self.has_connection) {
            return;
        }
        let mut streams = cable.streams.borrow_mut();
        if let Some(stream) = &self.user_stream {
            streams.remove_user(hub, stream, self.id);
        }
        streams.counters().connections -= 1;
    }

    /// Whether a connection with these identifiers may take it up.
    pub(super) fn is_of(&self, user_stream: Option<&str>) -> bool {
        self.user_stream.as_deref() == user_stream
    }

    /// Its connection, if that is open.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        self.has_connection.then_some(self.id)
    }

    pub(super) fn identifiers(&self) -> Vec<&str> {
        self.subscriptions.keys().map(|identifier| &**identifier).collect()
    }

    /// Handles a message of the client. An error says why it is ignored.
    pub(super) fn handle(&mut self, cable: &Cable, hub: &mut Hub, message: Message<'_>) -> Result<(), Ignored> {
        let command = Command::parse(message.as_text().ok_or(Ignored::NoCommand)?)?;
        match command.kind {
            CommandKind::Subscribe => self.subscribe(cable, hub, &command),
            CommandKind::Unsubscribe => self.unsubscribe(cable, hub, &command.identifier),
            CommandKind::Message => self.perform(cable, hub, &command),
            CommandKind::Whisper => {
                let member = self.member(&command.identifier)?;
                cable.streams.borrow_mut().whisper(hub, member, command.data.unwrap_or("null"))
            }
            CommandKind::Extended(kind) if self.sid.is_some() => self.extended(cable, hub, kind, &command),
            CommandKind::Extended(_) => Err(Ignored::UnknownCommand),
        }
    }

    fn extended(&self, cable: &Cable, hub: &mut Hub, kind: Extended, command: &Command<'_>) -> Result<(), Ignored> {
        let mut streams = cable.streams.borrow_mut();
        match kind {
            Extended::Ping => _ = hub.send(self.id, extended::PONG),
            Extended::Pong => streams.pong(hub, self.id),
            Extended::History => {
                streams.history(hub, self.member(&command.identifier)?, HistoryRequest::parse(command.history));
            }
            Extended::Join => {
                return streams.join(hub, self.member(&command.identifier)?, Person::parse(command.presence)?);
            }
            Extended::Leave => _ = streams.leave_presence(hub, self.member(&command.identifier)?),
            Extended::Presence => streams.tell_presence(hub, self.member(&command.identifier)?, command.data),
        }
        Ok(())
    }

    fn member(&self, identifier: &str) -> Result<&Rc<Member>, Ignored> {
        self.subscriptions.get(identifier).map(|entry| &entry.state.member).ok_or(Ignored::NoSubscription)
    }

    fn subscribe(&mut self, cable: &Cable, hub: &mut Hub, command: &Command<'_>) -> Result<(), Ignored> {
        let identifier = &*command.identifier;
        if let Some(entry) = self.subscriptions.get(identifier) {
            // A client repeats it until it is confirmed.
            cable.streams.borrow_mut().confirm(hub, &entry.state.member);
            return Ok(());
        }
        let limits = &cable.limits;
        let bytes = self.identifier_bytes + identifier.len();
        if bytes > limits.identifier_bytes || self.subscriptions.len() >= limits.subscriptions {
            self.reject(hub, identifier);
            return Err(Ignored::TooMuch);
        }
        let name = packet::channel_of(identifier)?;
        let make = cable.channels.get(&*name).ok_or(Ignored::UnknownChannel)?;
        let member = Member::new(identifier, self.id, self.sid.is_some());
        if self.sid.is_some() {
            let history = command.history.map(|json| HistoryRequest::parse(Some(json)));
            let person = command.presence.and_then(|json| Person::parse(Some(json)).ok());
            member.ask(history, person);
        }
        let entry = Entry { channel: Some(make()), state: SubscriptionState::new(Rc::clone(&member)) };
        let key = Rc::clone(&member.identifier);
        self.subscriptions.insert(Rc::clone(&key), entry);
        self.identifier_bytes = bytes;
        cable.streams.borrow_mut().counters().subscriptions += 1;
        self.call(cable, hub, &key, |channel, subscription| channel.subscribed(subscription));
        let Some(entry) = self.subscriptions.get(&key) else { return Ok(()) };
        if entry.state.is_rejected {
            self.end_subscription(cable, hub, &key);
            self.reject(hub, identifier);
            return Ok(());
        }
        cable.streams.borrow_mut().accept(hub, &member);
        Ok(())
    }

    /// Tells the client that it is not subscribed.
    fn reject(&self, hub: &mut Hub, identifier: &str) {
        hub.send(self.id, packet::answer(&packet::quoted(identifier), false));
    }

    fn unsubscribe(&mut self, cable: &Cable, hub: &mut Hub, identifier: &str) -> Result<(), Ignored> {
        let key = Rc::clone(&self.member(identifier)?.identifier);
        self.end_subscription(cable, hub, &key);
        Ok(())
    }

    fn perform(&mut self, cable: &Cable, hub: &mut Hub, command: &Command<'_>) -> Result<(), Ignored> {
        let key = Rc::clone(&self.member(&command.identifier)?.identifier);
        let json = command.action()?;
        let action = Action { name: packet::action_of(&json)?, json: &json };
        self.call(cable, hub, &key, |channel, subscription| channel.perform(subscription, &action));
        Ok(())
    }

    /// A timer of a channel is due.
    pub(super) fn on_timer(&mut self, cable: &Cable, hub: &mut Hub, timer: TimerId) {
        if let Some((identifier, name)) = self.timers.get(&timer).cloned() {
            self.call(cable, hub, &identifier, |channel, subscription| channel.on_timer(subscription, name));
        }
    }

    /// Ends a subscription.
    fn end_subscription(&mut self, cable: &Cable, hub: &mut Hub, identifier: &Rc<str>) {
        self.release(cable, hub, identifier, true);
        self.call(cable, hub, identifier, |channel, subscription| channel.unsubscribed(subscription));
        // It may have begun new streams and timers.
        self.release(cable, hub, identifier, true);
        if self.subscriptions.remove(identifier).is_some() {
            self.identifier_bytes -= identifier.len();
            cable.streams.borrow_mut().counters().subscriptions -= 1;
        }
    }

    /// Releases what a subscription holds. `at_once`: its client is not present any more.
    fn release(&mut self, cable: &Cable, hub: &mut Hub, identifier: &Rc<str>, at_once: bool) {
        if let Some(entry) = self.subscriptions.get_mut(identifier) {
            entry.state.end_timers(hub, &mut self.timers);
            cable.streams.borrow_mut().end(hub, &entry.state.member, at_once);
        }
    }

    /// Calls a channel.
    fn call(
        &mut self,
        cable: &Cable,
        hub: &mut Hub,
        identifier: &Rc<str>,
        call: impl FnOnce(&mut dyn Channel, &mut Subscription<'_>),
    ) {
        let Some(entry) = self.subscriptions.get_mut(identifier) else { return };
        let Some(mut channel) = entry.channel.take() else { return };
        let (id, user, shared, timers) = (self.id, &self.user, &cable.streams, &mut self.timers);
        call(&mut *channel, &mut Subscription { hub, id, user, shared, state: &mut entry.state, timers });
        entry.channel = Some(channel);
    }

    /// Goes on without a connection. Subscriptions that are not confirmed end: their client asks for them again.
    pub(super) fn pause(&mut self, cable: &Cable, hub: &mut Hub) {
        let is_pending = |entry: &&Entry| !entry.state.member.is_confirmed();
        let pending = self.subscriptions.values().filter(is_pending).map(|entry| &entry.state.member.identifier);
        for identifier in pending.cloned().collect::<Vec<_>>() {
            self.end_subscription(cable, hub, &identifier);
        }
        self.timers.drain().for_each(|(timer, _)| _ = hub.cancel_timer(timer));
        for entry in self.subscriptions.values() {
            cable.streams.borrow_mut().pause(hub, &entry.state.member);
        }
        self.disconnect(cable, hub);
    }

    /// Goes on with another connection.
    pub(super) fn resume(&mut self, cable: &Cable, hub: &mut Hub, id: ConnectionId, user: Rc<dyn Any>, sid: Rc<str>) {
        (self.id, self.user, self.sid) = (id, user, Some(sid));
        self.connect(cable, hub);
        for entry in self.subscriptions.values_mut() {
            cable.streams.borrow_mut().resume(hub, &entry.state.member, id);
            entry.state.restart_timers(hub, id, &mut self.timers);
        }
    }

    /// Ends, with its subscriptions. `at_once`: its client is not present any more.
    pub(super) fn end(mut self, cable: &Cable, hub: &mut Hub, at_once: bool) {
        self.disconnect(cable, hub);
        cable.streams.borrow_mut().counters().subscriptions -= self.subscriptions.len();
        // All is released before any channel is called that may panic.
        let identifiers: Vec<Rc<str>> = self.subscriptions.keys().cloned().collect();
        for identifier in &identifiers {
            self.release(cable, hub, identifier, at_once);
        }
        for identifier in &identifiers {
            self.call(cable, hub, identifier, |channel, subscription| channel.unsubscribed(subscription));
            self.release(cable, hub, identifier, at_once);
        }
        if let Some(disconnected) = &cable.disconnected {
            disconnected(hub, self.id, &self.user);
        }
    }
}
