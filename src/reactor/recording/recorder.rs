//! The public side of recording: where to, how much, and what to leave out.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{Output, Recording};
use crate::{
    net::{
        Kernel,
        recording::{Secrets, Writer, head},
    },
    reactor::Reactor,
};

/// Headers whose values are credentials.
const SECRET_HEADERS: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token"];

/// Query parameters whose values are credentials.
const SECRET_PARAMETERS: [&str; 7] = ["access_token", "api_key", "apikey", "password", "secret", "signature", "token"];

/// Writes what arrives at a reactor to a file, for [`testing::replay`](crate::testing::replay).
///
/// Recorded are the plaintext of all connections with its time, accepted connections, ends and errors, how much output
/// the system took, results of outgoing connections and look-ups, commands of other threads that are data, and the
/// randomness of the reactor. Not recorded are functions and values of the application ([`Remote::run`],
/// [`Remote::notify`]), and sockets that are adopted. [`net::recording`](crate::recording) has the format.
///
/// In heads of HTTP, and in lines of raw streams that look like them, the values of `Authorization`,
/// `Proxy-Authorization`, `Cookie`, `Set-Cookie`, `X-Api-Key` and `X-Auth-Token` and of the query parameters
/// `access_token`, `api_key`, `apikey`, `password`, `secret`, `signature` and `token` are replaced by `x`. **The
/// messages themselves are recorded as they are.**
///
/// The file is written by a thread. If the disk is slower than the reactor, or the file has its largest length, the
/// recording ends with a warning in the log, and the reactor goes on.
///
/// ```no_run
/// use ws_reactor::{Reactor, Server, on_message, recording::Recorder};
///
/// let mut reactor = Reactor::new()?;
/// // Before anything else, so that everything is in the file.
/// reactor.record(Recorder::create("incident.wsr")?)?;
/// reactor.listen("127.0.0.1:8080", Server::new(|_| on_message(|ws, message| { ws.send(message); })))?;
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Remote::run`]: crate::Remote::run
/// [`Remote::notify`]: crate::Remote::notify
#[derive(Debug)]
#[must_use = "a recorder does nothing until `Reactor::record`"]
pub struct Recorder {
    path: PathBuf,
    file: File,
    max_bytes: u64,
    queue_bytes: usize,
    secrets: Secrets,
}

impl Recorder {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    ///
    /// The file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Recorder {
            path: path.as_ref().to_owned(),
            file: File::create(path)?,
            max_bytes: 1 << 30,
            queue_bytes: 64 << 20,
            secrets: Secrets { headers: names(&SECRET_HEADERS), parameters: names(&SECRET_PARAMETERS) },
        })
    }

    /// The recording ends when the file has this length. Default 1 GiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Bytes that may wait for the disk. Default 64 MiB. The recording ends when more wait.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Redacts the values of this header as well.
    pub fn redact_header(mut self, name: &str) -> Self {
        self.secrets.headers.push(name.to_ascii_lowercase());
        self
    }

    /// Redacts the values of this parameter of queries as well.
    pub fn redact_parameter(mut self, name: &str) -> Self {
        self.secrets.parameters.push(name.to_ascii_lowercase());
        self
    }
}

impl<K: Kernel> Reactor<K> {
    /// Records what arrives at this reactor from now on. Call it before the reactor listens or connects: a replay needs
    /// each connection from its start. A later call replaces the recorder. The file is complete when the reactor is
    /// dropped.
    ///
    /// Each read copies its bytes, and each turn costs about a microsecond more.
    ///
    /// # Errors
    ///
    /// The thread that writes the file cannot be started, or the file cannot be written.
    pub fn record(&mut self, recorder: Recorder) -> io::Result<()> {
        let Recorder { path, file, max_bytes, queue_bytes, secrets } = recorder;
        let writer = Writer::start(file, queue_bytes)?;
        let head = head();
        let left = max_bytes.saturating_sub(head.len() as u64);
        let _ = writer.write_last(head);
        let output = Output { writer, began: self.kernel.now(), secrets: Rc::new(secrets), left };
        let recording = Recording::new(Some(output));
        self.hub.pools.masks.log_to(recording.random_log());
        self.hub.recording = Some(Box::new(recording));
        log::debug!(target: "ws_reactor::reactor", "recording to {}", path.display());
        Ok(())
    }
}
