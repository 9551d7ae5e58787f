//! Recording of what arrives at a reactor.
//!
//! The loop notes each input where it takes it: turns, accepted connections, bytes read, room for output, results of
//! attempts and look-ups, commands, and randomness. At the end of a turn they go to the thread that writes the file.

pub(super) mod playback;
pub(super) mod recorder;

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    io, mem,
    rc::Rc,
    time::Instant,
};

use super::id::ConnectionId;
use crate::{
    net::recording::{Record, Redactor, StreamNumber, Writer},
    peer_addr::PeerAddr,
};

/// State of a recording, or of the playback of one.
pub(super) struct Recording {
    /// `None` in a playback, which only needs the numbers of the streams.
    file: Option<Output>,
    /// The records of this turn, encoded.
    turn: Rc<RefCell<Vec<u8>>>,
    /// Numbers of the listeners, by key.
    listeners: HashMap<usize, u32>,
    listened: u32,
    accepted: u32,
    /// The stream that was accepted last, until it has a connection.
    last_accepted: Option<StreamNumber>,
    /// The streams of the connections, by key.
    streams: HashMap<usize, StreamNumber>,
    redactors: HashMap<usize, Redactor>,
    /// Bytes written in this turn by key, and whether the system took less than it was given at last.
    written: BTreeMap<usize, (u64, bool)>,
    /// Keys of connections whose output the system did not take at last.
    blocked: HashSet<usize>,
    /// Something happened in this turn that a replay has to repeat in a turn of its own.
    is_active: bool,
    /// Numbers of the look-ups in progress.
    lookups: HashMap<u128, u32>,
    looked_up: u32,
}

/// The file, and its limits.
struct Output {
    writer: Writer,
    began: Instant,
    secrets: Rc<crate::net::recording::Secrets>,
    left: u64,
}

impl Recording {
    fn new(file: Option<Output>) -> Self {
        Recording {
            file,
            turn: Rc::default(),
            listeners: HashMap::new(),
            listened: 0,
            accepted: 0,
            last_accepted: None,
            streams: HashMap::new(),
            redactors: HashMap::new(),
            written: BTreeMap::new(),
            blocked: HashSet::new(),
            is_active: false,
            lookups: HashMap::new(),
            looked_up: 0,
        }
    }

    /// State of a playback.
    pub(super) fn of_playback() -> Self {
        Recording::new(None)
    }

    /// Returns `true` in a playback: streams carry plaintext.
    pub(super) fn is_playback(&self) -> bool {
        self.file.is_none()
    }

    pub(super) fn note(&mut self, record: &Record) {
        if self.file.is_some() {
            record.encode(&mut self.turn.borrow_mut());
        }
    }

    fn note_of(&mut self, key: usize, record: impl FnOnce(StreamNumber) -> Record) {
        if let Some(stream) = self.streams.get(&key) {
            let record = record(*stream);
            self.note(&record);
        }
    }

    pub(super) fn on_listening(&mut self, key: usize) {
        self.listeners.insert(key, self.listened);
        self.listened += 1;
    }

    pub(super) fn on_accepted(&mut self, listener: usize, peer: PeerAddr) {
        let listener = self.listeners.get(&listener).copied().unwrap_or(u32::MAX);
        self.note(&Record::Accepted { listener, peer });
        self.last_accepted = Some(StreamNumber::Accepted(self.accepted));
        self.accepted += 1;
    }

    /// A connection was made of the stream that was accepted last.
    pub(super) fn on_begun(&mut self, key: usize) {
        match self.last_accepted.take() {
            Some(stream) => drop(self.streams.insert(key, stream)),
            None => self.note(&Record::Other { name: "adopted socket".to_owned() }),
        }
    }

    pub(super) fn on_attempt(&mut self, number: u32, at_once: bool, error: Option<io::ErrorKind>) {
        self.note(&Record::Attempt { number, at_once, error });
    }

    /// An attempt has become the stream of a connection.
    pub(super) fn on_connected(&mut self, key: usize, attempt: u32) {
        self.redactors.remove(&key);
        self.blocked.remove(&key);
        self.streams.insert(key, StreamNumber::Attempt(attempt));
    }

    pub(super) fn on_removed(&mut self, key: usize, id: u128) {
        self.streams.remove(&key);
        self.redactors.remove(&key);
        self.written.remove(&key);
        self.blocked.remove(&key);
        self.lookups.remove(&id);
    }

    /// The listener's rules have turned the connection away that was accepted last, if it was not begun.
    pub(super) fn on_admission(&mut self) {
        self.last_accepted = None;
    }

    /// Something happens in this turn without input: timers, ticks, events, the rest of earlier work.
    pub(super) fn on_activity(&mut self) {
        self.is_active = true;
    }

