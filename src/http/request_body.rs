//! The decoder of the bytes of a request's body (RFC 9112 §6, §7), as strict as its [framing](super::body_framing).

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    body_framing::{BodyError, BodyFraming},
    token::is_token_octet,
};

/// Longest chunk-size line with its extensions, and longest trailer section, in bytes each. Extensions of all chunks
/// may have as many bytes more than the data.
pub(crate) const MAX_CHUNK_LINE_BYTES: usize = 8 * 1024;

/// Most digits of a chunk size: a size of 60 bits. Leading zeros count.
const MAX_SIZE_DIGITS: usize = 15;

/// Decodes the body of a request. Data is passed on where it lies in the input.
#[derive(Debug)]
pub(crate) struct BodyDecoder {
    state: State,
    /// Bytes of data that may still come.
    left: u64,
    /// Bytes of chunk extensions that may still come: 8 KiB, and as many as data.
    extensions: u64,
    /// Trailer lines so far, and their length.
    trailers: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes of a body with a length that are missing.
    Length(u64),
    /// In a chunk-size line: the value so far, the number of digits, and what comes next.
    Size {
        value: u64,
        digits: usize,
        part: SizePart,
        length: usize,
    },
    /// Bytes of the chunk that are missing.
    Data(u64),
    /// The line end after the data of a chunk: CR, then LF.
    DataCr,
    DataLf,
    /// The trailer section.
    Trailer,
    Complete,
}

/// A part of a chunk-size line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SizePart {
    Digits,
    /// White space before an extension.
    Space,
    /// An extension, which is skipped.
    Extension,
    /// CR was read.
    Lf,
}

/// A step of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyStep {
    /// Data of the body: this part of the input.
    Data(Range<usize>),
    /// The body is complete. Trailers are those of a chunked body.
    End(HeaderMap),
}

impl BodyDecoder {
    /// A decoder for a body of at most `limit` bytes. A body whose length is known to be longer is refused at once.
    pub(crate) fn new(framing: BodyFraming, limit: u64) -> Result<Self, BodyError> {
        let state = match framing {
            BodyFraming::Length(length) if length > limit => return Err(BodyError::TooLarge),
            BodyFraming::Length(length) => State::Length(length),
            BodyFraming::Chunked => size_line(),
        };
        Ok(BodyDecoder { state, left: limit, extensions: MAX_CHUNK_LINE_BYTES as u64, trailers: Vec::new() })
    }

    /// Takes input. Returns the number of bytes used, and a step; `None` if all of the input was used and no step is
    /// complete. After [`BodyStep::End`] nothing is used.
    pub(crate) fn read(&mut self, input: &[u8]) -> Result<(usize, Option<BodyStep>), BodyError> {
        let mut at = 0;
        loop {
            match self.state {
                State::Length(0) => return Ok((at, Some(self.complete()))),
                State::Length(missing) | State::Data(missing) => {
                    let rest = &input[at..];
                    if rest.is_empty() {
                        return Ok((at, None));
                    }
                    let here = usize::try_from(missing).unwrap_or(usize::MAX).min(rest.len());
                    self.take(here as u64)?;
                    return Ok((at + here, Some(BodyStep::Data(at..at + here))));
                }
                State::Complete => return Ok((at, None)),
                _ => {}
            }
            let Some(octet) = input.get(at) else { return Ok((at, None)) };
            at += 1;
            self.state = match self.state {
                State::Size { .. } => self.next_of_size(*octet)?,
                State::DataCr if *octet == b'\r' => State::DataLf,
                State::DataLf if *octet == b'\n' => size_line(),
                State::DataCr | State::DataLf => return Err(BodyError::Chunk),
                State::Trailer => match self.next_of_trailer(*octet)? {
                    Some(trailers) => {
                        self.state = State::Complete;
                        return Ok((at, Some(BodyStep::End(trailers))));
                    }
                    None => State::Trailer,
                },
                state => state,
            };
        }
    }

    /// Bytes that are missing; `None` if that is not known.
    pub(crate) fn rest(&self) -> Option<u64> {
        match self.state {
            State::Length(missing) => Some(missing),
            State::Complete => Some(0),
            _ => None,
        }
    }

    fn complete(&mut self) -> BodyStep {
        self.state = State::Complete;
        BodyStep::End(HeaderMap::new())
    }

    /// `bytes` of data have arrived.
    fn take(&mut self, bytes: u64) -> Result<(), BodyError> {
        self.left = self.left.checked_sub(bytes).ok_or(BodyError::TooLarge)?;
        self.extensions = self.extensions.saturating_add(bytes);
        self.state = match self.state {
            State::Length(missing) => State::Length(missing - bytes),
            State::Data(missing) if missing == bytes => State::DataCr,
            State::Data(missing) => State::Data(missing - bytes),
            state => state,
        };
        Ok(())
    }

