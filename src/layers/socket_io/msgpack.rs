//! MessagePack, as Node's servers and clients write it, to and from payloads. Pure.

#[cfg(feature = "socket-io-redis")]
use base64::{Engine as _, engine::general_purpose::STANDARD};
pub(super) use rmpv::Value as Packed;
use serde_json::{Map, Number, Value, json};

use super::payload::Payload;
use crate::buffer::Bytes;

/// Deepest value that is read. Each array or map counts twice.
const MOST_DEPTH: usize = 256;

/// Deepest value of a payload that is written.
const MOST_PAYLOAD_DEPTH: usize = 100;

/// Reads MessagePack. `None` if it is something else, or nested too deeply.
pub(super) fn unpack(bytes: &[u8]) -> Option<Packed> {
    let mut rest = bytes;
    let value = rmpv::decode::read_value_with_max_depth(&mut rest, MOST_DEPTH).ok()?;
    rest.is_empty().then_some(value)
}

/// Writes MessagePack.
pub(super) fn pack(value: &Packed) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A vector takes everything.
    let _ = rmpv::encode::write_value(&mut bytes, value);
    bytes
}

/// MessagePack as text, in base64.
#[cfg(feature = "socket-io-redis")]
pub(super) fn to_text(value: &Packed) -> String {
    STANDARD.encode(pack(value))
}

/// Reads MessagePack in base64.
#[cfg(feature = "socket-io-redis")]
pub(super) fn from_text(text: &str) -> Option<Packed> {
    unpack(&STANDARD.decode(text).ok()?)
}

/// A field of a map.
pub(super) fn field<'v>(value: &'v Packed, name: &str) -> Option<&'v Packed> {
    let entries = value.as_map()?;
    entries.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
}

/// The JSON values and attachments of a payload, as MessagePack. `None` if it is nested too deeply for those who read
/// it inside of a message.
pub(super) fn packed(payload: &Payload) -> Option<Packed> {
    let value = serde_json::from_str(payload.json()).ok()?;
    is_shallow(&value, MOST_PAYLOAD_DEPTH).then(|| to_packed(value, payload.attachments()))
}

fn is_shallow(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|item| is_shallow(item, depth - 1)),
        Value::Object(entries) => depth > 0 && entries.values().all(|value| is_shallow(value, depth - 1)),
        _ => true,
    }
}

pub(super) fn to_packed(value: Value, attachments: &[Bytes]) -> Packed {
    match value {
        Value::Null => Packed::Nil,
        Value::Bool(value) => value.into(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().unwrap_or_default().into(),
        },
        Value::String(text) => text.into(),
        Value::Array(items) => Packed::Array(items.into_iter().map(|item| to_packed(item, attachments)).collect()),
        Value::Object(entries) => match placeholder(&entries).and_then(|number| attachments.get(number)) {
            Some(bytes) => Packed::Binary(bytes.to_vec()),
            None => {
                let entries = entries.into_iter().map(|(name, value)| (name.into(), to_packed(value, attachments)));
                Packed::Map(entries.collect())
            }
        },
    }
}

fn placeholder(entries: &Map<String, Value>) -> Option<usize> {
    (entries.get("_placeholder") == Some(&Value::Bool(true)))
        .then(|| entries.get("num")?.as_u64().and_then(|number| usize::try_from(number).ok()))
        .flatten()
}

/// A list of values from MessagePack as a payload: binary values become attachments.
#[cfg(any(feature = "socket-io-redis", test))]
pub(super) fn payload(values: &[Packed]) -> Option<Payload> {
    let mut attachments = Vec::new();
    let items = values.iter().map(|value| to_json(value, &mut attachments)).collect();
    Payload::from_parts(&Value::Array(items).to_string(), attachments)
}

/// As [`payload`], of an event that clients understand.
#[cfg(feature = "socket-io-redis")]
pub(super) fn event_payload(values: &[Packed]) -> Option<Payload> {
    payload(values).filter(|payload| payload.event().is_some())
}

/// The JSON text of a value, and the binary values in it.
pub(super) fn json_of(value: &Packed) -> (String, Vec<Bytes>) {
    let mut attachments = Vec::new();
    let json = to_json(value, &mut attachments).to_string();
    (json, attachments)
}

/// The JSON value of a value. Binary values in it are placeholders.
#[cfg(feature = "socket-io-redis")]
pub(super) fn value_of(value: &Packed) -> Value {
    to_json(value, &mut Vec::new())
}

/// Returns `true` for `undefined`, which notepack writes as an extension.
#[cfg(feature = "socket-io-msgpack")]
pub(super) fn is_undefined(value: &Packed) -> bool {
    value.is_nil() || matches!(value, Packed::Ext(0, bytes) if bytes.len() == 1)
}

