//! Packets of Engine.IO v4, and their two encodings: WebSocket messages and the bodies of polling. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    buffer::{Bytes, Utf8Bytes},
    protocol::Message,
};

/// Separator of the packets of a body.
const SEPARATOR: char = '\u{1e}';

/// A packet of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    /// A packet of text, its type digit included: a text message is encoded once for all its receivers.
    Text(Utf8Bytes),
    /// A binary message. It has no type digit.
    Binary(Bytes),
}

/// Packets without data of their own.
pub(crate) const CLOSE: &str = "1";
pub(crate) const PING: &str = "2";
pub(crate) const PROBE_ANSWER: &str = "3probe";
pub(crate) const NOOP: &str = "6";

/// Digit of a text message.
pub(crate) const MESSAGE: char = '4';

impl Packet {
    /// A text message.
    pub(crate) fn text(text: &str) -> Self {
        let mut packet = String::with_capacity(text.len() + 1);
        packet.push(MESSAGE);
        packet.push_str(text);
        Packet::Text(packet.into())
    }

    /// A packet without data.
    pub(crate) fn of(packet: &'static str) -> Self {
        Packet::Text(packet.into())
    }

    /// Bytes that the packet holds while it waits.
    pub(crate) fn len(&self) -> usize {
        match self {
            Packet::Text(text) => text.len(),
            Packet::Binary(bytes) => bytes.len(),
        }
    }

    pub(crate) fn as_message(&self) -> Message<'_> {
        match self {
            Packet::Text(text) => Message::Text(text),
            Packet::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

/// A packet of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    Close,
    Ping(&'a str),
    Pong,
    Text(&'a str),
    Upgrade,
    Noop,
}

/// Input that is no packet of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Received<'a> {
    /// Decodes a packet of text.
    pub(crate) fn decode(packet: &'a str) -> Result<Self, Malformed> {
        let mut characters = packet.chars();
        let kind = characters.next().ok_or(Malformed)?;
        let data = characters.as_str();
        Ok(match kind {
            '1' => Received::Close,
            '2' => Received::Ping(data),
            '3' => Received::Pong,
            '4' => Received::Text(data),
            '5' => Received::Upgrade,
            '6' => Received::Noop,
            // A client does not open sessions; Node's server ignores the packet, too.
            '0' => Received::Noop,
            _ => return Err(Malformed),
        })
    }
}

/// A packet of a client, as text: binary messages are base64.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Packet(Received<'a>),
    Binary(Vec<u8>),
}

impl<'a> Part<'a> {
    /// Decodes a packet.
    pub(crate) fn decode(packet: &'a str) -> Result<Self, Malformed> {
        match packet.strip_prefix('b') {
            Some(base64) => STANDARD.decode(base64).map(Part::Binary).map_err(|_| Malformed),
            None => Received::decode(packet).map(Part::Packet),
        }
    }
}

/// Decodes the body of a request, packet by packet.
pub(crate) fn parts(body: &str) -> impl Iterator<Item = Result<Part<'_>, Malformed>> {
    body.split(SEPARATOR).map(Part::decode)
}

/// A binary message as text, for clients that take no other.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut packet = String::with_capacity(bytes.len().div_ceil(3) * 4 + 1);
    packet.push('b');
    STANDARD.encode_string(bytes, &mut packet);
    packet
}

/// Encodes the body of a response.
pub(crate) fn body<'a>(packets: impl IntoIterator<Item = &'a Packet>) -> String {
    let mut body = String::new();
    for (index, packet) in packets.into_iter().enumerate() {
        if index > 0 {
            body.push(SEPARATOR);
        }
        match packet {
            Packet::Text(text) => body.push_str(text),
            Packet::Binary(bytes) => body.push_str(&base64(bytes)),
        }
    }
    body
}

/// The packets of a body, for fuzzing: texts with their digit.
#[cfg(any(test, fuzzing))]
pub(crate) fn parse_body(text: &str) -> Option<Vec<Packet>> {
    let packet = |(part, text): (Result<Part<'_>, Malformed>, &str)| match part {
        Ok(Part::Binary(bytes)) => Some(Packet::Binary(bytes.into())),
        Ok(Part::Packet(_)) => Some(Packet::Text(text.into())),
        Err(Malformed) => None,
    };
    parts(text).zip(text.split(SEPARATOR)).map(packet).collect()
}

/// A body of packets, for fuzzing.
#[cfg(any(test, fuzzing))]
pub(crate) fn write_body(packets: &[Packet]) -> String {
    body(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_of_a_client_has_a_known_type() {
        assert_eq!(Received::decode("4hello"), Ok(Received::Text("hello")));
        assert_eq!(Received::decode("2probe"), Ok(Received::Ping("probe")));
        let others = ["1", "3", "4", "5", "6"].map(Received::decode);
        assert_eq!(
            others,
            [Received::Close, Received::Pong, Received::Text(""), Received::Upgrade, Received::Noop].map(Ok)
        );
        for refused in ["", "7", "é", "b", " 4"] {
            assert_eq!(Received::decode(refused), Err(Malformed), "{refused:?}");
        }
    }

    #[test]
    fn body_is_decoded_packet_by_packet() {
        let decoded: Vec<_> = parts("4a\u{1e}bAQID\u{1e}3\u{1e}").collect();
        let expected = [
            Ok(Part::Packet(Received::Text("a"))),
            Ok(Part::Binary(vec![1, 2, 3])),
            Ok(Part::Packet(Received::Pong)),
            Err(Malformed),
        ];
        assert_eq!(decoded, expected);
        for refused in ["", "bAQI", "b!!!!", "bAQ"] {
            let last = parts(refused).last();
            assert!(last.is_some_and(|part| part.is_err()), "{refused:?}");
        }
    }

    #[test]
    fn binary_packets_of_a_body_are_base64() {
        let packets = [Packet::text("é"), Packet::Binary(Bytes::from_static(&[0, 1, 2, 3, 4])), Packet::of(NOOP)];
        assert_eq!(body(&packets), "4é\u{1e}bAAECAwQ=\u{1e}6");
    }
}
