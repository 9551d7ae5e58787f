//! The sessions of the extended protocol, by the names that their clients know, and how long they are kept.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
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
    /// Those without a connection, by the time of their end.
    kept: BTreeSet<(Instant, Rc<str>)>,
    /// The time at which each of them ends.
    ends: HashMap<Rc<str>, Instant>,
    is_scheduled: bool,
}

impl Default for Sessions {
    fn default() -> Self {
        let (slots, kept, ends) = (HashMap::new(), BTreeSet::new(), HashMap::new());
        Sessions { keep: None, most: 10_000, slots, kept, ends, is_scheduled: false }
    }
}

impl Sessions {
    /// Adds a session with a connection.
    pub(super) fn add(&mut self, sid: Rc<str>, slot: &Slot) {
        if self.keep.is_some() {
            self.slots.insert(sid, Rc::clone(slot));
        }
    }

    fn remove(&mut self, sid: &str) -> Option<Slot> {
        if let Some((sid, at)) = self.ends.remove_entry(sid) {
            self.kept.remove(&(at, sid));
        }
        self.slots.remove(sid)
    }

    /// Takes a session for a new connection, which must have the same identifiers. If it still has an old connection,
    /// that is closed: its client has left it. One that is being ended cannot be taken.
    pub(super) fn take(cable: &Rc<Cable>, hub: &mut Hub, sid: &str, user_stream: Option<&str>) -> Option<Session> {
        let mut sessions = cable.sessions.borrow_mut();
        let is_right = |session: &mut Session| {
            let is_ending = session.has_connection() && !hub.is_open(session.id());
            session.is_of(user_stream) && !is_ending && !cable.streams.borrow().is_ended(session.id())
        };
        let mut session = sessions.slots.get(sid)?.borrow_mut().take_if(is_right)?;
        sessions.remove(sid);
        drop(sessions);
        if session.has_connection() {
            hub.close(session.id(), CloseCode::NORMAL, "");
            session.pause(cable, hub);
            Sessions::tell_disconnected(cable, hub, &session);
        } else {
            cable.streams.borrow_mut().counters().sessions -= 1;
        }
        Some(session)
    }

    /// Tells the application that the connection of a session has ended, which goes on.
    fn tell_disconnected(cable: &Rc<Cable>, hub: &mut Hub, session: &Session) {
        let (cable, id, user) = (Rc::clone(cable), session.id(), Rc::clone(session.user()));
        hub.next_tick(move |hub| {
            if let Some(disconnected) = &cable.disconnected {
                disconnected(hub, id, &user);
            }
        });
    }

    /// The connection of a session has ended. `was_cut`: its client may come back.
    pub(super) fn leave(cable: &Rc<Cable>, hub: &mut Hub, mut session: Session, slot: &Slot, was_cut: bool) {
        let keep = cable.sessions.borrow().keep;
        let (Some(sid), Some(keep), true) = (session.sid.clone(), keep, was_cut) else {
            if let Some(sid) = &session.sid {
                cable.sessions.borrow_mut().remove(sid);
            }
            return session.end(cable, hub, !was_cut);
        };
        session.pause(cable, hub);
        Sessions::tell_disconnected(cable, hub, &session);
        cable.streams.borrow_mut().counters().sessions += 1;
        *slot.borrow_mut() = Some(session);
        let mut sessions = cable.sessions.borrow_mut();
        let at = hub.now() + keep;
        sessions.kept.insert((at, Rc::clone(&sid)));
        sessions.ends.insert(sid, at);
        let is_full = sessions.kept.len() > sessions.most;
        drop(sessions);
        if is_full {
            Sessions::end_first(cable, hub);
        }
        Sessions::schedule(cable, hub);
    }

    fn schedule(cable: &Rc<Cable>, hub: &mut Hub) {
        let mut sessions = cable.sessions.borrow_mut();
        let Some((at, _)) = sessions.kept.first() else { return };
        let after = at.saturating_duration_since(hub.now());
        if std::mem::replace(&mut sessions.is_scheduled, true) {
            return;
        }
        let cable = Rc::downgrade(cable);
        hub.add_timer(after, move |hub| {
            let Some(cable) = cable.upgrade() else { return };
            cable.sessions.borrow_mut().is_scheduled = false;
            let is_due = |now| cable.sessions.borrow().kept.first().is_some_and(|(at, _)| *at <= now);
            while is_due(hub.now()) {
                Sessions::end_first(&cable, hub);
            }
            Sessions::schedule(&cable, hub);
        });
    }

    /// Ends the session whose time is over first.
    fn end_first(cable: &Rc<Cable>, hub: &mut Hub) {
        let mut sessions = cable.sessions.borrow_mut();
        let first = sessions.kept.first().map(|(_, sid)| Rc::clone(sid));
        let session = first.and_then(|sid| sessions.remove(&sid)).and_then(|slot| slot.take());
        drop(sessions);
        let Some(session) = session else { return };
        cable.streams.borrow_mut().counters().sessions -= 1;
        let cable = Rc::clone(cable);
        // One tick each: a panic ends no other, and they may be many. Its client is present for its own time.
        hub.next_tick(move |hub| session.end(&cable, hub, false));
    }
}
