//! A published message on its way through a group.

use std::sync::Arc;

use crate::{
    protocol::{Outgoing, OwnedMessage, event_stream::Event},
    reactor::{HistoryLimits, id::ConnectionId, publish::topics::TopicEdge},
};

/// A published message. The reactors of a group share it, and each encodes it for its own subscribers.
#[derive(Debug, Clone)]
pub(in crate::reactor) struct Publication {
    pub(in crate::reactor) topic: Box<str>,
    pub(in crate::reactor) message: OwnedMessage,
    pub(in crate::reactor) manner: Manner,
    pub(in crate::reactor) sequence: Sequence,
    /// Another process has published it: it does not go to the backplane.
    pub(in crate::reactor) is_from_outside: bool,
}

/// The id of a published message in the history of its topic.
#[derive(Debug, Clone, Copy)]
pub(in crate::reactor) enum Sequence {
    /// The sequencer has still to give it, and then publishes the message in the group.
    Wanted,
    /// `None` if no history of the topic is kept.
    Done(Option<u64>),
}

/// How a message is published.
#[derive(Debug, Clone)]
pub(in crate::reactor) enum Manner {
    Message {
        /// Not for this connection.
        except: Option<ConnectionId>,
        compress: bool,
    },
    /// Only the latest message of this key counts.
    Latest(Box<str>),
    /// An event with a name, or an id of the application.
    Event { name: Option<Box<str>>, id: Option<Box<str>> },
}

/// A change of the histories that the sequencer has made.
#[derive(Debug)]
pub(in crate::reactor) enum HistoryChange {
    /// The history of a topic is kept. Events up to `missing_to` are not in it.
    Keep {
        topic: Box<str>,
        limits: HistoryLimits,
        missing_to: u64,
        /// Index of the reactor that has asked for it.
        asked_by: usize,
    },
    Forget(Box<str>),
    /// Topics whose events did not arrive, up to an id each: too much waited.
    Missed(Vec<(Box<str>, u64)>),
    /// Events to add, each with its id, name and data. Events up to `missing_to` may be missing.
    Restored {
        topic: Box<str>,
        events: Vec<(u64, Option<Box<str>>, Box<str>)>,
        missing_to: Option<u64>,
    },
}

/// An item of a batch that one reactor hands on to another.
#[derive(Debug)]
pub(in crate::reactor) enum Handed {
    Publication(Arc<Publication>),
    History(Arc<HistoryChange>),
    Edge(TopicEdge),
}

/// Memory of a publication besides its payload and topic, roughly.
const OVERHEAD_BYTES: usize = 128;

impl Publication {
    pub(in crate::reactor) fn new(topic: &str, message: Outgoing<'_>, manner: Manner) -> Self {
        let (message, sequence) = (message.into_owned(), Sequence::Done(None));
        Publication { topic: topic.into(), message, manner, sequence, is_from_outside: false }
    }

    pub(in crate::reactor) fn of_event(topic: &str, event: Event<'_>) -> Self {
        let manner = Manner::Event { name: event.name.map(Box::from), id: event.id.map(Box::from) };
        Publication::new(topic, event.data.into(), manner)
    }

    /// Bytes that the publication counts as while it waits.
    pub(in crate::reactor) fn cost(&self) -> usize {
        self.topic.len() + self.message.as_message().len() + OVERHEAD_BYTES
    }
}