    /// The next state of a chunk-size line (RFC 9112 §7.1, §7.1.1). A line ends with CR LF, and extensions are skipped.
    fn next_of_size(&mut self, octet: u8) -> Result<State, BodyError> {
        let State::Size { value, digits, part, length } = self.state else { return Ok(self.state) };
        if length >= MAX_CHUNK_LINE_BYTES {
            return Err(BodyError::Trailer);
        }
        if part == SizePart::Extension {
            self.extensions = self.extensions.checked_sub(1).ok_or(BodyError::Trailer)?;
        }
        let next = |part| State::Size { value, digits, part, length: length + 1 };
        match (part, octet) {
            (SizePart::Digits, _) if octet.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(BodyError::Chunk);
                }
                let digit = (octet as char).to_digit(16).map_or(0, u64::from);
                Ok(State::Size { value: value << 4 | digit, digits: digits + 1, part, length: length + 1 })
            }
            (SizePart::Digits, _) if digits == 0 => Err(BodyError::Chunk),
            (SizePart::Digits | SizePart::Space, b' ' | b'\t') => Ok(next(SizePart::Space)),
            (SizePart::Digits | SizePart::Space, b';') => Ok(next(SizePart::Extension)),
            // White space at the end of the size is no part of the grammar.
            (SizePart::Digits | SizePart::Extension, b'\r') => Ok(next(SizePart::Lf)),
            (SizePart::Extension, b'\t' | b' '..=b'~' | 0x80..) => Ok(next(SizePart::Extension)),
            (SizePart::Lf, b'\n') if value == 0 => Ok(State::Trailer),
            (SizePart::Lf, b'\n') if value > self.left => Err(BodyError::TooLarge),
            (SizePart::Lf, b'\n') => Ok(State::Data(value)),
            _ => Err(BodyError::Chunk),
        }
    }

    /// Takes an octet of the trailer section. Returns the trailers at its end, an empty line.
    fn next_of_trailer(&mut self, octet: u8) -> Result<Option<HeaderMap>, BodyError> {
        if self.trailers.len() >= MAX_CHUNK_LINE_BYTES {
            return Err(BodyError::Trailer);
        }
        let last = self.trailers.last().copied();
        if (octet == b'\n') != (last == Some(b'\r')) || octet == 0 {
            return Err(BodyError::Trailer);
        }
        self.trailers.push(octet);
        let is_end = self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n");
        if is_end { parse_trailers(&std::mem::take(&mut self.trailers)).map(Some) } else { Ok(None) }
    }
}

/// The start of a chunk-size line.
fn size_line() -> State {
    State::Size { value: 0, digits: 0, part: SizePart::Digits, length: 0 }
}

/// Parses the lines of a trailer section. Fields that frame or route a message must not come there (RFC 9110 §6.5.1).
fn parse_trailers(section: &[u8]) -> Result<HeaderMap, BodyError> {
    let mut trailers = HeaderMap::new();
    let lines = section.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|octet| *octet == b':').ok_or(BodyError::Trailer)?;
        let (name, value) = (&line[..colon], trim_white_space(&line[colon + 1..]));
        if name.is_empty() || !name.iter().all(|octet| is_token_octet(*octet)) {
            return Err(BodyError::Trailer);
        }
        let name = HeaderName::from_bytes(name).map_err(|_| BodyError::Trailer)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| BodyError::Trailer)?;
        let forbidden = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST, header::TRAILER];
        if !forbidden.contains(&name) {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}

