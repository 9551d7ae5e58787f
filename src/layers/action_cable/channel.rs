//! Channels: what an application does with a subscription.

use std::{any::Any, borrow::Cow, collections::HashMap, rc::Rc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    broadcasting::broadcasting_for,
    extended::Person,
    packet,
    streams::{Member, SharedStreams, Streams},
};
use crate::{
    protocol::Message,
    reactor::{ConnectionId, Hub, TimerId},
    send_status::SendStatus,
};

/// A channel: each subscription of a client has one of its own. Every method has an empty default.
///
/// ```
/// use ws_reactor::action_cable::{Action, Channel, Subscription};
///
/// struct Chat;
///
/// impl Channel for Chat {
///     fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
///         match subscription.param("room") {
///             Some(room) => subscription.stream_from(&format!("chat:{room}")),
///             None => subscription.reject(),
///         }
///     }
///
///     fn perform(&mut self, subscription: &mut Subscription<'_>, action: &Action<'_>) {
///         let room = subscription.param("room").unwrap_or_default();
///         if action.name() == "speak" {
///             subscription.broadcast_json(&format!("chat:{room}"), action.json());
///         }
///     }
/// }
/// ```
#[allow(unused_variables)]
pub trait Channel {
    /// The client has asked for the subscription. It is confirmed after this call, once all streams are live, unless
    /// this call [rejects](Subscription::reject) it.
    fn subscribed(&mut self, subscription: &mut Subscription<'_>) {}

    /// The client performs an action.
    fn perform(&mut self, subscription: &mut Subscription<'_>, action: &Action<'_>) {}

    /// A [timer](Subscription::periodically) is due.
    fn on_timer(&mut self, subscription: &mut Subscription<'_>, timer: ChannelTimer) {}

    /// The subscription goes on with another connection of its client, if sessions are
    /// [kept](super::ActionCable::keep_sessions): its id and its user are new.
    fn resumed(&mut self, subscription: &mut Subscription<'_>) {}

    /// The subscription ends: by the client, by its connection, or because it was rejected. It has no streams and
    /// timers any more. If sessions are [kept](super::ActionCable::keep_sessions), it goes on for a while after its
    /// connection was cut.
    fn unsubscribed(&mut self, subscription: &mut Subscription<'_>) {}
}

/// A timer of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelTimer(u64);

/// An action that a client performs on a channel.
#[derive(Debug, Clone)]
pub struct Action<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) json: &'a str,
}

impl Action<'_> {
    /// The name: the field `action`, or `receive` without one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The JSON text of an object, as the client has sent it, with `action`.
    pub fn json(&self) -> &str {
        self.json
    }

    /// The data as a type of the application.
    ///
    /// # Errors
    ///
    /// If the data is not of the type.
    pub fn data<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.json)
    }
}

/// A subscription of a channel, during a callback.
pub struct Subscription<'a> {
    pub(super) hub: &'a mut Hub,
    pub(super) id: ConnectionId,
    pub(super) user: &'a Rc<dyn Any>,
    pub(super) shared: &'a SharedStreams,
    pub(super) state: &'a mut SubscriptionState,
    pub(super) timers: &'a mut ChannelTimers,
}

/// The state of a subscription, between the calls of its channel.
pub(super) struct SubscriptionState {
    pub(super) member: Rc<Member>,
    timers: Vec<Interval>,
    last_timer: u64,
    pub(super) is_rejected: bool,
}

/// The timers of a connection: the subscription of each, and its name there.
pub(super) type ChannelTimers = HashMap<TimerId, (Rc<str>, ChannelTimer)>;

struct Interval {
    name: ChannelTimer,
    every: Duration,
    timer: TimerId,
}

impl SubscriptionState {
    pub(super) fn new(member: Rc<Member>) -> Self {
        SubscriptionState { member, timers: Vec::new(), last_timer: 0, is_rejected: false }
    }

    pub(super) fn end_timers(&mut self, hub: &mut Hub, timers: &mut ChannelTimers) {
        for Interval { timer, .. } in self.timers.drain(..) {
            hub.cancel_timer(timer);
            timers.remove(&timer);
        }
    }

    /// Starts the timers again, for another connection.
    pub(super) fn restart_timers(&mut self, hub: &mut Hub, id: ConnectionId, timers: &mut ChannelTimers) {
        for interval in &mut self.timers {
            interval.timer = hub.set_periodic_timer(id, interval.every);
            timers.insert(interval.timer, (Rc::clone(&self.member.identifier), interval.name));
        }
    }
}

