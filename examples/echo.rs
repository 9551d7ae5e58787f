//! Echoes every message, in every version of the protocol.
//!
//!     cargo run --release --example echo -- --help

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
use ws_reactor::{Bind, Reactor, Server, Upgrade, on_message, recording::Recorder};

fn main() -> ExitCode {
    env_logger::init();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
        ("--max-message BYTES", "Largest accepted message [default: 10485760]"),
        ("--secure-proxy", "A proxy in front terminates TLS: old handshakes say wss"),
        ("--no-ping", "Do not ping silent clients"),
        ("--threads N", "Reactors that share the port, each in its own thread [default: 1]"),
        ("--deflate", "Compress with clients that offer it, with context takeover"),
        ("--deflate-shared", "Compress with clients that offer it, without context takeover"),
        ("--deflate-level LEVEL", "Compression level, 1 to 9 [default: 3]"),
        ("--tls-cert FILE", "Certificate, PEM"),
        ("--tls-key FILE", "Private key of the certificate, PEM"),
        ("--record FILE", "Record all that arrives, for the example `replay`"),
    ];
    let arguments = arguments::Arguments::read("Echoes every message, in every version of the protocol", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let listen = arguments.get("--listen", "127.0.0.1:8080".to_owned());
    let threads: usize = arguments.get("--threads", 1);
    if threads == 0 {
        arguments.refuse("--threads must be at least 1");
    }
    if threads > 1 && arguments.has("--record") {
        arguments.refuse("--record needs a single reactor");
    }
    let (mut first, address, scheme) = reactor(arguments, &listen, threads > 1)?;
    // All share the port of the first one.
    let shared = format!("{}:{}", listen.rsplit_once(':').map_or("", |(host, _)| host), address.port());
    thread::scope(|scope| {
        for _ in 1..threads {
            // A reactor stays in the thread that made it.
            let shared = &shared;
            scope.spawn(move || {
                ended(reactor(arguments, shared, true).and_then(|(mut another, ..)| Ok(another.run()?)));
            });
        }
        eprintln!("listening on {scheme}://{address}");
        ended(first.run().map_err(Into::into));
    });
    Ok(())
}

/// Ends the process if a reactor has failed.
fn ended(result: Result<(), Box<dyn Error>>) {
    if result.is_err() {
        let _ = arguments::run(|| result);
        process::exit(1);
    }
}

/// An echo server on a reactor of its own.
fn reactor(
    arguments: &arguments::Arguments,
    listen: &str,
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
    .max_message_bytes(max_message)
    .secure_proxy(arguments.has("--secure-proxy"))
    .on_error(|peer, error| log::debug!("{peer}: {error}"));
    let echo = if arguments.has("--no-ping") { echo.ping_after(None) } else { echo };
    let (echo, scheme) = tls(compressed(echo, arguments)?, arguments)?;

    let mut reactor = Reactor::new()?;
    if let Some(file) = arguments.all("--record").pop() {
        reactor.record(Recorder::create(file)?)?;
    }
    let listening = reactor.listen(Bind::from(listen).reuse_port(shared), echo)?;
    Ok((reactor, listening.addr, scheme))
}

/// Adds compression, if an option asks for it.
#[cfg(feature = "deflate")]
fn compressed(server: Server, arguments: &arguments::Arguments) -> Result<Server, Box<dyn Error>> {
    let mut config = match (arguments.has("--deflate"), arguments.has("--deflate-shared")) {
        (false, false) if arguments.has("--deflate-level") => {
            arguments.refuse("--deflate-level needs --deflate or --deflate-shared")
        }
        (false, false) => return Ok(server),
        (true, true) => arguments.refuse("--deflate and --deflate-shared exclude each other"),
        (true, false) => DeflateConfig::dedicated(),
        (false, true) => DeflateConfig::shared(),
    };
    if arguments.has("--deflate-level") {
        let level = config.level(arguments.get("--deflate-level", 3));
        config = level.unwrap_or_else(|error| arguments.refuse(format!("--deflate-level: {error}")));
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

/// Adds TLS, if a certificate was given.
#[cfg(feature = "tls")]
fn tls(server: Server, arguments: &arguments::Arguments) -> Result<(Server, &'static str), Box<dyn Error>> {
    let files = (arguments.get("--tls-cert", String::new()), arguments.get("--tls-key", String::new()));
    match files {
        (certificate, key) if certificate.is_empty() && key.is_empty() => Ok((server, "ws")),
        (certificate, key) if certificate.is_empty() || key.is_empty() => {
            arguments.refuse("--tls-cert and --tls-key go together")
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
