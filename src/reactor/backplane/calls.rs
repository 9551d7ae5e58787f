//! Attaching a backplane, telling it what is to be done, and what it delivers.

use std::{mem, sync::Arc};

use super::{
    Backplane, HeldMessage, PublishedMessage, Rules,
    attached::{Task, Waiter},
};
use crate::{
    net::Kernel,
    protocol::{Outgoing, event_stream::Event},
    reactor::{
        Reactor,
        group::publication::{HistoryChange, Manner, Publication, Sequence},
        hub::Hub,
        publish::{Published, topics::TopicEdge},
        remote::{Command, Remote},
    },
};

impl Hub {
    /// Attaches a backplane, which joins the topics of this process with those of others. It replaces an earlier one.
    ///
    /// In a [group](crate::ReactorGroup) it is the backplane of all reactors, and the first reactor has it: calls on
    /// others have no effect, so that a set-up function may call it on each. The others follow what the backplane
    /// [delivers](Backplane::delivers_own) from their next turn on.
    pub fn set_backplane(&mut self, backplane: impl Backplane + 'static) {
        if self.group_index() > 0 {
            return;
        }
        let rules = Rules { delivers_own: backplane.delivers_own(), keeps_histories: backplane.keeps_histories() };
        self.follow_backplane(rules);
        let kept = self.histories.kept().map(|(topic, limits)| (topic.into(), limits));
        let interrupted = self.backplane.get_or_insert_default().replace(Box::new(backplane), kept);
        interrupted.into_iter().for_each(|waiter| self.end_wait(waiter));
        self.is_joined = true;
        self.tell_others(move |hub| hub.follow_backplane(rules));
        if let Some(membership) = &self.membership {
            membership.group.sequence_all(rules.delivers_own);
        }
    }

    /// Notes the rules of the backplane of this process.
    fn follow_backplane(&mut self, rules: Rules) {
        self.backplane_rules = rules;
        self.topics.report_edges();
    }

