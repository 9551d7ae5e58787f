//! A stream of Redis, and keys with values, for layers.

use std::time::Duration;

use super::{
    super::{
        log::EntryId,
        resp::{Reply, write_command},
    },
    PubSub,
};
use crate::reactor::Hub;

/// Most entries of a reply.
const PAGE: usize = 100;

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamEntry {
    pub(crate) id: EntryId,
    fields: Vec<(String, String)>,
}

impl StreamEntry {
    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Bytes of its fields.
    pub(crate) fn bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Reads an entry of a reply. Text that is no UTF-8 is replaced.
    fn read(reply: &Reply<'_>) -> Option<Self> {
        let [id, fields] = reply.items() else { return None };
        let text = |reply: &Reply<'_>| Some(String::from_utf8_lossy(reply.as_bytes()?).into_owned());
        let fields = fields.items().chunks_exact(2).filter_map(|field| Some((text(&field[0])?, text(&field[1])?)));
        Some(StreamEntry { id: text(id)?.parse().ok()?, fields: fields.collect() })
    }
}

/// The stream that is read.
pub(super) struct Position {
    key: String,
    /// The last entry that was read. `None`: none yet.
    pub(super) last: Option<EntryId>,
}

impl Position {
    /// Begins to read, for the first time or again. Returns the entry behind which all will be read.
    pub(super) fn begin(&mut self, newest: EntryId, oldest: EntryId) -> EntryId {
        // A stream that ends before was lost, and begun anew.
        let from = self.last.filter(|last| *last <= newest).unwrap_or(newest);
        self.last = Some(from);
        // If something behind `from` was removed, so was `from` itself.
        from.max(oldest)
    }

    /// The command that reads on. Redis waits for so long before it answers that there are no entries.
    pub(super) fn command(&self, wait: Duration) -> Vec<u8> {
        let last = self.last.unwrap_or_default();
        let [count, wait, last] =
            [PAGE.to_string(), wait.as_millis().max(1).to_string(), last.to_string()].map(String::into_bytes);
        let mut out = Vec::new();
        let key = self.key.as_bytes();
        write_command(&[b"XREAD", b"COUNT", &count, b"BLOCK", &wait, b"STREAMS", key, &last], &mut out);
        out
    }
}

/// The commands that ask for the newest entry of a stream, and for the oldest.
pub(super) fn stream_ends(position: &Position) -> Vec<u8> {
    let (key, mut out) = (position.key.as_bytes(), Vec::new());
    write_command(&[b"XREVRANGE", key, b"+", b"-", b"COUNT", b"1"], &mut out);
    write_command(&[b"XRANGE", key, b"-", b"+", b"COUNT", b"1"], &mut out);
    out
}

/// The entry in the answer to one of them.
pub(super) fn end_of(reply: &Reply<'_>) -> EntryId {
    reply.items().first().and_then(StreamEntry::read).map(|entry| entry.id).unwrap_or_default()
}

/// The entries of a reply to XREAD of one stream: in version 2 a list of streams, in version 3 a map.
pub(super) fn read_entries(reply: &Reply<'_>) -> Vec<StreamEntry> {
    let entries = match reply.items() {
        [Reply::List(stream)] => stream.last(),
        [_, entries] => Some(entries),
        _ => None,
    };
    entries.into_iter().flat_map(Reply::items).filter_map(StreamEntry::read).collect()
}

impl PubSub {
    /// Reads a stream, from its newest entry on. To be called before the start.
    pub(crate) fn read_stream(&self, key: &str) {
        self.0.borrow_mut().stream = Some(Position { key: key.to_owned(), last: None });
    }

