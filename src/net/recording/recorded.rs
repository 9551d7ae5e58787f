//! The system that repeats a recording.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    io::{self, IoSlice, Read},
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Record, Recording, StreamNumber};
use crate::{
    net::{
        bind::Bind,
        connected_socket::ConnectedSocket,
        endpoint::Endpoint,
        kernel::{Event, Kernel, Randomness, Readiness, Wake, sealed::Sealed},
        sim::Random,
        socket_options::SocketOptions,
    },
    peer_addr::PeerAddr,
};

/// A [`Kernel`] that repeats a recording: each poll is a recorded turn, with its time and its events. The clock stands
/// still in between.
#[derive(Debug)]
pub struct Recorded {
    start: Instant,
    now: Duration,
    turns: VecDeque<Vec<Record>>,
    /// Tokens of the listeners, in the order in which they were opened.
    listeners: Vec<usize>,
    /// Connections that were not accepted yet, by the number of their listener: their numbers and peers.
    waiting: BTreeMap<u32, VecDeque<(u32, PeerAddr)>>,
    /// Connections of listeners that are not there.
    unplayable: usize,
    accepted: u32,
    attempts: u32,
    /// Attempts that failed at once.
    refused: BTreeMap<u32, io::ErrorKind>,
    lines: BTreeMap<StreamNumber, Rc<RefCell<Line>>>,
    random: Rc<RefCell<VecDeque<u8>>>,
}

/// A connection to the world of the recording.
#[derive(Debug, Default)]
struct Line {
    token: Option<usize>,
    /// Recorded input that was not read yet.
    input: VecDeque<u8>,
    has_ended: bool,
    failed: Option<io::ErrorKind>,
    is_connected: bool,
    /// Bytes that the system takes; `None` if it takes all.
    room: Option<u64>,
    output: Vec<u8>,
}

/// A stream of [`Recorded`].
#[derive(Debug)]
pub struct RecordedStream(Rc<RefCell<Line>>);

/// A listener of [`Recorded`].
#[derive(Debug)]
pub struct RecordedListener(u32);

#[derive(Debug)]
struct NoWaker;

impl Wake for NoWaker {
    fn wake(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Recorded {
    /// A system that repeats these records.
    pub(crate) fn new(recording: Recording) -> Self {
        let (mut turns, mut refused, mut random) = (VecDeque::new(), BTreeMap::new(), VecDeque::new());
        for record in recording.records {
            match record {
                Record::Attempt { number, at_once: true, error: Some(error) } => {
                    refused.insert(number, error);
                }
                Record::Random { bytes } => random.extend(bytes),
                Record::Turn { .. } => turns.push_back(vec![record]),
                // Records before the first turn belong to it.
                other => match turns.back_mut() {
                    Some(turn) => turn.push(other),
                    None => turns.push_back(vec![other]),
                },
            }
        }
        Recorded {
            start: Instant::now(),
            now: Duration::ZERO,
            turns,
            listeners: Vec::new(),
            waiting: BTreeMap::new(),
            unplayable: 0,
            accepted: 0,
            attempts: 0,
            refused,
            lines: BTreeMap::new(),
            random: Rc::new(RefCell::new(random)),
        }
    }

    /// The records of the next turn. `None` at the end of the recording.
    pub(crate) fn next_turn(&self) -> Option<&[Record]> {
        self.turns.front().map(Vec::as_slice)
    }

    /// Number of connections that no listener could accept.
    pub(crate) fn unplayable(&self) -> usize {
        self.unplayable
    }

    /// Takes the output that the reactor has written to a stream.
    pub(crate) fn take_output(&mut self, stream: StreamNumber) -> Vec<u8> {
        self.lines.get(&stream).map(|line| std::mem::take(&mut line.borrow_mut().output)).unwrap_or_default()
    }

    fn line(&mut self, number: StreamNumber) -> Rc<RefCell<Line>> {
        Rc::clone(self.lines.entry(number).or_default())
    }

    /// Applies a record, and returns the event that it causes.
    fn apply(&mut self, record: Record) -> Option<Event> {
        let mut readiness = Readiness::default();
        let line = match record {
            Record::Turn { at } => {
                self.now = at;
                return None;
            }
            Record::Accepted { listener, peer } => {
                let number = self.accepted;
                self.accepted += 1;
                let Some(token) = self.listeners.get(listener as usize).copied() else {
                    self.unplayable += 1;
                    return None;
                };
                self.waiting.entry(listener).or_default().push_back((number, peer));
                return Some(Event { token, readiness: Readiness { readable: true, ..readiness } });
            }
            Record::Attempt { number, error, .. } => {
                let line = self.line(StreamNumber::Attempt(number));
                line.borrow_mut().is_connected = error.is_none();
                line.borrow_mut().failed = error;
                (readiness.writable, readiness.failed) = (true, error.is_some());
                line
            }
            Record::Input { stream, bytes } => {
                readiness.readable = true;
                let line = self.line(stream);
                line.borrow_mut().input.extend(bytes);
                line
            }
            Record::End { stream } => {
                (readiness.readable, readiness.hangup) = (true, true);
                let line = self.line(stream);
                line.borrow_mut().has_ended = true;
                line
            }
            Record::Failed { stream, error } => {
                (readiness.readable, readiness.hangup, readiness.failed) = (true, true, true);
                let line = self.line(stream);
                line.borrow_mut().failed = Some(error);
                line
            }
            Record::Writable { stream } => {
                readiness.writable = true;
                self.line(stream)
            }
            _ => return None,
        };
        let token = line.borrow().token?;
        Some(Event { token, readiness })
    }

    /// Sets what the system takes of each stream in the turn with these records.
    fn set_room(&mut self, turn: &[Record]) {
        for line in self.lines.values() {
            let mut line = line.borrow_mut();
            line.room = line.room.map(|_| 0);
        }
        for record in turn {
            if let Record::Writable { stream } = record {
                self.line(*stream).borrow_mut().room = None;
            }
        }
        for record in turn {
            if let Record::Room { stream, bytes } = record {
                self.line(*stream).borrow_mut().room = Some(*bytes);
            }
        }
    }
}

impl Sealed for Recorded {}

impl Kernel for Recorded {
    type Stream = RecordedStream;
    type Listener = RecordedListener;

    const SHORT_READ_DRAINS: bool = true;

    fn poll(&mut self, events: &mut Vec<Event>, _: Option<Duration>) -> io::Result<()> {
        let Some(turn) = self.turns.pop_front() else { return Ok(()) };
        self.set_room(&turn);
        for record in turn {
            let Some(Event { token, readiness }) = self.apply(record) else { continue };
            // A source has one event, at the place of its first record.
            match events.iter_mut().find(|event| event.token == token) {
                Some(Event { readiness: known, .. }) => {
                    known.readable |= readiness.readable;
                    known.writable |= readiness.writable;
                    known.hangup |= readiness.hangup;
                    known.failed |= readiness.failed;
                }
                None => events.push(Event { token, readiness }),
            }
        }
        Ok(())
    }

    fn now(&self) -> Instant {
        self.start + self.now
    }

    fn running_clock(&self) -> Option<fn() -> Instant> {
        None
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(NoWaker)
    }

    fn random(&mut self) -> Randomness {
        let (recorded, mut more) = (Rc::clone(&self.random), Random::new(0));
        Box::new(move |bytes| {
            let mut recorded = recorded.borrow_mut();
            bytes.fill_with(|| recorded.pop_front().unwrap_or_else(|| more.number() as u8));
        })
    }

    fn bind(&mut self, _: &Bind, token: usize) -> io::Result<(RecordedListener, SocketAddr)> {
        let number = self.listeners.len() as u32;
        self.listeners.push(token);
        Ok((RecordedListener(number), SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))))
    }

