//! A simulated system for tests: a whole reactor, unchanged, in virtual time and without sockets.
//!
//! Time moves only by [`Sim::advance`]. The test plays the far ends of the connections by [`Sim::connect`],
//! [`send`](Sim::send), [`received`](Sim::received) and others. With [`Faults`] the network splits reads and writes,
//! blocks, resets connections and reports spurious events, and the system runs out of resources or stops for hours. All
//! faults are drawn from a seed, so a failure can be repeated.
//!
//! A listener needs an IP address and a port: names are not resolved there, and port 0 is an ordinary port. Methods
//! that take a [`PeerId`] panic if the id belongs to another `Sim` with more peers.
//!
//! ```
//! use std::time::Duration;
//! use ws_reactor::{ReactorConfig, Reactor, Stream, StreamHandler, net::sim::Sim};
//!
//! struct Greeter;
//!
//! impl StreamHandler for Greeter {
//!     fn on_connect(&mut self, stream: &mut Stream<'_>) {
//!         stream.set_timer(Duration::from_secs(3600));
//!     }
//!
//!     fn on_timer(&mut self, stream: &mut Stream<'_>, _: ws_reactor::TimerId) {
//!         stream.write(b"an hour has passed");
//!     }
//! }
//!
//! let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
//! let listening = reactor.listen_stream("10.0.0.1:80", |_| Greeter)?;
//! let peer = reactor.kernel_mut().connect(listening.addr)?;
//! reactor.advance(Duration::from_secs(3600))?;
//! assert_eq!(reactor.kernel_mut().received(peer), b"an hour has passed");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod news;
mod peer;
mod random;
mod system;

use std::{
    cell::Cell,
    collections::{BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use self::{news::News, peer::Peer};
pub use self::{
    peer::{PeerId, SimStream},
    random::Random,
};
use super::kernel::{Event, Readiness, Wake};

/// Probabilities of simulated faults. Each field is a chance of one in `n`; 0 means never, and 0 is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Bytes arrive, are read and are written in pieces of any length.
    pub pieces: u32,
    /// A read or a write gives `WouldBlock` or `Interrupted`, or a poll returns without events.
    pub busy: u32,
    /// An event without cause is reported, possibly for a closed connection.
    pub spurious: u32,
    /// A connection breaks in a step of the network: reset, timed out, or host unreachable.
    pub reset: u32,
    /// An accept fails: the connection is gone, or there is no descriptor or no memory.
    pub accept: u32,
    /// The system lacks a resource: a connect, a registration or a write fails, and the connection with the call.
    pub shortage: u32,
    /// The clock jumps ahead within a call, by less than a day, as if the process was stopped.
    pub leap: u32,
}

impl Faults {
    /// Frequent faults, none of which loses data: pieces, blocking, spurious events, failed accepts.
    pub const ROUGH: Faults = Faults { pieces: 2, busy: 8, spurious: 4, reset: 0, accept: 8, shortage: 0, leap: 0 };
}

/// A simulated [`Kernel`](super::Kernel). See the [module](self).
#[derive(Debug)]
pub struct Sim {
    start: Instant,
    elapsed: Duration,
    random: Random,
    faults: Faults,
    listeners: Vec<Listener>,
    peers: Vec<Peer>,
    /// Connections the reactor may hold.
    descriptors: usize,
    /// Addresses played by the test, addresses that never answer, and connections made to the former.
    played: BTreeSet<SocketAddr>,
    silent: BTreeSet<SocketAddr>,
    dialed: VecDeque<(PeerId, SocketAddr)>,
    news: News,
    events_per_poll: usize,
    woken: Arc<Woken>,
    timeout: Option<Duration>,
    /// Events of the last poll, to be reported again.
    late: Option<Vec<Event>>,
}

#[derive(Debug)]
struct Listener {
    addr: SocketAddr,
    token: usize,
    waiting: VecDeque<PeerId>,
    closed: Rc<Cell<bool>>,
}

/// The reactor's end of a simulated listener.
#[derive(Debug)]
pub struct SimListener {
    index: usize,
    closed: Rc<Cell<bool>>,
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.closed.set(true);
    }
}

#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(&self) -> io::Result<()> {
        self.0.store(true, Ordering::Release);
        Ok(())
    }
}

impl Sim {
    /// Makes a system without faults.
    pub fn new() -> Self {
        Sim::with_faults(0, Faults::default())
    }

    /// Makes a system with faults drawn from `seed`.
    pub fn with_faults(seed: u64, faults: Faults) -> Self {
        Sim {
            start: Instant::now(),
            elapsed: Duration::ZERO,
            random: Random::new(seed),
            faults,
            listeners: Vec::new(),
            peers: Vec::new(),
            descriptors: usize::MAX,
            played: BTreeSet::new(),
            silent: BTreeSet::new(),
            dialed: VecDeque::new(),
            news: News::default(),
            events_per_poll: usize::MAX,
            woken: Arc::default(),
            timeout: None,
            late: None,
        }
    }

