//! The stream of Redis that has the events of all topics with a history. Pure: commands are appended to a buffer,
//! replies are arguments.
//!
//! One stream, and not one for each topic: an event stream over several topics has one last id, so their events need
//! one order.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    rc::Rc,
    str::FromStr,
    time::Duration,
};

use super::resp::{Reply, write_command};
use crate::{
    buffer::Utf8Bytes,
    protocol::{Message, OwnedMessage, event_stream::Event, utf8},
};

/// Most entries of a reply.
const PAGE: &[u8] = b"64";

/// Most bytes of the entries that are remembered here.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// The id of an entry: milliseconds since 1970, and a number within them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId {
    millis: u64,
    number: u64,
}

impl EntryId {
    /// The id of the event: microseconds since 1970, as ids of events are. Beyond a thousand entries in a millisecond,
    /// and after a step back of Redis' clock, it is one more than `last`.
    fn event_id(self, last: u64) -> u64 {
        let micros = self.millis.saturating_mul(1000).saturating_add(self.number.min(999));
        micros.max(last.saturating_add(1))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.millis, self.number)
    }
}

impl FromStr for EntryId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (millis, number) = text.split_once('-').ok_or(())?;
        Ok(EntryId { millis: millis.parse().map_err(drop)?, number: number.parse().map_err(drop)? })
    }
}

/// An entry that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The id of the event.
    pub(super) id: u64,
    pub(super) topic: Rc<str>,
    pub(super) name: Option<Utf8Bytes>,
    pub(super) message: OwnedMessage,
    /// The number of the publication, if it is one of this process.
    pub(super) own: Option<u64>,
}

impl Entry {
    /// The event, unless the message is binary.
    pub(super) fn event(&self) -> Option<Event<'_>> {
        let data = self.message.as_text()?;
        Some(Event { name: self.name.as_deref(), id: None, data })
    }

    fn bytes(&self) -> usize {
        self.topic.len() + self.message.as_message().len() + self.name.as_ref().map_or(0, |name| name.len())
    }
}

/// A command of the connection that reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Query {
    /// The newest entry, before anything is read.
    Newest,
    Entries,
    /// The oldest entry, after some were read.
    Oldest,
    Ping,
}

/// The meaning of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Nothing,
    /// Entries to deliver, oldest first. `loaded`: the past is known now, up to the event with this id, and has to be
    /// restored before.
    Entries {
        loaded: Option<u64>,
        entries: Vec<Entry>,
    },
    /// Events up to this id may have been removed before they were read.
    Missed(u64),
    /// Redis refuses the command.
    Refused,
    /// It is no reply to what was asked.
    Unexpected,
}

/// The stream as this process knows it.
#[derive(Debug)]
pub(super) struct Log {
    key: String,
    max_events: usize,
    /// How long Redis waits for entries before it answers that there are none.
    wait: Duration,
    /// Begins the origin of the entries of this process.
    origin: String,
    /// Topics whose history is kept in this process.
    kept: HashSet<Rc<str>>,
    queries: VecDeque<Query>,
    /// Publications that Redis has appended, in their order, that are not known to be read.
    appended: VecDeque<(u64, EntryId)>,
    /// The last entry that was read.
    last: EntryId,
    /// The value of `last` before the newest reply with entries, and the id of the event before these entries.
    before: Option<(EntryId, u64)>,
    last_id: u64,
    /// Entries up to this one are of the past. `None` before the first connection.
    loads_to: Option<EntryId>,
    is_loaded: bool,
    /// Redis has refused to be read: until the next connection.
    is_refused: bool,
    /// The newest entries, for topics whose history is kept later.
    recent: VecDeque<Entry>,
    recent_bytes: usize,
    /// Entries up to this id are not in `recent`.
    missing_to: u64,
}

impl Log {
    /// `random` tells processes apart.
    pub(super) fn new(key: String, max_events: usize, wait: Duration, random: u64) -> Self {
        Log {
            key,
            max_events: max_events.max(1),
            wait,
            origin: format!("{random:016x}:"),
            kept: HashSet::new(),
            queries: VecDeque::new(),
            appended: VecDeque::new(),
            before: None,
            last: EntryId::default(),
            last_id: 0,
            loads_to: None,
            is_loaded: false,
            is_refused: false,
            recent: VecDeque::new(),
            recent_bytes: 0,
            missing_to: 0,
        }
    }

