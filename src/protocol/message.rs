//! Messages: borrowed as they are received and sent, owned where they must outlive the call.

use std::fmt;

use bytes::Bytes;

/// A whole message, borrowed from wherever it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text, known to be UTF-8.
    Text(&'a str),
    /// Any octets.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The payload, whatever its type.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The text, if it is one.
    pub fn as_text(self) -> Option<&'a str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// Length of the payload in bytes.
    pub fn len(self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty.
    pub fn is_empty(self) -> bool {
        self.as_bytes().is_empty()
    }

    /// Whether it is a text message.
    pub fn is_text(self) -> bool {
        matches!(self, Message::Text(_))
    }

    /// Whether it is a binary message.
    pub fn is_binary(self) -> bool {
        !self.is_text()
    }

    /// A copy that can be kept, cloned cheaply and sent to other threads.
    pub fn to_owned(self) -> OwnedMessage {
        match self {
            Message::Text(text) => OwnedMessage::text(text),
            Message::Binary(bytes) => OwnedMessage::binary(bytes.to_vec()),
        }
    }
}

/// Its type, its length, and how it begins.
impl fmt::Display for Message<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", if self.is_text() { "text" } else { "binary" }, Excerpt(self.as_bytes()))
    }
}

/// The length of a payload and how it begins, for the log.
pub(crate) struct Excerpt<'a>(pub(crate) &'a [u8]);

/// As much of a payload as a line of the log should hold, in bytes.
const EXCERPT_BYTES: usize = 64;

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(EXCERPT_BYTES)];
        let more = if shown.len() < self.0.len() { "…" } else { "" };
        write!(formatter, "of {} bytes: {}{more}", self.0.len(), shown.escape_ascii())
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Message::Binary(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Message::Binary(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Message::Binary(bytes)
    }
}

impl<'a> From<&'a Bytes> for Message<'a> {
    fn from(bytes: &'a Bytes) -> Self {
        Message::Binary(bytes)
    }
}

impl<'a> From<&'a OwnedMessage> for Message<'a> {
    fn from(message: &'a OwnedMessage) -> Self {
        message.as_message()
    }
}

/// The owned twin of [`Message`]: immutable, `Send`, and cloned without copying the payload.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedMessage(Payload);

/// Text stays a `str`, so that it need not be checked again.
#[derive(Clone, PartialEq, Eq)]
enum Payload {
    Text(std::sync::Arc<str>),
    Binary(Bytes),
}

impl fmt::Display for OwnedMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_message().fmt(formatter)
    }
}

impl OwnedMessage {
    /// A text message.
    pub fn text(text: impl AsRef<str>) -> Self {
        OwnedMessage(Payload::Text(text.as_ref().into()))
    }

    /// A binary message; a `Vec<u8>` or [`Bytes`] is taken over without a copy.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        OwnedMessage(Payload::Binary(bytes.into()))
    }

    /// The message, borrowed.
    pub fn as_message(&self) -> Message<'_> {
        match &self.0 {
            Payload::Text(text) => Message::Text(text),
            Payload::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

impl fmt::Debug for OwnedMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_message().fmt(formatter)
    }
}

impl PartialEq<Message<'_>> for OwnedMessage {
    fn eq(&self, other: &Message<'_>) -> bool {
        self.as_message() == *other
    }
}

impl From<Message<'_>> for OwnedMessage {
    fn from(message: Message<'_>) -> Self {
        message.to_owned()
    }
}

impl From<&str> for OwnedMessage {
    fn from(text: &str) -> Self {
        OwnedMessage::text(text)
    }
}

impl From<String> for OwnedMessage {
    fn from(text: String) -> Self {
        OwnedMessage::text(text)
    }
}

impl From<Vec<u8>> for OwnedMessage {
    fn from(bytes: Vec<u8>) -> Self {
        OwnedMessage::binary(bytes)
    }
}

impl From<Bytes> for OwnedMessage {
    fn from(bytes: Bytes) -> Self {
        OwnedMessage::binary(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_text_or_octets() {
        let (text, octets) = (Message::Text("word"), Message::Binary(b"word"));
        assert_eq!((text.as_text(), octets.as_text()), (Some("word"), None));
        assert!(text.is_text() && !text.is_binary() && octets.is_binary() && !octets.is_text());
        assert!(!text.is_empty() && Message::Text("").is_empty() && Message::Binary(b"").is_empty());
        assert_eq!((text.to_owned() == text, text.to_owned() == octets), (true, false), "its kind is a part of it");
    }
}
