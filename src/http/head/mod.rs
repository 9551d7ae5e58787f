//! Heads of requests and of responses: the end is found octet by octet, and the head is parsed once.
//!
//! The search resumes where it stopped, so a head that drips in costs no more than a head that arrives whole. The
//! search also refuses bare CR, bare LF and NUL (RFC 9112 §2.2), which have been used to smuggle requests past proxies.

pub(crate) mod known_headers;

use std::{fmt, mem::MaybeUninit};

use self::known_headers::{KnownHeaders, is_host};
use crate::{setters::setters, url::percent};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

/// Limits on the size of a request head on a server, and of a response head on a client.
///
/// ```
/// use ws_reactor::{HeadLimits, ServerConfig};
///
/// let config = ServerConfig::new().head(HeadLimits::new().max_bytes(8 * 1024));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct HeadLimits {
    /// Largest head, in bytes. Default 16 KiB.
    ///
    /// A server answers a larger head with 431 (RFC 6585 §5), or with 414 (RFC 9110 §15.5.15) if the first line alone
    /// exceeds half of the limit.
    pub max_bytes: usize,
    /// Maximum number of header lines. Default 100. Values above 256 count as 256.
    ///
    /// A server answers more headers with 431. RFC 6585 §5.
    pub max_headers: usize,
}

impl HeadLimits {
    /// Makes the default limits.
    pub fn new() -> Self {
        HeadLimits::default()
    }

    setters! {
        max_bytes: usize,
        max_headers: usize,
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { max_bytes: 16 * 1024, max_headers: 100 }
    }
}

/// Why the head of a request or a response was refused. RFC 9112 §2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// A CR is not followed by LF, or an LF is not preceded by CR. RFC 9112 §2.2.
    BareLineEnd,
    /// The head contains a NUL octet.
    Nul,
    /// The head is not a request or a response of HTTP/1.
    Malformed,
    /// The request target is not a URI, has a fragment or a user, or its path decodes to another escape (`%%32e`). A
    /// `%` that begins no escape stands for itself, as in the URL standard. RFC 9112 §3.2.
    InvalidTarget,
    /// `Host` occurs more than once, is not a host with an optional port, or is missing in a request of HTTP/1.1. RFC
    /// 9112 §3.2.
    ///
    /// A missing header of an opening handshake is [`HandshakeError::Host`](crate::HandshakeError::Host), where the
    /// version requires the header.
    Host,
    /// `Expect` has another value than `100-continue`. Answered with 417. RFC 9110 §10.1.1.
    Expectation,
    /// The length of the body is ambiguous: `Content-Length` occurs twice, or next to `Transfer-Encoding`. RFC 9112
    /// §6.3.
    BodyLength,
    /// The first line of the head is longer than half of [`HeadLimits::max_bytes`].
    TargetTooLong,
    /// The head is longer than [`HeadLimits::max_bytes`].
    TooLarge,
    /// The head has more header lines than [`HeadLimits::max_headers`].
    TooManyHeaders,
}

impl HeadError {
    /// Status of the server's response: 414, 417, 431 or 400.
    pub fn status(self) -> StatusCode {
        match self {
            HeadError::TargetTooLong => StatusCode::URI_TOO_LONG,
            HeadError::Expectation => StatusCode::EXPECTATION_FAILED,
            HeadError::TooLarge | HeadError::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            HeadError::BareLineEnd => "bare CR or LF in the head",
            HeadError::Nul => "NUL in the head",
            HeadError::Malformed => "not HTTP/1",
            HeadError::InvalidTarget => "invalid request target",
            HeadError::Host => "exactly one Host header with a valid host is required",
            HeadError::Expectation => "unknown expectation",
            HeadError::BodyLength => "ambiguous body length",
            HeadError::TargetTooLong => "request target too long",
            HeadError::TooLarge => "head too large",
            HeadError::TooManyHeaders => "too many headers",
        })
    }
}

impl std::error::Error for HeadError {}

/// Collects a head. Only a head that arrives in pieces is copied.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeadReader {
    buffer: Vec<u8>,
    scan: Scan,
    known: KnownHeaders,
}

