//! Bodies of the HTTP API, and the reasons for which they are refused. Pure.

use std::{collections::HashSet, fmt};

use serde::Deserialize;

use super::names::{Access, is_channel, is_socket_id, is_target};
use crate::http::StatusCode;

/// Limits of events.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventLimits {
    pub(super) data_bytes: usize,
    pub(super) channels: usize,
    pub(super) batch: usize,
    pub(super) name_chars: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        EventLimits { data_bytes: 10 * 1024, channels: 100, batch: 10, name_chars: 200 }
    }
}

/// An event for the subscribers of channels, by the HTTP API or by the application.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trigger {
    pub(super) name: String,
    pub(super) channels: Vec<String>,
    /// Text, as it came.
    pub(super) data: String,
    /// The connection that does not get it.
    pub(super) socket_id: Option<String>,
    pub(super) info: Info,
}

/// The attributes of a channel that a response has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) user_count: bool,
    pub(super) subscription_count: bool,
    pub(super) cache: bool,
}

impl Info {
    /// Reads a list of names with commas. Unknown ones are refused.
    pub(super) fn parse(text: &str) -> Result<Self, TriggerError> {
        let mut info = Info::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "user_count" => info.user_count = true,
                "subscription_count" => info.subscription_count = true,
                "cache" => info.cache = true,
                _ => return Err(TriggerError::bad(format!("info has no attribute {name:?}"))),
            }
        }
        Ok(info)
    }
}

/// An event that is not published: it is too long, malformed, for a channel that cannot exist, or too many others are
/// on their way to the other processes.
///
/// The HTTP API answers with this text, and status 400, 413 if the data is too long, or 503 if there are too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerError {
    pub(super) status: StatusCode,
    message: String,
}

