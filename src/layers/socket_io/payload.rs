//! Arguments as they are sent.

use std::fmt;

use serde::{Serialize, Serializer, ser::Impossible};

use super::{
    args::{Args, Received},
    binary, packet,
};
use crate::buffer::Bytes;

/// The arguments of a packet as one JSON array, the name of an event first, and their attachments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    json: String,
    attachments: Vec<Bytes>,
}

impl Payload {
    /// The arguments as they came from elsewhere: a JSON array, and the attachments that its placeholders
    /// `{"_placeholder":true,"num":N}` stand for. `None` if it is something else.
    pub fn from_parts(json: &str, attachments: Vec<Bytes>) -> Option<Self> {
        let json = json.trim_matches([' ', '\t', '\r', '\n']);
        packet::items(json).ok()?;
        if !attachments.is_empty() {
            packet::check_placeholders(json, attachments.len()).ok()?;
        }
        Some(Payload { json: json.to_owned(), attachments })
    }

    /// Writes the arguments of an event, or of an ack. A tuple or an array of fixed length is one argument for each
    /// item, `()` is none, and any other value is one.
    pub(super) fn new<T: Serialize + ?Sized>(event: Option<&str>, args: &T) -> serde_json::Result<Self> {
        // Found before attachments are collected: that serializes, too.
        let shape = shape(args);
        let (json, attachments) = binary::collecting(|| Payload::write(event, args, shape));
        let json = json?;
        // A placeholder that a client has made up would end the connections of others.
        if !attachments.is_empty() && packet::check_placeholders(&json, attachments.len()).is_err() {
            return Err(serde::ser::Error::custom("a placeholder of no binary value"));
        }
        Ok(Payload { json, attachments })
    }

    fn write<T: Serialize + ?Sized>(event: Option<&str>, args: &T, shape: Shape) -> serde_json::Result<String> {
        let mut json = Vec::with_capacity(64);
        json.push(b'[');
        if let Some(event) = event {
            serde_json::to_writer(&mut json, event)?;
        }
        if shape != Shape::Nothing {
            let before = json.len();
            if event.is_some() {
                json.push(b',');
            }
            let start = json.len();
            serde_json::to_writer(&mut json, args)?;
            if shape == Shape::Tuple {
                // The items without their brackets.
                json.remove(start);
                json.pop();
                if json.len() == start {
                    json.truncate(before);
                }
            }
        }
        json.push(b']');
        String::from_utf8(json).map_err(serde::de::Error::custom)
    }

    /// The JSON array.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The attachments.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// The name of the event.
    pub(super) fn event(&self) -> Option<String> {
        packet::event_name(packet::items(&self.json).ok()?.first()?).ok()
    }

    /// Appends an argument that is text without anything to escape.
    pub(super) fn push_text(&mut self, text: &str) {
        self.json.pop();
        self.json.push_str(",\"");
        self.json.push_str(text);
        self.json.push_str("\"]");
    }

    /// All items, as the arguments of an answer.
    #[cfg(feature = "socket-io-redis")]
    pub(super) fn into_args(self) -> Option<Args> {
        let items = packet::items(&self.json).ok()?;
        let attachments = self.attachments.into();
        Some(Received { items: &items, attachments: &attachments }.to_args())
    }

    /// The arguments, without the name of the event.
    pub(super) fn to_args(&self) -> Option<Args> {
        let items = packet::items(&self.json).ok()?;
        let attachments = self.attachments.clone().into();
        Some(Received { items: items.get(1..)?, attachments: &attachments }.to_args())
    }
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Nothing,
    Tuple,
    Value,
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

impl std::error::Error for Shape {}

impl serde::ser::Error for Shape {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Shape::Value
    }
}

fn shape<T: Serialize + ?Sized>(value: &T) -> Shape {
    value.serialize(ShapeOf).err().unwrap_or(Shape::Value)
}

/// Finds the shape of a value. Nothing is written.
struct ShapeOf;

macro_rules! shapes {
    ($($method:ident($($type:ty),*) $(-> $associated:ident)?;)*) => {
        $(
            fn $method(self, $(_: $type),*) -> Result<shapes!(@ $($associated)?), Shape> {
                Err(Shape::Value)
            }
        )*
    };
    (@) => { () };
    (@ $associated:ident) => { Self::$associated };
}

impl Serializer for ShapeOf {
    type Ok = ();
    type Error = Shape;
    type SerializeSeq = Impossible<(), Shape>;
    type SerializeTuple = Impossible<(), Shape>;
    type SerializeTupleStruct = Impossible<(), Shape>;
    type SerializeTupleVariant = Impossible<(), Shape>;
    type SerializeMap = Impossible<(), Shape>;
    type SerializeStruct = Impossible<(), Shape>;
    type SerializeStructVariant = Impossible<(), Shape>;

    shapes! {
        serialize_bool(bool); serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_i128(i128); serialize_u8(u8); serialize_u16(u16); serialize_u32(u32); serialize_u64(u64);
        serialize_u128(u128); serialize_f32(f32); serialize_f64(f64); serialize_char(char); serialize_str(&str);
        serialize_bytes(&[u8]); serialize_none(); serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
        serialize_seq(Option<usize>) -> SerializeSeq;
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant;
        serialize_map(Option<usize>) -> SerializeMap;
        serialize_struct(&'static str, usize) -> SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant;
    }

    fn serialize_unit(self) -> Result<(), Shape> {
        Err(Shape::Nothing)
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, Shape> {
        Err(if length == 0 { Shape::Nothing } else { Shape::Tuple })
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Shape> {
        Err(Shape::Value)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<(), Shape> {
        Err(Shape::Value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Shape> {
        Err(Shape::Value)
    }
}
