//! A simulated system for tests: a whole reactor, unchanged, in virtual time and without sockets.
//!
//! Time moves only by [`Sim::advance`]. The test plays the far ends of the connections by [`Sim::connect`],
//! [`send`](Sim::send), [`received`](Sim::received) and others. With [`Faults`] the network splits reads and writes,
//! blocks, resets connections and reports spurious events, and the system runs out of resources or stops for hours. All
//! faults are drawn from a seed, so a failure can be repeated. Slow lines ([`Sim::slow_line`]), buffers of the sizes of
//! an operating system ([`Sim::set_buffers`]) and a process that is stopped for a while ([`Sim::advance`]) are set by
//! the test.
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

mod faults;
mod line;
mod network;
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

pub use self::{
    faults::Faults,
    peer::{Buffers, PeerId, SimStream},
    random::Random,
};
use self::{line::Line, news::News, peer::Peer};
use super::kernel::{Event, Readiness, Wake};

/// A simulated [`Kernel`](super::Kernel). See the [module](self).
#[derive(Debug)]
pub struct Sim {
    start: Instant,
    elapsed: Duration,
    /// Time of the last call of [`Peer::age`].
    aged: Duration,
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
            aged: Duration::ZERO,
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

    /// Sets the speed of the connection's line: at most `bytes_per_second` bytes arrive in a second of virtual time in
    /// each direction, evenly, in steps of 10 ms. Default: no limit, so that bytes arrive at once.
    ///
    /// With 0, nothing arrives any more. The end of the stream follows the last byte; a [reset](Self::reset) arrives at
    /// once.
    pub fn slow_line(&mut self, peer: PeerId, bytes_per_second: u64) {
        let peer = &mut self.peers[peer.0];
        (peer.inward, peer.outward) = (Line::with_speed(bytes_per_second), Line::with_speed(bytes_per_second));
    }

    /// Sets the sizes of the connection's buffers.
    pub fn set_buffers(&mut self, peer: PeerId, buffers: Buffers) {
        self.peers[peer.0].buffers = buffers;
    }

    /// Stops the peer from reading until [`release`](Self::release). Its system still takes
    /// [`peer_bytes`](field@Buffers::peer_bytes).
    pub fn stop_reading(&mut self, peer: PeerId) {
        self.peers[peer.0].reading = false;
    }

    /// Stops the peer from reading until [`release`](Self::release), and sets the size of the reactor's
    /// [send buffer](field@Buffers::send_bytes), at least one byte. Further writes of the reactor block.
    pub fn hold(&mut self, peer: PeerId, send_bytes: usize) {
        // A buffer without room would report none after the release either.
        self.peers[peer.0].buffers.send_bytes = send_bytes.max(1);
        self.stop_reading(peer);
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
        peer.is_broken() || peer.has_ended()
    }

    /// Returns `true` if the reactor has accepted the connection, or made the connection itself.
    pub fn is_accepted(&self, peer: PeerId) -> bool {
        self.peers[peer.0].is_taken()
    }

    /// Returns `true` if the reactor has dropped its end of the connection.
    pub fn is_closed(&self, peer: PeerId) -> bool {
        self.peers[peer.0].closed.get()
    }
}

impl Default for Sim {
    fn default() -> Self {
        Sim::new()
    }
}
