//! The inbound half of a connection.

use std::fmt;

use crate::{
    net::transport::Transport,
    reactor::{dial::dialer::Dialing, stream::StreamHandler},
};

/// The inbound half: socket, handler, and input that the handler has not taken yet.
pub(in crate::reactor) struct Inbound<S> {
    pub(in crate::reactor) transport: Transport<S>,
    /// Progress of connecting; `None` once connected.
    pub(in crate::reactor) dialing: Option<Box<Dialing>>,
    pub(in crate::reactor) handler: Box<dyn StreamHandler>,
    /// Bytes that the handler has handed back. The socket is not read while there are any.
    pub(in crate::reactor) backlog: Option<Box<Backlog>>,
    /// The socket may have input; no further event reports it.
    pub(in crate::reactor) readable: bool,
    /// The peer has ended its side, so a short read is not the last one.
    pub(in crate::reactor) hangup: bool,
    /// The connection waits for a step of its TLS handshake.
    pub(in crate::reactor) tls_queued: bool,
    /// The connection is queued to be read again.
    pub(in crate::reactor) reread_queued: bool,
    /// Number of bytes that the handler expects next and that belong together.
    pub(in crate::reactor) expected: u32,
}

impl<S> Inbound<S> {
    pub(in crate::reactor) fn new(
        transport: Transport<S>,
        dialing: Option<Box<Dialing>>,
        handler: Box<dyn StreamHandler>,
    ) -> Self {
        Inbound {
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

    /// A half that is not connected yet.
    pub(in crate::reactor) fn dialing(handler: Box<dyn StreamHandler>, dialing: Box<Dialing>) -> Self {
        Inbound::new(Transport::Dialing, Some(dialing), handler)
    }

    /// Drops the socket, to connect another one.
    pub(in crate::reactor) fn dial_again(&mut self, dialing: Box<Dialing>) {
        (self.transport, self.dialing, self.backlog) = (Transport::Dialing, Some(dialing), None);
        (self.readable, self.hangup, self.expected) = (false, false, 0);
    }
}

/// Input that the handler has handed back: the bytes from `start` on.
#[derive(Debug)]
pub(in crate::reactor) struct Backlog {
    pub(in crate::reactor) bytes: Vec<u8>,
    pub(in crate::reactor) start: usize,
}

impl Backlog {
    pub(in crate::reactor) fn new(bytes: &[u8]) -> Box<Self> {
        Box::new(Backlog { bytes: bytes.to_vec(), start: 0 })
    }
}

impl<S: fmt::Debug> fmt::Debug for Inbound<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backlog = self.backlog.as_ref().map_or(0, |backlog| backlog.bytes.len() - backlog.start);
        formatter
            .debug_struct("Inbound")
            .field("transport", &self.transport)
            .field("backlog", &backlog)
            .finish_non_exhaustive()
    }
}
