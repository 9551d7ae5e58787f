//! Compressing clients with one message in flight each, which check the echoes and never sleep.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use mio::{Events, Interest, Poll, Token};

use crate::{
    json,
    websocket::{handshake_with, masked_frame},
};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

/// The bytes removed from the end of each compressed message (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// FIN, RSV1, text.
const COMPRESSED_TEXT: u8 = 0xc1;

pub(crate) struct Load {
    poll: Poll,
    connections: Vec<Connection>,
    messages: Vec<Vec<u8>>,
    echoed: u64,
    echoed_bytes: u64,
}

struct Connection {
    stream: mio::net::TcpStream,
    deflate: Compress,
    inflate: Decompress,
    client_context_takeover: bool,
    server_context_takeover: bool,
    /// The index of the message in flight.
    message: usize,
    received: Vec<u8>,
    text: Vec<u8>,
}

impl Load {
    pub(crate) fn connect(to: SocketAddr, count: usize, bytes: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for index in 0..count {
            let mut stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            let response = handshake_with(&mut stream, OFFER)?.to_ascii_lowercase();
            if !response.contains("permessage-deflate") {
                return Err(io::Error::other("the server does not compress"));
            }
            let window = |name: &str| -> u8 {
                let value = response.split_once(&format!("{name}=")).map(|(_, rest)| rest);
                value.and_then(|rest| rest.split([';', ',', '\r', ' ']).next()?.parse().ok()).unwrap_or(15)
            };
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            let (ours, theirs) = (window("client_max_window_bits"), window("server_max_window_bits"));
            connections.push(Connection {
                stream,
                deflate: Compress::new_with_window_bits(Compression::new(1), false, ours.max(9)),
                inflate: Decompress::new_with_window_bits(false, theirs.max(9)),
                client_context_takeover: !response.contains("client_no_context_takeover"),
                server_context_takeover: !response.contains("server_no_context_takeover"),
                message: index,
                received: Vec::new(),
                text: vec![0; bytes + 1],
            });
        }
        Ok(Load { poll, connections, messages: json::texts(64, bytes), echoed: 0, echoed_bytes: 0 })
    }

    /// Exchanges messages for `time` and awaits the last echoes. Returns the number of echoed messages.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<u64> {
        let end = Instant::now() + time;
        self.exchange_until(|_| Instant::now() >= end)
    }

    /// Exchanges this number of messages on each connection, on average.
    pub(crate) fn exchange(&mut self, messages: usize) -> io::Result<()> {
        let each = messages as u64 * self.connections.len() as u64;
        self.exchange_until(|echoed| echoed >= each).map(|_| ())
    }

    /// The average length of an echo in bytes.
    pub(crate) fn bytes_per_echo(&self) -> f64 {
        self.echoed_bytes as f64 / self.echoed as f64
    }

    fn exchange_until(&mut self, done: impl Fn(u64) -> bool) -> io::Result<u64> {
        let (mut echoed, mut open) = (0, self.connections.len());
        let mut events = Events::with_capacity(1024);
        for connection in &mut self.connections {
            connection.send(&self.messages)?;
        }
        while open > 0 {
            self.poll.poll(&mut events, Some(Duration::ZERO))?;
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                if let Some(bytes) = connection.receive(&self.messages)? {
                    echoed += 1;
                    self.echoed_bytes += bytes as u64;
                    match done(echoed) {
                        true => open -= 1,
                        false => connection.send(&self.messages)?,
                    }
                }
            }
        }
        self.echoed += echoed;
        Ok(echoed)
    }
}

impl Connection {
    fn send(&mut self, messages: &[Vec<u8>]) -> io::Result<()> {
        self.message = (self.message + 1) % messages.len();
        let message = &messages[self.message];
        if !self.client_context_takeover {
            self.deflate.reset();
        }
        let mut deflated = Vec::with_capacity(2 * message.len() + 64);
        self.deflate.compress_vec(message, &mut deflated, FlushCompress::Sync)?;
        let body = deflated.strip_suffix(&TAIL).ok_or(ErrorKind::InvalidData)?;
        self.stream.write_all(&masked_frame(COMPRESSED_TEXT, body))
    }

    /// The length of the received frame, if it is complete.
    fn receive(&mut self, messages: &[Vec<u8>]) -> io::Result<Option<usize>> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let (start, length) = match self.received[..] {
            [first, length @ 0..=125, ..] if first == COMPRESSED_TEXT => (2, usize::from(length)),
            [first, 126, high, low, ..] if first == COMPRESSED_TEXT => {
                (4, usize::from(u16::from_be_bytes([high, low])))
            }
            [] | [COMPRESSED_TEXT] | [COMPRESSED_TEXT, ..] => return Ok(None),
            _ => return Err(io::Error::other("the echo is not compressed")),
        };
        if self.received.len() < start + length {
            return Ok(None);
        }
        if !self.server_context_takeover {
            self.inflate.reset(false);
        }
        let before = self.inflate.total_out();
        for piece in [&self.received[start..start + length], &TAIL] {
            let at = (self.inflate.total_out() - before) as usize;
            self.inflate.decompress(piece, &mut self.text[at..], FlushDecompress::Sync)?;
        }
        let text = &self.text[..(self.inflate.total_out() - before) as usize];
        if text != messages[self.message] || self.received.len() > start + length {
            return Err(io::Error::other("the echo is not what was sent"));
        }
        self.received.clear();
        Ok(Some(start + length))
    }
}
