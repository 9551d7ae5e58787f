//! UDP sockets.

use std::{
    any::Any,
    collections::VecDeque,
    fmt, io,
    net::{SocketAddr, UdpSocket as StdUdpSocket},
};

use crate::{
    net::{Interest, Kernel, Readiness, UdpSocket},
    reactor::{Hub, Reactor, Source, SourceHandler, SourceId},
    send_status::SendStatus,
    setters::setters,
};

/// Handler of a UDP socket (EventMachine's `open_datagram_socket`). Open the socket by [`Reactor::open_datagram`] or
/// [`Hub::open_datagram`].
///
/// ```
/// use std::net::SocketAddr;
/// use ws_reactor::{Datagram, DatagramConfig, DatagramHandler, Reactor};
///
/// struct Echo;
///
/// impl DatagramHandler for Echo {
///     fn on_datagram(&mut self, socket: &mut Datagram<'_>, data: &[u8], from: SocketAddr) {
///         socket.send_to(data, from);
///     }
/// }
///
/// let mut reactor = Reactor::new()?;
/// let (_id, address) = reactor.open_datagram("127.0.0.1:0".parse()?, DatagramConfig::default(), Echo)?;
/// println!("listening on {address}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[allow(unused_variables)]
pub trait DatagramHandler {
    /// Called with each datagram, whole, in the order in which the system delivers them.
    fn on_datagram(&mut self, socket: &mut Datagram<'_>, data: &[u8], from: SocketAddr);

    /// Called when all waiting datagrams have left, after a send returned [`Congested`](SendStatus::Congested) or found
    /// the queue full.
    fn on_drain(&mut self, socket: &mut Datagram<'_>) {}

    /// Called with a value of [`Hub::notify_source`], by which other handlers reach this one.
    fn on_event(&mut self, socket: &mut Datagram<'_>, event: &dyn Any) {}

    /// Called when a [shutdown](Hub::shutdown) begins. The default does nothing; the socket stays open until it is
    /// closed or the reactor is dropped.
    fn on_shutdown(&mut self, socket: &mut Datagram<'_>) {}

    /// Called when the system reports an error, for example [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) for
    /// an earlier datagram to a port without a socket. The socket stays open, unless the system does not watch it.
    fn on_error(&mut self, socket: &mut Datagram<'_>, error: &io::Error) {}
}

/// Configuration of a UDP socket.
///
/// ```
/// use ws_reactor::DatagramConfig;
///
/// let config = DatagramConfig::new().peer("127.0.0.1:8125".parse().ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct DatagramConfig {
    /// The only peer: others are not received, and [`Datagram::send`] sends to it. Default `None`.
    pub peer: Option<SocketAddr>,
    /// Datagrams received per turn before connections are served. Default 64.
    pub receive_budget: usize,
    /// Longest datagram that is received, in bytes. Default 65,535, the longest of all. The rest of a longer one is
    /// lost. The socket keeps a buffer of this length.
    pub max_datagram_bytes: usize,
    /// Bytes that may wait while the system takes no datagrams, 64 for each included. Default 256 KiB. Beyond it,
    /// datagrams are dropped.
    pub queue_bytes: usize,
}

impl Default for DatagramConfig {
    fn default() -> Self {
        DatagramConfig { peer: None, receive_budget: 64, max_datagram_bytes: 65_535, queue_bytes: 256 * 1024 }
    }
}

impl DatagramConfig {
    /// The default configuration.
    pub fn new() -> Self {
        DatagramConfig::default()
    }

    setters! {
        peer: Option<SocketAddr>,
        receive_budget: usize,
        max_datagram_bytes: usize,
        queue_bytes: usize,
    }
}

/// Handle of a UDP socket during a callback of its [`DatagramHandler`].
pub struct Datagram<'a> {
    hub: &'a mut Hub,
    socket: &'a mut UdpSocket,
    queue: &'a mut Queue,
    id: SourceId,
}

/// Approximate memory of a waiting datagram besides its payload.
const DATAGRAM_BYTES: usize = 64;

/// Datagrams that wait for the system.
#[derive(Debug, Default)]
struct Queue {
    /// With the address of each. `None`: the peer.
    waiting: VecDeque<(Vec<u8>, Option<SocketAddr>)>,
    /// Their size, with [`DATAGRAM_BYTES`] for each.
    bytes: usize,
    most_bytes: usize,
    /// `on_drain` is due when the queue is empty.
    awaits_drain: bool,
    /// An error of a datagram that was sent at once.
    failure: Option<io::Error>,
}

impl Datagram<'_> {
    /// Sends a datagram to an address.
    ///
    /// [`Queued`](SendStatus::Queued): it has left, or waits for the system. [`Congested`](SendStatus::Congested): it
    /// waits, and half of [`queue_bytes`](field@DatagramConfig::queue_bytes) or more waits with it.
    /// [`Dropped`](SendStatus::Dropped): the queue is full, and `on_drain` follows, or the system refuses the datagram,
    /// and the error is reported to `on_error`; of several errors in a callback, the first.
    pub fn send_to(&mut self, data: &[u8], to: SocketAddr) -> SendStatus {
        self.queue.send(data, Some(to), |data, to| transmit(self.socket, data, to))
    }

    /// Sends a datagram to [`DatagramConfig::peer`]; see [`send_to`](Self::send_to).
    pub fn send(&mut self, data: &[u8]) -> SendStatus {
        self.queue.send(data, None, |data, to| transmit(self.socket, data, to))
    }

    /// Bytes that wait for the system.
    pub fn buffered(&self) -> usize {
        self.queue.bytes
    }

    /// Id of the socket, by which the [`Hub`] addresses it.
    pub fn id(&self) -> SourceId {
        self.id
    }

    /// The socket, for its options: broadcast, multicast groups, time to live.
    pub fn socket(&self) -> &UdpSocket {
        self.socket
    }

    /// Returns the [`Hub`]: connections, topics, timers and the loop.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }

    /// Closes the socket after this callback. Waiting datagrams are lost.
    pub fn close(&mut self) {
        self.hub.deregister(self.id);
    }
}

impl fmt::Debug for Datagram<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Datagram").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Gives a datagram to the system.
trait Transmit: FnMut(&[u8], Option<SocketAddr>) -> io::Result<()> {}

impl<T: FnMut(&[u8], Option<SocketAddr>) -> io::Result<()>> Transmit for T {}

impl Queue {
    fn send(&mut self, data: &[u8], to: Option<SocketAddr>, mut transmit: impl Transmit) -> SendStatus {
        if self.waiting.is_empty() {
            match transmit(data, to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.failure.get_or_insert(error);
                    return SendStatus::Dropped;
                }
                Ok(()) => return SendStatus::Queued,
            }
        }
        let bytes = data.len() + DATAGRAM_BYTES;
        if self.bytes + bytes > self.most_bytes {
            self.awaits_drain = true;
            return SendStatus::Dropped;
        }
        self.bytes += bytes;
        self.waiting.push_back((data.to_vec(), to));
        let is_congested = self.bytes >= self.most_bytes / 2;
        self.awaits_drain |= is_congested;
        if is_congested { SendStatus::Congested } else { SendStatus::Queued }
    }

    /// Sends what waits. Returns the first error, of a datagram that is lost.
    fn flush(&mut self, mut transmit: impl Transmit) -> Option<io::Error> {
        let mut failure = self.failure.take();
        while let Some((data, to)) = self.waiting.front() {
            match transmit(data, *to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => drop(failure.get_or_insert(error)),
                Ok(()) => {}
            }
            self.bytes -= data.len() + DATAGRAM_BYTES;
            self.waiting.pop_front();
        }
        failure
    }
}

fn transmit(socket: &UdpSocket, data: &[u8], to: Option<SocketAddr>) -> io::Result<()> {
    loop {
        let sent = match to {
            Some(to) => socket.send_to(data, to),
            None => socket.send(data),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => return sent.map(drop),
        }
    }
}

/// The source handler of a UDP socket.
struct Receiver<H> {
    handler: H,
    queue: Queue,
    buffer: Vec<u8>,
    budget: usize,
    /// Room for output is watched.
    awaits_room: bool,
}

impl<H: DatagramHandler> Receiver<H> {
    fn call(&mut self, source: &mut Source<'_, UdpSocket>, call: impl FnOnce(&mut H, &mut Datagram<'_>, &mut [u8])) {
        let id = source.id();
        let (hub, socket) = source.parts();
        let mut datagram = Datagram { hub, socket, queue: &mut self.queue, id };
        call(&mut self.handler, &mut datagram, &mut self.buffer);
        // Room is watched while datagrams wait for it.
        if self.awaits_room == self.queue.waiting.is_empty() {
            self.awaits_room = !self.awaits_room;
            source.set_interest(if self.awaits_room { BOTH } else { Interest::READABLE });
        }
        if self.queue.failure.is_some() {
            // Reported by the next call.
            source.call_again();
        }
    }

