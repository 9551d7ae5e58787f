//! Sends every message to all connections in the same room, the sender included. The room is the path:
//! `ws://127.0.0.1:8080/room`.
//!
//!     cargo run --release --example multicast -- [--listen ADDR] [--threads N] [--no-ping]
//!
//! Several processes share the rooms by Redis. The channel of a room is its name behind the prefix:
//!
//!     cargo run --release --features redis,signals --example multicast -- --redis redis://localhost
//!         [--redis-prefix PREFIX] [--redis-ca FILE]

mod arguments;

use std::{error::Error, num::NonZeroUsize, process::ExitCode};

use arguments::{redis, shutdown};
use ws_reactor::{Callbacks, ReactorGroup, Server};

fn main() -> ExitCode {
    arguments::log();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
        ("--threads N", "Reactors that share the port and the rooms, each in its own thread [default: 1]"),
        ("--no-ping", "Do not ping silent clients"),
    ];
    let options = [&options[..], &redis::OPTIONS].concat();
    let arguments = arguments::Arguments::read("Sends every message to all in the same room", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let listen = arguments.get("--listen", "127.0.0.1:8080".to_owned());
    let threads = arguments.get("--threads", NonZeroUsize::MIN);
    ReactorGroup::new(threads.get())?.run(|reactor| {
        redis::attach(arguments, reactor)?;
        shutdown::on_signals(reactor)?;
        let multicast = multicast();
        let multicast = if arguments.has("--no-ping") { multicast.ping_after(None) } else { multicast };
        let listening = reactor.listen(&listen, multicast)?;
        if reactor.hub().group_index() == 0 {
            eprintln!("listening on ws://{}", listening.addr);
        }
        Ok(())
    })?;
    Ok(())
}

fn multicast() -> Server {
    Server::new(|handshake| {
        let path = handshake.path();
        let room = path.strip_prefix('/').unwrap_or(path).to_owned();
        let joined = room.clone();
        Callbacks::new()
            .on_open(move |ws, _| {
                ws.subscribe(&joined);
            })
            .on_message(move |ws, message| {
                ws.publish(&room, message);
            })
    })
}
