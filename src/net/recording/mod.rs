//! Recordings: files of what arrived at a reactor, and the system that repeats it.
//!
//! [`Recorder`](crate::recording::Recorder) writes a file, [`Recording`] reads it, and
//! [`testing::replay`](crate::testing::replay) plays it into handlers.
//!
//! The format is in `format.md`, which the public documentation includes.

mod record;
mod recorded;
mod redactor;
mod writer;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

pub use self::{
    record::{Record, StreamNumber},
    recorded::{Recorded, RecordedListener, RecordedStream},
};
pub(crate) use self::{
    redactor::{Redactor, Secrets},
    writer::Writer,
};

/// The first line of a file.
const MAGIC: &[u8] = b"ws-reactor recording\n";

/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;

/// The records of a file, in memory.
///
/// ```no_run
/// use ws_reactor::recording::{Record, Recording};
///
/// for record in Recording::open("incident.wsr")?.records() {
///     if let Record::Input { stream, bytes } = record {
///         println!("{stream}: {} bytes", bytes.len());
///     }
/// }
/// # Ok::<(), ws_reactor::recording::RecordingError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Recording {
    records: Vec<Record>,
}

impl Recording {
    /// Reads a file. A record that is cut off at the end, as by a process that was killed, is left out.
    ///
    /// # Errors
    ///
    /// [`RecordingError`] if the file cannot be read, is no recording, or has a newer version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let error = |cause| RecordingError { path: path.to_owned(), cause };
        let bytes = fs::read(path).map_err(|source| error(Cause::Io(source)))?;
        Recording::parse(&bytes).map_err(error)
    }

    fn parse(bytes: &[u8]) -> Result<Self, Cause> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Cause::NoRecording)?;
        let (version, mut rest) = rest.split_first_chunk().ok_or(Cause::NoRecording)?;
        let version = u32::from_le_bytes(*version);
        if version > VERSION {
            return Err(Cause::Version(version));
        }
        let mut records = Vec::new();
        while let Some((record, after)) = Record::split_from(rest)? {
            records.extend(record);
            rest = after;
        }
        Ok(Recording { records })
    }

    /// The records, in the order of the file.
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}

/// The bytes before the records.
pub(crate) fn head() -> Vec<u8> {
    [MAGIC, &VERSION.to_le_bytes()].concat()
}

/// A recording that cannot be read.
#[derive(Debug)]
pub struct RecordingError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Io(io::Error),
    NoRecording,
    Version(u32),
    /// A record of this kind has contents that it cannot have.
    Malformed(u8),
}

impl fmt::Display for RecordingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::Io(_) => write!(formatter, "{path} cannot be read"),
            Cause::NoRecording => write!(formatter, "{path} is no recording"),
            Cause::Version(version) => write!(formatter, "{path} has version {version}; the newest known is {VERSION}"),
            Cause::Malformed(kind) => write!(formatter, "{path} has a malformed record of kind {kind}"),
        }
    }
}

impl std::error::Error for RecordingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io(source) => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_no_recording_or_newer_or_malformed_is_refused() {
        let error = |bytes: &[u8]| {
            let error = RecordingError { path: "f".into(), cause: Recording::parse(bytes).unwrap_err() };
            error.to_string()
        };
        assert_eq!(error(b"hello"), "f is no recording");
        assert_eq!(error(MAGIC), "f is no recording");
        let newer = [MAGIC, &2_u32.to_le_bytes()].concat();
        assert_eq!(error(&newer), "f has version 2; the newest known is 1");
        let malformed = [head(), vec![1, 1, 0, 0, 0, 9]].concat();
        assert_eq!(error(&malformed), "f has a malformed record of kind 1");
        let missing = Recording::open("/nonexistent/recording").unwrap_err();
        assert!(missing.to_string().ends_with("cannot be read") && std::error::Error::source(&missing).is_some());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(0_u8..20, 0..200)) {
            let _ = Recording::parse(&[head(), bytes].concat());
        }
    }

    #[test]
    fn unknown_records_are_skipped_and_one_that_is_cut_off_ends_the_recording() {
        let mut bytes = head();
        bytes.extend([200, 3, 0, 0, 0, 1, 2, 3]);
        Record::Other { name: "known".into() }.encode(&mut bytes);
        let whole = bytes.len();
        Record::Other { name: "cut off".into() }.encode(&mut bytes);
        for length in whole..bytes.len() {
            let recording = Recording::parse(&bytes[..length]).unwrap();
            assert_eq!(recording.records(), [Record::Other { name: "known".into() }]);
        }
    }
}
