//! The measure: a TCP echo on mio and nothing else, one read and one write for each message.

use std::io::{ErrorKind, Read, Write};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

/// Serves for ever. It stops at nothing: a client that does not read what it asked for is not provided for.
pub(crate) fn serve() -> ! {
    let mut poll = Poll::new().expect("a poll");
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).expect("registered");
    println!("{}", listener.local_addr().expect("bound"));
    let mut streams = Slab::<TcpStream>::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        poll.poll(&mut events, None).expect("events");
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true).expect("set");
                    let entry = streams.vacant_entry();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(entry.key()), interest).expect("registered");
                    entry.insert(stream);
                }
            } else if event.is_readable() && !echo(&mut streams[event.token().0], &mut buffer) {
                streams.remove(event.token().0);
            }
        }
    }
}

/// Echoes what is there, and says whether the stream goes on.
fn echo(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    loop {
        match stream.read(buffer) {
            Ok(0) => return false,
            Ok(length) => {
                let mut rest = &buffer[..length];
                while !rest.is_empty() {
                    match stream.write(rest) {
                        Ok(written) => rest = &rest[written..],
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(_) => return false,
                    }
                }
                if length < buffer.len() {
                    return true;
                }
            }
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}