impl HeadReader {
    /// Reads more input. Returns the request once its head is complete, and how much of `input` belonged to the head.
    pub(crate) fn read(
        &mut self,
        input: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<(Request<()>, usize)>, HeadError> {
        let Some(end) = self.find_end(input, limits)? else { return Ok(None) };
        let (request, known) = self.parse_with(&input[..end], |head| parse(head, limits))?;
        self.known = known;
        Ok(Some((request, end)))
    }

    /// The headers of the last request that decide how it is treated.
    pub(crate) fn known(&self) -> KnownHeaders {
        self.known
    }

    /// Like [`read`](Self::read), for the head of a response.
    pub(crate) fn read_response(
        &mut self,
        input: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<(Response<()>, usize)>, HeadError> {
        let Some(end) = self.find_end(input, limits)? else { return Ok(None) };
        Ok(Some((self.parse_with(&input[..end], |head| parse_response(head, limits))?, end)))
    }

    /// Returns `true` while no byte of a head has arrived. Empty lines before a head are no part of it (RFC 9112 §2.2).
    pub(crate) fn is_empty(&self) -> bool {
        (self.scan.lines, self.scan.line) == (0, 0)
    }

    /// The end of the head in the input. Input without an end is kept.
    #[inline]
    fn find_end(&mut self, input: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        let end = self.scan.find_end(input, limits)?;
        if end.is_none() {
            self.buffer.extend_from_slice(input);
        }
        Ok(end)
    }

    /// Parses the head whose last part is `input`. Not inlined: the array of the headers would burden every read.
    #[inline(never)]
    fn parse_with<T>(
        &mut self,
        input: &[u8],
        parse: impl FnOnce(&[u8]) -> Result<T, HeadError>,
    ) -> Result<T, HeadError> {
        // The next head has limits of its own.
        self.scan = Scan::default();
        if self.buffer.is_empty() {
            return parse(input);
        }
        self.buffer.extend_from_slice(input);
        parse(&std::mem::take(&mut self.buffer))
    }
}

/// State of the search for the empty line.
#[derive(Debug, Clone, Default)]
struct Scan {
    /// Octets of the head so far.
    total: usize,
    /// Octets of the current line so far, without its CR.
    line: usize,
    /// Non-empty lines so far. Empty lines before the first are skipped (RFC 9112 §2.2).
    lines: usize,
    carriage_return: bool,
}

impl Scan {
    /// How much of `input` belongs to the head, once the empty line has arrived.
    fn find_end(&mut self, input: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        let mut index = 0;
        while let Some(octet) = input.get(index) {
            if !self.carriage_return {
                let rest = &input[index..];
                let run = rest.iter().position(|octet| matches!(octet, b'\r' | b'\n' | 0)).unwrap_or(rest.len());
                if run > 0 {
                    self.pass(run, limits)?;
                    index += run;
                    continue;
                }
            }
            index += 1;
            self.total += 1;
            if self.total > limits.max_bytes {
                return Err(HeadError::TooLarge);
            }
            match (octet, self.carriage_return) {
                (b'\n', true) => {
                    self.carriage_return = false;
                    match (self.line, self.lines) {
                        (0, 0) => {}
                        (0, _) => return Ok(Some(index)),
                        _ => self.lines += 1,
                    }
                    self.line = 0;
                }
                (b'\n', false) | (_, true) => return Err(HeadError::BareLineEnd),
                (b'\r', false) => self.carriage_return = true,
                _ => return Err(HeadError::Nul),
            }
        }
        Ok(None)
    }

    /// Skips `run` octets within a line. Of two exceeded limits, the one exceeded first is reported.
    fn pass(&mut self, run: usize, limits: &HeadLimits) -> Result<(), HeadError> {
        let left = limits.max_bytes - self.total;
        let left_of_target = if self.lines == 0 { limits.max_bytes / 2 - self.line } else { usize::MAX };
        match run {
            _ if run > left && left <= left_of_target => Err(HeadError::TooLarge),
            _ if run > left_of_target => Err(HeadError::TargetTooLong),
            _ => {
                self.total += run;
                self.line += run;
                Ok(())
            }
        }
    }
}

/// Interim responses (1xx) accepted before the final response.
pub(crate) const MOST_INFORMATIONAL: usize = 8;

/// Upper bound of [`HeadLimits::max_headers`].
const MOST_HEADERS: usize = 256;

/// Array for the headers of a head. Filling it would cost more than parsing a short head.
const UNINIT_HEADERS: [MaybeUninit<httparse::Header<'_>>; MOST_HEADERS] =
    [const { MaybeUninit::uninit() }; MOST_HEADERS];

fn parse(head: &[u8], limits: &HeadLimits) -> Result<(Request<()>, KnownHeaders), HeadError> {
    let (mut headers, mut parsed) = (UNINIT_HEADERS, httparse::Request::new(&mut []));
    let headers = &mut headers[..limits.max_headers.min(MOST_HEADERS)];
    check_parsed(parsed.parse_with_uninit_headers(head, headers))?;
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HeadError::Malformed);
    };
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::Malformed)?;
    // Only `OPTIONS` has a target without any form of a URI (RFC 9112 §3.2.4).
    if target == "*" && request.method() != Method::OPTIONS {
        return Err(HeadError::InvalidTarget);
    }
    // `CONNECT` names another server (RFC 9112 §3.2.3). A path is none, and a response of 2xx would begin a tunnel (RFC
    // 9110 §9.3.6), whatever the route of the path means by it.
    if request.method() == Method::CONNECT {
        return Err(HeadError::InvalidTarget);
    }
    *request.uri_mut() = parse_target(target)?;
    *request.version_mut() = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut known = KnownHeaders::default();
    append_headers(parsed.headers, request.headers_mut(), |name, value| known.note(name, value))?;
    known.check()?;
    Ok((request, known))
}

