//! Messages between servers with the sharded adapter: those of `ClusterAdapter` of Node's `socket.io-adapter`. Pure.

use super::{
    super::msgpack::{self, Packed, field},
    wire::map,
};

/// Kinds of messages.
pub(super) mod kind {
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
        let message = map([
            ("uid", self.uid.as_str().into()),
            ("nsp", self.namespace.as_str().into()),
            ("type", self.kind.into()),
            ("data", self.data.clone()),
        ]);
        match has_binary(&self.data) {
            true => msgpack::pack(&message),
            false => msgpack::json_of(&message).0.into_bytes(),
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
