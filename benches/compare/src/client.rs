//! The common parts of the clients: the command line, and the measurement.
//!
//!     PROGRAM URL --work WORK [--bytes N] [--seconds N] [--rate N] [--busy] [--deflate] [--ca FILE] [--aws-lc-rs]
//!
//! `URL` is that of the feeder, `src/bin/feeder.rs`. `--work` chooses the
//! path:
//!
//! - `feed`: receives text messages of `--bytes`, as fast as the feeder sends them.
//! - `paced`: receives `--rate` text messages a second, each with the time at which it was sent.
//! - `rounds`: sends a text message, waits for its echo, and sends the next.
//! - `sends`: sends 32 text messages, waits for an answer of two bytes, and sends the next 32.
//! - `connects`: opens a connection, ends it, and opens the next.
//!
//! With `--busy` the client polls without waiting. With `--aws-lc-rs` TLS uses that library in place of ring. A client
//! prints one line of JSON to stdout and exits. It exits with status 2 if its library does not support an option.

mod meter;
mod on_tokio;

use std::{env, io, net::TcpStream, str::FromStr, sync::Arc};

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, pem::PemObject},
};

pub use self::{
    meter::{BEGIN, BURST, END, GO, Meter, Next, SHORTEST_MESSAGE, TIME_DIGITS, monotonic},
    on_tokio::{Stream, TokioClient},
};
use crate::{Failure, refuse, value};

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Feed,
    Paced,
    Rounds,
    Sends,
    Connects,
}

impl FromStr for Work {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "feed" => Ok(Work::Feed),
            "paced" => Ok(Work::Paced),
            "rounds" => Ok(Work::Rounds),
            "sends" => Ok(Work::Sends),
            "connects" => Ok(Work::Connects),
            _ => Err(()),
        }
    }
}

/// The options of the command line.
pub struct ClientOptions {
    /// The URL of the feeder, with path and query.
    pub url: String,
    pub host: String,
    pub port: u16,
    /// Path and query.
    pub path: String,
    pub work: Work,
    pub bytes: usize,
    pub seconds: f64,
    /// Polls without waiting.
    pub busy: bool,
    /// Offers permessage-deflate.
    pub deflate: bool,
    /// The file of the feeder's certificate. `Some` for wss.
    pub ca: Option<String>,
    /// TLS by aws-lc-rs.
    pub aws_lc_rs: bool,
}

impl ClientOptions {
    /// Parses the command line. Exits the process if it is invalid.
    pub fn read() -> Self {
        let mut words = env::args().skip(1);
        let base = words.next().unwrap_or_else(|| refuse("the URL is missing"));
        let (mut work, mut bytes, mut seconds, mut rate) = (Work::Feed, 125, 0.35, 0);
        let (mut busy, mut deflate, mut ca, mut aws_lc_rs) = (false, false, None, false);
        while let Some(name) = words.next() {
            match &*name {
                "--work" => work = value(&name, words.next()),
                "--bytes" => bytes = value(&name, words.next()),
                "--seconds" => seconds = value(&name, words.next()),
                "--rate" => rate = value(&name, words.next()),
                "--busy" => busy = true,
                "--deflate" => deflate = true,
                "--aws-lc-rs" => aws_lc_rs = true,
                "--ca" => ca = Some(value(&name, words.next())),
                _ => refuse(format_args!("{name} is not an option")),
            }
        }
        let Some((scheme, Some((host, port)))) =
            base.split_once("://").map(|(scheme, rest)| (scheme, rest.trim_end_matches('/').rsplit_once(':')))
        else {
            refuse("the URL needs a scheme and a port")
        };
        let (host, port) = (host.to_owned(), value("the port", Some(port.to_owned())));
        let path = format!("/{work:?}?bytes={bytes}&seconds={seconds}&rate={rate}").to_lowercase();
        let url = format!("{scheme}://{host}:{port}{path}");
        Self { url, host, port, path, work, bytes, seconds, busy, deflate, ca, aws_lc_rs }
    }

    /// Exits the process if TLS is requested.
    pub fn refuse_tls(&self, reason: &str) {
        if self.ca.is_some() {
            refuse(reason);
        }
    }

    /// Exits the process if compression is requested.
    pub fn refuse_deflate(&self, reason: &str) {
        if self.deflate {
            refuse(reason);
        }
    }

    /// Exits the process if connections are to be opened without waiting.
    pub fn refuse_busy_connects(&self, reason: &str) {
        if self.busy && self.work == Work::Connects {
            refuse(reason);
        }
    }

    /// Opens a blocking TCP connection to the feeder.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((&*self.host, self.port))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The certificates of the feeder, for a client on rustls, with the cryptography of `provider`.
pub fn tls_config(ca: &str, provider: CryptoProvider) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}
