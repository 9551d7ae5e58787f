//! A second decoder for all versions, independent of the first: slow, on the whole input at once, and close to the
//! text of the specifications.
//!
//! Where the specifications leave a choice, both decoders choose the same: a length may be longer than needed; a server
//! accepts unmasked frames in hybi-07 and hybi-08; reserved bits are refused in all drafts; a hixie text that is not
//! UTF-8 fails the connection, a length has at most ten octets, and FF 00 closes in hixie-75 too.

use super::Event;
use crate::protocol::{MessageLimits, Side, Version};

/// Masking of a version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Masked {
    Never,
    Payload,
    PayloadOrNot,
    Frame,
}

/// Frame format of a version, for one side.
struct Dialect {
    masked: Masked,
    /// The first bit is FIN, not MORE.
    flag_ends: bool,
    /// The op-codes of continuation, close, ping, pong, text and binary.
    codes: [u8; 6],
    close_codes: CloseCodes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CloseCodes {
    None,
    Any,
    Registered,
}

fn dialect(version: Version, side: Side) -> Dialect {
    let number = version.number();
    let masked = match (number, side) {
        (1..=3, _) | (_, Side::Client) => Masked::Never,
        (5 | 6, _) => Masked::Frame,
        (7 | 8, _) => Masked::PayloadOrNot,
        _ => Masked::Payload,
    };
    let close_codes = match number {
        1..=5 => CloseCodes::None,
        6..=8 => CloseCodes::Any,
        _ => CloseCodes::Registered,
    };
    let codes = if number <= 6 { [0, 1, 2, 3, 4, 5] } else { [0, 8, 9, 10, 1, 2] };
    Dialect { masked, flag_ends: number > 3, codes, close_codes }
}

/// Decodes `bytes` for one side, up to the end or the first violation.
pub(super) fn events(version: Version, side: Side, bytes: &[u8], limits: MessageLimits) -> Vec<Event> {
    if version.supports_binary() { hybi(&dialect(version, side), bytes, limits) } else { hixie(bytes, limits) }
}

fn xor(bytes: &[u8], key: &[u8]) -> Vec<u8> {
    bytes.iter().enumerate().map(|(index, octet)| octet ^ key.get(index % 4).unwrap_or(&0)).collect()
}

/// hybi-03 §4, hybi-06 §4, RFC 6455 §5.2.
fn hybi(dialect: &Dialect, bytes: &[u8], limits: MessageLimits) -> Vec<Event> {
    let (most_frame, most_message) = (limits.max_frame_bytes as u64, limits.max_message_bytes as u64);
    let [continuation, closing, ping, pong, text, _] = dialect.codes;
    let (mut events, mut at) = (Vec::new(), 0);
    let mut message: Option<(bool, Vec<u8>)> = None;
    loop {
        let plain;
        let (before, rest) = match dialect.masked {
            Masked::Frame => {
                let Some(key) = bytes.get(at..at + 4) else { return events };
                plain = xor(&bytes[at + 4..], key);
                (4, &plain[..])
            }
            _ => (0, &bytes[at..]),
        };
        let Some(first) = rest.first() else { return events };
        let (fin, reserved, code) = (first >> 7 == u8::from(dialect.flag_ends), first >> 4 & 7, first & 15);
        let control = [closing, ping, pong].contains(&code);
        if reserved != 0 || !dialect.codes.contains(&code) || control && !fin {
            return fail(events, 1002);
        }
        let Some(second) = rest.get(1) else { return events };
        let high = second >> 7 == 1;
        let refused = match dialect.masked {
            Masked::Never | Masked::Frame => high,
            Masked::Payload => !high,
            Masked::PayloadOrNot => false,
        };
        if refused || control && second & 127 > 125 {
            return fail(events, 1002);
        }
        let wide = match second & 127 {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(digits) = rest.get(2..2 + wide) else { return events };
        let length = match wide {
            0 => u64::from(second & 127),
            _ => digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)),
        };
        if length >> 63 == 1 {
            return fail(events, 1002);
        }
        let header = 2 + wide + if high { 4 } else { 0 };
        let Some(key) = rest.get(2 + wide..header) else { return events };
        let so_far = message.as_ref().map_or(0, |(_, parts)| parts.len() as u64);
        if !control && (code == continuation) != message.is_some() {
            return fail(events, 1002);
        }
        if !control && (length > most_frame || so_far + length > most_message) {
            return fail(events, 1009);
        }
        let available = &rest[header..rest.len().min(header + length as usize)];
        let payload = xor(available, key);
        let whole = available.len() as u64 == length;
        if control {
            if !whole {
                return events;
            }
            if code == closing {
                return close(events, payload, dialect.close_codes);
            }
            events.push(if code == ping { Event::Ping(payload) } else { Event::Pong(payload) });
        } else {
            let (is_text, mut parts) = message.take().unwrap_or((code == text, Vec::new()));
            parts.extend(payload);
            let ends = whole && fin;
            if is_text && !is_text_so_far(&parts, ends) {
                return fail(events, 1007);
            }
            if !whole {
                return events;
            }
            match (ends, is_text) {
                (false, _) => message = Some((is_text, parts)),
                (true, true) => events.push(Event::Text(String::from_utf8(parts).unwrap_or_default())),
                (true, false) => events.push(Event::Binary(parts)),
            }
        }
        at += before + header + length as usize;
    }
}