    /// Notes that the history of a topic is kept. Returns the events of its past, and the id up to which some may be
    /// missing, if they are known and were not restored.
    pub(super) fn keep(&mut self, topic: &str) -> Option<(Vec<Entry>, u64)> {
        let is_new = self.kept.insert(topic.into());
        if is_new { self.past_of(topic, u64::MAX) } else { None }
    }

    pub(super) fn forget(&mut self, topic: &str) {
        self.kept.remove(topic);
    }

    /// Topics whose history is kept here.
    pub(super) fn kept(&self) -> Vec<Rc<str>> {
        self.kept.iter().cloned().collect()
    }

    /// Returns `true` if the history of a topic is kept here.
    pub(super) fn is_kept(&self, topic: &str) -> bool {
        self.kept.contains(topic)
    }

    /// Returns `true` unless Redis has refused to be read: what is appended comes back.
    pub(super) fn is_readable(&self) -> bool {
        !self.is_refused
    }

    /// The events of the past of a topic, up to an id, and the id up to which some may be missing. `None` if nothing is
    /// known yet, or the stream has been empty.
    pub(super) fn past_of(&self, topic: &str, to: u64) -> Option<(Vec<Entry>, u64)> {
        let is_known = self.is_loaded && self.last != EntryId::default();
        let of_topic = self.recent.iter().filter(|entry| entry.id <= to && *entry.topic == *topic);
        is_known.then(|| (of_topic.cloned().collect(), self.missing_to))
    }

    /// The command that appends a publication.
    pub(super) fn append(&self, topic: &str, name: Option<&str>, message: Message<'_>, number: u64) -> Vec<u8> {
        let (max_events, origin) = (self.max_events.to_string(), format!("{}{number}", self.origin));
        let field: &[u8] = if message.is_text() { b"data" } else { b"binary" };
        let mut command: Vec<&[u8]> = vec![b"XADD", self.key.as_bytes(), b"MAXLEN", b"~", max_events.as_bytes(), b"*"];
        command.extend([b"topic", topic.as_bytes(), field, message.as_bytes(), b"origin", origin.as_bytes()]);
        if let Some(name) = name {
            command.extend([&b"event"[..], name.as_bytes()]);
        }
        let mut out = Vec::new();
        write_command(&command, &mut out);
        out
    }

    /// There is a connection: begins to read.
    pub(super) fn connect(&mut self, out: &mut Vec<u8>) {
        self.is_refused = false;
        write_command(&[b"XREVRANGE", self.key.as_bytes(), b"+", b"-", b"COUNT", b"1"], out);
        self.queries.push_back(Query::Newest);
    }

    pub(super) fn disconnect(&mut self) {
        self.queries.clear();
        self.appended.clear();
    }

    /// Asks for the next entries, and then whether some had been removed before.
    fn read(&mut self, out: &mut Vec<u8>) {
        let (wait, last) = (self.wait.as_millis().max(1).to_string(), self.last.to_string());
        let (key, wait) = (self.key.as_bytes(), wait.as_bytes());
        write_command(&[b"XREAD", b"COUNT", PAGE, b"BLOCK", wait, b"STREAMS", key, last.as_bytes()], out);
        write_command(&[b"XRANGE", key, b"-", b"+", b"COUNT", b"1"], out);
        self.queries.extend([Query::Entries, Query::Oldest]);
    }

    /// Redis has appended a publication of this process.
    pub(super) fn on_appended(&mut self, number: u64, reply: &Reply<'_>) {
        if let Some(id) = reply.as_bytes().and_then(parse_id) {
            self.appended.push_back((number, id));
        }
    }

    /// Publications of this process that do not come back any more: later entries were read.
    pub(super) fn overtaken(&mut self) -> Vec<u64> {
        let count = self.appended.iter().take_while(|(_, id)| *id <= self.last).count();
        self.appended.drain(..count).map(|(number, _)| number).collect()
    }

    /// Has the connection answer, if it does not wait for entries: that takes no longer than the interval of PINGs.
    pub(super) fn ping(&mut self, out: &mut Vec<u8>) {
        if self.is_refused {
            write_command(&[b"PING"], out);
            self.queries.push_back(Query::Ping);
        }
    }

    /// Handles a reply of the connection that reads.
    pub(super) fn on_reply(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>) -> Read {
        let Some(query) = self.queries.pop_front() else { return Read::Unexpected };
        if self.is_refused {
            return Read::Nothing;
        }
        if matches!(reply, Reply::Error(_)) {
            self.is_refused = true;
            return Read::Refused;
        }
        match query {
            Query::Ping => Read::Nothing,
            Query::Newest => {
                let read = self.on_newest(reply.items().first().and_then(entry_id).unwrap_or_default());
                self.read(out);
                read
            }
            Query::Entries => self.on_entries(entries_of(reply)),
            Query::Oldest => {
                let read = self.on_oldest(reply.items().first().and_then(entry_id));
                self.read(out);
                read
            }
        }
    }

