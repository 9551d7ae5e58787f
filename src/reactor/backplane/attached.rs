//! An attached backplane: which topics have subscribers, which of them are live, and what is to be done.

use std::{
    collections::{HashMap, VecDeque},
    fmt, mem,
    sync::Arc,
};

use super::Backplane;
use crate::reactor::{HistoryLimits, group::publication::Publication, publish::topics::TopicEdge, remote::Remote};

/// A backplane with what it has to do.
#[derive(Default)]
pub(in crate::reactor) struct Attached {
    /// `None` while it is called, and after it has panicked.
    backplane: Option<Box<dyn Backplane>>,
    /// In their order.
    pub(super) tasks: VecDeque<Task>,
    topics: HashMap<Box<str>, TopicState>,
}

/// A topic with subscribers in this process.
#[derive(Debug, Default)]
struct TopicState {
    /// Reactors on which it has subscribers.
    reactors: usize,
    is_live: bool,
    /// Called when the topic is live.
    waiters: Vec<Waiter>,
    /// Called when the topic is no longer live.
    interruption_waiters: Vec<Waiter>,
}

/// A task of a backplane.
pub(super) enum Task {
    Start,
    Subscribe(Box<str>),
    Unsubscribe(Box<str>),
    Publish(Arc<Publication>),
    Keep(Box<str>, HistoryLimits),
    Forget(Box<str>),
    /// Another backplane has taken the place of this one, which has to do these tasks before it ends.
    Retire(Box<dyn Backplane>, VecDeque<Task>),
}

/// A waiter for the begin or the end of the time in which a topic is live: a key of this reactor, or of another one.
#[derive(Debug)]
pub(super) enum Waiter {
    Here(usize),
    Elsewhere(Remote, usize),
}

impl TopicState {
    /// Notes that the topic is no longer live. Returns the waiters for that.
    fn interrupt(&mut self) -> Vec<Waiter> {
        self.is_live = false;
        mem::take(&mut self.interruption_waiters)
    }
}

impl Attached {
    /// Attaches another backplane, which has to subscribe all topics, and to keep the histories. Returns the
    /// waiters for an interruption.
    pub(super) fn replace(
        &mut self,
        backplane: Box<dyn Backplane>,
        kept: impl Iterator<Item = (Box<str>, HistoryLimits)>,
    ) -> Vec<Waiter> {
        let old = self.backplane.replace(backplane).map(|old| Task::Retire(old, mem::take(&mut self.tasks)));
        let interrupted = self.topics.values_mut().flat_map(TopicState::interrupt).collect();
        let subscribe = self.topics.keys().cloned().map(Task::Subscribe);
        let keep = kept.map(|(topic, limits)| Task::Keep(topic, limits));
        self.tasks = old.into_iter().chain([Task::Start]).chain(subscribe).chain(keep).collect();
        interrupted
    }

    /// Notes that a topic has begun or ceased to have subscribers on a reactor.
    pub(super) fn note_edge(&mut self, edge: &TopicEdge) {
        let topic = &edge.topic;
        if edge.has_subscribers {
            let state = self.topics.entry(topic.clone()).or_default();
            state.reactors += 1;
            if state.reactors == 1 {
                self.tasks.push_back(Task::Subscribe(topic.clone()));
            }
        } else if let Some(state) = self.topics.get_mut(topic) {
            state.reactors -= 1;
            if state.reactors == 0 {
                state.is_live = false;
                self.tasks.push_back(Task::Unsubscribe(topic.clone()));
            }
        }
    }

    /// Adds a waiter for a topic. Returns it if there is nothing to wait for.
    pub(super) fn wait(&mut self, topic: &str, waiter: Waiter) -> Option<Waiter> {
        match self.topics.get_mut(topic) {
            Some(state) if !state.is_live && state.reactors > 0 => {
                state.waiters.push(waiter);
                None
            }
            _ => Some(waiter),
        }
    }

    /// Adds a waiter for the interruption of a topic. Returns it if the topic is not live.
    pub(super) fn wait_for_interruption(&mut self, topic: &str, waiter: Waiter) -> Option<Waiter> {
        match self.topics.get_mut(topic) {
            Some(state) if state.is_live => {
                state.interruption_waiters.push(waiter);
                None
            }
            _ => Some(waiter),
        }
    }

    /// Notes that a topic is live. Returns who has waited for that.
    pub(super) fn confirm(&mut self, topic: &str) -> Vec<Waiter> {
        let Some(state) = self.topics.get_mut(topic).filter(|state| state.reactors > 0) else { return Vec::new() };
        state.is_live = true;
        mem::take(&mut state.waiters)
    }

    /// Notes that a topic is no longer live. Returns the waiters for that.
    pub(super) fn revoke(&mut self, topic: &str) -> Vec<Waiter> {
        self.topics.get_mut(topic).map(TopicState::interrupt).unwrap_or_default()
    }

    /// Forgets a topic that the backplane has unsubscribed, unless it has subscribers again. Returns who has waited.
    pub(super) fn abandon(&mut self, topic: &str) -> Vec<Waiter> {
        match self.topics.get(topic) {
            Some(state) if state.reactors == 0 => {
                let state = self.topics.remove(topic).unwrap_or_default();
                state.waiters.into_iter().chain(state.interruption_waiters).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Takes the backplane, to call it.
    pub(super) fn take(&mut self) -> Option<Box<dyn Backplane>> {
        self.backplane.take()
    }

    /// Puts the backplane back. Returns it if it was replaced meanwhile.
    pub(super) fn put_back(&mut self, backplane: Box<dyn Backplane>) -> Option<Box<dyn Backplane>> {
        match self.backplane {
            Some(_) => Some(backplane),
            None => {
                self.backplane = Some(backplane);
                None
            }
        }
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Attached")
            .field("tasks", &self.tasks.len())
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}
