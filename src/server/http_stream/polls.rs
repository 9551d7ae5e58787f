//! Long-polling: a request waits for a message of a topic.

use std::mem;

use http::StatusCode;

use super::{HttpStream, State, pending_request::PendingRequest};
use crate::{
    reactor::{StoredEvent, Stream},
    server::{
        reply::{Reply, long_poll::LongPoll},
        site::Site,
    },
};

impl<S: Site> HttpStream<S> {
    /// Answers a poll if its event is there, or begins to wait for it.
    pub(super) fn start_poll(
        &mut self,
        stream: &mut Stream<'_>,
        pending_request: Box<PendingRequest<S::Socket>>,
        mut poll: Box<LongPoll>,
    ) {
        if !stream.hub.keeps_history(&poll.topic) {
            log::error!(target: "ws_reactor::server", "a LongPoll needs a history (Hub::keep_history): {:?}", poll.topic);
            return self.carry_out(stream, pending_request, Reply::status(StatusCode::INTERNAL_SERVER_ERROR));
        }
        let after = *poll.after.get_or_insert_with(|| stream.hub.last_event_id());
        let event = stream.hub.first_event_after(&poll.topic, after);
        if event.is_some() || poll.timeout.is_zero() {
            return self.end_poll(stream, pending_request, *poll, event);
        }
        stream.hub.begin_poll(stream.id(), &poll.topic);
        // The request is complete: it is no handshake that a client delays.
        self.pending = None;
        // Bytes behind the request stay in the network until the reply.
        stream.pause();
        self.state = State::Polling(pending_request, poll);
    }

    /// Answers the poll in progress if its event is there, or without one because its time has passed.
    pub(super) fn answer_poll(&mut self, stream: &mut Stream<'_>, has_timed_out: bool) {
        let State::Polling(_, poll) = &self.state else { return };
        let event = stream.hub.first_event_after(&poll.topic, poll.after.unwrap_or_default());
        if event.is_none() && !has_timed_out {
            // The event is gone already: it exceeds the limits of the history.
            return stream.hub.begin_poll(stream.id(), &poll.topic);
        }
        let State::Polling(pending_request, poll) = mem::replace(&mut self.state, State::Head) else { return };
        stream.hub.unsubscribe(stream.id(), &poll.topic);
        stream.resume();
        self.end_poll(stream, pending_request, *poll, event);
    }

    fn end_poll(
        &mut self,
        stream: &mut Stream<'_>,
        pending_request: Box<PendingRequest<S::Socket>>,
        poll: LongPoll,
        event: Option<StoredEvent>,
    ) {
        match stream.guard(|_| poll.reply(event.as_ref())) {
            Ok(reply) => self.carry_out(stream, pending_request, reply),
            Err(message) => self.on_panic(stream, message),
        }
    }
}
