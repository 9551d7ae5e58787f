//! The waits of an HTTP connection, each with its time-out.

use std::time::Duration;

use crate::server::site::HttpConfig;

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
            Wait::Output => None,
        }
    }
}