fn to_json(value: &Packed, attachments: &mut Vec<Bytes>) -> Value {
    match value {
        Packed::Nil => Value::Null,
        Packed::Boolean(value) => (*value).into(),
        Packed::Integer(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, number) => number.unwrap_or_default().into(),
        },
        Packed::F32(number) => Number::from_f64(f64::from(*number)).map_or(Value::Null, Value::Number),
        Packed::F64(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Packed::String(text) => String::from_utf8_lossy(text.as_bytes()).into(),
        Packed::Binary(bytes) => {
            attachments.push(Bytes::copy_from_slice(bytes));
            json!({"_placeholder": true, "num": attachments.len() - 1})
        }
        Packed::Array(items) => items.iter().map(|item| to_json(item, attachments)).collect(),
        Packed::Map(entries) => {
            let entry = |(name, value): &(Packed, Packed)| {
                let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
                (name, to_json(value, attachments))
            };
            Value::Object(entries.iter().map(entry).collect())
        }
        // `undefined`, or a date.
        Packed::Ext(kind, bytes) => date(*kind, bytes).map_or(Value::Null, Value::String),
    }
}

/// A date, as JavaScript writes dates in JSON: of the type -1 that MessagePack has for times, or of the type 0 of older
/// versions of notepack, which has milliseconds since 1970. `None` for others, and outside of the years 0 to 9999.
fn date(kind: i8, bytes: &[u8]) -> Option<String> {
    let (seconds, nanoseconds) = match (kind, bytes.len()) {
        (0, 8) => {
            let milliseconds = i64::from_be_bytes(bytes.try_into().ok()?);
            (milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000) as u32 * 1_000_000)
        }
        (-1, 4) => (i64::from(u32::from_be_bytes(bytes.try_into().ok()?)), 0),
        (-1, 8) => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
        }
        (-1, 12) => {
            let (nanoseconds, seconds) = bytes.split_first_chunk::<4>()?;
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(*nanoseconds))
        }
        _ => return None,
    };
    if !YEARS.contains(&seconds) || nanoseconds > 999_999_999 {
        return None;
    }
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second, millisecond) = (second / 3600, second / 60 % 60, second % 60, nanoseconds / 1_000_000);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z"))
}

/// The seconds since 1970 of the years 0 to 9999.
const YEARS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// Year, month and day of a number of days since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    /// Days of 400 years, which begin in March, so that the day of a leap year is their last one.
    const ERA: i64 = 146_097;
    // Since the first of March of the year 0.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 30.6 days on average.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = year + 400 * era + i64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_as_deep_as_is_written_is_read_inside_of_a_message() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let deep = packed(&Payload::from_parts(&nested(100), Vec::new()).unwrap()).unwrap();
        let message = Packed::Map(vec![("data".into(), Packed::Array(vec![deep]))]);
        assert_eq!(unpack(&pack(&message)), Some(message.clone()));
        assert!(serde_json::from_str::<Value>(&json_of(&message).0).is_ok());
        assert_eq!(packed(&Payload::from_parts(&nested(101), Vec::new()).unwrap()), None);
    }

    #[test]
    fn payload_survives_messagepack() {
        let json = r#"["e",{"a":[1,-2,1.5,null,true,"é"],"b":{"_placeholder":true,"num":0}}]"#;
        let before = Payload::from_parts(json, vec![Bytes::from_static(&[1, 2])]).unwrap();
        let packed = unpack(&pack(&packed(&before).unwrap())).unwrap();
        assert_eq!(payload(packed.as_array().unwrap()), Some(before));
    }

    #[test]
    fn undefined_is_null_and_a_date_is_text() {
        let values = [Packed::Ext(0, vec![0]), Packed::Ext(0, 1_700_000_000_123_u64.to_be_bytes().to_vec())];
        assert_eq!(payload(&values).unwrap().json(), r#"[null,"2023-11-14T22:13:20.123Z"]"#);
    }

    #[test]
    fn times_of_all_three_lengths_are_text() {
        let long = |nanoseconds: u32, seconds: i64| [&nanoseconds.to_be_bytes()[..], &seconds.to_be_bytes()].concat();
        for (bytes, text) in [
            (1_700_000_000_u32.to_be_bytes().to_vec(), Some("2023-11-14T22:13:20.000Z")),
            ((123_000_000_u64 << 34 | 1_700_000_000).to_be_bytes().to_vec(), Some("2023-11-14T22:13:20.123Z")),
            (long(5_000_000, -1), Some("1969-12-31T23:59:59.005Z")),
            (long(0, 951_782_400), Some("2000-02-29T00:00:00.000Z")),
            (long(0, 4_107_542_400), Some("2100-03-01T00:00:00.000Z")),
            (long(0, -62_167_219_200), Some("0000-01-01T00:00:00.000Z")),
            (long(0, 253_402_300_799), Some("9999-12-31T23:59:59.000Z")),
            (long(0, -62_167_219_201), None),
            (long(0, 253_402_300_800), None),
            (long(0, i64::MIN), None),
            (long(0, i64::MAX), None),
            (vec![0xff; 8], None),
            (vec![0xff; 12], None),
            (Vec::new(), None),
        ] {
            assert_eq!(date(-1, &bytes).as_deref(), text, "{bytes:?}");
        }
        assert_eq!(date(0, &i64::MAX.to_be_bytes()), None);
        assert_eq!(date(7, &[0; 4]), None);
    }

    #[test]
    fn garbage_and_depth_are_refused() {
        for bytes in [&b""[..], b"\x93\x01", b"\x01\x02", &[0x91; 100_000]] {
            assert_eq!(unpack(bytes), None);
        }
    }
}