    fn accept(&mut self, listener: &mut RecordedListener) -> io::Result<(RecordedStream, PeerAddr)> {
        let next = self.waiting.get_mut(&listener.0).and_then(VecDeque::pop_front);
        let (number, peer) = next.ok_or(io::ErrorKind::WouldBlock)?;
        let line = self.line(StreamNumber::Accepted(number));
        Ok((RecordedStream(line), peer))
    }

    fn adopt(&mut self, _: ConnectedSocket) -> io::Result<(RecordedStream, PeerAddr)> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a recording has no sockets"))
    }

    fn connect(&mut self, _: &Endpoint, _: &SocketOptions, token: usize) -> io::Result<RecordedStream> {
        let number = self.attempts;
        self.attempts += 1;
        if let Some(kind) = self.refused.get(&number) {
            return Err((*kind).into());
        }
        let line = self.line(StreamNumber::Attempt(number));
        line.borrow_mut().token = Some(token);
        Ok(RecordedStream(line))
    }

    fn deregister(&mut self, _: &mut RecordedStream) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn connected(&mut self, stream: &mut RecordedStream) -> io::Result<bool> {
        let line = stream.0.borrow();
        match line.failed {
            Some(kind) if !line.is_connected => Err(kind.into()),
            _ => Ok(line.is_connected),
        }
    }

    fn reregister(&mut self, stream: &mut RecordedStream, token: usize) -> io::Result<()> {
        self.register(stream, token)
    }

    fn register(&mut self, stream: &mut RecordedStream, token: usize) -> io::Result<()> {
        stream.0.borrow_mut().token = Some(token);
        Ok(())
    }

    fn read(&mut self, stream: &mut RecordedStream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut line = stream.0.borrow_mut();
        if !line.input.is_empty() {
            return line.input.read(buffer);
        }
        match line.failed {
            Some(kind) => Err(kind.into()),
            None if line.has_ended => Ok(0),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&mut self, stream: &mut RecordedStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut line = stream.0.borrow_mut();
        let mut written = 0;
        for slice in slices {
            let room = line.room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX));
            let length = slice.len().min(room);
            line.output.extend_from_slice(&slice[..length]);
            line.room = line.room.map(|room| room - length as u64);
            written += length;
        }
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(written)
    }

    fn shutdown_write(&mut self, _: &mut RecordedStream) -> io::Result<()> {
        Ok(())
    }
}
