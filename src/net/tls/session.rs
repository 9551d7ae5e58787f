//! The server's end of a TLS connection, between the kernel and whoever reads.
//!
//! What comes is read into the reactor's buffer for ciphertext, given to rustls, and what it decrypts is copied out at once. What is sent is encrypted in
//! records as full as may be and written in one go; of what the kernel does not take, rustls holds at most 64 KiB, and nothing is encrypted
//! before that has left. So back-pressure stays where it is seen: in the queue above.

use std::{
    io::{self, IoSlice, Read, Write},
    sync::Arc,
};

use rustls::{HandshakeKind, ServerConfig, ServerConnection};

use crate::{
    net::{
        kernel::Kernel,
        transport::{Arrived, Written},
    },
    secured::Secured,
};

/// How much ciphertext may wait in rustls, in bytes.
const HELD_BYTES: usize = 64 * 1024;

/// A stream with TLS on it.
#[derive(Debug)]
pub(crate) struct Session<S> {
    stream: S,
    tls: ServerConnection,
    /// Ciphertext that was read and not given to rustls, because what it had decrypted found no room.
    unfed: Vec<u8>,
    /// The handshake is done, and that was told.
    told: bool,
    /// The peer has said by a close_notify that it says no more.
    ended: bool,
}

impl<S> Session<S> {
    pub(crate) fn new(stream: S, config: Arc<ServerConfig>) -> io::Result<Self> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(HELD_BYTES));
        Ok(Session { stream, tls, unfed: Vec::new(), told: false, ended: false })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// What the handshake has shown, once, when it is done.
    pub(crate) fn secured(&mut self) -> Option<Secured> {
        if self.told || self.tls.is_handshaking() {
            return None;
        }
        self.told = true;
        let named = |name: Option<String>| name.unwrap_or_default();
        Some(Secured {
            protocol: named(self.tls.protocol_version().map(|version| format!("{version:?}"))),
            cipher_suite: named(self.tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()))),
            server_name: self.tls.server_name().map(str::to_owned),
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
        ciphertext: &mut [u8],
    ) -> io::Result<Arrived> {
        // What was left from before comes first; whether the kernel has more is for the next read to find out.
        let mut arrived = Arrived { length: self.decrypted(buffer)?, taken: 0, more: true };
        if arrived.length == 0 && !self.ended {
            let waiting = self.tls.wants_write();
            let fed = match self.unfed.is_empty() {
                true => {
                    arrived.taken = kernel.read(&mut self.stream, ciphertext)?;
                    if arrived.taken == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    arrived.more = !K::SHORT_READ_DRAINS || arrived.taken == ciphertext.len();
                    self.feed(&ciphertext[..arrived.taken], buffer)
                }
                false => {
                    let unfed = std::mem::take(&mut self.unfed);
                    self.feed(&unfed, buffer)
                }
            };
            // What is to be said of the handshake, or of its failure, is said at once; unless the kernel took no more before, and will tell.
            let flushed = if waiting { Ok(false) } else { self.flush(kernel) };
            arrived.length = fed?;
            flushed?;
        }
        // So may rustls, of what found no room.
        arrived.more |= arrived.length == buffer.len() || !self.unfed.is_empty();
        if arrived.length == 0 && self.ended { Ok(Arrived::END) } else { Ok(arrived) }
    }

    /// Gives ciphertext to rustls, and says how much of `buffer` was filled.
    fn feed(&mut self, mut ciphertext: &[u8], buffer: &mut [u8]) -> io::Result<usize> {
        let mut length = 0;
        while !ciphertext.is_empty() && !self.ended {
            if length == buffer.len() {
                self.unfed = ciphertext.to_vec();
                break;
            }
            self.tls.read_tls(&mut ciphertext)?;
            self.tls.process_new_packets().map_err(refused)?;
            length += self.decrypted(&mut buffer[length..])?;
        }
        Ok(length)
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

    /// Encrypts and writes, unless ciphertext still waits.
    pub(crate) fn write<K: Kernel<Stream = S>>(
        &mut self,
        kernel: &mut K,
        slices: &[IoSlice<'_>],
    ) -> io::Result<Written> {
        if !self.flush(kernel)? {
            return Ok(Written { length: 0, blocked: true });
        }
        let length = self.tls.writer().write_vectored(slices)?;
        Ok(Written { length, blocked: !self.flush(kernel)? })
    }

    /// Writes the ciphertext that waits; `false` if the kernel does not take all of it.
    pub(crate) fn flush<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Wire { kernel, stream: &mut self.stream }) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether ciphertext waits.
    pub(crate) fn holds_output(&self) -> bool {
        self.tls.wants_write()
    }

    /// Says by a close_notify that we say no more; `false` if the kernel does not take it yet.
    pub(crate) fn finish<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<bool> {
        // Said once, however often it is asked for.
        self.tls.send_close_notify();
        self.flush(kernel)
    }

    pub(crate) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

fn refused(error: rustls::Error) -> io::Error {
    let plain = matches!(error, rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType));
    match plain {
        true => io::Error::new(io::ErrorKind::InvalidData, "a client speaks something else where TLS is spoken"),
        false => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

/// A kernel's stream as rustls writes to it.
struct Wire<'a, K: Kernel> {
    kernel: &'a mut K,
    stream: &'a mut K::Stream,
}

impl<K: Kernel> Write for Wire<'_, K> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.kernel.write(self.stream, slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
