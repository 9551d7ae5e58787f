//! The reactor: it waits, moves bytes, and calls handlers. This page is the loop.
//!
//! A connection is two halves. The inbound one, [`link::Link`], has the socket and the protocol and belongs to the reactor alone; the outbound
//! one, [`outbox::Outbox`], lies in the [`Hub`], which every handler borrows. So a handler may send to any connection, its own
//! included, without a lock, a channel or an allocation.

mod accept;
mod cold;
mod compression;
mod config;
mod dial;
mod duties;
mod encoded;
mod ending;
mod events;
mod excess;
mod flushing;
mod guard;
mod hub;
mod id;
mod input;
mod latest;
mod link;
mod listen;
mod outbox;
mod output_rule;
mod peer;
mod pending;
mod place;
mod pools;
mod publish;
mod queue;
mod remote;
mod securing;
mod send;
mod send_status;
mod simulated;
mod slow;
mod stats;
mod stream;
mod task;
mod timers;
mod token;
mod topics;

use std::{
    collections::VecDeque,
    fmt, mem,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use slab::Slab;

pub(crate) use self::{
    config::setters,
    listen::Service,
    outbox::{LARGE_PAYLOAD_BYTES, Phase},
    pending::PendingHandshake,
    place::Place,
};
pub use self::{
    config::{OutputLimits, Overflow, PanicPolicy, ReactorConfig, StreamConfig},
    hub::Hub,
    id::{ConnectionId, ListenerId, TimerId},
    listen::Listening,
    publish::Published,
    remote::{Remote, RemoteError},
    send_status::SendStatus,
    slow::SlowTurn,
    stats::Stats,
    stream::{Stream, StreamHandler},
};
use self::{
    dial::Attempt,
    hub::Running,
    link::Link,
    listen::{Listener, Streams},
    remote::Command,
    slow::Watch,
    token::Token,
};
#[cfg(any(test, fuzzing, measuring))]
pub(crate) use self::{id::IdSource, timers::Timers, topics::Topics};
#[cfg(feature = "tls")]
use crate::net::tls::TlsAcceptor;
use crate::{
    error::{ListenError, PollError},
    net::{Answers, Bind, Event, Kernel, Resolver, System, SystemResolver, transport::Ciphertext},
};

/// The event loop: single-threaded, and bounded in all it does between two waits.
///
/// `K` is the system it runs on: the real one unless a test says otherwise (see [`sim`](crate::net::sim)).
pub struct Reactor<K: Kernel = System> {
    kernel: K,
    links: Slab<Link<K::Stream>>,
    listeners: Slab<Listener<K::Listener>>,
    /// Which listener is the first to accept.
    first_listener: usize,
    /// Some listener has connections waiting, and does not rest.
    accepting: bool,
    attempts: Slab<Attempt<K::Stream>>,
    /// What resolvers have found.
    answers: Arc<Answers>,
    resolver: Box<dyn Resolver>,
    /// Connections are being taken in.
    taking_in: bool,
    hub: Hub,
    /// The one buffer that all connections are read into.
    read_buffer: Box<[u8]>,
    /// Where what is encrypted is read to.
    ciphertext: Ciphertext,
    /// Connections that wait for a step of their TLS handshake, the first that asked first.
    handshakes: VecDeque<usize>,
    /// The connection that is read now may make one.
    handshake_is_due: bool,
    events: Vec<Event>,
    /// What may be read in this part of the turn, in bytes.
    turn_budget: usize,
    /// Connections to be looked at in the next turn, though no event may come.
    run_queue: Vec<usize>,
    /// Connections whose output has drained.
    drained: Vec<ConnectionId>,
    /// What other threads asked for, taken out of the mailbox.
    commands: VecDeque<Command>,
    /// When the last turn ended. A loop that comes late to the next waits too long by no more than that.
    ended: Instant,
    /// Who is told of slow turns.
    watch: Option<Watch>,
    /// The timer that ends a shutdown.
    last_call: Option<TimerId>,
    /// So many timers more will give back what nobody needs.
    rests: u32,
    config: ReactorConfig,
}

/// Whether the loop goes on after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There will be more to do.
    Running,
    /// [`Hub::stop`] or [`Hub::shutdown`] was called, and every connection has gone.
    Stopped,
}

impl Reactor {
    /// A reactor with the default settings.
    pub fn new() -> Result<Self, PollError> {
        Reactor::with_config(ReactorConfig::default())
    }

