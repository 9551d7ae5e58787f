//! Our end of a TLS connection, between the kernel and whoever reads.
//!
//! What comes is read into the reactor's buffer for ciphertext, given to rustls, and what it decrypts is copied out at once. What is sent is encrypted in
//! records as full as may be and written in one go; of what the kernel does not take, rustls holds at most 64 KiB, and nothing is encrypted
//! before that has left. So back-pressure stays where it is seen: in the queue above.

use std::{
    io::{self, IoSlice, Read, Write},
    sync::Arc,
};

use rustls::{ClientConnection, Connection, HandshakeKind, ServerConfig, ServerConnection, pki_types::ServerName};

use super::TlsConnector;
use crate::{
    net::{
        kernel::Kernel,
        transport::{Arrived, Ciphertext, Transport, Written},
    },
    tls_info::TlsInfo,
};

/// How much ciphertext may wait in rustls, in bytes.
const HELD_BYTES: usize = 64 * 1024;

/// TLS on what carries its records: a stream, or, beyond a proxy that is spoken to by TLS itself, another session.
#[derive(Debug)]
pub(crate) struct Session<S> {
    carrier: Transport<S>,
    tls: Connection,
    /// Ciphertext that was read and not given to rustls, because what it had decrypted found no room.
    unfed: Vec<u8>,
    /// The handshake is done, and that was told.
    told: bool,
    /// The peer has said by a close_notify that it says no more.
    ended: bool,
    /// So have we; what still comes is nobody's.
    finished: bool,
    /// What went wrong behind what was still to be delivered.
    failure: Option<io::Error>,
}

impl<S> Session<S> {
    /// The server's end.
    pub(crate) fn new(carrier: Transport<S>, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        Session::of(carrier, tls.into())
    }

