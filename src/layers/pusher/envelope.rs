//! Messages between the nodes of an app, on one topic: a line of JSON, and the data of an event behind it. Pure.

use serde::{Deserialize, Serialize};

use super::{
    cache::CachedEvent,
    holdings::{Change, Holdings},
};

/// A message of a node, with its number among those of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Envelope {
    #[serde(rename = "n")]
    pub(super) node: String,
    #[serde(rename = "s")]
    pub(super) number: u64,
    #[serde(flatten)]
    pub(super) message: Message,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(super) enum Message {
    /// An event for the subscribers of channels.
    Event(Event),
    /// A change of the node's holdings. `token`: the subscription of the node that begins with it.
    Change { change: Change, token: Option<u64> },
    /// The connections of a user are to be closed.
    Terminate { user: String },
    /// The node has started, and asks all others for their holdings.
    Hello,
    /// A node is asked for its holdings.
    Ask { node: String },
    /// A part of the holdings of the node, as they were at the first part. `last_token`: its newest subscription then.
    Holdings { holdings: Holdings, last_token: u64, is_first: bool, is_last: bool },
    /// Events of cache channels, each with the milliseconds for which it is still kept.
    Cached { events: Vec<(CachedEvent, u64)> },
    /// The node is running.
    Alive,
    /// The node is connected again, and the others say at once that they are running.
    Back,
    /// The node ends, and publishes nothing more.
    Bye,
    /// Another node has ended: it has said so, or is silent.
    Ended { node: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) channels: Vec<String>,
    /// The connection that does not get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) socket_id: Option<String>,
    /// The user that has sent it, in presence channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    /// JSON text for its receivers.
    #[serde(skip)]
    pub(super) data: String,
}

impl Envelope {
    pub(super) fn encode(&self) -> String {
        // All keys are text, so it can be written as JSON.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        if let Message::Event(event) = &self.message {
            text.push('\n');
            text.push_str(&event.data);
        }
        text
    }

    /// Reads a message. `None` if it is malformed.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let (head, rest) = text.split_once('\n').map_or((text, None), |(head, rest)| (head, Some(rest)));
        let mut envelope: Envelope = serde_json::from_str(head).ok()?;
        match (&mut envelope.message, rest) {
            (Message::Event(event), Some(data)) => {
                // It is sent within JSON as it is, so it must be JSON.
                serde_json::from_str::<serde::de::IgnoredAny>(data).ok()?;
                data.clone_into(&mut event.data);
            }
            (Message::Event(_), None) | (_, Some(_)) => return None,
            (Message::Holdings { holdings, .. }, None) if !holdings.is_valid() => return None,
            _ => {}
        }
        Some(envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: Message) -> Envelope {
        Envelope { node: "a".to_owned(), number: 3, message }
    }

    fn event(data: &str) -> Message {
        Message::Event(Event {
            name: "e\n".to_owned(),
            channels: vec!["c".to_owned()],
            socket_id: Some("1.2".to_owned()),
            user: None,
            data: data.to_owned(),
        })
    }

    #[test]
    fn messages_are_read_as_written() {
        let change = Change::Join { channel: "c".to_owned(), member: None };
        for message in [
            event("\"{\\\"a\\\": 1}\""),
            event("{\n}"),
            Message::Change { change, token: Some(7) },
            Message::Terminate { user: "u".to_owned() },
            Message::Hello,
            Message::Ask { node: "b".to_owned() },
            Message::Holdings { holdings: Holdings::default(), last_token: 4, is_first: true, is_last: false },
            Message::Ended { node: "b".to_owned() },
            Message::Cached {
                events: vec![(
                    CachedEvent { channel: "cache-a".to_owned(), name: "e".to_owned(), data: "\"x\"".to_owned() },
                    17,
                )],
            },
            Message::Alive,
            Message::Back,
            Message::Bye,
        ] {
            let envelope = of(message);
            assert_eq!(Envelope::decode(&envelope.encode()), Some(envelope));
        }
    }

    #[test]
    fn malformed_message_is_refused() {
        let no_json = of(event("{")).encode();
        let no_data = of(event("1")).encode().trim_end_matches("\n1").to_owned();
        let other_data = of(Message::Alive).encode() + "\n1";
        let deep = "[".repeat(100_000);
        for text in ["", "{}", "x", r#"{"n":"a","s":-1,"t":"alive"}"#, &no_json, &no_data, &other_data, &deep] {
            assert_eq!(Envelope::decode(text), None, "{text:.60}");
        }
    }
}
