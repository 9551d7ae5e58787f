//! The load: connections that each keep so many messages in flight, check every byte that comes back, and never sleep.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};

use crate::websocket::{masked, payload, shake_hands, unmasked};

pub(crate) struct Load {
    poll: Poll,
    connections: Vec<Connection>,
    /// A batch as it is sent, and as it must come back.
    sent: Vec<u8>,
    expected: Vec<u8>,
    depth: u64,
}

struct Connection {
    stream: mio::net::TcpStream,
    /// How much of the batch has come back.
    received: usize,
    in_flight: bool,
}

impl Load {
    /// Opens the connections; a batch is `depth` messages of `bytes`.
    pub(crate) fn connect(
        to: SocketAddr,
        count: usize,
        bytes: usize,
        depth: usize,
        websocket: bool,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for index in 0..count {
            let mut stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            if websocket {
                shake_hands(&mut stream)?;
            }
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            connections.push(Connection { stream, received: 0, in_flight: false });
        }
        let payload = payload(bytes);
        let (sent, expected) =
            if websocket { (masked(&payload), unmasked(&payload)) } else { (payload.clone(), payload) };
        Ok(Load { poll, connections, sent: sent.repeat(depth), expected: expected.repeat(depth), depth: depth as u64 })
    }

    /// Runs for `time`, until all is back, and says how many messages were echoed.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<u64> {
        let end = Instant::now() + time;
        let (mut batches, mut open) = (0, 0);
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        for connection in &mut self.connections {
            connection.send(&self.sent)?;
            open += 1;
        }
        while open > 0 {
            self.poll.poll(&mut events, Some(Duration::ZERO))?;
            let over = Instant::now() >= end;
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                if connection.receive(&mut buffer, &self.expected)? {
                    batches += 1;
                    match over {
                        true => open -= 1,
                        false => connection.send(&self.sent)?,
                    }
                }
            }
        }
        Ok(batches * self.depth)
    }
}

impl Connection {
    fn send(&mut self, batch: &[u8]) -> io::Result<()> {
        let mut rest = batch;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.in_flight = true;
        Ok(())
    }

    /// Reads what has come back, and says whether that completes the batch.
    fn receive(&mut self, buffer: &mut [u8], expected: &[u8]) -> io::Result<bool> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    let next = self.received + length;
                    if expected.get(self.received..next) != Some(&buffer[..length]) {
                        return Err(io::Error::other("the echo is not what was sent"));
                    }
                    self.received = next;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let complete = self.in_flight && self.received == expected.len();
        if complete {
            (self.received, self.in_flight) = (0, false);
        }
        Ok(complete)
    }
}
