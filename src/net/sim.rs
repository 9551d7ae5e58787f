//! A simulated system: the whole reactor on it, unchanged, in virtual time and without a socket.
//!
//! Time moves only by [`Sim::advance`]; the far ends of connections are played by the test, by [`Sim::connect`], [`send`](Sim::send),
//! [`received`](Sim::received) and their like. With [`Faults`] the network delivers in pieces, takes in pieces, is busy at any moment, breaks
//! connections and tells of things that did not happen, and the system is short of memory or stopped for hours; all by a seed, so that what went wrong goes
//! wrong again.
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

mod peer;
mod random;
mod system;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use self::peer::Peer;
pub use self::{
    peer::{PeerId, SimStream},
    random::Random,
};
use super::kernel::{Readiness, Wake};

/// What the simulated system does wrong, each as a chance of one in so many; 0 is never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Bytes arrive, are read and are taken in pieces of any length.
    pub pieces: u32,
    /// A read or write would block, or is interrupted.
    pub busy: u32,
    /// An event comes for nothing, or for a connection that has gone.
    pub spurious: u32,
    /// A connection breaks, in a step of the network: it is reset, its peer cannot be reached, or has not answered for too long.
    pub reset: u32,
    /// An accept fails: the connection has gone again, or there is no descriptor for it, or no memory.
    pub accept: u32,
    /// The system is short of something, so that what is begun, registered or written fails, and the connection with it.
    pub shortage: u32,
    /// The clock leaps ahead within a call, by up to a day: the process was stopped.
    pub leap: u32,
}

impl Faults {
    /// A network that is as bad as it gets and still delivers.
    pub const ROUGH: Faults = Faults { pieces: 2, busy: 8, spurious: 4, reset: 0, accept: 8, shortage: 0, leap: 0 };
}

/// The simulated system. See the [module](self).
#[derive(Debug)]
pub struct Sim {
    start: Instant,
    elapsed: Duration,
    random: Random,
    faults: Faults,
    listeners: Vec<Listener>,
    peers: Vec<Peer>,
    /// How many connections the reactor may have.
    descriptors: usize,
    /// Addresses whose far ends are played by the test, those that never answer, and who has come to the former.
    played: BTreeSet<SocketAddr>,
    silent: BTreeSet<SocketAddr>,
    dialed: VecDeque<(PeerId, SocketAddr)>,
    /// News by token.
    news: BTreeMap<usize, Readiness>,
    woken: Arc<Woken>,
}

#[derive(Debug)]
struct Listener {
    addr: SocketAddr,
    token: usize,
    waiting: VecDeque<PeerId>,
    closed: Rc<Cell<bool>>,
}

