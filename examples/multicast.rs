//! Sends every message to all connections in the same room, the sender included. The room is the path:
//! `ws://127.0.0.1:8080/room`.
//!
//!     cargo run --release --example multicast -- [--listen ADDR] [--no-ping]

mod arguments;

use std::process::ExitCode;

use ws_reactor::{Callbacks, Error, Reactor, Server};

fn main() -> ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(
        "Sends every message to all in the same room",
        &[
            ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
            ("--no-ping", "Do not ping silent clients"),
        ],
    );
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Error> {
    let listen = arguments.get("--listen", "127.0.0.1:8080".to_owned());
    let multicast = Server::new(|handshake| {
        let room = handshake.path().to_owned();
        Callbacks::new()
            .on_open(|ws, handshake| {
                ws.subscribe(handshake.path());
            })
            .on_message(move |ws, message| {
                ws.publish(&room, message);
            })
    });
    let multicast = if arguments.has("--no-ping") { multicast.ping_after(None) } else { multicast };
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(listen, multicast)?;
    eprintln!("listening on ws://{}", listening.addr);
    reactor.run()?;
    Ok(())
}
