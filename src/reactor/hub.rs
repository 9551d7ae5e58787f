//! The Hub: the interface through which a handler reaches its own connection and all others.
//!
//! **No method of the Hub calls user code.** Methods queue bytes and note what is to be done; the loop does it later in
//! the same turn. A borrow may therefore be held across a send, and callbacks never re-enter.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use slab::Slab;

use super::{
    backplane::{Attached, Rules},
    callback_scope::CallbackScope,
    close_hooks::CloseHooks,
    config::{PanicPolicy, ReactorConfig},
    connection::{
        excess::Excess,
        outbound::{Outbound, counts::ConnectionStats},
        outbounds::Outbounds,
        state::Phase,
    },
    deferred::Deferred,
    farewell::{Farewell, Shutdown},
    group::{Asks, Membership, Place},
    id::{ConnectionId, ListenerId, TimerId},
    latency::Latencies,
    listen::{admission::Pending, connection_counts::ConnectionCounts},
    pools::Pools,
    publish::{history::Histories, topics::Topics, watch::Watches},
    recording::Recording,
    remote::{QueuedCommand, Remote},
    share::TimeSlice,
    source::Sources,
    stats::Stats,
    timer::{
        later,
        task::{Task, Tick},
        timers::Timers,
    },
    uptime::Uptime,
    work::Works,
};
use crate::{
    net::{CommandQueue, Kernel},
    peer_addr::PeerAddr,
};

/// Running state of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    Yes,
    /// `shutdown` was called; the loop has not acted yet.
    ShutdownRequested(Shutdown),
    /// `on_shutdown` of all handlers was called; the loop ends when the last connection is gone.
    ShuttingDown,
    /// `stop` was called, or the time-out of `shutdown` has passed.
    Stopping,
    Stopped,
}

/// Handle to everything on a reactor: its connections, timers, topics, listeners and the loop itself.
///
/// Every callback can reach the `Hub`, for example by [`Stream::hub`](crate::Stream::hub) or `WebSocket::hub`; between
/// turns [`Reactor::hub`](crate::Reactor::hub) returns it. No method of the `Hub` calls user code, so callbacks never
/// re-enter.
///
/// For the id of a connection that has ended, methods return [`Closed`](crate::SendStatus::Closed), `false`, `None` or
/// 0.
///
/// ```
/// use std::time::Duration;
/// use ws_reactor::Reactor;
///
/// let mut reactor = Reactor::new()?;
/// reactor.hub().add_periodic_timer(Duration::from_secs(1), |hub| {
///     hub.publish("clock", "tick");
/// });
/// # Ok::<(), ws_reactor::Error>(())
/// ```
pub struct Hub {
    pub(super) outbounds: Outbounds,
    pub(super) timers: Timers<Task>,
    pub(super) topics: Topics,
    pub(super) histories: Histories,
    pub(super) sources: Sources,
    pub(super) works: Works,
    pub(crate) pools: Pools,
    pub(super) now: Instant,
    pub(super) uptime: Uptime,
    pub(crate) time_slice: TimeSlice,
    /// Number of the current turn.
    pub(super) turn: u64,
    pub(crate) stats: Stats,
    pub(crate) latencies: Latencies,
    /// State of the running callback.
    pub(crate) callback: CallbackScope,
    /// Work for the loop.
    pub(super) deferred: Deferred,
    /// Rest of `delivery_budget` in this part of the turn.
    pub(super) deliveries_left: usize,
    pub(super) excess: Excess,
    pub(super) running: Running,
    /// Timer that ends a graceful shutdown.
    pub(super) shutdown_timer: Option<TimerId>,
    /// Connections that a shutdown has still to close.
    pub(super) farewell: Option<Box<Farewell>>,
    /// Called when the loop has ended, the last one first.
    pub(super) shutdown_hooks: Vec<Tick>,
    pub(super) close_hooks: CloseHooks,
    /// Commands of other threads.
    pub(super) command_queue: Arc<CommandQueue<QueuedCommand>>,
    /// `None` outside of a group.
    pub(super) membership: Option<Box<Membership>>,
    /// Publications go further than this reactor: it is in a group, or has a backplane.
    pub(super) is_joined: bool,
    pub(super) backplane: Option<Box<Attached>>,
    /// Those of the backplane of this process, which the first reactor of a group has.
    pub(super) backplane_rules: Rules,
    /// Connections of the backplane.
    #[cfg(feature = "redis")]
    pub(super) background_connections: usize,
    pub(super) watches: Watches,
    /// Functions that are called when a topic is live.
    pub(super) live_waits: Slab<Tick>,
    /// Receivers of answers of the group.
    pub(super) asks: Asks,
    /// Unfinished handshakes of clients.
    pub(super) pending: Pending,
    pub(super) connection_counts: ConnectionCounts,
    /// Time of the last warning that a peer can cause at will; such warnings are limited to one per second.
    warned: Option<Instant>,
    pub(super) panic_policy: PanicPolicy,
    pub(super) recording: Option<Box<Recording>>,
}

