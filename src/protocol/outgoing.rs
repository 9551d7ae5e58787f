//! The argument of a send: any payload type, borrowed or owned.

use super::message::{Message, OwnedMessage};
use crate::buffer::{Bytes, Utf8Bytes};

/// A message to send, converted from any payload type.
///
/// Strings become text messages, byte slices and vectors become binary messages, and a [`Message`] or [`OwnedMessage`]
/// keeps its type. A borrowed payload is copied into the output queue. An owned payload of 16 KiB or more is written
/// from its own buffer, without a copy, unless the message is compressed, masked, or sent in hixie-75 or hixie-76.
///
/// ```
/// use bytes::Bytes;
/// use ws_reactor::{Message, Outgoing, OwnedMessage};
///
/// fn accept<'m>(_: impl Into<Outgoing<'m>>) {}
///
/// accept("text");
/// accept(format!("{}", 1));
/// accept(&String::new());
/// accept(b"binary");
/// accept(&[1, 2, 3][..]);
/// accept(vec![1, 2, 3]);
/// accept(&vec![1, 2, 3]);
/// accept(Bytes::from_static(b"binary"));
/// accept(Message::Text("text"));
/// accept(&OwnedMessage::text("text"));
/// ```
#[derive(Debug)]
pub struct Outgoing<'m>(pub(crate) OutgoingKind<'m>);

impl Outgoing<'_> {
    pub(crate) fn as_message(&self) -> Message<'_> {
        match &self.0 {
            OutgoingKind::Borrowed(message) => *message,
            OutgoingKind::Owned(payload) => payload.as_message(),
        }
    }

    /// The message with shared ownership of the payload. A borrowed payload is copied.
    pub(crate) fn into_owned(self) -> OwnedMessage {
        match self.0 {
            OutgoingKind::Borrowed(message) => message.to_owned(),
            OutgoingKind::Owned(payload) => payload.into_owned(),
        }
    }
}

#[derive(Debug)]
pub(crate) enum OutgoingKind<'m> {
    Borrowed(Message<'m>),
    Owned(OwnedPayload<'m>),
}

/// A payload that is queued without a copy if it is large.
#[derive(Debug)]
pub(crate) enum OwnedPayload<'m> {
    Shared(&'m OwnedMessage),
    Message(OwnedMessage),
    Text(String),
    Binary(Vec<u8>),
}

impl OwnedPayload<'_> {
    pub(crate) fn as_message(&self) -> Message<'_> {
        match self {
            OwnedPayload::Shared(message) => message.as_message(),
            OwnedPayload::Message(message) => message.as_message(),
            OwnedPayload::Text(text) => Message::Text(text),
            OwnedPayload::Binary(bytes) => Message::Binary(bytes),
        }
    }

    /// The message with shared ownership of the payload, without a copy.
    pub(crate) fn into_owned(self) -> OwnedMessage {
        match self {
            OwnedPayload::Shared(message) => message.clone(),
            OwnedPayload::Message(message) => message,
            OwnedPayload::Text(text) => OwnedMessage::Text(text.into()),
            OwnedPayload::Binary(bytes) => OwnedMessage::Binary(bytes.into()),
        }
    }
}

/// Conversions. Borrowed payloads are copied when queued; owned payloads are kept.
macro_rules! from {
    ($($type:ty => $kind:expr;)*) => {
        $(
            impl<'m> From<$type> for Outgoing<'m> {
                #[inline]
                fn from(payload: $type) -> Self {
                    let kind: fn($type) -> OutgoingKind<'m> = $kind;
                    Outgoing(kind(payload))
                }
            }
        )*
    };
}

from! {
    Message<'m> => OutgoingKind::Borrowed;
    &'m str => |text| OutgoingKind::Borrowed(Message::Text(text));
    &'m String => |text| OutgoingKind::Borrowed(Message::Text(text));
    &'m [u8] => |bytes| OutgoingKind::Borrowed(Message::Binary(bytes));
    &'m Vec<u8> => |bytes| OutgoingKind::Borrowed(Message::Binary(bytes));
    &'m OwnedMessage => |message| OutgoingKind::Owned(OwnedPayload::Shared(message));
    OwnedMessage => |message| OutgoingKind::Owned(OwnedPayload::Message(message));
    Bytes => |bytes| OutgoingKind::Owned(OwnedPayload::Message(OwnedMessage::Binary(bytes)));
    &'m Bytes => |bytes| OutgoingKind::Owned(OwnedPayload::Message(OwnedMessage::Binary(bytes.clone())));
    Utf8Bytes => |text| OutgoingKind::Owned(OwnedPayload::Message(OwnedMessage::Text(text)));
    &'m Utf8Bytes => |text| OutgoingKind::Owned(OwnedPayload::Message(OwnedMessage::Text(text.clone())));
    String => |text| OutgoingKind::Owned(OwnedPayload::Text(text));
    Vec<u8> => |bytes| OutgoingKind::Owned(OwnedPayload::Binary(bytes));
}

impl<'m, const N: usize> From<&'m [u8; N]> for Outgoing<'m> {
    #[inline]
    fn from(bytes: &'m [u8; N]) -> Self {
        Outgoing(OutgoingKind::Borrowed(Message::Binary(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_payload_type_converts_to_a_message_of_its_kind() {
        fn owned<'m>(outgoing: impl Into<Outgoing<'m>>) -> OwnedMessage {
            match outgoing.into().0 {
                OutgoingKind::Borrowed(message) => message.to_owned(),
                OutgoingKind::Owned(payload) => {
                    let message = payload.as_message().to_owned();
                    assert_eq!(payload.into_owned(), message);
                    message
                }
            }
        }

        let (text, binary) = (OwnedMessage::text("word"), OwnedMessage::binary(b"word".to_vec()));
        let (string, vector, bytes) = ("word".to_owned(), b"word".to_vec(), Bytes::from_static(b"word"));
        for message in [
            owned("word"),
            owned(&string),
            owned(string.clone()),
            owned(Message::Text("word")),
            owned(&text),
            owned(text.clone()),
            owned(Utf8Bytes::from("word")),
            owned(Utf8Bytes::from("word")),
        ] {
            assert_eq!(message, text);
        }
        for message in [
            owned(b"word"),
            owned(&vector),
            owned(&vector[..]),
            owned(vector.clone()),
            owned(&bytes),
            owned(bytes.clone()),
            owned(Message::Binary(b"word")),
            owned(binary.clone()),
        ] {
            assert_eq!(message, binary);
        }
    }
}
