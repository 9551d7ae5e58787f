//! Packets of Socket.IO v5, in the text encoding: grammar, placeholders of binary values, attachments. Pure.

use std::{borrow::Cow, fmt};

use serde_json::value::RawValue;

use crate::buffer::Bytes;

/// Kind of a packet of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
    BinaryEvent,
    BinaryAck,
}

/// Why a message is refused. Each one ends the connection of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    UnknownKind,
    Attachments,
    AckId,
    Payload,
    Placeholder,
    /// Text while attachments are due, or an attachment while none is.
    Order,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Malformed::UnknownKind => "unknown packet type",
            Malformed::Attachments => "illegal number of attachments",
            Malformed::AckId => "illegal ack id",
            Malformed::Payload => "illegal payload",
            Malformed::Placeholder => "placeholder of no attachment",
            Malformed::Order => "attachments out of order",
        })
    }
}

/// The head of a packet, and its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) kind: Kind,
    pub(super) attachments: usize,
    pub(super) namespace: &'a str,
    pub(super) ack: Option<u64>,
    /// JSON text, not looked at; empty if there is none.
    pub(super) payload: &'a str,
}

impl<'a> Header<'a> {
    /// Parses the head of a packet with at most `max_attachments`.
    pub(super) fn parse(packet: &'a str, max_attachments: usize) -> Result<Self, Malformed> {
        let kind = match packet.bytes().next() {
            Some(b'0') => Kind::Connect,
            Some(b'1') => Kind::Disconnect,
            Some(b'2') => Kind::Event,
            Some(b'3') => Kind::Ack,
            Some(b'4') => Kind::ConnectError,
            Some(b'5') => Kind::BinaryEvent,
            Some(b'6') => Kind::BinaryAck,
            _ => return Err(Malformed::UnknownKind),
        };
        let mut rest = &packet[1..];
        let mut attachments = 0;
        if matches!(kind, Kind::BinaryEvent | Kind::BinaryAck) {
            let (number, behind) = rest.split_once('-').ok_or(Malformed::Attachments)?;
            attachments = digits(number)
                .filter(|number| *number <= max_attachments as u64)
                .ok_or(Malformed::Attachments)? as usize;
            rest = behind;
        }
        let namespace = match rest.starts_with('/') {
            true => {
                let (name, behind) = rest.split_once(',').unwrap_or((rest, ""));
                rest = behind;
                name
            }
            false => "/",
        };
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, payload) = rest.split_at(length);
        let ack = match number {
            "" => None,
            number => Some(digits(number).ok_or(Malformed::AckId)?),
        };
        Ok(Header { kind, attachments, namespace, ack, payload })
    }
}

/// A whole number of at most 15 digits: one that JavaScript has, too.
fn digits(text: &str) -> Option<u64> {
    let is_number = (1..=15).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The items of a JSON array, each as it is.
pub(super) fn items(payload: &str) -> Result<Vec<&RawValue>, Malformed> {
    serde_json::from_str(payload).map_err(|_| Malformed::Payload)
}

/// Names of events that only the library emits.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Returns `true` if an application may not use the name for an event.
pub(super) fn is_reserved(event: &str) -> bool {
    RESERVED.contains(&event)
}

/// The name of an event: text, or a number as text.
pub(super) fn event_name(item: &RawValue) -> Result<String, Malformed> {
    let json = item.get();
    let name = match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str(json).map_err(|_| Malformed::Payload)?,
        Some(b'-' | b'0'..=b'9') => json.to_owned(),
        _ => return Err(Malformed::Payload),
    };
    if is_reserved(&name) { Err(Malformed::Payload) } else { Ok(name) }
}

/// Checks that each placeholder of a payload has an attachment. The payload is JSON.
pub(super) fn check_placeholders(payload: &str, attachments: usize) -> Result<(), Malformed> {
    match highest_placeholder(payload) {
        Some(highest) if highest >= attachments as u64 => Err(Malformed::Placeholder),
        _ => Ok(()),
    }
}

/// An array or object that is open.
#[derive(Default)]
struct Level {
    is_object: bool,
    /// The key of the value that is next; `None` ahead of a key.
    key: Option<Key>,
    is_placeholder: bool,
    number: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Placeholder,
    Number,
    Other,
}