    /// Moves the clock ahead.
    ///
    /// Timers fire in the next turn of the reactor. To advance and run the reactor use
    /// [`Reactor::advance`](crate::Reactor::advance).
    pub fn advance(&mut self, by: Duration) {
        self.elapsed += by;
    }

    /// Reports each event again with the next poll, with every readiness set. A real system does so when an event of a
    /// connection that has gone was on its way already; the token may belong to another connection by then.
    pub fn repeat_events(&mut self) {
        self.late = Some(Vec::new());
    }

    /// Timeout of the last poll: the time for which the reactor would have waited if no event had come. `None` for no
    /// limit.
    pub fn last_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Connects to a listener of the reactor from the address `from`.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` if the reactor does not listen on `to`.
    pub fn connect_from(&mut self, from: SocketAddr, to: SocketAddr) -> io::Result<PeerId> {
        let id = self.connect(to)?;
        self.peers[id.0].addr = from;
        Ok(id)
    }

    /// Connects to a listener of the reactor. Each peer gets an address of its own in 10.1.0.0/16.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` if the reactor does not listen on `to`.
    pub fn connect(&mut self, to: SocketAddr) -> io::Result<PeerId> {
        let listener = self.listeners.iter_mut().find(|listener| listener.addr == to && !listener.closed.get());
        let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
        let id = PeerId(self.peers.len());
        self.peers.push(Peer::new(id));
        listener.waiting.push_back(id);
        self.news.add(listener.token, Readiness { readable: true, ..Readiness::default() });
        Ok(id)
    }

    /// Sets how many connections the reactor may hold. Further accepts fail with `EMFILE`. Default: no limit.
    pub fn limit_connections(&mut self, most: usize) {
        self.descriptors = most;
    }

    fn is_without_descriptors(&self) -> bool {
        self.peers.iter().filter(|peer| peer.is_held()).count() >= self.descriptors
    }

    /// Lets the reactor connect to `addr`, where the test plays the far end. [`dialed`](Self::dialed) gives the
    /// connections.
    ///
    /// Addresses that are neither played, [silent](Self::silence) nor listened on by the reactor refuse connections.
    pub fn play(&mut self, addr: SocketAddr) {
        self.played.insert(addr);
    }

    /// Lets connection attempts to `addr` remain unanswered.
    pub fn silence(&mut self, addr: SocketAddr) {
        self.silent.insert(addr);
    }

    /// The next connection made by the reactor to a [played](Self::play) address, with that address. `None` if there is
    /// none.
    pub fn dialed(&mut self) -> Option<(PeerId, SocketAddr)> {
        self.dialed.pop_front()
    }

