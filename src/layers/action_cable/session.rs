//! The session of a client: its user and its subscriptions. One of the extended protocol may outlive its connection.

use std::{
    any::Any,
    collections::HashMap,
    rc::{Rc, Weak},
    time::Duration,
};

use super::{
    Cable,
    channel::{Action, Channel, ChannelTimers, Subscription, SubscriptionState},
    extended::{self, HistoryRequest, Person},
    packet::{self, Command, CommandKind, Extended, Ignored},
    protocol::Protocol,
    streams::Member,
};
use crate::{
    protocol::Message,
    reactor::{ConnectionId, Hub, TimerId},
};

/// Time in which a client that has its session again has to ask for what is missing.
const RESUME_WAIT: Duration = Duration::from_secs(5);

pub(super) struct Session {
    /// Its connection, or the last one that it had.
    id: ConnectionId,
    protocol: Protocol,
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
        protocol: Protocol,
    ) -> Self {
        let mut session = Session {
            id,
            protocol,
            sid: None,
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
        streams.add_connection(hub, self.id, self.protocol);
    }

    /// Its connection has ended. The topic of its user still knows the session.
    fn disconnect(&mut self, cable: &Cable) {
        if std::mem::take(&mut self.has_connection) {
            cable.streams.borrow_mut().counters().connections -= 1;
        }
    }

    fn leave_user_stream(&self, cable: &Cable, hub: &mut Hub) {
        if let Some(stream) = &self.user_stream {
            cable.streams.borrow_mut().remove_user(hub, stream, self.id);
        }
    }

    /// Returns `true` if a connection with these identifiers may restore it.
    pub(super) fn is_of(&self, user_stream: Option<&str>) -> bool {
        self.user_stream.as_deref() == user_stream
    }

    /// Its connection, or the last one.
    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(super) fn has_connection(&self) -> bool {
        self.has_connection
    }

    pub(super) fn user(&self) -> &Rc<dyn Any> {
        &self.user
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// The subscriptions that go on without being asked for again.
    pub(super) fn restored(&self, cable: &Cable) -> Vec<&str> {
        let streams = cable.streams.borrow();
        let members = self.subscriptions.values().map(|entry| &entry.state.member);
        members.filter(|member| streams.is_restored(member)).map(|member| &*member.identifier).collect()
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
            CommandKind::Extended(kind) if self.protocol.is_extended() => self.extended(cable, hub, kind, &command),
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

    pub(super) fn subscribe(&mut self, cable: &Cable, hub: &mut Hub, command: &Command<'_>) -> Result<(), Ignored> {
        let identifier = &*command.identifier;
        if let Some(entry) = self.subscriptions.get(identifier) {
            // A client repeats it until it is confirmed.
            let member = &entry.state.member;
            self.ask(member, command);
            cable.streams.borrow_mut().subscribe_again(hub, member);
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
        let member = Member::new(identifier, self.id, self.protocol);
        self.ask(&member, command);
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

    /// Notes what the client wants once it is subscribed.
    fn ask(&self, member: &Member, command: &Command<'_>) {
        if self.protocol != Protocol::Rails && !member.is_told() {
            let history = command.history.map(|json| HistoryRequest::parse(Some(json)));
            let person = command.presence.and_then(|json| Person::parse(Some(json)).ok());
            member.ask(history, person);
        }
    }

    /// Tells the client that it is not subscribed.
    fn reject(&self, hub: &mut Hub, identifier: &str) {
        // An event stream was refused by its status.
        if !self.protocol.is_events() {
            hub.send(self.id, packet::answer(&packet::quoted(identifier), false));
        }
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

    /// Goes on without a connection. Calls no channel.
    pub(super) fn pause(&mut self, cable: &Cable, hub: &mut Hub) {
        self.timers.drain().for_each(|(timer, _)| _ = hub.cancel_timer(timer));
        for entry in self.subscriptions.values() {
            cable.streams.borrow_mut().pause(hub, &entry.state.member);
        }
        self.disconnect(cable);
    }

    /// Goes on with another connection.
    pub(super) fn resume(
        &mut self,
        cable: &Rc<Cable>,
        hub: &mut Hub,
        id: ConnectionId,
        user: Rc<dyn Any>,
        sid: Rc<str>,
    ) {
        self.leave_user_stream(cable, hub);
        (self.id, self.user, self.sid) = (id, user, Some(sid));
        self.connect(cable, hub);
        let mut waiting = Vec::new();
        for entry in self.subscriptions.values_mut() {
            if cable.streams.borrow_mut().resume(hub, &entry.state.member, id) {
                waiting.push(Rc::downgrade(&entry.state.member));
            }
            entry.state.restart_timers(hub, id, &mut self.timers);
        }
        if waiting.is_empty() {
            return;
        }
        let cable = Rc::downgrade(cable);
        hub.add_timer(RESUME_WAIT, move |hub| {
            let Some(cable) = cable.upgrade() else { return };
            for member in waiting.iter().filter_map(Weak::upgrade).filter(|member| member.is_of(id)) {
                cable.streams.borrow_mut().resume_unasked(hub, &member);
            }
        });
    }

    /// Tells the channels that they have another connection.
    pub(super) fn tell_resumed(&mut self, cable: &Cable, hub: &mut Hub) {
        for identifier in self.subscriptions.keys().cloned().collect::<Vec<_>>() {
            self.call(cable, hub, &identifier, |channel, subscription| channel.resumed(subscription));
        }
    }

    /// Ends, with its subscriptions. `at_once`: its client is not present any more.
    pub(super) fn end(mut self, cable: &Cable, hub: &mut Hub, at_once: bool) {
        let had_connection = self.has_connection;
        self.disconnect(cable);
        self.leave_user_stream(cable, hub);
        let mut streams = cable.streams.borrow_mut();
        streams.forget(self.id);
        streams.counters().subscriptions -= self.subscriptions.len();
        drop(streams);
        // All is released before any channel is called that may panic.
        let identifiers: Vec<Rc<str>> = self.subscriptions.keys().cloned().collect();
        for identifier in &identifiers {
            self.release(cable, hub, identifier, at_once);
        }
        for identifier in &identifiers {
            self.call(cable, hub, identifier, |channel, subscription| channel.unsubscribed(subscription));
            self.release(cable, hub, identifier, at_once);
        }
        if had_connection && let Some(disconnected) = &cable.disconnected {
            disconnected(hub, self.id, &self.user);
        }
    }
}
