//! Messages of ActionCable: commands of clients, and what a server sends. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The kinds of commands that clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandKind {
    Subscribe,
    Unsubscribe,
    Message,
    Whisper,
    /// Those of the extended protocol only.
    Extended(Extended),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extended {
    History,
    Join,
    Leave,
    Presence,
    Ping,
    Pong,
}

/// A command of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command<'c> {
    pub(super) kind: CommandKind,
    /// The text that names the subscription, as the client wrote it. Empty in a ping and a pong.
    pub(super) identifier: Cow<'c, str>,
    /// JSON texts of the fields.
    pub(super) data: Option<&'c str>,
    pub(super) history: Option<&'c str>,
    pub(super) presence: Option<&'c str>,
}

/// Why a message of a client is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ignored {
    NoCommand,
    UnknownCommand,
    NoIdentifier,
    NoChannel,
    NoData,
    NoSubscription,
    NotAllowed,
    UnknownChannel,
    TooMuch,
}

impl Ignored {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Ignored::NoCommand => "no JSON object with a command",
            Ignored::UnknownCommand => "a command that does not exist",
            Ignored::NoIdentifier => "no identifier",
            Ignored::NoChannel => "an identifier without a channel",
            Ignored::NoData => "data that is no JSON object",
            Ignored::NoSubscription => "no subscription with this identifier",
            Ignored::NotAllowed => "a command that its channel does not allow",
            Ignored::UnknownChannel => "a channel that does not exist",
            Ignored::TooMuch => "too many subscriptions, or too long an identifier",
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'c> {
    #[serde(borrow)]
    command: Option<Cow<'c, str>>,
    #[serde(borrow)]
    identifier: Option<Cow<'c, str>>,
    #[serde(borrow)]
    data: Option<&'c RawValue>,
    #[serde(borrow)]
    history: Option<&'c RawValue>,
    #[serde(borrow)]
    presence: Option<&'c RawValue>,
}

impl<'c> Command<'c> {
    pub(super) fn parse(text: &'c str) -> Result<Self, Ignored> {
        let envelope: Envelope<'c> = serde_json::from_str(text).map_err(|_| Ignored::NoCommand)?;
        let kind = match envelope.command.as_deref().ok_or(Ignored::NoCommand)? {
            "subscribe" => CommandKind::Subscribe,
            "unsubscribe" => CommandKind::Unsubscribe,
            "message" => CommandKind::Message,
            "whisper" => CommandKind::Whisper,
            "history" => CommandKind::Extended(Extended::History),
            "join" => CommandKind::Extended(Extended::Join),
            "leave" => CommandKind::Extended(Extended::Leave),
            "presence" => CommandKind::Extended(Extended::Presence),
            "ping" => CommandKind::Extended(Extended::Ping),
            "pong" => CommandKind::Extended(Extended::Pong),
            _ => return Err(Ignored::UnknownCommand),
        };
        let identifier = match kind {
            CommandKind::Extended(Extended::Ping | Extended::Pong) => Cow::Borrowed(""),
            _ => envelope.identifier.ok_or(Ignored::NoIdentifier)?,
        };
        let [data, history, presence] =
            [envelope.data, envelope.history, envelope.presence].map(|field| field.map(RawValue::get));
        Ok(Command { kind, identifier, data, history, presence })
    }

    /// The JSON text of an action, which is a string.
    pub(super) fn action(&self) -> Result<Cow<'c, str>, Ignored> {
        let Text(text) = serde_json::from_str(self.data.ok_or(Ignored::NoData)?).map_err(|_| Ignored::NoData)?;
        Ok(text)
    }
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'c>(#[serde(borrow)] Cow<'c, str>);

/// The channel that an identifier names.
pub(super) fn channel_of(identifier: &str) -> Result<String, Ignored> {
    #[derive(Deserialize)]
    struct Channel {
        channel: String,
    }

    serde_json::from_str(identifier).map(|Channel { channel }| channel).map_err(|_| Ignored::NoChannel)
}

