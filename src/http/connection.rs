//! A server's side of an HTTP/1.1 connection: bytes in, events out, and the bytes of responses (RFC 9112).
//!
//! Requests are handled one at a time: while a response is incomplete, no input is read. Responses therefore leave in
//! the order of the requests, also when one of them is deferred, and a pipeline waits in the network (RFC 9112 §9.3.2).

use std::{fmt, io::Write, ops::Range};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};

use super::{
    body_framing::{BodyError, BodyFraming},
    head::{HeadError, HeadLimits, HeadReader, known_headers::KnownHeaders},
    request_body::{BodyDecoder, BodyStep},
    response::{has_body, write_content_length, write_header, write_line, write_status},
};

/// Largest rest of a body that is discarded, so that the connection can be used again. A longer one is not read: the
/// connection closes instead.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;

/// The interim response that asks a client for its body (RFC 9110 §15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why a request was refused. The connection closes after the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestError {
    Head(HeadError),
    Body(BodyError),
}

impl RequestError {
    /// Status of the response.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            RequestError::Head(error) => error.status(),
            RequestError::Body(error) => error.status(),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Head(error) => error.fmt(formatter),
            RequestError::Body(error) => error.fmt(formatter),
        }
    }
}

/// An event of the connection.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "most events are requests")]
pub(crate) enum HttpEvent {
    /// The head of a request. No input is read until the body is [wanted](HttpConnection::want_body) or the response is
    /// complete.
    Request(Request<()>),
    /// A part of the body: this part of the input.
    Data(Range<usize>),
    /// The body is complete. Its trailers were checked and are dropped.
    End,
}

/// Length of a response's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLength {
    Known(u64),
    /// The end is marked by the last chunk, or in HTTP/1.0 by the end of the connection.
    Unknown,
}

/// Head of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseHead<'a> {
    pub(crate) status: StatusCode,
    /// `Content-Type`, if it is not among the headers: many responses have no other header.
    pub(crate) content_type: Option<&'a HeaderValue>,
    pub(crate) headers: Option<&'a HeaderMap>,
    /// Further headers, unless the application allows an origin itself (CORS).
    pub(crate) added: Option<&'a HeaderMap>,
}

impl<'a, T> From<&'a Response<T>> for ResponseHead<'a> {
    fn from(response: &'a Response<T>) -> Self {
        ResponseHead { status: response.status(), content_type: None, headers: Some(response.headers()), added: None }
    }
}

/// The state of the connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Request,
    Close,
}

/// Step of a connection, for its timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// No byte of a request has arrived.
    Idle,
    Head,
    Body,
    /// The request is complete, or its body is not wanted yet.
    Response,
    /// Nothing more is read.
    Ended,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    limits: HeadLimits,
    reader: HeadReader,
    input: Input,
    exchange: Exchange,
}

#[derive(Debug)]
enum Input {
    /// A head, or nothing yet.
    Head,
    /// The head is complete, and the body was not asked for.
    Held(BodyFraming),
    Body(BodyDecoder),
    /// The body is complete.
    Complete,
    /// The response is complete, and the rest of the body is skipped.
    Discarding(BodyDecoder),
    /// The connection closes, or belongs to another protocol.
    Ended,
}

/// The request in progress, and its response.
#[derive(Debug, Default)]
struct Exchange {
    is_head: bool,
    is_http_10: bool,
    /// The connection can be used for another request.
    persists: bool,
    /// The client waits for an interim response before it sends the body.
    awaits_continue: bool,
    output: Output,
}

/// How the body of a response is written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Output {
    /// The response has not begun.
    #[default]
    None,
    /// The response has no body, whatever the application has for it.
    Nothing,
    Plain,
    Chunked,
}