    /// A reactor with other settings.
    pub fn with_config(config: ReactorConfig) -> Result<Self, PollError> {
        let system = System::new(config.events).map_err(PollError)?;
        Ok(Reactor::on(system, config))
    }
}

impl<K: Kernel> Reactor<K> {
    /// A reactor on a system of one's own choice.
    pub fn on(mut kernel: K, config: ReactorConfig) -> Self {
        let random = kernel.random();
        Reactor {
            links: Slab::new(),
            listeners: Slab::new(),
            first_listener: 0,
            accepting: false,
            attempts: Slab::new(),
            answers: Answers::new(kernel.waker()),
            resolver: Box::new(SystemResolver::default()),
            taking_in: false,
            hub: Hub::new(&config, kernel.now(), kernel.waker(), random),
            read_buffer: vec![0; config.read_buffer_bytes.max(1)].into(),
            ciphertext: Ciphertext::beside(config.read_buffer_bytes.max(1)),
            handshakes: VecDeque::new(),
            handshake_is_due: false,
            events: Vec::new(),
            turn_budget: config.turn_budget_bytes.max(1),
            run_queue: Vec::new(),
            drained: Vec::new(),
            commands: VecDeque::new(),
            ended: kernel.now(),
            watch: None,
            last_call: None,
            rests: 0,
            kernel,
            config,
        }
    }

