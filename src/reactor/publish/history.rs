//! The last events of topics, for subscribers that come later: a client of an event stream that connects again, and a
//! poll. Pure: the clocks are arguments.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

#[cfg(feature = "server")]
use crate::protocol::event_stream::Event;
use crate::{buffer::Utf8Bytes, setters::setters};

/// Limits of the history of a topic, for [`Hub::keep_history`](crate::Hub::keep_history). Where one is exceeded, the
/// oldest events are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct HistoryLimits {
    /// Most events. Default 100.
    pub max_events: usize,
    /// Most bytes of data and names. Default 1 MiB.
    pub max_bytes: usize,
    /// Age from which an event is forgotten. Default 10 minutes.
    pub max_age: Duration,
    /// Time after which the history is not kept any more if the topic has no subscriber and no watch, and no event was
    /// published or asked for. For topics whose names come from clients. Default `None`: never.
    pub forget_after: Option<Duration>,
}

impl HistoryLimits {
    /// The default limits.
    pub fn new() -> Self {
        HistoryLimits::default()
    }

    setters! {
        max_events: usize,
        max_bytes: usize,
        max_age: Duration,
        forget_after: Option<Duration>,
    }
}

impl Default for HistoryLimits {
    fn default() -> Self {
        let (max_age, forget_after) = (Duration::from_secs(600), None);
        HistoryLimits { max_events: 100, max_bytes: 1024 * 1024, max_age, forget_after }
    }
}

/// An event of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEvent {
    /// Larger than the ids of all earlier events of the reactor.
    pub id: u64,
    /// The name of the event, if it was [published](crate::Hub::publish_event) with one.
    pub name: Option<Utf8Bytes>,
    /// The message.
    pub data: Utf8Bytes,
    at: Instant,
}

impl StoredEvent {
    #[cfg(feature = "server")]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        Event { name: self.name.as_deref(), id: None, data: &self.data }.write(Some(self.id), out);
    }

    fn bytes(&self) -> usize {
        self.data.len() + self.name.as_ref().map_or(0, |name| name.len())
    }
}

/// The events of some topics after one id, from [`Hub::events_after`](crate::Hub::events_after).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replay {
    /// In the order of their ids.
    pub events: Vec<StoredEvent>,
    /// Events may be missing: up to this id, which is after the one that was asked for. `None`: there is no gap.
    pub gap_to: Option<u64>,
}

/// Histories of topics, and the ids of their events.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    topics: HashMap<Rc<str>, History>,
    /// The last id whose event, or whose absence, is known here. Without a group: the last id that was made.
    last: u64,
    /// The last id that was made in the group. `None` outside of a group.
    group_last: Option<Arc<AtomicU64>>,
    /// [`sweep`](Self::sweep) is scheduled.
    is_sweep_scheduled: bool,
}

#[derive(Debug)]
struct History {
    limits: HistoryLimits,
    events: VecDeque<StoredEvent>,
    /// Bytes of the events.
    bytes: usize,
    /// Events up to this id are not here: they were forgotten, or came before the history.
    missing_to: u64,
    /// Events up to this id were here, and are forgotten.
    trimmed_to: u64,
    /// A backplane has said since when it knows the events.
    is_restored: bool,
    used_at: Instant,
    /// Requests of this reactor to keep the history that the sequencer of the group has not answered.
    awaited: u32,
    /// The sequencer has not said yet where the history begins.
    is_provisional: bool,
}

/// Time after which a further use of a copy is reported to the sequencer, so that it does not forget the history.
const REPORT_EVERY: Duration = Duration::from_secs(60);

