//! A connection's bytes, plain or encrypted, whichever kernel carries them.

use std::io::{self, IoSlice};

use super::kernel::Kernel;
#[cfg(feature = "tls")]
use super::tls::Session;
use super::tls::{TlsAcceptor, TlsConnector};
use crate::tls_info::TlsInfo;

/// A stream and what lies between it and its reader.
#[derive(Debug)]
pub(crate) enum Transport<S> {
    /// Nothing yet: the connection is being made.
    Dialing,
    /// The bytes as they are.
    Plain(S),
    /// The bytes inside TLS.
    #[cfg(feature = "tls")]
    Tls(Box<Session<S>>),
}

/// What a read has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Bytes for the reader. None may mean that what came was not for it.
    pub(crate) length: usize,
    /// Bytes from the network.
    pub(crate) taken: usize,
    /// There may be more, and no event will tell.
    pub(crate) more: bool,
}

impl Arrived {
    /// The peer has ended its side.
    pub(crate) const END: Arrived = Arrived { length: 0, taken: 0, more: false };
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes that need not be offered again.
    pub(crate) length: usize,
    /// There is no more room; an event will tell.
    pub(crate) blocked: bool,
    /// Bytes that have left, those of TLS included.
    pub(crate) moved: usize,
}

impl<S> Transport<S> {
    /// Reads once. `ciphertext` is a buffer for those that need one.
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

    /// Writes what there is room for.
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
    /// What lies on an accepted stream.
    pub(crate) fn accepted(stream: S, tls: Option<&TlsAcceptor>) -> io::Result<Self> {
        match tls {
            None => Ok(Transport::Plain(stream)),
            #[cfg(feature = "tls")]
            Some(tls) => Ok(Transport::Tls(Box::new(Session::new(Transport::Plain(stream), tls.current())?))),
            #[cfg(not(feature = "tls"))]
            Some(never) => match *never {},
        }
    }

    /// Without the feature there is none to be laid.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn start_tls(&mut self, tls: &TlsConnector, _: &str) -> io::Result<()> {
        match *tls {}
    }

    /// Lays TLS on it, as the client of a server of that name. There may be TLS already, with a proxy on the way.
    #[cfg(feature = "tls")]
    pub(crate) fn start_tls(&mut self, tls: &TlsConnector, name: &str) -> io::Result<()> {
        if self.is_handshaking() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "TLS is being laid already"));
        }
        match std::mem::replace(self, Transport::Dialing) {
            Transport::Dialing => Err(io::ErrorKind::NotConnected.into()),
            carrier => {
                *self = Transport::Tls(Box::new(Session::client(carrier, tls, name)?));
                Ok(())
            }
        }
    }

    /// Whether the handshake of the transport itself is still to be done; that is the dear part.
    pub(crate) fn is_handshaking(&self) -> bool {
        match self {
            Transport::Dialing | Transport::Plain(_) => false,
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.is_handshaking(),
        }
    }

    /// What that handshake has shown; once, when it is done.
    pub(crate) fn tls_info(&mut self) -> Option<TlsInfo> {
        match self {
            Transport::Dialing | Transport::Plain(_) => None,
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.tls_info(),
        }
    }

    /// Whether something waits to be written that was taken already.
    pub(crate) fn holds_output(&self) -> bool {
        match self {
            Transport::Dialing | Transport::Plain(_) => false,
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.holds_output(),
        }
    }

    /// Writes that.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables))]
    pub(crate) fn flush<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<Written> {
        match self {
            Transport::Dialing | Transport::Plain(_) => Ok(Written { length: 0, blocked: false, moved: 0 }),
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.flush(kernel),
        }
    }

    /// Says that our side is at its end, where the transport has words for it; `false` if there is no room for them yet.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables))]
    pub(crate) fn finish<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<bool> {
        match self {
            Transport::Dialing | Transport::Plain(_) => Ok(true),
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.finish(kernel),
        }
    }

    /// Ends our side of the stream.
    pub(crate) fn shutdown_write<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<()> {
        match self {
            Transport::Dialing => Ok(()),
            Transport::Plain(stream) => kernel.shutdown_write(stream),
            #[cfg(feature = "tls")]
            Transport::Tls(session) => session.shutdown_write(kernel),
        }
    }
}

/// The buffer for what comes encrypted; one for all connections, and none before the first.
#[derive(Debug)]
pub(crate) struct Ciphertext {
    #[cfg(feature = "tls")]
    bytes: Vec<u8>,
    #[cfg(feature = "tls")]
    capacity: usize,
    /// For TLS within TLS.
    #[cfg(feature = "tls")]
    beneath: Option<Box<Ciphertext>>,
}

impl Ciphertext {
    /// For readers whose own buffers have at most that size.
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
    /// How much is read for a buffer of that size. What was left of a record before comes out with what follows, so it is less, unless the buffer is tiny.
    pub(crate) fn fitting(buffer_bytes: usize) -> usize {
        buffer_bytes.saturating_sub(RECORD_BYTES).max(buffer_bytes.div_ceil(2))
    }

    /// Takes the buffer, which is to be given back.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        match std::mem::take(&mut self.bytes) {
            // Zeros of the system's, of which no page is there before it is needed.
            none if none.is_empty() => vec![0; self.capacity],
            bytes => bytes,
        }
    }

    pub(crate) fn give(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// The buffer for what carries this.
    pub(crate) fn beneath(&mut self) -> &mut Ciphertext {
        self.beneath.get_or_insert_with(|| Box::new(Ciphertext::beside(self.capacity)))
    }
}

/// The longest record, with its header and what encryption adds (RFC 8446 §5.2).
#[cfg(feature = "tls")]
const RECORD_BYTES: usize = 5 + 16 * 1024 + 256;
