//! Sockets and rooms of a namespace.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use super::{state::SocketState, target::Target};

/// Sockets in no order, with constant time for each change.
#[derive(Default)]
pub(super) struct Members {
    list: Vec<Rc<SocketState>>,
    positions: HashMap<u64, usize>,
}

impl Members {
    pub(super) fn insert(&mut self, socket: &Rc<SocketState>) -> bool {
        let is_new = self.positions.insert(socket.number, self.list.len()).is_none_or(|position| {
            self.positions.insert(socket.number, position);
            false
        });
        if is_new {
            self.list.push(Rc::clone(socket));
        }
        is_new
    }

    pub(super) fn remove(&mut self, socket: &SocketState) -> bool {
        let Some(position) = self.positions.remove(&socket.number) else { return false };
        self.list.swap_remove(position);
        if let Some(moved) = self.list.get(position) {
            self.positions.insert(moved.number, position);
        }
        true
    }

    fn contains(&self, socket: &SocketState) -> bool {
        self.positions.contains_key(&socket.number)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<SocketState>> {
        self.list.iter()
    }
}

/// A change of the rooms of a namespace on this server, for
/// [`Namespace::on_room_event`](super::Namespace::on_room_event). Each socket has a room of its own, too.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoomEvent {
    /// A room has its first member: Node's `create-room`.
    Created {
        /// The name of the room.
        room: String,
    },
    /// A socket has joined: `join-room`.
    Joined {
        /// The name of the room.
        room: String,
        /// The id of the socket.
        socket: String,
    },
    /// A socket has left: `leave-room`.
    Left {
        /// The name of the room.
        room: String,
        /// The id of the socket.
        socket: String,
    },
    /// A room has lost its last member: `delete-room`.
    Deleted {
        /// The name of the room.
        room: String,
    },
}

/// The rooms of a namespace. A room is there as long as it has members.
#[derive(Default)]
pub(super) struct Rooms {
    by_name: HashMap<Rc<str>, Members>,
}

impl Rooms {
    /// Adds a member. Returns `true` if it is new.
    pub(super) fn join(&mut self, room: &Rc<str>, socket: &Rc<SocketState>) -> bool {
        self.by_name.entry(Rc::clone(room)).or_default().insert(socket)
    }

    /// Removes a member. Returns `true` if it was one.
    pub(super) fn leave(&mut self, room: &str, socket: &SocketState) -> bool {
        let Some(members) = self.by_name.get_mut(room) else { return false };
        let was_member = members.remove(socket);
        if members.is_empty() {
            self.by_name.remove(room);
        }
        was_member
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn size_of(&self, room: &str) -> usize {
        self.by_name.get(room).map_or(0, Members::len)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Rc<str>> {
        self.by_name.keys()
    }

    /// The sockets of a target, each once. `all`: the sockets of the namespace.
    pub(super) fn select(&self, target: &Target, all: &Members) -> Vec<Rc<SocketState>> {
        let except: Vec<&Members> = target.except.iter().filter_map(|room| self.by_name.get(room)).collect();
        let is_wanted = |socket: &&Rc<SocketState>| !except.iter().any(|members| members.contains(socket));
        match &*target.rooms {
            [] => all.iter().filter(is_wanted).cloned().collect(),
            [room] => {
                let members = self.by_name.get(room).into_iter().flat_map(Members::iter);
                members.filter(is_wanted).filter(|socket| all.contains(socket)).cloned().collect()
            }
            rooms => {
                let mut seen = HashSet::new();
                let members = rooms.iter().filter_map(|room| self.by_name.get(room)).flat_map(Members::iter);
                let wanted = members.filter(is_wanted).filter(|socket| all.contains(socket));
                wanted.filter(|socket| seen.insert(socket.number)).cloned().collect()
            }
        }
    }
}
