//! Channels: what an application does with a subscription.

use std::{any::Any, borrow::Cow, rc::Rc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    packet,
    streams::{Gate, SharedStreams},
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
    fn on_timer(&mut self, subscription: &mut Subscription<'_>, timer: TimerId) {}

    /// The subscription ends: by the client, by its connection, or because it was rejected. It has no streams and
    /// timers any more.
    fn unsubscribed(&mut self, subscription: &mut Subscription<'_>) {}
}

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
}

/// What is known of a subscription.
pub(super) struct SubscriptionState {
    pub(super) identifier: Rc<str>,
    pub(super) gate: Rc<Gate>,
    pub(super) streams: Vec<String>,
    pub(super) timers: Vec<TimerId>,
    pub(super) is_rejected: bool,
}

impl SubscriptionState {
    pub(super) fn new(identifier: &str) -> Self {
        SubscriptionState {
            identifier: identifier.into(),
            gate: Rc::default(),
            streams: Vec::new(),
            timers: Vec::new(),
            is_rejected: false,
        }
    }

    /// Ends its streams and timers.
    pub(super) fn end(&mut self, hub: &mut Hub, id: ConnectionId, shared: &SharedStreams) {
        self.gate.end();
        for stream in self.streams.drain(..) {
            shared.borrow_mut().leave(hub, &stream, id, &self.identifier);
        }
        self.timers.drain(..).for_each(|timer| _ = hub.cancel_timer(timer));
    }
}

impl Subscription<'_> {
    /// The JSON text that names the subscription, byte for byte as the client has sent it: the channel, and its
    /// parameters.
    pub fn identifier(&self) -> &str {
        &self.state.identifier
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
        serde_json::from_str(&self.state.identifier)
    }

    /// What the connect hook has returned, if it is of this type.
    pub fn user<T: 'static>(&self) -> Option<&T> {
        self.user.downcast_ref()
    }

    /// Has the client get what is broadcast on a stream. Twice the same stream counts once.
    pub fn stream_from(&mut self, stream: &str) {
        if self.streams().any(|known| known == stream) || self.state.is_rejected {
            return;
        }
        let SubscriptionState { identifier, gate, streams, .. } = &mut *self.state;
        streams.push(stream.to_owned());
        self.shared.borrow_mut().follow(self.hub, stream, self.id, identifier, gate);
    }

    /// Ends a stream. Returns `false` if the client does not follow it.
    pub fn stop_stream_from(&mut self, stream: &str) -> bool {
        let Some(index) = self.streams().position(|known| known == stream) else { return false };
        self.state.streams.remove(index);
        self.shared.borrow_mut().leave(self.hub, stream, self.id, &self.state.identifier);
        true
    }

    /// Ends all streams.
    pub fn stop_all_streams(&mut self) {
        for stream in self.state.streams.drain(..) {
            self.shared.borrow_mut().leave(self.hub, &stream, self.id, &self.state.identifier);
        }
    }

    /// The streams that the client follows.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.state.streams.iter().map(String::as_str)
    }

    /// Returns `true` once the client was told that it is subscribed.
    pub fn is_confirmed(&self) -> bool {
        self.state.gate.is_confirmed()
    }

    /// Rejects the subscription, in [`Channel::subscribed`]. The client is told, and may ask again. Later it has no
    /// effect.
    pub fn reject(&mut self) {
        self.state.is_rejected |= !self.state.gate.is_open();
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
        self.hub.send(self.id, packet::message(&packet::quoted(&self.state.identifier), json))
    }

    /// Broadcasts a value on a stream. See [`broadcast`](super::broadcast).
    ///
    /// # Errors
    ///
    /// If the value cannot be written as JSON.
    pub fn broadcast<T: Serialize + ?Sized>(&mut self, stream: &str, value: &T) -> serde_json::Result<()> {
        super::broadcast(self.hub, stream, value)
    }

    /// Broadcasts a JSON text on a stream, as it is. Anything else is dropped.
    pub fn broadcast_json(&mut self, stream: &str, json: &str) {
        self.hub.publish(stream, Message::Text(json));
    }

    /// Has [`Channel::on_timer`] called in an interval, until the subscription ends.
    pub fn periodically(&mut self, every: Duration) -> TimerId {
        let timer = self.hub.set_periodic_timer(self.id, every);
        self.state.timers.push(timer);
        timer
    }

    /// Ends a timer.
    pub fn cancel_timer(&mut self, timer: TimerId) {
        self.state.timers.retain(|known| *known != timer);
        self.hub.cancel_timer(timer);
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
        formatter.debug_struct("Subscription").field("identifier", &self.state.identifier).finish_non_exhaustive()
    }
}
