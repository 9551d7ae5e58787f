//! A subscription, as its streams see it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::super::{
    extended::{HistoryRequest, Person},
    packet::{self, Ignored},
    protocol::Protocol,
};
use crate::reactor::{ConnectionId, TimerId};

/// A request for history. One that cannot be read is rejected.
pub(in super::super) type Asked = Result<HistoryRequest, Ignored>;

/// A subscription: the connection that it belongs to, and how far its confirmation is.
pub(in super::super) struct Member {
    pub(in super::super) identifier: Rc<str>,
    pub(in super::super) protocol: Protocol,
    pub(super) id: Cell<ConnectionId>,
    pub(super) stage: Cell<Stage>,
    /// Streams that are not live.
    pub(super) waits: Cell<usize>,
    pub(super) streams: RefCell<Vec<Rc<str>>>,
    /// The streams of whispers and of presence.
    pub(super) whispers: RefCell<Option<Rc<str>>>,
    pub(super) presence: RefCell<Option<Rc<str>>>,
    /// The stream in which the client is present, and the number of its session there.
    pub(super) session: RefCell<Option<(Rc<str>, u64)>>,
    /// The end of its presence, while its line is cut.
    pub(super) departure: Cell<Option<TimerId>>,
    /// The version of those who are present, when its line was cut.
    pub(super) roster: Cell<u64>,
    /// Its connection was told of the confirmation.
    pub(super) is_told: Cell<bool>,
    /// The history request that waits for the confirmation.
    pub(super) history: RefCell<Option<Asked>>,
    pub(super) person: RefCell<Option<Person>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The channel has not decided.
    New,
    /// The channel has accepted it. The confirmation waits until every stream is live.
    Accepted,
    Confirmed,
    /// Its session has no connection, or has one again that has not asked for what is missing.
    Paused,
    Ended,
}

impl Member {
    pub(in super::super) fn new(identifier: &str, id: ConnectionId, protocol: Protocol) -> Rc<Self> {
        Rc::new(Member {
            identifier: identifier.into(),
            protocol,
            id: Cell::new(id),
            stage: Cell::new(Stage::New),
            waits: Cell::new(0),
            streams: RefCell::default(),
            whispers: RefCell::default(),
            presence: RefCell::default(),
            session: RefCell::default(),
            departure: Cell::new(None),
            roster: Cell::new(0),
            is_told: Cell::new(false),
            history: RefCell::default(),
            person: RefCell::default(),
        })
    }

    /// Notes what the client wants once it is confirmed.
    pub(in super::super) fn ask(&self, history: Option<Asked>, person: Option<Person>) {
        // A paused one knows what it has missed.
        if history.is_some() || self.stage.get() != Stage::Paused {
            *self.history.borrow_mut() = history;
        }
        *self.person.borrow_mut() = person;
    }

    pub(in super::super) fn is_decided(&self) -> bool {
        self.stage.get() != Stage::New
    }

    pub(in super::super) fn is_confirmed(&self) -> bool {
        matches!(self.stage.get(), Stage::Confirmed | Stage::Paused)
    }

    /// Its connection was told of the confirmation.
    pub(in super::super) fn is_told(&self) -> bool {
        self.is_told.get()
    }

    pub(in super::super) fn is_of(&self, id: ConnectionId) -> bool {
        self.id.get() == id
    }

    pub(in super::super) fn streams(&self) -> Vec<Rc<str>> {
        self.streams.borrow().clone()
    }

    /// Returns `true` if it gets messages. A client of Rails may get some before the confirmation, as from Rails.
    pub(super) fn is_delivered_to(&self) -> bool {
        match self.stage.get() {
            Stage::Confirmed => true,
            Stage::New | Stage::Accepted => self.protocol == Protocol::Rails,
            Stage::Paused | Stage::Ended => false,
        }
    }

    pub(super) fn quoted(&self) -> String {
        packet::quoted(&self.identifier)
    }
}
