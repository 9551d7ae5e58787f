//! The reactor: waits for events, moves bytes and calls handlers. This file is the loop.
//!
//! A connection has two halves. The inbound half, [`Inbound`](connection::inbound::Inbound), holds the socket and
//! the protocol and belongs to the reactor alone. The outbound half,
//! [`Outbound`](connection::outbound::Outbound), lies in the [`Hub`], which every handler borrows. A handler
//! can therefore send to any connection, its own included, without a lock, a channel or an allocation.

// The documentation lists the methods of `Hub` in the order of these declarations: `send`, `publish`, `close` first.
mod send;

mod publish;

mod close;

mod backplane;
mod busy;
mod callback_scope;
mod calls;
mod close_hooks;
mod commands;
mod config;
mod connection;
mod conversion;
mod deferred;
mod dial;
mod events;
mod farewell;
mod for_protocols;
mod group;
mod hub;
mod id;
mod latency;
mod listen;
mod metrics;
mod panic;
mod pools;
mod recording;
mod relay;
mod remote;
mod send_file;
mod share;
mod shutdown;
mod sim;
mod slack;
mod slow_turn;
mod source;
mod stats;
mod stream;
mod timer;
mod token;
mod trim;
mod turn_phase;
mod uptime;
mod waiting;
mod work;

use std::{
    collections::VecDeque,
    fmt, mem,
    time::{Duration, Instant},
};

pub use self::{
    backplane::{Backplane, HeldMessage, PublishedMessage},
    close_hooks::CloseHook,
    config::{OutputLimits, Overflow, PanicPolicy, ReactorConfig, StreamConfig},
    connection::{file_transfer::FileSent, outbound::counts::ConnectionStats, relaying::RelayEnded},
    dial::reconnect::{Attempt, Reconnect, Retry},
    hub::Hub,
    id::{ConnectionId, ListenerId, SourceId, TimerId},
    latency::{Durations, Latencies},
    listen::Listening,
    publish::{
        Published,
        history::{HistoryLimits, Replay, StoredEvent},
        watch::TopicWatch,
    },
    recording::{
        playback::{Playback, replay},
        recorder::Recorder,
    },
    remote::Remote,
    slow_turn::SlowTurn,
    source::{Source, SourceHandler},
    stats::Stats,
    stream::{Stream, StreamHandler},
    turn_phase::TurnPhase,
    work::DeferError,
};
use self::{
    busy::DirectRead,
    connection::{inbounds::Inbounds, reader::Reader},
    dial::dialer::Dialer,
    hub::Running,
    listen::listeners::Listeners,
    recording::Recording,
    remote::QueuedCommand,
    slow_turn::Watch,
    token::Token,
    trim::Trim,
};
pub(crate) use self::{
    connection::{ping_mark::PingProgress, state::Phase},
    dial::target::Target,
    events::Wakeup,
    group::Place,
    listen::{Service, admission::PendingHandshake},
    pools::Pools,
    share::Share,
};
#[cfg(any(test, fuzzing, measuring))]
pub(crate) use self::{id::IdSource, publish::topics::Topics, timer::timers::Timers};
use crate::{
    error::PollError,
    net::{Event, Kernel, Resolver, System},
};

/// A single-threaded event loop whose work between two waits is bounded ([`ReactorConfig`]).
///
/// `K` is the system that the reactor runs on: the operating system by default, or a simulated one in tests (see
/// [`sim`](crate::net::sim)).
///
/// A reactor stays on the thread that made it. Make it there, and hand its [`Remote`] to other threads.
///
/// [`guide::internals`](crate::guide::internals#turn) has the order of work in a turn.
///
/// # Examples
///
/// [`run`](Self::run) owns the thread:
///
/// ```
/// # use std::time::Duration;
/// # use ws_reactor::Reactor;
/// let mut reactor = Reactor::new()?;
/// reactor.hub().add_timer(Duration::from_millis(1), |hub| hub.stop());
/// reactor.run()?;
/// # Ok::<(), ws_reactor::Error>(())
/// ```
///
/// [`turn`](Self::turn) gives the reactor its turns in a loop of your own:
///
/// ```no_run
/// # use std::time::Duration;
/// # use ws_reactor::{Reactor, Turn};
/// let mut reactor = Reactor::new()?;
/// while reactor.turn(Some(Duration::from_millis(16)))? == Turn::Running {
///     // The loop's own work, at least every 16 ms.
/// }
/// # Ok::<(), ws_reactor::Error>(())
/// ```
pub struct Reactor<K: Kernel = System> {
    kernel: K,
    inbounds: Inbounds<K::Stream>,
    listeners: Listeners<K::Listener>,
    dialer: Dialer<K::Stream>,
    hub: Hub,
    reader: Reader,
    events: Vec<Event>,
    /// The last poll returned as many events as it may: others may be waiting, of which a loop around this one gets no
    /// further edge.
    has_more_events: bool,
    /// Commands of other threads, taken out of the command queue.
    commands: VecDeque<QueuedCommand>,
    /// Number of commands executed so far: the place of the next one in the order of all.
    commands_taken: u64,
    /// End of the last turn. A loop that starts the next turn late waits too long by no more than that delay.
    ended: Instant,
    /// Callback and threshold of `on_slow_turn`.
    watch: Option<Watch>,
    trim: Trim,
    direct: DirectRead,
    config: ReactorConfig,
}

