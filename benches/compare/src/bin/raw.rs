//! The measure, what the kernel costs: an echo of bytes on mio, one thread, with no protocol at all.
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
        refuse("raw knows no messages to broadcast");
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
                        entry.insert(Connection { stream, rest: Vec::new() });
                    }
                }
            } else if let Some(connection) = connections.get_mut(key)
                && !connection.go_on(event.is_readable(), event.is_read_closed(), &mut buffer)
            {
                connections.remove(key);
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// What the socket had no room for.
    rest: Vec<u8>,
}

impl Connection {
    /// Does what there is to do, and says whether the connection goes on.
    fn go_on(&mut self, readable: bool, ending: bool, buffer: &mut [u8]) -> bool {
        if self.rest.is_empty() {
            // Most often there is room to write and nothing to write.
            return !readable || self.echo(ending, buffer);
        }
        let Some(written) = write(&mut self.stream, &self.rest) else { return false };
        self.rest.drain(..written);
        // What came meanwhile was not read, and no event will tell of it again.
        !self.rest.is_empty() || self.echo(ending, buffer)
    }

    fn echo(&mut self, ending: bool, buffer: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(length) => {
                    let Some(written) = write(&mut self.stream, &buffer[..length]) else { return false };
                    if written < length {
                        self.rest.extend_from_slice(&buffer[written..length]);
                        return true;
                    }
                    // A short read has emptied the socket, and what comes next makes an event of its own. Only of an
                    // end that came with these bytes nothing more would be heard.
                    if length < buffer.len() && !ending {
                        return true;
                    }
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}

/// Writes what the socket has room for, and says how much that was.
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