    /// Sends what waits, and reports an error of sending.
    fn advance(&mut self, source: &mut Source<'_, UdpSocket>, is_writable: bool) {
        if is_writable && !self.queue.waiting.is_empty() {
            self.queue.failure = self.queue.flush(|data, to| transmit(source.get_mut(), data, to));
        }
        if let Some(error) = self.queue.failure.take() {
            self.call(source, |handler, socket, _| handler.on_error(socket, &error));
        }
        if self.queue.awaits_drain && self.queue.waiting.is_empty() && !source.is_removed() {
            self.queue.awaits_drain = false;
            self.call(source, |handler, socket, _| handler.on_drain(socket));
        }
    }
}

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

impl<H: DatagramHandler> SourceHandler<UdpSocket> for Receiver<H> {
    fn on_ready(&mut self, source: &mut Source<'_, UdpSocket>, readiness: Readiness) {
        self.advance(source, readiness.writable);
        for _ in 0..self.budget {
            if source.is_removed() {
                return;
            }
            if !source.has_budget() {
                break;
            }
            match source.get_mut().recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    self.call(source, |handler, socket, buffer| handler.on_datagram(socket, &buffer[..length], from));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.call(source, |handler, socket, _| handler.on_error(socket, &error)),
            }
        }
        source.call_again();
    }

    fn on_event(&mut self, source: &mut Source<'_, UdpSocket>, event: &dyn Any) {
        match event.downcast_ref::<Order>() {
            Some(Order(data, to)) => self.call(source, |_, socket, _| {
                _ = socket.queue.send(data, *to, |data, to| transmit(socket.socket, data, to));
            }),
            None => self.call(source, |handler, socket, _| handler.on_event(socket, event)),
        }
    }

    fn on_shutdown(&mut self, source: &mut Source<'_, UdpSocket>) {
        self.call(source, |handler, socket, _| handler.on_shutdown(socket));
    }

    fn on_error(&mut self, source: &mut Source<'_, UdpSocket>, error: &io::Error) {
        self.call(source, |handler, socket, _| handler.on_error(socket, error));
    }
}

