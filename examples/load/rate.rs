//! Open loop: messages at a fixed rate, whatever the server does. The latency of a message counts from the time at
//! which it was due, so a stall counts for all messages that had to wait (no coordinated omission).

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    rc::Rc,
    time::{Duration, Instant},
};

use mio::{Events, Poll};

use crate::{
    Options,
    echo::Voice,
    pipe::Pipe,
    slice::{Slice, Watch, Work},
    speaker::{Batch, Parrot},
};

/// Bytes that the greedy connection moves at a time, so that the load generator does not delay the others.
const STEP: usize = 32 * 1024;

/// Messages sent between two polls.
const BURST: usize = 64;

pub(crate) struct Rate {
    poll: Poll,
    connections: Vec<Connection>,
    /// Echoes large messages as fast as it can.
    greedy: Option<Voice>,
    period: Duration,
    wait: Duration,
}

struct Connection {
    pipe: Pipe,
    message: Rc<Batch>,
    /// Due times of the messages that are not back, in order.
    due: VecDeque<Instant>,
    /// Bytes that wait for the socket, and their offset in a message.
    unsent: usize,
    at: usize,
    /// Received bytes of an echo.
    heard: usize,
}

impl Rate {
    pub(crate) fn connect(options: &Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        let message = Batch::new(options.content, &options.payload, 1, options.target.framed);
        let mut connections = Vec::new();
        for index in 0..options.connections {
            let (mut pipe, _) = options.target.open("")?;
            pipe.register(&poll, index)?;
            let message = Rc::clone(&message);
            connections.push(Connection { pipe, message, due: VecDeque::new(), unsent: 0, at: 0, heard: 0 });
        }
        let greedy = match options.greedy_bytes {
            0 => None,
            bytes => {
                let batch = Batch::new(options.content, &options.content.payload(bytes), 1, options.target.framed);
                let (mut pipe, _) = options.target.open("")?;
                pipe.register(&poll, options.connections)?;
                Some(Voice::new(pipe, Box::new(Parrot::new(&batch))))
            }
        };
        let period = Duration::from_secs_f64(1.0 / options.rate);
        Ok(Rate { poll, connections, greedy, period, wait: options.wait })
    }
}

impl Work for Rate {
    const UNIT: &'static str = "echoes";

    fn settle(&mut self) -> io::Result<()> {
        self.connections.iter_mut().try_for_each(|connection| connection.pipe.settle())
    }

    fn run(&mut self, time: Duration) -> io::Result<Slice> {
        let (mut slice, mut watch) = (Slice::new(), Watch::new());
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; STEP];
        let began = Instant::now();
        let messages = (time.as_secs_f64() / self.period.as_secs_f64()) as u64;
        let mut next = 0;
        let due = |next: u64, period: Duration| began + Duration::from_nanos(next * period.as_nanos() as u64);
        while slice.count < messages {
            let now = watch.look(&mut slice)?;
            let mut burst = BURST;
            while next < messages && due(next, self.period) <= now && burst > 0 {
                // Lateness of the load generator itself is reported apart.
                slice.away = slice.away.max(now - due(next, self.period));
                let index = next as usize % self.connections.len();
                self.connections[index].send(due(next, self.period))?;
                (next, burst) = (next + 1, burst - 1);
            }
            if let Some(greedy) = &mut self.greedy {
                greedy.speak(STEP)?;
                if greedy.hear(&mut buffer, STEP)?.1 {
                    greedy.advance()?;
                }
            }
            let until = if next < messages { due(next, self.period).saturating_duration_since(now) } else { self.wait };
            let wait = if self.greedy.is_some() { Duration::ZERO } else { until.min(self.wait) };
            self.poll.poll(&mut events, Some(wait))?;
            if !self.wait.is_zero() {
                watch.wake();
            }
            for event in &events {
                if let Some(connection) = self.connections.get_mut(event.token().0) {
                    connection.flush()?;
                    connection.hear(&mut buffer, &mut slice)?;
                }
            }
        }
        Ok(slice)
    }
}

impl Connection {
    fn send(&mut self, due: Instant) -> io::Result<()> {
        self.due.push_back(due);
        self.unsent += self.message.sent.len();
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.unsent > 0 {
            match self.pipe.write(&self.message.sent[self.at..]) {
                Ok(written) => {
                    self.unsent -= written;
                    self.at = (self.at + written) % self.message.sent.len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.pipe.flush()
    }

    fn hear(&mut self, buffer: &mut [u8], slice: &mut Slice) -> io::Result<()> {
        let (expected, heard, due) = (&self.message.expected, &mut self.heard, &mut self.due);
        self.pipe.drain(buffer, usize::MAX, |mut piece| {
            let now = Instant::now();
            while !piece.is_empty() {
                let length = piece.len().min(expected.len() - *heard);
                if piece[..length] != expected[*heard..*heard + length] {
                    return Err(io::Error::other("the server did not echo the message: it sent other bytes"));
                }
                piece = &piece[length..];
                *heard = (*heard + length) % expected.len();
                if *heard == 0 {
                    slice.record(now - due.pop_front().ok_or(ErrorKind::InvalidData)?);
                    slice.count += 1;
                }
            }
            Ok(())
        })
    }
}
