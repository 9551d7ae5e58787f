//! Sends every message back as it came, in every version of the protocol.
//!
//!     cargo run --release --example echo -- [--listen ADDR] [--max-message BYTES] [--secure-proxy]
//!
//! `--secure-proxy` is for a proxy in front that takes TLS off: the old handshakes then say `wss`.

mod arguments;

use std::{net::SocketAddr, process::ExitCode};

use ws_reactor::{Accept, Error, Reactor, Server, on_message};

fn main() -> ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(&["--listen ADDR", "--max-message BYTES", "--secure-proxy"]);
    let listen = arguments.get("--listen", SocketAddr::from(([127, 0, 0, 1], 8080)));
    let max_message = arguments.get("--max-message", 10 * 1024 * 1024);
    arguments::run(|| serve(listen, max_message, arguments.has("--secure-proxy")))
}

fn serve(listen: SocketAddr, max_message: usize, secure_proxy: bool) -> Result<(), Error> {
    let echo = Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    })
    .on_request(|request| match request.subprotocols().next() {
        Some(first) => Accept::new().subprotocol(first),
        None => Accept::new(),
    })
    .max_frame_bytes(max_message)
    .max_message_bytes(max_message)
    .secure_proxy(secure_proxy)
    .on_error(|peer, error| log::debug!("{peer}: {error}"));

    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(listen, echo)?;
    eprintln!("listening on ws://{}", listening.addr);
    reactor.run()
}
