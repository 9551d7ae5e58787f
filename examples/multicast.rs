//! Sends every message to every client, the sender included.
//!
//!     cargo run --release --example multicast -- [--listen ADDR]

mod arguments;

use std::{net::SocketAddr, process::ExitCode};

use ws_reactor::{Callbacks, Error, Reactor, Server};

const EVERYBODY: &str = "everybody";

fn main() -> ExitCode {
    env_logger::init();
    let listen =
        arguments::Arguments::read(&["--listen ADDR"]).get("--listen", SocketAddr::from(([127, 0, 0, 1], 8080)));
    arguments::run(|| serve(listen))
}

fn serve(listen: SocketAddr) -> Result<(), Error> {
    let multicast = Server::new(|_| {
        Callbacks::new()
            .on_open(|ws, _| {
                ws.subscribe(EVERYBODY);
            })
            .on_message(|ws, message| {
                ws.publish(EVERYBODY, message);
            })
    });
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(listen, multicast)?;
    eprintln!("listening on ws://{}", listening.addr);
    reactor.run()
}
