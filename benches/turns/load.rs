//! The clients of each case. Each returns the server's report.

use std::{
    error::Error,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{
    server::{BEGIN, REPORT},
    websocket::{handshake, handshake_with, masked, masked_frame, payload},
};

pub(crate) type Load = fn(SocketAddr) -> Result<String>;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const LARGE: usize = 16 << 20;
const LARGE_ECHOES: usize = 20;
const SUBSCRIBERS: usize = 10_000;
const PUBLICATIONS: usize = 20;
const HANDSHAKES: usize = 200;

/// A frame of the server: its first byte, and the payload.
fn read_frame(stream: &mut impl Read) -> Result<(u8, Vec<u8>)> {
    let mut header = [0; 2];
    stream.read_exact(&mut header)?;
    let mut length = u64::from(header[1]);
    if length >= 126 {
        let mut extended = vec![0; if length == 126 { 2 } else { 8 }];
        stream.read_exact(&mut extended)?;
        length = extended.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    }
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload)?;
    Ok((header[0], payload))
}

/// Asks for something by a short text, and returns the answer.
fn ask(stream: &mut (impl Read + Write), text: &str) -> Result<String> {
    stream.write_all(&masked_frame(0x81, text.as_bytes()))?;
    Ok(String::from_utf8(read_frame(stream)?.1)?)
}

fn open(addr: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    handshake(&mut stream)?;
    Ok(stream)
}

pub(crate) fn batches(addr: SocketAddr) -> Result<String> {
    const IN_FLIGHT: usize = 10_000;
    let mut stream = open(addr)?;
    let mut writer = stream.try_clone()?;
    let (batch, mut echoes) = (masked(&payload(16)).repeat(IN_FLIGHT), vec![0; 18 * IN_FLIGHT]);
    ask(&mut stream, BEGIN)?;
    for _ in 0..100 {
        thread::scope(|scope| {
            let sender = scope.spawn(|| writer.write_all(&batch));
            stream.read_exact(&mut echoes)?;
            sender.join().expect("no panic")
        })?;
    }
    ask(&mut stream, REPORT)
}

pub(crate) fn large_echo(addr: SocketAddr) -> Result<String> {
    let mut stream = open(addr)?;
    let mut writer = stream.try_clone()?;
    let (frame, mut echo) = (masked(&payload(LARGE)), vec![0; LARGE + 10]);
    ask(&mut stream, BEGIN)?;
    for _ in 0..LARGE_ECHOES {
        thread::scope(|scope| {
            let sender = scope.spawn(|| writer.write_all(&frame));
            stream.read_exact(&mut echo)?;
            sender.join().expect("no panic")
        })?;
    }
    ask(&mut stream, REPORT)
}

/// Sends text without compression; the server compresses its echo.
pub(crate) fn compressed_echo(addr: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    handshake_with(&mut stream, "Sec-WebSocket-Extensions: permessage-deflate\r\n")?;
    let mut writer = stream.try_clone()?;
    let text: String = (0_u64..)
        .flat_map(|number| format!("{{\"price\":{}}},", number * 2_654_435_761 % 99_991).into_bytes())
        .take(LARGE)
        .map(char::from)
        .collect();
    let frame = masked_frame(0x81, text.as_bytes());
    // Short messages are not compressed.
    let mut control = open(addr)?;
    ask(&mut control, BEGIN)?;
    for _ in 0..5 {
        thread::scope(|scope| {
            let sender = scope.spawn(|| writer.write_all(&frame));
            // Up to the last fragment.
            while read_frame(&mut stream)?.0 & 0x80 == 0 {}
            sender.join().expect("no panic")?;
            Ok::<_, Box<dyn Error>>(())
        })?;
    }
    ask(&mut control, REPORT)
}

pub(crate) fn tls_echo(addr: SocketAddr) -> Result<String> {
    let mut stream = StreamOwned::new(tls_client()?, TcpStream::connect(addr)?);
    handshake(&mut stream)?;
    let (frame, mut echo) = (masked(&payload(LARGE)), vec![0; LARGE + 10]);
    ask(&mut stream, BEGIN)?;
    for _ in 0..5 {
        // The server reads on for a while although nobody takes its echo.
        stream.write_all(&frame)?;
        stream.read_exact(&mut echo)?;
    }
    ask(&mut stream, REPORT)
}

pub(crate) fn publish(addr: SocketAddr) -> Result<String> {
    const BYTES: usize = 125;
    let mut streams = (0..SUBSCRIBERS).map(|_| open(addr)).collect::<Result<Vec<_>>>()?;
    ask(&mut streams[0], BEGIN)?;
    let message = masked(&payload(BYTES));
    for _ in 0..PUBLICATIONS {
        streams[0].write_all(&message)?;
        for stream in &mut streams {
            stream.read_exact(&mut [0; BYTES + 2])?;
        }
    }
    ask(&mut streams[0], REPORT)
}

pub(crate) fn closes(addr: SocketAddr) -> Result<String> {
    let mut control = open(addr)?;
    let streams = (0..SUBSCRIBERS).map(|_| open(addr)).collect::<Result<Vec<_>>>()?;
    ask(&mut control, BEGIN)?;
    drop(streams);
    thread::sleep(Duration::from_secs(1));
    ask(&mut control, REPORT)
}

pub(crate) fn tls_handshakes(addr: SocketAddr) -> Result<String> {
    let mut control = StreamOwned::new(tls_client()?, TcpStream::connect(addr)?);
    handshake(&mut control)?;
    ask(&mut control, BEGIN)?;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let mut clients = Vec::new();
        for _ in 0..HANDSHAKES {
            let (mut tls, mut stream) = (tls_client()?, TcpStream::connect(addr)?);
            tls.write_tls(&mut stream)?;
            clients.push((tls, stream));
        }
        for (tls, stream) in &mut clients {
            match tls.complete_io(stream) {
                Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error.into()),
                _ => {}
            }
        }
    }
    ask(&mut control, REPORT)
}

/// A client that takes any certificate.
fn tls_client() -> Result<ClientConnection> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(TakesAny(provider));
    let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?)
}

#[derive(Debug)]
struct TakesAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
