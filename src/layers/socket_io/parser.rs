//! Packets as they are sent.

use super::{
    packet::{self, Kind},
    payload::Payload,
};
use crate::layers::engine_io::Packet;

/// The packets of a payload: one of text, then its attachments.
pub(super) fn encode(kind: Kind, namespace: &str, payload: &Payload, ack: Option<u64>) -> Vec<Packet> {
    let attachments = payload.attachments();
    let mut text = packet::head(kind, attachments.len(), namespace, ack);
    text.push_str(payload.json());
    let mut packets = Vec::with_capacity(1 + attachments.len());
    packets.push(Packet::Text(text.into()));
    packets.extend(attachments.iter().cloned().map(Packet::Binary));
    packets
}