/// The value without spaces and tabs around it (RFC 9110 §5.6.3). A form feed, which is white space in ASCII, stays.
fn trim_white_space(value: &[u8]) -> &[u8] {
    let is_kept = |octet: &u8| !matches!(octet, b' ' | b'\t');
    let start = value.iter().position(is_kept).unwrap_or(value.len());
    let end = value.iter().rposition(is_kept).map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data and trailers of a body that arrives in pieces of this many bytes, and the bytes used.
    fn decode(body: &[u8], piece: usize, limit: u64) -> Result<(Vec<u8>, Option<HeaderMap>, usize), BodyError> {
        let mut decoder = BodyDecoder::new(BodyFraming::Chunked, limit)?;
        let (mut data, mut used) = (Vec::new(), 0);
        for piece in body.chunks(piece) {
            let mut at = 0;
            while at < piece.len() {
                let (read, step) = decoder.read(&piece[at..])?;
                match step {
                    Some(BodyStep::Data(range)) => data.extend_from_slice(&piece[at..][range]),
                    Some(BodyStep::End(trailers)) => return Ok((data, Some(trailers), used + at + read)),
                    None => {}
                }
                at += read;
            }
            used += piece.len();
        }
        Ok((data, None, used))
    }

    #[test]
    fn extensions_may_have_8_kib_more_than_the_data() {
        let chunk = |extension: usize| format!("1;{}\r\nx\r\n", "e".repeat(extension)).into_bytes();
        let body = |chunks: usize, extension: usize| [chunk(extension).repeat(chunks), b"0\r\n\r\n".to_vec()].concat();
        // The line end counts, too.
        assert!(decode(&body(1000, 8), 1000, 10_000).is_ok());
        assert_eq!(decode(&body(1000, 9), 1000, 10_000), Err(BodyError::Trailer));
        let signed = [&b"10000;chunk-signature=0123456789abcdef\r\n"[..], &[0; 0x10000], b"\r\n"].concat();
        assert!(decode(&[signed.repeat(300), b"0\r\n\r\n".to_vec()].concat(), 10_000, u64::MAX).is_ok());
    }

    #[track_caller]
    fn refused(body: &[u8], error: BodyError) {
        for piece in [1, 2, 3, body.len()] {
            assert_eq!(decode(body, piece, 1 << 20).map(|(data, ..)| data), Err(error), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn chunked_body_is_the_same_in_any_pieces() {
        // RFC 9112 §7.1: sizes in either case, extensions, trailers.
        let body = b"4\r\nWiki\r\n00A;name=\"va;lue\" ; b\r\npedia in\r\n\r\n0\r\nExpires: never\r\nX-A:\r\n\r\nGET /";
        for piece in 1..=body.len() {
            let (data, trailers, used) = decode(body, piece, 1 << 20).unwrap();
            assert_eq!(data, b"Wikipedia in\r\n");
            let trailers = trailers.unwrap();
            assert_eq!((trailers["expires"].as_bytes(), trailers["x-a"].as_bytes()), (&b"never"[..], &b""[..]));
            assert_eq!(used, body.len() - b"GET /".len());
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for body in [
            &b"\r\n"[..],
            b"g\r\n",
            b"+4\r\nWiki\r\n",
            b"0x4\r\nWiki\r\n",
            b"-1\r\n",
            b"4\nWiki\r\n",
            b"4\r\nWikipedia",
            b"4\r\nWiki\n0\r\n\r\n",
            b"4\r\nWiki\r0\r\n\r\n",
            b"4 \r\nWiki\r\n",
            b" 4\r\nWiki\r\n",
            b"4 4\r\nWiki\r\n",
            b"4;a\nWiki\r\n",
            b"4;a\0b\r\nWiki\r\n",
            b"4;a\r\rWiki",
            b"1234567890abcdef0\r\n",
        ] {
            refused(body, BodyError::Chunk);
        }
    }

    #[test]
    fn malformed_or_forbidden_trailers_do_not_become_headers() {
        for body in
            [&b"0\r\nA: b\n\r\n"[..], b"0\r\n\n", b"0\r\nno colon\r\n\r\n", b"0\r\n A: b\r\n\r\n", b"0\r\n: b\r\n\r\n"]
        {
            refused(body, BodyError::Trailer);
        }
        refused(b"0\r\nA: b\0\r\n\r\n", BodyError::Trailer);
        let body = b"0\r\nContent-Length: 5\r\nHost: other\r\nTransfer-Encoding: x\r\nok: 1\r\n\r\n";
        let (_, trailers, _) = decode(body, body.len(), 1 << 20).unwrap();
        assert_eq!(trailers.unwrap().len(), 1);
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = "a".repeat(MAX_CHUNK_LINE_BYTES);
        refused(format!("4;{long}\r\nWiki\r\n").as_bytes(), BodyError::Trailer);
        refused(format!("0\r\na: {long}\r\n\r\n").as_bytes(), BodyError::Trailer);
        let short = "a".repeat(MAX_CHUNK_LINE_BYTES / 2);
        let body = format!("4;{short}\r\nWiki\r\n0;{short}\r\na: {short}\r\n\r\n");
        assert!(decode(body.as_bytes(), 1000, 1 << 20).is_ok());
    }

    #[test]
    fn body_longer_than_the_limit_is_refused_before_its_data() {
        assert_eq!(BodyDecoder::new(BodyFraming::Length(11), 10).err(), Some(BodyError::TooLarge));
        assert!(BodyDecoder::new(BodyFraming::Length(10), 10).is_ok());
        let over = decode(b"5\r\nabcde\r\n6\r\n", 100, 10);
        assert_eq!(over.err(), Some(BodyError::TooLarge));
        assert!(decode(b"5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n", 100, 10).is_ok());
    }

    #[test]
    fn body_with_a_length_ends_there_and_leaves_the_next_request() {
        let mut decoder = BodyDecoder::new(BodyFraming::Length(5), 10).unwrap();
        assert_eq!(decoder.read(b""), Ok((0, None)));
        assert_eq!(decoder.read(b"abc"), Ok((3, Some(BodyStep::Data(0..3)))));
        assert_eq!(decoder.read(b"deGET"), Ok((2, Some(BodyStep::Data(0..2)))));
        assert_eq!(decoder.read(b"GET"), Ok((0, Some(BodyStep::End(HeaderMap::new())))));
        assert_eq!(decoder.read(b"GET"), Ok((0, None)));
    }
}
