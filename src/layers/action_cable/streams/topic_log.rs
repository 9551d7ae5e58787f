//! The history that the topic of a stream has, which other reactors and processes may share.

use std::{
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    super::extended::Position,
    message_log::{Keep, Missing},
};
use crate::reactor::{HistoryLimits, Hub, TopicWatch};

/// The epoch of all of them: their numbers are never used again.
pub(super) const EPOCH: &str = "shared";

/// The position of a stream in the history of its topic. The messages are in the topic alone.
pub(super) struct TopicLog {
    /// The newest message that the stream has got, or that was there before.
    last: u64,
    /// The last message without a number: histories from this number on, or since this time, are not complete.
    unnumbered: Option<(u64, Instant)>,
}

impl TopicLog {
    /// Has a topic keep its history.
    pub(super) fn begin(hub: &mut Hub, topic: &str, keep: Keep) -> Self {
        keep_while_left(hub, topic, keep);
        let replay = hub.events_after([topic], 0).unwrap_or_default();
        let newest = replay.events.last().map_or(0, |event| event.id);
        TopicLog { last: newest.max(replay.gap_to.unwrap_or(0)), unnumbered: None }
    }

    /// Notes a message of the topic. Returns its number, if it has one.
    pub(super) fn on_message(&mut self, id: Option<u64>, now: Instant) -> Option<u64> {
        match id {
            Some(id) => self.last = self.last.max(id),
            None => self.unnumbered = Some((self.last.max(micros()), now)),
        }
        id
    }

    /// The place of the newest message.
    pub(super) fn position(&self) -> Position {
        Position { epoch: EPOCH.to_owned(), offset: self.last }
    }

    /// The messages that are missing, with their numbers, without those that the stream gets yet. `None` if not all of
    /// them are known.
    pub(super) fn missing(
        &self,
        hub: &mut Hub,
        topic: &str,
        watch: TopicWatch,
        from: &Missing<'_>,
    ) -> Option<Vec<(u64, Rc<str>)>> {
        let now = hub.now();
        let after = match from {
            Missing::After(Position { epoch, offset }) => {
                let is_complete = self.unnumbered.is_none_or(|(number, _)| *offset > number);
                (epoch == EPOCH && is_complete).then_some(*offset)?
            }
            Missing::Since(since, age) => {
                let is_complete = self.unnumbered.is_none_or(|(_, at)| now.saturating_duration_since(at) > *age);
                // Numbers are microseconds since 1970.
                is_complete.then_some(((since * 1e6) as u64).saturating_sub(1))?
            }
        };
        let replay = hub.events_after([topic], after)?;
        if replay.gap_to.is_some() && matches!(from, Missing::After(_)) {
            return None;
        }
        let end = hub.next_watched_event_id(watch).unwrap_or(u64::MAX);
        let known = replay.events.into_iter().filter(|event| event.id < end);
        Some(known.map(|event| (event.id, event.data.as_str().into())).collect())
    }
}

/// Has a topic keep its history, for a while also if nothing follows it.
pub(super) fn keep_while_left(hub: &mut Hub, topic: &str, keep: Keep) {
    hub.keep_history(topic, limits(keep).forget_after(Some(keep.age)));
}

/// Has the history of a topic be forgotten with the next sweep, if nothing follows it.
pub(super) fn forget(hub: &mut Hub, topic: &str, keep: Keep) {
    if hub.keeps_history(topic) {
        hub.keep_history(topic, limits(keep).forget_after(Some(Duration::ZERO)));
    }
}

/// Returns `true` if the history of a topic has any message.
pub(super) fn has_messages(hub: &mut Hub, topic: &str) -> bool {
    hub.events_after([topic], 0).is_some_and(|replay| !replay.events.is_empty())
}

fn limits(keep: Keep) -> HistoryLimits {
    HistoryLimits::new().max_events(keep.messages).max_age(keep.age)
}

fn micros() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}
