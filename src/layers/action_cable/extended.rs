//! Messages that only the extended protocol has, `actioncable-v1-ext-json`. Pure.

use std::{collections::HashMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::packet::{Ignored, quoted, to_json};

/// Most bytes of what a client says of someone.
const MAX_BYTES: usize = 4096;

fn number<'d, D: serde::Deserializer<'d>>(value: D) -> Result<Option<f64>, D::Error> {
    Value::deserialize(value).map(|value| value.as_f64())
}

/// A place in a stream: its last message that a client has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Position {
    pub(super) epoch: String,
    pub(super) offset: u64,
}

/// A client's request for the messages that it has missed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct HistoryRequest {
    /// Seconds since 1970, for streams without a position. Anything else is none.
    #[serde(default, deserialize_with = "number")]
    pub(super) since: Option<f64>,
    #[serde(default)]
    pub(super) streams: HashMap<String, Position>,
}

impl HistoryRequest {
    /// The same, with the places of another one for streams that have neither a place nor a time.
    pub(super) fn or_places_of(mut self, other: HistoryRequest) -> Self {
        if self.since.is_none() {
            other.streams.into_iter().for_each(|(stream, place)| _ = self.streams.entry(stream).or_insert(place));
        }
        self
    }

    pub(super) fn parse(json: Option<&str>) -> Result<Self, Ignored> {
        // An array would be read as an object without its names.
        let json = json.filter(|json| json.starts_with('{'));
        json.and_then(|json| serde_json::from_str(json).ok()).ok_or(Ignored::NoData)
    }
}

/// A member of a stream's presence, as sent by its client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Person {
    /// A string or a number, as JSON text.
    pub(super) id: String,
    /// JSON text.
    pub(super) info: String,
}

impl Person {
    pub(super) fn parse(json: Option<&str>) -> Result<Self, Ignored> {
        #[derive(Deserialize)]
        struct Fields {
            id: Value,
            #[serde(default)]
            info: Value,
        }

        let json = json.filter(|json| json.len() <= MAX_BYTES);
        let Fields { id, info } = json.and_then(|json| serde_json::from_str(json).ok()).ok_or(Ignored::NoData)?;
        match id {
            Value::String(_) | Value::Number(_) => Person::new(&id, &info).map_err(|_| Ignored::NoData),
            _ => Err(Ignored::NoData),
        }
    }

    pub(super) fn new<I: Serialize + ?Sized, V: Serialize + ?Sized>(id: &I, info: &V) -> serde_json::Result<Self> {
        Ok(Person { id: to_json(id)?, info: to_json(info)? })
    }
}

/// Returns `true` if a request for presence asks for the members, and `false` if it asks for their number only.
pub(super) fn wants_records(data: Option<&str>) -> bool {
    #[derive(Deserialize)]
    struct Data {
        return_records: bool,
    }

    data.and_then(|data| serde_json::from_str(data).ok()).is_none_or(|Data { return_records }| return_records)
}