/// An incomplete character is not an error yet.
fn is_text_so_far(bytes: &[u8], ends: bool) -> bool {
    std::str::from_utf8(bytes).err().is_none_or(|error| error.error_len().is_none() && !ends)
}

/// Hixie-76 §4.2.
fn hixie(bytes: &[u8], limits: MessageLimits) -> Vec<Event> {
    let most = limits.max_frame_bytes.min(limits.max_message_bytes);
    let (mut events, mut at) = (Vec::new(), 0);
    while let Some(kind) = bytes.get(at) {
        at += 1;
        let rest = &bytes[at..];
        if *kind < 0x80 {
            let end = rest.iter().position(|octet| *octet == 0xff);
            let body = &rest[..end.unwrap_or(rest.len())];
            if body.len() > most || *kind == 0 && !is_text_so_far(body, end.is_some()) {
                return fail(events, 1002);
            }
            let Some(length) = end else { return events };
            if *kind == 0 {
                events.push(Event::Text(String::from_utf8_lossy(body).into_owned()));
            }
            at += length + 1;
        } else {
            let mut length = 0_u128;
            for octets in 1.. {
                let Some(octet) = bytes.get(at) else { return events };
                at += 1;
                length = length << 7 | u128::from(octet & 127);
                if length > most as u128 || octets > 10 {
                    return fail(events, 1002);
                }
                if *octet < 0x80 {
                    break;
                }
            }
            if *kind == 0xff && length == 0 {
                events.push(Event::Close(Vec::new()));
                return events;
            }
            at += length as usize;
        }
    }
    events
}

fn close(mut events: Vec<Event>, body: Vec<u8>, codes: CloseCodes) -> Vec<Event> {
    if codes == CloseCodes::None {
        events.push(Event::Close(body));
        return events;
    }
    let code = match body[..] {
        [] => 1000,
        [_] => return fail(events, 1002),
        [high, low, ..] => u16::from(high) << 8 | u16::from(low),
    };
    if codes == CloseCodes::Registered && !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return fail(events, 1002);
    }
    if std::str::from_utf8(body.get(2..).unwrap_or_default()).is_err() {
        return fail(events, 1007);
    }
    events.push(Event::Close(body));
    events
}

fn fail(mut events: Vec<Event>, code: u16) -> Vec<Event> {
    events.push(Event::Failed(code));
    events
}
