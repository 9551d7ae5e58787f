//! Histories of topics, as the Hub offers them.

use std::time::{Duration, SystemTime};

#[cfg(feature = "server")]
use super::history::StoredEvent;
use super::history::{HistoryLimits, Replay, published_at};
#[cfg(feature = "server")]
use crate::reactor::id::ConnectionId;
use crate::{
    protocol::event_stream::Event,
    reactor::{group::publication::HistoryChange, hub::Hub},
};

/// Interval in which old events are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

impl Hub {
    /// Keeps the last messages of a topic from now on, for clients that come later or connect again. Text messages
    /// get ids, and event streams send them as `id`.
    ///
    /// An [event stream](crate::EventStream) whose client connects again, with `Last-Event-ID`, begins with what was
    /// published meanwhile. A [`LongPoll`](crate::LongPoll) needs a history. A further call changes the limits.
    ///
    /// Ids are microseconds since 1970, or one more than the last id where that is later: they grow over all topics of
    /// a reactor, and over restarts of the process unless the clock was set back.
    ///
    /// ```
    /// use ws_reactor::{HistoryLimits, Reactor};
    ///
    /// let mut reactor = Reactor::new()?;
    /// let hub = reactor.hub();
    /// hub.keep_history("prices", HistoryLimits::new().max_events(1000));
    /// let first = hub.publish("prices", "EUR 1.17").event_id.unwrap();
    /// hub.publish("prices", "EUR 1.18");
    /// let replay = hub.events_after(["prices"], first).unwrap();
    /// assert_eq!((replay.events[0].data.as_str(), replay.gap_to), ("EUR 1.18", None));
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    ///
    /// In a [group](crate::ReactorGroup) each reactor keeps a copy, and the first one gives the ids: what another
    /// reactor publishes on the topic passes by it, so [`Published`](crate::Published) has no id there, and counts no
    /// subscriber. The order of the events is the same on all reactors.
    pub fn keep_history(&mut self, topic: &str, limits: HistoryLimits) {
        if !self.has_sequencer_elsewhere() {
            self.keep_history_for(self.group_index(), topic, limits);
        } else if self.histories.ask_to_keep(topic, limits, SystemTime::now(), self.now) {
            let (own, of_sequencer) = (self.group_index(), topic.to_owned());
            self.tell_sequencer(move |hub| hub.keep_history_for(own, &of_sequencer, limits));
            // After the request, which is then carried out first.
            self.announce_history(topic);
            self.schedule_sweep();
        }
    }

    /// Keeps the history of a topic here, and on all other reactors, because this one or another has asked for it.
    fn keep_history_for(&mut self, asked_by: usize, topic: &str, limits: HistoryLimits) {
        let gives_ids = !self.backplane_rules.keeps_histories;
        let (missing_to, is_change) = self.histories.keep(topic, limits, SystemTime::now(), self.now, gives_ids);
        self.schedule_sweep();
        if is_change || asked_by != self.group_index() {
            self.hand_on_change(HistoryChange::Keep { topic: topic.into(), limits, missing_to, asked_by });
        }
    }

    /// Forgets the history of a topic, and keeps it no longer. Returns `false` if it was not kept.
    ///
    /// In a [group](crate::ReactorGroup) all reactors forget it, once the first one has: not in this turn.
    pub fn forget_history(&mut self, topic: &str) -> bool {
        if self.has_sequencer_elsewhere() {
            let is_kept = self.histories.is_kept(topic);
            if is_kept {
                let topic = topic.to_owned();
                self.tell_sequencer(move |hub| {
                    hub.forget_history(&topic);
                });
            }
            return is_kept;
        }
        let was_kept = self.histories.forget(topic);
        if was_kept {
            self.hand_on_change(HistoryChange::Forget(topic.into()));
        }
        was_kept
    }