    fn on_newest(&mut self, newest: EntryId) -> Read {
        self.loads_to.get_or_insert(newest);
        if newest >= self.last {
            return Read::Nothing;
        }
        // Another Redis, which has not all entries, or has none.
        self.last = newest;
        self.miss(self.last_id)
    }

    /// Entries between those that were read before and after may have been removed, if even the former are.
    fn on_oldest(&mut self, oldest: Option<EntryId>) -> Read {
        match self.before.take() {
            Some((last, missing_to)) if last != EntryId::default() && oldest.is_some_and(|oldest| oldest > last) => {
                self.miss(missing_to)
            }
            _ => Read::Nothing,
        }
    }

    fn miss(&mut self, to: u64) -> Read {
        self.missing_to = self.missing_to.max(to);
        Read::Missed(to)
    }

    fn on_entries(&mut self, replies: &[Reply<'_>]) -> Read {
        let (mut entries, mut past_id, before) = (Vec::new(), self.last_id, self.last);
        for reply in replies {
            let Some(id) = entry_id(reply) else { continue };
            let is_past = !self.is_loaded && self.loads_to.is_some_and(|to| id <= to);
            let event_id = id.event_id(self.last_id);
            if self.last == EntryId::default() {
                self.missing_to = event_id - 1;
            }
            self.before.get_or_insert((before, event_id - 1));
            (self.last, self.last_id) = (id, event_id);
            if is_past {
                past_id = event_id;
            }
            if let Some(entry) = self.entry_of(reply) {
                self.remember(entry.clone());
                // An own one may have been appended before the newest entry was asked for.
                entries.extend((!is_past || entry.own.is_some()).then_some(entry));
            }
        }
        let is_loaded = self.is_loaded || self.loads_to.is_some_and(|to| self.last >= to);
        let loaded = (is_loaded && !self.is_loaded).then_some(past_id);
        self.is_loaded = is_loaded;
        if loaded.is_none() && entries.is_empty() { Read::Nothing } else { Read::Entries { loaded, entries } }
    }

    /// Reads an entry. `None` if it is none of ours.
    fn entry_of(&self, reply: &Reply<'_>) -> Option<Entry> {
        let fields = reply.items().get(1)?.items();
        let field = |name: &[u8]| {
            let mut pairs = fields.chunks_exact(2);
            pairs.find(|pair| pair[0].as_bytes() == Some(name)).and_then(|pair| pair[1].as_bytes())
        };
        let text = |name| field(name).and_then(|value| utf8::check(value).ok());
        let message = match (text(b"data"), field(b"binary")) {
            (Some(text), _) => OwnedMessage::Text(text.into()),
            (None, Some(bytes)) => OwnedMessage::Binary(bytes.to_vec().into()),
            (None, None) => return None,
        };
        Some(Entry {
            id: self.last_id,
            topic: text(b"topic")?.into(),
            name: text(b"event").map(Utf8Bytes::from),
            message,
            own: text(b"origin").and_then(|origin| origin.strip_prefix(&*self.origin)?.parse().ok()),
        })
    }

    fn remember(&mut self, entry: Entry) {
        self.recent_bytes += entry.bytes();
        self.recent.push_back(entry);
        while self.recent.len() > self.max_events || self.recent_bytes > MOST_BYTES {
            let Some(oldest) = self.recent.pop_front() else { return };
            self.recent_bytes -= oldest.bytes();
            self.missing_to = self.missing_to.max(oldest.id);
        }
    }
}

/// The entries of a reply to XREAD: in version 2 a list of streams, in version 3 a map.
fn entries_of<'r>(reply: &'r Reply<'r>) -> &'r [Reply<'r>] {
    match reply.items() {
        [stream] => stream.items().get(1).map_or(&[], |entries| entries.items()),
        [_, entries] => entries.items(),
        _ => &[],
    }
}

fn entry_id(reply: &Reply<'_>) -> Option<EntryId> {
    parse_id(reply.items().first()?.as_bytes()?)
}

fn parse_id(text: &[u8]) -> Option<EntryId> {
    str::from_utf8(text).ok()?.parse().ok()
}