impl Histories {
    /// Makes an id: microseconds of the clock, and always larger than the last one. So ids neither repeat nor go back,
    /// and after a restart they continue, unless the clock was set back.
    fn next_id(&self, clock: SystemTime) -> u64 {
        let micros = micros(clock);
        let next = |last: u64| micros.max(last + 1);
        match &self.group_last {
            None => next(self.last),
            Some(group_last) => {
                let update = group_last.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last)));
                update.map_or_else(next, next)
            }
        }
    }

    /// Histories of a reactor in a group. `group_last`: the last id that was made in the group.
    pub(crate) fn in_group(group_last: Arc<AtomicU64>) -> Self {
        Histories { group_last: Some(group_last), ..Histories::default() }
    }

    /// Returns `true` if an id was made in the group, and what it stands for has not arrived here.
    #[cfg(any(feature = "server", test))]
    pub(crate) fn is_behind(&self, id: u64) -> bool {
        id > self.last && !self.is_foreign(id)
    }

    /// Returns `true` if an id was not made by this process, or in its future: by one whose clock was ahead.
    fn is_foreign(&self, id: u64) -> bool {
        let group_last = self.group_last.as_ref().map_or(0, |last| last.load(Ordering::Acquire));
        id > self.last.max(group_last)
    }

    /// The id of the last event.
    #[cfg(any(feature = "server", test))]
    pub(crate) fn last_id(&self) -> u64 {
        self.last
    }

    /// Keeps the history of a topic from now on. Changes the limits of a history that is kept already. `gives_ids`:
    /// this reactor gives the ids of events, and not a backplane, whose clock may be behind. Returns the id up to which
    /// events are missing, and whether anything has changed.
    pub(crate) fn keep(
        &mut self,
        topic: &str,
        limits: HistoryLimits,
        clock: SystemTime,
        now: Instant,
        gives_ids: bool,
    ) -> (u64, bool) {
        if let Some(history) = self.topics.get_mut(topic) {
            let is_change = history.limits != limits;
            history.change(limits, now);
            return (history.missing_to, is_change);
        }
        // Another process may have had a history of the topic.
        let missing_to = self.next_id(clock);
        if gives_ids {
            self.last = self.last.max(missing_to);
        }
        self.topics.insert(topic.into(), History::new(limits, missing_to, now));
        (missing_to, true)
    }

    pub(crate) fn forget(&mut self, topic: &str) -> bool {
        self.topics.remove(topic).is_some()
    }

    pub(crate) fn is_kept(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// The topics whose history is kept, and their limits.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (&str, HistoryLimits)> {
        self.topics.iter().map(|(topic, history)| (&**topic, history.limits))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }

    /// Adds an event. Returns its id, or `None` if the history of its topic is not kept.
    pub(crate) fn push(
        &mut self,
        topic: &str,
        name: Option<&str>,
        data: &str,
        clock: SystemTime,
        now: Instant,
    ) -> Option<u64> {
        if !self.is_kept(topic) {
            return None;
        }
        let id = self.next_id(clock);
        self.store(topic, id, name, data, now);
        Some(id)
    }

    /// Adds an event with its id, if the history of its topic is kept: in a group, an event that the sequencer has
    /// numbered.
    pub(crate) fn store(&mut self, topic: &str, id: u64, name: Option<&str>, data: &str, now: Instant) {
        self.last = self.last.max(id);
        if let Some(group_last) = &self.group_last {
            group_last.fetch_max(id, Ordering::AcqRel);
        }
        let Some(history) = self.topics.get_mut(topic) else { return };
        // A backplane may know events of the past later than new ones.
        let index = history.index_after(id);
        if index > 0 && history.events[index - 1].id == id || id <= history.trimmed_to {
            return;
        }
        let event = StoredEvent { id, name: name.map(Utf8Bytes::from), data: data.into(), at: now };
        history.used_at = history.used_at.max(now);
        history.bytes += event.bytes();
        history.events.insert(index, event);
        history.trim(history.used_at);
    }

    /// The events of topics after an id. `None` if no history of them is kept.
    pub(crate) fn after<'t>(
        &mut self,
        topics: impl IntoIterator<Item = &'t str>,
        after: u64,
        now: Instant,
    ) -> Option<Replay> {
        let (mut replay, mut is_kept, is_foreign) = (Replay::default(), false, self.is_foreign(after));
        let first = if is_foreign { 0 } else { after };
        for topic in topics {
            let Some(history) = self.topics.get_mut(topic) else { continue };
            is_kept = true;
            history.used_at = now;
            history.trim(now);
            if is_foreign || after < history.missing_to {
                replay.gap_to = replay.gap_to.max(Some(history.missing_to));
            }
            replay.events.extend(history.events.range(history.index_after(first)..).cloned());
        }
        replay.events.sort_by_key(|event| event.id);
        // A topic may be named twice.
        replay.events.dedup_by_key(|event| event.id);
        is_kept.then_some(replay)
    }

    /// The first event of a topic after an id.
    #[cfg(any(feature = "server", test))]
    pub(crate) fn first_after(&mut self, topic: &str, after: u64, now: Instant) -> Option<StoredEvent> {
        let after = if self.is_foreign(after) { 0 } else { after };
        let history = self.topics.get_mut(topic)?;
        history.used_at = now;
        history.trim(now);
        history.events.get(history.index_after(after)).cloned()
    }

    /// Returns `true` if a sweep has to be scheduled.
    pub(crate) fn schedule_sweep(&mut self) -> bool {
        !self.is_empty() && !std::mem::replace(&mut self.is_sweep_scheduled, true)
    }

    /// Forgets old events, and the histories of topics that were not used for their time and `more`. `in_use`: topics
    /// with subscribers. Returns the topics whose histories are forgotten.
    pub(crate) fn sweep(&mut self, now: Instant, more: Duration, in_use: impl Fn(&str) -> bool) -> Vec<Box<str>> {
        self.is_sweep_scheduled = false;
        let mut forgotten = Vec::new();
        self.topics.retain(|topic, history| {
            history.trim(now);
            let idle = now.saturating_duration_since(history.used_at);
            let is_kept =
                history.limits.forget_after.is_none_or(|most| idle < most.saturating_add(more)) || in_use(topic);
            if !is_kept {
                forgotten.push((**topic).into());
            }
            is_kept
        });
        forgotten
    }

    /// Notes that the history of a topic is in use.
    pub(crate) fn touch(&mut self, topic: &str, now: Instant) {
        if let Some(history) = self.topics.get_mut(topic) {
            history.used_at = now;
        }
    }
}