/// The name of an action: that of `data`, or `receive` if that is missing or blank.
pub(super) fn action_of(data: &str) -> Result<Cow<'_, str>, Ignored> {
    #[derive(Deserialize)]
    struct Action<'c> {
        #[serde(borrow)]
        action: Option<&'c RawValue>,
    }

    let Action { action } = serde_json::from_str(data).map_err(|_| Ignored::NoData)?;
    let name = action.and_then(|action| serde_json::from_str(action.get()).ok()).map(|Text(name)| name);
    Ok(name.filter(|name| !name.trim().is_empty()).unwrap_or(Cow::Borrowed("receive")))
}

/// Returns `true` if a text is one JSON value.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// A value as JSON text. Characters that HTML or JavaScript could take for their own are escaped, as Rails does.
pub(super) fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string(value).map(escape)
}

/// A string as JSON text.
pub(super) fn quoted(text: &str) -> String {
    to_json(text).unwrap_or_default()
}

/// Escapes characters in JSON text, where they stand in strings only.
fn escape(json: String) -> String {
    let escaped = |character| {
        Some(match character {
            '<' => "\\u003c",
            '>' => "\\u003e",
            '&' => "\\u0026",
            '\u{2028}' => "\\u2028",
            '\u{2029}' => "\\u2029",
            _ => return None,
        })
    };
    if !json.contains(|character| escaped(character).is_some()) {
        return json;
    }
    let mut text = String::with_capacity(json.len() + 32);
    for character in json.chars() {
        match escaped(character) {
            Some(escape) => text.push_str(escape),
            None => text.push(character),
        }
    }
    text
}

/// The first message of a connection.
pub(super) const WELCOME: &str = r#"{"type":"welcome"}"#;

/// A message of a subscription. `identifier` and `message` are JSON texts.
pub(super) fn message(identifier: &str, message: &str) -> String {
    let mut text = String::with_capacity(identifier.len() + message.len() + 27);
    for part in [r#"{"identifier":"#, identifier, r#","message":"#, message, "}"] {
        text.push_str(part);
    }
    text
}

/// The type of a confirmation.
pub(super) const CONFIRMED: &str = "confirm_subscription";

