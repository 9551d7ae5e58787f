//! Binary values in the JSON of arguments: placeholders, and the attachments that they stand for.

use std::{cell::RefCell, rc::Rc};

use serde::{
    Serialize, Serializer,
    de::{self, Deserialize, Deserializer},
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::Value;

use crate::buffer::Bytes;

thread_local! {
    /// Attachments of the arguments that are being parsed.
    static ATTACHMENTS: RefCell<Rc<[Bytes]>> = RefCell::new(Rc::new([]));
    /// Attachments of the arguments that are being written. `None`: JSON without attachments is written.
    static WRITTEN: RefCell<Option<Vec<Bytes>>> = const { RefCell::new(None) };
}

/// A binary value in the arguments of an event or an ack: a `Buffer`, `Uint8Array` or `ArrayBuffer` of JavaScript.
///
/// ```
/// use ws_reactor::socket_io::{Binary, SocketIo};
///
/// let io = SocketIo::new();
/// io.of("/").on_connection(|socket| {
///     socket.on("upload", |socket, (name, file): (String, Binary)| {
///         println!("{name}: {} bytes", file.0.len());
///         socket.emit("thanks", &("got it", Binary::from(&[1, 2, 3][..])));
///     });
/// });
/// ```
///
/// Elsewhere than in arguments it is written as a list of numbers, and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Binary(pub Bytes);

impl From<&[u8]> for Binary {
    fn from(bytes: &[u8]) -> Self {
        Binary(Bytes::copy_from_slice(bytes))
    }
}

impl From<Vec<u8>> for Binary {
    fn from(bytes: Vec<u8>) -> Self {
        Binary(bytes.into())
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Placeholder {
    _placeholder: bool,
    num: usize,
}

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match attach(std::slice::from_ref(&self.0)) {
            Some(num) => Placeholder { _placeholder: true, num }.serialize(serializer),
            None => serializer.serialize_bytes(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Placeholder { _placeholder, num } = Placeholder::deserialize(deserializer)?;
        let attachment = ATTACHMENTS.with_borrow(|attachments| attachments.get(num).cloned());
        attachment.map(Binary).ok_or_else(|| de::Error::custom("a binary value is expected"))
    }
}

/// Parses arguments with these attachments.
pub(super) fn with_attachments<T>(attachments: &Rc<[Bytes]>, parse: impl FnOnce() -> T) -> T {
    struct Restore(Rc<[Bytes]>);

    impl Drop for Restore {
        fn drop(&mut self) {
            ATTACHMENTS.with_borrow_mut(|attachments| std::mem::swap(attachments, &mut self.0));
        }
    }

    let _restore = Restore(ATTACHMENTS.replace(Rc::clone(attachments)));
    parse()
}

/// The attachments of the arguments that are being parsed.
pub(super) fn attachments() -> Rc<[Bytes]> {
    ATTACHMENTS.with_borrow(Rc::clone)
}

/// Writes arguments, and returns their attachments with them.
pub(super) fn collecting<T>(write: impl FnOnce() -> T) -> (T, Vec<Bytes>) {
    struct Restore(Option<Vec<Bytes>>);

    impl Drop for Restore {
        fn drop(&mut self) {
            WRITTEN.set(self.0.take());
        }
    }

    let _restore = Restore(WRITTEN.replace(Some(Vec::new())));
    let written = write();
    (written, WRITTEN.take().unwrap_or_default())
}

/// Adds attachments to the arguments that are being written. Returns how many precede them; `None` if JSON without
/// attachments is written.
pub(super) fn attach(attachments: &[Bytes]) -> Option<usize> {
    WRITTEN.with_borrow_mut(|written| {
        let written = written.as_mut()?;
        written.extend_from_slice(attachments);
        Some(written.len() - attachments.len())
    })
}

/// Any JSON value of an argument, with the binary values in it. It can be sent on, alone or within others.
///
/// ```
/// use ws_reactor::socket_io::{Json, SocketIo};
///
/// let io = SocketIo::new();
/// io.of("/").on_connection(|socket| {
///     socket.on("relay", |socket, (room, value): (String, Json)| socket.to(&room).emit("relayed", &value));
/// });
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Json {
    value: Value,
    attachments: Rc<[Bytes]>,
}

impl Json {
    /// The value. A binary value in it is the object `{"_placeholder":true,"num":N}`.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The binary value that a placeholder in the value stands for.
    pub fn binary(&self, placeholder: &Value) -> Option<&Bytes> {
        number(placeholder).and_then(|number| self.attachments.get(number))
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Json { value, attachments: Rc::new([]) }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Json { value: Value::deserialize(deserializer)?, attachments: attachments() })
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Part { value: &self.value, attachments: &self.attachments }.serialize(serializer)
    }
}

/// A part of a [`Json`].
struct Part<'a> {
    value: &'a Value,
    attachments: &'a Rc<[Bytes]>,
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let part = |value| Part { value, attachments: self.attachments };
        match (self.value, number(self.value).and_then(|number| self.attachments.get(number))) {
            (_, Some(binary)) => Binary(binary.clone()).serialize(serializer),
            (Value::Object(entries), None) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, &part(value)))?;
                map.end()
            }
            (Value::Array(items), None) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| sequence.serialize_element(&part(item)))?;
                sequence.end()
            }
            // A unit would be no argument at all.
            (Value::Null, None) => serializer.serialize_none(),
            (value, None) => value.serialize(serializer),
        }
    }
}

/// The number of a placeholder.
fn number(value: &Value) -> Option<usize> {
    let entries = value.as_object().filter(|entries| entries.get("_placeholder") == Some(&Value::Bool(true)))?;
    usize::try_from(entries.get("num")?.as_u64()?).ok()
}