fn parse_response(head: &[u8], limits: &HeadLimits) -> Result<Response<()>, HeadError> {
    let (mut headers, mut parsed) = (UNINIT_HEADERS, httparse::Response::new(&mut []));
    let headers = &mut headers[..limits.max_headers.min(MOST_HEADERS)];
    let config = httparse::ParserConfig::default();
    check_parsed(config.parse_response_with_uninit_headers(&mut parsed, head, headers))?;
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else { return Err(HeadError::Malformed) };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| HeadError::Malformed)?;
    *response.version_mut() = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    append_headers(parsed.headers, response.headers_mut(), |_, _| Ok(()))?;
    Ok(response)
}

fn check_parsed(parsed: httparse::Result<usize>) -> Result<(), HeadError> {
    match parsed {
        Ok(httparse::Status::Complete(_)) => Ok(()),
        Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooManyHeaders),
        Ok(httparse::Status::Partial) | Err(_) => Err(HeadError::Malformed),
    }
}

/// Appends headers, each after a check.
fn append_headers(
    parsed: &[httparse::Header<'_>],
    headers: &mut HeaderMap,
    mut check: impl FnMut(&HeaderName, &[u8]) -> Result<(), HeadError>,
) -> Result<(), HeadError> {
    headers.reserve(parsed.len());
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| HeadError::Malformed)?;
        let value = HeaderValue::from_bytes(header.value).map_err(|_| HeadError::Malformed)?;
        check(&name, header.value)?;
        headers.append(name, value);
    }
    Ok(())
}

