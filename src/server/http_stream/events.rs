//! Event streams: the head of the response, and the protocol of the connection behind it.

use std::{
    rc::Rc,
    time::{Duration, SystemTime},
};

use http::{Method, StatusCode};

use super::{HttpStream, State};
use crate::{
    error::Error,
    http::{
        Request,
        connection::{BodyLength, ResponseHead},
    },
    protocol::{
        CloseReason,
        event_stream::{COMMENT, Event, write_part, write_retry},
    },
    reactor::{Stream, StreamHandler},
    server::{reply::event_stream::EventStream, site::Site},
};

/// Time between two looks for the events that the client has got from another reactor of the group.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks after which the stream begins with what is there: events that did not fit are lost here.
const MOST_LOOKS: u32 = 200;

/// Time after which a comment is sent, unless output waits.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

impl<S: Site> HttpStream<S> {
    /// Begins a response of events, and hands the stream over to the handler that goes on with them.
    pub(super) fn start_events(&mut self, stream: &mut Stream<'_>, request: &Request, mut events: EventStream) {
        self.count_refused(stream, request);
        self.pending = None;
        let headers = events.response_headers();
        let head = ResponseHead {
            status: StatusCode::OK,
            content_type: None,
            headers: Some(&headers),
            added: self.added_headers.as_deref(),
        };
        // A client that asked for the head alone may use the connection again.
        if *request.method() != Method::HEAD {
            self.http.close_after();
        }
        let (id, http, site) = (stream.id(), &mut self.http, &self.site);
        let (mut next, mut in_chunks) = (None, false);
        stream.hub.append(id, 256, |out| {
            site.config().date.with(SystemTime::now(), |date| {
                http.begin_response(head, BodyLength::Unknown, date, out);
            });
            in_chunks = http.is_chunked();
            if !http.takes_body() {
                next = Some(http.end_response(out));
            } else if let Some(after) = events.retry {
                write_part(in_chunks, out, |out| write_retry(after, out));
            }
        });
        if let Some(next) = next {
            return self.on_responded(stream, next);
        }
        self.state = State::Ended;
        self.http.upgrade();
        stream.hub.set_peer_addr(id, request.peer_addr);
        let after = request.header("last-event-id").and_then(|id| id.parse().ok());
        stream.hand_over(EventHandler { site: Rc::clone(&self.site), events, after, in_chunks, looks: Some(0) });
    }
}

/// The protocol of an event stream.
struct EventHandler<S> {
    site: Rc<S>,
    events: EventStream,
    /// The last event that the client has, if its request names one.
    after: Option<u64>,
    /// The body is in chunks: the client speaks HTTP/1.1.
    in_chunks: bool,
    /// Looks for events that have not arrived. `None` once the stream has begun.
    looks: Option<u32>,
}

impl<S> EventHandler<S> {
    /// Sends what the client has missed, as far as it is known.
    fn replay(&self, stream: &mut Stream<'_>) {
        let Some(after) = self.after else { return };
        let topics = self.events.topics.iter().map(String::as_str);
        let Some(replay) = stream.hub.events_after(topics, after) else { return };
        let length = replay.events.iter().map(|event| event.data.len() + 64).sum();
        let write = |out: &mut Vec<u8>| {
            if replay.gap_to.is_some() {
                let data = format!("{{\"from\":{after}}}");
                // The events that follow have ids. Without one, the same gap would be reported again.
                let id = replay.gap_to.filter(|_| replay.events.is_empty());
                Event { name: Some("gap"), id: None, data: &data }.write(id, out);
            }
            replay.events.iter().for_each(|event| event.write(out));
        };
        stream.hub.append(stream.id(), length, |out| write_part(self.in_chunks, out, write));
    }

    /// Subscribes the stream, and sends the events after the last one that the client has: later, if the client has got
    /// that one from another reactor and it has not arrived here, so that no event comes twice.
    fn begin(&mut self, stream: &mut Stream<'_>) {
        let is_behind = self.after.is_some_and(|after| stream.hub.is_behind(after));
        if let Some(looks) = self.looks.filter(|looks| is_behind && *looks < MOST_LOOKS) {
            self.looks = Some(looks + 1);
            let deadline = stream.hub.after(LOOK_EVERY);
            return stream.set_deadline(Some(deadline));
        }
        self.looks = None;
        let id = stream.id();
        for topic in &self.events.topics {
            stream.hub.subscribe(id, topic);
        }
        self.replay(stream);
        self.await_comment(stream);
    }

    fn await_comment(&self, stream: &mut Stream<'_>) {
        let deadline = stream.hub.after(COMMENT_EVERY);
        stream.set_deadline(Some(deadline));
    }
}

impl<S: Site> StreamHandler for EventHandler<S> {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        let id = stream.id();
        stream.hub.start_event_stream(id, self.in_chunks);
        // A client that was not read because of its deferred reply is read, so that its end is noticed.
        stream.resume();
        self.begin(stream);
        if let Some(call) = self.events.on_open.take() {
            call(stream.hub, id);
        }
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        if self.looks.is_some() {
            return self.begin(stream);
        }
        if stream.buffered() == 0 {
            let in_chunks = self.in_chunks;
            let write = |out: &mut Vec<u8>| write_part(in_chunks, out, |out| out.extend_from_slice(COMMENT));
            stream.hub.append(stream.id(), 16, write);
        }
        self.await_comment(stream);
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        let peer = stream.peer_addr();
        self.site.report(peer, error);
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        if let Some(call) = self.events.on_close.take() {
            let id = stream.id();
            call(stream.hub, id, reason);
        }
    }
}
