//! Arguments of events and acks: JSON that is parsed when it is asked for, with binary values beside it.

use std::{fmt, rc::Rc};

use serde::{
    Serialize, Serializer,
    de::{Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, SeqAccess, Visitor},
    ser::SerializeTuple,
};
use serde_json::{Value, value::RawValue};

use super::binary::{self, with_attachments};
use crate::buffer::Bytes;

/// Arguments of an event or an ack. As the type of a listener's arguments it takes them as they are, whatever they are;
/// as the arguments of an event it sends them on.
#[derive(Clone)]
pub struct Args {
    items: Rc<[Box<RawValue>]>,
    attachments: Rc<[Bytes]>,
}

impl Args {
    /// Number of arguments.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns `true` if there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// All arguments, as values of one type.
    ///
    /// # Errors
    ///
    /// If one of them is not a `T`.
    pub fn list<T: DeserializeOwned>(&self) -> serde_json::Result<Vec<T>> {
        (0..self.len()).map(|index| self.get(index)).collect()
    }

    /// The JSON text of an argument. A binary value is the object `{"_placeholder":true,"num":N}`.
    pub fn json(&self, index: usize) -> Option<&str> {
        self.items.get(index).map(|item| item.get())
    }

    /// One argument.
    ///
    /// # Errors
    ///
    /// If it is not a `T`. An argument that is not there is `null`.
    pub fn get<T: DeserializeOwned>(&self, index: usize) -> serde_json::Result<T> {
        with_attachments(&self.attachments, || serde_json::from_str(self.json(index).unwrap_or("null")))
    }

    /// The arguments as a tuple, whose missing ones are `null` and further ones are left out; or the first one as any
    /// other type.
    ///
    /// # Errors
    ///
    /// If they are not a `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        let items: Vec<&RawValue> = self.items.iter().map(|item| &**item).collect();
        Received { items: &items, attachments: &self.attachments }.parse()
    }
}

impl fmt::Debug for Args {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.items.iter().map(|item| item.get())).finish()
    }
}

/// Arguments where they were received.
#[derive(Clone, Copy)]
pub(super) struct Received<'a> {
    pub(super) items: &'a [&'a RawValue],
    pub(super) attachments: &'a Rc<[Bytes]>,
}

impl Received<'_> {
    pub(super) fn parse<T: DeserializeOwned>(self) -> serde_json::Result<T> {
        with_attachments(self.attachments, || T::deserialize(Items(self.items)))
    }

    pub(super) fn to_args(self) -> Args {
        let items = self.items.iter().map(|item| (*item).to_owned()).collect();
        Args { items, attachments: Rc::clone(self.attachments) }
    }
}

/// Name by which [`Args`] ask for all items as they are.
const ARGS: &str = "$ws_reactor::Args";

impl<'de> Deserialize<'de> for Args {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Args;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("all arguments of an event")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Args, A::Error> {
                let mut collected = Vec::new();
                while let Some(item) = items.next_element()? {
                    collected.push(item);
                }
                Ok(Args { items: collected.into(), attachments: binary::attachments() })
            }
        }

        deserializer.deserialize_newtype_struct(ARGS, Collect)
    }
}

impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let before = binary::attach(&self.attachments).filter(|_| !self.attachments.is_empty()).unwrap_or(0);
        let mut tuple = serializer.serialize_tuple(self.items.len())?;
        for item in &*self.items {
            if before == 0 {
                tuple.serialize_element(item)?;
            } else {
                let mut value = serde_json::from_str(item.get()).map_err(serde::ser::Error::custom)?;
                renumber(&mut value, before as u64);
                tuple.serialize_element(&value)?;
            }
        }
        tuple.end()
    }
}

/// Adds to the numbers of placeholders, which other attachments precede.
fn renumber(value: &mut Value, by: u64) {
    match value {
        Value::Object(entries) => {
            let is_placeholder = entries.get("_placeholder") == Some(&Value::Bool(true));
            let number = entries.get("num").and_then(Value::as_u64).filter(|_| is_placeholder);
            match number {
                Some(number) => _ = entries.insert("num".to_owned(), (number + by).into()),
                None => entries.values_mut().for_each(|value| renumber(value, by)),
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| renumber(item, by)),
        _ => {}
    }
}

/// Arguments as a source of serde: a tuple takes them one by one, any other type takes the first one.
struct Items<'a>(&'a [&'a RawValue]);

impl<'a> Items<'a> {
    fn first(&self) -> serde_json::Deserializer<serde_json::de::StrRead<'a>> {
        serde_json::Deserializer::from_str(self.0.first().map_or("null", |item| item.get()))
    }
}

/// The methods that look at the first argument.
macro_rules! of_first {
    ($($method:ident)*) => {
        $(
            fn $method<V: Visitor<'a>>(self, visitor: V) -> serde_json::Result<V::Value> {
                self.first().$method(visitor)
            }
        )*
    };
}

