//! Event streams: a response that goes on with each message of some topics.

use std::{rc::Rc, time::Duration};

use http::{HeaderMap, HeaderValue, header};

use super::site::Site;
use crate::{
    error::Error,
    protocol::event_stream::COMMENT,
    reactor::{Stream, StreamHandler},
};

/// Time after which a comment is sent, unless output waits.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

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
/// a slow reader is disconnected. Browsers connect again after the end of a stream; messages published meanwhile are
/// missed.
#[derive(Debug, Clone)]
#[must_use = "an event stream has an effect only as a reply"]
pub struct EventStream {
    topics: Vec<String>,
    pub(super) retry: Option<Duration>,
    /// Headers added by the application.
    pub(super) headers: HeaderMap,
}

impl EventStream {
    /// A stream of what is published on a topic.
    pub fn topic(name: impl Into<String>) -> Self {
        EventStream::topics([name])
    }

    /// A stream of what is published on any of these topics.
    pub fn topics<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Self {
        let topics = names.into_iter().map(Into::into).collect();
        EventStream { topics, retry: None, headers: HeaderMap::new() }
    }

    /// Sets the time after which the client connects again when the stream has ended, to the millisecond. Default: the
    /// client's, in browsers a few seconds.
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry = Some(after);
        self
    }

    /// The headers of the response.
    pub(super) fn response_headers(&mut self) -> HeaderMap {
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

/// The protocol of a connection behind the head of an event stream's response.
pub(super) struct EventStreamHandler<S> {
    pub(super) site: Rc<S>,
    pub(super) events: EventStream,
}

impl<S: Site> StreamHandler for EventStreamHandler<S> {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        let id = stream.id();
        stream.hub.start_event_stream(id);
        for topic in &self.events.topics {
            stream.hub.subscribe(id, topic);
        }
        // A client that was not read because of its deferred reply is read, so that its end is noticed.
        stream.resume();
        self.await_comment(stream);
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        if stream.buffered() == 0 {
            stream.hub.append(stream.id(), COMMENT.len(), |out| out.extend_from_slice(COMMENT));
        }
        self.await_comment(stream);
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        let peer = stream.peer_addr();
        self.site.report(peer, error);
    }
}

impl<S> EventStreamHandler<S> {
    fn await_comment(&self, stream: &mut Stream<'_>) {
        let deadline = stream.hub.after(COMMENT_EVERY);
        stream.set_deadline(Some(deadline));
    }
}
