//! Messages between servers with the sharded and the streams adapter: those of `ClusterAdapter` of Node's
//! `socket.io-adapter`. Pure.

use super::{
    super::{
        msgpack::{self, Packed, field},
        payload::Payload,
        target::Target,
    },
    wire::{self, map},
};
use crate::cluster::StreamEntry;

/// Kinds of messages.
pub(super) mod kind {
    pub(in super::super) const FIRST_HEARTBEAT: u64 = 1;
    pub(in super::super) const HEARTBEAT: u64 = 2;
    pub(in super::super) const BROADCAST: u64 = 3;
    pub(in super::super) const JOIN: u64 = 4;
    pub(in super::super) const LEAVE: u64 = 5;
    pub(in super::super) const DISCONNECT: u64 = 6;
    pub(in super::super) const FETCH: u64 = 7;
    pub(in super::super) const SOCKETS: u64 = 8;
    pub(in super::super) const SERVER_EMIT: u64 = 9;
    pub(in super::super) const SERVER_ANSWER: u64 = 10;
    pub(in super::super) const CLIENT_COUNT: u64 = 11;
    pub(in super::super) const ACK: u64 = 12;
    pub(in super::super) const CLOSE: u64 = 13;
}

/// A message of a server for a namespace.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) kind: u64,
    pub(super) data: Packed,
}

impl Message {
    /// Writes JSON, or MessagePack if there are binary values in it.
    pub(super) fn encode(&self) -> Vec<u8> {
        match has_binary(&self.data) {
            true => self.encode_packed(),
            false => msgpack::json_of(&self.to_packed()).0.into_bytes(),
        }
    }

    /// Writes MessagePack.
    pub(super) fn encode_packed(&self) -> Vec<u8> {
        msgpack::pack(&self.to_packed())
    }

    fn to_packed(&self) -> Packed {
        map([
            ("uid", self.uid.as_str().into()),
            ("nsp", self.namespace.as_str().into()),
            ("type", self.kind.into()),
            ("data", self.data.clone()),
        ])
    }

    /// Its data as text, for a field of a stream's entry: JSON, or MessagePack in base64.
    pub(super) fn data_text(&self) -> String {
        match has_binary(&self.data) {
            true => msgpack::to_text(&self.data),
            false => msgpack::json_of(&self.data).0,
        }
    }

    /// Reads the data of a stream's entry.
    fn read_data(text: &str) -> Option<Packed> {
        match text.starts_with('{') {
            true => Some(msgpack::to_packed(serde_json::from_str(text).ok()?, &[])),
            false => msgpack::from_text(text),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let message = match bytes.first()? {
            b'{' => msgpack::to_packed(serde_json::from_slice(bytes).ok()?, &[]),
            _ => msgpack::unpack(bytes)?,
        };
        let text = |name| field(&message, name).and_then(Packed::as_str).map(str::to_owned);
        Some(Message {
            uid: text("uid")?,
            namespace: text("nsp")?,
            kind: field(&message, "type")?.as_u64()?,
            data: field(&message, "data").cloned().unwrap_or(Packed::Nil),
        })
    }

    /// Reads an entry of a stream.
    pub(super) fn of_entry(entry: &StreamEntry) -> Option<Self> {
        let text = |name| entry.field(name).map(str::to_owned);
        let data = match entry.field("data") {
            Some(text) => Message::read_data(text)?,
            None => Packed::Nil,
        };
        Some(Message { uid: text("uid")?, namespace: text("nsp")?, kind: entry.field("type")?.parse().ok()?, data })
    }

    /// The event that clients may miss, if it is one.
    pub(super) fn event(&self) -> Option<(Payload, Target)> {
        if self.kind != kind::BROADCAST {
            return None;
        }
        let payload = msgpack::event_payload(field(field(&self.data, "packet")?, "data")?.as_array()?)?;
        let (target, flags, _) = wire::read_options(field(&self.data, "opts")?);
        (!flags.volatile).then_some((payload, target))
    }

    /// The id of the question that it asks or answers.
    pub(super) fn request_id(&self) -> Option<&str> {
        field(&self.data, "requestId")?.as_str()
    }
}

/// Returns `true` if a value has binary ones in it.
fn has_binary(value: &Packed) -> bool {
    match value {
        Packed::Binary(_) => true,
        Packed::Array(items) => items.iter().any(has_binary),
        Packed::Map(entries) => entries.iter().any(|(_, value)| has_binary(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_that_of_nodes_adapter() {
        // Captured from @socket.io/redis-adapter 8.3: io.to("r").emit("e", 1) with createShardedAdapter.
        let captured = br#"{"type":3,"data":{"packet":{"type":2,"data":["e",1]},"opts":{"rooms":["r"],"except":[],"flags":{}}},"uid":"0011223344556677","nsp":"/"}"#;
        let message = Message::decode(captured).unwrap();
        assert_eq!((&*message.uid, &*message.namespace, message.kind), ("0011223344556677", "/", kind::BROADCAST));
        assert_eq!(Message::decode(&message.encode()), Some(message));
    }

    #[test]
    fn binary_values_need_messagepack() {
        let data = map([("requestId", "x".into()), ("packet", Packed::Array(vec![Packed::Binary(vec![1, 2])]))]);
        let message = Message { uid: "u".to_owned(), namespace: "/n".to_owned(), kind: kind::ACK, data };
        let bytes = message.encode();
        assert_eq!(bytes[0], 0x84, "a map of four");
        let read = Message::decode(&bytes).unwrap();
        assert_eq!((read.request_id(), &read), (Some("x"), &message));
    }

    #[test]
    fn garbage_is_no_message() {
        for bytes in [&b""[..], b"{", b"{}", br#"{"type":3,"uid":1,"nsp":"/"}"#, b"\x93\x01", &[0x91; 100_000]] {
            assert_eq!(Message::decode(bytes), None);
        }
    }
}
