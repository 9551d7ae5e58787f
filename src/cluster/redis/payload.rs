//! A message as the payload of a channel: text as it is, and binary behind an octet that is in no UTF-8.

use std::hash::{BuildHasher, RandomState};

use super::resp::write_command;
use crate::{
    buffer::Bytes,
    protocol::{Message, OwnedMessage, utf8},
};

/// The first octet of a binary message.
const BINARY: u8 = 0xFF;

/// The payload of a message that this process publishes.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    is_binary: bool,
    bytes: Bytes,
}

/// The mark by which a payload is recognized when Redis sends it back: itself, or a hash of it if it is long. A hash
/// holds little memory while Redis is slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    is_binary: bool,
    length: usize,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Short(Bytes),
    Long([u64; 2]),
}

/// Longest payload that a mark holds itself.
const MOST_SHORT_BYTES: usize = 256;

/// The keys of the hashes: random, so that nobody can make two payloads with the same.
#[derive(Debug, Default)]
pub(super) struct Marks([RandomState; 2]);

impl Marks {
    pub(super) fn of(&self, payload: &Payload) -> Mark {
        let (is_binary, length) = (payload.is_binary, payload.bytes.len());
        let content = match length <= MOST_SHORT_BYTES {
            true => Content::Short(payload.bytes.clone()),
            false => Content::Long(self.hash(&payload.bytes)),
        };
        Mark { is_binary, length, content }
    }

    fn hash(&self, bytes: &[u8]) -> [u64; 2] {
        self.0.each_ref().map(|keys| keys.hash_one(bytes))
    }

    /// Index of the first mark that is that of a payload which has arrived.
    pub(super) fn find<'m>(&self, marks: impl Iterator<Item = &'m Mark>, payload: &[u8]) -> Option<usize> {
        let (is_binary, bytes) = match payload.split_first() {
            Some((&BINARY, rest)) => (true, rest),
            _ => (false, payload),
        };
        let mut hash = None;
        let is_own = |mark: &Mark| {
            mark.is_binary == is_binary
                && mark.length == bytes.len()
                && match &mark.content {
                    Content::Short(own) => **own == *bytes,
                    Content::Long(own) => own == hash.get_or_insert_with(|| self.hash(bytes)),
                }
        };
        marks.into_iter().position(is_own)
    }
}

impl Mark {
    /// The message, if it holds it.
    pub(super) fn message(&self) -> Option<Message<'_>> {
        match &self.content {
            Content::Short(bytes) if self.is_binary => Some(Message::Binary(bytes)),
            Content::Short(bytes) => utf8::check(bytes).ok().map(Message::Text),
            Content::Long(_) => None,
        }
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        if let Content::Short(bytes) = &self.content { bytes.len() } else { 0 }
    }
}

impl Payload {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the command that publishes it.
    pub(super) fn write(&self, command: &str, channel: &str, out: &mut Vec<u8>) {
        let (command, channel) = (command.as_bytes(), channel.as_bytes());
        match self.is_binary {
            true => write_command(&[command, channel, &[&[BINARY], &*self.bytes].concat()], out),
            false => write_command(&[command, channel, &self.bytes], out),
        }
    }
}

impl From<&OwnedMessage> for Payload {
    fn from(message: &OwnedMessage) -> Self {
        match message.clone() {
            OwnedMessage::Text(text) => Payload { is_binary: false, bytes: text.into() },
            OwnedMessage::Binary(bytes) => Payload { is_binary: true, bytes },
        }
    }
}

/// The message of a payload that has arrived. `None` if it is neither text nor marked as binary.
pub(super) fn message(payload: &[u8]) -> Option<Message<'_>> {
    match payload.split_first() {
        Some((&BINARY, message)) => Some(Message::Binary(message)),
        _ => utf8::check(payload).ok().map(Message::Text),
    }
}
