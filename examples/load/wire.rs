//! The request and the frames of a client. The load generator does not use the library, so that the measurement is free
//! of the library's cost and faults.

use std::io::{self, ErrorKind, Read, Write};

/// The key of RFC 6455 §1.3, and its `Sec-WebSocket-Accept`.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Masking key of every frame.
const MASK: [u8; 4] = [0x5a, 0x13, 0xc7, 0x88];

/// FIN with the op-codes of text and binary, and RSV1 for compressed messages.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const COMPRESSED_TEXT: u8 = 0xc1;

/// FIN with the op-codes of ping and pong.
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// Offer of permessage-deflate.
pub(crate) const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

/// A request for a WebSocket; `lines` are more header lines.
pub(crate) fn request(host: &str, path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{lines}\r\n"
    )
}

/// Sends a request, and reads the response byte by byte, so that no byte behind it is read.
pub(crate) fn ask(stream: &mut (impl Read + Write), request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    accepted(&answer)
}

/// The response as text, if it accepts.
pub(crate) fn accepted(answer: &[u8]) -> io::Result<String> {
    let answer = String::from_utf8_lossy(answer).into_owned();
    match answer.starts_with("HTTP/1.1 101 ") && answer.contains(ACCEPT) {
        true => Ok(answer),
        false => Err(io::Error::other(format!("no WebSocket: {}", answer.lines().next().unwrap_or_default()))),
    }
}

/// A client's frame.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len(), 0x80);
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A server's frame.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    [header(first, payload.len(), 0), payload.to_vec()].concat()
}

/// Start and end of the payload of a server's frame, once its header is complete.
pub(crate) fn extent(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let (start, length) = match bytes {
        [_, 126, rest @ ..] if rest.len() >= 2 => (4, big_endian(&rest[..2])),
        [_, 127, rest @ ..] if rest.len() >= 8 => (10, big_endian(&rest[..8])),
        [_, length @ 0..=125, ..] => (2, usize::from(*length)),
        [_, 128..=255, ..] => return Err(ErrorKind::InvalidData.into()),
        _ => return Ok(None),
    };
    Ok(Some((start, start + length)))
}

fn header(first: u8, length: usize, mask: u8) -> Vec<u8> {
    match length {
        0..=125 => vec![first, mask | length as u8],
        126..=0xffff => [&[first, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, mask | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}
