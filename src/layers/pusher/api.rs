//! Bodies of the HTTP API, and what is wrong with them. Pure.

use serde::Deserialize;

use super::names::{is_channel, is_socket_id, is_target};

/// Limits of events.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventLimits {
    pub(super) data_bytes: usize,
    pub(super) channels: usize,
    pub(super) batch: usize,
    pub(super) name_bytes: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        EventLimits { data_bytes: 10 * 1024, channels: 100, batch: 10, name_bytes: 200 }
    }
}

/// An event of another program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) channels: Vec<String>,
    /// Text, as it came.
    pub(super) data: String,
    /// The connection that does not get it.
    pub(super) socket_id: Option<String>,
    pub(super) info: Info,
}

/// Attributes of a channel that a program asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) user_count: bool,
    pub(super) subscription_count: bool,
    pub(super) cache: bool,
}

impl Info {
    /// Reads a list of names with commas. Unknown ones are refused.
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        let mut info = Info::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "user_count" => info.user_count = true,
                "subscription_count" => info.subscription_count = true,
                "cache" => info.cache = true,
                _ => return Err(Refused::bad(format!("info has no attribute {name:?}"))),
            }
        }
        Ok(info)
    }
}

/// Why a body is refused: the status and the text of the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) message: String,
}

impl Refused {
    fn bad(message: impl Into<String>) -> Self {
        Refused { status: 400, message: message.into() }
    }

    fn too_large(message: impl Into<String>) -> Self {
        Refused { status: 413, message: message.into() }
    }
}

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

fn json<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused::bad(format!("the body is not as expected: {error}")))
}

impl EventLimits {
    /// Reads the body of `POST events`.
    pub(super) fn event(&self, body: &[u8]) -> Result<Event, Refused> {
        self.check(json(body)?)
    }

    /// Reads the body of `POST batch_events`.
    pub(super) fn batch(&self, body: &[u8]) -> Result<Vec<Event>, Refused> {
        let BatchBody { batch } = json(body)?;
        if batch.len() > self.batch {
            return Err(Refused::bad(format!("a batch has at most {} events", self.batch)));
        }
        batch.into_iter().map(|event| self.check(event)).collect()
    }

    fn check(&self, body: EventBody) -> Result<Event, Refused> {
        let EventBody { name, data, channel, channels, socket_id, info } = body;
        let channels = match (channel, channels) {
            (Some(channel), None) => vec![channel],
            (None, Some(channels)) if !channels.is_empty() => channels,
            _ => return Err(Refused::bad("an event has one channel, or a list of channels")),
        };
        if channels.len() > self.channels {
            return Err(Refused::bad(format!("an event has at most {} channels", self.channels)));
        }
        if let Some(channel) = channels.iter().find(|channel| !is_target(channel)) {
            return Err(Refused::bad(format!("{channel:?} is no name of a channel")));
        }
        if name.is_empty() || name.len() > self.name_bytes {
            return Err(Refused::bad(format!("the name of an event has 1 to {} bytes", self.name_bytes)));
        }
        if let Some(id) = socket_id.as_ref().filter(|id| !is_socket_id(id)) {
            return Err(Refused::bad(format!("{id:?} is no socket_id")));
        }
        if channels.len() > 1 && channels.iter().any(|channel| channel.starts_with("private-encrypted-")) {
            return Err(Refused::bad("an event for an encrypted channel has no other channel"));
        }
        if data.len() > self.data_bytes {
            return Err(Refused::too_large(format!("the data of an event has at most {} bytes", self.data_bytes)));
        }
        let info = info.map(|info| Info::parse(&info)).transpose()?.unwrap_or_default();
        Ok(Event { name, channels, data, socket_id, info })
    }
}

/// Checks a channel of the path.
pub(super) fn channel_of_path(name: &str) -> Result<&str, Refused> {
    is_channel(name).then_some(name).ok_or_else(|| Refused::bad(format!("{name:?} is no name of a channel")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: &str) -> Result<Event, Refused> {
        EventLimits::default().event(body.as_bytes())
    }

    fn status(body: &str) -> u16 {
        event(body).map_or_else(|refused| refused.status, |_| 200)
    }

    #[test]
    fn event_has_a_name_data_and_channels() {
        let read = event(r#"{"name":"e","data":"{\"a\": 1}","channel":"c","socket_id":"1.2","info":"user_count"}"#);
        let info = Info { user_count: true, ..Info::default() };
        let expected = Event {
            name: "e".to_owned(),
            channels: vec!["c".to_owned()],
            data: "{\"a\": 1}".to_owned(),
            socket_id: Some("1.2".to_owned()),
            info,
        };
        assert_eq!(read, Ok(expected));
        assert_eq!(event(r##"{"name":"e","data":"","channels":["a","#server-to-user-1"]}"##).unwrap().channels.len(), 2);
    }

    #[test]
    fn body_of_another_form_is_refused() {
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
            EventLimits::default().batch(body.as_bytes()).map_or_else(|refused| refused.status, |events| events.len() as u16)
        };
        assert_eq!((batch(10, "x"), batch(11, "x"), batch(2, &"x".repeat(10_241))), (10, 400, 413));
    }
}
