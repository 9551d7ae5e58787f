//! Slots of a Redis Cluster: which node has which, and to which a channel belongs.

use std::ops::RangeInclusive;

use super::{resp::Reply, url::join};

/// Number of slots.
pub(super) const SLOTS: u16 = 16_384;

/// The slots of each node, from the answer to `CLUSTER SLOTS`.
pub(super) type SlotMap = Vec<(RangeInclusive<u16>, String)>;

/// Reads the answer to `CLUSTER SLOTS` of the node that is `asked`, which has this id. `None` if it is none.
pub(super) fn read_slots(reply: &Reply<'_>, asked: &str, own_id: &[u8]) -> Option<SlotMap> {
    let host_of_asked = asked.rsplit_once(':').map_or(asked, |(host, _)| host);
    let range = |reply: &Reply<'_>| {
        let [Reply::Integer(first), Reply::Integer(last), master, ..] = reply.items() else { return None };
        let [host, Reply::Integer(port), id, ..] = master.items() else { return None };
        // It may have another name there than in the URL, or none.
        let is_asked = id.as_bytes() == Some(own_id);
        let address = match host.as_bytes().filter(|_| !is_asked) {
            Some(host) if !host.is_empty() && host != b"?" => join(host, port.to_string().as_bytes()),
            _ if is_asked => asked.to_owned(),
            _ => format!("{host_of_asked}:{port}"),
        };
        Some((u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?, address))
    };
    let slots: SlotMap = reply.items().iter().map(range).collect::<Option<_>>()?;
    (!slots.is_empty()).then_some(slots)
}

/// Returns `true` if every slot has a node.
pub(super) fn is_whole(slots: &SlotMap) -> bool {
    let count: usize = slots.iter().map(|(range, _)| range.len()).sum();
    count >= usize::from(SLOTS)
}

/// The slot that an error names: `MOVED 1234 host:port`.
pub(super) fn moved_slot(error: &str) -> Option<u16> {
    error.strip_prefix("MOVED ")?.split(' ').next()?.parse().ok()
}

/// The slot of a channel: a hash of its name, or of the part in the first braces if there are some.
pub(super) fn slot_of(channel: &[u8]) -> u16 {
    let position = |bytes: &[u8], octet| bytes.iter().position(|other| *other == octet);
    let tag = position(channel, b'{').and_then(|open| {
        let rest = &channel[open + 1..];
        position(rest, b'}').filter(|length| *length > 0).map(|length| &rest[..length])
    });
    crc16(tag.unwrap_or(channel)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, octet| {
        (0..8).fold(crc ^ u16::from(*octet) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first is the check value of the CRC. The others are those of `CLUSTER KEYSLOT` of Redis 7.0.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        let cases: [(&str, u16); 6] = [
            ("123456789", 12739),
            ("foo", 12182),
            ("{user1000}.following", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
        ];
        for (channel, slot) in cases {
            assert_eq!(slot_of(channel.as_bytes()), slot, "{channel}");
        }
    }

    #[test]
    fn slots_of_nodes_are_read_and_an_answer_that_is_none_is_not() {
        let node = |host: Reply<'static>, port| {
            let id = if port == 4 { &b"own"[..] } else { b"other" };
            Reply::List(vec![host, Reply::Integer(port), Reply::Text(id)])
        };
        let range = |first, last, node| Reply::List(vec![Reply::Integer(first), Reply::Integer(last), node]);
        let slots = Reply::List(vec![
            range(0, 99, node(Reply::Text(b"10.0.0.1"), 1)),
            range(100, 16383, node(Reply::Text(b"::1"), 2)),
            range(7, 7, node(Reply::Null, 3)),
            range(8, 9, node(Reply::Text(b"10.0.0.4"), 4)),
        ]);
        let expected = [(0..=99, "10.0.0.1:1"), (100..=16383, "[::1]:2"), (7..=7, "asked:3"), (8..=9, "asked:9")];
        let expected = expected.map(|(slots, address)| (slots, address.to_owned()));
        assert_eq!(read_slots(&slots, "asked:9", b"own"), Some(expected.to_vec()));
        for none in [Reply::Error(b"ERR no cluster"), Reply::List(vec![]), Reply::List(vec![Reply::Null])] {
            assert_eq!(read_slots(&none, "asked:9", b"own"), None);
        }
    }
}
