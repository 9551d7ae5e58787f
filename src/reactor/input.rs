//! The input that a connection is given: a place from where what it sends back may leave, if that is done before the next input comes; and what it makes expect.

use crate::protocol::block::offset;

/// The input of the connection whose callback runs.
#[derive(Debug, Default)]
pub(crate) struct Input {
    address: usize,
    length: usize,
    sent_from: bool,
    expected: u32,
}

impl Input {
    /// Bytes that stay where they are until what was sent from there has left or been copied.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Input { address: bytes.as_ptr() as usize, length: bytes.len(), ..Input::default() }
    }

    /// Where a payload starts in it, if that is where it lies. It is sent from there.
    pub(super) fn send_from(&mut self, payload: &[u8]) -> Option<usize> {
        let start = offset(self.address, self.length, payload)?;
        self.sent_from = true;
        Some(start)
    }

    /// So many bytes are expected next that belong together, and are best read at once.
    pub(crate) fn expect(&mut self, bytes: usize) {
        self.expected = bytes.try_into().unwrap_or(u32::MAX);
    }

    pub(super) fn expected(&self) -> u32 {
        self.expected
    }

    /// Whether something was sent from there.
    pub(super) fn was_sent_from(&self) -> bool {
        self.sent_from
    }
}
