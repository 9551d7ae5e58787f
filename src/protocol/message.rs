//! Messages: borrowed while they are received or sent, owned where they outlive the call.

use std::fmt;

use crate::{
    buffer::{Block, Blocks, Bytes, SharedBlock, Utf8Bytes},
    protocol::{error::ProtocolError, utf8},
};

/// A whole message with a borrowed payload. RFC 6455 §5.6.
///
/// `Display` writes a text message as its text, without a copy, and a binary message as the contents of a byte string
/// literal, without the quotes. Both forms are lossless.
///
/// ```
/// use ws_reactor::Message;
///
/// assert_eq!(Message::Text("naïve").to_string(), "naïve");
/// assert_eq!(Message::Binary(b"a\0\xff").to_string(), r"a\x00\xff");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message. The payload is valid UTF-8.
    Text(&'a str),
    /// A binary message. The payload is any sequence of bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The payload as bytes, for text and binary messages alike.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The text, or `None` for a binary message.
    pub fn as_text(self) -> Option<&'a str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// Length of the payload, in bytes.
    pub fn len(self) -> usize {
        self.as_bytes().len()
    }

    /// Returns `true` if the payload has no bytes.
    pub fn is_empty(self) -> bool {
        self.as_bytes().is_empty()
    }

    /// Returns `true` if the message is a text message.
    pub fn is_text(self) -> bool {
        matches!(self, Message::Text(_))
    }

    /// Returns `true` if the message is a binary message.
    pub fn is_binary(self) -> bool {
        !self.is_text()
    }

    /// A received text message: the bytes are checked for UTF-8. RFC 6455 §8.1.
    #[inline]
    pub(crate) fn checked_text(bytes: &'a [u8]) -> Result<Self, ProtocolError> {
        utf8::check(bytes).map(Message::Text)
    }

    /// Copies the message into a block.
    pub(crate) fn to_block(self, blocks: &mut Blocks) -> SharedBlock {
        match self {
            Message::Text(text) => blocks.take_text_copy(text),
            Message::Binary(bytes) => blocks.take_copy(bytes),
        }
    }

    /// Copies the payload into an [`OwnedMessage`], which can be stored, cloned without a copy and sent to other
    /// threads.
    pub fn to_owned(self) -> OwnedMessage {
        match self {
            Message::Text(text) => OwnedMessage::Text(text.into()),
            Message::Binary(bytes) => OwnedMessage::Binary(Bytes::copy_from_slice(bytes)),
        }
    }
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Text(text) => formatter.pad(text),
            Message::Binary(bytes) => bytes.escape_ascii().fmt(formatter),
        }
    }
}

/// Type, length and first bytes of a message, for log lines.
pub(crate) struct Summary<'a>(pub(crate) Message<'a>);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", if self.0.is_text() { "text" } else { "binary" }, Excerpt(self.0.as_bytes()))
    }
}

/// Length and first bytes of a payload, for log lines.
pub(crate) struct Excerpt<'a>(pub(crate) &'a [u8]);

/// Bytes of a payload shown in a log line.
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

/// The contents of a block that holds a message.
impl<'a> From<&'a Block> for Message<'a> {
    fn from(block: &'a Block) -> Self {
        block.as_text().map_or(Message::Binary(block.as_bytes()), Message::Text)
    }
}

impl<'a> From<&'a OwnedMessage> for Message<'a> {
    fn from(message: &'a OwnedMessage) -> Self {
        message.as_message()
    }
}

/// A whole message with an owned payload. `clone` does not copy the payload, and the type is `Send` and `Sync`.
///
/// `Display` is that of [`Message`].
///
/// ```
/// use ws_reactor::OwnedMessage;
///
/// match OwnedMessage::text("hello") {
///     OwnedMessage::Text(text) => assert_eq!(text, "hello"),
///     OwnedMessage::Binary(bytes) => println!("{} bytes", bytes.len()),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OwnedMessage {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message. The payload is any sequence of bytes.
    Binary(Bytes),
}

impl OwnedMessage {
    /// Makes a text message. A `String` or [`Utf8Bytes`] is taken over without a copy; a `&str` is copied.
    pub fn text(text: impl Into<Utf8Bytes>) -> Self {
        OwnedMessage::Text(text.into())
    }

