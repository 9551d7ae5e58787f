//! The far end of a simulated connection, and the network between both ends.

use std::{
    cell::Cell,
    collections::VecDeque,
    io::{self, IoSlice, Read},
    net::SocketAddr,
    rc::Rc,
};

use crate::net::kernel::Readiness;

/// Identifies the far end of a connection in a [`Sim`](super::Sim).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub(super) usize);

/// The reactor's end of a simulated connection.
#[derive(Debug)]
pub struct SimStream {
    pub(super) peer: PeerId,
    closed: Rc<Cell<bool>>,
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.closed.set(true);
    }
}

/// A far end.
#[derive(Debug)]
pub(super) struct Peer {
    id: PeerId,
    pub(super) addr: SocketAddr,
    /// The other end, if that end is the reactor's too.
    pub(super) other: Option<usize>,
    /// No listener at the requested address.
    pub(super) refused: bool,
    /// The reactor accepted or made the connection.
    taken: bool,
    /// The reactor's token, once registered.
    pub(super) token: Option<usize>,
    /// Sent by the peer, not yet arrived.
    pub(super) in_flight: VecDeque<u8>,
    /// Arrived, not yet read by the reactor.
    pub(super) arrived: VecDeque<u8>,
    /// The peer's side ends after the bytes in flight.
    pub(super) finishing: bool,
    finished: bool,
    /// Why the connection is broken.
    pub(super) broken: Option<io::ErrorKind>,
    /// Written by the reactor and not yet received by the peer; and the limit on those bytes.
    pub(super) held: VecDeque<u8>,
    pub(super) capacity: usize,
    /// A write was refused for lack of room.
    pub(super) blocked: bool,
    pub(super) reading: bool,
    pub(super) received: Vec<u8>,
    /// The reactor ended its side.
    pub(super) shut: bool,
    /// The reactor dropped its end.
    pub(super) closed: Rc<Cell<bool>>,
}

impl Peer {
    pub(super) fn new(id: PeerId) -> Self {
        let host = [10, 1, (id.0 >> 8) as u8, id.0 as u8];
        Peer {
            id,
            addr: SocketAddr::from((host, 40_000)),
            other: None,
            refused: false,
            taken: false,
            token: None,
            in_flight: VecDeque::new(),
            arrived: VecDeque::new(),
            finishing: false,
            finished: false,
            broken: None,
            held: VecDeque::new(),
            capacity: 64 * 1024,
            blocked: false,
            reading: true,
            received: Vec::new(),
            shut: false,
            closed: Rc::default(),
        }
    }

    pub(super) fn stream(&mut self) -> SimStream {
        self.taken = true;
        SimStream { peer: self.id, closed: Rc::clone(&self.closed) }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(super) fn is_taken(&self) -> bool {
        self.taken
    }

    /// Returns `true` if the reactor holds the connection.
    pub(super) fn is_held(&self) -> bool {
        self.taken && !self.closed.get()
    }

    /// Returns `true` if there is data or an end to read.
    pub(super) fn is_readable(&self) -> bool {
        !self.arrived.is_empty() || self.finished
    }

    /// Delivers bytes in both directions, and returns the new readiness.
    pub(super) fn step(&mut self, arriving: usize, taken: usize) -> Readiness {
        let mut news = Readiness::default();
        if self.is_broken() {
            return news;
        }
        self.arrived.extend(self.in_flight.drain(..arriving));
        news.readable = arriving > 0;
        if self.finishing && !self.finished && self.in_flight.is_empty() {
            self.finished = true;
            (news.readable, news.hangup) = (true, true);
        }
        if self.reading {
            self.received.extend(self.held.drain(..taken));
        }
        if self.blocked && self.held.len() < self.capacity {
            self.blocked = false;
            news.writable = true;
        }
        news
    }

    /// Reads at most `piece` bytes. The flag is set if more data is to be reported.
    pub(super) fn read(&mut self, buffer: &mut [u8], piece: usize) -> io::Result<(usize, bool)> {
        if let Some(why) = self.broken {
            return Err(why.into());
        }
        if self.arrived.is_empty() {
            return if self.finished { Ok((0, false)) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let length = buffer.len().min(piece);
        let read = self.arrived.read(&mut buffer[..length])?;
        Ok((read, !self.arrived.is_empty() && read < buffer.len()))
    }

    /// Accepts at most `piece` of the `offered` bytes.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>], offered: usize, piece: usize) -> io::Result<usize> {
        if self.is_broken() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = self.capacity.saturating_sub(self.held.len()).min(piece);
        let mut left = room;
        for slice in slices {
            let part = &slice[..slice.len().min(left)];
            self.held.extend(part);
            left -= part.len();
        }
        let written = room - left;
        self.blocked |= written < offered;
        if written == 0 && offered > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }

    /// Returns `true` if no bytes are in flight to or from the peer.
    pub(super) fn is_quiet(&self) -> bool {
        let (coming, going) = (!self.in_flight.is_empty(), self.reading && !self.held.is_empty());
        let ending = self.finishing && !self.finished;
        let unblocking = self.blocked && self.held.len() < self.capacity;
        self.is_broken() || self.closed.get() && !going || !(coming || going || ending || unblocking)
    }
}