impl Subscription<'_> {
    /// The JSON text that names the subscription, byte for byte as the client has sent it: the channel, and its
    /// parameters.
    pub fn identifier(&self) -> &str {
        &self.state.member.identifier
    }

    /// A parameter that is a string, a number or a boolean, as text. `None` for anything else.
    pub fn param(&self, name: &str) -> Option<String> {
        let params: serde_json::Map<String, Value> = self.params().ok()?;
        match params.get(name)? {
            Value::String(text) => Some(text.clone()),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => None,
        }
    }

    /// The parameters as a type of the application. `channel` is among them.
    ///
    /// # Errors
    ///
    /// If they are not of the type.
    pub fn params<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.identifier())
    }

    /// The value that the connect hook returned, if it has this type.
    pub fn user<T: 'static>(&self) -> Option<&T> {
        self.user.downcast_ref()
    }

    /// Has the client get what is broadcast on a stream. Twice the same stream counts once.
    pub fn stream_from(&mut self, stream: &str) {
        if self.state.is_rejected || self.streams().iter().any(|known| **known == *stream) {
            return;
        }
        self.shared.borrow_mut().follow(self.hub, &self.state.member, stream);
    }

    /// Has the client get what is broadcast on the stream of its channel for something: Rails' `stream_for`. See
    /// [`broadcasting_for`](super::broadcasting_for).
    pub fn stream_for<P: AsRef<str>>(&mut self, parts: impl IntoIterator<Item = P>) {
        let channel = packet::channel_of(self.identifier()).unwrap_or_default();
        self.stream_from(&broadcasting_for(&channel, parts));
    }

    /// Ends a stream. Returns `false` if the client does not follow it.
    pub fn stop_stream_from(&mut self, stream: &str) -> bool {
        self.shared.borrow_mut().leave(self.hub, &self.state.member, stream)
    }

    /// Ends all streams.
    pub fn stop_all_streams(&mut self) {
        self.shared.borrow_mut().leave_all(self.hub, &self.state.member);
    }

    /// The streams that the client follows.
    pub fn streams(&self) -> Vec<Rc<str>> {
        self.state.member.streams()
    }

    /// Lets the client whisper: send messages to the others of a stream, in all processes, past this channel and the
    /// history. One stream of a subscription has whispers. Default: none.
    ///
    /// Clients of `actioncable-v1-json` get whispers only in a process in which one of the extended protocol follows
    /// the stream, too.
    pub fn allow_whispers(&mut self, stream: &str) {
        self.shared.borrow_mut().allow_whispers(self.hub, &self.state.member, stream);
    }

    /// Lets the client join those who are [present](Self::join) in a stream that it follows, and see them. One stream
    /// of a subscription has presence. Default: none. Only clients of the extended protocol know presence.
    ///
    /// A client chooses the id and what is said of it, 4 KiB at most, and may take those of somebody else. The end of
    /// the stream ends both, its presence and its whispers there.
    pub fn allow_presence(&mut self, stream: &str) {
        self.shared.borrow_mut().allow_presence(self.hub, &self.state.member, stream);
    }

    /// Has the client be present in the stream that [has presence](Self::allow_presence), as the client does by
    /// itself. All clients of the stream are told, in all processes, unless someone of this id is there already.
    /// Returns `false` without such a stream, or if the client does not know presence.
    ///
    /// # Errors
    ///
    /// If the id or the information about it cannot be written as JSON.
    pub fn join<I, V>(&mut self, id: &I, info: &V) -> serde_json::Result<bool>
    where
        I: Serialize + ?Sized,
        V: Serialize + ?Sized,
    {
        let person = Person::new(id, info)?;
        Ok(self.shared.borrow_mut().join(self.hub, &self.state.member, person).is_ok())
    }

    /// Ends the presence of the client. The others are told, unless another session has the same id. Returns `false` if
    /// it was not present.
    pub fn leave(&mut self) -> bool {
        self.shared.borrow_mut().leave_presence(self.hub, &self.state.member)
    }

    /// Returns `true` once the client was told that it is subscribed.
    pub fn is_confirmed(&self) -> bool {
        self.state.member.is_confirmed()
    }

    /// Rejects the subscription, in [`Channel::subscribed`]. The client is told, and may ask again. Later it has no
    /// effect.
    pub fn reject(&mut self) {
        self.state.is_rejected |= !self.state.member.is_decided();
    }

    /// Sends a value to the client.
    ///
    /// # Errors
    ///
    /// If the value cannot be written as JSON.
    pub fn transmit<T: Serialize + ?Sized>(&mut self, value: &T) -> serde_json::Result<SendStatus> {
        packet::to_json(value).map(|json| self.transmit_json(&json))
    }

    /// Sends a JSON text to the client, as it is. It is not checked: what is no JSON breaks the message.
    pub fn transmit_json(&mut self, json: &str) -> SendStatus {
        let protocol = self.state.member.protocol;
        let text = protocol.message(&packet::quoted(self.identifier()), json, None);
        protocol.send(self.hub, self.id, &text, None)
    }

    /// Broadcasts a value on a stream, as [`CableHandle::broadcast_json`](super::CableHandle::broadcast_json).
    ///
    /// # Errors
    ///
    /// If the value cannot be written as JSON.
    pub fn broadcast<T: Serialize + ?Sized>(&mut self, stream: &str, value: &T) -> serde_json::Result<()> {
        packet::to_json(value).map(|json| self.broadcast_json(stream, &json))
    }

    /// Broadcasts a JSON text on a stream, as it is. Anything else is dropped.
    pub fn broadcast_json(&mut self, stream: &str, json: &str) {
        Streams::record(self.shared, self.hub, stream);
        self.hub.publish(stream, Message::Text(json));
    }

    /// Has [`Channel::on_timer`] called in an interval, until the subscription ends. While its client has no connection
    /// the timer rests.
    pub fn periodically(&mut self, every: Duration) -> ChannelTimer {
        let timer = self.hub.set_periodic_timer(self.id, every);
        let SubscriptionState { member, timers, last_timer, .. } = &mut *self.state;
        *last_timer += 1;
        let name = ChannelTimer(*last_timer);
        timers.push(Interval { name, every, timer });
        self.timers.insert(timer, (Rc::clone(&member.identifier), name));
        name
    }

    /// Ends a timer. Returns `false` if it has ended.
    pub fn cancel_timer(&mut self, timer: ChannelTimer) -> bool {
        let Some(index) = self.state.timers.iter().position(|interval| interval.name == timer) else { return false };
        let Interval { timer, .. } = self.state.timers.swap_remove(index);
        self.timers.remove(&timer);
        self.hub.cancel_timer(timer);
        true
    }

    /// The id of the connection.
    pub fn connection_id(&self) -> ConnectionId {
        self.id
    }

    /// The Hub of the reactor.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }
}

impl std::fmt::Debug for Subscription<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Subscription").field("identifier", &self.identifier()).finish_non_exhaustive()
    }
}