    /// Carries out a change of a history that the sequencer of the group has made.
    pub(in crate::reactor) fn follow_history(&mut self, change: &HistoryChange) {
        match change {
            HistoryChange::Keep { topic, limits, missing_to, asked_by } => {
                let is_answer = *asked_by == self.group_index();
                self.histories.keep_copy(topic, *limits, *missing_to, is_answer, self.now);
                self.schedule_sweep();
            }
            HistoryChange::Forget(topic) => self.histories.forget_copy(topic, SystemTime::now()),
            HistoryChange::Missed(missed) => {
                missed.iter().for_each(|(topic, to)| self.histories.miss(topic, *to));
                self.end_gap();
            }
            HistoryChange::Restored { topic, events, missing_to } => {
                if let Some(missing_to) = missing_to {
                    self.histories.restore(topic, *missing_to);
                }
                for (id, name, data) in events {
                    let at = published_at(*id, SystemTime::now(), self.now);
                    self.histories.store(topic, *id, name.as_deref(), data, at);
                }
            }
        }
    }

    /// Returns `true` if the history of a topic is kept.
    pub fn keeps_history(&self, topic: &str) -> bool {
        self.histories.is_kept(topic)
    }

    /// Number of topics whose history is kept.
    pub fn histories(&self) -> usize {
        self.histories.len()
    }

    /// The events of topics after an id, oldest first: for a WebSocket whose client tells the last id that it has.
    ///
    /// `None` if no history of these topics is kept. An id larger than all ids of this reactor and its group is taken
    /// for one of another process: the result is all events, with a gap. 0 is such an id for a client without any
    /// event: the result is all events that are kept, and [`gap_to`](field@Replay::gap_to) is set.
    pub fn events_after<'t>(&mut self, topics: impl IntoIterator<Item = &'t str>, after: u64) -> Option<Replay> {
        self.histories.after(topics, after, self.now)
    }

    fn schedule_sweep(&mut self) {
        if self.histories.schedule_sweep() {
            self.add_timer(SWEEP_EVERY, |hub| {
                hub.sweep_histories();
                hub.schedule_sweep();
            });
        }
    }

    /// Forgets what is old. In a group the sequencer decides on histories that nobody uses, and the others tell it what
    /// they use: otherwise one reactor would number what another does not keep.
    fn sweep_histories(&mut self) {
        let has_sequencer_elsewhere = self.has_sequencer_elsewhere();
        let (is_in_group, now) = (self.is_in_group(), self.now);
        let Hub { histories, topics, .. } = self;
        let in_use = |topic: &str| topics.exists(topic);
        if has_sequencer_elsewhere {
            let used = histories.sweep_copies(now, 2 * SWEEP_EVERY, in_use);
            if !used.is_empty() {
                self.tell_sequencer(move |hub| used.iter().for_each(|topic| hub.histories.touch(topic, hub.now)));
            }
            return;
        }
        // The others may have used it just after their last sweep.
        let more = if is_in_group { 2 * SWEEP_EVERY } else { Duration::ZERO };
        let forgotten = histories.sweep(now, more, in_use);
        for topic in forgotten {
            self.hand_on_change(HistoryChange::Forget(topic));
        }
    }

    /// Adds an event to the history of a topic, and returns its id, if the history is kept.
    pub(super) fn push_history(&mut self, topic: &str, event: Event<'_>) -> Option<u64> {
        self.histories.push(topic, event.name, event.data, SystemTime::now(), self.now)
    }

    /// Adds an event that the sequencer of the group has numbered.
    pub(super) fn store_history(&mut self, topic: &str, id: u64, event: Event<'_>) {
        self.histories.store(topic, id, event.name, event.data, self.now);
    }

    /// Returns `true` if an event with this id has been published in the group, and has not arrived here.
    #[cfg(feature = "server")]
    pub(crate) fn is_behind(&self, id: u64) -> bool {
        self.histories.is_behind(id)
    }

    /// The id of the last event of all topics.
    #[cfg(feature = "server")]
    pub(crate) fn last_event_id(&self) -> u64 {
        self.histories.last_id()
    }

    /// The first event of a topic after an id.
    #[cfg(feature = "server")]
    pub(crate) fn first_event_after(&mut self, topic: &str, after: u64) -> Option<StoredEvent> {
        self.histories.first_after(topic, after, self.now)
    }

    /// Has the handler of a connection, which speaks HTTP, woken by what is published.
    #[cfg(feature = "server")]
    pub(crate) fn begin_poll(&mut self, id: ConnectionId, topic: &str) {
        if self.outbounds.open_mut(id).is_some() {
            self.topics.subscribe(id.key(), topic);
        }
    }
}
