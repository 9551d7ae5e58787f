//! What the clients of the benches say: the request, and frames.
#![allow(dead_code)]

use std::io::{self, Read, Write};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const KEY: [u8; 4] = [0x5a, 0x13, 0xc7, 0x88];

/// Asks for a WebSocket, and reads the answer to its end.
pub(crate) fn shake_hands(stream: &mut (impl Read + Write)) -> io::Result<()> {
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    match answer.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(()),
        false => Err(io::Error::other("no WebSocket")),
    }
}

/// A payload of so many bytes.
pub(crate) fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| b'a' + (index % 26) as u8).collect()
}

/// A client's binary frame.
pub(crate) fn masked(payload: &[u8]) -> Vec<u8> {
    let mut frame = header(payload.len(), 0x80);
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A server's binary frame.
pub(crate) fn unmasked(payload: &[u8]) -> Vec<u8> {
    let mut frame = header(payload.len(), 0);
    frame.extend(payload);
    frame
}

fn header(length: usize, mask: u8) -> Vec<u8> {
    match length {
        0..=125 => vec![0x82, mask | length as u8],
        126..=0xffff => [&[0x82, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[0x82, mask | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}
