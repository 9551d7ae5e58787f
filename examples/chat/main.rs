//! A chat room with names. The page is served on the same port: open it in two windows.
//!
//!     cargo run --release --example chat -- [--listen ADDR] [--threads N]
//!
//! Several processes share the room by Redis:
//!
//!     cargo run --release --features redis --example chat -- --redis redis://localhost [--redis-prefix PREFIX]

#[path = "../arguments/mod.rs"]
mod arguments;

use std::{error::Error, num::NonZeroUsize, process::ExitCode};

use arguments::{redis, shutdown};
use ws_reactor::{CloseCode, CloseReason, Handler, Message, ReactorGroup, Reply, Server, WebSocket, http::StatusCode};

const PAGE: &str = include_str!("page.html");
const ROOM: &str = "the room";

/// A member of the room. The first message is the name.
#[derive(Default)]
struct Guest {
    name: Option<String>,
}

impl Handler for Guest {
    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let Message::Text(text) = message else {
            ws.close(CloseCode::UNSUPPORTED_DATA, "this room is for text");
            return;
        };
        match &self.name {
            Some(name) => {
                ws.publish(ROOM, format!("{name}: {text}"));
            }
            None => {
                ws.subscribe(ROOM);
                ws.publish(ROOM, format!("{text} has come"));
                self.name = Some(text.to_owned());
            }
        }
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, _: &CloseReason) {
        if let Some(name) = &self.name {
            ws.publish(ROOM, format!("{name} has gone"));
        }
    }
}

fn main() -> ExitCode {
    arguments::log();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
        ("--threads N", "Reactors that share the port and the room, each in its own thread [default: 1]"),
    ];
    let options = [&options[..], &redis::OPTIONS].concat();
    let arguments = arguments::Arguments::read("Names, a room, and a page for the browser", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let listen = arguments.get("--listen", "127.0.0.1:8080".to_owned());
    let threads = arguments.get("--threads", NonZeroUsize::MIN);
    ReactorGroup::new(threads.get())?.run(|reactor| {
        redis::attach(arguments, reactor)?;
        shutdown::on_signals(reactor)?;
        let listening = reactor.listen(&listen, chat())?;
        if reactor.hub().group_index() == 0 {
            eprintln!("listening on ws://{}", listening.addr);
            eprintln!("open http://{}/ in a browser", listening.addr);
        }
        Ok(())
    })?;
    Ok(())
}

fn chat() -> Server {
    Server::new(|_| Guest::default()).max_message_bytes(4096).on_request(|request, _| {
        match (request.is_upgrade(), request.path()) {
            (true, "/chat") => Reply::upgrade(),
            (false, "/") => Reply::html(PAGE),
            _ => Reply::status(StatusCode::NOT_FOUND),
        }
    })
}