impl Hub {
    pub(super) fn new<K: Kernel>(config: &ReactorConfig, place: Place, kernel: &mut K) -> Self {
        let ids = place.ids;
        Hub {
            outbounds: Outbounds::new(ids.clone()),
            timers: Timers::new(ids.clone()),
            topics: Topics::default(),
            histories: place.membership.as_ref().map_or_else(Histories::default, |membership| {
                Histories::in_group(Arc::clone(membership.last_event_id()))
            }),
            sources: Sources::new(ids, K::WATCHES_SOURCES),
            works: Works::new(config),
            pools: Pools::new(config, kernel.random()),
            now: kernel.now(),
            uptime: Uptime::new(kernel.now()),
            time_slice: TimeSlice { length: config.time_slice, clock: kernel.running_clock() },
            turn: 0,
            stats: Stats::default(),
            latencies: Latencies::default(),
            callback: CallbackScope::new(),
            deferred: Deferred::default(),
            deliveries_left: 0,
            excess: Excess::new(config.excess_output_bytes, place.counts.excess),
            running: Running::Yes,
            shutdown_timer: None,
            farewell: None,
            shutdown_hooks: Vec::new(),
            close_hooks: CloseHooks::default(),
            command_queue: place.commands.take(),
            is_joined: place.membership.is_some(),
            membership: place.membership,
            backplane: None,
            backplane_rules: Rules::default(),
            #[cfg(feature = "redis")]
            background_connections: 0,
            watches: Watches::default(),
            live_waits: Slab::new(),
            asks: Asks::default(),
            pending: Pending::new(place.counts.pending),
            connection_counts: ConnectionCounts::new(place.counts.networks),
            warned: None,
            panic_policy: config.panic_policy,
            recording: None,
        }
    }

    /// Stops reading from a connection. The peer fills the network's buffers and then has to wait.
    ///
    /// Nothing is lost. A missing pong does not end the connection meanwhile. The limits of
    /// [output](crate::OutputLimits) still apply.
    ///
    /// Returns `false` if the connection has ended or is closing, and between two connections of a client that
    /// reconnects.
    pub fn pause(&mut self, id: ConnectionId) -> bool {
        let outbound = self.outbounds.open_mut(id).filter(|outbound| !outbound.is_away());
        outbound.map(|outbound| outbound.state.pause()).is_some()
    }

    /// Resumes reading from a connection, by the next turn. Returns `false` as [`pause`](Self::pause) does.
    pub fn resume(&mut self, id: ConnectionId) -> bool {
        let Some(outbound) = self.outbounds.open_mut(id).filter(|outbound| !outbound.is_away()) else { return false };
        if outbound.state.resume() {
            self.deferred.reread.push(id.key());
        }
        true
    }

    /// Bytes queued and not yet taken by the operating system, including messages that wait for compression.
    ///
    /// Under TLS, up to 64 KiB more may be encrypted already; they are not counted. Returns 0 for a connection that has
    /// ended.
    pub fn buffered(&self, id: ConnectionId) -> usize {
        self.outbound(id).map_or(0, Outbound::buffered)
    }

