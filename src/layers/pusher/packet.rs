//! Messages of protocol 7, from clients and to clients. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// A message of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Ping,
    Pong,
    Subscribe {
        channel: String,
        auth: Option<String>,
        /// User and information of a member of a presence channel, as JSON text.
        channel_data: Option<String>,
    },
    Unsubscribe {
        channel: String,
    },
    SignIn {
        auth: String,
        user_data: String,
    },
    /// An event for the other subscribers of a channel.
    ClientEvent {
        event: String,
        channel: String,
        /// JSON text, as it came.
        data: &'a str,
    },
}

/// A message that does not follow the protocol, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

#[derive(Deserialize)]
struct Message<'a> {
    event: String,
    channel: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct SubscribeData {
    channel: String,
    auth: Option<String>,
    channel_data: Option<String>,
}

#[derive(Deserialize)]
struct UnsubscribeData {
    channel: String,
}

#[derive(Default, Deserialize)]
struct SignInData {
    auth: String,
    user_data: String,
}

impl<'a> Command<'a> {
    /// Reads a message. `None` if its kind is unknown.
    pub(super) fn parse(text: &'a str) -> Result<Option<Self>, Malformed> {
        let Message { event, channel, data } =
            serde_json::from_str(text).map_err(|_| Malformed("the message is not a JSON object with an event"))?;
        Ok(Some(match event.as_str() {
            "pusher:ping" => Command::Ping,
            "pusher:pong" => Command::Pong,
            "pusher:subscribe" => {
                let SubscribeData { channel, auth, channel_data } = object(data)?;
                Command::Subscribe { channel, auth, channel_data }
            }
            "pusher:unsubscribe" => {
                let UnsubscribeData { channel } = object(data)?;
                Command::Unsubscribe { channel }
            }
            "pusher:signin" => {
                // Malformed data fails as a wrong signature does.
                let SignInData { auth, user_data } = object(data).unwrap_or_default();
                Command::SignIn { auth, user_data }
            }
            name if name.starts_with("client-") => {
                let channel = channel.ok_or(Malformed("a client event has no channel"))?;
                Command::ClientEvent { event, channel, data: data.map_or("null", RawValue::get) }
            }
            _ => return Ok(None),
        }))
    }
}

/// The data of a message: an object, or the JSON text of one.
fn object<T: for<'d> Deserialize<'d>>(data: Option<&RawValue>) -> Result<T, Malformed> {
    const MALFORMED: Malformed = Malformed("the data of the message is not valid");
    let data = data.ok_or(MALFORMED)?.get();
    let value = match serde_json::from_str::<String>(data) {
        Ok(text) => serde_json::from_str(&text),
        Err(_) => serde_json::from_str(data),
    };
    value.map_err(|_| MALFORMED)
}

/// A member of a presence channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemberData {
    pub(super) user_id: String,
    /// JSON text.
    pub(super) user_info: Option<String>,
}

impl MemberData {
    /// Reads the `channel_data` of a subscription. `None` without a user.
    pub(super) fn parse(channel_data: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Data<'a> {
            user_id: Value,
            #[serde(borrow)]
            user_info: Option<&'a RawValue>,
        }

        let Data { user_id, user_info } = serde_json::from_str(channel_data).ok()?;
        let user_id = id_of(&user_id)?;
        Some(MemberData { user_id, user_info: user_info.map(|info| info.get().to_owned()) })
    }
}

/// The id of a user, which may be a number.
fn id_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A user that has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserData {
    pub(super) id: String,
    /// Users whose connections it is told about.
    pub(super) watchlist: Vec<String>,
}

