//! The newest events of the stream, as this server has read them. Pure.

use std::{collections::VecDeque, rc::Rc};

use super::super::{payload::Payload, target::Target};
use crate::{buffer::Bytes, cluster::EntryId};

/// Most bytes of the events.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that an event holds besides its payload.
const EVENT_BYTES: usize = 128;

/// The newest events of all namespaces.
pub(super) struct Recent {
    /// All events behind this entry are here.
    start: EntryId,
    /// The last entry that was read.
    last: EntryId,
    events: VecDeque<Recorded>,
    bytes: usize,
}

struct Recorded {
    id: EntryId,
    namespace: Rc<str>,
    payload: Payload,
    target: Target,
}

impl Recorded {
    fn bytes(&self) -> usize {
        let attachments: usize = self.payload.attachments().iter().map(Bytes::len).sum();
        let rooms = self.target.rooms.iter().chain(&self.target.except).map(|room| room.len() + 16);
        EVENT_BYTES + self.payload.json().len() + attachments + rooms.sum::<usize>()
    }
}

impl Recent {
    /// Begins behind an entry.
    pub(super) fn new(start: EntryId) -> Self {
        Recent { start, last: start, events: VecDeque::new(), bytes: 0 }
    }

    /// An entry was read.
    pub(super) fn advance(&mut self, id: EntryId) {
        self.last = id;
    }

    /// Keeps the event of the last entry.
    pub(super) fn push(&mut self, namespace: &str, payload: Payload, target: Target) {
        let event = Recorded { id: self.last, namespace: namespace.into(), payload, target };
        self.bytes += event.bytes();
        self.events.push_back(event);
        while self.bytes > MOST_BYTES
            && let Some(event) = self.events.pop_front()
        {
            self.bytes -= event.bytes();
            self.start = event.id;
        }
    }

    pub(super) fn start(&self) -> EntryId {
        self.start
    }

    pub(super) fn last(&self) -> EntryId {
        self.last
    }

    /// Returns `true` if an entry is that of an event that is here, or the one before them all.
    pub(super) fn knows(&self, id: EntryId) -> bool {
        id == self.start || self.events.binary_search_by_key(&id, |event| event.id).is_ok()
    }

    /// The events of a namespace behind an entry that concern a socket in these rooms, with their offsets. `None` if
    /// some may be missing.
    pub(super) fn behind(&self, id: EntryId, namespace: &str, rooms: &[Rc<str>]) -> Option<Vec<Payload>> {
        let is_wanted =
            |event: &&Recorded| event.id > id && *event.namespace == *namespace && event.target.selects(rooms);
        let wanted = self.events.iter().filter(is_wanted);
        (id >= self.start).then(|| wanted.map(|event| with_offset(event.payload.clone(), event.id)).collect())
    }
}

/// The payload of an event with its offset as its last argument.
pub(super) fn with_offset(mut payload: Payload, id: EntryId) -> Payload {
    payload.push_text(&id.to_string());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> EntryId {
        text.parse().unwrap()
    }

    fn push(recent: &mut Recent, at: &str, namespace: &str, room: Option<&str>, text: &str) {
        recent.advance(id(at));
        let target = Target { rooms: room.into_iter().map(Rc::from).collect(), except: Vec::new() };
        recent.push(namespace, Payload::from_parts(&format!("[\"e\",\"{text}\"]"), Vec::new()).unwrap(), target);
    }

    #[test]
    fn events_behind_an_entry_are_those_of_the_namespace_and_the_rooms() {
        let mut recent = Recent::new(id("1-0"));
        push(&mut recent, "1-1", "/", None, "seen");
        push(&mut recent, "2-0", "/", None, "all");
        push(&mut recent, "2-1", "/", Some("a"), "a");
        push(&mut recent, "2-2", "/", Some("b"), "b");
        push(&mut recent, "3-0", "/other", None, "other");
        recent.advance(id("4-0"));
        let found = recent.behind(id("1-1"), "/", &["a".into()]).unwrap();
        let texts: Vec<&str> = found.iter().map(Payload::json).collect();
        assert_eq!(texts, ["[\"e\",\"all\",\"2-0\"]", "[\"e\",\"a\",\"2-1\"]"]);
        assert_eq!(recent.behind(id("4-0"), "/", &[]), Some(Vec::new()));
        assert_eq!(recent.behind(id("0-9"), "/", &[]), None, "the past is elsewhere");
        assert_eq!(recent.last(), id("4-0"));
        assert!(recent.knows(id("1-0")) && recent.knows(id("3-0")));
        assert!(!recent.knows(id("2-9")) && !recent.knows(id("4-0")) && !recent.knows(id("9-0")));
    }

    #[test]
    fn events_are_bounded() {
        let mut recent = Recent::new(id("0-0"));
        let text = "x".repeat(1024 * 1024);
        (1..=8).for_each(|number| push(&mut recent, &format!("{number}-0"), "/", None, &text));
        assert_eq!(recent.start(), id("5-0"));
        assert!(recent.bytes <= MOST_BYTES);
        assert!(recent.behind(id("4-0"), "/", &[]).is_none());
        assert_eq!(recent.behind(id("5-0"), "/", &[]).unwrap().len(), 3);
    }
}