impl TriggerError {
    pub(super) fn bad(message: impl Into<String>) -> Self {
        TriggerError { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    /// Too many events are on their way, or the other processes are out of reach.
    pub(super) fn busy() -> Self {
        let message = "too many events are on their way, or other processes are out of reach".to_owned();
        TriggerError { status: StatusCode::SERVICE_UNAVAILABLE, message }
    }

    fn too_large(message: impl Into<String>) -> Self {
        TriggerError { status: StatusCode::PAYLOAD_TOO_LARGE, message: message.into() }
    }
}

impl fmt::Display for TriggerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for TriggerError {}

#[derive(Deserialize)]
struct EventBody {
    name: String,
    data: String,
    channel: Option<String>,
    channels: Option<Vec<String>>,
    socket_id: Option<String>,
    info: Option<String>,
}

#[derive(Deserialize)]
struct BatchBody {
    batch: Vec<EventBody>,
}

fn json<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, TriggerError> {
    serde_json::from_slice(body).map_err(|error| TriggerError::bad(format!("the body is not valid: {error}")))
}

impl EventLimits {
    /// Reads the body of `POST events`.
    pub(super) fn event(&self, body: &[u8]) -> Result<Trigger, TriggerError> {
        self.read(json(body)?)
    }

    /// Reads the body of `POST batch_events`.
    pub(super) fn batch(&self, body: &[u8]) -> Result<Vec<Trigger>, TriggerError> {
        let BatchBody { batch } = json(body)?;
        if batch.len() > self.batch {
            return Err(TriggerError::bad(format!("a batch has at most {} events", self.batch)));
        }
        batch.into_iter().map(|event| self.read(event)).collect()
    }

    fn read(&self, body: EventBody) -> Result<Trigger, TriggerError> {
        let EventBody { name, data, channel, channels, socket_id, info } = body;
        let channels = match (channel, channels) {
            (Some(channel), None) => vec![channel],
            (None, Some(channels)) => channels,
            _ => return Err(TriggerError::bad("an event has one channel, or a list of channels")),
        };
        let info = info.map(|info| Info::parse(&info)).transpose()?.unwrap_or_default();
        self.check(Trigger { name, channels, data, socket_id, info })
    }

    /// Returns the event if it is within the limits.
    pub(super) fn check(&self, mut event: Trigger) -> Result<Trigger, TriggerError> {
        let Trigger { name, channels, data, socket_id, .. } = &event;
        if channels.is_empty() || channels.len() > self.channels {
            return Err(TriggerError::bad(format!("an event has 1 to {} channels", self.channels)));
        }
        if let Some(channel) = channels.iter().find(|channel| !is_target(channel)) {
            return Err(TriggerError::bad(format!("{channel:?} is not a valid channel name")));
        }
        if !self.is_event_name(name) {
            return Err(TriggerError::bad(format!("the name of an event has 1 to {} characters", self.name_chars)));
        }
        if let Some(id) = socket_id.as_ref().filter(|id| !is_socket_id(id)) {
            return Err(TriggerError::bad(format!("{id:?} is not a valid socket_id")));
        }
        if channels.len() > 1 && channels.iter().any(|channel| Access::of(channel) == Access::Encrypted) {
            return Err(TriggerError::bad("an event for an encrypted channel has no other channel"));
        }
        if data.len() > self.data_bytes {
            let message = format!("the data of an event has at most {} bytes", self.data_bytes);
            return Err(TriggerError::too_large(message));
        }
        let mut known = HashSet::new();
        event.channels.retain(|channel| known.insert(channel.clone()));
        Ok(event)
    }

    /// Returns `true` if an event may have a name.
    pub(super) fn is_event_name(&self, name: &str) -> bool {
        (1..=self.name_chars).contains(&name.chars().count())
    }
}

/// Checks a channel of the path.
pub(super) fn channel_of_path(name: &str) -> Result<&str, TriggerError> {
    is_channel(name).then_some(name).ok_or_else(|| TriggerError::bad(format!("{name:?} is not a valid channel name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: &str) -> Result<Trigger, TriggerError> {
        EventLimits::default().event(body.as_bytes())
    }

    fn status(body: &str) -> u16 {
        event(body).map_or_else(|error| error.status.as_u16(), |_| 200)
    }

    #[test]
    fn event_has_a_name_data_and_channels() {
        let read = event(r#"{"name":"e","data":"{\"a\": 1}","channel":"c","socket_id":"1.2","info":"user_count"}"#);
        let info = Info { user_count: true, ..Info::default() };
        let expected = Trigger {
            name: "e".to_owned(),
            channels: vec!["c".to_owned()],
            data: "{\"a\": 1}".to_owned(),
            socket_id: Some("1.2".to_owned()),
            info,
        };
        assert_eq!(read, Ok(expected));
        assert_eq!(
            event(r##"{"name":"e","data":"","channels":["a","#server-to-user-1"]}"##).unwrap().channels.len(),
            2
        );
    }

    #[test]
    fn malformed_body_is_refused() {
        for body in [
            "",
            "[]",
            r#"{"name":"e","data":"x"}"#,
            r#"{"name":"e","data":{},"channel":"c"}"#,
            r#"{"name":1,"data":"x","channel":"c"}"#,
            r#"{"name":"","data":"x","channel":"c"}"#,
            r#"{"name":"e","data":"x","channel":"a b"}"#,
            r#"{"name":"e","data":"x","channel":"a/b"}"#,
            r#"{"name":"e","data":"x","channels":[]}"#,
            r#"{"name":"e","data":"x","channel":"a","channels":["b"]}"#,
            r#"{"name":"e","data":"x","channels":["a","private-encrypted-b"]}"#,
            r#"{"name":"e","data":"x","channel":"c","socket_id":"x"}"#,
            r#"{"name":"e","data":"x","channel":"c","info":"other"}"#,
        ] {
            assert_eq!(status(body), 400, "{body}");
        }
    }

    #[test]
    fn numbers_and_lengths_are_bounded() {
        let with = |name: &str, data: &str, channels: usize| {
            let channels = vec!["c"; channels];
            serde_json::json!({"name": name, "data": data, "channels": channels}).to_string()
        };
        assert_eq!(status(&with(&"n".repeat(200), &"x".repeat(10_000), 100)), 200);
        assert_eq!(status(&with(&"n".repeat(201), "x", 1)), 400);
        assert_eq!(status(&with("n", "x", 101)), 400);
        assert_eq!(status(&with("n", &"x".repeat(10_241), 1)), 413);
        let batch = |events: usize, data: &str| {
            let event = serde_json::json!({"name": "n", "data": data, "channel": "c"});
            let body = serde_json::json!({"batch": vec![event; events]}).to_string();
            let read = EventLimits::default().batch(body.as_bytes());
            read.map_or_else(|error| error.status.as_u16(), |events| events.len() as u16)
        };
        assert_eq!((batch(10, "x"), batch(11, "x"), batch(2, &"x".repeat(10_241))), (10, 400, 413));
    }
}
