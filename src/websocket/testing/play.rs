//! Actions of a test as a played end, and its expectations there.

use super::{Network, Received};
use crate::protocol::{CloseCode, Message};

impl Network {
    /// Sends a message as `name`.
    ///
    /// # Panics
    ///
    /// If nobody has the name, the end has sent a close frame, or the version has no binary messages.
    #[track_caller]
    pub fn send<'m>(&mut self, name: &str, message: impl Into<Message<'m>>) {
        self.send_frame(name, &Received::Message(message.into().to_owned()));
    }

    /// Sends a ping as `name`, with at most 125 bytes of data.
    ///
    /// # Panics
    ///
    /// If nobody has the name, the end has sent a close frame, or the version has no pings.
    #[track_caller]
    pub fn ping(&mut self, name: &str, data: &[u8]) {
        self.send_frame(name, &Received::Ping(data.to_vec()));
    }

    /// Sends a close frame as `name`. [`NO_STATUS`](CloseCode::NO_STATUS) sends one without a code. In hixie-75, which
    /// has no close frame, the stream ends.
    ///
    /// # Panics
    ///
    /// If nobody has the name, the end has sent a close frame before, or the code cannot be sent.
    #[track_caller]
    pub fn close(&mut self, name: &str, code: CloseCode, reason: &str) {
        self.send_frame(name, &Received::Close(Some((code, reason.to_owned()))));
    }

    #[track_caller]
    fn send_frame(&mut self, name: &str, frame: &Received) {
        match self.peer_mut(name).encode(frame) {
            Ok(bytes) if bytes.is_empty() => self.finish(name),
            Ok(bytes) => {
                self.note(name, &format!("→ {frame}"));
                self.send_raw(name, &bytes);
            }
            Err(error) => self.fail(&format!("{name:?} cannot send {frame}: {error}")),
        }
    }

    /// Sends raw bytes as `name`, for an end that breaks the protocol.
    ///
    /// # Panics
    ///
    /// If nobody has the name.
    #[track_caller]
    pub fn send_bytes(&mut self, name: &str, bytes: &[u8]) {
        self.note(name, &format!("→ {} raw bytes", bytes.len()));
        self.send_raw(name, bytes);
    }

    #[track_caller]
    fn send_raw(&mut self, name: &str, bytes: &[u8]) {
        let id = self.peer(name).id;
        self.reactor().kernel_mut().send(id, bytes);
        self.settle();
    }

    /// Resets the connection of `name`: bytes under way are lost.
    ///
    /// # Panics
    ///
    /// If nobody has the name.
    #[track_caller]
    pub fn reset(&mut self, name: &str) {
        let id = self.peer(name).id;
        self.note(name, "⨯ resets the connection");
        self.peer_mut(name).has_ended = true;
        self.reactor().kernel_mut().reset(id);
        self.settle();
    }

    /// Ends the stream of `name` without a close frame.
    ///
    /// # Panics
    ///
    /// If nobody has the name.
    #[track_caller]
    pub fn finish(&mut self, name: &str) {
        let id = self.peer(name).id;
        self.note(name, "⨯ ends the stream");
        self.reactor().kernel_mut().finish(id);
        self.settle();
    }

    /// Lets `name` answer no pings and no close frames any more, as an end whose line is cut. Pings are received
    /// like messages then.
    ///
    /// # Panics
    ///
    /// If nobody has the name.
    #[track_caller]
    pub fn mute(&mut self, name: &str) {
        self.peer_mut(name).answers = false;
    }

    /// Stops `name` from reading, until [`release`](Self::release). The system under test holds 64 KiB for it.
    ///
    /// # Panics
    ///
    /// If nobody has the name.
    #[track_caller]
    pub fn hold(&mut self, name: &str) {
        let id = self.peer(name).id;
        self.note(name, "stops reading");
        self.reactor().kernel_mut().stop_reading(id);
    }

    /// Lets `name` read again.
    ///
    /// # Panics
    ///
    /// If nobody has the name.
    #[track_caller]
    pub fn release(&mut self, name: &str) {
        let id = self.peer(name).id;
        self.note(name, "reads again");
        self.reactor().kernel_mut().release(id);
        self.settle();
    }

    /// Sets the speed of the line of `name`, in both directions.
    ///
    /// # Panics
    ///
    /// If nobody has the name.
    #[track_caller]
    pub fn slow_line(&mut self, name: &str, bytes_per_second: u64) {
        let id = self.peer(name).id;
        self.reactor().kernel_mut().slow_line(id, bytes_per_second);
    }

    /// Takes the next message or control frame that `name` has received, and waits for it.
    ///
    /// # Panics
    ///
    /// If nothing comes, with the conversation. If the other end breaks the protocol.
    #[track_caller]
    pub fn next(&mut self, name: &str) -> Received {
        match self.take(name) {
            Some(received) => received,
            None => self.fail(&format!("{name:?} receives nothing")),
        }
    }

    /// Takes all messages and control frames that `name` has received, without waiting.
    ///
    /// # Panics
    ///
    /// If nobody has the name, or the other end breaks the protocol.
    #[track_caller]
    pub fn received(&mut self, name: &str) -> Vec<Received> {
        self.settle();
        self.check(name);
        self.peer_mut(name).inbox.drain(..).collect()
    }

    /// Takes the next message of `name`, and compares it.
    ///
    /// # Panics
    ///
    /// If it is another one, or none comes, with the conversation.
    #[track_caller]
    pub fn expect(&mut self, name: &str, expected: impl Into<Received>) {
        let expected = expected.into();
        match self.take(name) {
            Some(received) if received == expected => {}
            Some(received) => self.fail(&format!("{name:?} receives {received}\nexpected: {expected}")),
            None => self.fail(&format!("{name:?} receives nothing\nexpected: {expected}")),
        }
    }

    /// Takes messages of `name` until one is as expected. Messages before it are dropped.
    ///
    /// # Panics
    ///
    /// If none is, with the conversation.
    #[track_caller]
    pub fn expect_eventually(&mut self, name: &str, expected: impl Into<Received>) {
        let expected = expected.into();
        while let Some(received) = self.take(name) {
            if received == expected {
                return;
            }
        }
        self.fail(&format!("{name:?} does not receive {expected}"));
    }

    /// Expects that `name` has received nothing that the test has not taken. Does not wait.
    ///
    /// # Panics
    ///
    /// If it has, with the conversation.
    #[track_caller]
    pub fn expect_nothing(&mut self, name: &str) {
        self.settle();
        self.check(name);
        if let Some(received) = self.peer(name).inbox.front() {
            self.fail(&format!("{name:?} receives {received}\nexpected: nothing"));
        }
    }

    /// Expects a close frame with `code` as the next that `name` receives, and then the end of the stream.
    ///
    /// # Panics
    ///
    /// If something else comes, or the stream does not end, with the conversation.
    #[track_caller]
    pub fn expect_close(&mut self, name: &str, code: CloseCode) {
        match self.take(name) {
            Some(Received::Close(Some((found, _)))) if found == code => {}
            Some(received) => self.fail(&format!("{name:?} receives {received}\nexpected: close {code}")),
            None => self.fail(&format!("{name:?} receives nothing\nexpected: close {code}")),
        }
        if !self.wait_for(|network| network.peer(name).has_ended) {
            self.fail(&format!("the stream of {name:?} does not end after the close frame"));
        }
    }

    /// Returns `true` until the connection of `name` has ended.
    ///
    /// # Panics
    ///
    /// If nobody has the name.
    #[track_caller]
    pub fn is_open(&mut self, name: &str) -> bool {
        self.settle();
        !self.peer(name).has_ended
    }

    #[track_caller]
    fn take(&mut self, name: &str) -> Option<Received> {
        self.wait_for(|network| !network.peer(name).inbox.is_empty() || network.peer(name).is_over());
        self.check(name);
        self.peer_mut(name).inbox.pop_front()
    }

    /// Fails if the other end of `name` broke the protocol.
    #[track_caller]
    fn check(&self, name: &str) {
        if let Some(failure) = self.peer(name).failure() {
            self.fail(&format!("{name:?}: {failure}"));
        }
    }
}