/// The first message of a connection. `restored`: identifiers of the subscriptions that go on.
pub(super) fn welcome(sid: &str, restored: Option<&[&str]>) -> String {
    let mut text = format!(r#"{{"type":"welcome","sid":{}"#, quoted(sid));
    if let Some(identifiers) = restored {
        let identifiers: Vec<String> = identifiers.iter().map(|identifier| quoted(identifier)).collect();
        _ = write!(text, r#","restored":true,"restored_ids":[{}]"#, identifiers.join(","));
    }
    text.push('}');
    text
}

/// A message of a stream, with its place there. `identifier`, `stream` and `message` are JSON texts.
pub(super) fn message(identifier: &str, message: &str, stream: &str, epoch: &str, offset: u64) -> String {
    format!(
        r#"{{"identifier":{identifier},"message":{message},"stream_id":{stream},"epoch":"{epoch}","offset":{offset}}}"#
    )
}

/// The type of the end of missed messages.
pub(super) fn history_kind(is_confirmed: bool) -> &'static str {
    if is_confirmed { "confirm_history" } else { "reject_history" }
}

/// The end of missed messages. `identifier` is JSON text.
pub(super) fn history_answer(identifier: &str, is_confirmed: bool) -> String {
    let kind = history_kind(is_confirmed);
    format!(r#"{{"type":"{kind}","identifier":{identifier}}}"#)
}

/// The answer to a ping of a client.
pub(super) const PONG: &str = r#"{"type":"pong"}"#;

/// Someone has come, or has gone.
pub(super) fn presence_change(identifier: &str, person: &Person, is_here: bool) -> String {
    let (kind, Person { id, info }) = (if is_here { "join" } else { "leave" }, person);
    presence(identifier, &format!(r#"{{"type":"{kind}","id":{id},"info":{info}}}"#))
}

/// Those who are present.
pub(super) fn presence_info<'p>(
    identifier: &str,
    people: impl ExactSizeIterator<Item = &'p Person>,
    with_records: bool,
) -> String {
    let mut text = format!(r#"{{"type":"info","total":{}"#, people.len());
    if with_records {
        text.push_str(r#","records":["#);
        for (index, Person { id, info }) in people.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            _ = write!(text, r#"{comma}{{"id":{id},"info":{info}}}"#);
        }
        text.push(']');
    }
    text.push('}');
    presence(identifier, &text)
}

/// The answer where nobody can be present.
pub(super) fn presence_error(identifier: &str) -> String {
    presence(identifier, r#"{"type":"error"}"#)
}

fn presence(identifier: &str, message: &str) -> String {
    format!(r#"{{"type":"presence","identifier":{identifier},"message":{message}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_for_history_are_read() {
        let text = r#"{"since":1795225987,"streams":{"chat:1":{"epoch":"a","offset":7}}}"#;
        let request = HistoryRequest::parse(Some(text)).unwrap();
        assert_eq!(request.since, Some(1_795_225_987.0));
        assert_eq!(request.streams["chat:1"], Position { epoch: "a".to_owned(), offset: 7 });
        assert_eq!(HistoryRequest::parse(Some("{}")), Ok(HistoryRequest::default()));
        assert_eq!(HistoryRequest::parse(Some(r#"{"since":false}"#)), Ok(HistoryRequest::default()));
        for wrong in ["[]", "7", r#"{"streams":{"s":{}}}"#] {
            assert_eq!(HistoryRequest::parse(Some(wrong)), Err(Ignored::NoData), "{wrong}");
        }
    }

    #[test]
    fn people_have_a_name_or_a_number_and_anything_else_they_want() {
        let person = Person::parse(Some(r#"{"id":"<ann>","info":{"name":"Ann"}}"#)).unwrap();
        assert_eq!((&*person.id, &*person.info), (r#""\u003cann\u003e""#, r#"{"name":"Ann"}"#));
        let person = Person::parse(Some(r#"{"id":7}"#)).unwrap();
        assert_eq!((&*person.id, &*person.info), ("7", "null"));
        for wrong in ["{}", r#"{"id":null}"#, r#"{"id":[]}"#, r#"{"info":1}"#, "7"] {
            assert_eq!(Person::parse(Some(wrong)), Err(Ignored::NoData), "{wrong}");
        }
        assert_eq!(Person::parse(None), Err(Ignored::NoData));
    }

    #[test]
    fn messages_are_those_of_the_extended_protocol() {
        assert_eq!(welcome("s", None), r#"{"type":"welcome","sid":"s"}"#);
        let restored = r#"{"type":"welcome","sid":"s","restored":true,"restored_ids":["{\"a\":1}","b"]}"#;
        assert_eq!(welcome("s", Some(&[r#"{"a":1}"#, "b"])), restored);
        assert_eq!(
            message(r#""i""#, "null", r#""s""#, "e", 1),
            r#"{"identifier":"i","message":null,"stream_id":"s","epoch":"e","offset":1}"#
        );
        assert_eq!(history_answer(r#""i""#, true), r#"{"type":"confirm_history","identifier":"i"}"#);
        assert_eq!(history_answer(r#""i""#, false), r#"{"type":"reject_history","identifier":"i"}"#);
        let people = [Person::new("a", &1).unwrap(), Person::new(&2, "b").unwrap()];
        assert_eq!(
            presence_change(r#""i""#, &people[0], false),
            r#"{"type":"presence","identifier":"i","message":{"type":"leave","id":"a","info":1}}"#
        );
        assert_eq!(
            presence_info(r#""i""#, people.iter(), true),
            r#"{"type":"presence","identifier":"i","message":{"type":"info","total":2,"records":[{"id":"a","info":1},{"id":2,"info":"b"}]}}"#
        );
        assert_eq!(
            presence_info(r#""i""#, people.iter(), false),
            r#"{"type":"presence","identifier":"i","message":{"type":"info","total":2}}"#
        );
    }
}
