//! What clients have missed, and the streams that nothing follows and that keep their history for a while.

use std::{
    collections::BTreeMap,
    rc::{Rc, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    super::{
        extended::{self, HistoryRequest, Position},
        packet::Ignored,
        protocol::Place,
        random_name,
    },
    Asked, Log, Member, SharedStreams, Stage, Streams,
    message_log::{Keep, Missing},
};
use crate::reactor::{ConnectionId, HistoryLimits, Hub, Replay};

/// The epoch of histories that others may share: their numbers are never used again.
const SHARED: &str = "shared";

/// Most bytes of the histories of streams that nothing follows.
const MAX_IDLE_BYTES: usize = 64 * 1024 * 1024;

/// Time for which a stream is watched for a broadcast that is to be part of its history.
const RECORD_WAIT: Duration = Duration::from_secs(5);

impl Streams {
    /// The history of a new stream.
    pub(super) fn new_log(&mut self, hub: &mut Hub, stream: &str) -> Option<Log> {
        let keep = self.settings.keep?;
        if keep.is_shared {
            let limits = HistoryLimits::new().max_events(keep.messages).max_age(keep.age);
            hub.keep_history(stream, limits.forget_after(Some(keep.age)));
            return Some(shared_log(hub, stream, u64::MAX));
        }
        self.logs += 1;
        Some(Log::new(format!("{}{:x}", &random_name(hub)[..12], self.logs)))
    }

    /// Reads the history of a topic again, if what is wanted of it is not known: it may have become known meanwhile.
    fn refresh_log(&mut self, hub: &mut Hub, stream: &str, place: Option<&Position>) {
        let Some(log) = self.streams.get_mut(stream).and_then(|known| known.log.as_mut()) else { return };
        let is_known = place.map_or(!log.is_empty(), |place| log.has(place));
        if self.settings.keep.is_some_and(|keep| keep.is_shared) && !is_known {
            // Not what the stream has not got yet: that comes by itself.
            let newest = if log.is_empty() { u64::MAX } else { log.position().offset };
            *log = shared_log(hub, stream, newest);
        }
    }

    /// Has the messages of a stream that are published now be part of its history, also if nothing follows it.
    pub(in super::super) fn record(streams: &SharedStreams, hub: &mut Hub, stream: &str) {
        // One that is watched has it anyway.
        let is_watched = streams.borrow().streams.contains_key(stream);
        if is_watched || streams.borrow().settings.keep.is_none() {
            return;
        }
        let name = streams.borrow_mut().hold(hub, stream);
        streams.borrow_mut().set_read(&name);
        let streams = Rc::downgrade(streams);
        // A backplane may bring it later.
        hub.add_timer(RECORD_WAIT, move |hub| {
            if let Some(streams) = streams.upgrade() {
                streams.borrow_mut().release(hub, &name);
            }
        });
    }

    /// A client wants what it has missed.
    pub(in super::super) fn history(&mut self, hub: &mut Hub, member: &Member, asked: Asked) {
        match member.stage.get() {
            Stage::Confirmed => self.answer_history(hub, member, asked),
            Stage::Paused => {
                // Without a place, what came since the cut.
                let stored = member.history.take();
                self.answer_history(hub, member, asked.or_else(|error| stored.unwrap_or(Err(error))));
                self.go_on(hub, member);
            }
            Stage::New | Stage::Accepted => *member.history.borrow_mut() = Some(asked),
            Stage::Ended => {}
        }
    }

    /// Sends what is missing, and then that this was all; or that not all is known.
    pub(super) fn answer_history(&mut self, hub: &mut Hub, member: &Member, asked: Asked) {
        let is_all = asked.is_ok_and(|request| {
            for stream in member.streams() {
                self.refresh_log(hub, &stream, request.streams.get(&*stream));
            }
            self.send_missing(hub, member, &request)
        });
        let (kind, text) = (extended::history_kind(is_all), extended::history_answer(&member.quoted(), is_all));
        member.protocol.tell(hub, member.id.get(), kind, &text);
    }

    /// Sends what is missing. Returns `false` if some of it is not known. Nothing was sent then, unless the connection
    /// does not take it.
    fn send_missing(&self, hub: &mut Hub, member: &Member, request: &HistoryRequest) -> bool {
        let age = request.since.map(age);
        let streams = member.streams();
        let asked: Option<Vec<_>> = streams
            .iter()
            .filter_map(|name| {
                let from = request.streams.get(&**name).map(Missing::After);
                Some((name, from.or(age.map(Missing::Of))?))
            })
            .map(|(name, from)| {
                let log = self.streams.get(name)?.log.as_ref()?;
                log.missing(&from, hub.now()).is_some().then_some((name, log, from))
            })
            .collect();
        let Some(asked) = asked.filter(|_| self.settings.keep.is_some()) else { return false };
        let (id, identifier, now, protocol) = (member.id.get(), member.quoted(), hub.now(), member.protocol);
        asked.into_iter().all(|(name, log, from)| {
            log.missing(&from, now).into_iter().flatten().all(|(offset, json)| {
                let place = Place { stream: name, epoch: &log.epoch, offset };
                let text = protocol.message(&identifier, json, Some(&place));
                protocol.send(hub, id, &text, Some(&place)).is_queued()
            })
        })
    }

    /// The newest messages of the streams of a subscription.
    pub(super) fn positions(&self, member: &Member) -> HistoryRequest {
        let position = |name: &Rc<str>| Some((name.to_string(), self.streams.get(name)?.log.as_ref()?.position()));
        HistoryRequest { since: None, streams: member.streams().iter().filter_map(position).collect() }
    }

    /// A subscription has a connection again. It gets messages once its client has asked for those that are missing,
    /// so that they come first. Returns `true` if it has to ask.
    pub(in super::super) fn resume(&mut self, hub: &mut Hub, member: &Member, id: ConnectionId) -> bool {
        member.id.set(id);
        member.is_told.set(false);
        Streams::stay(hub, member);
        if member.stage.get() == Stage::Paused && self.settings.keep.is_none() {
            self.go_on(hub, member);
        }
        member.stage.get() == Stage::Paused
    }

    /// Whether a client need not ask for a subscription again: it is confirmed, and who is present has not changed,
    /// which the client is not told otherwise.
    pub(in super::super) fn is_restored(&self, member: &Member) -> bool {
        member.stage.get() == Stage::Paused && member.roster.get() == self.roster_version(member)
    }

    /// Sends what came while a subscription was cut, if its client has not asked for it.
    pub(in super::super) fn resume_unasked(&mut self, hub: &mut Hub, member: &Member) {
        if member.stage.get() != Stage::Paused {
            return;
        }
        if let Some(Ok(request)) = member.history.take()
            && !self.send_missing(hub, member, &request)
        {
            self.answer_history(hub, member, Err(Ignored::NoData));
        }
        self.go_on(hub, member);
    }

    /// Has a paused subscription get messages.
    pub(super) fn go_on(&mut self, hub: &mut Hub, member: &Member) {
        if member.stage.get() != Stage::Paused {
            return;
        }
        member.history.take();
        member.stage.set(Stage::Confirmed);
        self.add_to_groups(member);
        self.begin_presence(hub, member);
    }

    /// Has a stream keep its history when nothing follows it any more.
    pub(super) fn set_read(&mut self, stream: &str) {
        if let Some(known) = self.streams.get_mut(stream) {
            known.has_readers = true;
        }
    }

    /// Keeps a stream that nothing follows, if it has a history that a client may ask for.
    pub(super) fn set_idle(&mut self, hub: &mut Hub, name: &str) -> bool {
        let (Some(keep), Some((key, _))) = (self.settings.keep, self.streams.get_key_value(name)) else { return false };
        let (key, now) = (Rc::clone(key), hub.now());
        let Some(stream) = self.streams.get_mut(name) else { return false };
        // The topic keeps a shared one.
        let Some(log) = stream.log.as_mut().filter(|_| !keep.is_shared) else { return false };
        log.drop_old(keep, now);
        if log.is_empty() || !stream.has_readers {
            return false;
        }
        stream.idle = Some(self.idle.insert(now, key, log.bytes()));
        while self.idle.streams.len() > self.settings.max_idle || self.idle.bytes > MAX_IDLE_BYTES {
            self.drop_first_idle(hub);
        }
        self.schedule_drop(hub, keep);
        true
    }

    fn schedule_drop(&mut self, hub: &mut Hub, keep: Keep) {
        let Some(((since, _), _)) = self.idle.streams.first_key_value() else { return };
        if std::mem::replace(&mut self.idle.is_scheduled, true) {
            return;
        }
        let own = Weak::clone(&self.own);
        hub.add_timer((*since + keep.age).saturating_duration_since(hub.now()), move |hub| {
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().drop_idle(hub, keep);
            }
        });
    }

    /// Drops the streams whose history is too old.
    fn drop_idle(&mut self, hub: &mut Hub, keep: Keep) {
        self.idle.is_scheduled = false;
        let now = hub.now();
        while self.idle.streams.first_key_value().is_some_and(|((since, _), _)| *since + keep.age <= now) {
            self.drop_first_idle(hub);
        }
        self.schedule_drop(hub, keep);
    }

    fn drop_first_idle(&mut self, hub: &mut Hub) {
        let Some((_, (name, bytes))) = self.idle.streams.pop_first() else { return };
        self.idle.bytes -= bytes;
        self.drop_stream(hub, &name);
    }
}

