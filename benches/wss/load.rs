//! Clients over TLS that each keep one message in flight, check what comes back, and never sleep.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

use crate::websocket::{masked, payload, shake_hands, unmasked};

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
    shake_hands(&mut rustls::Stream::new(&mut tls, &mut stream))?;
    Ok((stream, tls))
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
        let payload = payload(bytes);
        Ok(Load { poll, connections, sent: masked(&payload), expected: unmasked(&payload) })
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
