//! The baseline, the cost of the kernel: a TCP echo on mio with one thread, without a protocol.
//!
//!     raw [--listen ADDR] [--http]
//!
//! With `--http` every empty line is answered with the same bytes: the cost of an HTTP server that parses nothing.

use std::io::{ErrorKind, Read, Write};

use compare::{Failure, HTTP_BODY, Options, refuse};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
const BUFFER_LENGTH: usize = 64 * 1024;

/// The end of a request, and the head of its response, with the headers that the other servers send.
const EMPTY_LINE: &[u8] = b"\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 29 Nov 2026 00:00:00 GMT\r\n\
                      Content-Length: 100\r\n\r\n";

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
    eprintln!("listening on {}://{}", if options.http { "http" } else { "tcp" }, listener.local_addr()?);
    let mut connections = Slab::<Connection>::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; BUFFER_LENGTH];
    let mut responder = options.http.then(Responder::default);
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
                        entry.insert(Connection { stream, pending: Vec::new(), matched: 0 });
                    }
                }
            } else if let Some(connection) = connections.get_mut(key)
                && !connection.handle(event.is_readable(), event.is_read_closed(), &mut buffer, responder.as_mut())
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
    /// Bytes of an empty line that the last read ended with.
    matched: usize,
}

/// Answers requests without parsing them.
#[derive(Default)]
struct Responder {
    output: Vec<u8>,
}

impl Responder {
    /// The responses to all requests that end in `input`. `matched`: bytes of an empty line before the input.
    fn respond(&mut self, input: &[u8], matched: &mut usize) -> &[u8] {
        self.output.clear();
        for octet in input {
            *matched = match (*octet == EMPTY_LINE[*matched], *octet) {
                (true, _) => *matched + 1,
                (false, b'\r') => 1,
                (false, _) => 0,
            };
            if *matched == EMPTY_LINE.len() {
                *matched = 0;
                self.output.extend_from_slice(HEAD);
                self.output.extend_from_slice(&HTTP_BODY);
            }
        }
        &self.output
    }
}

impl Connection {
    /// Handles an event. Returns false at the end of the connection.
    fn handle(&mut self, readable: bool, ending: bool, buffer: &mut [u8], responder: Option<&mut Responder>) -> bool {
        if self.pending.is_empty() {
            // The usual case: nothing is pending.
            return !readable || self.answer(ending, buffer, responder);
        }
        let Some(written) = write(&mut self.stream, &self.pending) else { return false };
        self.pending.drain(..written);
        // Input that arrived meanwhile was not read, and causes no further event.
        !self.pending.is_empty() || self.answer(ending, buffer, responder)
    }

    fn answer(&mut self, ending: bool, buffer: &mut [u8], mut responder: Option<&mut Responder>) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(length) => {
                    let output = match &mut responder {
                        None => &buffer[..length],
                        Some(responder) => responder.respond(&buffer[..length], &mut self.matched),
                    };
                    let Some(written) = write(&mut self.stream, output) else { return false };
                    if written < output.len() {
                        self.pending.extend_from_slice(&output[written..]);
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
