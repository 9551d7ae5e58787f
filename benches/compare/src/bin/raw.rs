//! The baseline, the cost of the kernel: a TCP echo on mio with one thread, without a protocol.
//!
//!     raw [--listen ADDR]

use std::io::{ErrorKind, Read, Write};

use compare::{Failure, Options, refuse};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
const BUFFER_LENGTH: usize = 64 * 1024;

fn main() -> Result<(), Failure> {
    let options = Options::read();
    options.refuse_tls("raw does not do TLS");
    options.refuse_deflate("raw does not compress");
    if options.broadcast {
        refuse("raw does not broadcast");
    }
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(options.listen)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    eprintln!("listening on tcp://{}", listener.local_addr()?);
    let mut connections = Slab::<Connection>::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; BUFFER_LENGTH];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            let Token(key) = event.token();
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.set_nodelay(true);
                    let entry = connections.vacant_entry();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    if poll.registry().register(&mut stream, Token(entry.key()), interest).is_ok() {
                        entry.insert(Connection { stream, pending: Vec::new() });
                    }
                }
            } else if let Some(connection) = connections.get_mut(key)
                && !connection.handle(event.is_readable(), event.is_read_closed(), &mut buffer)
            {
                connections.remove(key);
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// Bytes that did not fit into the socket buffer.
    pending: Vec<u8>,
}

impl Connection {
    /// Handles an event. Returns false at the end of the connection.
    fn handle(&mut self, readable: bool, ending: bool, buffer: &mut [u8]) -> bool {
        if self.pending.is_empty() {
            // The usual case: nothing is pending.
            return !readable || self.echo(ending, buffer);
        }
        let Some(written) = write(&mut self.stream, &self.pending) else { return false };
        self.pending.drain(..written);
        // Input that arrived meanwhile was not read, and causes no further event.
        !self.pending.is_empty() || self.echo(ending, buffer)
    }

    fn echo(&mut self, ending: bool, buffer: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(length) => {
                    let Some(written) = write(&mut self.stream, &buffer[..length]) else { return false };
                    if written < length {
                        self.pending.extend_from_slice(&buffer[written..length]);
                        return true;
                    }
                    // A short read has emptied the socket, and further input causes a new event. EOF that arrived with
                    // these bytes causes none.
                    if length < buffer.len() && !ending {
                        return true;
                    }
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}

/// Writes until the socket buffer is full. Returns the number of bytes written.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> Option<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(length) => written += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return None,
        }
    }
    Some(written)
}
