//! Input of a callback: large payloads inside it can be sent without a copy, and its handler can announce expected
//! bytes.

use crate::protocol::block::offset;

/// Input of the connection whose callback is running.
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

    /// Whether output refers to the input.
    pub(super) fn was_sent_from(&self) -> bool {
        self.sent_from
    }
}