fn parse_target(target: &str) -> Result<Uri, HeadError> {
    // A target has no fragment (RFC 9112 §3.2). `Uri` cuts it off, where a proxy may have taken it for the path.
    if target.as_bytes().contains(&b'#') {
        return Err(HeadError::InvalidTarget);
    }
    let has_escapes = target.as_bytes().contains(&b'%');
    if has_escapes && percent::decodes_to_an_escape(target.split('?').next().unwrap_or_default()) {
        return Err(HeadError::InvalidTarget);
    }
    let uri = Uri::try_from(target).map_err(|_| HeadError::InvalidTarget)?;
    match uri.authority() {
        // Only CONNECT has a target without a path (RFC 9112 §3.2.3).
        Some(_) if uri.scheme().is_none() => Err(HeadError::InvalidTarget),
        Some(authority) if !is_host(authority.as_str().as_bytes()) => Err(HeadError::InvalidTarget),
        _ => Ok(uri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: example.com\r\nUpgrade: h2c\r\n\r\n";

    fn read(input: &str) -> Result<Option<(Request<()>, usize)>, HeadError> {
        HeadReader::default().read(input.as_bytes(), &HeadLimits::default())
    }

    /// The error of `input`, which must be the same byte by byte.
    fn refused(input: &str) -> HeadError {
        let error = read(input).expect_err("a refused head");
        let mut reader = HeadReader::default();
        let by_byte = input.bytes().find_map(|byte| reader.read(&[byte], &HeadLimits::default()).err());
        assert_eq!(by_byte, Some(error), "byte by byte");
        error
    }

    #[test]
    fn head_is_parsed_and_the_bytes_after_it_are_left() {
        let input = format!("{GOOD}\x01\x02");
        let (request, used) = read(&input).unwrap().unwrap();
        assert_eq!((request.uri().path(), request.uri().query(), used), ("/chat", Some("room=1"), GOOD.len()));
        assert_eq!(request.headers()["host"], "example.com");
    }

    #[test]
    fn request_split_at_any_byte_is_parsed_the_same() {
        for cut in 0..GOOD.len() {
            let mut reader = HeadReader::default();
            assert!(reader.read(&GOOD.as_bytes()[..cut], &HeadLimits::default()).unwrap().is_none());
            let (request, used) = reader.read(&GOOD.as_bytes()[cut..], &HeadLimits::default()).unwrap().unwrap();
            assert_eq!((request.uri().path(), used), ("/chat", GOOD.len() - cut), "cut at {cut}");
        }
    }

    #[test]
    fn reader_reads_one_head_after_the_other() {
        let mut reader = HeadReader::default();
        let limits = HeadLimits::new().max_bytes(2 * GOOD.len());
        for cut in [0, 10, GOOD.len()].repeat(5) {
            assert!(reader.read(&GOOD.as_bytes()[..cut], &limits).unwrap().is_some() == (cut == GOOD.len()));
            if cut < GOOD.len() {
                let (_, used) = reader.read(&GOOD.as_bytes()[cut..], &limits).unwrap().unwrap();
                assert_eq!(used, GOOD.len() - cut);
            }
        }
    }

    #[test]
    fn empty_lines_before_the_request_are_skipped() {
        assert!(read(&format!("\r\n\r\n{GOOD}")).unwrap().is_some());
    }

    #[test]
    fn head_with_a_bare_cr_or_lf_or_a_nul_is_refused() {
        assert_eq!(refused("GET / HTTP/1.1\nHost: a\n\n"), HeadError::BareLineEnd);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n"), HeadError::BareLineEnd);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"), HeadError::Nul);
    }

    #[test]
    fn head_that_allows_request_smuggling_is_refused() {
        assert_eq!(refused("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), HeadError::Malformed);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n"), HeadError::Malformed);
        assert_eq!(
            refused("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            HeadError::BodyLength
        );
        assert_eq!(
            refused("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            HeadError::BodyLength
        );
        assert_eq!(refused("GET / HTTQ/1.1\r\nHost: a\r\n\r\n"), HeadError::Malformed);
    }

    #[test]
    fn second_host_header_is_refused() {
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), HeadError::Host);
        assert!(read("GET / HTTP/1.1\r\n\r\n").unwrap().is_some(), "whether it is needed depends on the protocol");
    }

    #[test]
    fn target_that_is_no_uri_or_whose_path_decodes_to_an_escape_is_refused() {
        assert_eq!(refused("GET /%%32e HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::InvalidTarget);
        assert_eq!(refused("GET /%2%65/ HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::InvalidTarget);
        for target in ["/?discount=50%", "/?a=%%32e", "/50%", "/%2", "/%zz", "/%zz?%"] {
            assert!(read(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap().is_some(), "{target}");
        }
        assert_eq!(refused("GET example.com HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::InvalidTarget);
        assert_eq!(refused("GET x:80 HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::InvalidTarget);
        assert!(read("GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().is_some());
        assert!(read("GET /%2F HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().is_some());
    }

    #[test]
    fn head_above_a_limit_is_refused_with_the_error_of_that_limit() {
        let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000));
        assert_eq!(refused(&long_target).status(), StatusCode::URI_TOO_LONG);
        let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(17_000));
        assert_eq!(refused(&large).status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let header = |count| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert_eq!(refused(&header(100)), HeadError::TooManyHeaders);
        assert!(read(&header(99)).unwrap().is_some());
    }
}
