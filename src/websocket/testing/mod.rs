//! Tests of handlers without sockets and without real time.

mod conversation;
mod names;
mod network;
mod opening;
mod peer;
mod play;
mod test_socket;

use std::fmt;

pub use self::{network::Network, opening::Opening, test_socket::TestSocket};
use crate::protocol::{CloseCode, Incoming, Message, OwnedMessage};

/// A message or control frame that a peer received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A complete message.
    Message(OwnedMessage),
    /// A ping, with its data.
    Ping(Vec<u8>),
    /// A pong, with its data.
    Pong(Vec<u8>),
    /// A close frame, with its code and reason if it carries them.
    Close(Option<(CloseCode, String)>),
}

impl From<&str> for Received {
    fn from(text: &str) -> Self {
        Received::Message(text.into())
    }
}

impl From<String> for Received {
    fn from(text: String) -> Self {
        Received::Message(text.into())
    }
}

impl From<&[u8]> for Received {
    fn from(data: &[u8]) -> Self {
        Received::Message(data.into())
    }
}

impl From<&Incoming<'_>> for Received {
    fn from(incoming: &Incoming<'_>) -> Self {
        match incoming {
            Incoming::Message(message) => Received::Message(Message::to_owned(*message)),
            Incoming::Ping(data) => Received::Ping(data.to_vec()),
            Incoming::Pong(data) => Received::Pong(data.to_vec()),
            Incoming::Close(frame) => Received::Close(frame.code().map(|code| (code, frame.reason().to_owned()))),
        }
    }
}

impl fmt::Display for Received {
    /// Writes one line: the text in quotes, or the kind and the data.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Received::Message(OwnedMessage::Text(text)) => write!(formatter, "{:?}", text.as_str()),
            Received::Message(OwnedMessage::Binary(data)) => write!(formatter, "b\"{}\"", data.escape_ascii()),
            Received::Ping(data) => write!(formatter, "ping b\"{}\"", data.escape_ascii()),
            Received::Pong(data) => write!(formatter, "pong b\"{}\"", data.escape_ascii()),
            Received::Close(None) => formatter.write_str("close without a code"),
            Received::Close(Some((code, reason))) => write!(formatter, "close {code} {reason:?}"),
        }
    }
}