/// Events, each with the input of a connection, after which the time is looked at.
const EVENTS_PER_LOOK: usize = 4;

/// State of the loop after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The loop goes on.
    Running,
    /// The loop has ended: [`Hub::stop`] or [`Hub::shutdown`] was called, and every connection has ended.
    Stopped,
}

impl Reactor {
    /// Creates a reactor with the default configuration.
    ///
    /// # Errors
    ///
    /// [`PollError`] if the system cannot create a poll, for example because no file descriptor is free.
    pub fn new() -> Result<Self, PollError> {
        Reactor::with_config(ReactorConfig::default())
    }

    /// Creates a reactor with the given configuration.
    ///
    /// # Errors
    ///
    /// See [`new`](Self::new).
    pub fn with_config(config: ReactorConfig) -> Result<Self, PollError> {
        let system = System::new(config.events).map_err(PollError)?;
        Ok(Reactor::on(system, config))
    }
}

impl<K: Kernel> Reactor<K> {
    /// Creates a reactor on the given system, such as [`Sim`](crate::net::sim::Sim).
    pub fn on(kernel: K, config: ReactorConfig) -> Self {
        let place = Place::alone(&config, kernel.waker());
        Reactor::at(place, kernel, config)
    }

    /// Creates a reactor at a place, which may be in a group.
    pub(crate) fn at(place: Place, mut kernel: K, config: ReactorConfig) -> Self {
        let ids = place.ids.clone();
        Reactor {
            inbounds: Inbounds::new(),
            listeners: Listeners::new(ids),
            dialer: Dialer::new(kernel.waker()),
            hub: Hub::new(&config, place, &mut kernel),
            reader: Reader::new(&config),
            events: Vec::new(),
            has_more_events: false,
            commands: VecDeque::new(),
            commands_taken: 0,
            ended: kernel.now(),
            watch: None,
            trim: Trim::default(),
            direct: DirectRead::default(),
            kernel,
            config,
        }
    }

    /// Runs turns until [`Hub::stop`] or [`Hub::shutdown`] has ended the loop. A loop that has ended can be run again.
    ///
    /// # Errors
    ///
    /// [`PollError`] if waiting for events fails.
    pub fn run(&mut self) -> Result<(), PollError> {
        if self.hub.running == Running::Stopped {
            self.hub.running = Running::Yes;
        }
        while self.turn_from(self.ended, None)? == Turn::Running {}
        Ok(())
    }

    /// Runs one turn: waits for events, at most for `timeout`, and handles them within the [budgets](ReactorConfig).
    ///
    /// The wait also ends by a command of a [`Remote`] and at [`next_deadline`](Self::next_deadline): timers fire in
    /// time whatever the `timeout`. `None` waits without limit of its own. Once the loop has ended, a turn does nothing
    /// and returns [`Turn::Stopped`] until [`run`](Self::run) is called.
    ///
    /// # Errors
    ///
    /// [`PollError`] if waiting for events fails.
    pub fn turn(&mut self, timeout: Option<Duration>) -> Result<Turn, PollError> {
        self.turn_from(self.kernel.now(), timeout)
    }

    /// A turn that begins at `now`.
    #[inline(never)]
    fn turn_from(&mut self, now: Instant, timeout: Option<Duration>) -> Result<Turn, PollError> {
        if matches!(self.hub.running, Running::Stopped) {
            return Ok(Turn::Stopped);
        }
        match self.events.is_empty() {
            true => self.wait(now, timeout).map_err(PollError)?,
            // Events that the last turn had no time for.
            false => self.hub.now = self.kernel.now(),
        }

        self.work();
        self.hub.turn += 1;
        Ok(if matches!(self.hub.running, Running::Yes) { Turn::Running } else { self.finish_shutdown() })
    }

    /// The work of a turn.
    #[inline(always)]
    fn work(&mut self) {
        self.begin_phases();
        self.convert();
        self.start_dials();
        self.reset_delivery_budget();
        // Connections for which the last turn had no budget left are removed first.
        let are_removed = self.remove_closed();
        self.write_unwritten();
        self.reset_delivery_budget();
        self.take_lookup_results();
        self.run_commands();
        self.handle_events();
        self.run_ticks();
        self.fire_timers();
        self.deliver_events();
        self.advance_sources();
        self.open_and_close_listeners();
        if !matches!(self.hub.running, Running::Yes) {
            self.advance_shutdown();
        }
        self.compress_waiting();
        self.pass_on_publications();
        self.terminate_slow_readers();
        self.flush_touched();
        self.notify_drained();
        if are_removed {
            self.remove_closed();
        }
        self.schedule_trim();
        self.end_recorded_turn();
        self.end_turn();
    }

    #[inline]
    fn end_recorded_turn(&mut self) {
        if let Some(recording) = &mut self.hub.recording
            && !recording.end_turn(self.hub.now)
        {
            self.end_recording();
        }
    }

