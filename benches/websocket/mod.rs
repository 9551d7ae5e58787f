//! The handshake and the frames of the clients of the benches.
#![allow(dead_code)]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

const REQUEST: &str = "Host: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const KEY: [u8; 4] = [0x5a, 0x13, 0xc7, 0x88];

/// Opens a WebSocket by TCP.
pub(crate) fn connect(addr: SocketAddr, path: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    exchange(&mut stream, path, "")?;
    Ok(stream)
}

/// Performs the client's handshake.
pub(crate) fn handshake(stream: &mut (impl Read + Write)) -> io::Result<()> {
    handshake_with(stream, "").map(|_| ())
}

/// [`handshake`] with additional header lines. Returns the response.
pub(crate) fn handshake_with(stream: &mut (impl Read + Write), lines: &str) -> io::Result<String> {
    exchange(stream, "/", lines)
}

fn exchange(stream: &mut (impl Read + Write), path: &str, lines: &str) -> io::Result<String> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{REQUEST}{lines}\r\n").as_bytes())?;
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        response.push(byte[0]);
    }
    match response.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(String::from_utf8_lossy(&response).into_owned()),
        false => Err(io::Error::other("the server refused the handshake")),
    }
}

/// A payload of `bytes` letters.
pub(crate) fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| b'a' + (index % 26) as u8).collect()
}

/// A client's binary frame.
pub(crate) fn masked(payload: &[u8]) -> Vec<u8> {
    masked_frame(BINARY, payload)
}

/// A client's frame with this first byte.
pub(crate) fn masked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len(), 0x80);
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A server's binary frame.
pub(crate) fn unmasked(payload: &[u8]) -> Vec<u8> {
    let mut frame = header(BINARY, payload.len(), 0);
    frame.extend(payload);
    frame
}

const BINARY: u8 = 0x82;

fn header(first: u8, length: usize, mask: u8) -> Vec<u8> {
    match length {
        0..=125 => vec![first, mask | length as u8],
        126..=0xffff => [&[first, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, mask | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}
