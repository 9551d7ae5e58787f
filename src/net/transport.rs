//! The bytes of a connection, plain or inside TLS, over any kernel.

use std::io::{self, IoSlice};

#[cfg(feature = "tls")]
use super::tls::Session;
use super::{
    kernel::Kernel,
    tls::{TlsAcceptor, TlsConnector},
};
use crate::tls_info::TlsInfo;

/// A stream, and the layer between the stream and its reader.
#[derive(Debug)]
pub(crate) enum Transport<S> {
    /// Not connected yet.
    Dialing,
    /// Plain bytes.
    Plain(S),
    /// Bytes inside TLS.
    #[cfg(feature = "tls")]
    Tls(Box<Session<S>>),
}

/// Result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Bytes for the reader. 0 may mean that only protocol bytes of TLS arrived.
    pub(crate) length: usize,
    /// Bytes taken from the network.
    pub(crate) taken: usize,
    /// More bytes may be available, and no event reports them.
    pub(crate) more: bool,
}

impl Arrived {
    /// The peer ended its side of the stream.
    pub(crate) const END: Arrived = Arrived { length: 0, taken: 0, more: false };
}

/// Result of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes that were accepted.
    pub(crate) length: usize,
    /// No more room; an event reports when there is.
    pub(crate) blocked: bool,
    /// Bytes written to the network, those of TLS included.
    pub(crate) moved: usize,
}

impl<S> Transport<S> {
    /// Reads once. TLS uses the buffer `ciphertext`.
    pub(crate) fn read<K: Kernel<Stream = S>>(
        &mut self,
        kernel: &mut K,
        buffer: &mut [u8],
        #[cfg_attr(not(feature = "tls"), allow(unused_variables))] ciphertext: &mut Ciphertext,
    ) -> io::Result<Arrived> {
        match self {
            Transport::Dialing => Err(io::ErrorKind::WouldBlock.into()),
            Transport::Plain(stream) => {
                let length = kernel.read(stream, buffer)?;
                let more = length > 0 && (!K::SHORT_READ_DRAINS || length == buffer.len());
                Ok(Arrived { length, taken: length, more })
            }
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.read(kernel, buffer, ciphertext),
        }
    }

    /// Writes as many bytes as fit.
    pub(crate) fn write<K: Kernel<Stream = S>>(
        &mut self,
        kernel: &mut K,
        slices: &[IoSlice<'_>],
    ) -> io::Result<Written> {
        match self {
            Transport::Dialing => Err(io::ErrorKind::WouldBlock.into()),
            Transport::Plain(stream) => {
                let offered: usize = slices.iter().map(|slice| slice.len()).sum();
                let length = kernel.write(stream, slices)?;
                Ok(Written { length, blocked: length < offered, moved: length })
            }
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.write(kernel, slices),
        }
    }
}

impl<S> Transport<S> {
    /// The transport for an accepted stream.
    pub(crate) fn accepted(stream: S, tls: Option<&TlsAcceptor>) -> io::Result<Self> {
        match tls {
            None => Ok(Transport::Plain(stream)),
            #[cfg(feature = "tls")]
            Some(tls) => Ok(Transport::Tls(Box::new(Session::new(Transport::Plain(stream), tls.current())?))),
            #[cfg(not(feature = "tls"))]
            Some(never) => match *never {},
        }
    }

    /// Without the feature there is no TLS to start.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn start_tls(&mut self, tls: &TlsConnector, _: &str) -> io::Result<()> {
        match *tls {}
    }

