//! Events of the application: values passed to the handler of a connection.

use std::{any::Any, collections::VecDeque, fmt, rc::Rc, sync::Arc};

use super::{
    Reactor,
    connection::{outbound::Outbound, relaying::RelayEnded},
    hub::Hub,
    id::ConnectionId,
    recording::Recording,
    share::Share,
    turn_phase::TurnPhase,
};
use crate::{net::Kernel, send_status::SendStatus};

/// Event of a handler that waits for another thread during the opening handshake.
#[derive(Debug)]
pub(crate) struct Wakeup;

/// Events that wait for delivery.
#[derive(Default)]
pub(super) struct Events(VecDeque<Event>);

/// An event for one connection.
struct Event {
    id: ConnectionId,
    /// Number of the connection under this id, if a client reconnects.
    life: u32,
    value: Value,
}

/// Value of an event, for one handler or shared by several.
enum Value {
    Own(Box<dyn Any>),
    Shared(Rc<dyn Any>),
    /// From another thread, and shared by the handlers of several reactors.
    Sent(Arc<dyn Any + Send + Sync>),
    RelayEnded(RelayEnded),
}

impl Events {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Events").field(&self.0.len()).finish()
    }
}

impl Hub {
    /// Delivers a value to the handler of a connection by calling `on_event`.
    ///
    /// The call follows after the current callback, in this turn within
    /// [`ReactorConfig::event_budget`](crate::ReactorConfig::event_budget). An event queued after the events of this
    /// turn were delivered, or by `on_event` itself, is delivered in the next turn. If the connection ends or begins to
    /// close before, the value is dropped. The number of waiting events is not limited.
    ///
    /// Returns [`Queued`](SendStatus::Queued), or [`Closed`](SendStatus::Closed) if the connection is not
    /// [open](Self::is_open): before `on_open`, while it closes, and after its end.
    ///
    /// ```
    /// use std::any::Any;
    /// use ws_reactor::{CloseCode, Handler, WebSocket};
    ///
    /// struct Kick(String);
    ///
    /// struct Guest;
    ///
    /// impl Handler for Guest {
    ///     fn on_event(&mut self, ws: &mut WebSocket<'_>, event: &dyn Any) {
    ///         if let Some(Kick(reason)) = event.downcast_ref() {
    ///             ws.close(CloseCode::POLICY_VIOLATION, reason);
    ///         }
    ///     }
    /// }
    ///
    /// // Wherever a Hub is at hand: hub.notify(id, Kick("no shouting".to_owned()));
    /// ```
    pub fn notify(&mut self, id: ConnectionId, event: impl Any) -> SendStatus {
        self.notify_boxed(id, Box::new(event))
    }

    /// As [`notify`](Self::notify), for every subscriber of a topic at the time of the call. The value is shared.
    /// Returns the number of subscribers.
    ///
    /// In a [group](crate::ReactorGroup), only the subscribers on this reactor get the value, which need not be `Send`.
    /// [`Remote::notify_topic`](crate::Remote::notify_topic) reaches those on all reactors.
    pub fn notify_topic(&mut self, topic: &str, event: impl Any) -> usize {
        let event: Rc<dyn Any> = Rc::new(event);
        self.notify_members(topic, || Value::Shared(Rc::clone(&event)))
    }

    /// As [`notify_topic`](Self::notify_topic), with a value of another thread.
    pub(super) fn notify_topic_sent(&mut self, topic: &str, event: &Arc<dyn Any + Send + Sync>) {
        self.notify_members(topic, || Value::Sent(Arc::clone(event)));
    }

    pub(super) fn notify_boxed(&mut self, id: ConnectionId, event: Box<dyn Any>) -> SendStatus {
        if !self.is_open(id) {
            return SendStatus::Closed;
        }
        self.push_event(id, Value::Own(event));
        SendStatus::Queued
    }

    /// Wakes the handler of a connection that waits, although the connection is not open for the application.
    pub(super) fn wake(&mut self, id: ConnectionId) {
        self.push_event(id, Value::Own(Box::new(Wakeup)));
    }

    /// Reports the end of a relay to the handler.
    pub(super) fn report_relay_end(&mut self, id: ConnectionId, ended: RelayEnded) {
        self.push_event(id, Value::RelayEnded(ended));
    }

    fn push_event(&mut self, id: ConnectionId, value: Value) {
        let life = self.outbound(id).map_or(0, Outbound::life);
        self.deferred.events.0.push_back(Event { id, life, value });
    }

    fn notify_members(&mut self, topic: &str, event: impl Fn() -> Value) -> usize {
        let members = self.topics.members(topic);
        for member in members {
            let outbound = &self.outbounds[member.connection as usize];
            let (id, life) = (outbound.id, outbound.life());
            self.deferred.events.0.push_back(Event { id, life, value: event() });
        }
        members.len()
    }
}

impl<K: Kernel> Reactor<K> {
    /// Delivers the events that were waiting before this call, within the budget. Events queued meanwhile wait for the
    /// next turn.
    #[inline]
    pub(super) fn deliver_events(&mut self) {
        if !self.hub.deferred.events.is_empty() {
            self.deliver_waiting_events();
            self.end_phase(TurnPhase::Events);
        }
    }

    #[inline(never)]
    fn deliver_waiting_events(&mut self) {
        self.hub.note(Recording::on_activity);
        let waiting = self.hub.deferred.events.0.len().min(self.config.event_budget.max(1));
        let mut share = Share::new(waiting);
        while self.hub.deliveries_left > 0 && share.take(&self.hub.time_slice) {
            let Some(Event { id, life, value }) = self.hub.deferred.events.0.pop_front() else { return };
            if self.hub.outbound(id).is_some_and(|outbound| outbound.state.is_open() && outbound.life() == life) {
                self.call(id.key(), |handler, stream| match &value {
                    Value::Own(event) => handler.on_event(stream, &**event),
                    Value::Shared(event) => handler.on_event(stream, &**event),
                    Value::Sent(event) => handler.on_event(stream, &**event),
                    Value::RelayEnded(event) => handler.on_event(stream, event),
                });
                if matches!(value, Value::RelayEnded(_)) {
                    self.hub.release_relay(id, false);
                }
            }
            self.drop_guarded(value);
        }
    }
}
