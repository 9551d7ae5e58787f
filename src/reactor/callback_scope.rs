//! State of the running callback.

use super::{hub::Hub, id::ConnectionId, stream::StreamHandler};
use crate::buffer::{SharedBlock, offset};

/// The running callback: its connection, its input, and what the callback leaves for the loop.
pub(crate) struct CallbackScope {
    /// Key of the connection. Its output is flushed right after the callback.
    connection: usize,
    /// The block that holds the message being handled, or being sent, also outside of callbacks. `None` if no block
    /// holds it.
    pub(super) message_buffer: Option<SharedBlock>,
    pub(crate) input: Input,
    /// A ping of a silent peer was queued. The write after the callback takes it, or its place is noted.
    pub(super) has_pinged: bool,
    /// Replaces the handler of the connection after the callback.
    pub(crate) successor: Option<Box<dyn StreamHandler>>,
    /// Input for the successor, ahead of what follows. Replaces what the callback has handed back.
    pub(super) handed_on: Vec<u8>,
}

/// A key that no connection has. Comparing with it takes one instruction, with an `Option` two.
pub(super) const NO_CONNECTION: usize = usize::MAX;

impl CallbackScope {
    pub(super) fn new() -> Self {
        CallbackScope {
            connection: NO_CONNECTION,
            message_buffer: None,
            input: Input::default(),
            has_pinged: false,
            successor: None,
            handed_on: Vec::new(),
        }
    }

    /// Begins a callback of a connection.
    pub(super) fn enter(&mut self, key: usize) {
        self.connection = key;
    }

    /// Ends a callback, after the output of its connection was flushed.
    pub(super) fn leave(&mut self) {
        self.connection = NO_CONNECTION;
    }

    /// Returns `true` from the start of a callback of this connection until its output is flushed.
    #[inline]
    pub(super) fn is_of(&self, key: usize) -> bool {
        self.connection == key
    }

    /// Sets the block that holds the message being handled, so that sending the message shares the block instead of
    /// copying it.
    pub(crate) fn set_message_buffer(&mut self, block: Option<SharedBlock>) {
        self.message_buffer = block;
    }
}

impl Hub {
    /// The connection of which a handler is being called: in the function of a route, that of the request. `None` in
    /// timers, ticks and commands of other threads.
    pub fn current_connection(&mut self) -> Option<ConnectionId> {
        let key = self.callback.connection;
        self.outbounds.at_mut(key).map(|outbound| outbound.id)
    }
}

/// Input of the connection whose callback is running. Large payloads inside it can be sent without a copy, and the
/// handler can announce expected bytes.
#[derive(Debug, Default)]
pub(crate) struct Input {
    address: usize,
    length: usize,
    sent_from: bool,
    expected: u32,
}

impl Input {
    /// Input bytes that stay in place until output that refers to them has left or was copied.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Input { address: bytes.as_ptr() as usize, length: bytes.len(), ..Input::default() }
    }

    /// Offset of a payload that lies inside the input. The payload is then sent from there.
    pub(super) fn send_from(&mut self, payload: &[u8]) -> Option<usize> {
        let start = offset(self.address, self.length, payload)?;
        self.sent_from = true;
        Some(start)
    }

    /// Announces the number of bytes that follow and are best read at once.
    pub(crate) fn expect(&mut self, bytes: usize) {
        self.expected = bytes.try_into().unwrap_or(u32::MAX);
    }

    pub(super) fn expected(&self) -> u32 {
        self.expected
    }

    /// Returns `true` if output refers to the input.
    pub(super) fn was_sent_from(&self) -> bool {
        self.sent_from
    }
}
