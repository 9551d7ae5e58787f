//! The waits of an HTTP connection, each with its time-out.

use std::{mem, time::Duration};

use http::StatusCode;

use super::{HttpStream, State};
use crate::{
    error::Error,
    http::connection::Step,
    protocol::{ClosedBy, TimeoutKind},
    reactor::Stream,
    server::site::{HttpConfig, Site},
};

/// Part of a body that restarts its time-out.
pub(super) const PROGRESS_BYTES: u64 = 4 * 1024;

/// A wait for the client or for the application. The time-out starts again where the value changes: with each request,
/// counted from 1, and with each part of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The first request, or the reply to a handshake. Its time-out runs from accept.
    Opening,
    /// The request after this one.
    Request(u64),
    /// The rest of the head of the request after this one.
    Head(u64),
    /// The rest of a body, of which so many parts have arrived.
    Body(u64, u64),
    /// A deferred reply.
    Reply(u64),
    /// A deferred reply without a time-out.
    Held(u64),
    /// A message of a topic, for so long.
    #[cfg(feature = "server")]
    Poll(u64, Duration),
    /// The client takes its response: the output has a rule of its own.
    Output,
}

impl Wait {
    /// The wait for the rest of the body of a request, of which so many bytes have arrived.
    pub(super) fn body(request: u64, received: u64) -> Self {
        Wait::Body(request, received / PROGRESS_BYTES)
    }

    pub(super) fn timeout(self, config: &HttpConfig) -> Option<Duration> {
        match self {
            Wait::Opening | Wait::Head(_) => Some(config.opening_timeout),
            Wait::Request(_) => Some(config.keep_alive_timeout),
            Wait::Body(..) => Some(config.body_timeout),
            Wait::Reply(_) => Some(config.reply_timeout),
            #[cfg(feature = "server")]
            Wait::Poll(_, timeout) => Some(timeout),
            Wait::Held(_) | Wait::Output => None,
        }
    }
}

impl<S: Site> HttpStream<S> {
    /// The present wait of the connection, by its state.
    fn present_wait(&self) -> Wait {
        match &self.state {
            State::Head if self.requests == 0 => Wait::Opening,
            State::Head => match self.http.step() {
                Step::Idle => Wait::Request(self.requests),
                Step::Head => Wait::Head(self.requests),
                // The rest of a body is discarded.
                _ => Wait::body(self.requests, 0),
            },
            #[cfg(feature = "server")]
            State::Body(_, receiver) => Wait::body(self.requests, receiver.received()),
            State::Deferred(_, deferred) if deferred.is_held => Wait::Held(self.requests),
            State::Deferred(pending_request, _) if self.requests == 1 && pending_request.request.names_websocket() => {
                Wait::Opening
            }
            State::Deferred(..) => Wait::Reply(self.requests),
            #[cfg(feature = "server")]
            State::Polling(_, poll) => Wait::Poll(self.requests, poll.timeout),
            State::Responding(_) | State::Ended => Wait::Output,
        }
    }

    /// Sets the deadline of the present wait, if the wait has changed.
    pub(super) fn update_deadline(&mut self, stream: &mut Stream<'_>) {
        let wait = self.present_wait();
        if wait != mem::replace(&mut self.wait, wait) && !matches!(self.state, State::Ended) {
            self.start_timeout(stream);
        }
    }

    pub(super) fn start_timeout(&self, stream: &mut Stream<'_>) {
        let deadline = self.wait.timeout(self.site.config()).map(|timeout| stream.hub.after(timeout));
        stream.set_deadline(deadline);
    }

    /// The time of the present wait has passed.
    pub(super) fn on_wait_passed(&mut self, stream: &mut Stream<'_>) {
        let kind = if self.wait == Wait::Opening { TimeoutKind::Opening } else { TimeoutKind::Request };
        let (error, id) = (Error::Timeout(kind), stream.id());
        // The deadline is gone: the wait that follows, also the same one, has a new deadline.
        match mem::replace(&mut self.wait, Wait::Output) {
            Wait::Opening | Wait::Reply(_) if matches!(self.state, State::Deferred(..)) => {
                // The reply may be given already, and its wake-up still wait in the command queue.
                if !self.carry_out_deferred(stream) {
                    self.fail(stream, StatusCode::SERVICE_UNAVAILABLE, "the decision took too long", &error);
                }
            }
            Wait::Opening if self.http.step() == Step::Idle => {
                _ = stream.hub.terminate_with(id, ClosedBy::Timeout(kind));
            }
            // The last response had not left when the time-out began.
            Wait::Request(_) if stream.buffered() > 0 || self.output_waited => {
                self.output_waited = stream.buffered() > 0;
            }
            Wait::Request(_) => self.end(stream),
            Wait::Body(..) if self.is_answered() => self.end(stream),
            // The application or the output keeps the body from being read.
            Wait::Body(..) if mem::take(&mut self.body_waited) || stream.hub.is_reading_suspended(id) => {
                self.body_waited = stream.hub.is_reading_suspended(id);
            }
            Wait::Opening | Wait::Head(_) | Wait::Body(..) => {
                self.fail(stream, StatusCode::REQUEST_TIMEOUT, "the request took too long", &error);
            }
            #[cfg(feature = "server")]
            Wait::Poll(..) => self.answer_poll(stream, true),
            Wait::Reply(_) | Wait::Held(_) | Wait::Output => {}
        }
    }
}