/// A datagram that another handler sends.
struct Order(Vec<u8>, Option<SocketAddr>);

/// A socket for mio, its handler, and the address.
fn prepare<H: DatagramHandler>(
    socket: StdUdpSocket,
    config: &DatagramConfig,
    handler: H,
) -> io::Result<(UdpSocket, Receiver<H>, SocketAddr)> {
    if let Some(peer) = config.peer {
        socket.connect(peer)?;
    }
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let queue = Queue { most_bytes: config.queue_bytes, ..Queue::default() };
    let buffer = vec![0; config.max_datagram_bytes];
    let receiver = Receiver { handler, queue, buffer, budget: config.receive_budget.max(1), awaits_room: false };
    Ok((UdpSocket::from_std(socket), receiver, address))
}

impl Hub {
    /// Opens a UDP socket, and returns its id and its address. The handler is called from this turn or the next on.
    ///
    /// # Errors
    ///
    /// The system cannot bind the address, or cannot connect to the peer, or this reactor is not on the operating
    /// system.
    pub fn open_datagram(
        &mut self,
        bind: SocketAddr,
        config: DatagramConfig,
        handler: impl DatagramHandler + 'static,
    ) -> io::Result<(SourceId, SocketAddr)> {
        self.check_sources_are_watched()?;
        self.adopt_datagram(StdUdpSocket::bind(bind)?, config, handler)
    }

