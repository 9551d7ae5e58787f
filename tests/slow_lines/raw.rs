//! A peer on blocking sockets, which uses no code of the crate.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::{
    line::Pace,
    support::{REQUEST, answer, wire},
};

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
pub(crate) const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The body of a close frame with 1000 and the reason `done`.
const DONE: &[u8] = b"\x03\xe8done";

/// Time after which a peer stops that the end under test has not terminated.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Side of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A peer whose opening handshake is complete.
pub(crate) struct Peer {
    stream: TcpStream,
    side: Side,
}

impl Peer {
    /// Connects to a server.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(REQUEST).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        Peer { stream, side: Side::Client }
    }

    /// Accepts a client.
    pub(crate) fn accept(listener: &TcpListener) -> Self {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_head(&mut stream);
        stream.write_all(&answer(&request)).unwrap();
        Peer { stream, side: Side::Server }
    }

    /// A frame with this first octet.
    fn frame(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        match self.side {
            Side::Client => wire::raw(first, payload),
            Side::Server => unmasked(first, payload),
        }
    }

    /// Sends a message at this rate, in one frame or in fragments of `fragment_bytes`. Reads nothing meanwhile, so no
    /// ping is answered.
    pub(crate) fn send(&mut self, message: &[u8], fragment_bytes: Option<usize>, bytes_per_second: usize) {
        let fragments = message.chunks(fragment_bytes.unwrap_or(message.len())).collect::<Vec<_>>();
        let mut bytes = Vec::new();
        for (index, fragment) in fragments.iter().enumerate() {
            let opcode = if index == 0 { BINARY } else { CONTINUATION };
            let fin = if index + 1 == fragments.len() { FIN } else { 0 };
            bytes.extend(self.frame(opcode | fin, fragment));
        }
        let mut pace = Pace::new(bytes_per_second);
        for piece in bytes.chunks(pace.piece_bytes()) {
            pace.wait_for(piece.len());
            self.stream.write_all(piece).expect("the connection is open while the message is sent");
        }
    }

    /// Closes with 1000. Pings that have arrived meanwhile are dropped. Returns the body of the close frame received.
    pub(crate) fn close(mut self) -> Vec<u8> {
        let close = self.frame(FIN | CLOSE, DONE);
        self.stream.write_all(&close).unwrap();
        let mut pace = Pace::new(usize::MAX);
        loop {
            let (opcode, payload) = self.read_frame(&mut pace).expect("a close frame before the end of the stream");
            if opcode == CLOSE {
                self.end();
                return payload;
            }
            assert_eq!(opcode, PING);
        }
    }

    /// Reads at this rate up to a close frame. Answers pings, and answers the first message with a close frame.
    /// Returns the message.
    pub(crate) fn receive(mut self, bytes_per_second: usize) -> Vec<u8> {
        let mut pace = Pace::new(bytes_per_second);
        let mut message = None;
        loop {
            let (opcode, payload) = self.read_frame(&mut pace).expect("a close frame before the end of the stream");
            let reply = match opcode {
                PING => self.frame(FIN | PONG, &payload),
                BINARY => {
                    message = Some(payload);
                    self.frame(FIN | CLOSE, DONE)
                }
                CLOSE => {
                    self.end();
                    return message.expect("the message precedes the close frame");
                }
                other => panic!("unexpected opcode {other}"),
            };
            self.stream.write_all(&reply).unwrap();
        }
    }

    /// Begins a frame of 1 MB and drips 100 bytes of it per second, until the connection has ended.
    pub(crate) fn drip(mut self) {
        let frame = self.frame(FIN | BINARY, &[7; 1_000_000]);
        let mut pace = Pace::new(100);
        let began = Instant::now();
        for piece in frame.chunks(10) {
            if began.elapsed() > GIVE_UP_AFTER || self.stream.write_all(piece).is_err() {
                return;
            }
            pace.wait_for(piece.len());
        }
    }

    /// Reads 100 bytes per second until the connection has ended. `reads` is `false`: reads nothing for 30 s.
    pub(crate) fn barely_read(mut self, reads: bool) {
        let (began, mut piece) = (Instant::now(), [0; 10]);
        while began.elapsed() < GIVE_UP_AFTER && (!reads || self.stream.read(&mut piece).is_ok_and(|read| read > 0)) {
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends the stream in the order of RFC 6455 §7.1.1: the server first.
    fn end(&mut self) {
        if self.side == Side::Server {
            self.stream.shutdown(Shutdown::Write).unwrap();
        }
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "nothing follows a close frame");
    }

    /// Reads a frame: opcode and payload.
    fn read_frame(&mut self, pace: &mut Pace) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        assert_eq!(head[0] & 0xf0, FIN, "the ends under test do not fragment");
        let length = match head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.read_array()?)),
            127 => u64::from_be_bytes(self.read_array()?),
            short => u64::from(short),
        };
        let masked = head[1] & 0x80 != 0;
        assert_eq!(masked, self.side == Side::Server, "frames of a client are masked");
        let key = if masked { self.read_array()? } else { [0; 4] };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        let piece_bytes = pace.piece_bytes();
        for piece in payload.chunks_mut(piece_bytes) {
            self.stream.read_exact(piece)?;
            pace.wait_for(piece.len());
        }
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(octet, key)| *octet ^= key);
        Ok((head[0] & 0x0f, payload))
    }

    fn read_array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut array = [0; N];
        self.stream.read_exact(&mut array)?;
        Ok(array)
    }
}

/// Reads a request or response head, and no byte more.
fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let (mut head, mut octet) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet).unwrap();
        head.extend(octet);
    }
    head
}

/// A frame as a server sends it.
fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let head = match payload.len() {
        length @ 0..=125 => vec![first, length as u8],
        length @ 126..=0xffff => [&[first, 126][..], &(length as u16).to_be_bytes()].concat(),
        length => [&[first, 127][..], &(length as u64).to_be_bytes()].concat(),
    };
    [&head, payload].concat()
}