    /// All far ends so far, closed ones included. A connection of the reactor to itself has two.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + use<> {
        (0..self.peers.len()).map(PeerId)
    }

    /// Sends bytes to the reactor as the peer.
    pub fn send(&mut self, peer: PeerId, bytes: &[u8]) {
        self.peers[peer.0].in_flight.extend(bytes);
    }

    /// Ends the peer's side of the stream, after the bytes sent so far.
    pub fn finish(&mut self, peer: PeerId) {
        self.peers[peer.0].finishing = true;
    }

    /// Resets the connection. Bytes in flight are lost.
    pub fn reset(&mut self, peer: PeerId) {
        self.break_off(peer.0, io::ErrorKind::ConnectionReset);
    }

    fn break_off(&mut self, peer: usize, why: io::ErrorKind) {
        self.peers[peer].broken.get_or_insert(why);
        self.report(peer, Readiness { readable: true, writable: true, hangup: true, failed: true });
    }

    /// Limits the number of events that one poll reports, as the operating system does
    /// ([`ReactorConfig::events`](field@crate::ReactorConfig::events)). Default: no limit.
    pub fn limit_events(&mut self, per_poll: usize) {
        self.events_per_poll = per_poll;
    }

    /// Stops the peer from reading until [`release`](Self::release). The system buffers at most `capacity` bytes for
    /// the peer; further writes of the reactor block.
    pub fn hold(&mut self, peer: PeerId, capacity: usize) {
        self.peers[peer.0].capacity = capacity;
        self.peers[peer.0].reading = false;
    }

    /// Lets the peer read again.
    pub fn release(&mut self, peer: PeerId) {
        self.peers[peer.0].reading = true;
    }

    /// Takes the bytes that the peer has received since the last call.
    pub fn received(&mut self, peer: PeerId) -> Vec<u8> {
        std::mem::take(&mut self.peers[peer.0].received)
    }

    /// Returns `true` if the peer has read the end of the stream, or the connection is broken.
    pub fn is_ended(&self, peer: PeerId) -> bool {
        let peer = &self.peers[peer.0];
        peer.is_broken() || (peer.shut || peer.closed.get()) && peer.held.is_empty()
    }

    /// Returns `true` if the reactor has accepted the connection, or made the connection itself.
    pub fn is_accepted(&self, peer: PeerId) -> bool {
        self.peers[peer.0].is_taken()
    }

    /// Returns `true` if the reactor has dropped its end of the connection.
    pub fn is_closed(&self, peer: PeerId) -> bool {
        self.peers[peer.0].closed.get()
    }

    /// Returns `true` if no bytes and no events are in flight. Connections that wait to be accepted do not count once
    /// their event was reported.
    pub fn is_quiet(&self) -> bool {
        self.news.is_empty()
            && !self.woken.0.load(Ordering::Acquire)
            && self.peers.iter().all(|peer| self.has_passed_on(peer))
            // Bytes for a connection that was not accepted yet wait with the connection.
            && self.peers.iter().all(|peer| peer.token.is_none() && !peer.closed.get() || peer.is_quiet())
    }

    fn report(&mut self, peer: usize, news: Readiness) {
        if let Some(token) = self.peers[peer].token.filter(|_| !self.peers[peer].closed.get()) {
            self.news.add(token, news);
        }
    }

    /// Moves bytes in flight.
    fn step(&mut self) {
        for index in 0..self.peers.len() {
            // Bytes for a connection that was not accepted yet wait with the connection.
            if self.peers[index].token.is_none() && !self.peers[index].closed.get() {
                continue;
            }
            if !self.peers[index].closed.get() && self.random.one_in(self.faults.reset) {
                const BREAKS: [io::ErrorKind; 3] =
                    [io::ErrorKind::ConnectionReset, io::ErrorKind::TimedOut, io::ErrorKind::HostUnreachable];
                let why = BREAKS[self.random.below(BREAKS.len())];
                self.break_off(index, why);
            }
            let arriving = self.piece(self.peers[index].in_flight.len());
            let taken = self.piece(self.peers[index].held.len());
            let news = self.peers[index].step(arriving, taken);
            self.report(index, news);
            if let Some(other) = self.peers[index].other {
                self.pass_on(index, other);
            }
        }
        if self.random.one_in(self.faults.spurious) && !self.peers.is_empty() {
            let index = self.random.below(self.peers.len());
            if let Some(token) = self.peers[index].token {
                // The token may belong to another source by now.
                let writable = self.random.one_in(2);
                self.news.add(token, Readiness { readable: true, writable, ..Readiness::default() });
            }
        }
    }

    /// Returns `true` if the other end of an internal connection has received everything from this end.
    fn has_passed_on(&self, peer: &Peer) -> bool {
        let Some(other) = peer.other.map(|other| &self.peers[other]) else { return true };
        let ended = (peer.shut || peer.closed.get()) && peer.held.is_empty();
        other.closed.get()
            || other.is_broken()
            || peer.received.is_empty() && !peer.is_broken() && (!ended || other.finishing)
    }

    /// Passes the bytes received by one end of an internal connection to the other end.
    fn pass_on(&mut self, from: usize, to: usize) {
        let peer = &mut self.peers[from];
        let received = std::mem::take(&mut peer.received);
        let ended = (peer.shut || peer.closed.get()) && peer.held.is_empty();
        let broken = peer.is_broken();
        self.peers[to].in_flight.extend(received);
        self.peers[to].finishing |= ended;
        if broken && !self.peers[to].is_broken() {
            self.reset(PeerId(to));
        }
    }

    /// All of `length`, or a random part.
    fn piece(&mut self, length: usize) -> usize {
        match self.random.one_in(self.faults.pieces) {
            true => self.random.below(length + 1),
            false => length,
        }
    }

    /// A fault of one call: blocked, interrupted, or slow. A broken connection reports its error at once, as systems
    /// do: no later event would.
    fn fault_of_moment(&mut self, peer: usize) -> Option<io::ErrorKind> {
        self.leap();
        let busy = self.random.one_in(self.faults.busy) && !self.peers[peer].is_broken();
        busy.then(|| if self.random.one_in(4) { io::ErrorKind::Interrupted } else { io::ErrorKind::WouldBlock })
    }

    /// A missing resource, chosen at random.
    fn shortage(&mut self) -> io::Result<()> {
        if !self.random.one_in(self.faults.shortage) {
            return Ok(());
        }
        let code = SHORTAGES[self.random.below(SHORTAGES.len())];
        Err(io::Error::from_raw_os_error(code))
    }

    fn leap(&mut self) {
        if self.random.one_in(self.faults.leap) {
            let scale = [1_000, 60_000, 86_400_000][self.random.below(3)];
            self.elapsed += Duration::from_millis(self.random.below(scale) as u64);
        }
    }
}

/// `ENFILE`, `EMFILE`, `ENOSPC` (too many epoll watches), `ENOMEM` and `ENOBUFS` on Linux.
const SHORTAGES: [i32; 5] = [23, 24, 28, 12, 105];

impl Default for Sim {
    fn default() -> Self {
        Sim::new()
    }
}
