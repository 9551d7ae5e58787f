//! Sockets that come back to a server which is joined by a stream: as they are kept, and what they have missed.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use super::{
    super::{
        adapter::{OnRestored, RestoredSocket, SavedSocket},
        msgpack::{self, Packed, field},
        payload::Payload,
    },
    message::Message,
    recent::{Recent, with_offset},
    wire,
};
use crate::{
    cluster::{EntryId, PubSub, StreamEntry},
    reactor::Hub,
};

/// The stream of events: its newest ones in memory, as this server has read them.
pub(super) struct EventLog {
    pub_sub: PubSub,
    key: String,
    /// `None` before the stream is read.
    recent: RefCell<Option<Recent>>,
    /// Searches in the stream that are under way.
    searches: Cell<usize>,
    /// Those that wait for them.
    waiting: RefCell<VecDeque<Restoring>>,
}

/// Most searches at a time, and most that wait for them.
const MOST_SEARCHES: usize = 16;
const MOST_WAITING: usize = 10_000;

impl EventLog {
    pub(super) fn new(pub_sub: &PubSub, key: &str) -> Rc<Self> {
        Rc::new(EventLog {
            pub_sub: pub_sub.clone(),
            key: key.to_owned(),
            recent: RefCell::default(),
            searches: Cell::default(),
            waiting: RefCell::default(),
        })
    }

    /// Returns `true` if what is appended comes back.
    pub(super) fn is_reading(&self) -> bool {
        self.recent.borrow().is_some() && self.pub_sub.is_connected()
    }

    /// Returns `true` if an entry is to come.
    pub(super) fn will_read(&self, id: EntryId) -> bool {
        self.recent.borrow().as_ref().is_some_and(|recent| id > recent.last())
    }

    /// All entries behind one will be read. Those before may have been removed meanwhile, so they are asked for where
    /// they are needed.
    pub(super) fn begin(&self, known: EntryId) {
        *self.recent.borrow_mut() = Some(Recent::new(known));
    }

    /// An entry was read.
    pub(super) fn on_entry(&self, id: EntryId, message: Option<&Message>) {
        if let Some(recent) = &mut *self.recent.borrow_mut() {
            recent.advance(id);
            if let Some((message, (payload, target))) = message.and_then(|message| Some((message, message.event()?))) {
                recent.push(&message.namespace, payload, target);
            }
        }
    }

    /// The events in memory behind an entry that concern a socket in these rooms. `None` if some are not in memory.
    pub(super) fn since(&self, id: EntryId, namespace: &str, rooms: &[Rc<str>]) -> Option<Vec<Payload>> {
        self.recent.borrow().as_ref()?.behind(id, namespace, rooms)
    }

    /// Begins a search in the stream, now or when others have ended.
    fn search(self: &Rc<Self>, hub: &mut Hub, restoring: Restoring) {
        if self.searches.get() < MOST_SEARCHES {
            self.searches.set(self.searches.get() + 1);
            return restoring.read(hub);
        }
        let is_full = self.waiting.borrow().len() >= MOST_WAITING;
        match is_full {
            true => (restoring.call)(hub, None),
            false => self.waiting.borrow_mut().push_back(restoring),
        }
    }

    fn end_search(self: &Rc<Self>, hub: &mut Hub) {
        self.searches.set(self.searches.get() - 1);
        let next = self.waiting.borrow_mut().pop_front();
        next.into_iter().for_each(|restoring| self.search(hub, restoring));
    }
}

/// A socket whose missed events are looked for: in the stream up to those that this server has in memory, then there.
pub(super) struct Restoring {
    log: Rc<EventLog>,
    namespace: String,
    kept: KeptSocket,
    missed: Vec<Payload>,
    /// The last entry that the client has got, or that was read for it.
    position: EntryId,
    /// Bytes of entries that may be read.
    budget: usize,
    /// How often this server had not read as far as the client.
    tries: u32,
    call: OnRestored,
}

/// The wait for entries that the client has got from another server, and this one has not read.
const READ_AFTER: Duration = Duration::from_millis(5);

/// How often they are waited for.
const MOST_TRIES: u32 = 60;

/// Where the position of a socket is.
enum Place {
    /// In memory.
    Recent,
    /// Before what is in memory.
    Earlier,
    /// Behind what this server has read.
    Ahead,
    Nowhere,
}

impl Restoring {
    /// `max_bytes`: of the entries that are read in the stream.
    pub(super) fn new(
        log: Rc<EventLog>,
        namespace: String,
        kept: KeptSocket,
        offset: EntryId,
        max_bytes: usize,
        call: OnRestored,
    ) -> Self {
        Restoring { log, namespace, kept, missed: Vec::new(), position: offset, budget: max_bytes, tries: 0, call }
    }

    pub(super) fn begin(mut self, hub: &mut Hub) {
        match self.place() {
            Place::Recent => match self.take_recent() {
                true => self.give(hub),
                false => (self.call)(hub, None),
            },
            Place::Earlier => Rc::clone(&self.log).search(hub, self),
            Place::Ahead if self.tries < MOST_TRIES => {
                self.tries += 1;
                hub.add_timer(READ_AFTER, move |hub| self.begin(hub));
            }
            Place::Ahead | Place::Nowhere => (self.call)(hub, None),
        }
    }

