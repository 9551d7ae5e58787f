//! Event streams: a response that goes on with each message of some topics.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderValue, header};

use crate::{
    protocol::CloseReason,
    reactor::{ConnectionId, Hub},
};

/// A [`Reply`](crate::Reply) of server-sent events: what is published on its topics, until the client closes the
/// connection. WHATWG HTML §9.2.
///
/// Each text message is an event with these data. WebSockets and event streams may share a topic:
/// [`Hub::publish`](crate::Hub::publish) encodes the message once for each kind. A binary message is not delivered, and
/// counts as [`Published::unsupported`](crate::Published::unsupported).
///
/// ```
/// use ws_reactor::{EventStream, Reply, Routes, Server, http::StatusCode};
///
/// let routes = Routes::new()
///     .get("/", |_, _| Reply::html("<script>new EventSource('/prices').onmessage = e => alert(e.data)</script>"))
///     .event_stream("/prices", |_, _| EventStream::topic("prices"))
///     .post("/prices", |request, hub| {
///         hub.publish("prices", request.text()?);
///         Ok::<_, Reply>(StatusCode::ACCEPTED)
///     });
/// let server = Server::routes(routes)?;
/// # Ok::<(), ws_reactor::Error>(())
/// ```
///
/// # The response
///
/// The headers are `Content-Type: text/event-stream`, `Cache-Control: no-store` and `X-Accel-Buffering: no`, which
/// turns off the buffering of nginx; [`Reply::header`](crate::Reply::header) replaces and adds headers. The connection
/// is used for nothing else, and its end ends the stream. `HEAD` is answered with the headers.
///
/// A comment every 15 s keeps proxies from closing an idle stream, and finds out whether the client is there. What the
/// client sends is ignored. [`OutputLimits`](crate::OutputLimits) bound what waits for the client, as for a WebSocket:
/// a slow reader is disconnected.
///
/// # Clients that connect again
///
/// Browsers connect again after the end of a stream. What was published meanwhile is missed, unless the history of the
/// topic is kept by [`Hub::keep_history`](crate::Hub::keep_history): events then have ids, the client sends the last
/// one as `Last-Event-ID`, and the stream begins with the events after it. If some of them are gone, an event `gap`
/// comes first, with the data `{"from":ID}`: the id that the client has sent.
///
/// ```
/// use ws_reactor::{EventStream, HistoryLimits, Reactor, Routes, Server};
///
/// let routes = Routes::new().event_stream("/prices", |_, _| EventStream::topic("prices"));
/// let mut reactor = Reactor::new()?;
/// reactor.hub().keep_history("prices", HistoryLimits::new());
/// # let address = "127.0.0.1:0";
/// reactor.listen(address, Server::routes(routes)?)?;
/// # Ok::<(), ws_reactor::Error>(())
/// ```
#[must_use = "an event stream has an effect only as a reply"]
pub struct EventStream {
    pub(in crate::server) topics: Vec<String>,
    pub(in crate::server) retry: Option<Duration>,
    /// Headers added by the application.
    pub(super) headers: HeaderMap,
    pub(in crate::server) on_open: Option<Box<OnOpen>>,
    pub(in crate::server) on_close: Option<Box<OnClose>>,
}

pub(in crate::server) type OnOpen = dyn FnOnce(&mut Hub, ConnectionId) + Send;
pub(in crate::server) type OnClose = dyn FnOnce(&mut Hub, ConnectionId, &CloseReason) + Send;

impl EventStream {
    /// A stream of what is published on a topic.
    pub fn topic(name: impl Into<String>) -> Self {
        EventStream::topics([name])
    }

    /// A stream of what is published on any of these topics.
    pub fn topics<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Self {
        let mut topics: Vec<String> = names.into_iter().map(Into::into).collect();
        topics.sort_unstable();
        topics.dedup();
        EventStream { topics, retry: None, headers: HeaderMap::new(), on_open: None, on_close: None }
    }

    /// Sets the time after which the client connects again when the stream has ended, to the millisecond. Default: the
    /// client's, in browsers a few seconds.
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry = Some(after);
        self
    }

    /// Calls a function when the stream has begun, with the id of its connection: for
    /// [`Hub::send_event`](crate::Hub::send_event), for further subscriptions, or for a list of clients. It is called
    /// after the events that the client has missed.
    ///
    /// The function is `Send`, because a stream may be the reply of another thread ([`Reply::later`](crate::Reply)).
    /// Where an `Rc` is needed, the function of the route has one: it gets the id by
    /// [`Hub::current_connection`](crate::Hub::current_connection), and the end by
    /// [`Hub::when_closed`](crate::Hub::when_closed).
    ///
    /// ```
    /// use ws_reactor::{Event, EventStream, Routes};
    ///
    /// let routes = Routes::new().event_stream("/news", |_, _| {
    ///     EventStream::topic("news").on_open(|hub, id| {
    ///         hub.send_event(id, Event::new("welcome"));
    ///     })
    /// });
    /// ```
    pub fn on_open(mut self, call: impl FnOnce(&mut Hub, ConnectionId) + Send + 'static) -> Self {
        self.on_open = Some(Box::new(call));
        self
    }

    /// Calls a function when the stream has ended, with the id of its connection and the reason, if it has begun.
    pub fn on_close(mut self, call: impl FnOnce(&mut Hub, ConnectionId, &CloseReason) + Send + 'static) -> Self {
        self.on_close = Some(Box::new(call));
        self
    }

    /// The headers of the response.
    pub(in crate::server) fn response_headers(&mut self) -> HeaderMap {
        let mut headers = std::mem::take(&mut self.headers);
        for (name, value) in [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-store"),
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ] {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        headers
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EventStream { topics, retry, headers, .. } = self;
        formatter
            .debug_struct("EventStream")
            .field("topics", topics)
            .field("retry", retry)
            .field("headers", headers)
            .finish_non_exhaustive()
    }
}
