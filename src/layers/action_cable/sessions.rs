//! The sessions of the extended protocol, by the names that their clients know, and how long they are kept.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Rc,
    time::{Duration, Instant},
};

use super::{Cable, session::Session};
use crate::{protocol::CloseCode, reactor::Hub};

/// A session, which another connection may take.
pub(super) type Slot = Rc<RefCell<Option<Session>>>;

/// The sessions that a client can have again.
pub(super) struct Sessions {
    /// How long a session is kept without a connection. `None`: not at all.
    pub(super) keep: Option<Duration>,
    /// Most sessions without a connection. The oldest ones end.
    pub(super) most: usize,
    slots: HashMap<Rc<str>, Slot>,
    /// Those without a connection, with the time of their end. Some have a connection again, under another name.
    kept: VecDeque<(Instant, Rc<str>)>,
}

impl Default for Sessions {
    fn default() -> Self {
        Sessions { keep: None, most: 10_000, slots: HashMap::new(), kept: VecDeque::new() }
    }
}

impl Sessions {
    /// Adds a session with a connection.
    pub(super) fn add(&mut self, sid: Rc<str>, slot: &Slot) {
        if self.keep.is_some() {
            self.slots.insert(sid, Rc::clone(slot));
        }
    }

    /// Takes a session for a new connection, which must have the same identifiers. If it still has an old connection,
    /// that is closed: its client has left it.
    pub(super) fn take(cable: &Cable, hub: &mut Hub, sid: &str, user_stream: &Option<String>) -> Option<Session> {
        let mut sessions = cable.sessions.borrow_mut();
        let is_right = |session: &mut Session| session.is_of(user_stream.as_deref());
        let mut session = sessions.slots.get(sid)?.borrow_mut().take_if(is_right)?;
        sessions.slots.remove(sid);
        drop(sessions);
        match session.connection() {
            Some(id) => {
                session.pause(cable, hub);
                hub.close(id, CloseCode::NORMAL, "");
            }
            None => cable.streams.borrow_mut().counters().sessions -= 1,
        }
        Some(session)
    }

    /// The connection of a session has ended. `was_cut`: its client may come back.
    pub(super) fn put_by(cable: &Rc<Cable>, hub: &mut Hub, mut session: Session, slot: &Slot, was_cut: bool) {
        let keep = cable.sessions.borrow().keep;
        let (Some(sid), Some(keep), true) = (session.sid.clone(), keep, was_cut) else {
            if let Some(sid) = &session.sid {
                cable.sessions.borrow_mut().slots.remove(sid);
            }
            return session.end(cable, hub, !was_cut);
        };
        session.pause(cable, hub);
        cable.streams.borrow_mut().counters().sessions += 1;
        *slot.borrow_mut() = Some(session);
        let mut sessions = cable.sessions.borrow_mut();
        sessions.kept.push_back((hub.now() + keep, sid));
        let (is_first, is_full) = (sessions.kept.len() == 1, sessions.kept.len() > sessions.most);
        drop(sessions);
        if is_first {
            Sessions::schedule(cable, hub);
        }
        if is_full {
            Sessions::end_first(cable, hub);
        }
    }

    fn schedule(cable: &Rc<Cable>, hub: &mut Hub) {
        let Some(at) = cable.sessions.borrow().kept.front().map(|(at, _)| *at) else { return };
        let cable = Rc::downgrade(cable);
        hub.add_timer(at.saturating_duration_since(hub.now()), move |hub| {
            let Some(cable) = cable.upgrade() else { return };
            let is_due = |cable: &Cable, now| cable.sessions.borrow().kept.front().is_some_and(|(at, _)| *at <= now);
            while is_due(&cable, hub.now()) {
                Sessions::end_first(&cable, hub);
            }
            Sessions::schedule(&cable, hub);
        });
    }

    /// Ends the session whose time is over first, if it has no connection again.
    fn end_first(cable: &Cable, hub: &mut Hub) {
        let mut sessions = cable.sessions.borrow_mut();
        let Some(slot) = sessions.kept.pop_front().and_then(|(_, sid)| sessions.slots.remove(&sid)) else { return };
        drop(sessions);
        let session = slot.take();
        if let Some(session) = session {
            cable.streams.borrow_mut().counters().sessions -= 1;
            session.end(cable, hub, true);
        }
    }
}
