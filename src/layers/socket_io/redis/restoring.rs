//! Sockets that come back to a server which is joined by a stream: as they are kept, and what they have missed.

use std::{cell::RefCell, rc::Rc, time::Duration};

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
}

impl EventLog {
    pub(super) fn new(pub_sub: &PubSub, key: &str) -> Rc<Self> {
        Rc::new(EventLog { pub_sub: pub_sub.clone(), key: key.to_owned(), recent: RefCell::default() })
    }

    /// Returns `true` if what is appended comes back.
    pub(super) fn is_reading(&self) -> bool {
        self.recent.borrow().is_some() && self.pub_sub.is_connected()
    }

    /// The stream is read from behind an entry on. Those behind the entries before may have been removed meanwhile, so
    /// they are asked for where they are needed.
    pub(super) fn begin(&self, id: EntryId) {
        *self.recent.borrow_mut() = Some(Recent::new(id));
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

    /// Reads a range of the stream. See [`PubSub::entries`].
    fn entries(
        &self,
        hub: &mut Hub,
        range: [EntryId; 2],
        call: impl FnOnce(&mut Hub, Option<(Vec<StreamEntry>, bool)>) + 'static,
    ) {
        self.pub_sub.entries(hub, &self.key, range, call);
    }
}

/// A socket whose missed events are looked for: in the stream up to those that this server has in memory, then there.
pub(super) struct Restoring {
    log: Rc<EventLog>,
    namespace: String,
    socket: SavedSocket,
    missed: Vec<Payload>,
    /// How often this server had not read as far as the client.
    tries: u32,
    call: OnRestored,
}

/// The wait for entries that the client has got from another server, and this one has not read.
const READ_AFTER: Duration = Duration::from_millis(5);

/// How often they are waited for.
const MOST_TRIES: u32 = 200;

impl Restoring {
    pub(super) fn new(log: Rc<EventLog>, namespace: String, socket: SavedSocket, call: OnRestored) -> Self {
        Restoring { log, namespace, socket, missed: Vec::new(), tries: 0, call }
    }

    pub(super) fn begin(self, hub: &mut Hub, offset: EntryId) {
        let is_recent = self.log.recent.borrow().as_ref().is_some_and(|recent| offset >= recent.start());
        if is_recent {
            return self.finish(hub, offset);
        }
        // If its entry is there, so are all behind it.
        self.entries(hub, [offset, offset], move |restoring, hub, entries, _| match entries.is_empty() {
            true => (restoring.call)(hub, None),
            false => restoring.read(hub, offset),
        });
    }

    /// Reads a range of the stream.
    fn entries(
        self,
        hub: &mut Hub,
        range: [EntryId; 2],
        call: impl FnOnce(Self, &mut Hub, Vec<StreamEntry>, bool) + 'static,
    ) {
        let log = Rc::clone(&self.log);
        log.entries(hub, range, move |hub, entries| match entries {
            Some((entries, are_all)) => call(self, hub, entries, are_all),
            None => (self.call)(hub, None),
        });
    }

    /// Reads the stream behind an entry.
    fn read(self, hub: &mut Hub, after: EntryId) {
        let end = self.log.recent.borrow().as_ref().map(Recent::start);
        let Some(end) = end else { return (self.call)(hub, None) };
        if after >= end {
            return self.finish(hub, after);
        }
        self.entries(hub, [after.next(), end], move |mut restoring, hub, entries, are_all| {
            let last = entries.last().map(|entry| entry.id);
            restoring.take(&entries);
            restoring.read(hub, if are_all { end } else { last.unwrap_or(end) });
        });
    }

    /// Takes the events that concern the socket.
    fn take(&mut self, entries: &[StreamEntry]) {
        let rooms = self.rooms();
        for entry in entries {
            let message = Message::of_entry(entry).filter(|message| message.namespace == self.namespace);
            if let Some((payload, target)) = message.and_then(|message| message.event())
                && target.selects(&rooms)
            {
                self.missed.push(with_offset(payload, entry.id));
            }
        }
    }

    fn rooms(&self) -> Vec<Rc<str>> {
        self.socket.rooms.iter().map(|room| room.as_str().into()).collect()
    }

    /// Takes the events in memory behind an entry, and gives the socket.
    fn finish(mut self, hub: &mut Hub, after: EntryId) {
        let is_ahead = self.log.recent.borrow().as_ref().is_some_and(|recent| after > recent.last());
        if is_ahead && self.tries < MOST_TRIES {
            self.tries += 1;
            hub.add_timer(READ_AFTER, move |hub| self.finish(hub, after));
            return;
        }
        let recent = {
            let recent = self.log.recent.borrow();
            recent.as_ref().and_then(|recent| recent.behind(after, &self.namespace, &self.rooms()))
        };
        match recent {
            Some(recent) => {
                self.missed.extend(recent);
                let restored = RestoredSocket { socket: self.socket, missed: self.missed };
                (self.call)(hub, Some(restored));
            }
            // The memory begins later by now.
            None => self.read(hub, after),
        }
    }
}

/// A socket as Node's adapter keeps it.
pub(super) fn write_socket(socket: &SavedSocket) -> String {
    let rooms = socket.rooms.iter().map(|room| room.as_str().into()).collect();
    msgpack::to_text(&wire::map([
        ("sid", socket.id.as_str().into()),
        ("pid", socket.recovery_id.as_str().into()),
        ("rooms", Packed::Array(rooms)),
        ("data", msgpack::to_packed(socket.data.clone(), &[])),
    ]))
}

pub(super) fn read_socket(text: &str) -> Option<SavedSocket> {
    let value = msgpack::from_text(text)?;
    let text = |name| field(&value, name).and_then(Packed::as_str).map(str::to_owned);
    Some(SavedSocket {
        id: text("sid")?,
        recovery_id: text("pid")?,
        rooms: wire::read_names(field(&value, "rooms")?).iter().map(ToString::to_string).collect(),
        data: field(&value, "data").map(msgpack::value_of).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_is_kept_as_by_nodes_adapter() {
        // Captured from @socket.io/redis-streams-adapter 0.3.1.
        let captured = "hKNzaWSjc2lko3BpZKNwaWSlcm9vbXOSo3NpZKFypGRhdGGBpG5hbWWjYm9i";
        let data = serde_json::json!({"name": "bob"});
        let rooms = vec!["sid".to_owned(), "r".to_owned()];
        let socket = SavedSocket { id: "sid".to_owned(), recovery_id: "pid".to_owned(), rooms, data };
        assert_eq!(read_socket(captured), Some(socket.clone()));
        assert_eq!(write_socket(&socket), captured);
        assert_eq!(read_socket("x"), None);
    }
}
