//! Closed loop of `GET` requests: each connection has one batch of requests in flight, and sends the next when all
//! responses are complete.

use std::{io, rc::Rc, time::Duration};

use crate::{
    Options,
    echo::Echo,
    slice::{Slice, Work},
    speaker::Speaker,
};

/// Longest head of a response.
const MAX_HEAD_BYTES: usize = 16 * 1024;

pub(crate) struct Requests(Echo);

impl Requests {
    pub(crate) fn connect(options: &Options) -> io::Result<Self> {
        if options.target.framed {
            return Err(other("the URL of this kind of load is http or https".to_owned()));
        }
        let request = options.target.request();
        let batch: Rc<[u8]> = request.repeat(options.depth).into_bytes().into();
        let (depth, length) = (options.depth, options.payload.len());
        Ok(Requests(Echo::with(options, |_| Ok(Box::new(Asker::new(Rc::clone(&batch), depth, length))))?))
    }
}

impl Work for Requests {
    const UNIT: &'static str = "responses";

    fn settle(&mut self) -> io::Result<()> {
        self.0.settle()
    }

    fn run(&mut self, time: Duration) -> io::Result<Slice> {
        self.0.run(time)
    }
}

/// Sends equal requests. Checks status and length of each response, and that nothing follows the last.
struct Asker {
    batch: Rc<[u8]>,
    depth: usize,
    /// Required length of every body.
    length: usize,
    /// Responses of the batch that are complete.
    complete: usize,
    /// Bytes of the present response that arrived without its end.
    held: Vec<u8>,
}

impl Asker {
    fn new(batch: Rc<[u8]>, depth: usize, length: usize) -> Self {
        Asker { batch, depth, length, complete: 0, held: Vec::new() }
    }

    /// Takes whole responses off the front of `bytes`, and returns the rest.
    fn take<'b>(&mut self, mut bytes: &'b [u8]) -> io::Result<&'b [u8]> {
        while let Some(head) = head(bytes)? {
            if head.length != self.length {
                return Err(other(format!("a body has {} bytes in place of {}", head.length, self.length)));
            }
            let Some((_, rest)) = bytes.split_at_checked(head.end + head.length) else { break };
            (self.complete, bytes) = (self.complete + 1, rest);
        }
        Ok(bytes)
    }
}

impl Speaker for Asker {
    fn batch(&self) -> &[u8] {
        &self.batch
    }

    fn hear(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if self.held.is_empty() {
            let rest = self.take(bytes)?;
            self.held.extend_from_slice(rest);
        } else {
            self.held.extend_from_slice(bytes);
            let held = std::mem::take(&mut self.held);
            self.held = self.take(&held)?.to_vec();
        }
        match self.complete == self.depth {
            true if !self.held.is_empty() => Err(other("bytes follow the last response".to_owned())),
            _ if self.complete > self.depth => Err(other("there are more responses than requests".to_owned())),
            is_complete => Ok(is_complete),
        }
    }

    fn advance(&mut self) -> io::Result<()> {
        self.complete = 0;
        Ok(())
    }
}

/// The head of a response with status 200.
struct Head {
    /// Length with the empty line.
    end: usize,
    /// Value of `Content-Length`.
    length: usize,
}

/// Parses the head of a response; `None` if it is incomplete.
fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let (mut start, mut length) = (0, None);
    while let Some(line_length) = bytes[start..].iter().position(|octet| *octet == b'\n') {
        let line = bytes[start..start + line_length].trim_ascii_end();
        if start == 0 {
            if !line.starts_with(b"HTTP/1.1 200") {
                return Err(other(format!("the server answered {:?}", String::from_utf8_lossy(line))));
            }
        } else if let Some(value) = value(line, b"content-length:") {
            length = str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        }
        start += line_length + 1;
        if line.is_empty() {
            let length = length.ok_or_else(|| other("a response has no Content-Length".to_owned()))?;
            return Ok(Some(Head { end: start, length }));
        }
    }
    if bytes.len() > MAX_HEAD_BYTES { Err(other("the head of a response does not end".to_owned())) } else { Ok(None) }
}

/// The value of a header line with this name; the name is in lower case, with its colon.
fn value<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (known, value) = line.split_at_checked(name.len())?;
    known.eq_ignore_ascii_case(name).then_some(value.trim_ascii())
}

fn other(reason: String) -> io::Error {
    io::Error::other(reason)
}