impl HttpConnection {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        HttpConnection { limits, reader: HeadReader::default(), input: Input::Head, exchange: Exchange::default() }
    }

    /// Takes input. Returns the number of bytes used, and an event. Nothing is used while the response is awaited.
    pub(crate) fn read(&mut self, input: &[u8]) -> Result<(usize, Option<HttpEvent>), RequestError> {
        let result = self.read_step(input);
        if result.is_err() {
            (self.input, self.exchange.persists) = (Input::Ended, false);
        }
        result
    }

    fn read_step(&mut self, input: &[u8]) -> Result<(usize, Option<HttpEvent>), RequestError> {
        let mut at = 0;
        loop {
            match &mut self.input {
                Input::Head => {
                    let read = self.reader.read(&input[at..], &self.limits).map_err(RequestError::Head)?;
                    let Some((request, used)) = read else { return Ok((input.len(), None)) };
                    self.begin(&request, self.reader.known())?;
                    return Ok((at + used, Some(HttpEvent::Request(request))));
                }
                Input::Body(decoder) => {
                    let (used, step) = decoder.read(&input[at..]).map_err(RequestError::Body)?;
                    // The client does not wait any more.
                    self.exchange.awaits_continue &= used == 0;
                    let event = match step {
                        None => None,
                        Some(BodyStep::Data(range)) => Some(HttpEvent::Data(at + range.start..at + range.end)),
                        Some(BodyStep::End(_)) => {
                            self.input = Input::Complete;
                            Some(HttpEvent::End)
                        }
                    };
                    return Ok((at + used, event));
                }
                Input::Discarding(decoder) => {
                    let (used, step) = decoder.read(&input[at..]).map_err(RequestError::Body)?;
                    at += used;
                    match step {
                        None => return Ok((at, None)),
                        Some(BodyStep::Data(_)) => {}
                        Some(BodyStep::End(_)) => self.input = Input::Head,
                    }
                }
                Input::Held(_) | Input::Complete | Input::Ended => return Ok((at, None)),
            }
        }
    }

    /// Begins an exchange. The caller checks `Host`, because versions of WebSocket differ in that.
    fn begin(&mut self, request: &Request<()>, known: KnownHeaders) -> Result<(), RequestError> {
        let (headers, version) = (request.headers(), request.version());
        self.exchange = Exchange {
            is_head: request.method() == Method::HEAD,
            is_http_10: version < Version::HTTP_11,
            persists: if known.connection { persists(version, headers) } else { version >= Version::HTTP_11 },
            ..Exchange::default()
        };
        let framing = match known.announce_body() {
            true => BodyFraming::of_request(version, headers).map_err(RequestError::Body)?,
            false => BodyFraming::Length(0),
        };
        if version >= Version::HTTP_11 && known.expect {
            let mut expectations = headers.get_all(header::EXPECT).iter();
            if !expectations.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
                return Err(RequestError::Head(HeadError::Expectation));
            }
            self.exchange.awaits_continue = !framing.is_empty();
        }
        self.input = if framing.is_empty() { Input::Complete } else { Input::Held(framing) };
        Ok(())
    }

    /// The headers of the request that decide how it is treated.
    pub(crate) fn known_headers(&self) -> KnownHeaders {
        self.reader.known()
    }

    /// Asks for the body, of at most `limit` bytes. Appends the interim response that the client may wait for.
    pub(crate) fn want_body(&mut self, limit: u64, out: &mut Vec<u8>) -> Result<(), RequestError> {
        if let Input::Held(framing) = self.input {
            match BodyDecoder::new(framing, limit) {
                Ok(decoder) => self.input = Input::Body(decoder),
                Err(error) => {
                    (self.input, self.exchange.persists) = (Input::Ended, false);
                    return Err(RequestError::Body(error));
                }
            }
            if std::mem::take(&mut self.exchange.awaits_continue) {
                out.extend_from_slice(CONTINUE);
            }
        }
        Ok(())
    }

    /// Checks whether the body is known to be longer than `limit`.
    pub(crate) fn check_length(&mut self, limit: u64) -> Result<(), RequestError> {
        match self.input {
            Input::Held(BodyFraming::Length(length)) if length > limit => {
                (self.input, self.exchange.persists) = (Input::Ended, false);
                Err(RequestError::Body(BodyError::TooLarge))
            }
            _ => Ok(()),
        }
    }

    /// Has the connection close after the response.
    pub(crate) fn close_after(&mut self) {
        self.exchange.persists = false;
    }

    /// Begins a response: appends its head. `date` is the value of `Date` (RFC 9110 §6.6.1).
    ///
    /// Headers that frame the message are the connection's own: those of the response are left out.
    pub(crate) fn begin_response<'r>(
        &mut self,
        response: impl Into<ResponseHead<'r>>,
        length: BodyLength,
        date: &str,
        out: &mut Vec<u8>,
    ) {
        let ResponseHead { status, content_type, headers, added } = response.into();
        self.exchange.persists &= self.rest_is_short();
        let bodiless = !has_body(status);
        let chunked = length == BodyLength::Unknown && !self.exchange.is_http_10;
        write_status(status, out);
        let own = [header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING, header::DATE];
        if let Some(value) = content_type {
            write_line("Content-Type", value.as_bytes(), out);
        }
        for (name, value) in headers.into_iter().flatten().filter(|(name, _)| !own.contains(*name)) {
            write_header(name, value.as_bytes(), out);
        }
        let is_own = || headers.is_some_and(|headers| headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        for (name, value) in added.filter(|_| !is_own()).into_iter().flatten() {
            write_header(name, value.as_bytes(), out);
        }
        write_line("Date", date.as_bytes(), out);
        match length {
            _ if bodiless => {}
            BodyLength::Known(length) => write_content_length(length, out),
            BodyLength::Unknown if chunked => write_header(&header::TRANSFER_ENCODING, b"chunked", out),
            // The end of the connection ends the body.
            BodyLength::Unknown => self.exchange.persists &= self.exchange.is_head,
        }
        // `Upgrade` must also be listed in `Connection` (RFC 9110 §7.8).
        let connection: &[u8] = match (
            headers.is_some_and(|headers| headers.contains_key(header::UPGRADE)),
            self.exchange.persists,
            self.exchange.is_http_10,
        ) {
            (false, true, false) => b"",
            (false, true, true) => b"keep-alive",
            (false, false, _) => b"close",
            (true, true, false) => b"Upgrade",
            (true, true, true) => b"Upgrade, keep-alive",
            (true, false, _) => b"Upgrade, close",
        };
        if !connection.is_empty() {
            write_header(&header::CONNECTION, connection, out);
        }
        out.extend_from_slice(b"\r\n");
        self.exchange.output = match () {
            () if bodiless || self.exchange.is_head => Output::Nothing,
            () if chunked => Output::Chunked,
            () => Output::Plain,
        };
    }

    /// Returns `true` if the response in progress has a body. The response to `HEAD` has none.
    pub(crate) fn takes_body(&self) -> bool {
        matches!(self.exchange.output, Output::Plain | Output::Chunked)
    }

    /// Returns `true` if the body of the response in progress is sent in chunks.
    #[cfg(feature = "server")]
    pub(crate) fn is_chunked(&self) -> bool {
        self.exchange.output == Output::Chunked
    }

    /// Appends a part of the response's body.
    pub(crate) fn write_body(&self, data: &[u8], out: &mut Vec<u8>) {
        match self.exchange.output {
            // An empty chunk would be the last one.
            _ if data.is_empty() => {}
            Output::None | Output::Nothing => {}
            Output::Plain => out.extend_from_slice(data),
            Output::Chunked => {
                // Writing to a `Vec` does not fail.
                let _ = write!(out, "{:x}\r\n", data.len());
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// The chunk-size line and the line end around a part of the response's body. `None` if the body is not chunked.
    pub(crate) fn chunk_framing(&self, length: usize) -> Option<(String, &'static [u8])> {
        (self.exchange.output == Output::Chunked).then(|| (format!("{length:x}\r\n"), &b"\r\n"[..]))
    }

    /// Completes the response. The next request may follow, or the connection closes.
    pub(crate) fn end_response(&mut self, out: &mut Vec<u8>) -> Next {
        if self.exchange.output == Output::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        let persists = std::mem::take(&mut self.exchange).persists;
        self.input = match std::mem::replace(&mut self.input, Input::Ended) {
            _ if !persists => Input::Ended,
            Input::Complete => Input::Head,
            Input::Body(decoder) => Input::Discarding(decoder),
            Input::Held(framing) => match BodyDecoder::new(framing, MAX_DISCARDED_BYTES) {
                Ok(decoder) => Input::Discarding(decoder),
                Err(_) => Input::Ended,
            },
            other => other,
        };
        if matches!(self.input, Input::Ended) { Next::Close } else { Next::Request }
    }

    /// Leaves the input to another protocol, from the next byte on.
    pub(crate) fn upgrade(&mut self) {
        self.input = Input::Ended;
    }

    /// The present step.
    pub(crate) fn step(&self) -> Step {
        match self.input {
            Input::Head if self.reader.is_empty() => Step::Idle,
            Input::Head => Step::Head,
            Input::Body(_) | Input::Discarding(_) => Step::Body,
            Input::Held(_) | Input::Complete => Step::Response,
            Input::Ended => Step::Ended,
        }
    }

    /// Returns `true` if all bytes of the body were passed on, and [`HttpEvent::End`] was not.
    #[cfg(feature = "server")]
    pub(crate) fn is_body_end_due(&self) -> bool {
        matches!(&self.input, Input::Body(decoder) if decoder.rest() == Some(0))
    }

    /// Returns `true` if what is left of the request's body may be skipped after the response.
    fn rest_is_short(&self) -> bool {
        match &self.input {
            Input::Complete => true,
            Input::Body(decoder) => decoder.rest().is_some_and(|rest| rest <= MAX_DISCARDED_BYTES),
            // A client that waits for `100 Continue` may send the body, or not.
            Input::Held(BodyFraming::Length(length)) => {
                !self.exchange.awaits_continue && *length <= MAX_DISCARDED_BYTES
            }
            Input::Held(BodyFraming::Chunked) | Input::Head | Input::Discarding(_) | Input::Ended => false,
        }
    }
}

/// Returns `true` if the client wants to use the connection again (RFC 9112 §9.3).
fn persists(version: Version, headers: &HeaderMap) -> bool {
    let names = |option: &str| has_option(headers, &header::CONNECTION, option);
    if version >= Version::HTTP_11 { !names("close") } else { names("keep-alive") && !names("close") }
}

/// Returns `true` if a list over all lines of a header has this member.
fn has_option(headers: &HeaderMap, name: &HeaderName, option: &str) -> bool {
    let lines = headers.get_all(name).into_iter().flat_map(|line| line.as_bytes().split(|octet| *octet == b','));
    lines.map(<[u8]>::trim_ascii).any(|member| member.eq_ignore_ascii_case(option.as_bytes()))
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
