//! Timers and ticks: setting them, and their tasks when they are due.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::reactor::{
    hub::Hub,
    id::{ConnectionId, ListenerId, TimerId},
    timer::{idle::Idle, later},
};

/// A function that the loop calls once.
pub(in crate::reactor) type Tick = Box<dyn FnOnce(&mut Hub)>;

/// A function that the loop calls repeatedly.
pub(in crate::reactor) type Periodic = Box<dyn FnMut(&mut Hub)>;

/// Task of a timer that is due.
pub(in crate::reactor) enum Task {
    /// Check the deadlines of a connection.
    Deadline(ConnectionId),
    /// Call `on_timer` of a connection once.
    Connection(ConnectionId),
    /// Call `on_timer` of a connection repeatedly.
    ConnectionInterval(Box<ConnectionInterval>),
    /// Look whether something has moved on a raw stream.
    Idle(Box<Idle>),
    Once(Option<Tick>),
    Periodic(Box<Interval>),
    /// Accept again on a parked listener.
    Listener(ListenerId),
    /// Resolve the name of a delayed outgoing connection.
    Dial(ConnectionId),
    /// Try the next address of an outgoing connection.
    NextAddress(ConnectionId),
    /// Trim unused memory.
    Trim,
    /// Terminate the remaining connections of a graceful shutdown.
    EndShutdown,
    /// Tell the next handlers of a graceful shutdown.
    Farewell,
}

/// A function that is called periodically.
pub(in crate::reactor) struct Interval {
    pub(in crate::reactor) every: Duration,
    pub(in crate::reactor) next: Instant,
    /// `None` while the function is being called.
    pub(in crate::reactor) call: Option<Periodic>,
}

/// A periodic timer of a connection.
pub(in crate::reactor) struct ConnectionInterval {
    pub(in crate::reactor) id: ConnectionId,
    every: Duration,
    next: Instant,
}

impl ConnectionInterval {
    /// Advances to the next time after a call.
    pub(in crate::reactor) fn advance(&mut self, now: Instant) -> Instant {
        following(&mut self.next, self.every, now)
    }
}

/// Shortest period; a period of zero would leave the loop no time for anything else.
const SHORTEST_PERIOD: Duration = Duration::from_micros(1);

/// Advances `next` in steps of the period; whole periods that a busy loop has missed are skipped.
pub(in crate::reactor) fn following(next: &mut Instant, every: Duration, now: Instant) -> Instant {
    let missed = now.saturating_duration_since(*next).as_nanos() / every.as_nanos();
    *next = later(*next, every.saturating_mul(u32::try_from(missed + 1).unwrap_or(u32::MAX)));
    *next
}

impl fmt::Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Task::Deadline(_) => "Deadline",
            Task::Connection(_) => "Connection",
            Task::ConnectionInterval(_) => "ConnectionInterval",
            Task::Idle(_) => "Idle",
            Task::Once(_) => "Once",
            Task::Periodic(_) => "Periodic",
            Task::Listener(_) => "Listener",
            Task::Dial(_) => "Dial",
            Task::NextAddress(_) => "NextAddress",
            Task::Trim => "Trim",
            Task::EndShutdown => "EndShutdown",
            Task::Farewell => "Farewell",
        })
    }
}

impl Hub {
    /// Calls `call` once, `after` the start of this turn ([`now`](Self::now)).
    pub fn add_timer(&mut self, after: Duration, call: impl FnOnce(&mut Hub) + 'static) -> TimerId {
        self.timers.insert(self.after(after), Task::Once(Some(Box::new(call))))
    }

    /// Calls `call` every `every`, the first time `every` after the start of this turn. Calls missed by a busy loop are
    /// skipped, and the interval is kept.
    ///
    /// A period of zero counts as 1 µs. A `call` that panics is not called again.
    pub fn add_periodic_timer(&mut self, every: Duration, call: impl FnMut(&mut Hub) + 'static) -> TimerId {
        let every = every.max(SHORTEST_PERIOD);
        let next = self.after(every);
        self.timers.insert(next, Task::Periodic(Box::new(Interval { every, next, call: Some(Box::new(call)) })))
    }

    /// Changes the period of a periodic timer of the Hub or of a connection. The next call follows `every` after the
    /// start of this turn. A period of zero counts as 1 µs.
    ///
    /// Returns `false` if the timer is not periodic, or was cancelled.
    pub fn set_timer_interval(&mut self, timer: TimerId, every: Duration) -> bool {
        let (now, every) = (self.now, every.max(SHORTEST_PERIOD));
        let next = later(now, every);
        match self.timers.value_mut(timer) {
            Some(Task::Periodic(interval)) => {
                interval.every = every;
                // After its own call, the loop advances the time by the new period.
                interval.next = if interval.call.is_some() { next } else { now };
            }
            Some(Task::ConnectionInterval(interval)) => (interval.every, interval.next) = (every, next),
            _ => return false,
        }
        self.timers.reschedule(timer, next)
    }

    /// Cancels a timer of the Hub or of a connection. A periodic timer may be cancelled by its own call.
    ///
    /// Returns `false` if the timer has fired or was cancelled.
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

    /// Calls `call` soon: later in this turn if the ticks of this turn are still to come, otherwise in the next turn,
    /// which does not wait. At most [`ReactorConfig::timer_budget`](crate::ReactorConfig::timer_budget) ticks are
    /// called per turn.
    pub fn next_tick(&mut self, call: impl FnOnce(&mut Hub) + 'static) {
        self.deferred.ticks.push_back(Box::new(call));
    }

    /// Calls `on_timer` of a connection once, `after` from now. The timer ends with its connection.
    pub fn set_timer(&mut self, id: ConnectionId, after: Duration) -> TimerId {
        self.insert_connection_timer(id, self.after(after), Task::Connection(id))
    }

    /// Calls `on_timer` of a connection in an interval. The timer ends with its connection.
    pub fn set_periodic_timer(&mut self, id: ConnectionId, every: Duration) -> TimerId {
        let every = every.max(SHORTEST_PERIOD);
        let next = self.after(every);
        let interval = Box::new(ConnectionInterval { id, every, next });
        self.insert_connection_timer(id, next, Task::ConnectionInterval(interval))
    }

    pub(in crate::reactor) fn insert_connection_timer(&mut self, id: ConnectionId, at: Instant, task: Task) -> TimerId {
        let timer = self.timers.insert(at, task);
        match self.outbounds.get_mut(id) {
            Some(outbound) => outbound.timers_mut().push(timer),
            None => drop(self.timers.cancel(timer)),
        }
        timer
    }

    /// Removes a timer from its connection's list.
    pub(in crate::reactor) fn forget_timer(&mut self, id: ConnectionId, timer: TimerId) {
        if let Some(outbound) = self.outbounds.get_mut(id)
            && let Some(index) = outbound.timers_mut().iter().rposition(|other| *other == timer)
        {
            outbound.timers_mut().swap_remove(index);
        }
    }
}