    /// Starts TLS as the client of the server `name`. With an `https` proxy this is TLS inside TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn start_tls(&mut self, tls: &TlsConnector, name: &str) -> io::Result<()> {
        if self.is_handshaking() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a TLS handshake is already in progress"));
        }
        match std::mem::replace(self, Transport::Dialing) {
            Transport::Dialing => Err(io::ErrorKind::NotConnected.into()),
            carrier => {
                *self = Transport::Tls(Box::new(Session::client(carrier, tls, name)?));
                Ok(())
            }
        }
    }

    /// Starts TLS as the server.
    #[cfg_attr(not(feature = "tls"), allow(clippy::unused_self))]
    pub(crate) fn start_tls_as_server(&mut self, tls: &TlsAcceptor) -> io::Result<()> {
        match std::mem::replace(self, Transport::Dialing) {
            Transport::Plain(stream) => *self = Transport::accepted(stream, Some(tls))?,
            other => {
                *self = other;
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "TLS was started before"));
            }
        }
        Ok(())
    }

    /// Takes the first bytes of a TLS handshake, which were read before TLS was started as the server. Returns `false`
    /// if there is no TLS, or if bytes were received within it.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables))]
    pub(crate) fn take_first_bytes(&mut self, bytes: &[u8]) -> bool {
        match self {
            Transport::Dialing | Transport::Plain(_) => false,
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.take_first_bytes(bytes),
        }
    }

    /// Returns `true` if a TLS handshake is unfinished. The handshake is the expensive part of TLS.
    pub(crate) fn is_handshaking(&self) -> bool {
        match self {
            Transport::Dialing | Transport::Plain(_) => false,
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.is_handshaking(),
        }
    }

    /// Result of the TLS handshake, once, when the handshake is finished.
    pub(crate) fn tls_info(&mut self) -> Option<TlsInfo> {
        match self {
            Transport::Dialing | Transport::Plain(_) => None,
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.tls_info(),
        }
    }

    /// Returns `true` if accepted bytes wait to be written.
    pub(crate) fn holds_output(&self) -> bool {
        match self {
            Transport::Dialing | Transport::Plain(_) => false,
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.holds_output(),
        }
    }

    /// The stream below. `None` if it is not connected yet.
    pub(crate) fn stream_mut(&mut self) -> Option<&mut S> {
        match self {
            Transport::Dialing => None,
            Transport::Plain(stream) => Some(stream),
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.stream_mut(),
        }
    }

    /// Drops accepted bytes that wait to be written, and returns their number as ciphertext.
    pub(crate) fn drop_held_output(&mut self) -> usize {
        match self {
            Transport::Dialing | Transport::Plain(_) => 0,
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.drop_held_output(),
        }
    }

    /// Writes the waiting bytes.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables))]
    pub(crate) fn flush<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<Written> {
        match self {
            Transport::Dialing | Transport::Plain(_) => Ok(Written { length: 0, blocked: false, moved: 0 }),
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.flush(kernel),
        }
    }

    /// Announces the end of this side, by a close_notify of TLS. `false` if there is no room yet.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables))]
    pub(crate) fn finish<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<bool> {
        match self {
            Transport::Dialing | Transport::Plain(_) => Ok(true),
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.finish(kernel),
        }
    }

    /// Announces the end of this side, as [`finish`](Self::finish), while input goes on.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables))]
    pub(crate) fn end_output<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<bool> {
        match self {
            Transport::Dialing | Transport::Plain(_) => Ok(true),
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.end_output(kernel),
        }
    }

    /// Ends this side of the stream.
    pub(crate) fn shutdown_write<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<()> {
        match self {
            Transport::Dialing => Ok(()),
            Transport::Plain(stream) => kernel.shutdown_write(stream),
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.shutdown_write(kernel),
        }
    }
}

/// Buffer for received ciphertext: one for all connections, allocated at the first use.
#[derive(Debug)]
pub(crate) struct Ciphertext {
    #[cfg(feature = "tls")]
    bytes: Vec<u8>,
    #[cfg(feature = "tls")]
    capacity: usize,
    /// Buffer for TLS inside TLS.
    #[cfg(feature = "tls")]
    beneath: Option<Box<Ciphertext>>,
}

impl Ciphertext {
    /// A buffer for readers with buffers of at most `buffer_bytes`.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables))]
    pub(crate) fn beside(buffer_bytes: usize) -> Self {
        Ciphertext {
            #[cfg(feature = "tls")]
            bytes: Vec::new(),
            #[cfg(feature = "tls")]
            capacity: Ciphertext::fitting(buffer_bytes),
            #[cfg(feature = "tls")]
            beneath: None,
        }
    }
}

#[cfg(feature = "tls")]
impl Ciphertext {
    /// Ciphertext read for a plaintext buffer of this size. The rest of an earlier record comes out together with new
    /// bytes, so the result is smaller, unless the buffer is tiny.
    pub(crate) fn fitting(buffer_bytes: usize) -> usize {
        buffer_bytes.saturating_sub(RECORD_BYTES).max(buffer_bytes.div_ceil(2))
    }

    /// Takes the buffer, which must be given back.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        match std::mem::take(&mut self.bytes) {
            // Zeroed memory of the system: pages are allocated on first use.
            none if none.is_empty() => vec![0; self.capacity],
            bytes => bytes,
        }
    }

    pub(crate) fn give(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// The buffer for the carrier below.
    pub(crate) fn beneath(&mut self) -> &mut Ciphertext {
        self.beneath.get_or_insert_with(|| Box::new(Ciphertext::beside(self.capacity)))
    }
}

/// Longest TLS record, with its header and the overhead of encryption (RFC 8446 §5.2).
#[cfg(feature = "tls")]
const RECORD_BYTES: usize = 5 + 16 * 1024 + 256;
