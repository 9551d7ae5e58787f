//! Attaching a backplane, telling it what is to be done, and what it delivers.

use std::sync::Arc;

use super::{
    Backplane, PublishedMessage,
    attached::{Task, Waiter},
};
use crate::{
    net::Kernel,
    protocol::{Outgoing, event_stream::Event},
    reactor::{
        Reactor,
        group::publication::{Manner, Publication},
        hub::Hub,
        publish::{Published, event::Numbering, topics::TopicEdge},
        remote::{Command, Remote},
    },
};

impl Hub {
    /// Attaches a backplane, which joins the topics of this process with those of others. It replaces an earlier one.
    ///
    /// In a [group](crate::ReactorGroup) it is the backplane of all reactors, and the first reactor has it: calls on
    /// others have no effect, so that a set-up function may call it on each.
    pub fn set_backplane(&mut self, backplane: impl Backplane + 'static) {
        if self.group_index() > 0 {
            return;
        }
        let attached = self.backplane.get_or_insert_default();
        attached.replace(Box::new(backplane));
        let is_first = self.topics.report_edges();
        self.is_joined = true;
        if is_first {
            self.tell_others(|hub| _ = hub.topics.report_edges());
        }
    }

    /// Publishes a message that a [`Backplane`] has received from another process: to all subscribers in this one.
    ///
    /// The [history](Self::keep_history) of the topic gets it, too.
    pub fn deliver<'m>(&mut self, topic: &str, message: impl Into<Outgoing<'m>>) -> Published {
        let message = message.into();
        if !self.is_in_group() {
            return self.publish_here(topic, message, None, true, Numbering::Here);
        }
        self.deliver_in_group(Publication::new(topic, message, Manner::Message { except: None, compress: true }))
    }

    /// As [`deliver`](Self::deliver), for an event with its name.
    pub fn deliver_event(&mut self, topic: &str, event: Event<'_>) -> Published {
        if !self.is_in_group() {
            return self.publish_event_here(topic, event, Numbering::Here);
        }
        self.deliver_in_group(Publication::of_event(topic, event))
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

    /// Calls what was given to [`when_live`](Self::when_live).
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

    /// Notes that no messages of other processes arrive until their topics are confirmed again: for a [`Backplane`]
    /// that has lost its connection.
    pub fn revoke_topics(&mut self) {
        if let Some(attached) = &mut self.backplane {
            attached.revoke();
        }
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

    /// Calls the backplane.
    fn run_backplane(&mut self) {
        self.take_edges();
        let Some((mut backplane, tasks)) = self.backplane.as_mut().and_then(|attached| attached.take()) else { return };
        for task in tasks {
            match task {
                Task::Start => backplane.start(self),
                Task::Subscribe(topic) => backplane.subscribe(self, &topic),
                Task::Unsubscribe(topic) => {
                    backplane.unsubscribe(self, &topic);
                    let waiters = self.backplane.as_mut().map(|attached| attached.abandon(&topic)).unwrap_or_default();
                    waiters.into_iter().for_each(|waiter| self.end_wait(waiter));
                }
                Task::Publish(publication) => backplane.publish(self, publication.as_published()),
            }
        }
        if let Some(attached) = &mut self.backplane {
            attached.put_back(backplane);
        }
    }
}

impl Publication {
    /// The publication as a backplane gets it.
    fn as_published(&self) -> PublishedMessage<'_> {
        let (event, latest) = match &self.manner {
            Manner::Message { .. } => (None, None),
            Manner::Latest(key) => (None, Some(&**key)),
            Manner::Event { name, .. } => (name.as_deref(), None),
        };
        PublishedMessage { topic: &self.topic, message: &self.message, event, latest }
    }
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
