//! A subscription, as its streams see it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::super::{
    extended::{HistoryRequest, Person},
    packet::{self, Ignored},
};
use crate::reactor::ConnectionId;

/// A request for history. One that cannot be read is rejected.
pub(in super::super) type Asked = Result<HistoryRequest, Ignored>;

/// A subscription: the connection that it belongs to, and how far its confirmation is.
pub(in super::super) struct Member {
    pub(in super::super) identifier: Rc<str>,
    /// Whether its client speaks the extended protocol.
    pub(super) is_extended: bool,
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
    /// How often its line was cut, and came back.
    pub(super) cuts: Cell<u64>,
    /// What the client wants as soon as it gets messages.
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
    pub(in super::super) fn new(identifier: &str, id: ConnectionId, is_extended: bool) -> Rc<Self> {
        Rc::new(Member {
            identifier: identifier.into(),
            is_extended,
            id: Cell::new(id),
            stage: Cell::new(Stage::New),
            waits: Cell::new(0),
            streams: RefCell::default(),
            whispers: RefCell::default(),
            presence: RefCell::default(),
            session: RefCell::default(),
            cuts: Cell::new(0),
            history: RefCell::default(),
            person: RefCell::default(),
        })
    }

    /// Notes what the client wants once it is confirmed.
    pub(in super::super) fn ask(&self, history: Option<Asked>, person: Option<Person>) {
        (*self.history.borrow_mut(), *self.person.borrow_mut()) = (history, person);
    }

    pub(in super::super) fn is_decided(&self) -> bool {
        self.stage.get() != Stage::New
    }

    pub(in super::super) fn is_confirmed(&self) -> bool {
        matches!(self.stage.get(), Stage::Confirmed | Stage::Paused)
    }

    pub(in super::super) fn streams(&self) -> Vec<Rc<str>> {
        self.streams.borrow().clone()
    }

    /// Whether it gets messages. A client of Rails may get some before the confirmation, as from Rails.
    pub(super) fn is_delivered_to(&self) -> bool {
        match self.stage.get() {
            Stage::Confirmed => true,
            Stage::New | Stage::Accepted => !self.is_extended,
            Stage::Paused | Stage::Ended => false,
        }
    }

    pub(super) fn quoted(&self) -> String {
        packet::quoted(&self.identifier)
    }
}
