//! The baseline, a client without a library: reads the headers of frames on a blocking socket, and checks nothing.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use compare::{
    Failure,
    client::{ClientOptions, Meter, Next, Work},
};

const BUFFER_LENGTH: usize = 64 * 1024;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Opcodes with FIN.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

fn main() -> Result<(), Failure> {
    let options = ClientOptions::read();
    options.refuse_tls("raw does not do TLS");
    options.refuse_deflate("raw does not compress");
    options.refuse_busy_connects("raw opens connections on a blocking socket");
    let mut meter = Meter::new(&options);
    let mut buffer = vec![0; BUFFER_LENGTH];
    if options.work == Work::Connects {
        loop {
            let mut connection = Connection::open(&options, buffer)?;
            connection.send(CLOSE, &[])?;
            connection.receive()?;
            buffer = connection.buffer;
            if !meter.connected() {
                break;
            }
        }
    } else {
        exchange(Connection::open(&options, buffer)?, &mut meter, options.busy)?;
    }
    meter.report();
    Ok(())
}

fn exchange(mut connection: Connection, meter: &mut Meter, busy: bool) -> Result<(), Failure> {
    connection.stream.set_nonblocking(busy)?;
    if meter.sends_first() {
        connection.send_burst(meter)?;
    }
    loop {
        match meter.message(connection.receive()?) {
            Next::Receive => {}
            Next::Send => connection.send_burst(meter)?,
            Next::Stop => return Ok(()),
        }
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The bytes of the buffer that were read, and not yet returned.
    begin: usize,
    end: usize,
    output: Vec<u8>,
}

impl Connection {
    fn open(options: &ClientOptions, buffer: Vec<u8>) -> Result<Self, Failure> {
        let stream = options.connect()?;
        let mut connection = Self { stream, buffer, begin: 0, end: 0, output: Vec::new() };
        let (path, host, port) = (&options.path, &options.host, options.port);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        connection.stream.write_all(request.as_bytes())?;
        loop {
            let head = &connection.buffer[..connection.end];
            if let Some(length) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                connection.begin = length + 4;
                return Ok(connection);
            }
            connection.read()?;
        }
    }

    /// The payload of the next frame.
    fn receive(&mut self) -> Result<&[u8], Failure> {
        loop {
            let bytes = &self.buffer[self.begin..self.end];
            let header = match *bytes {
                [_, length @ ..126, ..] => Some((2, usize::from(length))),
                [_, 126, a, b, ..] => Some((4, usize::from(u16::from_be_bytes([a, b])))),
                [_, 127, _, _, _, _, a, b, c, d, ..] => Some((10, u32::from_be_bytes([a, b, c, d]) as usize)),
                _ => None,
            };
            if let Some((header, length)) = header
                && header + length <= bytes.len()
            {
                let begin = self.begin + header;
                self.begin = begin + length;
                return Ok(&self.buffer[begin..self.begin]);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> Result<(), Failure> {
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err("EOF".into()),
                Ok(length) => {
                    self.end += length;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn send_burst(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        for _ in 0..meter.burst() {
            self.queue(TEXT, meter.request().as_bytes());
        }
        self.flush()
    }

    fn send(&mut self, first: u8, payload: &[u8]) -> Result<(), Failure> {
        self.queue(first, payload);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    fn queue(&mut self, first: u8, payload: &[u8]) {
        let output = &mut self.output;
        output.push(first);
        match payload.len() {
            length @ ..126 => output.push(0x80 | length as u8),
            length => {
                output.push(0x80 | 126);
                output.extend((length as u16).to_be_bytes());
            }
        }
        output.extend(KEY);
        let begin = output.len();
        output.extend(payload);
        output[begin..].iter_mut().zip(0..).for_each(|(byte, index)| *byte ^= KEY[index % KEY.len()]);
    }
}
