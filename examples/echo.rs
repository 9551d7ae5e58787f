//! Echoes every message, in every version of the protocol.
//!
//!     cargo run --release --example echo -- --help

mod arguments;

use std::{error::Error, process::ExitCode};

#[cfg(feature = "deflate")]
use ws_reactor::DeflateConfig;
use ws_reactor::{ReactorGroup, Server, SetupError, Upgrade, on_message, recording::Recorder};
#[cfg(feature = "tls")]
use ws_reactor::{TlsAcceptor, TlsConfig};

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
    let threads: usize = arguments.get("--threads", 1);
    if threads == 0 {
        arguments.refuse("--threads must be at least 1");
    }
    if threads > 1 && arguments.has("--record") {
        arguments.refuse("--record needs a single reactor");
    }
    let listen = arguments.get("--listen", "127.0.0.1:8080".to_owned());
    let (with_tls, scheme) = tls(arguments)?;
    ReactorGroup::new(threads)?.run(|reactor| {
        if let Some(file) = arguments.all("--record").pop() {
            reactor.record(Recorder::create(file)?)?;
        }
        let listening = reactor.listen(&listen, with_tls(compressed(echo(arguments), arguments)?))?;
        if reactor.hub().group_index() == 0 {
            eprintln!("listening on {scheme}://{}", listening.addr);
        }
        Ok(())
    })?;
    Ok(())
}

fn echo(arguments: &arguments::Arguments) -> Server {
    let echo = Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    })
    .on_request(|request, _| match request.subprotocols().next() {
        Some(first) => Upgrade::new().subprotocol(first),
        None => Upgrade::new(),
    })
    .max_message_bytes(arguments.get("--max-message", 10 * 1024 * 1024))
    .secure_proxy(arguments.has("--secure-proxy"))
    .on_error(|peer, error| log::debug!("{peer}: {error}"));
    if arguments.has("--no-ping") { echo.ping_after(None) } else { echo }
}

/// Adds compression, if an option asks for it.
#[cfg(feature = "deflate")]
fn compressed(server: Server, arguments: &arguments::Arguments) -> Result<Server, SetupError> {
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
fn compressed(server: Server, arguments: &arguments::Arguments) -> Result<Server, SetupError> {
    match arguments.has("--deflate") || arguments.has("--deflate-shared") {
        true => Err("built without the feature `deflate`".into()),
        false => Ok(server),
    }
}

/// The function that adds TLS, if a certificate was given. All reactors share the acceptor, and with it the sessions.
#[cfg(feature = "tls")]
fn tls(arguments: &arguments::Arguments) -> Result<(impl Fn(Server) -> Server, &'static str), Box<dyn Error>> {
    let files = (arguments.get("--tls-cert", String::new()), arguments.get("--tls-key", String::new()));
    let acceptor = match files {
        (certificate, key) if certificate.is_empty() && key.is_empty() => None,
        (certificate, key) if certificate.is_empty() || key.is_empty() => {
            arguments.refuse("--tls-cert and --tls-key go together")
        }
        (certificate, key) => Some(TlsAcceptor::from(TlsConfig::from_pem_files(certificate, key)?)),
    };
    let scheme = if acceptor.is_some() { "wss" } else { "ws" };
    let add = move |server: Server| match &acceptor {
        Some(acceptor) => server.tls(acceptor.clone()),
        None => server,
    };
    Ok((add, scheme))
}

#[cfg(not(feature = "tls"))]
fn tls(arguments: &arguments::Arguments) -> Result<(impl Fn(Server) -> Server, &'static str), Box<dyn Error>> {
    match arguments.has("--tls-cert") || arguments.has("--tls-key") {
        true => Err("built without the feature `tls`".into()),
        false => Ok((|server| server, "ws")),
    }
}
