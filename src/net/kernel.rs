//! The seam between the reactor and the system.

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{connector::Endpoint, listener::Bind};

/// What happened to a source. Hints only: the reactor finds out the truth by reading and writing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// There is something to read, or to accept.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The peer has ended its side: no further event will tell, so read to the end.
    pub hangup: bool,
    /// The connection has failed; there is nothing left to read that matters.
    pub failed: bool,
}

/// An event, and the token under which its source was registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The token given at registration.
    pub token: usize,
    /// What happened.
    pub readiness: Readiness,
}

/// Ends the poll of a reactor from any thread.
pub trait Wake: Send + Sync + fmt::Debug {
    /// Makes the current poll, or the next, return at once.
    fn wake(&self) -> io::Result<()>;
}

/// Fills a buffer with octets that nobody can foresee.
pub type Randomness = Box<dyn FnMut(&mut [u8])>;

/// What a reactor needs of a system. Sources are edge-triggered: an event comes once, when there is news.
///
/// Implemented by [`System`](super::System) and by the simulated [`Sim`](super::sim::Sim); every call is made on the reactor's thread.
pub trait Kernel: fmt::Debug {
    /// A connected stream.
    type Stream: fmt::Debug;
    /// A bound listener.
    type Listener: fmt::Debug;

    /// A read that returns less than was asked for has taken all there was, and the next byte will bring an event.
    const SHORT_READ_DRAINS: bool;

    /// Waits until there are events, the time is over (`None`: no limit), or somebody wakes it. May return early, with nothing.
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()>;

    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// What ends a poll.
    fn waker(&self) -> Arc<dyn Wake>;

    /// A source of randomness.
    fn random(&mut self) -> Randomness;

    /// Opens a listener, registered under `token`, and tells the address it got.
    fn bind(&mut self, bind: &Bind, token: usize) -> io::Result<(Self::Listener, SocketAddr)>;

    /// The next connection that waits; `WouldBlock` when there is none.
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, SocketAddr)>;

    /// Begins to connect, registered under `token`: an event comes when it is known how that went.
    fn connect(&mut self, to: &Endpoint, token: usize) -> io::Result<Self::Stream>;

    /// Whether a stream is connected; `false` while that is under way, and an error if it cannot be had.
    fn connected(&mut self, stream: &mut Self::Stream) -> io::Result<bool>;

    /// Registers a stream under another token. What it may do already is told again.
    fn reregister(&mut self, stream: &mut Self::Stream, token: usize) -> io::Result<()>;

    /// Registers a stream under `token`, for both directions and for all its life.
    fn register(&mut self, stream: &mut Self::Stream, token: usize) -> io::Result<()>;

    /// Reads what has come; 0 when the peer has ended its side.
    fn read(&mut self, stream: &mut Self::Stream, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as there is room for. A short write means that an event will tell when there is room again.
    fn write(&mut self, stream: &mut Self::Stream, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends our side: the peer sees the end of the stream after what was written.
    fn shutdown_write(&mut self, stream: &mut Self::Stream) -> io::Result<()>;
}