    /// Appends an entry to a stream of about so many entries. `call` gets its id, if Redis has
    /// confirmed it.
    pub(crate) fn append(
        &self,
        hub: &mut Hub,
        key: &str,
        max_entries: usize,
        fields: &[(&str, &str)],
        call: impl FnOnce(&mut Hub, Option<EntryId>) + 'static,
    ) {
        let max_entries = max_entries.to_string();
        let mut command: Vec<&[u8]> = vec![b"XADD", key.as_bytes(), b"MAXLEN", b"~", max_entries.as_bytes(), b"*"];
        command.extend(fields.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
        self.ask(hub, &command, |hub, reply| {
            let id = reply.and_then(Reply::as_bytes).and_then(|id| str::from_utf8(id).ok()?.parse().ok());
            call(hub, id);
        });
    }

    /// Reads the entries of a stream from one to another, both included, or the first ones of them. `call` gets them,
    /// and whether they are all; `None` if Redis has not answered.
    pub(crate) fn entries(
        &self,
        hub: &mut Hub,
        key: &str,
        [from, to]: [EntryId; 2],
        call: impl FnOnce(&mut Hub, Option<(Vec<StreamEntry>, bool)>) + 'static,
    ) {
        let [from, to, count] = [from.to_string(), to.to_string(), PAGE.to_string()].map(String::into_bytes);
        self.ask(hub, &[b"XRANGE", key.as_bytes(), &from, &to, b"COUNT", &count], |hub, reply| {
            let entries = reply.filter(|reply| matches!(reply, Reply::List(_))).map(|reply| {
                let entries: Vec<StreamEntry> = reply.items().iter().filter_map(StreamEntry::read).collect();
                (entries, reply.items().len() < PAGE)
            });
            call(hub, entries);
        });
    }

    /// Sets the value of a key, for a time.
    pub(crate) fn store(&self, hub: &mut Hub, key: &str, value: &str, time: Duration) {
        let time = time.as_millis().max(1).to_string();
        self.send(hub, &[b"SET", key.as_bytes(), value.as_bytes(), b"PX", time.as_bytes()], None);
    }

    /// Removes a key. `call` gets its value, if it has one.
    pub(crate) fn take(&self, hub: &mut Hub, key: &str, call: impl FnOnce(&mut Hub, Option<String>) + 'static) {
        self.ask(hub, &[b"GETDEL", key.as_bytes()], |hub, reply| {
            let value = reply.and_then(Reply::as_bytes).map(|value| String::from_utf8_lossy(value).into_owned());
            call(hub, value);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::resp::Version, *};

    #[test]
    fn entries_are_read_from_replies_of_both_versions() {
        let fields = "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$0\r\n\r\n";
        let entries = format!("$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-2\r\n{fields}");
        for (begin, version) in [("*1\r\n*2\r\n", Version::Resp2), ("%1\r\n", Version::Resp3)] {
            let text = format!("{begin}{entries}");
            let reply = Reply::decode(text.as_bytes(), version).unwrap();
            let entries = read_entries(&reply);
            assert_eq!(entries.len(), 1);
            assert_eq!(entries[0].id.to_string(), "1-2");
            for (name, value) in [("a", Some("b")), ("c", Some("")), ("d", None)] {
                assert_eq!(entries[0].field(name), value);
            }
        }
        assert!(read_entries(&Reply::Null).is_empty());
        assert_eq!(end_of(&Reply::List(Vec::new())).to_string(), "0-0");
    }
    #[test]
    fn reading_goes_on_where_it_ended_or_where_a_new_stream_ends() {
        let id = |text: &str| text.parse::<EntryId>().unwrap();
        let begin = |last: Option<&str>, newest, oldest| {
            let mut position = Position { key: String::new(), last: last.map(id) };
            let known = position.begin(id(newest), id(oldest));
            (position.last.unwrap().to_string(), known.to_string())
        };
        let both = |last: &str, known: &str| (last.to_owned(), known.to_owned());
        assert_eq!(begin(None, "7-0", "3-0"), both("7-0", "7-0"), "the past is not read");
        assert_eq!(begin(Some("5-0"), "7-0", "3-0"), both("5-0", "5-0"));
        assert_eq!(begin(Some("5-0"), "7-0", "6-0"), both("5-0", "6-0"), "some may have been removed");
        assert_eq!(begin(Some("5-0"), "2-0", "1-0"), both("2-0", "2-0"), "it was begun anew");
        assert_eq!(begin(Some("5-0"), "0-0", "0-0"), both("0-0", "0-0"));
    }
}