    /// Makes a binary message. A `Vec<u8>` or [`Bytes`] is taken over without a copy.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        OwnedMessage::Binary(bytes.into())
    }

    /// Borrows the message.
    pub fn as_message(&self) -> Message<'_> {
        match self {
            OwnedMessage::Text(text) => Message::Text(text),
            OwnedMessage::Binary(bytes) => Message::Binary(bytes),
        }
    }

    /// The payload as bytes, for text and binary messages alike.
    pub fn as_bytes(&self) -> &[u8] {
        self.as_message().as_bytes()
    }

    /// The text, or `None` for a binary message.
    pub fn as_text(&self) -> Option<&str> {
        self.as_message().as_text()
    }

    /// Length of the payload, in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Returns `true` if the payload has no bytes.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

impl fmt::Display for OwnedMessage {
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

/// Shares the payload, without a copy.
impl From<&OwnedMessage> for OwnedMessage {
    fn from(message: &OwnedMessage) -> Self {
        message.clone()
    }
}

/// Shares the payload, without a copy.
impl From<&OwnedMessage> for Block {
    fn from(message: &OwnedMessage) -> Self {
        match message {
            OwnedMessage::Text(text) => Block::OwnedText(text.clone()),
            OwnedMessage::Binary(bytes) => Block::OwnedBytes(bytes.clone()),
        }
    }
}

impl From<&str> for OwnedMessage {
    fn from(text: &str) -> Self {
        OwnedMessage::text(text)
    }
}

impl From<&String> for OwnedMessage {
    fn from(text: &String) -> Self {
        OwnedMessage::text(text.as_str())
    }
}

impl From<String> for OwnedMessage {
    fn from(text: String) -> Self {
        OwnedMessage::text(text)
    }
}

impl From<Utf8Bytes> for OwnedMessage {
    fn from(text: Utf8Bytes) -> Self {
        OwnedMessage::Text(text)
    }
}

impl From<&[u8]> for OwnedMessage {
    fn from(bytes: &[u8]) -> Self {
        OwnedMessage::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for OwnedMessage {
    fn from(bytes: &[u8; N]) -> Self {
        OwnedMessage::Binary(Bytes::copy_from_slice(bytes))
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
    fn message_is_text_or_binary() {
        let (text, binary) = (Message::Text("word"), Message::Binary(b"word"));
        assert_eq!((text.as_text(), binary.as_text()), (Some("word"), None));
        assert!(text.is_text() && !text.is_binary() && binary.is_binary() && !binary.is_text());
        assert!(!text.is_empty() && Message::Text("").is_empty() && Message::Binary(b"").is_empty());
        assert_eq!((text.to_owned() == text, text.to_owned() == binary), (true, false), "equality includes the type");
    }

    #[test]
    fn message_is_displayed_as_its_text_or_its_escaped_bytes() {
        let long = "é".repeat(1000);
        assert_eq!(Message::Text(&long).to_string(), long);
        assert_eq!(OwnedMessage::text(long.as_str()).to_string(), long);
        assert_eq!(format!("{:>3}|", Message::Text("a")), "  a|");
        assert_eq!(Message::Binary(b"a\0\xff\\").to_string(), r"a\x00\xff\\");
        assert_eq!(Summary(Message::Text(&long)).to_string().len(), "text of 2000 bytes: …".len() + 64 * 4);
    }

    #[test]
    fn owned_text_is_stored_and_returned_without_a_copy() {
        let text = "x".repeat(100);
        let address = text.as_ptr();
        let owned = OwnedMessage::text(text);
        let OwnedMessage::Text(again) = owned.clone() else { panic!("not a text message") };
        assert_eq!((again.as_ptr(), again.len()), (address, 100));
        assert_eq!(Bytes::from(again).as_ptr(), address);
        assert!(Utf8Bytes::try_from(Bytes::from_static(b"\xff")).is_err());
        assert_eq!(Utf8Bytes::try_from(Bytes::from_static(b"ok")).unwrap(), "ok");
    }
}
