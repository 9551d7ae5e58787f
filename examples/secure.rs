//! An echo server over TLS, with a certificate made at start.
//!
//!     cargo run --release --example secure -- [--listen ADDR] [--write-cert FILE]
//!
//! No client trusts the certificate. Open https://localhost:8443 once in a browser and accept it, or give the file of
//! `--write-cert` to a client. The example `echo` reads certificate and key from files.

mod arguments;

use std::{error::Error, fs, path::PathBuf, process::ExitCode};

use ws_reactor::{Reactor, Reply, Server, TlsConfig, on_message};

fn main() -> ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(
        "wss, with a certificate made on the spot",
        &[
            ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8443]"),
            ("--write-cert FILE", "Where to write the certificate, PEM"),
        ],
    );
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let listen = arguments.get("--listen", "127.0.0.1:8443".to_owned());
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)?;
    if arguments.has("--write-cert") {
        fs::write(arguments.get("--write-cert", PathBuf::new()), cert.pem())?;
    }

    let tls = TlsConfig::from_pem(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes())?;
    let server = Server::new(|handshake| {
        if let Some(secured) = handshake.tls_info() {
            eprintln!("{} by {} and {}", handshake.peer_addr(), secured.protocol, secured.cipher_suite);
        }
        on_message(|ws, message| {
            ws.send(message);
        })
    })
    .on_request(|request, _| match request.is_upgrade() {
        true => Reply::upgrade(),
        false => Reply::html(
            "<p>The certificate is accepted: <code>new WebSocket(location.href.replace('https', 'wss'))</code> opens.",
        ),
    })
    .tls(tls);

    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(listen, server)?;
    eprintln!("listening on wss://{}", listening.addr);
    Ok(reactor.run()?)
}
