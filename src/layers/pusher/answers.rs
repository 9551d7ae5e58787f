//! Requests of the HTTP API that are answered when their message has come back on the topic.

use std::collections::VecDeque;

use serde_json::Value;

use crate::{
    http::StatusCode,
    server::{Reply, Responder},
};

/// An answer that waits for a message.
pub(super) struct Answer {
    responder: Responder,
    value: Value,
}

impl Answer {
    pub(super) fn new(responder: Responder, value: Value) -> Self {
        Answer { responder, value }
    }

    /// The message has its place in the order of all nodes.
    pub(super) fn succeed(self) {
        // The client may have left.
        let _ = self.responder.respond(Reply::json(&self.value));
    }

    /// The message may not have reached the other nodes.
    pub(super) fn fail(self) {
        let reply = Reply::text(StatusCode::SERVICE_UNAVAILABLE, "the connection to the other processes is lost");
        let _ = self.responder.respond(reply);
    }
}

/// Answers by the number of their message.
#[derive(Default)]
pub(super) struct Answers(VecDeque<(u64, Answer)>);

impl Answers {
    pub(super) fn push(&mut self, number: u64, answer: Answer) {
        self.0.push_back((number, answer));
    }

    /// Takes the answers for a message that has come back. Those for earlier messages, which are lost, fail.
    pub(super) fn take(&mut self, number: u64) -> Vec<Answer> {
        let mut returned = Vec::new();
        while self.0.front().is_some_and(|(sent, _)| *sent <= number)
            && let Some((sent, answer)) = self.0.pop_front()
        {
            match sent == number {
                true => returned.push(answer),
                false => answer.fail(),
            }
        }
        returned
    }
}