/// The reactor's hold on a simulated listener.
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
    /// A system without faults.
    pub fn new() -> Self {
        Sim::with_faults(0, Faults::default())
    }

    /// A system with faults, drawn from `seed`.
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
            news: BTreeMap::new(),
            woken: Arc::default(),
        }
    }

    /// Moves the clock.
    pub fn advance(&mut self, by: Duration) {
        self.elapsed += by;
    }

    /// Connects to a listener from an address of one's own choice.
    pub fn connect_from(&mut self, from: SocketAddr, to: SocketAddr) -> io::Result<PeerId> {
        let id = self.connect(to)?;
        self.peers[id.0].addr = from;
        Ok(id)
    }

    /// Connects to a listener; each peer has an address of its own.
    pub fn connect(&mut self, to: SocketAddr) -> io::Result<PeerId> {
        let listener = self.listeners.iter_mut().find(|listener| listener.addr == to && !listener.closed.get());
        let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
        let id = PeerId(self.peers.len());
        self.peers.push(Peer::new(id));
        listener.waiting.push_back(id);
        self.news.entry(listener.token).or_default().readable = true;
        Ok(id)
    }

    /// Lets the reactor have so many connections at a time; it is told that it has no descriptor for more (`EMFILE`).
    pub fn limit_connections(&mut self, most: usize) {
        self.descriptors = most;
    }

    fn is_without_descriptors(&self) -> bool {
        self.peers.iter().filter(|peer| peer.is_held()).count() >= self.descriptors
    }

    /// Lets the reactor connect to an address where it does not listen itself; who comes is told by [`dialed`](Self::dialed). Any other such address refuses.
    pub fn play(&mut self, addr: SocketAddr) {
        self.played.insert(addr);
    }

    /// Has an address never answer.
    pub fn silence(&mut self, addr: SocketAddr) {
        self.silent.insert(addr);
    }

    /// The next connection that the reactor has made to an address that is [played](Self::play).
    pub fn dialed(&mut self) -> Option<(PeerId, SocketAddr)> {
        self.dialed.pop_front()
    }

    /// All far ends that there ever were.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + use<> {
        (0..self.peers.len()).map(PeerId)
    }

    /// Sends bytes as the peer.
    pub fn send(&mut self, peer: PeerId, bytes: &[u8]) {
        self.peers[peer.0].in_flight.extend(bytes);
    }

    /// Ends the peer's side of the stream, behind what it has sent.
    pub fn finish(&mut self, peer: PeerId) {
        self.peers[peer.0].finishing = true;
    }

    /// Breaks the connection: what is under way is lost.
    pub fn reset(&mut self, peer: PeerId) {
        self.break_off(peer.0, io::ErrorKind::ConnectionReset);
    }

    fn break_off(&mut self, peer: usize, why: io::ErrorKind) {
        self.peers[peer].broken.get_or_insert(why);
        self.tell(peer, Readiness { readable: true, writable: true, hangup: true, failed: true });
    }

    /// Has the peer read nothing until told otherwise; the system holds so many bytes for it.
    pub fn hold(&mut self, peer: PeerId, capacity: usize) {
        self.peers[peer.0].capacity = capacity;
        self.peers[peer.0].reading = false;
    }

    /// Has the peer read again.
    pub fn release(&mut self, peer: PeerId) {
        self.peers[peer.0].reading = true;
    }

    /// Takes what the peer has received.
    pub fn received(&mut self, peer: PeerId) -> Vec<u8> {
        std::mem::take(&mut self.peers[peer.0].received)
    }

    /// Whether the peer has seen the end of the stream, or of the connection.
    pub fn is_ended(&self, peer: PeerId) -> bool {
        let peer = &self.peers[peer.0];
        peer.is_broken() || (peer.shut || peer.closed.get()) && peer.held.is_empty()
    }

    /// Whether the reactor has accepted, or made, the connection.
    pub fn is_accepted(&self, peer: PeerId) -> bool {
        self.peers[peer.0].is_taken()
    }

    /// Whether the reactor has let go of the connection.
    pub fn is_closed(&self, peer: PeerId) -> bool {
        self.peers[peer.0].closed.get()
    }

    /// Whether nothing is under way: no byte, no event. When to accept those that wait is the reactor's affair, once it knows of them.
    pub fn is_quiet(&self) -> bool {
        self.news.is_empty()
            && !self.woken.0.load(Ordering::Acquire)
            && self.peers.iter().all(|peer| self.has_passed_on(peer))
            // What comes to one that was not accepted yet waits with it.
            && self.peers.iter().all(|peer| peer.token.is_none() && !peer.closed.get() || peer.is_quiet())
    }

    fn tell(&mut self, peer: usize, news: Readiness) {
        if let Some(token) = self.peers[peer].token.filter(|_| !self.peers[peer].closed.get()) {
            let entry = self.news.entry(token).or_default();
            entry.readable |= news.readable;
            entry.writable |= news.writable;
            entry.hangup |= news.hangup;
            entry.failed |= news.failed;
        }
    }

    /// Moves what is under way.
    fn step(&mut self) {
        for index in 0..self.peers.len() {
            // What comes to one that was not accepted yet waits with it.
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
            self.tell(index, news);
            if let Some(other) = self.peers[index].other {
                self.pass_on(index, other);
            }
        }
        if self.random.one_in(self.faults.spurious) && !self.peers.is_empty() {
            let index = self.random.below(self.peers.len());
            if let Some(token) = self.peers[index].token {
                // The token may long have another owner.
                let entry = self.news.entry(token).or_default();
                entry.readable = true;
                entry.writable |= self.random.one_in(2);
            }
        }
    }

    /// Whether the other end within the system knows all that this one has done.
    fn has_passed_on(&self, peer: &Peer) -> bool {
        let Some(other) = peer.other.map(|other| &self.peers[other]) else { return true };
        let ended = (peer.shut || peer.closed.get()) && peer.held.is_empty();
        other.closed.get()
            || other.is_broken()
            || peer.received.is_empty() && !peer.is_broken() && (!ended || other.finishing)
    }

    /// Has what one end of a connection within the system has received sent by the other.
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

    /// All of `length`, or a piece of it.
    fn piece(&mut self, length: usize) -> usize {
        match self.random.one_in(self.faults.pieces) {
            true => self.random.below(length + 1),
            false => length,
        }
    }

    /// A call that would block or is interrupted for no reason, or in which much time passes. A broken connection says so at once, as systems do: it
    /// has no more news to come.
    fn fault_of_moment(&mut self, peer: usize) -> Option<io::ErrorKind> {
        self.leap();
        let busy = self.random.one_in(self.faults.busy) && !self.peers[peer].is_broken();
        busy.then(|| if self.random.one_in(4) { io::ErrorKind::Interrupted } else { io::ErrorKind::WouldBlock })
    }

    /// The system may be short of something; which of these it is, whoever asked cannot choose.
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

/// `ENFILE`, `EMFILE`, `ENOSPC` (too many watched by epoll), `ENOMEM` and `ENOBUFS`, as they are called on Linux.
const SHORTAGES: [i32; 5] = [23, 24, 28, 12, 105];

impl Default for Sim {
    fn default() -> Self {
        Sim::new()
    }
}