/// Copies of the histories of a group, on the reactors that do not give the ids. They follow the sequencer, change by
/// change.
impl Histories {
    /// Keeps the history of a topic from now on, as far as this reactor can say. Returns `true` if the sequencer has to
    /// be asked to keep it.
    pub(crate) fn ask_to_keep(&mut self, topic: &str, limits: HistoryLimits, clock: SystemTime, now: Instant) -> bool {
        if let Some(history) = self.topics.get_mut(topic) {
            let may_be_forgotten =
                limits.forget_after.is_some() && now.saturating_duration_since(history.used_at) >= REPORT_EVERY;
            let asks = history.limits != limits || may_be_forgotten;
            history.awaited += u32::from(asks);
            history.change(limits, now);
            return asks;
        }
        let mut history = History::new(limits, self.next_id(clock), now);
        (history.awaited, history.is_provisional) = (1, true);
        self.topics.insert(topic.into(), history);
        true
    }

    /// The sequencer keeps the history of a topic. `is_answer`: because this reactor has asked.
    pub(crate) fn keep_copy(
        &mut self,
        topic: &str,
        limits: HistoryLimits,
        missing_to: u64,
        is_answer: bool,
        now: Instant,
    ) {
        self.last = self.last.max(missing_to);
        let Some(history) = self.topics.get_mut(topic) else {
            self.topics.insert(topic.into(), History::new(limits, missing_to, now));
            return;
        };
        history.awaited = history.awaited.saturating_sub(u32::from(is_answer));
        if history.is_provisional {
            (history.is_provisional, history.missing_to) = (false, missing_to);
        }
        // Otherwise a later answer has the limits.
        if history.awaited == 0 {
            history.limits = limits;
        }
        history.trim(now);
    }

