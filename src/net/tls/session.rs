//! This end of a TLS connection, between the kernel and the reader.
//!
//! Ciphertext is read into the reactor's buffer, given to rustls, and the plaintext is copied out at once. Output is
//! encrypted into records as full as possible and written in one call. rustls holds at most 64 KiB of ciphertext that
//! the kernel did not take, and nothing is encrypted before those bytes have left. So back-pressure remains visible in
//! the queue above.

use std::{
    io::{self, IoSlice, Read, Write},
    sync::Arc,
};

use rustls::{ClientConnection, Connection, HandshakeKind, ServerConfig, ServerConnection, pki_types::ServerName};

use crate::{
    net::{
        kernel::Kernel,
        tls::{
            TlsConnector,
            first_bytes::{FirstBytes, NotTls, PLAIN_ANSWER, Peer, Start},
        },
        transport::{Arrived, Ciphertext, Transport, Written},
    },
    tls_info::TlsInfo,
};

/// Ciphertext that may wait in rustls, in bytes.
const HELD_BYTES: usize = 64 * 1024;

/// Longest record of a close_notify: a header, an explicit nonce, the alert, and a tag.
const CLOSE_NOTIFY_BYTES: usize = 31;

/// TLS over a carrier: a stream or, with an `https` proxy, another session.
#[derive(Debug)]
pub(crate) struct Session<S> {
    carrier: Transport<S>,
    tls: Connection,
    /// The peer's first bytes, until they are known to be TLS.
    first_bytes: Option<FirstBytes>,
    /// Ciphertext not yet given to rustls, because earlier plaintext found no room.
    unfed: Vec<u8>,
    /// The end of the handshake was reported.
    reported: bool,
    /// The peer has sent a close_notify.
    ended: bool,
    /// This end has sent a close_notify.
    notified: bool,
    /// Later input is ignored.
    finished: bool,
    /// An error that follows plaintext not yet delivered.
    failure: Option<io::Error>,
}

impl<S> Session<S> {
    /// The stream below.
    pub(crate) fn stream_mut(&mut self) -> Option<&mut S> {
        self.carrier.stream_mut()
    }

    /// A server session.
    pub(crate) fn new(carrier: Transport<S>, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        Session::of(carrier, tls.into(), Peer::Client)
    }

