//! Files on raw streams, read a slice at a time while there is room in the output.

use std::{fs::File, io};

use super::{
    connection::{
        encoding::Encoding,
        file_transfer::{FileSent, FileTransfer},
    },
    hub::Hub,
    id::ConnectionId,
};
use crate::send_status::SendStatus;

impl Hub {
    /// Writes a file to a raw stream, from its present position on: `bytes` of it, or all up to its end (EventMachine's
    /// `stream_file_data`).
    ///
    /// The file is read 64 KiB at a time, at most once per turn, and only while less than
    /// [`pause_reading_bytes`](field@crate::OutputLimits::pause_reading_bytes) of output wait. Reading blocks the loop
    /// for as long as the disk takes. [`FileSent`] is delivered by `on_event` at the end, unless the stream ends or
    /// begins to close before. What is written meanwhile comes between two parts of the file: wait for `FileSent`, also
    /// to close the stream.
    ///
    /// ```
    /// use std::{any::Any, fs::File};
    /// use ws_reactor::{FileSent, Stream, StreamHandler};
    ///
    /// struct Download(&'static str);
    ///
    /// impl StreamHandler for Download {
    ///     fn on_connect(&mut self, stream: &mut Stream<'_>) {
    ///         let id = stream.id();
    ///         let sent = File::open(self.0).and_then(|file| stream.hub().send_file(id, file, None));
    ///         if sent.is_err() {
    ///             stream.close();
    ///         }
    ///     }
    ///
    ///     fn on_event(&mut self, stream: &mut Stream<'_>, event: &dyn Any) {
    ///         if event.is::<FileSent>() {
    ///             stream.close();
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) unless the file is a regular one,
    /// [`NotConnected`](io::ErrorKind::NotConnected) unless the connection is an open raw stream, and
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) while another file is sent on it.
    pub fn send_file(&mut self, id: ConnectionId, file: File, bytes: Option<u64>) -> io::Result<()> {
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let is_open = self.is_open(id);
        let outbound = self.outbounds.writable_mut(id).filter(|outbound| is_open && outbound.encoding == Encoding::Raw);
        let outbound = outbound.ok_or(io::ErrorKind::NotConnected)?;
        if outbound.file_mut().is_some() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        outbound.set_file(Some(Box::new(FileTransfer::new(file, bytes))));
        self.continue_file(id);
        Ok(())
    }

    /// Queues the next slice of a file, if there is room.
    pub(in crate::reactor) fn continue_file(&mut self, id: ConnectionId) {
        if !self.has_room(id) {
            return self.await_drain(id);
        }
        let Some(transfer) = self.outbounds.get_mut(id).and_then(|outbound| outbound.file_mut()) else { return };
        let error = match transfer.next_slice() {
            Ok(Some(slice)) => match self.write(id, &slice) {
                SendStatus::Queued | SendStatus::Congested => return self.await_drain(id),
                // The stream is ending, or its output has ended.
                SendStatus::Dropped | SendStatus::Closed | SendStatus::Unsupported => {
                    Some(io::ErrorKind::BrokenPipe.into())
                }
            },
            Ok(None) => None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.await_drain(id),
            Err(error) => Some(error),
        };
        let transfer = self.outbounds.get_mut(id).and_then(|outbound| outbound.set_file(None));
        let bytes = transfer.map_or(0, |transfer| transfer.sent());
        self.notify(id, FileSent { bytes, error });
    }
}
