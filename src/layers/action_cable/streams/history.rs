//! Answers to history requests, and the histories of streams that have lost their last follower.

use std::{
    collections::{BTreeMap, HashMap},
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
    topic_log::{self, TopicLog},
};
use crate::reactor::{ConnectionId, Hub, TopicWatch};

/// Most bytes of the histories of streams that nothing follows.
const MAX_IDLE_BYTES: usize = 64 * 1024 * 1024;

/// Least time between two looks for histories that are too old.
const DROP_EVERY: Duration = Duration::from_secs(1);

/// Time for which a stream is watched for a broadcast that is to be part of its history.
const RECORD_WAIT: Duration = Duration::from_secs(5);

/// The history of a stream.
pub(super) enum History {
    Own(Log),
    OfTopic(TopicLog),
}

impl History {
    pub(super) fn epoch(&self) -> &str {
        match self {
            History::Own(log) => &log.epoch,
            History::OfTopic(_) => topic_log::EPOCH,
        }
    }

    /// Adds a message, which the topic may have numbered. Returns its number.
    pub(super) fn push(&mut self, keep: Keep, now: Instant, id: Option<u64>, json: &str) -> Option<u64> {
        match self {
            History::Own(log) => Some(log.push(keep, now, json)),
            History::OfTopic(log) => log.on_message(id, now),
        }
    }

    fn position(&self) -> Position {
        match self {
            History::Own(log) => log.position(),
            History::OfTopic(log) => log.position(),
        }
    }

    fn missing(
        &mut self,
        hub: &mut Hub,
        keep: Keep,
        stream: &str,
        watch: TopicWatch,
        from: &Missing<'_>,
    ) -> Option<Vec<(u64, Rc<str>)>> {
        match self {
            History::Own(log) => {
                log.drop_old(keep, hub.now());
                log.missing(from, hub.now())
            }
            History::OfTopic(log) => log.missing(hub, stream, watch, from),
        }
    }
}

impl Streams {
    /// Has a stream keep its history from now on, if streams do.
    pub(super) fn keep(&mut self, hub: &mut Hub, stream: &str) {
        let Some(keep) = self.settings.keep else { return };
        let Some(known) = self.streams.get_mut(stream).filter(|known| known.history.is_none()) else { return };
        known.history = Some(match keep.is_shared {
            true => {
                self.idle.return_to(stream);
                History::OfTopic(TopicLog::begin(hub, stream, keep))
            }
            false => {
                self.logs += 1;
                History::Own(Log::new(format!("{}{:x}", &random_name(hub)[..12], self.logs)))
            }
        });
    }

