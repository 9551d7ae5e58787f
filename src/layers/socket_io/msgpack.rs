//! MessagePack, as Node's servers and clients write it, to and from payloads. Pure.

#[cfg(feature = "socket-io-redis")]
use base64::{Engine as _, engine::general_purpose::STANDARD};
pub(super) use rmpv::Value as Packed;
use serde_json::{Map, Number, Value, json};

use super::payload::Payload;
use crate::buffer::Bytes;

/// Deepest value that is read.
const MOST_DEPTH: usize = 128;

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

/// The JSON values and attachments of a payload, as MessagePack. `None` if it is nested too deeply.
pub(super) fn packed(payload: &Payload) -> Option<Packed> {
    let value = serde_json::from_str(payload.json()).ok()?;
    Some(to_packed(value, payload.attachments()))
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
        Packed::Ext(_, bytes) => date(bytes).map_or(Value::Null, Value::String),
    }
}

/// A date of notepack: milliseconds since 1970 in eight octets, as JavaScript writes dates in JSON.
fn date(bytes: &[u8]) -> Option<String> {
    let milliseconds = u64::from_be_bytes(bytes.try_into().ok()?);
    let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(milliseconds))?;
    let http: httpdate::HttpDate = time.into();
    // The text of a date of HTTP has no order of its own: year, month and day are taken from it.
    let text = http.to_string();
    let mut words = text.split_ascii_whitespace().skip(1);
    let (day, month, year, clock) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = names.iter().position(|name| *name == month)? + 1;
    Some(format!("{year}-{month:02}-{day}T{clock}.{:03}Z", milliseconds % 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn garbage_and_depth_are_refused() {
        for bytes in [&b""[..], b"\x93\x01", b"\x01\x02", &[0x91; 100_000]] {
            assert_eq!(unpack(bytes), None);
        }
    }
}
