//! Protocols on top of WebSocket messages: what a session sends first, and which messages are the user's.

use std::str::FromStr;

/// The protocol of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Messages as they are.
    WebSocket,
    /// Server-sent events over HTTP.
    EventStream,
    /// Socket.IO 5 over a WebSocket, in the main namespace. Texts are JSON arrays: the event, and its arguments.
    SocketIo,
    /// ActionCable, with one subscription. Texts are the data of messages, in JSON.
    ActionCable { identifier: String },
}

/// Meaning of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<'m> {
    /// Belongs to the protocol.
    Nothing,
    /// Belongs to the protocol, and is answered.
    Answer(String),
    /// The session is open: the user's steps begin.
    Ready,
    /// The server refuses the session.
    Refused,
    /// A message for the user.
    Message(&'m str),
}

impl Dialect {
    /// Returns `true` if the session is open when the connection is.
    pub(super) fn is_ready_at_once(&self) -> bool {
        matches!(self, Dialect::WebSocket | Dialect::EventStream)
    }

    pub(super) fn subprotocol(&self) -> Option<&'static str> {
        matches!(self, Dialect::ActionCable { .. }).then_some("actioncable-v1-json")
    }

    /// The URL of a session: Socket.IO has a path and parameters of its own.
    pub(super) fn url(&self, url: &str) -> String {
        match self {
            Dialect::SocketIo if !url.contains("transport=") => {
                let (place, query) = url.split_once('?').map_or((url, String::new()), |(p, q)| (p, format!("&{q}")));
                let has_path =
                    place.split_once("://").is_some_and(|(_, rest)| rest.trim_end_matches('/').contains('/'));
                let path = if has_path { "" } else { "/socket.io/" };
                format!("{}{path}?EIO=4&transport=websocket{query}", place.trim_end_matches('/'))
            }
            _ => url.to_owned(),
        }
    }

    pub(super) fn read<'m>(&self, text: &'m str) -> Incoming<'m> {
        match self {
            Dialect::WebSocket | Dialect::EventStream => Incoming::Message(text),
            Dialect::SocketIo => match text {
                "2" => Incoming::Answer("3".to_owned()),
                _ if text.starts_with('0') => Incoming::Answer("40".to_owned()),
                _ if text.starts_with("40") => Incoming::Ready,
                _ if text.starts_with("44") => Incoming::Refused,
                _ => text.strip_prefix("42").map_or(Incoming::Nothing, Incoming::Message),
            },
            Dialect::ActionCable { identifier } => match text {
                _ if text.contains(r#""type":"ping""#) => Incoming::Nothing,
                _ if text.contains(r#""type":"welcome""#) => {
                    Incoming::Answer(format!(r#"{{"command":"subscribe","identifier":{}}}"#, quoted(identifier)))
                }
                _ if text.contains(r#""type":"confirm_subscription""#) => Incoming::Ready,
                _ if text.contains(r#""type":"reject_subscription""#) => Incoming::Refused,
                _ => Incoming::Message(text),
            },
        }
    }

    pub(super) fn write(&self, text: String) -> String {
        match self {
            Dialect::WebSocket | Dialect::EventStream => text,
            Dialect::SocketIo => format!("42{text}"),
            Dialect::ActionCable { identifier } => {
                format!(r#"{{"command":"message","identifier":{},"data":{}}}"#, quoted(identifier), quoted(&text))
            }
        }
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "websocket" => Ok(Dialect::WebSocket),
            "sse" => Ok(Dialect::EventStream),
            "socket.io" => Ok(Dialect::SocketIo),
            "action-cable" => Err("action-cable needs a channel, such as {\"channel\":\"ChatChannel\"}".to_owned()),
            _ => Err(format!("{name:?} is none of websocket, sse, socket.io; ActionCable is chosen by a channel")),
        }
    }
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            character if character < ' ' => quoted.push_str(&format!("\\u{:04x}", character as u32)),
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
