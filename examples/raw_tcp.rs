//! A line protocol beside a WebSocket server on one reactor: each line is a message to the WebSockets, and the reverse.
//!
//!     cargo run --example raw_tcp -- [--listen ADDR] [--lines ADDR]
//!     nc 127.0.0.1 8081

mod arguments;

use std::{cell::RefCell, process::ExitCode, rc::Rc};

use ws_reactor::{Callbacks, CloseReason, ConnectionId, Error, Hub, Message, Reactor, Server, Stream, StreamHandler};

/// Longest line, in bytes. A peer that sends a longer one is terminated.
const LONGEST_LINE: usize = 4096;

/// Connections of the line protocol.
type Listeners = Rc<RefCell<Vec<ConnectionId>>>;

const SOCKETS: &str = "sockets";

/// The line protocol.
struct Lines {
    listeners: Listeners,
    /// The start of an unfinished line.
    unfinished: Vec<u8>,
}

impl StreamHandler for Lines {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        self.listeners.borrow_mut().push(stream.id());
        stream.write(b"each line is sent to every WebSocket\n");
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            self.unfinished.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = String::from_utf8_lossy(self.unfinished.trim_ascii_end());
                stream.hub().publish(SOCKETS, Message::Text(&line));
                self.unfinished.clear();
            }
        }
        if self.unfinished.len() > LONGEST_LINE {
            stream.write(b"that line is too long\n");
            stream.close();
        }
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, _: &CloseReason) {
        self.listeners.borrow_mut().retain(|id| *id != stream.id());
    }
}

/// Writes a line to every connection of the line protocol. The borrow may be held, because the Hub calls no handler.
fn write_line(listeners: &Listeners, hub: &mut Hub, line: &str) {
    for id in listeners.borrow().iter() {
        hub.write(*id, format!("{line}\n").as_bytes());
    }
}

fn main() -> ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(
        "A line protocol beside a WebSocket server",
        &[
            ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
            ("--lines ADDR", "Address or name of the line protocol [default: 127.0.0.1:8081]"),
        ],
    );
    let listen = arguments.get("--listen", "127.0.0.1:8080".to_owned());
    let lines = arguments.get("--lines", "127.0.0.1:8081".to_owned());
    arguments::run(|| serve(listen, lines))
}

fn serve(listen: String, lines: String) -> Result<(), Error> {
    let listeners = Listeners::default();
    let readers = Rc::clone(&listeners);
    let sockets = Server::new(move |_| {
        let readers = Rc::clone(&readers);
        Callbacks::new()
            .on_open(|ws, _| {
                ws.subscribe(SOCKETS);
            })
            .on_message(move |ws, message| match message {
                Message::Text(text) => write_line(&readers, ws.hub(), text),
                Message::Binary(bytes) => write_line(&readers, ws.hub(), &format!("({} bytes)", bytes.len())),
            })
    });

    let mut reactor = Reactor::new()?;
    let sockets = reactor.listen(listen, sockets)?;
    let lines =
        reactor.listen_stream(lines, move |_| Lines { listeners: Rc::clone(&listeners), unfinished: Vec::new() })?;
    eprintln!("listening on ws://{}", sockets.addr);
    eprintln!("listening on tcp://{}", lines.addr);
    reactor.run()?;
    Ok(())
}
