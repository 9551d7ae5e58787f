//! The messages of this node that have not come back on the topic. Pure.

use std::collections::VecDeque;

/// Bytes of events on their way above which further ones are refused.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Messages on their way, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    messages: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl Backlog {
    /// Returns `true` if further events are refused.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > MAX_BYTES
    }

    /// A message was published.
    pub(super) fn push(&mut self, number: u64, bytes: usize) {
        self.messages.push_back((number, bytes));
        self.bytes += bytes;
    }

    /// A message has come back. Those before it have too, or are lost.
    pub(super) fn pop(&mut self, number: u64) {
        while let Some((_, bytes)) = self.messages.front().filter(|(sent, _)| *sent <= number) {
            self.bytes -= bytes;
            self.messages.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_count_until_they_or_later_ones_come_back() {
        let mut backlog = Backlog::default();
        (0..5).for_each(|number| backlog.push(number, 1024 * 1024));
        assert!(backlog.is_full());
        backlog.pop(2);
        assert_eq!((backlog.is_full(), backlog.bytes), (false, 2 * 1024 * 1024));
        backlog.pop(9);
        assert_eq!((backlog.bytes, backlog.messages.len()), (0, 0));
    }
}
