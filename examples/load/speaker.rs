//! The batches of a connection: what it sends, and the check of what comes back.

use std::{io, rc::Rc};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::{
    json,
    payload::Content,
    wire::{COMPRESSED_TEXT, extent, masked, unmasked},
};

/// End of each compressed message that is removed (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

pub(crate) trait Speaker {
    /// The batch in flight.
    fn batch(&self) -> &[u8];

    /// Checks received bytes, in any pieces. Returns whether the batch is complete. An echo that differs is an error.
    fn hear(&mut self, bytes: &[u8]) -> io::Result<bool>;

    /// Goes on to the next batch.
    fn advance(&mut self) -> io::Result<()>;
}

/// A batch of equal messages: the bytes to send, and the bytes to receive.
pub(crate) struct Batch {
    pub(crate) sent: Vec<u8>,
    pub(crate) expected: Vec<u8>,
}

impl Batch {
    pub(crate) fn new(content: Content, payload: &[u8], depth: usize, framed: bool) -> Rc<Self> {
        let first = content.first_octet();
        let sent = masked(first, payload);
        // Without a protocol the same bytes come back.
        let expected = if framed { unmasked(first, payload) } else { sent.clone() };
        Rc::new(Batch { sent: sent.repeat(depth), expected: expected.repeat(depth) })
    }
}

pub(crate) struct Parrot {
    batch: Rc<Batch>,
    /// Bytes of the batch that are back.
    heard: usize,
}

impl Parrot {
    pub(crate) fn new(batch: &Rc<Batch>) -> Self {
        Parrot { batch: Rc::clone(batch), heard: 0 }
    }
}

impl Speaker for Parrot {
    fn batch(&self) -> &[u8] {
        &self.batch.sent
    }

    fn hear(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let next = self.heard + bytes.len();
        if self.batch.expected.get(self.heard..next) != Some(bytes) {
            return Err(other_echo());
        }
        self.heard = next;
        Ok(next == self.batch.expected.len())
    }

    fn advance(&mut self) -> io::Result<()> {
        self.heard = 0;
        Ok(())
    }
}

/// One compressed message at a time, each with another text.
pub(crate) struct Compressed {
    deflate: Compress,
    inflate: Decompress,
    takes_over: bool,
    server_takes_over: bool,
    texts: Rc<Vec<Vec<u8>>>,
    /// Index of the text in flight.
    current: usize,
    sent: Vec<u8>,
    heard: Vec<u8>,
    text: Vec<u8>,
}

impl Compressed {
    /// The texts, sent in turn.
    pub(crate) fn texts(bytes: usize) -> Rc<Vec<Vec<u8>>> {
        Rc::new(json::texts(64, bytes))
    }

    /// `answer` is the server's response.
    pub(crate) fn new(answer: &str, texts: &Rc<Vec<Vec<u8>>>, first: usize) -> io::Result<Self> {
        let answer = answer.to_ascii_lowercase();
        if !answer.contains("permessage-deflate") {
            return Err(io::Error::other("the server does not compress"));
        }
        let window = |name: &str| -> u8 {
            let value = answer.split_once(&format!("{name}=")).map(|(_, rest)| rest);
            value.and_then(|rest| rest.split([';', ',', '\r', ' ']).next()?.parse().ok()).unwrap_or(15)
        };
        let (ours, theirs) = (window("client_max_window_bits"), window("server_max_window_bits"));
        let mut speaker = Compressed {
            deflate: Compress::new_with_window_bits(Compression::new(1), false, ours.max(9)),
            inflate: Decompress::new_with_window_bits(false, theirs.max(9)),
            takes_over: !answer.contains("client_no_context_takeover"),
            server_takes_over: !answer.contains("server_no_context_takeover"),
            texts: Rc::clone(texts),
            current: first % texts.len(),
            sent: Vec::new(),
            heard: Vec::new(),
            text: vec![0; texts[0].len() + 1],
        };
        speaker.compress()?;
        Ok(speaker)
    }

    fn compress(&mut self) -> io::Result<()> {
        let text = &self.texts[self.current];
        if !self.takes_over {
            self.deflate.reset();
        }
        let mut deflated = Vec::with_capacity(2 * text.len() + 64);
        self.deflate.compress_vec(text, &mut deflated, FlushCompress::Sync)?;
        let body = deflated.strip_suffix(&TAIL).ok_or(io::ErrorKind::InvalidData)?;
        self.sent = masked(COMPRESSED_TEXT, body);
        Ok(())
    }
}

impl Speaker for Compressed {
    fn batch(&self) -> &[u8] {
        &self.sent
    }

    fn hear(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.heard.extend_from_slice(bytes);
        if self.heard[0] != COMPRESSED_TEXT {
            return Err(io::Error::other("the echo is not compressed"));
        }
        let Some((start, end)) = extent(&self.heard)? else { return Ok(false) };
        if self.heard.len() < end {
            return Ok(false);
        }
        if !self.server_takes_over {
            self.inflate.reset(false);
        }
        let before = self.inflate.total_out();
        for piece in [&self.heard[start..end], &TAIL] {
            let at = (self.inflate.total_out() - before) as usize;
            self.inflate.decompress(piece, &mut self.text[at..], FlushDecompress::Sync)?;
        }
        let text = &self.text[..(self.inflate.total_out() - before) as usize];
        match text == self.texts[self.current] && self.heard.len() == end {
            true => Ok(true),
            false => Err(other_echo()),
        }
    }

    fn advance(&mut self) -> io::Result<()> {
        self.heard.clear();
        self.current = (self.current + 1) % self.texts.len();
        self.compress()
    }
}

fn other_echo() -> io::Error {
    io::Error::other("the server did not echo the message: it sent other bytes")
}
