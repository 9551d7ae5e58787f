//! Long messages to other nodes, in parts: the next one is sent when the last one has come back. Pure.

use std::collections::VecDeque;

use super::envelope::Message;

/// Bytes of a part, unless a single item is longer.
pub(super) const PART_BYTES: usize = 256 * 1024;

/// The content that parts are made of when the first one is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Holdings,
    Cached,
}

/// Contents that wait, and the parts of the current one.
#[derive(Debug, Default)]
pub(super) struct PartSender {
    waiting: VecDeque<Content>,
    current: Option<Content>,
    parts: VecDeque<Message>,
    /// Number of the part that has not come back.
    in_flight: Option<u64>,
}

impl PartSender {
    /// Adds a content, unless it waits already.
    pub(super) fn add(&mut self, content: Content) {
        if !self.waiting.contains(&content) {
            self.waiting.push_back(content);
        }
    }

    /// Adds a content, unless it waits or is being sent.
    pub(super) fn add_once(&mut self, content: Content) {
        if self.current != Some(content) {
            self.add(content);
        }
    }

    /// Drops a content that waits, and its parts that were not sent.
    pub(super) fn cancel(&mut self, content: Content) {
        self.waiting.retain(|waiting| *waiting != content);
        if self.current == Some(content) {
            self.parts.clear();
        }
    }

    /// A message of this node has come back. Returns `true` if the next part is due.
    pub(super) fn on_return(&mut self, number: u64) -> bool {
        let is_due = self.in_flight.is_some_and(|part| number >= part);
        if is_due {
            self.in_flight = None;
        }
        is_due
    }

    /// The next part that is due. `make` makes the parts of a content.
    pub(super) fn next(&mut self, make: impl Fn(Content) -> VecDeque<Message>) -> Option<Message> {
        if self.in_flight.is_some() {
            return None;
        }
        while self.parts.is_empty() {
            self.current = None;
            let content = self.waiting.pop_front()?;
            self.current = Some(content);
            self.parts = make(content);
        }
        self.parts.pop_front()
    }

    /// The part that [`next`](Self::next) has returned was sent with a number.
    pub(super) fn sent(&mut self, number: Option<u64>) {
        self.in_flight = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(content: Content) -> VecDeque<Message> {
        match content {
            Content::Holdings => [Message::Hello, Message::Alive].into(),
            Content::Cached => [Message::Bye, Message::Bye].into(),
        }
    }

    #[test]
    fn parts_follow_each_other() {
        let mut sender = PartSender::default();
        sender.add(Content::Holdings);
        sender.add(Content::Cached);
        assert_eq!(sender.next(make), Some(Message::Hello));
        sender.sent(Some(3));
        sender.add_once(Content::Holdings);
        assert_eq!((sender.next(make), sender.on_return(2), sender.on_return(3)), (None, false, true));
        assert_eq!(sender.next(make), Some(Message::Alive));
        sender.sent(Some(4));
        assert!(sender.on_return(9));
        assert_eq!(sender.next(make), Some(Message::Bye));
        sender.sent(Some(10));
        sender.cancel(Content::Cached);
        sender.add(Content::Holdings);
        assert!(sender.on_return(10));
        assert_eq!(sender.next(make), Some(Message::Hello));
    }
}