    /// As [`open_datagram`](Self::open_datagram), for a socket that is bound already: shared with other processes, or a
    /// member of groups.
    ///
    /// # Errors
    ///
    /// See [`open_datagram`](Self::open_datagram).
    pub fn adopt_datagram(
        &mut self,
        socket: StdUdpSocket,
        config: DatagramConfig,
        handler: impl DatagramHandler + 'static,
    ) -> io::Result<(SourceId, SocketAddr)> {
        self.check_sources_are_watched()?;
        let (socket, receiver, address) = prepare(socket, &config, handler)?;
        Ok((self.register(socket, Interest::READABLE, receiver), address))
    }

    /// Sends a datagram by a socket of [`open_datagram`](Self::open_datagram), in the course of this turn or the next:
    /// to an address, or to [`DatagramConfig::peer`]. Returns `false` if the socket is closed. An error of the system
    /// is reported to the handler of the socket.
    pub fn send_datagram(&mut self, id: SourceId, data: &[u8], to: Option<SocketAddr>) -> bool {
        self.notify_source(id, Order(data.to_vec(), to))
    }
}

impl<K: Kernel> Reactor<K> {
    /// Opens a UDP socket, and returns its id and its address.
    ///
    /// # Errors
    ///
    /// See [`Hub::open_datagram`].
    pub fn open_datagram(
        &mut self,
        bind: SocketAddr,
        config: DatagramConfig,
        handler: impl DatagramHandler + 'static,
    ) -> io::Result<(SourceId, SocketAddr)> {
        self.hub().check_sources_are_watched()?;
        let (socket, receiver, address) = prepare(StdUdpSocket::bind(bind)?, &config, handler)?;
        Ok((self.register(socket, Interest::READABLE, receiver)?, address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_wait_in_order_up_to_the_bound_while_the_system_takes_none() {
        let most_bytes = 10 + 3 * DATAGRAM_BYTES;
        let mut queue = Queue { most_bytes, ..Queue::default() };
        let full = |_: &[u8], _: Option<SocketAddr>| Err(io::ErrorKind::WouldBlock.into());
        assert_eq!(queue.send(b"123", None, full), SendStatus::Queued);
        assert!(!queue.awaits_drain);
        assert_eq!(queue.send(b"4567", None, full), SendStatus::Congested);
        assert_eq!(queue.send(&[0; 11 + DATAGRAM_BYTES], None, full), SendStatus::Dropped);
        assert_eq!(queue.send(b"890", None, full), SendStatus::Congested);
        assert!(queue.flush(full).is_none());
        assert!(queue.awaits_drain && queue.bytes == most_bytes);
        assert_eq!(queue.send(b"", None, full), SendStatus::Dropped, "an empty one takes memory, too");
        let mut sent = Vec::new();
        let failed = queue.flush(|data, _| match data {
            b"4567" => Err(io::ErrorKind::ConnectionRefused.into()),
            data => {
                sent.extend_from_slice(data);
                Ok(())
            }
        });
        assert_eq!(failed.map(|error| error.kind()), Some(io::ErrorKind::ConnectionRefused));
        assert_eq!((&*sent, queue.bytes, queue.waiting.len()), (&b"123890"[..], 0, 0));
    }

    #[test]
    fn error_of_a_datagram_is_kept_for_the_handler() {
        let mut queue = Queue { most_bytes: 10, ..Queue::default() };
        let refused = |_: &[u8], _: Option<SocketAddr>| Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(queue.send(b"1", None, refused), SendStatus::Dropped);
        assert_eq!(queue.failure.map(|error| error.kind()), Some(io::ErrorKind::PermissionDenied));
    }
}
