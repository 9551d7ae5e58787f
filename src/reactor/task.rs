//! What timers do when they are due.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{
    hub::Hub,
    id::{ConnectionId, ListenerId},
};

/// A function the loop calls once.
pub(super) type Tick = Box<dyn FnOnce(&mut Hub)>;

/// A function the loop calls again and again.
pub(super) type Periodic = Box<dyn FnMut(&mut Hub)>;

/// What a timer does when it is due.
pub(super) enum Task {
    /// Look after the deadlines of a connection.
    Alarm(ConnectionId),
    /// Tell a connection's handler.
    Connection(ConnectionId),
    Once(Option<Tick>),
    Periodic {
        every: Duration,
        next: Instant,
        call: Option<Periodic>,
    },
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

impl fmt::Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Task::Alarm(_) => "Alarm",
            Task::Connection(_) => "Connection",
            Task::Once(_) => "Once",
            Task::Periodic { .. } => "Periodic",
            Task::Listener(_) => "Listener",
            Task::Dial(_) => "Dial",
            Task::NextAddress(_) => "NextAddress",
            Task::Rest => "Rest",
            Task::CutAll => "CutAll",
        })
    }
}