    /// Leaves the thread to itself.
    pub(super) fn detach(&mut self) {
        if let Some(output) = &mut self.file {
            output.writer.detach();
        }
    }

    pub(super) fn on_look_up(&mut self, lookup: u128) {
        self.lookups.insert(lookup, self.looked_up);
        self.looked_up += 1;
    }

    pub(super) fn on_resolved(&mut self, lookup: u128, answer: &io::Result<Vec<std::net::SocketAddr>>) {
        if let Some(number) = self.lookups.remove(&lookup) {
            let addresses = match answer {
                Ok(addresses) => Ok(addresses.clone()),
                Err(error) => Err(error.kind()),
            };
            self.note(&Record::Resolved { number, addresses });
        }
    }

    /// `is_plain`: the bytes are not those of a WebSocket, and may have credentials.
    pub(super) fn on_input(&mut self, key: usize, bytes: &[u8], is_plain: bool) {
        let Some(output) = &self.file else { return };
        let mut bytes = bytes.to_vec();
        if is_plain {
            let secrets = &output.secrets;
            self.redactors.entry(key).or_insert_with(|| Redactor::new(Rc::clone(secrets))).redact(&mut bytes);
        }
        self.note_of(key, |stream| Record::Input { stream, bytes });
    }

    pub(super) fn on_end(&mut self, key: usize) {
        self.note_of(key, |stream| Record::End { stream });
    }

    pub(super) fn on_failed(&mut self, key: usize, error: io::ErrorKind) {
        self.note_of(key, |stream| Record::Failed { stream, error });
    }

    pub(super) fn on_written(&mut self, key: usize, bytes: usize, is_blocked: bool) {
        if self.file.is_some() {
            let (written, blocked) = self.written.entry(key).or_default();
            (*written, *blocked) = (*written + bytes as u64, is_blocked);
        }
    }

    /// Returns `true` if records are written.
    pub(super) fn is_on(&self) -> bool {
        self.file.is_some()
    }

    /// A command for a connection, which has no number before it is connected.
    pub(super) fn of_connection(
        &self,
        id: ConnectionId,
        name: &str,
        record: impl FnOnce(StreamNumber) -> Record,
    ) -> Record {
        match self.streams.get(&id.key()) {
            Some(stream) => record(*stream),
            None => Record::Other { name: format!("{name} to a connection that is not connected") },
        }
    }

    /// The key of a connection.
    pub(super) fn key_of(&self, stream: StreamNumber) -> Option<usize> {
        self.streams.iter().find(|(_, number)| **number == stream).map(|(key, _)| *key)
    }

    /// Passes the records of a turn on. Returns `false` if the recording has ended.
    pub(super) fn end_turn(&mut self, now: Instant) -> bool {
        let Some(output) = &mut self.file else { return true };
        let is_quiet = self.written.is_empty() && self.turn.borrow().is_empty();
        if is_quiet && !mem::take(&mut self.is_active) {
            return true;
        }
        self.is_active = false;
        let mut bytes = Vec::with_capacity(64 + self.turn.borrow().len());
        let at = now.saturating_duration_since(output.began);
        Record::Turn { at }.encode(&mut bytes);
        bytes.append(&mut self.turn.borrow_mut());
        for (key, (written, is_blocked)) in mem::take(&mut self.written) {
            let Some(stream) = self.streams.get(&key).copied() else { continue };
            if self.blocked.remove(&key) {
                Record::Writable { stream }.encode(&mut bytes);
            }
            if is_blocked {
                Record::Room { stream, bytes: written }.encode(&mut bytes);
                self.blocked.insert(key);
            }
        }
        match output.write(bytes) {
            Ok(()) => true,
            Err(reason) => {
                log::warn!(target: "ws_reactor::reactor", "the recording ends: {reason}");
                false
            }
        }
    }

    /// A function that notes drawn randomness.
    fn random_log(&self) -> impl Fn(&[u8]) + use<> {
        let turn = Rc::clone(&self.turn);
        move |bytes| Record::Random { bytes: bytes.to_vec() }.encode(&mut turn.borrow_mut())
    }
}

impl Output {
    fn write(&mut self, mut bytes: Vec<u8>) -> Result<(), &'static str> {
        let reason = match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => {
                self.left = left;
                match self.writer.write(mem::take(&mut bytes)) {
                    Ok(()) => return Ok(()),
                    Err(refused) => refused.reason(),
                }
            }
            None => "the file has the largest length",
        };
        bytes.clear();
        Record::Stopped { reason: reason.to_owned() }.encode(&mut bytes);
        // It is the last record, so it need not wait for room.
        let _ = self.writer.write_last(bytes);
        Err(reason)
    }
}