impl UserData {
    /// Reads the `user_data` of a sign-in. `None` without an id.
    pub(super) fn parse(user_data: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(user_data).ok()?;
        let watchlist = value["watchlist"].as_array().into_iter().flatten().filter_map(id_of).collect();
        Some(UserData { id: id_of(&value["id"])?, watchlist })
    }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The text of a JSON string, or else the JSON text.
pub(super) fn text_of(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_else(|_| json.to_owned())
}

pub(super) const PING: &str = r#"{"event":"pusher:ping","data":"{}"}"#;
pub(super) const PONG: &str = r#"{"event":"pusher:pong","data":"{}"}"#;

/// A connection is open.
pub(super) fn established(socket_id: &str, activity_timeout: u64) -> String {
    let data = format!(r#"{{"socket_id":"{socket_id}","activity_timeout":{activity_timeout}}}"#);
    format!(r#"{{"event":"pusher:connection_established","data":{}}}"#, quoted(&data))
}

/// An error, with the code that closes the connection if there is one.
pub(super) fn error(code: Option<u16>, message: &str) -> String {
    let code = code.map_or_else(|| "null".to_owned(), |code| code.to_string());
    format!(r#"{{"event":"pusher:error","data":{{"code":{code},"message":{}}}}}"#, quoted(message))
}

/// A client is subscribed. `data`: JSON text.
pub(super) fn subscribed(channel: &str, data: &str) -> String {
    event("pusher_internal:subscription_succeeded", Some(channel), &quoted(data), None)
}

/// A subscription is refused.
pub(super) fn subscription_error(channel: &str, kind: &str, message: &str, status: u16) -> String {
    let data = format!(r#"{{"type":{},"error":{},"status":{status}}}"#, quoted(kind), quoted(message));
    event("pusher:subscription_error", Some(channel), &data, None)
}

/// An event. `data`: JSON text.
pub(super) fn event(name: &str, channel: Option<&str>, data: &str, user_id: Option<&str>) -> String {
    let mut text = String::with_capacity(64 + name.len() + channel.map_or(0, str::len) + data.len());
    text.push_str(r#"{"event":"#);
    text.push_str(&quoted(name));
    if let Some(channel) = channel {
        text.push_str(r#","channel":"#);
        text.push_str(&quoted(channel));
    }
    text.push_str(r#","data":"#);
    text.push_str(data);
    if let Some(user_id) = user_id {
        text.push_str(r#","user_id":"#);
        text.push_str(&quoted(user_id));
    }
    text.push('}');
    text
}

/// The last event of a cache channel is not known.
pub(super) fn cache_miss(channel: &str) -> String {
    event("pusher:cache_miss", Some(channel), &quoted("{}"), None)
}

/// A member has come to a presence channel.
pub(super) fn member_added(channel: &str, member: &MemberData) -> String {
    let (id, info) = (quoted(&member.user_id), member.user_info.as_deref().unwrap_or("{}"));
    let data = format!(r#"{{"user_id":{id},"user_info":{info}}}"#);
    event("pusher_internal:member_added", Some(channel), &quoted(&data), None)
}

/// A member has left a presence channel.
pub(super) fn member_removed(channel: &str, user_id: &str) -> String {
    let data = format!(r#"{{"user_id":{}}}"#, quoted(user_id));
    event("pusher_internal:member_removed", Some(channel), &quoted(&data), None)
}

/// The members of a presence channel, for a client that is subscribed.
pub(super) fn presence<'m>(members: impl Iterator<Item = &'m MemberData>) -> String {
    let (mut ids, mut hash) = (Vec::new(), Vec::new());
    for member in members {
        let id = quoted(&member.user_id);
        hash.push(format!("{id}:{}", member.user_info.as_deref().unwrap_or("{}")));
        ids.push(id);
    }
    let (count, ids, hash) = (ids.len(), ids.join(","), hash.join(","));
    format!(r#"{{"presence":{{"count":{count},"ids":[{ids}],"hash":{{{hash}}}}}}}"#)
}

/// The number of subscriptions of a channel has changed.
pub(super) fn subscription_count(channel: &str, count: usize) -> String {
    let data = quoted(&format!(r#"{{"subscription_count":{count}}}"#));
    event("pusher_internal:subscription_count", Some(channel), &data, None)
}

/// Users of a watchlist have come or gone.
pub(super) fn watchlist(name: &str, user_ids: &[String]) -> String {
    let ids = user_ids.iter().map(|id| quoted(id)).collect::<Vec<_>>().join(",");
    let data = format!(r#"{{"events":[{{"name":{},"user_ids":[{ids}]}}]}}"#, quoted(name));
    event("pusher_internal:watchlist_events", None, &quoted(&data), None)
}

/// A client has signed in.
pub(super) fn signed_in(user_data: &str) -> String {
    let data = format!(r#"{{"user_data":{}}}"#, quoted(user_data));
    event("pusher:signin_success", None, &quoted(&data), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Command<'_>>, Malformed> {
        Command::parse(text)
    }

    #[test]
    fn messages_of_clients_are_read() {
        assert_eq!(parse(r#"{"event":"pusher:ping","data":{}}"#), Ok(Some(Command::Ping)));
        assert_eq!(parse(r#"{"event":"pusher:pong"}"#), Ok(Some(Command::Pong)));
        let subscribe = Command::Subscribe {
            channel: "presence-a".to_owned(),
            auth: Some("k:s".to_owned()),
            channel_data: Some("{\"user_id\":1}".to_owned()),
        };
        let object = r#"{"channel":"presence-a","auth":"k:s","channel_data":"{\"user_id\":1}"}"#;
        for data in [object.to_owned(), quoted(object)] {
            let text = format!(r#"{{"event":"pusher:subscribe","data":{data}}}"#);
            assert_eq!(parse(&text).unwrap().as_ref(), Some(&subscribe));
        }
        let text = r#"{"event":"client-x","channel":"private-a","data":{"a": [1, "é"]}}"#;
        let event = Command::ClientEvent {
            event: "client-x".to_owned(),
            channel: "private-a".to_owned(),
            data: r#"{"a": [1, "é"]}"#,
        };
        assert_eq!(parse(text), Ok(Some(event)));
        assert_eq!(parse(r#"{"event":"other"}"#), Ok(None));
    }

    #[test]
    fn anything_else_is_malformed() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"event":1}"#,
            r#"{"event":"pusher:subscribe"}"#,
            r#"{"event":"pusher:subscribe","data":{}}"#,
            r#"{"event":"pusher:subscribe","data":"x"}"#,
            r#"{"event":"client-x"}"#,
            &deep,
        ] {
            assert!(parse(text).is_err(), "{text:.40}");
        }
    }

    #[test]
    fn users_have_ids_of_text_or_numbers() {
        let member = MemberData::parse(r#"{"user_id":10,"user_info":{"name": "x"}}"#).unwrap();
        assert_eq!((&*member.user_id, member.user_info.as_deref()), ("10", Some(r#"{"name": "x"}"#)));
        for text in ["", "x", "{}", r#"{"user_id":""}"#, r#"{"user_id":null}"#, r#"{"user_id":[1]}"#] {
            assert_eq!(MemberData::parse(text), None, "{text}");
        }
        let user = UserData::parse(r#"{"id":"7","watchlist":["a",2,null]}"#).unwrap();
        assert_eq!((&*user.id, user.watchlist), ("7", vec!["a".to_owned(), "2".to_owned()]));
        assert_eq!(UserData::parse(r#"{"watchlist":[]}"#), None);
    }

    #[test]
    fn data_of_the_server_is_text_in_json() {
        let expected =
            r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}"#;
        assert_eq!(established("1.2", 120), expected);
        let members = [
            MemberData { user_id: "a".to_owned(), user_info: Some(r#"{"n":1}"#.to_owned()) },
            MemberData { user_id: "b".to_owned(), user_info: None },
        ];
        let data = presence(members.iter());
        assert_eq!(data, r#"{"presence":{"count":2,"ids":["a","b"],"hash":{"a":{"n":1},"b":{}}}}"#);
        let expected = r#"{"event":"pusher_internal:subscription_succeeded","channel":"c","data":"{}"}"#;
        assert_eq!(subscribed("c", "{}"), expected);
        let expected = r#"{"event":"e","channel":"presence-c","data":[1],"user_id":"\""}"#;
        assert_eq!(event("e", Some("presence-c"), "[1]", Some("\"")), expected);
        assert_eq!(error(Some(4001), "no"), r#"{"event":"pusher:error","data":{"code":4001,"message":"no"}}"#);
        assert_eq!(error(None, "no"), r#"{"event":"pusher:error","data":{"code":null,"message":"no"}}"#);
    }
}
