//! Invariants of the messages, for any input.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    StreamVerifier,
    extended::{self, HistoryRequest, Person},
    packet::{self, Command},
};

/// Checks that a client's message is parsed or refused, and that the answers to it are JSON with the same values.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(command) = Command::parse(text) {
        let identifier = &*command.identifier;
        let answer = parsed(&packet::answer(&packet::quoted(identifier), true));
        assert_eq!(answer["identifier"], *identifier);
        let _ = packet::channel_of(identifier);
        let _ = command.action().and_then(|json| packet::action_of(&json).map(Cow::into_owned));
        let _ = HistoryRequest::parse(command.history);
        if let Ok(person) = Person::parse(command.presence) {
            let change = parsed(&extended::presence_change(&packet::quoted(identifier), &person, true));
            assert_eq!(change["message"]["type"], "join");
        }
        if let Some(json) = command.data {
            assert!(packet::is_json(json));
            let message = parsed(&extended::message(&packet::quoted(identifier), json, "\"s\"", "e", 1));
            assert_eq!((&message["identifier"], &message["offset"]), (&Value::from(identifier), &Value::from(1)));
        }
    }
    if packet::is_json(text) {
        // Deeper values than serde_json reads are sent as they are.
        let sent = packet::message("\"i\"", text);
        assert!(packet::is_json(&sent));
    }
    let _ = packet::remote_disconnect(text);
    let verifier = StreamVerifier::new("a key that no input was signed with");
    assert_eq!(verifier.verify(&verifier.sign(text)).as_deref(), Some(text));
    assert_eq!(verifier.verify(text), None, "nobody signs by chance");
    assert!(!packet::quoted(text).contains(['<', '>', '&', '\u{2028}', '\u{2029}', '\n']));
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
