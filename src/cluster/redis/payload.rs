//! A message as the payload of a channel: text as it is, and binary behind an octet that is in no UTF-8.

use super::resp::write_command;
use crate::{
    buffer::Bytes,
    protocol::{Message, OwnedMessage, utf8},
};

/// The first octet of a binary message.
const BINARY: u8 = 0xFF;

/// The payload of a message that this process publishes.
#[derive(Debug)]
pub(super) struct Payload {
    is_binary: bool,
    bytes: Bytes,
}

impl Payload {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns `true` if a payload that has arrived is this one.
    pub(super) fn is_on_wire(&self, payload: &[u8]) -> bool {
        match self.is_binary {
            true => payload.split_first().is_some_and(|(flag, rest)| *flag == BINARY && *rest == *self.bytes),
            false => *payload == *self.bytes,
        }
    }

    /// Appends the command that publishes it.
    pub(super) fn write_publish(&self, channel: &str, out: &mut Vec<u8>) {
        match self.is_binary {
            true => write_command(&[b"PUBLISH", channel.as_bytes(), &[&[BINARY], &*self.bytes].concat()], out),
            false => write_command(&[b"PUBLISH", channel.as_bytes(), &self.bytes], out),
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
