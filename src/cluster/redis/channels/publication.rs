//! Publications on their way through the channels.

use std::rc::Rc;

use crate::cluster::redis::payload::{Mark, Payload};

/// Bytes that a publication counts as while it waits, besides its payload.
pub(super) const OVERHEAD_BYTES: usize = 128;

/// A publication of the time without a connection.
#[derive(Debug)]
pub(in crate::cluster::redis) enum Kept {
    Message {
        topic: Rc<str>,
        payload: Payload,
        number: u64,
    },
    /// A whole command.
    Entry {
        command: Vec<u8>,
        number: u64,
    },
}

impl Kept {
    /// The topic, unless it is a whole command.
    pub(in crate::cluster::redis) fn topic(&self) -> Option<&str> {
        if let Kept::Message { topic, .. } = self { Some(topic) } else { None }
    }

    pub(super) fn cost(&self) -> usize {
        let bytes = match self {
            Kept::Message { payload, .. } => payload.len(),
            Kept::Entry { command, .. } => command.len(),
        };
        bytes + OVERHEAD_BYTES
    }
}

/// A publication that has not come back.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) number: u64,
    pub(super) mark: Mark,
    /// Bytes that it counts as.
    pub(super) cost: usize,
}

/// A command of the connection that publishes.
#[derive(Debug)]
pub(super) enum Publication {
    /// A PUBLISH, and what comes back of it, if anything does.
    Publish(Option<Returning>),
    /// An XADD of the publication with this number.
    Append(u64),
    /// A question for the id of the node, and one for the slots of all nodes.
    NodeId,
    Slots,
    Other,
}

/// A publication that Redis sends back, unless it refuses it.
#[derive(Debug)]
pub(super) struct Returning {
    pub(super) topic: Rc<str>,
    pub(super) number: u64,
    pub(super) mark: Mark,
}

/// The outcome of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cluster::redis) enum Outcome {
    /// The command is written, or waits for its channel or for a connection.
    Queued,
    /// Others do not get it: Redis is away, or takes nothing.
    Lost,
}