    /// Publishes a message that a [`Backplane`] has received from another process: to all subscribers in this one.
    ///
    /// The [history](Self::keep_history) of the topic gets it, too.
    pub fn deliver<'m>(&mut self, topic: &str, message: impl Into<Outgoing<'m>>) -> Published {
        let message = message.into();
        if !self.is_in_group() {
            return self.publish_here(topic, message, None, true, self.numbering(Sequence::Wanted));
        }
        self.deliver_in_group(Publication::new(topic, message, Manner::Message { except: None, compress: true }))
    }

    /// As [`deliver`](Self::deliver), for an event with its name.
    pub fn deliver_event(&mut self, topic: &str, event: Event<'_>) -> Published {
        if !self.is_in_group() {
            return self.publish_event_here(topic, event, self.numbering(Sequence::Wanted));
        }
        self.deliver_in_group(Publication::of_event(topic, event))
    }

    /// Publishes an event that a [`Backplane`] has received and that has an id in its [history](Self::keep_history).
    /// `id` is larger than that of all earlier events of the topic.
    ///
    /// For a backplane that [keeps histories](Backplane::keeps_histories).
    pub fn deliver_event_with_id(&mut self, topic: &str, event: Event<'_>, id: u64) -> Published {
        let mut publication = Publication::of_event(topic, event);
        publication.sequence = Sequence::Done(Some(id));
        self.deliver_in_group(publication)
    }

    /// Publishes a message of this process that its [`Backplane`] has held. `id`: that of the event in the
    /// [history](Self::keep_history) of its topic, if the backplane keeps it. Without, the history does not get it.
    pub fn deliver_held(&mut self, held: HeldMessage, id: Option<u64>) -> Published {
        let mut publication = Arc::unwrap_or_clone(held.0);
        publication.sequence = id.map_or(Sequence::Wanted, |id| Sequence::Done(Some(id)));
        self.deliver_in_group(publication)
    }

    /// Adds events to the history of a topic, and does not publish them: each with its id, name and data. Those that
    /// the history has are left out. `missing_to`: events up to this id may be missing. The first call that says so is
    /// for the time before the history was kept; a later one can only raise it.
    ///
    /// For a backplane that [keeps histories](Backplane::keeps_histories).
    pub fn restore_history<'e>(
        &mut self,
        topic: &str,
        events: impl IntoIterator<Item = (u64, Event<'e>)>,
        missing_to: Option<u64>,
    ) {
        let own = |(id, event): (u64, Event<'_>)| (id, event.name.map(Box::from), event.data.into());
        let events: Vec<_> = events.into_iter().map(own).collect();
        let change = HistoryChange::Restored { topic: topic.into(), events, missing_to };
        self.follow_history(&change);
        self.hand_on_change(change);
    }

    fn deliver_in_group(&mut self, mut publication: Publication) -> Published {
        publication.is_from_outside = true;
        self.publish_in_group(publication)
    }

    /// Calls `call` once the messages of other processes on a topic arrive here: when the [`Backplane`] has confirmed
    /// the topic. Without a backplane, and for a topic without subscribers, that is in the next turn.
    ///
    /// For protocols that confirm a subscription to their client. If the topic loses its last subscriber before,
    /// `call` is called as well.
    pub fn when_live(&mut self, topic: &str, call: impl FnOnce(&mut Hub) + 'static) {
        if self.group_index() == 0 && self.backplane.is_none() {
            return self.next_tick(call);
        }
        let key = self.live_waits.insert(Box::new(call));
        if self.group_index() == 0 {
            self.await_live(topic, Waiter::Here(key));
            return;
        }
        let (topic, remote) = (topic.to_owned(), self.remote());
        self.tell_sequencer(move |hub| hub.await_live(&topic, Waiter::Elsewhere(remote, key)));
    }

    /// Calls `call` once the messages of other processes on a topic cease to arrive here: when the [`Backplane`] has
    /// lost its connection or is replaced, or when the topic loses its last subscriber. If they do not arrive now, that
    /// is in the next turn. Without a backplane, `call` is dropped.
    ///
    /// For protocols whose state is that of several processes. [`when_live`](Self::when_live) tells the end of an
    /// interruption.
    pub fn when_interrupted(&mut self, topic: &str, call: impl FnOnce(&mut Hub) + 'static) {
        if self.group_index() == 0 {
            if self.backplane.is_some() {
                let key = self.live_waits.insert(Box::new(call));
                self.await_interruption(topic, Waiter::Here(key));
            }
            return;
        }
        let key = self.live_waits.insert(Box::new(call));
        let (topic, remote) = (topic.to_owned(), self.remote());
        self.tell_sequencer(move |hub| hub.await_interruption(&topic, Waiter::Elsewhere(remote, key)));
    }

    /// Notes a waiter for the interruption of a topic, or calls it.
    fn await_interruption(&mut self, topic: &str, waiter: Waiter) {
        self.take_edges();
        let waiter = self.backplane.as_mut().and_then(|attached| attached.wait_for_interruption(topic, waiter));
        if let Some(waiter) = waiter {
            self.end_wait(waiter);
        }
    }

    /// Notes a waiter for a topic, or calls it.
    fn await_live(&mut self, topic: &str, waiter: Waiter) {
        self.take_edges();
        let waiter = match &mut self.backplane {
            Some(attached) => attached.wait(topic, waiter),
            None => Some(waiter),
        };
        if let Some(waiter) = waiter {
            self.end_wait(waiter);
        }
    }

    fn end_wait(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Here(key) => self.next_tick(move |hub| hub.call_live(key)),
            Waiter::Elsewhere(remote, key) => Remote::push_surely(&remote, Command::Live(key)),
        }
    }

    /// Calls what was given to [`when_live`](Self::when_live) or [`when_interrupted`](Self::when_interrupted).
    pub(in crate::reactor) fn call_live(&mut self, key: usize) {
        if let Some(call) = self.live_waits.try_remove(key) {
            call(self);
        }
    }

    /// Notes that the messages of other processes on a topic arrive: for a [`Backplane`].
    pub fn confirm_topic(&mut self, topic: &str) {
        let waiters = self.backplane.as_mut().map(|attached| attached.confirm(topic)).unwrap_or_default();
        waiters.into_iter().for_each(|waiter| self.end_wait(waiter));
    }

    /// Notes that no messages of other processes arrive on these topics until they are confirmed again: for a
    /// [`Backplane`] that has lost its connection.
    pub fn revoke_topics<'t>(&mut self, topics: impl IntoIterator<Item = &'t str>) {
        let Some(attached) = &mut self.backplane else { return };
        let waiters: Vec<Waiter> = topics.into_iter().flat_map(|topic| attached.revoke(topic)).collect();
        waiters.into_iter().for_each(|waiter| self.end_wait(waiter));
    }

    /// Has the backplane pass a message on at the end of the turn.
    pub(in crate::reactor) fn pass_to_backplane(&mut self, publication: &Arc<Publication>) {
        if self.backplane.is_none() || publication.is_from_outside {
            return;
        }
        self.take_edges();
        if let Some(attached) = &mut self.backplane {
            attached.tasks.push_back(Task::Publish(Arc::clone(publication)));
        }
    }

    /// Has the backplane keep or forget the history of a topic.
    pub(in crate::reactor) fn tell_backplane_of_history(&mut self, change: &HistoryChange) {
        let Some(attached) = &mut self.backplane else { return };
        match change {
            HistoryChange::Keep { topic, limits, .. } => attached.tasks.push_back(Task::Keep(topic.clone(), *limits)),
            HistoryChange::Forget(topic) => attached.tasks.push_back(Task::Forget(topic.clone())),
            HistoryChange::Missed(_) | HistoryChange::Restored { .. } => {}
        }
    }

    /// Notes which topics have begun and ceased to have subscribers on this reactor: for the backplane, which may be
    /// that of the first reactor of the group.
    pub(in crate::reactor) fn take_edges(&mut self) {
        if !self.topics.has_edges() {
            return;
        }
        let edges = self.topics.take_edges();
        match (&mut self.backplane, &mut self.membership) {
            (Some(attached), _) => edges.into_iter().for_each(|edge| attached.note_edge(&edge)),
            (None, Some(membership)) => membership.report_edges(edges),
            (None, None) => {}
        }
    }

    /// Notes that another reactor of the group has the first subscriber of a topic, or no more.
    pub(in crate::reactor) fn note_edge(&mut self, edge: &TopicEdge) {
        if let Some(attached) = &mut self.backplane {
            attached.note_edge(edge);
        }
    }

    /// Returns `true` if publications wait for the end of the turn.
    #[cold]
    pub(in crate::reactor) fn has_publications(&self) -> bool {
        self.has_backplane_tasks() || self.membership.as_ref().is_some_and(|membership| membership.has_output())
    }

    /// Returns `true` if the backplane has something to do.
    fn has_backplane_tasks(&self) -> bool {
        self.topics.has_edges() || self.backplane.as_ref().is_some_and(|attached| !attached.tasks.is_empty())
    }

    /// Has the backplane do what it has to do by now.
    fn run_backplane(&mut self) {
        self.take_edges();
        let Some(attached) = &mut self.backplane else { return };
        let Some(mut backplane) = attached.take() else { return self.do_without_backplane() };
        for _ in 0..attached.tasks.len() {
            // One by one: a panic leaves the rest.
            let Some(task) = self.backplane.as_mut().and_then(|attached| attached.tasks.pop_front()) else { break };
            self.run_task(&mut *backplane, task);
        }
        self.put_back(backplane);
    }

    fn run_task(&mut self, backplane: &mut dyn Backplane, task: Task) {
        match task {
            Task::Start => backplane.start(self),
            Task::Subscribe(topic) => backplane.subscribe(self, &topic),
            Task::Unsubscribe(topic) => {
                backplane.unsubscribe(self, &topic);
                let waiters = self.backplane.as_mut().map(|attached| attached.abandon(&topic)).unwrap_or_default();
                waiters.into_iter().for_each(|waiter| self.end_wait(waiter));
            }
            Task::Publish(publication) => backplane.publish(self, as_published(&publication)),
            Task::Keep(topic, limits) => backplane.keep_history(self, &topic, limits),
            Task::Forget(topic) => backplane.forget_history(self, &topic),
            Task::Retire(mut old, tasks) => {
                tasks.into_iter().for_each(|task| self.run_task(&mut *old, task));
                old.end(self);
            }
        }
    }

    fn put_back(&mut self, backplane: Box<dyn Backplane>) {
        let replaced = self.backplane.as_mut().and_then(|attached| attached.put_back(backplane));
        if let Some(mut replaced) = replaced {
            replaced.end(self);
        }
    }

    /// Has the backplane deliver what it holds.
    pub(in crate::reactor) fn release_held(&mut self) {
        self.run_backplane();
        if let Some(mut backplane) = self.backplane.as_mut().and_then(|attached| attached.take()) {
            backplane.release(self);
            self.put_back(backplane);
        }
    }

    /// Returns `true` if the backplane of this reactor may hold messages.
    pub(in crate::reactor) fn may_hold(&self) -> bool {
        self.backplane.is_some() && self.backplane_rules.hold_some()
    }

    /// Delivers what a backplane was to deliver that has panicked.
    fn do_without_backplane(&mut self) {
        let rules = mem::take(&mut self.backplane_rules);
        self.tell_others(|hub| hub.backplane_rules = Rules::default());
        let tasks = self.backplane.as_mut().map(|attached| mem::take(&mut attached.tasks)).unwrap_or_default();
        for task in tasks {
            if let Task::Publish(publication) = task
                && rules.hold(self.histories.is_kept(&publication.topic))
            {
                self.deliver_held(HeldMessage(publication), None);
            }
        }
    }
}

/// A publication as a backplane gets it.
fn as_published(publication: &Arc<Publication>) -> PublishedMessage<'_> {
    let (event, latest) = match &publication.manner {
        Manner::Message { .. } => (None, None),
        Manner::Latest(key) => (None, Some(&**key)),
        Manner::Event { name, .. } => (name.as_deref(), None),
    };
    PublishedMessage { topic: &publication.topic, message: &publication.message, event, latest, publication }
}

impl<K: Kernel> Reactor<K> {
    /// Has the backplane do what it has to do.
    #[cold]
    pub(in crate::reactor) fn call_backplane(&mut self) {
        if self.hub.has_backplane_tasks() {
            self.call_hub(Hub::run_backplane);
        }
    }
}