/// The highest number of the placeholders in JSON text; an illegal number counts as the highest.
///
/// A scan in place of a parser: depth costs no stack, and numbers that no type has, such as `1e999`, are none of its
/// business.
fn highest_placeholder(json: &str) -> Option<u64> {
    let (mut rest, mut levels, mut highest) = (json, Vec::<Level>::new(), None);
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ':']);
        let Some(first) = rest.bytes().next() else { return highest };
        let (token, behind) = rest.split_at(token_length(rest));
        rest = behind;
        let Some(level) = levels.last_mut() else {
            if matches!(first, b'[' | b'{') {
                levels.push(Level { is_object: first == b'{', ..Level::default() });
            }
            continue;
        };
        match first {
            b',' => level.key = None,
            b']' | b'}' => {
                if level.is_placeholder {
                    highest = highest.max(Some(level.number.unwrap_or(u64::MAX)));
                }
                levels.pop();
            }
            b'"' if level.is_object && level.key.is_none() => level.key = Some(key(token)),
            _ => {
                match level.key {
                    Some(Key::Placeholder) => level.is_placeholder = token == "true",
                    Some(Key::Number) => level.number = digits(token),
                    Some(Key::Other) | None => {}
                }
                if matches!(first, b'[' | b'{') {
                    levels.push(Level { is_object: first == b'{', ..Level::default() });
                }
            }
        }
    }
}

/// The length of the token that a text begins with.
fn token_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes[0] {
        b'"' => {
            let mut end = 1;
            while let Some(octet) = bytes.get(end).filter(|octet| **octet != b'"') {
                end += if *octet == b'\\' { 2 } else { 1 };
            }
            (end + 1).min(bytes.len())
        }
        b'[' | b']' | b'{' | b'}' | b',' => 1,
        _ => text.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(bytes.len()),
    }
}

/// What a key says, with its quotes.
fn key(token: &str) -> Key {
    let unescaped: Option<Cow<'_, str>> =
        token.contains('\\').then(|| serde_json::from_str(token).map(Cow::Owned).unwrap_or_default());
    match unescaped.as_deref().unwrap_or(token.trim_matches('"')) {
        "_placeholder" => Key::Placeholder,
        "num" => Key::Number,
        _ => Key::Other,
    }
}

/// Writes the head of a packet up to its payload, with the digit of an Engine.IO message.
pub(super) fn head(kind: Kind, attachments: usize, namespace: &str, ack: Option<u64>) -> String {
    let digit = match (kind, attachments) {
        (Kind::Connect, _) => '0',
        (Kind::Disconnect, _) => '1',
        (Kind::Event, 0) => '2',
        (Kind::Ack, 0) => '3',
        (Kind::ConnectError, _) => '4',
        (Kind::Event | Kind::BinaryEvent, _) => '5',
        (Kind::Ack | Kind::BinaryAck, _) => '6',
    };
    let mut head = String::with_capacity(64);
    head.extend(['4', digit]);
    if attachments > 0 {
        head.push_str(&attachments.to_string());
        head.push('-');
    }
    if namespace != "/" {
        head.push_str(namespace);
        head.push(',');
    }
    if let Some(ack) = ack {
        head.push_str(&ack.to_string());
    }
    head
}

/// A packet whose attachments are being received.
#[derive(Debug)]
struct Incomplete {
    packet: String,
    attachments: Vec<Bytes>,
    wanted: usize,
}

/// Puts packets and their attachments together.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    incomplete: Option<Incomplete>,
}

impl Assembler {
    /// Takes a text. Returns `true` if it is a whole packet, and `false` if its attachments follow.
    pub(super) fn on_text(&mut self, packet: &str, header: &Header<'_>) -> Result<bool, Malformed> {
        if self.incomplete.is_some() {
            return Err(Malformed::Order);
        }
        if header.attachments == 0 {
            return Ok(true);
        }
        let attachments = Vec::new();
        self.incomplete = Some(Incomplete { packet: packet.to_owned(), attachments, wanted: header.attachments });
        Ok(false)
    }

