//! Requests of the HTTP API that are answered when a message has come back on the topic.

use std::collections::VecDeque;

use serde_json::Value;

use crate::{
    http::StatusCode,
    reactor::Hub,
    server::{Reply, Responder},
};

/// Reads the state of an app.
pub(super) type Read = Box<dyn FnOnce(&Hub) -> Value>;

/// An answer that waits for a message.
pub(super) enum Answer {
    /// Of a request that has published the message.
    Published(Responder, Value),
    /// Of a request that reads the state of the app after the message, which follows all earlier changes.
    Read(Responder, Read),
}

impl Answer {
    /// Gives the answer. `has_reached_all`: the other nodes have the message, too.
    pub(super) fn give(self, hub: &Hub, has_reached_all: bool) {
        let (responder, reply) = match self {
            Answer::Published(responder, value) if has_reached_all => (responder, Reply::json(&value)),
            Answer::Published(responder, _) => {
                let text = "the connection to the other processes is lost";
                (responder, Reply::text(StatusCode::SERVICE_UNAVAILABLE, text))
            }
            Answer::Read(responder, read) => (responder, Reply::json(&read(hub))),
        };
        // The client may have left.
        let _ = responder.respond(reply);
    }
}

/// Answers by the number of their message.
#[derive(Default)]
pub(super) struct Answers(VecDeque<(u64, Answer)>);

impl Answers {
    pub(super) fn push(&mut self, number: u64, answer: Answer) {
        self.0.push_back((number, answer));
    }

    /// Takes the answers up to a message that has come back. Returns `true` with those for this message: earlier ones
    /// are lost.
    pub(super) fn take(&mut self, number: u64) -> Vec<(Answer, bool)> {
        let count = self.0.iter().take_while(|(sent, _)| *sent <= number).count();
        self.0.drain(..count).map(|(sent, answer)| (answer, sent == number)).collect()
    }
}
