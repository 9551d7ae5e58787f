//! The first bytes of a peer's stream: whether the peer speaks TLS and, if not, what it speaks.
//!
//! Pure: bytes in, a result out, the same result wherever the network cuts the stream.

use std::{fmt, io};

/// The role of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Client,
    Server,
}

/// A peer that does not speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTls {
    /// An HTTP request in plain text.
    Request,
    /// An HTTP response in plain text, of the server or of a proxy.
    Response,
    /// Neither TLS nor HTTP.
    Unknown,
}

impl fmt::Display for NotTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            NotTls::Request => "the client speaks plain HTTP to a TLS port",
            NotTls::Response => {
                "the server speaks plain HTTP, not TLS; the URL may need the scheme ws (the URL of a proxy: http)"
            }
            NotTls::Unknown => "the peer does not speak TLS",
        })
    }
}

impl std::error::Error for NotTls {}

impl From<NotTls> for io::Error {
    fn from(error: NotTls) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Returns `true` if an error of TLS says that the peer speaks plain HTTP.
pub(crate) fn is_plain_http(error: &io::Error) -> bool {
    let not_tls = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(not_tls, Some(NotTls::Request | NotTls::Response))
}

/// Result of the recognition so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// The start of a TLS record.
    Tls,
    /// No byte yet, or one that may be the type of a TLS record.
    PerhapsTls,
    /// Not TLS; perhaps HTTP.
    PerhapsHttp,
    NotTls(NotTls),
}

/// How an HTTP request starts, with the usual methods and in HTTP/2 (RFC 9110 §9.3, RFC 5789, RFC 9113 §3.4).
const REQUESTS: &[&[u8]] =
    &[b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"CONNECT ", b"OPTIONS ", b"TRACE ", b"PATCH ", b"PRI "];

/// How an HTTP response starts (RFC 9112 §4). Some servers answer bytes that are no request with a page alone, as in
/// HTTP/0.9.
const RESPONSES: &[&[u8]] = &[b"HTTP/", b"<!DOCTYPE", b"<!doctype", b"<HTML", b"<html"];

/// Bytes of the longest start.
const LONGEST: usize = 9;

/// Collects the first bytes of a peer's stream until the result is final.
#[derive(Debug)]
pub(super) struct FirstBytes {
    peer: Peer,
    bytes: [u8; LONGEST],
    length: usize,
}

impl FirstBytes {
    pub(super) fn new(peer: Peer) -> Self {
        FirstBytes { peer, bytes: [0; LONGEST], length: 0 }
    }

    /// Takes the next bytes.
    pub(super) fn read(&mut self, data: &[u8]) -> Start {
        let more = data.len().min(LONGEST - self.length);
        self.bytes[self.length..][..more].copy_from_slice(&data[..more]);
        self.length += more;
        self.start()
    }

    /// The result at the end of the stream. `None`: nothing, or TLS.
    pub(super) fn end(&self) -> Option<NotTls> {
        match self.start() {
            Start::Tls | Start::PerhapsTls => None,
            Start::PerhapsHttp => Some(NotTls::Unknown),
            Start::NotTls(error) => Some(error),
        }
    }

    fn start(&self) -> Start {
        let (starts, http) = match self.peer {
            Peer::Client => (REQUESTS, NotTls::Request),
            Peer::Server => (RESPONSES, NotTls::Response),
        };
        match &self.bytes[..self.length] {
            // Content type and major version of a record (RFC 8446 §5.1).
            [] | [0x14..=0x17] => Start::PerhapsTls,
            [0x14..=0x17, 3, ..] => Start::Tls,
            bytes if starts.iter().any(|start| bytes.starts_with(start)) => Start::NotTls(http),
            bytes if starts.iter().any(|start| start.starts_with(bytes)) => Start::PerhapsHttp,
            _ => Start::NotTls(NotTls::Unknown),
        }
    }
}

