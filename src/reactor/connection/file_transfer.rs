//! A file on its way to a raw stream, and the end of that.

use std::{
    fs::File,
    io::{self, Read},
};

/// The end of [`Hub::send_file`](crate::Hub::send_file), delivered by `on_event` to the handler of the stream.
#[derive(Debug)]
#[non_exhaustive]
pub struct FileSent {
    /// Bytes queued. They may still wait in the output.
    pub bytes: u64,
    /// Why the file was not sent to its end: it cannot be read, or ([`UnexpectedEof`](io::ErrorKind::UnexpectedEof)) is
    /// shorter than was asked for.
    pub error: Option<io::Error>,
}

/// A file on its way.
#[derive(Debug)]
pub(in crate::reactor) struct FileTransfer {
    file: File,
    /// Bytes left. `None`: up to the end of the file.
    left: Option<u64>,
    sent: u64,
}

/// Bytes read at once.
const SLICE_BYTES: usize = 64 * 1024;

impl FileTransfer {
    pub(in crate::reactor) fn new(file: File, bytes: Option<u64>) -> Self {
        FileTransfer { file, left: bytes, sent: 0 }
    }

    /// Bytes read so far.
    pub(in crate::reactor) fn sent(&self) -> u64 {
        self.sent
    }

    /// The next slice. `None` at the end.
    pub(in crate::reactor) fn next_slice(&mut self) -> io::Result<Option<Vec<u8>>> {
        let most = self.left.map_or(SLICE_BYTES, |left| usize::try_from(left).unwrap_or(usize::MAX).min(SLICE_BYTES));
        if most == 0 {
            return Ok(None);
        }
        let mut slice = vec![0; most];
        let length = self.file.read(&mut slice)?;
        slice.truncate(length);
        self.sent += length as u64;
        match (length, &mut self.left) {
            (0, None) => Ok(None),
            (0, Some(_)) => Err(io::ErrorKind::UnexpectedEof.into()),
            (_, left) => {
                *left = left.map(|left| left - length as u64);
                Ok(Some(slice))
            }
        }
    }
}
