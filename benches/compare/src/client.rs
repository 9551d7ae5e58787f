//! The common parts of the clients: the command line, and the measurement.
//!
//!     PROGRAM URL --work WORK [--bytes N] [--seconds N] [--rate N] [--busy] [--deflate] [--ca FILE]
//!
//! `URL` is that of the feeder, `src/bin/feeder.rs`. `--work` chooses the
//! path:
//!
//! - `feed`: receives text messages of `--bytes`, as fast as the feeder sends them.
//! - `paced`: receives `--rate` text messages a second, each with the time at which it was sent.
//! - `rounds`: sends a text message, waits for its echo, and sends the next.
//! - `connects`: opens a connection, ends it, and opens the next.
//!
//! With `--busy` the client polls without waiting. A client prints one line of JSON to stdout and exits. It exits with
//! status 2 if its library does not support an option.

use std::{env, str::FromStr, time::Duration};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use crate::{Failure, refuse, value};

/// Messages that are shorter than this are marks of the feeder.
pub const SHORTEST_MESSAGE: usize = 32;

/// Digits of the time at the beginning of a paced message: nanoseconds of the monotonic clock, in decimal.
pub const TIME_DIGITS: usize = 20;

/// Begins the measurement. The messages before it warm up.
pub const BEGIN: &[u8] = b"begin";

/// Ends the measurement; followed by the number of messages since [`BEGIN`].
pub const END: &[u8] = b"end ";

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Feed,
    Paced,
    Rounds,
    Connects,
}

impl FromStr for Work {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "feed" => Ok(Work::Feed),
            "paced" => Ok(Work::Paced),
            "rounds" => Ok(Work::Rounds),
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
}

impl ClientOptions {
    /// Parses the command line. Exits the process if it is invalid.
    pub fn read() -> Self {
        let mut words = env::args().skip(1);
        let base = words.next().unwrap_or_else(|| refuse("the URL is missing"));
        let (mut work, mut bytes, mut seconds, mut rate) = (Work::Feed, 125, 0.35, 0);
        let (mut busy, mut deflate, mut ca) = (false, false, None);
        while let Some(name) = words.next() {
            match &*name {
                "--work" => work = value(&name, words.next()),
                "--bytes" => bytes = value(&name, words.next()),
                "--seconds" => seconds = value(&name, words.next()),
                "--rate" => rate = value(&name, words.next()),
                "--busy" => busy = true,
                "--deflate" => deflate = true,
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
        Self { url, host, port, path, work, bytes, seconds, busy, deflate, ca }
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
}

/// What the client does after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Receives the next message.
    Receive,
    /// Sends the [request](Meter::request), and receives its echo.
    Send,
    /// Ends.
    Stop,
}

/// Measures a client: CPU time of the process per message, and latencies.
pub struct Meter {
    work: Work,
    bytes: usize,
    /// Messages, round trips or connections since the beginning of the measurement.
    count: u64,
    cpu: Duration,
    /// The monotonic clock at the last request, and at the end of the warm-up and of the measurement of round trips.
    sent: u64,
    warm: u64,
    end: u64,
    request: String,
    latencies: Histogram<u64>,
    measuring: bool,
}

impl Meter {
    pub fn new(options: &ClientOptions) -> Self {
        let (now, whole) = (monotonic(), (options.seconds * 1e9) as u64);
        Self {
            work: options.work,
            bytes: options.bytes,
            count: 0,
            cpu: Duration::ZERO,
            sent: 0,
            warm: now + whole / 5,
            end: now + whole / 5 + whole,
            request: "r".repeat(options.bytes),
            latencies: Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are valid"),
            measuring: false,
        }
    }

    /// Whether the client sends the first message.
    pub fn sends_first(&self) -> bool {
        self.work == Work::Rounds
    }

    /// The next message to send. The time of the call is the beginning of the round trip.
    pub fn request(&mut self) -> &str {
        self.sent = monotonic();
        &self.request
    }

    /// Takes a received message.
    #[inline]
    pub fn message(&mut self, payload: &[u8]) -> Next {
        if payload.len() < SHORTEST_MESSAGE {
            return self.mark(payload);
        }
        assert_eq!(payload.len(), self.bytes, "a message has another length");
        self.count += 1;
        match self.work {
            Work::Feed => Next::Receive,
            Work::Rounds => self.echoed(payload),
            _ => self.paced(payload),
        }
    }

    fn mark(&mut self, payload: &[u8]) -> Next {
        if payload == BEGIN {
            self.begin();
            return Next::Receive;
        }
        let sent = payload.strip_prefix(END).and_then(|count| str::from_utf8(count).ok()?.parse().ok());
        assert_eq!(sent, Some(self.count), "messages are missing");
        self.finish()
    }

    fn paced(&mut self, payload: &[u8]) -> Next {
        let sent = payload[..TIME_DIGITS].iter().fold(0, |time, digit| time * 10 + u64::from(digit - b'0'));
        if self.measuring {
            self.latencies.saturating_record(monotonic() - sent);
        }
        Next::Receive
    }

    fn echoed(&mut self, payload: &[u8]) -> Next {
        assert!(payload == self.request.as_bytes(), "the echo differs");
        let now = monotonic();
        if self.measuring {
            self.latencies.saturating_record(now - self.sent);
        }
        self.advance(now);
        if now >= self.end { self.finish() } else { Next::Send }
    }

    /// Counts a connection that was opened and ended. Returns whether to open another.
    pub fn connected(&mut self) -> bool {
        self.count += 1;
        let now = monotonic();
        self.advance(now);
        now < self.end || self.finish() != Next::Stop
    }

    fn advance(&mut self, now: u64) {
        if !self.measuring && now >= self.warm {
            self.begin();
        }
    }

    fn begin(&mut self) {
        (self.count, self.measuring, self.cpu) = (0, true, cpu());
    }

    fn finish(&mut self) -> Next {
        self.cpu = cpu() - self.cpu;
        Next::Stop
    }

    /// Prints the result.
    pub fn report(&self) {
        let micros = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            r#"{{"cpu_ns": {}, "count": {}, "p50_us": {}, "p99_us": {}, "p999_us": {}}}"#,
            self.cpu.as_nanos() as f64 / self.count.max(1) as f64,
            self.count,
            micros(0.5),
            micros(0.99),
            micros(0.999),
        );
    }
}

/// Nanoseconds of the clock that all processes share.
pub fn monotonic() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

fn cpu() -> Duration {
    Duration::from_nanos(nanoseconds(ClockId::ProcessCPUTime))
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The certificates of the feeder, for a client on rustls.
pub fn tls_config(ca: &str) -> Result<tokio_rustls::rustls::ClientConfig, Failure> {
    use tokio_rustls::rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem::PemObject},
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let builder = ClientConfig::builder_with_provider(std::sync::Arc::new(ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}
