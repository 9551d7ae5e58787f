//! The inbound half of a connection.

use std::fmt;

use super::{dial::Dialing, stream::StreamHandler};
use crate::net::transport::Transport;

/// The inbound half: socket, handler, and input that the handler has not taken yet.
pub(super) struct Link<S> {
    pub(super) transport: Transport<S>,
    /// Progress of connecting; `None` once connected.
    pub(super) dialing: Option<Box<Dialing>>,
    pub(super) handler: Box<dyn StreamHandler>,
    /// Bytes that the handler has handed back. The socket is not read while there are any.
    pub(super) backlog: Option<Box<Backlog>>,
    /// The socket may have input; no further event reports it.
    pub(super) readable: bool,
    /// The peer has ended its side, so a short read is not the last one.
    pub(super) hangup: bool,
    /// The connection waits for a step of its TLS handshake.
    pub(super) tls_queued: bool,
    /// The connection is queued to be read again.
    pub(super) reread_queued: bool,
    /// Number of bytes that the handler expects next and that belong together.
    pub(super) expected: u32,
}

impl<S> Link<S> {
    pub(super) fn new(transport: Transport<S>, dialing: Option<Box<Dialing>>, handler: Box<dyn StreamHandler>) -> Self {
        Link {
            transport,
            dialing,
            handler,
            backlog: None,
            readable: false,
            hangup: false,
            tls_queued: false,
            reread_queued: false,
            expected: 0,
        }
    }

    /// A link that is not connected yet.
    pub(super) fn dialing(handler: Box<dyn StreamHandler>, dialing: Box<Dialing>) -> Self {
        Link::new(Transport::Dialing, Some(dialing), handler)
    }

    /// Drops the socket, to connect another one.
    pub(super) fn dial_again(&mut self, dialing: Box<Dialing>) {
        (self.transport, self.dialing, self.backlog) = (Transport::Dialing, Some(dialing), None);
        (self.readable, self.hangup, self.expected) = (false, false, 0);
    }
}

/// Input that the handler has handed back: the bytes from `start` on.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) bytes: Vec<u8>,
    pub(super) start: usize,
}

impl Backlog {
    pub(super) fn new(bytes: &[u8]) -> Box<Self> {
        Box::new(Backlog { bytes: bytes.to_vec(), start: 0 })
    }
}

impl<S: fmt::Debug> fmt::Debug for Link<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backlog = self.backlog.as_ref().map_or(0, |backlog| backlog.bytes.len() - backlog.start);
        formatter
            .debug_struct("Link")
            .field("transport", &self.transport)
            .field("backlog", &backlog)
            .finish_non_exhaustive()
    }
}
