//! The far end of a simulated connection, and the network between both ends.

use std::{
    cell::Cell,
    collections::VecDeque,
    io::{self, IoSlice, Read},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use super::line::Line;
use crate::net::kernel::Readiness;

/// Identifies the far end of a connection in a [`Sim`](super::Sim).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub(super) usize);

/// Sizes of the buffers that the systems at both ends hold for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// Bytes written by the reactor that its system holds until the peer's system has them. Default 64 KiB.
    ///
    /// A write beyond this blocks. As on Linux, room is reported when a third of the buffer is free again.
    pub send_bytes: usize,
    /// Arrived bytes that the reactor has not read. Default: no limit. Further bytes wait with the peer.
    pub receive_bytes: usize,
    /// Bytes that the peer's system takes while the peer does not read. Default 0.
    pub peer_bytes: usize,
}

impl Default for Buffers {
    fn default() -> Self {
        Buffers { send_bytes: 64 * 1024, receive_bytes: usize::MAX, peer_bytes: 0 }
    }
}

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

/// Bytes to read and room to write that no fault of a moment concerns.
#[derive(Debug, Default, Clone, Copy)]
struct Lasting {
    bytes: usize,
    room: usize,
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
    /// Bytes and room that [`Faults::busy`](super::Faults::busy) does not keep back, and those of the next moment.
    lasting: Lasting,
    recent: Lasting,
    /// The peer's side ends after the bytes in flight.
    pub(super) finishing: bool,
    finished: bool,
    /// Why the connection is broken.
    pub(super) broken: Option<io::ErrorKind>,
    /// Written by the reactor, not yet with the peer's system.
    pub(super) held: VecDeque<u8>,
    pub(super) buffers: Buffers,
    /// The way to the reactor, and the way to the peer.
    pub(super) inward: Line,
    pub(super) outward: Line,
    /// A write was refused for lack of room.
    pub(super) blocked: bool,
    pub(super) reading: bool,
    /// With the peer's system, not read by the peer.
    pub(super) unread: Vec<u8>,
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
            lasting: Lasting::default(),
            recent: Lasting::default(),
            finishing: false,
            finished: false,
            broken: None,
            held: VecDeque::new(),
            buffers: Buffers::default(),
            inward: Line::default(),
            outward: Line::default(),
            blocked: false,
            reading: true,
            unread: Vec::new(),
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

    /// Bytes sent to a connection that was not accepted yet wait with the connection.
    pub(super) fn waits_for_accept(&self) -> bool {
        self.token.is_none() && !self.closed.get()
    }

    /// The reactor's side has ended, and all its bytes have reached the peer.
    pub(super) fn has_ended(&self) -> bool {
        (self.shut || self.closed.get()) && self.held.is_empty() && self.unread.is_empty()
    }

    /// Bytes that may still arrive before the reactor reads.
    pub(super) fn room(&self) -> usize {
        self.buffers.receive_bytes.saturating_sub(self.arrived.len())
    }

    fn room_to_write(&self) -> usize {
        self.buffers.send_bytes.saturating_sub(self.held.len())
    }

    /// As on Linux, room is reported to a blocked writer when a third of the buffer is free.
    fn has_room_to_report(&self) -> bool {
        let free = self.room_to_write();
        free > 0 && free >= self.buffers.send_bytes.div_ceil(3)
    }

    /// Returns `true` if nothing can move in either direction.
    pub(super) fn is_idle(&self) -> bool {
        let bytes = !self.in_flight.is_empty() || !self.held.is_empty() || !self.unread.is_empty();
        !(bytes || self.finishing && !self.finished || self.blocked || self.other.is_some())
    }

    /// Bytes that arrive by `now` at the reactor, and at a peer whose system has `room` for more.
    pub(super) fn due(&mut self, room: usize, now: Duration) -> (usize, usize) {
        if self.closed.get() {
            // Bytes to a closed connection are lost.
            self.in_flight.clear();
        }
        let (coming, going) = (self.in_flight.len().min(self.room()), self.held.len().min(room));
        match self.is_broken() {
            true => (0, 0),
            false => (self.inward.start(coming, now), self.outward.start(going, now)),
        }
    }

    /// Delivers bytes in both directions, and returns the new readiness.
    pub(super) fn carry(&mut self, arriving: usize, taken: usize, room: usize) -> Readiness {
        let mut news = Readiness::default();
        if self.is_broken() {
            (self.inward, self.outward) = Default::default();
            return news;
        }
        self.arrived.extend(self.in_flight.drain(..arriving));
        self.inward.carry(arriving, self.in_flight.is_empty() || self.room() == 0);
        news.readable = arriving > 0;
        if self.finishing && !self.finished && self.in_flight.is_empty() {
            self.finished = true;
            (news.readable, news.hangup) = (true, true);
        }
        self.unread.extend(self.held.drain(..taken));
        self.outward.carry(taken, self.held.is_empty() || room == taken);
        if self.reading {
            self.received.append(&mut self.unread);
        }
        if self.blocked && self.has_room_to_report() {
            self.blocked = false;
            news.writable = true;
        }
        news
    }

    /// Ends the moment: bytes and room of the last call count as lasting. `all`: those of this call, too.
    pub(super) fn age(&mut self, all: bool) {
        let now = Lasting { bytes: self.arrived.len(), room: self.room_to_write() };
        self.lasting = if all { now } else { self.recent };
        self.recent = now;
    }

    pub(super) fn has_lasting_input(&self) -> bool {
        self.lasting.bytes > 0
    }

    pub(super) fn has_lasting_room(&self) -> bool {
        self.lasting.room > 0
    }

    /// Reads at most `piece` bytes, or all that have lasted. The flag is set if more data is to be reported.
    pub(super) fn read(&mut self, buffer: &mut [u8], piece: usize) -> io::Result<(usize, bool)> {
        if let Some(why) = self.broken {
            return Err(why.into());
        }
        if self.arrived.is_empty() {
            return if self.finished { Ok((0, false)) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let length = buffer.len().min(piece.max(self.lasting.bytes));
        let read = self.arrived.read(&mut buffer[..length])?;
        for mark in [&mut self.lasting, &mut self.recent] {
            mark.bytes = mark.bytes.saturating_sub(read);
        }
        Ok((read, !self.arrived.is_empty() && read < buffer.len()))
    }

    /// Accepts at most `piece` of the `offered` bytes, or as many as there has been room for.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>], offered: usize, piece: usize) -> io::Result<usize> {
        if self.is_broken() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = self.room_to_write().min(piece.max(self.lasting.room));
        let mut left = room;
        for slice in slices {
            let part = &slice[..slice.len().min(left)];
            self.held.extend(part);
            left -= part.len();
        }
        let written = room - left;
        self.blocked |= written < offered;
        for mark in [&mut self.lasting, &mut self.recent] {
            mark.room = mark.room.saturating_sub(written);
        }
        if written == 0 && offered > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }

    /// Returns `true` if nothing arrives by `now` in either direction, with `room` for more in the peer's system.
    pub(super) fn is_quiet(&self, room: usize, now: Duration) -> bool {
        let moves = |line: &Line, waiting: usize| waiting > 0 && (line.is_idle() || line.due(waiting, now) > 0);
        let going = moves(&self.outward, self.held.len().min(room)) || self.reading && !self.unread.is_empty();
        let coming = moves(&self.inward, self.in_flight.len().min(self.room()));
        let ending = self.finishing && !self.finished && self.in_flight.is_empty();
        let unblocking = self.blocked && self.has_room_to_report();
        self.is_broken() || self.closed.get() && !going || !(coming || going || ending || unblocking)
    }
}