    /// Handles events, then connections that a budget or a pause left unfinished.
    #[inline]
    fn handle_events(&mut self) {
        let unfinished = self.reader.reread_count();
        self.reader.reset_budget(self.config.turn_budget_bytes);
        let mut events = mem::take(&mut self.events);
        let (mut handled, mut began) = (0, None);
        while let Some(Event { token, readiness }) = events.get(handled) {
            if self.is_late(handled, &mut began) {
                break;
            }
            match Token::from(*token) {
                Token::Inbound(key) => self.on_readiness(key, *readiness),
                Token::Listener(key) => self.listeners.mark_ready(key),
                Token::Attempt(slot) => self.on_attempt(slot),
                Token::Source(key) => self.on_source_ready(key, *readiness),
            }
            handled += 1;
        }
        match handled == events.len() {
            true => events.clear(),
            false => drop(events.drain(..handled)),
        }
        self.events = events;
        self.end_phase(TurnPhase::Input);
        self.accept();
        self.reader.reset_budget(self.config.turn_budget_bytes);
        self.run_tls_handshakes();
        self.reader.reset_budget(self.config.turn_budget_bytes);
        self.reset_delivery_budget();
        let (mut looked_at, mut began) = (0, None);
        // Connections not reached now come first in the next turn.
        while looked_at < unfinished && self.reader.has_budget() {
            if self.is_late(looked_at, &mut began) {
                break;
            }
            let key = self.reader.reread(looked_at);
            looked_at += 1;
            if let Some(inbound) = self.inbounds.get_mut(key) {
                inbound.reread_queued = false;
                self.read_from(key);
            }
        }
        if looked_at > 0 {
            self.reader.remove_rereads(looked_at);
            self.end_phase(TurnPhase::Input);
        }
    }

    /// Returns `true` if the slice of time for input is over. `handled`: number of events handled so far; the time is
    /// looked at only after each few of them.
    #[inline]
    fn is_late(&self, handled: usize, began: &mut Option<Instant>) -> bool {
        handled % EVENTS_PER_LOOK == EVENTS_PER_LOOK - 1 && self.hub.time_slice.is_over(began)
    }

    /// Drops events that the last turn had no time for, of a connection or source that is gone: its key may be reused.
    fn forget_events(&mut self, token: Token) {
        if !self.events.is_empty() {
            self.events.retain(|event| Token::from(event.token) != token);
        }
    }

    /// Refills the delivery budget for the next part of the turn.
    fn reset_delivery_budget(&mut self) {
        self.hub.deliveries_left = self.config.delivery_budget.max(1);
    }

    /// Removes connections that have ended, within the delivery budget, because each `on_close` may publish to all
    /// others. Connections that an `on_close` ends wait for the next turn: it may open connections that fail at once,
    /// endlessly.
    ///
    /// Returns `false` if the budget was used up.
    #[inline]
    fn remove_closed(&mut self) -> bool {
        let is_idle = self.hub.deferred.closed.is_empty() && self.hub.deferred.reread.is_empty();
        is_idle || self.remove_all_closed()
    }

    #[inline(never)]
    fn remove_all_closed(&mut self) -> bool {
        self.hub.note(Recording::on_activity);
        let closed = self.hub.deferred.closed.len();
        let (mut removed, mut share) = (0, Share::new(closed));
        while removed < closed && self.hub.deliveries_left > 0 && share.take(&self.hub.time_slice) {
            self.hub.deliveries_left -= 1;
            self.remove(self.hub.deferred.closed[removed]);
            removed += 1;
        }
        if removed > 0 {
            self.hub.deferred.closed.drain(..removed);
            self.listeners.unpark_all(&mut self.hub.timers);
        }
        while let Some(key) = self.hub.deferred.reread.pop() {
            if self.inbounds.get(key).is_some() {
                self.queue_reread(key);
            }
        }
        self.end_phase(TurnPhase::Closing);
        removed == closed
    }

    /// Sets the resolver of host names. The default resolver asks the operating system, on threads started with the
    /// first name.
    pub fn set_resolver(&mut self, resolver: impl Resolver + 'static) {
        self.dialer.set_resolver(resolver);
    }

    /// Returns a handle for other threads.
    pub fn remote(&self) -> Remote {
        self.hub.remote()
    }

    /// Returns the [`Hub`], for use between turns. [`Hub::now`] is set to the current time.
    pub fn hub(&mut self) -> &mut Hub {
        // The last turn may have ended long ago.
        self.hub.now = self.kernel.now();
        &mut self.hub
    }

    /// Returns the system that the reactor runs on, for example to move the clock of a simulated one.
    pub fn kernel_mut(&mut self) -> &mut K {
        &mut self.kernel
    }
}

impl<K: Kernel> fmt::Debug for Reactor<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reactor = formatter.debug_struct("Reactor");
        reactor.field("kernel", &self.kernel).field("hub", &self.hub);
        reactor.field("inbounds", &self.inbounds).field("listeners", &self.listeners).finish_non_exhaustive()
    }
}