/// A place among the streams that nothing follows.
pub(super) type IdleKey = (Instant, u64);

/// The streams that nothing follows, by the time since when.
#[derive(Default)]
pub(super) struct Idle {
    streams: BTreeMap<IdleKey, (Rc<str>, usize)>,
    /// Bytes of their histories, as they were left.
    bytes: usize,
    last: u64,
    is_scheduled: bool,
}

impl Idle {
    fn insert(&mut self, since: Instant, name: Rc<str>, bytes: usize) -> IdleKey {
        self.last += 1;
        self.streams.insert((since, self.last), (name, bytes));
        self.bytes += bytes;
        (since, self.last)
    }

    /// Removes a stream, if it is there.
    pub(super) fn remove(&mut self, key: IdleKey) {
        if let Some((_, bytes)) = self.streams.remove(&key) {
            self.bytes -= bytes;
        }
    }
}

/// The history of a topic, up to a message.
fn shared_log(hub: &mut Hub, stream: &str, newest: u64) -> Log {
    let Replay { events, gap_to, .. } = hub.events_after([stream], 0).unwrap_or_default();
    let (now, wall) = (hub.now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    // Ids are microseconds since 1970.
    let at = |id: u64| now.checked_sub(wall.saturating_sub(Duration::from_micros(id))).unwrap_or(now);
    let known = events.iter().filter(|event| event.id <= newest).map(|event| (event.id, at(event.id), &*event.data));
    Log::of(SHARED.to_owned(), gap_to.unwrap_or(0), known)
}

/// How long ago a time of a client's clock was, in seconds since 1970.
fn age(since: f64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Duration::try_from_secs_f64((now - since).max(0.0)).unwrap_or(Duration::MAX)
}
