//! One end of a connection that a test plays: a client, or a server.

use std::{collections::VecDeque, mem};

use super::Received;
use crate::{
    error::Refusal,
    net::sim::PeerId,
    protocol::{
        CloseCode, EncodeError, Handshake, Incoming, Opened, OwnedMessage, PendingResponse, ServerHandshake, ServerStep,
    },
};

/// An end played by the test.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: PeerId,
    is_server: bool,
    stage: Stage,
    input: Vec<u8>,
    /// Received, and not taken by the test.
    pub(super) inbox: VecDeque<Received>,
    /// Pings and close frames are answered.
    pub(super) answers: bool,
    /// The other end has ended the stream, and the test was told.
    pub(super) has_ended: bool,
}

#[derive(Debug)]
enum Stage {
    /// A client that waits for the response.
    Asking(Box<PendingResponse>),
    /// A server that has sent its response, and waits for what belongs to the request behind the head.
    Answering(Box<ServerHandshake>),
    Open(Box<Opened>),
    /// The response was not 101.
    Refused(Box<Refusal>),
    /// The other end broke the protocol.
    Failed(String),
}

/// Reaction of a peer to its input.
#[derive(Debug, Default)]
pub(super) struct Reaction {
    /// Bytes to send.
    pub(super) output: Vec<u8>,
    /// The stream ends after that: a server has answered a close frame, or its own was answered.
    pub(super) ends: bool,
    /// Entries of the conversation.
    pub(super) entries: Vec<String>,
}

impl Peer {
    pub(super) fn client(id: PeerId, pending: PendingResponse) -> Self {
        Peer::new(id, false, Stage::Asking(Box::new(pending)))
    }

    /// A server whose handshake has accepted the request. `input` is left of what it has received.
    pub(super) fn server(id: PeerId, handshake: ServerHandshake, input: Vec<u8>) -> Self {
        Peer { input, ..Peer::new(id, true, Stage::Answering(Box::new(handshake))) }
    }

    fn new(id: PeerId, is_server: bool, stage: Stage) -> Self {
        Peer { id, is_server, stage, input: Vec::new(), inbox: VecDeque::new(), answers: true, has_ended: false }
    }

    pub(super) fn handshake(&self) -> Option<&Handshake> {
        if let Stage::Open(opened) = &self.stage { Some(&opened.handshake) } else { None }
    }

    pub(super) fn refusal(&self) -> Option<&Refusal> {
        if let Stage::Refused(refusal) = &self.stage { Some(refusal) } else { None }
    }

    /// The handshake has an outcome.
    pub(super) fn is_settled(&self) -> bool {
        !matches!(self.stage, Stage::Asking(_) | Stage::Answering(_)) || self.has_ended
    }

    /// Nothing more is received.
    pub(super) fn is_over(&self) -> bool {
        self.has_ended || self.failure().is_some()
    }

    /// How the other end broke the protocol.
    pub(super) fn failure(&self) -> Option<&str> {
        if let Stage::Failed(failure) = &self.stage { Some(failure) } else { None }
    }

    /// Encodes a message or a control frame.
    pub(super) fn encode(&mut self, sent: &Received) -> Result<Vec<u8>, EncodeError> {
        let (Stage::Open(opened), mut out) = (&mut self.stage, Vec::new()) else { return Err(EncodeError::Closed) };
        let encoder = &mut opened.encoder;
        match sent {
            Received::Message(OwnedMessage::Text(text)) => encoder.message(text.as_str(), &mut out),
            Received::Message(OwnedMessage::Binary(data)) => encoder.message(data, &mut out),
            Received::Ping(data) => encoder.ping(data, &mut out),
            Received::Pong(data) => encoder.pong(data, &mut out),
            Received::Close(Some((code, reason))) => encoder.close(*code, reason, &mut out),
            Received::Close(None) => encoder.close(CloseCode::NO_STATUS, "", &mut out),
        }?;
        Ok(out)
    }

    /// Takes bytes from the other end.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Reaction {
        self.input.extend_from_slice(bytes);
        let mut reaction = Reaction::default();
        while self.advance(&mut reaction) {}
        reaction
    }

    /// Takes one part of the input. Returns `true` if another may follow.
    fn advance(&mut self, reaction: &mut Reaction) -> bool {
        match &mut self.stage {
            Stage::Asking(pending) => match pending.receive(&self.input) {
                Ok((used, opened)) => {
                    self.input.drain(..used);
                    self.open(opened, reaction)
                }
                Err(error) => {
                    self.stage = match pending.response() {
                        Some(response) => {
                            let (parts, ()) = response.clone().into_parts();
                            reaction.entries.push(format!("⨯ refused: {}", parts.status));
                            Stage::Refused(Box::new(Refusal::new(parts.status, parts.headers)))
                        }
                        None => Stage::Failed(format!("the response is invalid: {error}")),
                    };
                    true
                }
            },
            Stage::Answering(handshake) => match handshake.receive(&self.input, &mut reaction.output) {
                Ok((used, step)) => {
                    self.input.drain(..used);
                    let opened = step.and_then(|step| match step {
                        ServerStep::Open(opened) => Some(opened),
                        ServerStep::Request(_) => None,
                    });
                    self.open(opened, reaction)
                }
                Err(error) => {
                    self.stage = Stage::Failed(format!("the request is invalid: {error}"));
                    false
                }
            },
            Stage::Open(opened) => {
                let (used, incoming) = match opened.decoder.decode(&mut self.input) {
                    Ok((used, Some(incoming))) => (used, incoming),
                    Ok((used, None)) => {
                        self.input.drain(..used);
                        return false;
                    }
                    Err(error) => {
                        self.stage = Stage::Failed(format!("the other end broke the protocol: {error}"));
                        return false;
                    }
                };
                let received = Received::from(&incoming);
                reaction.entries.push(format!("← {received}"));
                let is_answered = self.answers && matches!(incoming, Incoming::Ping(_) | Incoming::Close(_));
                if is_answered {
                    opened.encoder.answer(&incoming, &mut reaction.output);
                }
                reaction.ends |= self.answers && self.is_server && matches!(incoming, Incoming::Close(_));
                self.input.drain(..used);
                // A peer that answers pings does so unseen, as browsers do.
                if !(is_answered && matches!(received, Received::Ping(_))) {
                    self.inbox.push_back(received);
                }
                true
            }
            Stage::Refused(refusal) => {
                let body = mem::take(&mut self.input);
                let head = body.windows(4).position(|window| window == b"\r\n\r\n").filter(|_| refusal.body.is_empty());
                refusal.body.extend_from_slice(&body[head.map_or(0, |end| end + 4)..]);
                false
            }
            Stage::Failed(_) => false,
        }
    }

    fn open(&mut self, opened: Option<Opened>, reaction: &mut Reaction) -> bool {
        let Some(opened) = opened else { return false };
        reaction.entries.push(format!("open, {}", opened.handshake.version()));
        self.stage = Stage::Open(Box::new(opened));
        true
    }
}