    /// Iterates over all connections: WebSockets and raw streams, including those that are opening or closing.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.outbounds.iter().map(|outbound| outbound.id)
    }

    /// Returns `true` if the connection can send: a WebSocket is open, or a raw stream is connected, and the connection
    /// is not closing.
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.outbound(id).is_some_and(|outbound| {
            let reserved = outbound.state.is_connecting() || outbound.encoding.is_reserved();
            outbound.state.is_open() && !reserved
        })
    }

    /// Returns `true` if the connection has not ended and is not closing. The connection may still be opening.
    pub(crate) fn is_alive(&self, id: ConnectionId) -> bool {
        self.phase(id) == Phase::Open
    }

    /// Address of the peer. `None` once the connection has ended.
    ///
    /// The address is `0.0.0.0:0` for an outgoing connection that is not connected yet.
    pub fn peer_addr(&self, id: ConnectionId) -> Option<PeerAddr> {
        self.outbound(id).map(Outbound::peer_addr)
    }

    /// Returns a handle for other threads.
    pub fn remote(&self) -> Remote {
        let group = self.membership.as_ref().map(|membership| Arc::clone(&membership.group));
        Remote::new(Arc::clone(&self.command_queue), self.time_slice.clock, group)
    }

    /// Closes a listener in the course of this turn. Connections that it has accepted stay open.
    pub fn close_listener(&mut self, listener: ListenerId) {
        self.deferred.closed_listeners.push(listener);
    }

    /// Time at the start of this turn, right after the wait for events. Constant during the turn.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Returns a snapshot of the reactor's counters. Takes time linear in the number of connections.
    pub fn stats(&self) -> Stats {
        let buffered_bytes = self.outbounds.iter().map(Outbound::buffered).sum();
        let compressions = self.pools.contexts.borrow().compressed();
        Stats {
            connections: self.outbounds.len(),
            pending_handshakes: self.pending.here(),
            buffered_bytes,
            compressions,
            turns: self.turn,
            ..self.stats
        }
    }

    /// The durations measured so far: of turns, callbacks, commands, pings and handshakes.
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// Forgets the durations measured so far, for figures of a period.
    pub fn reset_latencies(&mut self) {
        self.latencies = Latencies::default();
    }

    /// Counters of a connection. `None` unless
    /// [`StreamConfig::connection_stats`](field@crate::StreamConfig::connection_stats) is set.
    ///
    /// Also valid in `on_close`.
    pub fn connection_stats(&self, id: ConnectionId) -> Option<ConnectionStats> {
        self.outbounds.get(id)?.connection_stats()
    }

    /// Fills `bytes` with unpredictable bytes. In a [replay](crate::testing::replay) these are the recorded ones.
    ///
    /// ```
    /// # use ws_reactor::Reactor;
    /// let mut number = [0; 8];
    /// Reactor::new()?.hub().random(&mut number);
    /// println!("session {:x}", u64::from_ne_bytes(number));
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn random(&mut self, bytes: &mut [u8]) {
        self.pools.masks.fill(bytes);
    }

    /// Notes something, if there is a recording.
    #[inline]
    pub(super) fn note(&mut self, note: impl FnOnce(&mut Recording)) {
        if let Some(recording) = &mut self.recording {
            note(recording);
        }
    }

    /// Returns `true` if a recording is played, whose streams carry plaintext.
    pub(super) fn is_playback(&self) -> bool {
        self.recording.as_ref().is_some_and(|recording| recording.is_playback())
    }

    /// The time `duration` from now, at most 100 years, so that the addition cannot overflow.
    pub(crate) fn after(&self, duration: Duration) -> Instant {
        later(self.now, duration)
    }

    // The following methods are for the floors above, and for the loop.

    /// Returns `true` if a warning that a peer can cause at will may be logged: at most one per second.
    pub(crate) fn may_warn(&mut self) -> bool {
        let may = self.warned.is_none_or(|warned| self.now.duration_since(warned) >= Duration::from_secs(1));
        if may {
            self.warned = Some(self.now);
        }
        may
    }

    /// [`now`](Self::now) in microseconds since the reactor was made.
    pub(crate) fn micros(&self) -> u64 {
        self.uptime.micros(self.now)
    }

    /// As [`micros`](Self::micros), up to a millisecond ago, which costs less.
    #[inline]
    pub(crate) fn rough_micros(&mut self) -> u64 {
        self.uptime.rough_micros(self.now)
    }

    /// Number of the current turn.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// The phase of a connection; `Closed` if the connection has ended.
    pub(crate) fn phase(&self, id: ConnectionId) -> Phase {
        self.outbound(id).map_or(Phase::Closed, |outbound| outbound.state.phase())
    }

    pub(super) fn outbound(&self, id: ConnectionId) -> Option<&Outbound> {
        self.outbounds.get(id)
    }

    /// Marks the connection to be flushed: right after its own running callback, or at the end of the turn.
    pub(super) fn touch(&mut self, key: usize) {
        if self.callback.is_of(key) {
            return;
        }
        let outbound = &mut self.outbounds[key];
        if !outbound.touched {
            outbound.touched = true;
            self.deferred.touched.push(key);
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.command_queue.close();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hub")
            .field("stats", &self.stats())
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Reactor, ReactorConfig, net::sim::Sim};

    #[test]
    fn warning_that_a_peer_can_cause_is_logged_at_most_once_a_second() {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        assert!(reactor.hub().may_warn() && !reactor.hub().may_warn());
        reactor.kernel_mut().advance(Duration::from_millis(999));
        assert!(!reactor.hub().may_warn());
        reactor.kernel_mut().advance(Duration::from_millis(1));
        assert!(reactor.hub().may_warn() && !reactor.hub().may_warn());
    }
}