/// The answer to a subscription. `identifier` is JSON text.
pub(super) fn answer(identifier: &str, is_confirmed: bool) -> String {
    let kind = if is_confirmed { CONFIRMED } else { "reject_subscription" };
    format!(r#"{{"identifier":{identifier},"type":"{kind}"}}"#)
}

/// A ping, with the seconds since 1970.
pub(super) fn ping(seconds: u64) -> String {
    format!(r#"{{"type":"ping","message":{seconds}}}"#)
}

/// The last message of a connection that the server ends.
pub(super) fn disconnect(reason: &str, reconnect: bool) -> String {
    format!(r#"{{"type":"disconnect","reason":{},"reconnect":{reconnect}}}"#, quoted(reason))
}

/// A message of the topic of a user: whether its connections shall be ended and may reconnect. `None` for any other.
pub(super) fn remote_disconnect(text: &str) -> Option<bool> {
    #[derive(Deserialize)]
    struct Internal<'c> {
        #[serde(borrow, rename = "type")]
        kind: Option<Cow<'c, str>>,
        reconnect: Option<serde_json::Value>,
    }

    let internal: Internal<'_> = serde_json::from_str(text).ok()?;
    // Rails takes every value but false and null for true, and a missing one for true.
    let reconnect = internal.reconnect.is_none_or(|value| value != serde_json::Value::Bool(false));
    (internal.kind.as_deref() == Some("disconnect")).then_some(reconnect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_their_identifiers_kept_byte_for_byte() {
        let text = r#"{"command":"subscribe","identifier":"{ \"room\" : \"ü\\u00e4\", \"channel\":\"Chat\" }","x":1}"#;
        let command = Command::parse(text).unwrap();
        assert_eq!(command.kind, CommandKind::Subscribe);
        assert_eq!(command.identifier, r#"{ "room" : "ü\u00e4", "channel":"Chat" }"#);
        assert_eq!(channel_of(&command.identifier).as_deref(), Ok("Chat"));
        let text = r#"{"command":"message","identifier":"i","data":"{\"action\":\"speak\"}"}"#;
        let command = Command::parse(text).unwrap();
        assert_eq!(command.kind, CommandKind::Message);
        assert_eq!(command.action().as_deref(), Ok(r#"{"action":"speak"}"#));
    }

    #[test]
    fn anything_else_is_ignored_with_a_reason() {
        let deep = format!(r#"{{"command":{}"#, "[".repeat(100_000));
        let cases = [
            ("", Ignored::NoCommand),
            ("[]", Ignored::NoCommand),
            ("null", Ignored::NoCommand),
            (r#"{"identifier":"i"}"#, Ignored::NoCommand),
            (r#"{"command":7,"identifier":"i"}"#, Ignored::NoCommand),
            (&deep, Ignored::NoCommand),
            (r#"{"command":"fly","identifier":"i"}"#, Ignored::UnknownCommand),
            (r#"{"command":"subscribe"}"#, Ignored::NoIdentifier),
        ];
        for (text, reason) in cases {
            assert_eq!(Command::parse(text), Err(reason), "{text:.50}");
        }
        for identifier in ["", "i", "[]", r#"{"room":1}"#, r#"{"channel":1}"#] {
            assert_eq!(channel_of(identifier), Err(Ignored::NoChannel));
        }
        // Data that is no text is as good as none.
        let command = Command::parse(r#"{"command":"message","identifier":"i","data":{"action":"x"}}"#).unwrap();
        assert_eq!(command.action(), Err(Ignored::NoData));
    }

    #[test]
    fn action_without_a_name_is_receive() {
        for data in ["{}", r#"{"action":""}"#, r#"{"action":" "}"#, r#"{"action":null}"#, r#"{"action":7}"#] {
            assert_eq!(action_of(data).as_deref(), Ok("receive"), "{data}");
        }
        assert_eq!(action_of(r#"{"body":1,"action":"sp\u0065ak"}"#).as_deref(), Ok("speak"));
        for data in ["", "7", "[]", "speak"] {
            assert_eq!(action_of(data), Err(Ignored::NoData));
        }
    }

    /// Shapes as Rails 6.1 writes them.
    #[test]
    fn messages_are_those_of_rails() {
        let identifier = quoted(r#"{"channel":"<Chat>"}"#);
        assert_eq!(identifier, r#""{\"channel\":\"\u003cChat\u003e\"}""#);
        assert_eq!(
            message(&identifier, "null"),
            r#"{"identifier":"{\"channel\":\"\u003cChat\u003e\"}","message":null}"#
        );
        assert_eq!(answer(r#""i""#, true), r#"{"identifier":"i","type":"confirm_subscription"}"#);
        assert_eq!(answer(r#""i""#, false), r#"{"identifier":"i","type":"reject_subscription"}"#);
        assert_eq!(ping(1_795_225_987), r#"{"type":"ping","message":1795225987}"#);
        assert_eq!(
            disconnect("unauthorized", false),
            r#"{"type":"disconnect","reason":"unauthorized","reconnect":false}"#
        );
        assert_eq!(to_json("a&b\u{2028}\u{2029}").unwrap(), r#""a\u0026b\u2028\u2029""#);
    }

    #[test]
    fn only_a_disconnect_ends_remote_connections() {
        let cases = [
            (r#"{"type":"disconnect"}"#, Some(true)),
            (r#"{"type":"disconnect","reconnect":true}"#, Some(true)),
            (r#"{"type":"disconnect","reconnect":false}"#, Some(false)),
            (r#"{"type":"disconnect","reconnect":null}"#, Some(true)),
            (r#"{"type":"other"}"#, None),
            ("{}", None),
            ("[1]", None),
            ("null", None),
            ("text", None),
        ];
        for (text, expected) in cases {
            assert_eq!(remote_disconnect(text), expected, "{text}");
        }
    }
}