    /// Has the messages of a stream that are published now be part of its history, also if nothing follows it.
    pub(in super::super) fn record(streams: &SharedStreams, hub: &mut Hub, stream: &str) {
        // One that is watched has it anyway.
        let is_watched = streams.borrow().streams.contains_key(stream);
        if is_watched || streams.borrow().settings.keep.is_none() {
            return;
        }
        let name = streams.borrow_mut().hold(hub, stream);
        streams.borrow_mut().keep(hub, &name);
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
                let asked = match (asked, stored) {
                    (Ok(asked), Some(Ok(stored))) => Ok(asked.or_places_of(stored)),
                    (Err(_), Some(stored)) => stored,
                    (asked, _) => asked,
                };
                self.answer_history(hub, member, asked);
                self.go_on(hub, member);
            }
            Stage::New | Stage::Accepted => *member.history.borrow_mut() = Some(asked),
            Stage::Ended => {}
        }
    }

    /// Sends what is missing, and then that this was all; or that not all is known.
    pub(super) fn answer_history(&mut self, hub: &mut Hub, member: &Member, asked: Asked) {
        let is_all = asked.is_ok_and(|request| self.send_missing(hub, member, &request));
        let (kind, text) = (extended::history_kind(is_all), extended::history_answer(&member.quoted(), is_all));
        member.protocol.tell(hub, member.id.get(), kind, &text);
    }

    /// Sends what is missing. Returns `false` if some of it is not known. Nothing was sent then, unless the connection
    /// does not take it.
    fn send_missing(&mut self, hub: &mut Hub, member: &Member, request: &HistoryRequest) -> bool {
        let Some(keep) = self.settings.keep else { return false };
        let since = request.since.map(|since| Missing::Since(since, age(since)));
        let mut missing = Vec::new();
        for name in member.streams() {
            let from = request.streams.get(&*name).map(Missing::After);
            let Some(from) = from.as_ref().or(since.as_ref()) else { continue };
            let Some(stream) = self.streams.get_mut(&name) else { return false };
            let Some(history) = &mut stream.history else { return false };
            let Some(messages) = history.missing(hub, keep, &name, stream.watch, from) else { return false };
            missing.push((name, history.epoch().to_owned(), messages));
        }
        let (id, identifier, protocol) = (member.id.get(), member.quoted(), member.protocol);
        missing.into_iter().all(|(name, epoch, messages)| {
            messages.into_iter().all(|(offset, json)| {
                let place = Place { stream: &name, epoch: &epoch, offset };
                let text = protocol.message(&identifier, &json, Some(&place));
                protocol.send(hub, id, &text, Some(&place)).is_queued()
            })
        })
    }

    /// The newest messages of the streams of a subscription.
    pub(super) fn positions(&self, member: &Member) -> HistoryRequest {
        let position = |name: &Rc<str>| Some((name.to_string(), self.position(name)?));
        HistoryRequest { since: None, streams: member.streams().iter().filter_map(position).collect() }
    }

    /// The newest message of a stream.
    pub(super) fn position(&self, stream: &str) -> Option<Position> {
        Some(self.streams.get(stream)?.history.as_ref()?.position())
    }

    /// When the message at a place of a stream came, in seconds since 1970: about then, or before.
    pub(in super::super) fn time_of(&self, hub: &Hub, stream: &str, place: &Position) -> Option<f64> {
        let keep = self.settings.keep?;
        if keep.is_shared {
            return Some(place.offset as f64 / 1e6);
        }
        let Some(History::Own(log)) = &self.streams.get(stream)?.history else { return None };
        let at = log.time_of(place.offset).filter(|_| log.has(place));
        // What is kept is younger.
        let age = at.map_or(keep.age, |at| hub.now().saturating_duration_since(at));
        Some(seconds_since_1970() - age.as_secs_f64() - 0.001)
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

    /// Returns `true` if a client need not subscribe again: its subscription is confirmed, and the presence is
    /// unchanged. A restored subscription gets no update of the presence.
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
        let knows_who_is_there = member.roster.get() == self.roster_version(member);
        self.add_to_groups(member);
        self.begin_presence(hub, member);
        if !knows_who_is_there {
            self.tell_presence(hub, member, None);
        }
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
        let Some(History::Own(log)) = &mut stream.history else { return false };
        log.drop_old(keep, now);
        if log.is_empty() || !stream.has_readers {
            return false;
        }
        stream.idle = Some(self.idle.insert(now, key, log.bytes()));
        self.drop_most_idle(hub);
        self.schedule_drop(hub, keep);
        true
    }

    /// A stream that nothing follows has another message.
    pub(super) fn on_idle_message(&mut self, hub: &mut Hub, name: &str) {
        let Some(stream) = self.streams.get(name) else { return };
        if let (Some(key), Some(History::Own(log))) = (stream.idle, &stream.history) {
            self.idle.set_bytes(key, log.bytes());
            self.drop_most_idle(hub);
        }
    }

    /// A stream is dropped whose history its topic has.
    pub(super) fn leave_topic(&mut self, hub: &mut Hub, name: &Rc<str>) {
        let Some(keep) = self.settings.keep else { return };
        if !topic_log::has_messages(hub, name) {
            return topic_log::forget(hub, name, keep);
        }
        topic_log::keep_while_left(hub, name, keep);
        self.idle.leave(hub.now(), Rc::clone(name));
        self.drop_most_idle(hub);
        self.schedule_drop(hub, keep);
    }

    fn schedule_drop(&mut self, hub: &mut Hub, keep: Keep) {
        let Some(((since, _), _)) = self.idle.streams.first_key_value() else { return };
        if std::mem::replace(&mut self.idle.is_scheduled, true) {
            return;
        }
        let own = Weak::clone(&self.own);
        // Not for each of many.
        let after = (*since + keep.age).saturating_duration_since(hub.now()).max(DROP_EVERY);
        hub.add_timer(after, move |hub| {
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().drop_idle(hub, keep);
            }
        });
    }

    /// Drops the streams whose history is too old. One that has got messages since it was left has its time by the
    /// newest of them.
    fn drop_idle(&mut self, hub: &mut Hub, keep: Keep) {
        self.idle.is_scheduled = false;
        let now = hub.now();
        while let Some(first) = self.idle.streams.first_entry().filter(|first| first.key().0 + keep.age < now) {
            let (key, name) = (*first.key(), Rc::clone(&first.get().0));
            let newest = self.streams.get_mut(&name).filter(|stream| stream.idle == Some(key)).and_then(|stream| {
                let Some(History::Own(log)) = &mut stream.history else { return None };
                log.drop_old(keep, now);
                Some((log.newest_at()?, log.bytes()))
            });
            match newest {
                Some((at, bytes)) => {
                    self.idle.remove(key);
                    let key = Some(self.idle.insert(at, Rc::clone(&name), bytes));
                    self.streams.entry(name).and_modify(|stream| stream.idle = key);
                }
                None => self.drop_first_idle(hub),
            }
        }
        self.schedule_drop(hub, keep);
    }

    /// Drops the streams that are too many, or have too much.
    fn drop_most_idle(&mut self, hub: &mut Hub) {
        while self.idle.streams.len() > self.settings.max_idle || self.idle.bytes > MAX_IDLE_BYTES {
            self.drop_first_idle(hub);
        }
    }

    fn drop_first_idle(&mut self, hub: &mut Hub) {
        let Some((_, (name, bytes))) = self.idle.streams.pop_first() else { return };
        self.idle.bytes -= bytes;
        if self.idle.left.remove(&name).is_some() {
            // Its time may be over anyway. If something follows it again, it stays.
            if let Some(keep) = self.settings.keep {
                topic_log::forget(hub, &name, keep);
            }
        } else {
            self.drop_stream(hub, &name);
        }
    }
}

