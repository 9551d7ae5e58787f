//! WebSockets on blocking sockets, without the reactor: the codec of `ws_reactor::protocol`. It shows both opening
//! handshakes, and what an application does with each message and control frame.
//!
//!     cargo run --release --example sans_io -- [--listen ADDR]
//!     cargo run --release --example sans_io -- --connect URL
//!
//! The server echoes every message, in every version, with one thread per connection. The client sends each line of
//! stdin and prints the answer. It closes at the end of stdin. A service needs timeouts, too.

mod arguments;

use std::{
    error::Error,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};

use ws_reactor::{
    CloseCode, Message,
    protocol::{ClientHandshake, Incoming, MessageEncoder, Opened, ServerHandshake, ServerStep},
};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let listen = ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]");
    let connect = ("--connect URL", "URL (ws) to connect to, as a client");
    let arguments = arguments::Arguments::read("Speaks WebSocket on blocking sockets", &[listen, connect]);
    arguments::run(|| match arguments.all("--connect").pop() {
        Some(url) => talk(url),
        None => serve(&arguments.get("--listen", "127.0.0.1:8080".to_owned())),
    })
}

fn serve(address: &str) -> Result {
    let listener = TcpListener::bind(address)?;
    eprintln!("listening on ws://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let mut socket = Socket { stream: stream?, input: Vec::new(), output: Vec::new() };
        thread::spawn(move || {
            let echoed = echo(&mut socket);
            arguments::run(|| socket.end().map_err(Into::into).and(echoed))
        });
    }
    Ok(())
}

/// A server's connection.
fn echo(socket: &mut Socket) -> Result {
    let mut handshake = ServerHandshake::new();
    let mut opened = loop {
        let (used, step) = handshake.receive(&socket.input, &mut socket.output)?;
        socket.input.drain(..used);
        match step {
            None => socket.exchange()?,
            Some(ServerStep::Request(request)) => handshake.accept(request, &mut socket.output)?,
            Some(ServerStep::Open(opened)) => break opened,
        }
    };
    while socket.receive(&mut opened, |message, encoder, output| Ok(encoder.message(message, output)?))? {
        socket.exchange()?;
    }
    Ok(())
}

/// A client's connection.
fn talk(url: &str) -> Result {
    let handshake = ClientHandshake::new(url)?;
    if handshake.is_secure() {
        return Err("this example has no TLS".into());
    }
    let stream = TcpStream::connect((handshake.host(), handshake.port()))?;
    let mut socket = Socket { stream, input: Vec::new(), output: Vec::new() };
    let random = |bytes: &mut [u8]| getrandom::fill(bytes).expect("the system has a source of randomness");
    let mut pending = handshake.send(random, &mut socket.output)?;
    let mut opened = loop {
        socket.exchange()?;
        let (used, opened) = pending.receive(&socket.input)?;
        socket.input.drain(..used);
        if let Some(opened) = opened {
            break opened;
        }
    };
    for line in io::stdin().lines() {
        opened.encoder.message(&line?, &mut socket.output)?;
        let mut answered = false;
        while !answered {
            socket.exchange()?;
            let is_open = socket.receive(&mut opened, |message, _, _| {
                answered = true;
                Ok(writeln!(io::stdout(), "{message}")?)
            })?;
            if !is_open {
                return Err("the server closed the connection".into());
            }
        }
    }
    opened.encoder.close(CloseCode::NORMAL, "", &mut socket.output)?;
    while socket.receive(&mut opened, |_, _, _| Ok(()))? {
        socket.exchange()?;
    }
    Ok(socket.end()?)
}

/// A stream, with the input that was not used yet and the output that was not written yet.
struct Socket {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Socket {
    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    /// Ends the stream. The last output may be a refusal or a close frame: a socket that is dropped with unread input
    /// would reset the connection, and destroy that output.
    fn end(&mut self) -> io::Result<()> {
        self.flush()?;
        self.stream.shutdown(Shutdown::Write)?;
        self.stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut buffer = [0; 16 * 1024];
        while self.stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
        Ok(())
    }

    /// Writes the output and waits for input.
    fn exchange(&mut self) -> io::Result<()> {
        self.flush()?;
        let mut buffer = [0; 16 * 1024];
        let length = self.stream.read(&mut buffer)?;
        self.input.extend_from_slice(&buffer[..length]);
        if length == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Decodes the input, and answers pings and the close frame. Returns `false` after the close frame.
    fn receive(
        &mut self,
        Opened { decoder, encoder, .. }: &mut Opened,
        mut on_message: impl FnMut(Message<'_>, &mut MessageEncoder, &mut Vec<u8>) -> Result,
    ) -> Result<bool> {
        let (mut at, mut is_open) = (0, true);
        loop {
            let decoded = decoder.decode(&mut self.input[at..]);
            match decoded.inspect_err(|error| encoder.fail(*error, &mut self.output))? {
                (used, Some(Incoming::Message(message))) => {
                    at += used;
                    on_message(message, encoder, &mut self.output)?;
                }
                (used, Some(control)) => {
                    at += used;
                    is_open &= !matches!(control, Incoming::Close(_));
                    encoder.answer(&control, &mut self.output);
                }
                (_, None) => break,
            }
        }
        self.input.clear();
        Ok(is_open)
    }
}
