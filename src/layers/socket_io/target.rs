//! The sockets that an operation concerns. Pure.

use std::rc::Rc;

/// The sockets that an operation concerns: those in any of the rooms, or all of the namespace if there are none, but
/// those in the excepted rooms. Each socket is in the room that its id names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Rooms, joined. None: all sockets.
    pub rooms: Vec<Rc<str>>,
    /// Rooms whose sockets are left out.
    pub except: Vec<Rc<str>>,
}

impl Target {
    /// Returns `true` if a socket in these rooms is concerned.
    pub(super) fn selects(&self, rooms: &[Rc<str>]) -> bool {
        let is_in = |room: &Rc<str>| rooms.contains(room);
        (self.rooms.is_empty() || self.rooms.iter().any(is_in)) && !self.except.iter().any(is_in)
    }
}