/// A place among the streams that nothing follows.
pub(super) type IdleKey = (Instant, u64);

/// The streams that nothing follows, by the time since when.
#[derive(Default)]
pub(super) struct Idle {
    streams: BTreeMap<IdleKey, (Rc<str>, usize)>,
    /// Those whose topics have the history.
    left: HashMap<Rc<str>, IdleKey>,
    /// Bytes of the other histories.
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

    fn leave(&mut self, since: Instant, name: Rc<str>) {
        let key = self.insert(since, Rc::clone(&name), 0);
        if let Some(former) = self.left.insert(name, key) {
            self.remove(former);
        }
    }

    /// Something follows a stream again.
    fn return_to(&mut self, name: &str) {
        if let Some(key) = self.left.remove(name) {
            self.remove(key);
        }
    }

    fn set_bytes(&mut self, key: IdleKey, bytes: usize) {
        if let Some((_, known)) = self.streams.get_mut(&key) {
            self.bytes = self.bytes - *known + bytes;
            *known = bytes;
        }
    }

    /// Removes a stream, if it is there.
    pub(super) fn remove(&mut self, key: IdleKey) {
        if let Some((_, bytes)) = self.streams.remove(&key) {
            self.bytes -= bytes;
        }
    }
}

/// How long ago a time of a client's clock was, in seconds since 1970.
fn age(since: f64) -> Duration {
    Duration::try_from_secs_f64((seconds_since_1970() - since).max(0.0)).unwrap_or(Duration::MAX)
}

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
