//! The public side of recording: where to, how much, and what to leave out.

use std::{
    fs::File,
    io::{self, Write},
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
/// the system took, results of outgoing connections and look-ups, [`send`], [`publish`] and [`close`] by other threads,
/// and the randomness of the reactor. Not recorded are the other commands of other threads, which are functions and
/// values, and sockets that are adopted. [`recording`](crate::recording) documents the format.
///
/// In heads of HTTP, and in lines of raw streams that look like them, the values of `Authorization`,
/// `Proxy-Authorization`, `Cookie`, `Set-Cookie`, `X-Api-Key` and `X-Auth-Token`, those of the query parameters
/// `access_token`, `api_key`, `apikey`, `password`, `secret`, `signature` and `token`, and users with their passwords
/// in URLs are replaced by `x`. **Bodies and messages are recorded as they are**, and so are tokens in
/// `Sec-WebSocket-Protocol`, unless [`redact_header`](Self::redact_header) names it.
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
/// [`send`]: crate::Remote::send
/// [`publish`]: crate::Remote::publish
/// [`close`]: crate::Remote::close
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
    /// Creates the file, or empties it. On Unix a new file can be read by its owner alone.
    ///
    /// # Errors
    ///
    /// The file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Recorder {
            path: path.as_ref().to_owned(),
            file: create_private(path.as_ref())?,
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

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl<K: Kernel> Reactor<K> {
    /// Records what arrives at this reactor from now on. Call it before the reactor listens or connects: a replay needs
    /// each connection from its start. A later call replaces the recorder. The file is complete when the reactor is
    /// dropped, which waits for the disk.
    ///
    /// Each read copies its bytes, and each turn costs about a microsecond more.
    ///
    /// # Errors
    ///
    /// The thread that writes the file cannot be started, or the file cannot be written.
    pub fn record(&mut self, recorder: Recorder) -> io::Result<()> {
        let Recorder { path, mut file, max_bytes, queue_bytes, secrets } = recorder;
        let head = head();
        file.write_all(&head)?;
        let left = max_bytes.saturating_sub(head.len() as u64);
        let writer = Writer::start(file, queue_bytes)?;
        self.end_recording();
        let output = Output { writer, began: self.kernel.now(), secrets: Rc::new(secrets), left };
        let recording = Recording::new(Some(output));
        self.hub.pools.masks.log_to(Some(Box::new(recording.random_log())));
        self.hub.recording = Some(Box::new(recording));
        log::debug!(target: "ws_reactor::reactor", "recording to {}", path.display());
        Ok(())
    }

    /// Ends a recording. Its thread writes the rest by itself.
    pub(in crate::reactor) fn end_recording(&mut self) {
        if let Some(mut recording) = self.hub.recording.take() {
            recording.detach();
            self.hub.pools.masks.log_to(None);
        }
    }
}