    /// The end of a client that looks for a server of that name, which may be an address.
    pub(crate) fn client(carrier: Transport<S>, config: &TlsConnector, name: &str) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?}: {error}")))?;
        let tls = ClientConnection::new(Arc::clone(&config.0), name).map_err(io::Error::other)?;
        Session::of(carrier, tls.into())
    }

    fn of(carrier: Transport<S>, mut tls: Connection) -> io::Result<Self> {
        tls.set_buffer_limit(Some(HELD_BYTES));
        Ok(Session { carrier, tls, unfed: Vec::new(), told: false, ended: false, finished: false, failure: None })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// What the handshake has shown, once, when it is done.
    pub(crate) fn tls_info(&mut self) -> Option<TlsInfo> {
        if self.told || self.tls.is_handshaking() {
            return None;
        }
        self.told = true;
        let named = |name: Option<String>| name.unwrap_or_default();
        Some(TlsInfo {
            protocol: named(self.tls.protocol_version().map(|version| format!("{version:?}"))),
            cipher_suite: named(self.tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()))),
            server_name: match &self.tls {
                Connection::Server(tls) => tls.server_name().map(|name| name.trim_end_matches('.').to_owned()),
                Connection::Client(_) => None,
            },
            alpn: self.tls.alpn_protocol().map(<[u8]>::to_vec),
            client_certificates: self
                .tls
                .peer_certificates()
                .unwrap_or_default()
                .iter()
                .map(|der| der.to_vec())
                .collect(),
            resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// Reads once, and decrypts what has come.
    pub(crate) fn read<K: Kernel<Stream = S>>(
        &mut self,
        kernel: &mut K,
        buffer: &mut [u8],
        ciphertext: &mut Ciphertext,
    ) -> io::Result<Arrived> {
        let mut bytes = ciphertext.take();
        let most = Ciphertext::fitting(buffer.len()).min(bytes.len());
        let arrived = self.read_by(kernel, buffer, &mut bytes[..most], ciphertext.beneath());
        ciphertext.give(bytes);
        arrived
    }

    /// Reads by `ciphertext`; what carries the records may need a buffer of its own.
    fn read_by<K: Kernel<Stream = S>>(
        &mut self,
        kernel: &mut K,
        buffer: &mut [u8],
        ciphertext: &mut [u8],
        beneath: &mut Ciphertext,
    ) -> io::Result<Arrived> {
        if self.finished {
            let arrived = self.carrier.read(kernel, ciphertext, beneath)?;
            return Ok(Arrived { length: 0, ..arrived });
        }
        // What was left from before comes first; whether the kernel has more is for the next read to find out.
        let mut arrived = Arrived { length: self.decrypted(buffer)?, taken: 0, more: true };
        if arrived.length > 0 {
            return Ok(arrived);
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.ended {
            return Ok(Arrived::END);
        }
        let waiting = self.tls.wants_write();
        let unfed = std::mem::take(&mut self.unfed);
        let fed = if unfed.is_empty() {
            let carried = self.carrier.read(kernel, ciphertext, beneath)?;
            if carried == Arrived::END {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (arrived.taken, arrived.more) = (carried.taken, carried.more);
            self.feed(&ciphertext[..carried.length], buffer, &mut arrived.length)
        } else {
            self.feed(&unfed, buffer, &mut arrived.length)
        };
        // What is to be said of the handshake, or of its failure, is said at once; unless the kernel took no more before, and will tell.
        let flushed = if waiting { Ok(()) } else { self.flush(kernel).map(|_| ()) };
        match fed.and(flushed) {
            Err(failure) if arrived.length == 0 => return Err(failure),
            failed => self.failure = failed.err(),
        }
        // What found no room, an end and a failure are told by the next read.
        arrived.more |=
            arrived.length == buffer.len() || !self.unfed.is_empty() || self.ended || self.failure.is_some();
        Ok(arrived)
    }

    /// Gives ciphertext to rustls, and fills `buffer` from `length` on.
    fn feed(&mut self, mut ciphertext: &[u8], buffer: &mut [u8], length: &mut usize) -> io::Result<()> {
        while !ciphertext.is_empty() && !self.ended {
            if *length == buffer.len() {
                self.unfed = ciphertext.to_vec();
                break;
            }
            self.tls.read_tls(&mut ciphertext)?;
            let processed = self.tls.process_new_packets().map_err(refused);
            // What came before a bad record is good.
            *length += self.decrypted(&mut buffer[*length..])?;
            processed?;
        }
        Ok(())
    }

    /// Copies out what is decrypted.
    fn decrypted(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut length = 0;
        while length < buffer.len() {
            match self.tls.reader().read(&mut buffer[length..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(length)
    }

    /// Encrypts and writes, unless ciphertext still waits. Nothing is taken before the handshake is done: rustls would hold it, where nobody sees it.
    pub(crate) fn write<K: Kernel<Stream = S>>(
        &mut self,
        kernel: &mut K,
        slices: &[IoSlice<'_>],
    ) -> io::Result<Written> {
        let before = self.flush(kernel)?;
        if before.blocked || self.tls.is_handshaking() {
            return Ok(Written { blocked: true, ..before });
        }
        let length = self.tls.writer().write_vectored(slices)?;
        let after = self.flush(kernel)?;
        let (blocked, moved) = (after.blocked || length == 0, before.moved + after.moved);
        Ok(Written { length, blocked, moved })
    }

    /// Writes the ciphertext that waits.
    pub(crate) fn flush<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<Written> {
        let mut flushed = Written { length: 0, blocked: false, moved: 0 };
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Wire { kernel, carrier: &mut self.carrier }) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => flushed.moved += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    flushed.blocked = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let Written { blocked, moved, .. } = self.carrier.flush(kernel)?;
        flushed.blocked |= blocked;
        flushed.moved += moved;
        Ok(flushed)
    }

    /// Whether ciphertext waits.
    pub(crate) fn holds_output(&self) -> bool {
        self.tls.wants_write() || self.carrier.holds_output()
    }

    /// Says by a close_notify that we say no more; `false` if the kernel does not take it yet.
    pub(crate) fn finish<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<bool> {
        // Said once, however often it is asked for.
        self.tls.send_close_notify();
        self.finished = true;
        Ok(!self.flush(kernel)?.blocked && self.carrier.finish(kernel)?)
    }

    pub(crate) fn shutdown_write<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<()> {
        self.carrier.shutdown_write(kernel)
    }
}

fn refused(error: rustls::Error) -> io::Error {
    let plain = matches!(error, rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType));
    match plain {
        true => io::Error::new(io::ErrorKind::InvalidData, "the peer speaks something else where TLS is spoken"),
        false => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

/// What carries the records, as rustls writes to it.
struct Wire<'a, K: Kernel> {
    kernel: &'a mut K,
    carrier: &'a mut Transport<K::Stream>,
}

impl<K: Kernel> Write for Wire<'_, K> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.carrier.write(self.kernel, slices)?.length {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            length => Ok(length),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
