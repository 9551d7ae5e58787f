//! Long-polling: a reply that waits for the next message of a topic.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::Reply;
use crate::reactor::StoredEvent;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(25);

/// A [`Reply`](crate::Reply) that waits for a message of a topic: Comet, for clients that have neither WebSockets nor
/// event streams.
///
/// The history of the topic has to be kept by [`Hub::keep_history`](crate::Hub::keep_history), so that no message is
/// missed between two polls; without one the reply is 500. One publication answers all polls of its topic.
///
/// The reply is 200 with the first message after the id of [`after`](Self::after), as JSON: `{"id":7,"data":"hello"}`.
/// The client asks for the next message with this id. After the time-out, default 25 s, the reply is 204. Both have
/// `Cache-Control: no-store`. If messages between the two ids are gone, the reply does not tell.
///
/// ```
/// use ws_reactor::{HistoryLimits, LongPoll, Reactor, Routes, Server};
///
/// let routes = Routes::new().get("/prices/next", |request, _| {
///     let poll = LongPoll::topic("prices");
///     match request.query_value("after").and_then(|after| after.parse().ok()) {
///         Some(after) => poll.after(after),
///         None => poll,
///     }
/// });
/// let mut reactor = Reactor::new()?;
/// reactor.hub().keep_history("prices", HistoryLimits::new());
/// # let address = "127.0.0.1:0";
/// reactor.listen(address, Server::routes(routes)?)?;
/// # Ok::<(), ws_reactor::Error>(())
/// ```
#[must_use = "a poll has an effect only as a reply"]
pub struct LongPoll {
    pub(in crate::server) topic: String,
    /// `None`: the last event when the poll begins.
    pub(in crate::server) after: Option<u64>,
    pub(in crate::server) timeout: Duration,
    /// Headers added by the application.
    pub(super) headers: HeaderMap,
    respond: Option<Box<Respond>>,
}

type Respond = dyn FnOnce(Option<&StoredEvent>) -> Reply + Send;

impl LongPoll {
    /// Waits for a message of a topic.
    pub fn topic(name: impl Into<String>) -> Self {
        let (topic, headers) = (name.into(), HeaderMap::new());
        LongPoll { topic, after: None, timeout: DEFAULT_TIMEOUT, headers, respond: None }
    }

    /// Sets the id of the last message that the client has. Default: that of the last message published before the
    /// poll.
    pub fn after(mut self, id: u64) -> Self {
        self.after = Some(id);
        self
    }

    /// Sets the time-out. Zero: the reply is given at once.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes the reply by a function, from the message, or from `None` after the time-out.
    ///
    /// ```
    /// use ws_reactor::{LongPoll, Reply, http::StatusCode};
    ///
    /// let poll = LongPoll::topic("news").respond(|event| match event {
    ///     Some(event) => Reply::text(StatusCode::OK, &event.data),
    ///     None => Reply::status(StatusCode::NOT_MODIFIED),
    /// });
    /// ```
    pub fn respond<R: Into<Reply>>(mut self, respond: impl FnOnce(Option<&StoredEvent>) -> R + Send + 'static) -> Self {
        self.respond = Some(Box::new(|event| respond(event).into()));
        self
    }

    /// The reply, with the event or after the time-out. Calls a function of the application.
    pub(in crate::server) fn reply(self, event: Option<&StoredEvent>) -> Reply {
        let mut reply = match (self.respond, event) {
            (Some(respond), event) => respond(event),
            (None, Some(event)) => Reply::bytes(to_json(event)).header(header::CONTENT_TYPE, JSON),
            (None, None) => Reply::empty(StatusCode::NO_CONTENT),
        };
        if !self.headers.contains_key(header::CACHE_CONTROL) {
            reply = reply.header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let mut last: Option<HeaderName> = None;
        for (name, value) in self.headers {
            // The name of a further value of the same header is not repeated.
            last = name.or(last);
            if let Some(name) = last.clone() {
                reply = reply.header(name, value);
            }
        }
        reply
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `{"id":7,"data":"hello"}`, and `"event"` if it has a name.
fn to_json(event: &StoredEvent) -> String {
    let mut json = format!("{{\"id\":{}", event.id);
    for (key, value) in event.name.iter().map(|name| ("event", name)).chain([("data", &event.data)]) {
        json.push_str(",\"");
        json.push_str(key);
        json.push_str("\":\"");
        for character in value.chars() {
            match character {
                '"' | '\\' => json.extend(['\\', character]),
                '\n' => json.push_str("\\n"),
                '\r' => json.push_str("\\r"),
                '\t' => json.push_str("\\t"),
                '\0'..='\u{1f}' => json.push_str(&format!("\\u{:04x}", u32::from(character))),
                _ => json.push(character),
            }
        }
        json.push('"');
    }
    json.push('}');
    json
}

impl fmt::Debug for LongPoll {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LongPoll { topic, after, timeout, .. } = self;
        formatter
            .debug_struct("LongPoll")
            .field("topic", topic)
            .field("after", after)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}