    /// Takes an attachment. Returns the packet once it was the last one.
    pub(super) fn on_attachment(&mut self, bytes: &[u8]) -> Result<Option<(String, Vec<Bytes>)>, Malformed> {
        let incomplete = self.incomplete.as_mut().ok_or(Malformed::Order)?;
        incomplete.attachments.push(Bytes::copy_from_slice(bytes));
        if incomplete.attachments.len() < incomplete.wanted {
            return Ok(None);
        }
        Ok(self.incomplete.take().map(|Incomplete { packet, attachments, .. }| (packet, attachments)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(packet: &str) -> Result<Header<'_>, Malformed> {
        Header::parse(packet, 10)
    }

    #[test]
    fn head_has_kind_attachments_namespace_and_ack() {
        let plain = Header { kind: Kind::Event, attachments: 0, namespace: "/", ack: None, payload: "[\"a\"]" };
        assert_eq!(header("2[\"a\"]"), Ok(plain));
        assert_eq!(header("2/admin,12[\"a\"]"), Ok(Header { namespace: "/admin", ack: Some(12), ..plain }));
        let connect = Header { kind: Kind::Connect, namespace: "/admin", payload: "", ..plain };
        assert_eq!(header("0/admin,"), Ok(connect));
        assert_eq!(header("0/admin"), Ok(connect));
        assert_eq!(
            header("51-/admin,3[1]"),
            Ok(Header { kind: Kind::BinaryEvent, attachments: 1, namespace: "/admin", ack: Some(3), payload: "[1]" })
        );
        assert_eq!(header("50-[1]").map(|header| header.attachments), Ok(0));
    }

    #[test]
    fn head_that_breaks_the_grammar_is_refused() {
        for packet in ["", "7", "x", "-1", "é"] {
            assert_eq!(header(packet), Err(Malformed::UnknownKind), "{packet:?}");
        }
        for packet in ["5[1]", "5-[1]", "51[1]", "5x-[1]", "511-[1]", "5+1-[1]", "5-1-[1]", "51.0-[1]"] {
            assert_eq!(header(packet), Err(Malformed::Attachments), "{packet:?}");
        }
        assert_eq!(header("21234567890123456[]"), Err(Malformed::AckId));
    }

    #[test]
    fn name_of_an_event_is_text_or_a_number_and_not_reserved() {
        let name = |json: &str| items(json).and_then(|items| event_name(items[0]));
        assert_eq!(name("[\"a\\u0062\"]").as_deref(), Ok("ab"));
        assert_eq!(name("[1.50]").as_deref(), Ok("1.50"));
        for refused in ["[null]", "[true]", "[{}]", "[[]]", "[\"connect\"]", "[\"disconnecting\"]"] {
            assert_eq!(name(refused), Err(Malformed::Payload), "{refused}");
        }
        for refused in ["", "{}", "[1", "1", "[1]x"] {
            assert!(items(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn each_placeholder_has_an_attachment() {
        let check = |json: &str, attachments| check_placeholders(json, attachments).is_ok();
        assert!(check(r#"["a",{"_placeholder":true,"num":0}]"#, 1));
        assert!(check(r#"["a", { "b" : [ {"num":1, "_placeholder" : true } ] } ]"#, 2));
        assert!(!check(r#"["a", { "b" : [ {"num":1, "_placeholder" : true } ] } ]"#, 1));
        for number in ["-1", "\"0\"", "[0]", "1.0", "1e0", "null"] {
            assert!(!check(&format!(r#"["a",{{"_placeholder":true,"num":{number}}}]"#), 9), "{number}");
        }
        assert!(!check(r#"["a",{"_placeholder":true}]"#, 1));
        assert!(!check(r#"["a",{"\u005fplaceholder":true,"n\u0075m":7}]"#, 1), "keys are unescaped");
        assert!(check(r#"["a",{"_placeholder":false,"num":7},1e999,2.5,-3,"x]}\"",null,true]"#, 1));
        assert!(check(r#"["a",{"x":"_placeholder","y":true,"num":7},{"_placeholder":[true],"num":7}]"#, 1));
        for (open, close) in [("[", "]"), ("{\"\":", "}")] {
            let deep = format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
            assert!(check(&deep, 1), "depth costs no stack");
        }
    }

    #[test]
    fn attachments_follow_their_packet_and_nothing_comes_between() {
        let (mut assembler, packet) = (Assembler::default(), "52-[\"a\"]");
        let header = header(packet).unwrap();
        assert_eq!(assembler.on_attachment(b"x"), Err(Malformed::Order));
        assert_eq!(assembler.on_text(packet, &header), Ok(false));
        assert_eq!(assembler.on_text(packet, &header), Err(Malformed::Order));
        assert_eq!(assembler.on_attachment(b"x"), Ok(None));
        let (whole, attachments) = assembler.on_attachment(b"y").unwrap().unwrap();
        assert_eq!((&*whole, &attachments[..]), (packet, &[Bytes::from_static(b"x"), Bytes::from_static(b"y")][..]));
        assert_eq!(assembler.on_attachment(b"z"), Err(Malformed::Order));
    }

    #[test]
    fn head_is_written_as_it_is_read() {
        assert_eq!(head(Kind::Event, 0, "/", None), "42");
        assert_eq!(head(Kind::Event, 2, "/a", Some(5)), "452-/a,5");
        assert_eq!(head(Kind::Ack, 0, "/a", Some(0)), "43/a,0");
        assert_eq!(head(Kind::Ack, 1, "/", Some(0)), "461-0");
        assert_eq!(head(Kind::Connect, 0, "/a", None), "40/a,");
    }
}