    /// Listens for raw streams; `factory` makes the protocol for each.
    pub fn listen_stream<H: StreamHandler + 'static>(
        &mut self,
        bind: impl Into<Bind>,
        factory: impl Fn(SocketAddr) -> H + 'static,
    ) -> Result<Listening, ListenError> {
        self.listen_stream_with(bind, StreamConfig::default(), factory)
    }

    /// As [`listen_stream`](Self::listen_stream), with other settings for the streams.
    pub fn listen_stream_with<H: StreamHandler + 'static>(
        &mut self,
        bind: impl Into<Bind>,
        config: StreamConfig,
        factory: impl Fn(SocketAddr) -> H + 'static,
    ) -> Result<Listening, ListenError> {
        self.open(bind.into(), Rc::new(Streams { factory, config: Rc::new(config), tls: None }))
    }

    /// As [`listen_stream_with`](Self::listen_stream_with), with TLS under each stream: EventMachine's `start_tls`.
    #[cfg(feature = "tls")]
    pub fn listen_stream_over_tls<H: StreamHandler + 'static>(
        &mut self,
        bind: impl Into<Bind>,
        tls: impl Into<TlsAcceptor>,
        config: StreamConfig,
        factory: impl Fn(SocketAddr) -> H + 'static,
    ) -> Result<Listening, ListenError> {
        self.open(bind.into(), Rc::new(Streams { factory, config: Rc::new(config), tls: Some(tls.into()) }))
    }

    /// Turns until [`Hub::stop`] or [`Hub::shutdown`] has ended the loop. It may be run again.
    pub fn run(&mut self) -> Result<(), PollError> {
        if self.hub.running == Running::Stopped {
            self.hub.running = Running::Yes;
        }
        while self.turn(None)? == Turn::Running {}
        Ok(())
    }

    /// One turn of the loop: waits for news, at most `timeout`, and deals with all of it.
    ///
    /// For embedding into a loop of one's own; [`next_deadline`](Self::next_deadline) says how long that may wait.
    pub fn turn(&mut self, timeout: Option<Duration>) -> Result<Turn, PollError> {
        if self.hub.running == Running::Stopped {
            return Ok(Turn::Stopped);
        }
        self.events.clear();
        let patience = self.patience(timeout);
        self.kernel.poll(&mut self.events, patience).map_err(PollError)?;
        self.hub.now = self.kernel.now();

        self.take_in_dials();
        self.refill_deliveries();
        // What ended in the last turn, and had no room in it, goes first.
        self.remove_closed();
        self.refill_deliveries();
        self.take_answers();
        self.run_commands();
        self.handle_events();
        self.run_ticks();
        self.fire_timers();
        self.deliver_events();
        self.carry_out_listening();
        self.wind_down();
        self.compress_waiting();
        self.terminate_slow_readers();
        self.flush_touched();
        self.tell_drained();
        self.remove_closed();
        self.note_plenty();
        self.note_turn();
        self.note_end();

        self.hub.stats.turns += 1;
        Ok(if self.hub.running == Running::Stopped { Turn::Stopped } else { Turn::Running })
    }

    /// Events, then the connections that a budget or a pause had left unfinished.
    fn handle_events(&mut self) {
        let unfinished = self.run_queue.len();
        self.refill();
        let events = mem::take(&mut self.events);
        for Event { token, readiness } in &events {
            match Token::from(*token) {
                Token::Link(key) => self.on_readiness(key, *readiness),
                Token::Listener(key) => self.note_waiting(key),
                Token::Attempt(slot) => self.on_attempt(slot),
            }
        }
        self.events = events;
        self.accept();
        // Whatever news there is, handshakes and what is unfinished have budgets of their own.
        self.refill();
        self.shake_hands();
        self.refill();
        self.refill_deliveries();
        let mut looked_at = 0;
        // Those whose turn does not come now are before the others in the next.
        while looked_at < unfinished && self.turn_budget > 0 {
            let key = self.run_queue[looked_at];
            looked_at += 1;
            if let Some(link) = self.links.get_mut(key) {
                link.queued = false;
                self.read_from(key);
            }
        }
        self.run_queue.drain(..looked_at);
    }

    /// Lets so much be read as a part of a turn allows.
    fn refill(&mut self) {
        self.turn_budget = self.config.turn_budget_bytes.max(1);
    }

    /// Allows so many deliveries and endings as a part of a turn may make.
    fn refill_deliveries(&mut self) {
        self.hub.deliveries_left = self.config.delivery_budget.max(1);
    }

    /// Removes connections that have ended, within the budget: each may publish its end to all the others. What `on_close` ends waits for the next turn: it may make
    /// connections that fail at once, again and again.
    fn remove_closed(&mut self) {
        let closed = self.hub.dead.len();
        let mut removed = 0;
        while removed < closed && self.hub.deliveries_left > 0 {
            self.hub.deliveries_left -= 1;
            self.bury(self.hub.dead[removed]);
            removed += 1;
        }
        self.hub.dead.drain(..removed);
        if removed > 0 {
            self.unpark_all();
        }
        while let Some(key) = self.hub.resumed.pop() {
            if self.links.contains(key) {
                self.enqueue(key);
            }
        }
    }

    /// How long the poll may wait.
    fn patience(&self, timeout: Option<Duration>) -> Option<Duration> {
        let until = self.next_deadline().map(|deadline| deadline.saturating_duration_since(self.ended));
        until.into_iter().chain(timeout).min()
    }

    /// When the reactor wants its next turn even if nothing comes: a timer is due, or work is left over. `None`: never.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.has_work() {
            true => Some(self.hub.now),
            false => self.hub.timers.next_deadline(),
        }
    }

    fn has_work(&self) -> bool {
        let hub = &self.hub;
        let lists = [&self.run_queue, &hub.touched, &hub.dead, &hub.resumed];
        lists.iter().any(|list| !list.is_empty())
            || !self.drained.is_empty()
            || !self.handshakes.is_empty()
            || !hub.compressing.is_empty()
            || !hub.slow_readers.is_empty()
            || !hub.events.is_empty()
            || !hub.dials.is_empty()
            || !hub.ticks.is_empty()
            || !hub.openings.is_empty()
            || !hub.closed_listeners.is_empty()
            || !matches!(hub.running, Running::Yes | Running::ShuttingDown)
            || hub.inbox.is_waiting()
            || self.answers.are_waiting()
            || !self.commands.is_empty()
            || self.accepting
    }

    /// Has names looked up by `resolver`. By default the system is asked, in threads that are started with the first name.
    pub fn set_resolver(&mut self, resolver: impl Resolver + 'static) {
        self.resolver = Box::new(resolver);
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote {
        self.hub.remote()
    }

    /// What handlers may touch, for use between turns.
    pub fn hub(&mut self) -> &mut Hub {
        // The last turn may be long past.
        self.hub.now = self.kernel.now();
        &mut self.hub
    }

    /// The system it runs on; a test moves the simulated one's clock by it.
    pub fn kernel_mut(&mut self) -> &mut K {
        &mut self.kernel
    }
}

impl<K: Kernel> fmt::Debug for Reactor<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reactor = formatter.debug_struct("Reactor");
        reactor.field("kernel", &self.kernel).field("hub", &self.hub);
        reactor.field("links", &self.links).field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for Reactor<System> {
    /// The descriptor of the poll: readable when the reactor wants a turn, for loops that watch descriptors.
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.kernel.as_raw_fd()
    }
}