    /// A client session with the server `name`, which may be an address.
    pub(crate) fn client(carrier: Transport<S>, config: &TlsConnector, name: &str) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?}: {error}")))?;
        let tls = ClientConnection::new(Arc::clone(&config.0), name).map_err(io::Error::other)?;
        Session::of(carrier, tls.into(), Peer::Server)
    }

    fn of(carrier: Transport<S>, mut tls: Connection, peer: Peer) -> io::Result<Self> {
        tls.set_buffer_limit(Some(HELD_BYTES));
        Ok(Session {
            carrier,
            tls,
            first_bytes: Some(FirstBytes::new(peer)),
            unfed: Vec::new(),
            reported: false,
            ended: false,
            notified: false,
            finished: false,
            failure: None,
        })
    }

    /// Takes the first bytes of the handshake, which were read before this session was there.
    pub(crate) fn take_first_bytes(&mut self, bytes: &[u8]) -> bool {
        let is_new = self.first_bytes.is_some() && self.unfed.is_empty();
        if is_new {
            self.unfed = bytes.to_vec();
        }
        is_new
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        // Input after the end of this side is discarded, and costs nothing.
        !self.finished && self.tls.is_handshaking()
    }

    /// Result of the handshake, once, when the handshake is finished.
    pub(crate) fn tls_info(&mut self) -> Option<TlsInfo> {
        if self.reported || self.tls.is_handshaking() {
            return None;
        }
        self.reported = true;
        let named = |name: Option<String>| name.unwrap_or_default();
        Some(TlsInfo {
            protocol: named(self.tls.protocol_version().map(|version| format!("{version:?}"))),
            cipher_suite: named(self.tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()))),
            server_name: match &self.tls {
                Connection::Server(tls) => tls.server_name().map(|name| name.trim_end_matches('.').to_owned()),
                Connection::Client(_) => None,
            },
            alpn: self.tls.alpn_protocol().map(<[u8]>::to_vec),
            peer_certificates: self
                .tls
                .peer_certificates()
                .unwrap_or_default()
                .iter()
                .map(|der| der.to_vec())
                .collect(),
            resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// Reads once and decrypts.
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

    /// Reads through `ciphertext`; the carrier may need the buffer `beneath`.
    fn read_by<K: Kernel<Stream = S>>(
        &mut self,
        kernel: &mut K,
        buffer: &mut [u8],
        ciphertext: &mut [u8],
        beneath: &mut Ciphertext,
    ) -> io::Result<Arrived> {
        if self.finished && self.ended {
            return Ok(Arrived::END);
        }
        if self.finished {
            let arrived = self.carrier.read(kernel, ciphertext, beneath)?;
            return Ok(Arrived { length: 0, ..arrived });
        }
        // Earlier plaintext comes first; the next read finds out whether the kernel has more.
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
                let not_tls = self.first_bytes.as_ref().and_then(FirstBytes::end);
                return Err(not_tls.map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::from));
            }
            (arrived.taken, arrived.more) = (carried.taken, carried.more);
            if !self.starts_as_tls(kernel, &ciphertext[..carried.length])? {
                return Ok(arrived);
            }
            self.feed(&ciphertext[..carried.length], buffer, &mut arrived.length)
        } else {
            if !self.starts_as_tls(kernel, &unfed)? {
                return Ok(arrived);
            }
            self.feed(&unfed, buffer, &mut arrived.length)
        };
        // Handshake messages and alerts are sent at once, unless the kernel was full before and will report room.
        let flushed = if waiting { Ok(()) } else { self.flush(kernel).map(|_| ()) };
        match fed.and(flushed) {
            Err(failure) if arrived.length == 0 => return Err(failure),
            failed => self.failure = failed.err(),
        }
        // The next read reports plaintext without room, an end, and a failure.
        arrived.more |=
            arrived.length == buffer.len() || !self.unfed.is_empty() || self.ended || self.failure.is_some();
        Ok(arrived)
    }

    /// Checks the peer's first bytes, which rustls gets only if this returns `true`.
    ///
    /// A client that speaks plain HTTP gets an answer that it understands, if the kernel takes it.
    fn starts_as_tls<K: Kernel<Stream = S>>(&mut self, kernel: &mut K, data: &[u8]) -> io::Result<bool> {
        let Some(first_bytes) = &mut self.first_bytes else { return Ok(true) };
        match first_bytes.read(data) {
            Start::Tls => self.first_bytes = None,
            Start::PerhapsTls => {}
            Start::PerhapsHttp => return Ok(false),
            Start::NotTls(error) => {
                if error == NotTls::Request {
                    let _ = self.carrier.write(kernel, &[IoSlice::new(PLAIN_ANSWER)]);
                }
                return Err(error.into());
            }
        }
        Ok(true)
    }

    /// Gives ciphertext to rustls, and appends plaintext to `buffer` from `length` on.
    fn feed(&mut self, mut ciphertext: &[u8], buffer: &mut [u8], length: &mut usize) -> io::Result<()> {
        while !ciphertext.is_empty() && !self.ended {
            if *length == buffer.len() {
                self.unfed = ciphertext.to_vec();
                break;
            }
            self.tls.read_tls(&mut ciphertext)?;
            let processed = self.tls.process_new_packets();
            // Plaintext before a bad record is valid.
            *length += self.decrypted(&mut buffer[*length..])?;
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(())
    }

    /// Copies out plaintext.
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

    /// Encrypts and writes, unless ciphertext still waits. Nothing is accepted before the handshake is finished: rustls
    /// would hold the bytes where no limit counts them.
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

    /// Writes the waiting ciphertext.
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

    /// Returns `true` if ciphertext waits to be written.
    pub(crate) fn holds_output(&self) -> bool {
        self.tls.wants_write() || self.carrier.holds_output()
    }

    /// Drops ciphertext of accepted bytes that waits to be written, and returns its length.
    pub(crate) fn drop_held_output(&mut self) -> usize {
        let (mut held, mut dropped) = (self.carrier.drop_held_output(), io::sink());
        while self.tls.wants_write()
            && let Ok(length @ 1..) = self.tls.write_tls(&mut dropped)
        {
            held += length;
        }
        let own = if self.tls.is_handshaking() {
            held
        } else if self.notified {
            CLOSE_NOTIFY_BYTES
        } else {
            0
        };
        held.saturating_sub(own)
    }

    /// Sends a close_notify. `false` if the kernel does not take the record yet. Later input is ignored.
    pub(crate) fn finish<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<bool> {
        self.finished = true;
        Ok(self.notify_end(kernel)? && self.carrier.finish(kernel)?)
    }

    /// Sends a close_notify, as [`finish`](Self::finish), while input goes on (RFC 8446 §6.1).
    pub(crate) fn end_output<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<bool> {
        Ok(self.notify_end(kernel)? && self.carrier.end_output(kernel)?)
    }

    fn notify_end<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<bool> {
        // Repeated calls send one close_notify.
        self.tls.send_close_notify();
        self.notified = true;
        Ok(!self.flush(kernel)?.blocked)
    }

    pub(crate) fn shutdown_write<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<()> {
        self.carrier.shutdown_write(kernel)
    }
}

/// The carrier, as rustls writes to it.
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