    fn place(&self) -> Place {
        match &*self.log.recent.borrow() {
            Some(recent) if self.position < recent.start() => Place::Earlier,
            Some(recent) if recent.knows(self.position) => Place::Recent,
            Some(recent) if self.position > recent.last() => Place::Ahead,
            Some(_) | None => Place::Nowhere,
        }
    }

    /// Reads the stream from the position on. The entry there is read again: if it is there, so are all behind it.
    fn read(mut self, hub: &mut Hub) {
        let end = self.log.recent.borrow().as_ref().map(Recent::start);
        let Some(end) = end else { return self.end_search(hub, false) };
        let (log, position) = (Rc::clone(&self.log), self.position);
        log.pub_sub.entries(hub, &log.key, [position, end], move |hub, page| {
            let Some((entries, are_all)) = page else { return self.end_search(hub, false) };
            let Some((first, behind)) = entries.split_first() else { return self.end_search(hub, false) };
            if first.id != position || !self.take(behind) {
                return self.end_search(hub, false);
            }
            match are_all {
                // The events in memory may begin later by now.
                true if self.take_from_memory(end) => self.end_search(hub, true),
                _ if behind.is_empty() => self.end_search(hub, false),
                _ => self.read(hub),
            }
        });
    }

    /// Takes the events of entries that concern the socket. Returns `false` if that becomes too much.
    fn take(&mut self, entries: &[StreamEntry]) -> bool {
        let rooms = self.rooms();
        for entry in entries {
            self.position = entry.id;
            let Some(rest) = self.budget.checked_sub(entry.bytes()) else { return false };
            self.budget = rest;
            let message = Message::of_entry(entry).filter(|message| message.namespace == self.namespace);
            if let Some((payload, target)) = message.and_then(|message| message.event())
                && target.selects(&rooms)
            {
                self.missed.push(with_offset(payload, entry.id));
            }
        }
        true
    }

    fn rooms(&self) -> Vec<Rc<str>> {
        self.kept.socket.rooms.iter().map(|room| room.as_str().into()).collect()
    }

    fn take_recent(&mut self) -> bool {
        self.take_from_memory(self.position)
    }

    /// Takes the events in memory behind an entry. Returns `false` if some are not there.
    fn take_from_memory(&mut self, after: EntryId) -> bool {
        let events = self.log.since(after, &self.namespace, &self.rooms());
        let are_there = events.is_some();
        self.missed.extend(events.into_iter().flatten());
        are_there
    }

    fn end_search(self, hub: &mut Hub, is_found: bool) {
        let log = Rc::clone(&self.log);
        match is_found {
            true => self.give(hub),
            false => (self.call)(hub, None),
        }
        log.end_search(hub);
    }

    fn give(self, hub: &mut Hub) {
        let position = self.log.recent.borrow().as_ref().map(Recent::last).unwrap_or_default();
        let restored = RestoredSocket {
            missed: self.missed,
            position: position.to_string(),
            needs_middleware: self.kept.namespace.is_none(),
            socket: self.kept.socket,
        };
        (self.call)(hub, Some(restored));
    }
}

/// A socket, and its namespace where that is known: Node's adapter does not keep it.
#[derive(Debug, PartialEq)]
pub(super) struct KeptSocket {
    pub(super) socket: SavedSocket,
    pub(super) namespace: Option<String>,
}

/// A socket as Node's adapter keeps it, with its namespace.
pub(super) fn write_socket(socket: &SavedSocket, namespace: &str) -> String {
    let rooms = socket.rooms.iter().map(|room| room.as_str().into()).collect();
    msgpack::to_text(&wire::map([
        ("sid", socket.id.as_str().into()),
        ("pid", socket.recovery_id.as_str().into()),
        ("rooms", Packed::Array(rooms)),
        ("data", msgpack::to_packed(socket.data.clone(), &[])),
        ("nsp", namespace.into()),
    ]))
}

pub(super) fn read_socket(text: &str) -> Option<KeptSocket> {
    let value = msgpack::from_text(text)?;
    let text = |name| field(&value, name).and_then(Packed::as_str).map(str::to_owned);
    let socket = SavedSocket {
        id: text("sid")?,
        recovery_id: text("pid")?,
        rooms: wire::read_names(field(&value, "rooms")?).iter().map(ToString::to_string).collect(),
        data: field(&value, "data").map(msgpack::value_of).unwrap_or_default(),
    };
    Some(KeptSocket { socket, namespace: text("nsp") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_is_kept_as_by_nodes_adapter_and_with_its_namespace() {
        // Written by @msgpack/msgpack 2.8, which @socket.io/redis-streams-adapter 0.3.1 uses.
        let captured = "hKNzaWSjc2lko3BpZKNwaWSlcm9vbXOSo3NpZKFypGRhdGGBpG5hbWWjYm9i";
        let data = serde_json::json!({"name": "bob"});
        let rooms = vec!["sid".to_owned(), "r".to_owned()];
        let socket = SavedSocket { id: "sid".to_owned(), recovery_id: "pid".to_owned(), rooms, data };
        let kept = read_socket(captured).unwrap();
        assert_eq!((&kept.socket, &kept.namespace), (&socket, &None));
        let kept = read_socket(&write_socket(&socket, "/admin")).unwrap();
        assert_eq!((kept.socket, kept.namespace.as_deref()), (socket, Some("/admin")));
        assert_eq!(read_socket("x"), None);
    }
}