    /// The sequencer has forgotten the history of a topic. If this reactor has asked for it meanwhile, it begins again.
    pub(crate) fn forget_copy(&mut self, topic: &str, clock: SystemTime) {
        let next_id = self.next_id(clock);
        let Some(history) = self.topics.get_mut(topic) else { return };
        if history.awaited == 0 {
            self.topics.remove(topic);
            return;
        }
        history.events.clear();
        (history.bytes, history.missing_to, history.is_provisional) = (0, next_id, true);
        (history.trimmed_to, history.is_restored) = (0, false);
    }

    /// Events of a topic up to this id may be missing: the first time, of the past before the history was kept.
    pub(crate) fn restore(&mut self, topic: &str, missing_to: u64) {
        let Some(history) = self.topics.get_mut(topic) else { return };
        let known = if history.is_restored { history.missing_to } else { history.trimmed_to };
        (history.missing_to, history.is_restored, history.is_provisional) = (known.max(missing_to), true, false);
    }

    /// Events of a topic up to an id do not arrive here.
    pub(crate) fn miss(&mut self, topic: &str, to: u64) {
        self.last = self.last.max(to);
        if let Some(history) = self.topics.get_mut(topic) {
            history.missing_to = history.missing_to.max(to);
        }
    }

    /// As [`sweep`](Self::sweep), for copies. Returns the topics that may be forgotten, and were used in the time
    /// `since`.
    pub(crate) fn sweep_copies(
        &mut self,
        now: Instant,
        since: Duration,
        in_use: impl Fn(&str) -> bool,
    ) -> Vec<Box<str>> {
        self.is_sweep_scheduled = false;
        self.topics.values_mut().for_each(|history| history.trim(now));
        let used = self.topics.iter().filter(|(topic, history)| {
            let idle = now.saturating_duration_since(history.used_at);
            history.limits.forget_after.is_some() && (idle < since || in_use(topic))
        });
        used.map(|(topic, _)| (**topic).into()).collect()
    }
}

/// The time of an event by its id, which is one of microseconds.
pub(crate) fn published_at(id: u64, clock: SystemTime, now: Instant) -> Instant {
    let age = micros(clock).saturating_sub(id);
    now.checked_sub(Duration::from_micros(age)).unwrap_or(now)
}

/// Microseconds since 1970.
fn micros(clock: SystemTime) -> u64 {
    let since_1970 = clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX - 1)
}

impl History {
    fn new(limits: HistoryLimits, missing_to: u64, now: Instant) -> Self {
        let events = VecDeque::new();
        History {
            limits,
            events,
            bytes: 0,
            missing_to,
            trimmed_to: 0,
            is_restored: false,
            used_at: now,
            awaited: 0,
            is_provisional: false,
        }
    }

    fn change(&mut self, limits: HistoryLimits, now: Instant) {
        (self.limits, self.used_at) = (limits, now);
        self.trim(now);
    }

    fn trim(&mut self, now: Instant) {
        while let Some(oldest) = self.events.front() {
            let is_old = now.saturating_duration_since(oldest.at) >= self.limits.max_age;
            if !is_old && self.events.len() <= self.limits.max_events && self.bytes <= self.limits.max_bytes {
                break;
            }
            (self.trimmed_to, self.bytes) = (self.trimmed_to.max(oldest.id), self.bytes - oldest.bytes());
            self.missing_to = self.missing_to.max(self.trimmed_to);
            self.events.pop_front();
        }
    }

    /// Index of the first event after an id.
    fn index_after(&self, after: u64) -> usize {
        self.events.partition_point(|event| event.id <= after)
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
