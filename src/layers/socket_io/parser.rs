//! Packets as they are sent: as text with attachments, or in MessagePack.

#[cfg(feature = "socket-io-msgpack")]
use super::{msgpack, packet::Malformed};
use super::{
    packet::{self, Kind},
    payload::Payload,
};
#[cfg(feature = "socket-io-msgpack")]
use crate::buffer::Bytes;
use crate::layers::engine_io::Packet;

/// The encoding of packets, which clients have to have, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Encoding {
    #[default]
    Text,
    #[cfg(feature = "socket-io-msgpack")]
    MessagePack,
}

impl Encoding {
    /// The packets of a payload: one of text, then its attachments; or one of MessagePack.
    pub(super) fn encode(self, kind: Kind, namespace: &str, payload: &Payload, ack: Option<u64>) -> Vec<Packet> {
        match self {
            Encoding::Text => {
                let attachments = payload.attachments();
                let mut text = packet::head(kind, attachments.len(), namespace, ack);
                text.push_str(payload.json());
                let mut packets = Vec::with_capacity(1 + attachments.len());
                packets.push(Packet::Text(text.into()));
                packets.extend(attachments.iter().cloned().map(Packet::Binary));
                packets
            }
            #[cfg(feature = "socket-io-msgpack")]
            Encoding::MessagePack => match msgpack::packed(payload) {
                Some(data) => vec![packed(kind, namespace, Some(data), ack)],
                None => {
                    log::error!(target: super::LOG, "a packet is nested too deeply for MessagePack and is not sent");
                    Vec::new()
                }
            },
        }
    }

    /// A packet of the library: with JSON text, or with none.
    pub(super) fn encode_own(self, kind: Kind, namespace: &str, json: &str) -> Packet {
        match self {
            Encoding::Text => Packet::Text((packet::head(kind, 0, namespace, None) + json).into()),
            #[cfg(feature = "socket-io-msgpack")]
            Encoding::MessagePack => {
                let data = serde_json::from_str(json).ok().map(|value| msgpack::to_packed(value, &[]));
                packed(kind, namespace, data, None)
            }
        }
    }
}

/// A packet of a client in MessagePack, with its payload as JSON text.
#[cfg(feature = "socket-io-msgpack")]
pub(super) struct Unpacked {
    kind: Kind,
    namespace: String,
    ack: Option<u64>,
    payload: String,
    pub(super) attachments: Vec<Bytes>,
}

#[cfg(feature = "socket-io-msgpack")]
impl Unpacked {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let packet = msgpack::unpack(bytes).ok_or(Malformed::Payload)?;
        let kind = match msgpack::field(&packet, "type").and_then(msgpack::Packed::as_u64) {
            Some(0) => Kind::Connect,
            Some(1) => Kind::Disconnect,
            Some(2) => Kind::Event,
            Some(3) => Kind::Ack,
            Some(4) => Kind::ConnectError,
            _ => return Err(Malformed::UnknownKind),
        };
        let namespace = match msgpack::field(&packet, "nsp") {
            Some(name) => name.as_str().ok_or(Malformed::Payload)?.to_owned(),
            None => "/".to_owned(),
        };
        let ack = match msgpack::field(&packet, "id").filter(|id| !msgpack::is_undefined(id)) {
            Some(id) => Some(id.as_u64().ok_or(Malformed::AckId)?),
            None => None,
        };
        let data = msgpack::field(&packet, "data").filter(|data| !msgpack::is_undefined(data));
        let (payload, attachments) = data.map(msgpack::json_of).unwrap_or_default();
        Ok(Unpacked { kind, namespace, ack, payload, attachments })
    }

    pub(super) fn header(&self) -> packet::Header<'_> {
        let Unpacked { kind, namespace, ack, payload, attachments } = self;
        packet::Header { kind: *kind, attachments: attachments.len(), namespace, ack: *ack, payload }
    }
}

#[cfg(feature = "socket-io-msgpack")]
fn packed(kind: Kind, namespace: &str, data: Option<msgpack::Packed>, ack: Option<u64>) -> Packet {
    let number: u64 = match kind {
        Kind::Connect => 0,
        Kind::Disconnect => 1,
        Kind::Event | Kind::BinaryEvent => 2,
        Kind::Ack | Kind::BinaryAck => 3,
        Kind::ConnectError => 4,
    };
    let mut entries = vec![("type".into(), number.into()), ("nsp".into(), namespace.into())];
    entries.extend(data.map(|data| ("data".into(), data)));
    entries.extend(ack.map(|ack| ("id".into(), ack.into())));
    Packet::Binary(msgpack::pack(&msgpack::Packed::Map(entries)).into())
}
