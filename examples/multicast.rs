//! Sends every message to every client, the sender included.
//!
//!     cargo run --release --example multicast -- [--listen ADDR] [--no-ping]

mod arguments;

use std::{net::SocketAddr, process::ExitCode};

use ws_reactor::{Callbacks, Error, Reactor, Server};

const EVERYBODY: &str = "everybody";

fn main() -> ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(&["--listen ADDR", "--no-ping"]);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Error> {
    let listen = arguments.get("--listen", SocketAddr::from(([127, 0, 0, 1], 8080)));
    let multicast = Server::new(|_| {
        Callbacks::new()
            .on_open(|ws, _| {
                ws.subscribe(EVERYBODY);
            })
            .on_message(|ws, message| {
                ws.publish(EVERYBODY, message);
            })
    });
    let multicast = if arguments.has("--no-ping") { multicast.ping_after(None) } else { multicast };
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(listen, multicast)?;
    eprintln!("listening on ws://{}", listening.addr);
    reactor.run()
}
