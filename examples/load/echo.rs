//! Closed loop: each connection has one batch of messages in flight, and sends the next when the whole batch is back.

use std::{
    io::{self, ErrorKind},
    time::{Duration, Instant},
};

use mio::{Events, Poll};

use crate::{
    Options,
    pipe::Pipe,
    slice::{Slice, Watch, Work},
    speaker::{Batch, Compressed, Parrot, Speaker},
    wire,
};

pub(crate) struct Echo {
    poll: Poll,
    connections: Vec<Connection>,
    depth: u64,
    wait: Duration,
}

struct Connection {
    voice: Voice,
    began: Instant,
}

/// A connection that sends a batch, and receives the echo.
pub(crate) struct Voice {
    pub(crate) pipe: Pipe,
    speaker: Box<dyn Speaker>,
    /// Bytes of the batch that were sent.
    sent: usize,
}

impl Voice {
    pub(crate) fn new(pipe: Pipe, speaker: Box<dyn Speaker>) -> Self {
        Voice { pipe, speaker, sent: 0 }
    }

    /// Sends as much as the socket takes, at most `most` bytes.
    pub(crate) fn speak(&mut self, most: usize) -> io::Result<()> {
        let end = self.speaker.batch().len().min(self.sent.saturating_add(most));
        while self.sent < end {
            match self.pipe.write(&self.speaker.batch()[self.sent..end]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.pipe.flush()
    }

    /// Returns `true` while a part of the batch is unsent.
    pub(crate) fn is_speaking(&self) -> bool {
        self.sent > 0 && self.sent < self.speaker.batch().len()
    }

    /// Receives available bytes. Returns their number, and whether the whole batch is back.
    pub(crate) fn hear(&mut self, buffer: &mut [u8], most: usize) -> io::Result<(u64, bool)> {
        let (mut bytes, mut back) = (0, false);
        let speaker = &mut self.speaker;
        self.pipe.drain(buffer, most, |piece| {
            bytes += piece.len() as u64;
            back = speaker.hear(piece)?;
            Ok(())
        })?;
        Ok((bytes, back))
    }

    pub(crate) fn advance(&mut self) -> io::Result<()> {
        self.sent = 0;
        self.speaker.advance()
    }
}

impl Echo {
    pub(crate) fn connect(options: &Options) -> io::Result<Self> {
        let batch = Batch::new(options.content, &options.payload, options.depth, options.target.framed);
        let texts = options.deflate.then(|| Compressed::texts(options.payload.len()));
        let mut index = 0;
        let mut echo = Echo::with(options, |answer| match &texts {
            None => Ok(Box::new(Parrot::new(&batch))),
            Some(texts) => {
                index += 1;
                Ok(Box::new(Compressed::new(answer, texts, index - 1)?))
            }
        })?;
        if options.deflate {
            echo.depth = 1;
        }
        Ok(echo)
    }

    /// Opens the connections. `speaker` makes the speaker of each, from the server's response to its handshake.
    pub(crate) fn with(
        options: &Options,
        mut speaker: impl FnMut(&str) -> io::Result<Box<dyn Speaker>>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for index in 0..options.connections {
            let (mut pipe, answer) = options.target.open(if options.deflate { wire::OFFER } else { "" })?;
            pipe.register(&poll, index)?;
            connections.push(Connection { voice: Voice::new(pipe, speaker(&answer)?), began: Instant::now() });
        }
        Ok(Echo { poll, connections, depth: options.depth as u64, wait: options.wait })
    }
}

impl Work for Echo {
    const UNIT: &'static str = "echoes";

    fn settle(&mut self) -> io::Result<()> {
        self.connections.iter_mut().try_for_each(|connection| connection.voice.pipe.settle())
    }

    fn run(&mut self, time: Duration) -> io::Result<Slice> {
        let (mut slice, mut watch) = (Slice::new(), Watch::new());
        let end = Instant::now() + time;
        let (mut bytes, mut open) = (0, self.connections.len());
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        for connection in &mut self.connections {
            connection.began = Instant::now();
            connection.voice.speak(usize::MAX)?;
        }
        while open > 0 {
            self.poll.poll(&mut events, Some(self.wait))?;
            if !self.wait.is_zero() {
                watch.wake();
            }
            watch.look(&mut slice)?;
            for event in &events {
                let now = watch.look(&mut slice)?;
                let connection = &mut self.connections[event.token().0];
                let (heard, back) = connection.voice.hear(&mut buffer, usize::MAX)?;
                bytes += heard;
                if back {
                    slice.count += self.depth;
                    slice.record(now - connection.began);
                    connection.voice.advance()?;
                    if now >= end {
                        open -= 1;
                        continue;
                    }
                    connection.began = Instant::now();
                    connection.voice.speak(usize::MAX)?;
                } else if connection.voice.is_speaking() {
                    connection.voice.speak(usize::MAX)?;
                }
            }
        }
        slice.answered = Some(bytes);
        Ok(slice)
    }
}
