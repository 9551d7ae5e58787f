//! A connection to the server: plain or TLS, WebSocket or bare TCP.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use mio::{Interest, Poll, Token};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::wire::{self, PING, PONG};

/// The server: `ws`, `wss`, or `tcp` for a server without frames.
pub(crate) struct Target {
    addresses: Vec<SocketAddr>,
    /// Header lines of every request.
    lines: String,
    /// Frames sent first on every connection.
    first: Vec<u8>,
    host: String,
    pub(crate) path: String,
    tls: Option<Arc<ClientConfig>>,
    pub(crate) framed: bool,
}

impl Target {
    /// `url` is `SCHEME://HOST:PORT[/PATH]`. Certificates are not checked, because the measurement has no secrets.
    pub(crate) fn new(
        url: &str,
        resuming: bool,
        headers: &[&str],
        first: &[&str],
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("{url}: the URL has no scheme"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let resolved = host.to_socket_addrs().map_err(|error| format!("{url}: {error}"))?;
        let addresses: Vec<SocketAddr> = resolved.collect();
        let tls = match scheme {
            "ws" | "tcp" | "http" => None,
            "wss" | "https" => Some(Arc::new(trusting(resuming)?)),
            _ => return Err(format!("{url}: the scheme is not ws, wss, http, https or tcp").into()),
        };
        let lines = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let first = first.iter().flat_map(|text| wire::masked(wire::TEXT, text.as_bytes())).collect();
        let (host, path) = (host.to_owned(), format!("/{path}"));
        Ok(Target { addresses, lines, first, host, path, tls, framed: matches!(scheme, "ws" | "wss") })
    }

    /// A request for the path that asks for nothing but the resource.
    pub(crate) fn request(&self) -> String {
        format!("GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", self.path, self.host, self.lines)
    }

    /// Starts to open a connection: sends the request, within TLS after the handshake.
    pub(crate) fn begin(&self, lines: &str) -> io::Result<Pipe> {
        let (stream, tls) = self.dial()?;
        let mut pipe = Pipe::new(stream, tls)?;
        pipe.pending = wire::request(&self.host, &self.path, &format!("{}{lines}", self.lines)).into_bytes();
        pipe.flush()?;
        Ok(pipe)
    }

    /// Opens a connection. Returns the server's response, too.
    pub(crate) fn open(&self, lines: &str) -> io::Result<(Pipe, String)> {
        let (mut stream, mut tls) = self.dial()?;
        let mut answer = String::new();
        if self.framed {
            let request = wire::request(&self.host, &self.path, &format!("{}{lines}", self.lines));
            answer = match &mut tls {
                None => wire::ask(&mut stream, &request)?,
                Some(tls) => wire::ask(&mut rustls::Stream::new(&mut **tls, &mut stream), &request)?,
            };
        }
        let mut pipe = Pipe::new(stream, tls)?;
        pipe.pending = self.first.clone();
        pipe.flush()?;
        Ok((pipe, answer))
    }

    fn dial(&self) -> io::Result<(TcpStream, Option<Box<ClientConnection>>)> {
        let stream = TcpStream::connect(&self.addresses[..])
            .map_err(|error| io::Error::new(error.kind(), format!("cannot connect to {}: {error}", self.host)))?;
        stream.set_nodelay(true)?;
        let tls = match &self.tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                tls.set_buffer_limit(None);
                Some(Box::new(tls))
            }
        };
        Ok((stream, tls))
    }
}

pub(crate) struct Pipe {
    stream: mio::net::TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Bytes that wait for the socket.
    pending: Vec<u8>,
}

impl Pipe {
    fn new(stream: TcpStream, tls: Option<Box<ClientConnection>>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Pipe { stream: mio::net::TcpStream::from_std(stream), tls, pending: Vec::new() })
    }

    pub(crate) fn register(&mut self, poll: &Poll, index: usize) -> io::Result<()> {
        poll.registry().register(&mut self.stream, Token(index), Interest::READABLE | Interest::WRITABLE)
    }

    /// Resets the connection, so that its port does not stay in TIME_WAIT.
    pub(crate) fn reset(self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Writes as much as the socket takes; `WouldBlock` if it takes nothing.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if !self.pending.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        match &mut self.tls {
            None => self.stream.write(bytes),
            Some(tls) => {
                let taken = tls.writer().write(&bytes[..bytes.len().min(256 * 1024)])?;
                self.flush()?;
                Ok(taken)
            }
        }
    }

    /// Writes waiting bytes as far as the socket takes them.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.flush_pending();
        };
        if !self.pending.is_empty() && !tls.is_handshaking() {
            let request = std::mem::take(&mut self.pending);
            tls.writer().write_all(&request)?;
        }
        while tls.wants_write() {
            match tls.write_tls(&mut self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                written => written.map(|_| ())?,
            }
        }
        Ok(())
    }

    fn flush_pending(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                written => drop(self.pending.drain(..written?)),
            }
        }
        Ok(())
    }

    /// Passes available bytes to `take`, in pieces, until `most` bytes are reached. The end of the stream is an error.
    pub(crate) fn drain(
        &mut self,
        buffer: &mut [u8],
        mut most: usize,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while let Some(length) = self.read(buffer)? {
            take(&buffer[..length])?;
            most = most.saturating_sub(length);
            if most == 0 || length < buffer.len() && self.tls.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Answers the pings that arrived between rounds.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        let mut heard = Vec::new();
        self.drain(&mut [0; 4096], usize::MAX, |piece| {
            heard.extend_from_slice(piece);
            Ok(())
        })?;
        let mut rest = &heard[..];
        while !rest.is_empty() {
            let (PING, Some((start, end))) = (rest[0], wire::extent(rest)?) else {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "the server sent a message that no message asked for",
                ));
            };
            let pong = wire::masked(PONG, rest.get(start..end).ok_or(ErrorKind::InvalidData)?);
            self.write(&pong)?;
            rest = &rest[end..];
        }
        Ok(())
    }

    /// Reads available bytes; `None` if there are none.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let read = match &mut self.tls {
            None => self.stream.read(buffer),
            Some(tls) => loop {
                match tls.reader().read(buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    read => break read,
                }
                match tls.read_tls(&mut self.stream) {
                    Ok(0) => break Ok(0),
                    Ok(_) => _ = tls.process_new_packets().map_err(io::Error::other)?,
                    Err(error) => break Err(error),
                }
            },
        };
        match read {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server ended a connection")),
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn trusting(resuming: bool) -> Result<ClientConfig, Box<dyn std::error::Error>> {
    let provider = ring::default_provider();
    let verifier = Arc::new(Trusting(provider.signature_verification_algorithms));
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    if !resuming {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

/// Accepts any certificate.
#[derive(Debug)]
struct Trusting(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
