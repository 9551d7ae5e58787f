//! The framing of a request's body, decided by the head (RFC 9112 §6).
//!
//! Everything that two parsers could read differently is refused: a request that one of them takes for the body of
//! another is smuggled past the rules of the first.

use std::fmt;

use http::{HeaderMap, HeaderValue, StatusCode, Version, header};

/// Why the body of a request was refused. The server answers with 400 or 413, and closes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// The length is ambiguous: two lengths, a length that is not a plain number, a length next to `Transfer-Encoding`,
    /// or `Transfer-Encoding` in HTTP/1.0. RFC 9112 §6.
    Length,
    /// `Transfer-Encoding` is not `chunked` alone. RFC 9112 §6.1.
    Coding,
    /// A chunk size, its line end, or the line end after a chunk is malformed. RFC 9112 §7.1.
    Chunk,
    /// A chunk-size line, all chunk extensions or the trailer section are too long, or a trailer line is malformed.
    Trailer,
    /// The body is longer than its limit: [`ServerConfig::max_body_bytes`](field@crate::ServerConfig::max_body_bytes),
    /// or that of its routes.
    TooLarge,
}

impl BodyError {
    /// Status of the server's response: 413 or 400.
    pub fn status(self) -> StatusCode {
        if self == BodyError::TooLarge { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            BodyError::Length => "ambiguous body length",
            BodyError::Coding => "unsupported transfer coding",
            BodyError::Chunk => "malformed chunk",
            BodyError::Trailer => "malformed or too long trailer",
            BodyError::TooLarge => "body too large",
        })
    }
}

impl std::error::Error for BodyError {}

/// Framing of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    /// The body has this many bytes. 0: there is no body.
    Length(u64),
    Chunked,
}

impl BodyFraming {
    /// The framing that the head of a request announces (RFC 9112 §6.3).
    pub(crate) fn of_request(version: Version, headers: &HeaderMap) -> Result<Self, BodyError> {
        let (mut lengths, mut codings) =
            (headers.get_all(header::CONTENT_LENGTH).iter(), headers.get_all(header::TRANSFER_ENCODING).iter());
        match (lengths.next(), codings.next()) {
            (None, None) => Ok(BodyFraming::Length(0)),
            (Some(_), Some(_)) => Err(BodyError::Length),
            (Some(length), None) if lengths.next().is_none() => content_length(length).map(BodyFraming::Length),
            (Some(_), None) => Err(BodyError::Length),
            // A proxy of HTTP/1.0 does not know the coding and forwards it unchanged.
            (None, Some(_)) if version < Version::HTTP_11 => Err(BodyError::Length),
            (None, Some(coding)) => {
                let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
                if is_chunked && codings.next().is_none() { Ok(BodyFraming::Chunked) } else { Err(BodyError::Coding) }
            }
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self == BodyFraming::Length(0)
    }
}

/// A length of digits alone (RFC 9110 §8.6).
fn content_length(value: &HeaderValue) -> Result<u64, BodyError> {
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BodyError::Length);
    }
    str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(BodyError::Length)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn framing(lines: &[(&str, &str)]) -> Result<BodyFraming, BodyError> {
        framing_in(Version::HTTP_11, lines)
    }

    fn framing_in(version: Version, lines: &[(&str, &str)]) -> Result<BodyFraming, BodyError> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        BodyFraming::of_request(version, &headers)
    }

    #[test]
    fn request_without_a_length_has_no_body() {
        assert_eq!(framing(&[]), Ok(BodyFraming::Length(0)));
        assert_eq!(framing(&[("content-length", "0")]), Ok(BodyFraming::Length(0)));
        assert!(framing(&[]).unwrap().is_empty());
        assert_eq!(framing(&[("content-length", "18446744073709551615")]), Ok(BodyFraming::Length(u64::MAX)));
        assert_eq!(framing(&[("transfer-encoding", "Chunked")]), Ok(BodyFraming::Chunked));
    }

    #[test]
    fn length_that_two_parsers_could_read_differently_is_refused() {
        for value in ["+5", "-5", "5, 5", "5,5", " 5", "0x5", "5 5", "", "18446744073709551616", "5\u{a0}"] {
            let value = value.trim_start();
            if value == "5" {
                continue;
            }
            assert_eq!(framing(&[("content-length", value)]), Err(BodyError::Length), "{value:?}");
        }
        assert_eq!(framing(&[("content-length", "5"), ("content-length", "5")]), Err(BodyError::Length));
        assert_eq!(framing(&[("content-length", "5"), ("content-length", "6")]), Err(BodyError::Length));
        let both = [("content-length", "5"), ("transfer-encoding", "chunked")];
        assert_eq!(framing(&both), Err(BodyError::Length));
        let chunked = [("transfer-encoding", "chunked")];
        assert_eq!(framing_in(Version::HTTP_10, &chunked), Err(BodyError::Length));
    }

    #[test]
    fn transfer_coding_other_than_chunked_alone_is_refused() {
        for value in
            ["gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "identity", "chunked;q=1", "xchunked", ""]
        {
            assert_eq!(framing(&[("transfer-encoding", value)]), Err(BodyError::Coding), "{value:?}");
        }
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(framing(&twice), Err(BodyError::Coding));
    }
}
