//! The interface between the reactor and the system.

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use self::sealed::Sealed;
use super::{
    bind::Bind,
    connected_socket::ConnectedSocket,
    endpoint::Endpoint,
    poll_source::{Interest, PollSource},
    socket_options::SocketOptions,
};
use crate::peer_addr::PeerAddr;

/// Readiness of a source. The fields are hints: only a read or a write shows the real state.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// Data to read, or connections to accept.
    pub readable: bool,
    /// Room in the send buffer.
    pub writable: bool,
    /// The peer ended its side of the stream. No further event follows, so the stream must be read to the end.
    pub hangup: bool,
    /// The connection failed. Unread data no longer matters.
    pub failed: bool,
}

/// A readiness event of a registered source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Token of the source, as given at registration.
    pub token: usize,
    /// Readiness of the source.
    pub readiness: Readiness,
}

/// Wakes a reactor from any thread.
pub trait Wake: Send + Sync + fmt::Debug {
    /// Makes the current or the next [`Kernel::poll`] return at once.
    ///
    /// # Errors
    ///
    /// The system refused to wake the poll.
    fn wake(&self) -> io::Result<()>;
}

/// Fills a buffer with unpredictable bytes, for masking keys and nonces. RFC 6455 §10.3.
pub type Randomness = Box<dyn FnMut(&mut [u8])>;

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// The system calls of a reactor. Implemented by [`System`](super::System) and by the simulated
/// [`Sim`](super::sim::Sim).
///
/// Sources are edge-triggered: an event arrives once per change of readiness. All calls are made on the reactor's
/// thread. The errors are those of the system; `WouldBlock` means that an event follows when the call can succeed.
///
/// The trait is sealed: its methods may change with any release.
pub trait Kernel: Sealed + fmt::Debug {
    /// A connected stream.
    type Stream: fmt::Debug;
    /// A bound listener.
    type Listener: fmt::Debug;

    /// `true` if a read shorter than the buffer has drained the socket, so that the next byte brings an event.
    const SHORT_READ_DRAINS: bool;

    /// `true` if several reactors can listen at one address.
    const SHARES_ADDRESSES: bool = false;

    /// `true` if [`watch`](Self::watch) works.
    const WATCHES_SOURCES: bool = false;

    /// Appends events to `events`. Waits until an event occurs, `timeout` passes (`None`: no limit), or [`Wake::wake`]
    /// is called.
    ///
    /// The call may return early, without events.
    ///
    /// # Errors
    ///
    /// The system cannot wait for events.
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()>;

    /// Current time of the monotonic clock.
    fn now(&self) -> Instant;

    /// The clock, if it runs while the reactor works. The clock of a simulated system moves only while it waits.
    fn running_clock(&self) -> Option<fn() -> Instant>;

    /// A handle that ends [`poll`](Self::poll) from any thread.
    fn waker(&self) -> Arc<dyn Wake>;

    /// Makes a source of randomness.
    fn random(&mut self) -> Randomness;

    /// Opens a listener, registers the listener under `token`, and returns its bound address.
    ///
    /// # Errors
    ///
    /// The address cannot be resolved or bound.
    fn bind(&mut self, bind: &Bind, token: usize) -> io::Result<(Self::Listener, SocketAddr)>;

    /// Accepts the next connection and returns the address of the peer. The stream is not registered yet.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if no connection waits. Other errors concern one connection, or the system (no descriptors, no
    /// memory).
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, PeerAddr)>;

    /// Takes over a connected socket, and returns the address of the peer. The stream is not registered yet.
    ///
    /// # Errors
    ///
    /// The socket is not connected, or the system cannot use it.
    fn adopt(&mut self, socket: ConnectedSocket) -> io::Result<(Self::Stream, PeerAddr)>;

    /// Gives away an accepted stream that is not registered, for another reactor to [`adopt`](Self::adopt).
    ///
    /// # Errors
    ///
    /// The stream, if it belongs to this system alone.
    fn release(&mut self, stream: Self::Stream) -> Result<ConnectedSocket, Self::Stream> {
        Err(stream)
    }

    /// Starts to connect with these options, and registers the stream under `token`. An event follows once the result
    /// is known.
    ///
    /// # Errors
    ///
    /// The attempt cannot be started.
    fn connect(&mut self, to: &Endpoint, options: &SocketOptions, token: usize) -> io::Result<Self::Stream>;

    /// Ends the events of a registered stream, until it is registered again. It has an event then if it is ready.
    ///
    /// # Errors
    ///
    /// The system refused.
    fn deregister(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// Returns `true` if a stream is connected. `false` while the attempt is under way.
    ///
    /// # Errors
    ///
    /// The connection attempt failed, or has connected the stream to itself.
    fn connected(&mut self, stream: &mut Self::Stream) -> io::Result<bool>;

    /// Registers a registered stream under another token. Current readiness is reported again.
    ///
    /// # Errors
    ///
    /// The system refused the registration.
    fn reregister(&mut self, stream: &mut Self::Stream, token: usize) -> io::Result<()>;

    /// Registers a stream under `token`, for both directions and the whole life of the stream.
    ///
    /// # Errors
    ///
    /// The system refused the registration.
    fn register(&mut self, stream: &mut Self::Stream, token: usize) -> io::Result<()>;

    /// Reads available bytes. Returns 0 when the peer has ended its side.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is nothing to read. Other errors end the connection, except `Interrupted`.
    fn read(&mut self, stream: &mut Self::Stream, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as many bytes as fit. After a short write an event reports when there is room again.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room. Other errors end the connection, except `Interrupted`.
    fn write(&mut self, stream: &mut Self::Stream, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends this side of the stream: the peer reads the end of the stream after the written bytes.
    ///
    /// # Errors
    ///
    /// The connection is already broken.
    fn shutdown_write(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// Registers a source of the application under `token`. Only the operating system has such sources.
    ///
    /// # Errors
    ///
    /// The system refused the registration.
    fn watch(&mut self, _source: &mut dyn PollSource, _token: usize, _interest: Interest) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Registers a registered source for other events. Current readiness is reported again.
    ///
    /// # Errors
    ///
    /// The system refused the registration.
    fn rewatch(&mut self, _source: &mut dyn PollSource, _token: usize, _interest: Interest) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Ends the events of a source.
    ///
    /// # Errors
    ///
    /// The source is not registered.
    fn unwatch(&mut self, _source: &mut dyn PollSource) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