/// The answer to an HTTP request in plain text.
pub(super) const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\
    Content-Length: 52\r\n\r\nplain HTTP was sent to a TLS port; use https or wss\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// The result for `stream`; checks that single bytes give the same result.
    fn start(peer: Peer, stream: &[u8]) -> Start {
        let whole = FirstBytes::new(peer).read(stream);
        let mut pieces = FirstBytes::new(peer);
        let mut by_byte = pieces.read(b"");
        for byte in stream {
            if matches!(by_byte, Start::PerhapsTls | Start::PerhapsHttp) {
                by_byte = pieces.read(&[*byte]);
            }
        }
        assert_eq!(by_byte, whole, "{}", stream.escape_ascii());
        whole
    }

    #[test]
    fn record_of_every_content_type_and_version_is_tls() {
        for peer in [Peer::Client, Peer::Server] {
            assert_eq!(start(peer, b""), Start::PerhapsTls);
            for content_type in 0x14..=0x17 {
                assert_eq!(start(peer, &[content_type]), Start::PerhapsTls);
                for minor in [0, 1, 2, 3, 4, 0xff] {
                    assert_eq!(start(peer, &[content_type, 3, minor, 0, 1]), Start::Tls);
                }
                assert_eq!(start(peer, &[content_type, 2]), Start::NotTls(NotTls::Unknown), "SSL 2");
            }
        }
    }

    #[test]
    fn request_of_a_client_and_response_of_a_server_are_http() {
        for request in REQUESTS {
            let stream = [request, &b"/ HTTP/1.1\r\n\r\n"[..]].concat();
            assert_eq!(start(Peer::Client, &stream), Start::NotTls(NotTls::Request));
            assert_eq!(start(Peer::Client, request), Start::NotTls(NotTls::Request));
            assert_eq!(start(Peer::Client, &request[..request.len() - 1]), Start::PerhapsHttp, "the space is missing");
            assert_eq!(start(Peer::Server, &stream), Start::NotTls(NotTls::Unknown), "a server sends no request");
        }
        for response in RESPONSES {
            assert_eq!(start(Peer::Server, &[response, &b"1.1 400 Bad"[..]].concat()), Start::NotTls(NotTls::Response));
            assert_eq!(start(Peer::Server, response), Start::NotTls(NotTls::Response));
            assert_eq!(start(Peer::Server, &response[..response.len() - 1]), Start::PerhapsHttp);
            assert_eq!(start(Peer::Client, response), Start::NotTls(NotTls::Unknown), "a client sends no response");
        }
    }

    #[test]
    fn other_first_byte_is_no_tls() {
        for first in (0..=u8::MAX).filter(|first| !(0x14..=0x17).contains(first)) {
            for peer in [Peer::Client, Peer::Server] {
                assert_eq!(start(peer, &[first, 3, 3, 0, 0, 0, 0, 0]), Start::NotTls(NotTls::Unknown), "{first}");
            }
        }
        for stream in ["SSH-2.0-OpenSSH\r\n", "220 mail.example\r\n", "GETTING", "get / HTTP/1.1\r\n", "\r\n"] {
            assert_eq!(start(Peer::Client, stream.as_bytes()), Start::NotTls(NotTls::Unknown), "{stream}");
        }
    }

    #[test]
    fn stream_that_ends_early_is_judged_by_the_bytes_that_arrived() {
        for (stream, end) in [
            (&b""[..], None),
            (b"\x16", None),
            (b"\x16\x03", None),
            (b"GE", Some(NotTls::Unknown)),
            (b"GET ", Some(NotTls::Request)),
        ] {
            let mut first = FirstBytes::new(Peer::Client);
            first.read(stream);
            assert_eq!(first.end(), end, "{}", stream.escape_ascii());
        }
    }

    #[test]
    fn answer_states_the_length_of_its_body() {
        let answer = std::str::from_utf8(PLAIN_ANSWER).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("\r\nContent-Length: {}", body.len())), "{} bytes: {head}", body.len());
    }
}
