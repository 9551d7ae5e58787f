//! The start of a response's body, up to a limit: to the content length, the last chunk, or the end of the stream (RFC
//! 9112 §6.3).

use http::{HeaderMap, StatusCode, header};

/// Collects a body.
#[derive(Debug)]
pub(crate) struct BodyReader {
    body: Vec<u8>,
    /// Bytes kept at most.
    wanted: usize,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    /// Bytes still expected. `usize::MAX` without a content length.
    Length(usize),
    Chunked(Chunk),
    Complete,
}

/// The next part of a chunked body (RFC 9112 §7.1).
#[derive(Debug)]
enum Chunk {
    /// The size line: the value so far, and whether its digits have ended.
    Size(usize, bool),
    /// Octets left in the chunk.
    Data(usize),
    /// The line end after the octets.
    Behind,
}

impl BodyReader {
    /// A reader for the response with this head, which keeps at most `wanted` bytes.
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, wanted: usize) -> Self {
        let coding = headers.get_all(header::TRANSFER_ENCODING).iter().next_back();
        let chunked = coding.is_some_and(|coding| coding.as_bytes().to_ascii_lowercase().ends_with(b"chunked"));
        let length = || headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        let framing = match status {
            _ if status.is_informational() => Framing::Complete,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Framing::Complete,
            _ if chunked => Framing::Chunked(Chunk::Size(0, false)),
            _ => Framing::Length(length().unwrap_or(usize::MAX)),
        };
        let mut reader = BodyReader { body: Vec::new(), wanted, framing };
        reader.read(&[]);
        reader
    }

    /// Returns `true` once the body, or the wanted part of it, is complete.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.framing, Framing::Complete)
    }

    /// The collected bytes.
    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Reads more of the body.
    pub(crate) fn read(&mut self, mut data: &[u8]) {
        loop {
            match &mut self.framing {
                Framing::Length(left) | Framing::Chunked(Chunk::Data(left)) => {
                    let here = data.len().min(*left);
                    self.body.extend_from_slice(&data[..here.min(self.wanted - self.body.len())]);
                    (*left, data) = (*left - here, &data[here..]);
                    match (&self.framing, self.body.len() == self.wanted) {
                        (_, true) | (Framing::Length(0), _) => self.framing = Framing::Complete,
                        (Framing::Chunked(Chunk::Data(0)), _) => self.framing = Framing::Chunked(Chunk::Behind),
                        _ => {}
                    }
                }
                Framing::Chunked(chunk) => {
                    let Some((octet, behind)) = data.split_first() else { return };
                    data = behind;
                    match chunk.next(*octet) {
                        Some(next) => *chunk = next,
                        None => self.framing = Framing::Complete,
                    }
                }
                Framing::Complete => return,
            }
            if data.is_empty() {
                return;
            }
        }
    }
}

impl Chunk {
    /// The state after `octet`. `None` at the end, or if the octet is not part of a chunk.
    fn next(&self, octet: u8) -> Option<Chunk> {
        let digit = char::from(octet).to_digit(16).map(|digit| digit as usize);
        match (self, octet, digit) {
            (Chunk::Size(0, _), b'\n', _) => None,
            (Chunk::Size(size, _), b'\n', _) => Some(Chunk::Data(*size)),
            (Chunk::Size(size, false), _, Some(digit)) => Some(Chunk::Size(size.checked_mul(16)? + digit, false)),
            (Chunk::Size(size, _), _, _) => Some(Chunk::Size(*size, true)),
            (Chunk::Behind, b'\r', _) => Some(Chunk::Behind),
            (Chunk::Behind, b'\n', _) => Some(Chunk::Size(0, false)),
            (Chunk::Behind | Chunk::Data(_), _, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// The body and whether it is complete; checks that the result is the same byte by byte.
    fn read_body(status: u16, coding: (&str, &'static str), limit: usize, data: &[u8]) -> (String, bool) {
        let status = StatusCode::from_u16(status).unwrap();
        let name: header::HeaderName = coding.0.parse().unwrap();
        let headers: HeaderMap = [(name, HeaderValue::from_static(coding.1))].into_iter().collect();
        let mut whole = BodyReader::new(status, &headers, limit);
        whole.read(data);
        let mut by_byte = BodyReader::new(status, &headers, limit);
        data.iter().for_each(|octet| by_byte.read(&[*octet]));
        assert_eq!((&whole.body, whole.is_complete()), (&by_byte.body, by_byte.is_complete()));
        (String::from_utf8(whole.body).unwrap(), by_byte.is_complete())
    }

    #[test]
    fn body_ends_at_its_content_length_or_at_the_last_chunk() {
        let length = |limit, data: &[u8]| read_body(404, ("content-length", "5"), limit, data);
        assert_eq!(length(100, b"hel"), ("hel".to_owned(), false));
        assert_eq!(length(100, b"hello, and more"), ("hello".to_owned(), true));
        assert_eq!(length(2, b"hel"), ("he".to_owned(), true));
        assert_eq!(read_body(404, ("content-length", "0"), 9, b""), (String::new(), true));
        assert_eq!(read_body(204, ("content-length", "5"), 9, b"hello"), (String::new(), true));
        assert_eq!(read_body(404, ("server", "x"), 9, b"hello"), ("hello".to_owned(), false));
        let chunked = |limit, data: &[u8]| read_body(503, ("transfer-encoding", "gzip, Chunked"), limit, data);
        assert_eq!(chunked(100, b"3\r\nhel\r\n2;x=y\r\nlo\r\n"), ("hello".to_owned(), false));
        assert_eq!(chunked(100, b"5\r\nhello\r\n0\r\n\r\n"), ("hello".to_owned(), true));
        assert_eq!(chunked(100, b"0a\r\nhello wor"), ("hello wor".to_owned(), false));
        assert_eq!(chunked(3, b"5\r\nhello\r\n"), ("hel".to_owned(), true));
    }

    #[test]
    fn malformed_chunk_ends_the_body() {
        let chunked = |data: &[u8]| read_body(503, ("transfer-encoding", "chunked"), 100, data);
        assert_eq!(chunked(b"5\r\nhelloX\r\n5\r\nthere"), ("hello".to_owned(), true));
        assert_eq!(chunked(b"ffffffffffffffffff\r\n"), (String::new(), true));
        assert_eq!(chunked(b"\r\n"), (String::new(), true));
        assert_eq!(chunked(b"nonsense"), (String::new(), false));
    }
}
