//! Sends every message back as it came, in every version of the protocol.
//!
//!     cargo run --release --example echo -- [--listen ADDR] [--max-message BYTES] [--secure-proxy] [--no-ping] [--threads N]
//!         [--deflate | --deflate-shared] [--deflate-level LEVEL] [--tls-cert FILE --tls-key FILE]
//!
//! `--deflate` compresses with clients that offer it, with context takeover in both directions; `--deflate-shared` without. `--no-ping` leaves silent clients alone. `--secure-proxy` is for a proxy in front that takes TLS off: the old handshakes then say `wss`.
//! `--threads` starts so many reactors, each in a thread of its own: they share the port, and the system shares out the connections.

mod arguments;

use std::{
    error::Error,
    net::SocketAddr,
    process::{self, ExitCode},
    thread,
};

#[cfg(feature = "deflate")]
use ws_reactor::DeflateConfig;
#[cfg(feature = "tls")]
use ws_reactor::TlsConfig;
use ws_reactor::{Bind, Reactor, Server, Upgrade, on_message};

fn main() -> ExitCode {
    env_logger::init();
    let known = [
        "--listen ADDR",
        "--max-message BYTES",
        "--secure-proxy",
        "--no-ping",
        "--threads N",
        "--deflate",
        "--deflate-shared",
        "--deflate-level LEVEL",
        "--tls-cert FILE",
        "--tls-key FILE",
    ];
    let arguments = arguments::Arguments::read(&known);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let listen = arguments.get("--listen", SocketAddr::from(([127, 0, 0, 1], 8080)));
    let threads = arguments.get("--threads", 1);
    let (mut first, address, scheme) = reactor(arguments, listen, threads > 1)?;
    thread::scope(|scope| {
        for _ in 1..threads {
            // A reactor stays in the thread in which it was made.
            scope.spawn(move || {
                ended(reactor(arguments, address, true).and_then(|(mut another, ..)| Ok(another.run()?)));
            });
        }
        eprintln!("listening on {scheme}://{address}");
        ended(first.run().map_err(Into::into));
    });
    Ok(())
}

/// One reactor that fails ends all.
fn ended(result: Result<(), Box<dyn Error>>) {
    if let Err(error) = result {
        eprintln!("{error}");
        process::exit(1);
    }
}

/// A server that sends every message back, on a reactor of its own.
fn reactor(
    arguments: &arguments::Arguments,
    listen: SocketAddr,
    shared: bool,
) -> Result<(Reactor, SocketAddr, &'static str), Box<dyn Error>> {
    let max_message = arguments.get("--max-message", 10 * 1024 * 1024);
    let echo = Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    })
    .on_request(|request, _| match request.subprotocols().next() {
        Some(first) => Upgrade::new().subprotocol(first),
        None => Upgrade::new(),
    })
    .max_frame_bytes(max_message)
    .max_message_bytes(max_message)
    .secure_proxy(arguments.has("--secure-proxy"))
    .on_error(|peer, error| log::debug!("{peer}: {error}"));
    let echo = if arguments.has("--no-ping") { echo.ping_after(None) } else { echo };
    let (echo, scheme) = tls(compressed(echo, arguments)?, arguments)?;

    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(Bind::from(listen).reuse_port(shared), echo)?;
    Ok((reactor, listening.addr, scheme))
}

/// With compression, if that was asked for.
#[cfg(feature = "deflate")]
fn compressed(server: Server, arguments: &arguments::Arguments) -> Result<Server, Box<dyn Error>> {
    let mut config = match (arguments.has("--deflate"), arguments.has("--deflate-shared")) {
        (false, false) => return Ok(server),
        (true, true) => return Err("--deflate and --deflate-shared exclude each other".into()),
        (true, false) => DeflateConfig::dedicated(),
        (false, true) => DeflateConfig::shared(),
    };
    if arguments.has("--deflate-level") {
        config = config.level(arguments.get("--deflate-level", 3))?;
    }
    Ok(server.deflate(config))
}

#[cfg(not(feature = "deflate"))]
fn compressed(server: Server, arguments: &arguments::Arguments) -> Result<Server, Box<dyn Error>> {
    match arguments.has("--deflate") || arguments.has("--deflate-shared") {
        true => Err("built without the feature `deflate`".into()),
        false => Ok(server),
    }
}

/// With TLS, if a certificate was given.
#[cfg(feature = "tls")]
fn tls(server: Server, arguments: &arguments::Arguments) -> Result<(Server, &'static str), Box<dyn Error>> {
    let files = (arguments.get("--tls-cert", String::new()), arguments.get("--tls-key", String::new()));
    match files {
        (certificate, key) if certificate.is_empty() && key.is_empty() => Ok((server, "ws")),
        (certificate, key) if certificate.is_empty() || key.is_empty() => {
            Err("--tls-cert and --tls-key go together".into())
        }
        (certificate, key) => Ok((server.tls(TlsConfig::from_pem_files(certificate, key)?), "wss")),
    }
}

#[cfg(not(feature = "tls"))]
fn tls(server: Server, arguments: &arguments::Arguments) -> Result<(Server, &'static str), Box<dyn Error>> {
    match arguments.has("--tls-cert") || arguments.has("--tls-key") {
        true => Err("built without the feature `tls`".into()),
        false => Ok((server, "ws")),
    }
}
