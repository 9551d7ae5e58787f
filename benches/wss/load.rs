//! Clients over TLS that each keep one message in flight, check what comes back, and never sleep.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const KEY: [u8; 4] = [0x5a, 0x13, 0xc7, 0x88];

/// A TLS connection with the handshake done.
pub(crate) fn secure(to: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<(TcpStream, ClientConnection)> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok((stream, tls))
}

/// A TLS connection with a WebSocket on it.
pub(crate) fn open(to: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<(TcpStream, ClientConnection)> {
    let (mut stream, mut tls) = secure(to, config)?;
    let mut both = rustls::Stream::new(&mut tls, &mut stream);
    both.write_all(REQUEST)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        both.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    match answer.starts_with(b"HTTP/1.1 101 ") {
        true => Ok((stream, tls)),
        false => Err(io::Error::other("no WebSocket")),
    }
}

pub(crate) struct Load {
    poll: Poll,
    connections: Vec<Connection>,
    sent: Vec<u8>,
    expected: Vec<u8>,
}

struct Connection {
    stream: mio::net::TcpStream,
    tls: ClientConnection,
    received: usize,
}

impl Load {
    pub(crate) fn connect(to: SocketAddr, count: usize, bytes: usize, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for index in 0..count {
            let (stream, tls) = open(to, config)?;
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            connections.push(Connection { stream, tls, received: 0 });
        }
        let payload: Vec<u8> = (0..bytes).map(|index| b'a' + (index % 26) as u8).collect();
        let mut sent = header(bytes, 0x80);
        sent.extend(KEY);
        sent.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
        Ok(Load { poll, connections, sent, expected: [header(bytes, 0), payload].concat() })
    }

    /// Runs for `time`, until all is back, and says how many messages were echoed.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<u64> {
        let end = Instant::now() + time;
        let (mut echoed, mut open) = (0, 0);
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 64 * 1024];
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
                    echoed += 1;
                    match over {
                        true => open -= 1,
                        false => connection.send(&self.sent)?,
                    }
                }
            }
        }
        Ok(echoed)
    }
}

impl Connection {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(message)?;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], expected: &[u8]) -> io::Result<bool> {
        loop {
            match self.tls.read_tls(&mut self.stream) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            self.tls.process_new_packets().map_err(io::Error::other)?;
            loop {
                let length = match self.tls.reader().read(buffer) {
                    Ok(length) => length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                };
                let next = self.received + length;
                if expected.get(self.received..next) != Some(&buffer[..length]) {
                    return Err(io::Error::other("the echo is not what was sent"));
                }
                self.received = next;
            }
        }
        let complete = self.received == expected.len();
        if complete {
            self.received = 0;
        }
        Ok(complete)
    }
}

fn header(length: usize, mask: u8) -> Vec<u8> {
    match length {
        0..=125 => vec![0x82, mask | length as u8],
        126..=0xffff => [&[0x82, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[0x82, mask | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}