impl<'a> Deserializer<'a> for Items<'a> {
    type Error = serde_json::Error;

    of_first! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
        deserialize_map deserialize_identifier deserialize_any deserialize_seq
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> serde_json::Result<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> serde_json::Result<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> serde_json::Result<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> serde_json::Result<V::Value> {
        match name {
            ARGS => visitor.visit_seq(Sequence { items: self.0, missing: 0 }),
            // A type of one field, or raw JSON.
            _ => self.first().deserialize_newtype_struct(name, visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, length: usize, visitor: V) -> serde_json::Result<V::Value> {
        let items = &self.0[..self.0.len().min(length)];
        visitor.visit_seq(Sequence { items, missing: length - items.len() })
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> serde_json::Result<V::Value> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> serde_json::Result<V::Value> {
        self.first().deserialize_struct(name, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> serde_json::Result<V::Value> {
        self.first().deserialize_enum(name, variants, visitor)
    }
}

/// The items, then `null` for each that is missing.
struct Sequence<'a> {
    items: &'a [&'a RawValue],
    missing: usize,
}

impl<'a> SeqAccess<'a> for Sequence<'a> {
    type Error = serde_json::Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> serde_json::Result<Option<T::Value>> {
        let json = match self.items.split_first() {
            Some((first, rest)) => {
                self.items = rest;
                first.get()
            }
            None if self.missing > 0 => {
                self.missing -= 1;
                "null"
            }
            None => return Ok(None),
        };
        seed.deserialize(&mut serde_json::Deserializer::from_str(json)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() + self.missing)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{binary::Binary, payload::Payload},
        *,
    };

    fn written<T: Serialize + ?Sized>(args: &T) -> String {
        let payload = Payload::new(Some("e"), args).unwrap();
        format!("{} {}", payload.json(), payload.attachments().len())
    }

    fn parsed<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
        let items: Vec<&RawValue> = serde_json::from_str(json).unwrap();
        let attachments: Rc<[Bytes]> = Rc::new([Bytes::from_static(b"zero"), Bytes::from_static(b"one")]);
        Received { items: &items, attachments: &attachments }.parse()
    }

    #[test]
    fn tuple_is_one_argument_for_each_item_and_other_values_are_one() {
        assert_eq!(written(&()), r#"["e"] 0"#);
        assert_eq!(written("a"), r#"["e","a"] 0"#);
        assert_eq!(written(&("a", 1)), r#"["e","a",1] 0"#);
        assert_eq!(written(&["a", "b"]), r#"["e","a","b"] 0"#);
        assert_eq!(written(&vec!["a", "b"]), r#"["e",["a","b"]] 0"#);
        assert_eq!(written(&json!({"a": [1]})), r#"["e",{"a":[1]}] 0"#);
        assert_eq!(written(&None::<u8>), r#"["e",null] 0"#);
        assert_eq!(written(&(Value::Null,)), r#"["e",null] 0"#);
        assert_eq!(Payload::new(None, &(1, "b")).unwrap().json(), r#"[1,"b"]"#);
        assert_eq!(Payload::new(None, &()).unwrap().json(), "[]");
    }

    #[test]
    fn binary_values_are_attachments() {
        let binary = Binary::from(&[1, 2][..]);
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        assert_eq!(written(&binary), format!(r#"["e",{placeholder}] 1"#));
        let two = written(&(&binary, vec![&binary]));
        assert_eq!(two, format!(r#"["e",{placeholder},[{{"_placeholder":true,"num":1}}]] 2"#));
        assert_eq!(serde_json::to_string(&binary).unwrap(), "[1,2]");
    }

    #[test]
    fn missing_arguments_are_null_and_further_ones_are_left_out() {
        assert_eq!(parsed::<(String, Option<u8>)>(r#"["a"]"#).unwrap(), ("a".to_owned(), None));
        assert_eq!(parsed::<(String,)>(r#"["a",1]"#).unwrap(), ("a".to_owned(),));
        assert!(parsed::<(String, u8)>(r#"["a"]"#).is_err());
        assert_eq!(parsed::<String>(r#"["a",1]"#).unwrap(), "a");
        assert_eq!(parsed::<[u8; 2]>("[1,2]").unwrap(), [1, 2]);
        assert_eq!(parsed::<Vec<u8>>("[[1,2],3]").unwrap(), [1, 2]);
        assert_eq!(parsed::<Option<u8>>("[]").unwrap(), None);
        parsed::<()>("[1,2]").unwrap();
        assert_eq!(parsed::<Value>(r#"[1,"a"]"#).unwrap(), json!(1));
        assert_eq!(parsed::<Args>("[1,2]").unwrap().list::<u8>().unwrap(), [1, 2]);
    }

    #[test]
    fn placeholders_are_read_as_their_attachments() {
        #[derive(serde::Deserialize)]
        struct Inner {
            b: Binary,
        }

        let json = r#"[{"_placeholder":true,"num":1},{"b":{"num":0,"_placeholder":true}}]"#;
        let (first, second) = parsed::<(Binary, Inner)>(json).unwrap();
        assert_eq!((&first.0[..], &second.b.0[..]), (&b"one"[..], &b"zero"[..]));
        assert!(parsed::<Binary>(r#"[{"_placeholder":true,"num":2}]"#).is_err());
        assert!(parsed::<Binary>(r#"["text"]"#).is_err());
    }

    #[test]
    fn arguments_are_sent_on_with_their_attachments() {
        let json = r#"[1e999,{"_placeholder":true,"num":1},"x"]"#;
        let args: Args = parsed(json).unwrap();
        assert_eq!((args.len(), args.json(0)), (3, Some("1e999")));
        assert_eq!(args.get::<Binary>(1).unwrap().0, "one");
        assert_eq!(written(&args), format!(r#"["e",{} 2"#, &json[1..]));
        let args: Args = parsed(r#"[{"_placeholder":true,"num":1}]"#).unwrap();
        let nested = written(&(Binary::default(), &args));
        assert_eq!(nested, r#"["e",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":2}]] 3"#);
    }
}
