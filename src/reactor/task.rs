//! Timers and ticks: how they are set, and what they do when they are due.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{
    hub::{Hub, later},
    id::{ConnectionId, ListenerId, TimerId},
};

/// A function the loop calls once.
pub(super) type Tick = Box<dyn FnOnce(&mut Hub)>;

/// A function the loop calls again and again.
pub(super) type Periodic = Box<dyn FnMut(&mut Hub)>;

/// What a timer does when it is due.
pub(super) enum Task {
    /// Look after the deadlines of a connection.
    Alarm(ConnectionId),
    /// Call `on_timer` of a connection, once.
    Connection(ConnectionId),
    /// Call it again and again.
    ConnectionInterval(Box<ConnectionInterval>),
    Once(Option<Tick>),
    Periodic(Box<Rhythm>),
    /// Try again to accept.
    Listener(ListenerId),
    /// Look up where a connection is to go that had to wait.
    Dial(ConnectionId),
    /// Try the next address of a connection that is being made.
    NextAddress(ConnectionId),
    /// Give back what nobody needs.
    Rest,
    /// The time for a graceful shutdown is over.
    CutAll,
}

/// A function that is called every so often.
pub(super) struct Rhythm {
    pub(super) every: Duration,
    pub(super) next: Instant,
    /// Not here while it is called.
    pub(super) call: Option<Periodic>,
}

/// A timer of a connection that goes off again and again.
pub(super) struct ConnectionInterval {
    pub(super) id: ConnectionId,
    every: Duration,
    next: Instant,
}

impl ConnectionInterval {
    /// When it goes off next, after it did so.
    pub(super) fn advance(&mut self, now: Instant) -> Instant {
        following(&mut self.next, self.every, now)
    }
}

/// A period of zero would leave the loop no time for anything else.
const SHORTEST_PERIOD: Duration = Duration::from_micros(1);

/// Moves `next` on by a period, in step: whole periods that a busy loop has missed are left out.
pub(super) fn following(next: &mut Instant, every: Duration, now: Instant) -> Instant {
    let missed = now.saturating_duration_since(*next).as_nanos() / every.as_nanos();
    *next = later(*next, every.saturating_mul(u32::try_from(missed + 1).unwrap_or(u32::MAX)));
    *next
}

impl fmt::Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Task::Alarm(_) => "Alarm",
            Task::Connection(_) => "Connection",
            Task::ConnectionInterval(_) => "ConnectionInterval",
            Task::Once(_) => "Once",
            Task::Periodic(_) => "Periodic",
            Task::Listener(_) => "Listener",
            Task::Dial(_) => "Dial",
            Task::NextAddress(_) => "NextAddress",
            Task::Rest => "Rest",
            Task::CutAll => "CutAll",
        })
    }
}

impl Hub {
    /// Calls `call` once, `after` from now.
    pub fn add_timer(&mut self, after: Duration, call: impl FnOnce(&mut Hub) + 'static) -> TimerId {
        self.timers.insert(self.after(after), Task::Once(Some(Box::new(call))))
    }

    /// Calls `call` every so often. Calls that a busy loop has missed are left out, and the rhythm is kept.
    pub fn add_periodic_timer(&mut self, every: Duration, call: impl FnMut(&mut Hub) + 'static) -> TimerId {
        let every = every.max(SHORTEST_PERIOD);
        let next = self.after(every);
        self.timers.insert(next, Task::Periodic(Box::new(Rhythm { every, next, call: Some(Box::new(call)) })))
    }

    /// Cancels a timer for good, also from its own call. `false` if it has fired or was cancelled.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        match self.timers.value_mut(timer) {
            Some(Task::Once(_) | Task::Periodic(_)) => {}
            Some(Task::Connection(id)) => {
                let id = *id;
                self.forget_timer(id, timer);
            }
            Some(Task::ConnectionInterval(interval)) => {
                let id = interval.id;
                self.forget_timer(id, timer);
            }
            _ => return false,
        }
        self.timers.cancel(timer).is_some()
    }

    /// Calls `call` in the next turn of the loop, before it waits.
    pub fn next_tick(&mut self, call: impl FnOnce(&mut Hub) + 'static) {
        self.ticks.push_back(Box::new(call));
    }

    /// Sets a timer that goes with a connection.
    pub(crate) fn set_timer(&mut self, id: ConnectionId, after: Duration) -> TimerId {
        self.insert_connection_timer(id, self.after(after), Task::Connection(id))
    }

    /// Sets one that goes off again and again.
    pub(crate) fn set_periodic_timer(&mut self, id: ConnectionId, every: Duration) -> TimerId {
        let every = every.max(SHORTEST_PERIOD);
        let next = self.after(every);
        let interval = Box::new(ConnectionInterval { id, every, next });
        self.insert_connection_timer(id, next, Task::ConnectionInterval(interval))
    }

    fn insert_connection_timer(&mut self, id: ConnectionId, at: Instant, task: Task) -> TimerId {
        let timer = self.timers.insert(at, task);
        match self.outboxes.get_mut(id.key()).filter(|outbox| outbox.id == id) {
            Some(outbox) => outbox.timers_mut().push(timer),
            None => drop(self.timers.cancel(timer)),
        }
        timer
    }

    /// Takes a timer off the list of those that go with a connection.
    pub(super) fn forget_timer(&mut self, id: ConnectionId, timer: TimerId) {
        if let Some(outbox) = self.outboxes.get_mut(id.key()).filter(|outbox| outbox.id == id)
            && let Some(index) = outbox.timers_mut().iter().rposition(|other| *other == timer)
        {
            outbox.timers_mut().swap_remove(index);
        }
    }
}
