//! Answers of all reactors of a group.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use slab::Slab;

use super::SEQUENCER;
use crate::reactor::{
    hub::Hub,
    id::TimerId,
    remote::{Command, Remote},
};

/// Time after which answers are delivered without those that have not arrived.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers that arrive. The last one to drop it delivers them: each command holds one, and drops it when it was
/// executed, or when its reactor has ended.
struct Gathering<T: Send + 'static> {
    /// `None` once they are delivered.
    answers: Mutex<Option<Vec<(usize, T)>>>,
    /// The reactor that has asked, and the key of its receiver.
    asker: Remote,
    key: usize,
}

impl<T: Send> Gathering<T> {
    fn add(&self, index: usize, answer: T) {
        if let Some(answers) = &mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner) {
            answers.push((index, answer));
        }
    }

    /// The answers in the order of the reactors, once.
    fn take(&self) -> Option<Vec<T>> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        answers.sort_by_key(|(index, _)| *index);
        Some(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

impl<T: Send> Drop for Gathering<T> {
    fn drop(&mut self) {
        if let Some(answers) = self.take() {
            self.asker.push_surely(Command::Answered(self.key, Box::new(answers)));
        }
    }
}

/// Receivers of answers, each with the timer after which it waits no longer.
#[derive(Default)]
pub(in crate::reactor) struct Asks(Slab<(TimerId, Done)>);

/// Gets the answers, of a type that it knows.
type Done = Box<dyn FnOnce(&mut Hub, Box<dyn Any>)>;

impl fmt::Debug for Asks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Asks").field(&self.0.len()).finish()
    }
}

impl Hub {
    /// Calls `ask` on every reactor of the [group](crate::ReactorGroup), this one included, then `done` on this one
    /// with the results, in the order of the reactors.
    ///
    /// `ask` is executed as a command, in a later turn of each reactor. No reactor waits for another. The result of a
    /// reactor is missing if that has ended, if its `ask` panicked, if its command queue is full, and if it does not
    /// answer within 5 s. Outside of a group there is one result.
    ///
    /// ```
    /// use ws_reactor::Reactor;
    ///
    /// let mut reactor = Reactor::new()?;
    /// reactor.hub().ask_group(
    ///     |hub| hub.subscribers("news"),
    ///     |hub, counts| {
    ///         println!("{} subscribers", counts.iter().sum::<usize>());
    ///         hub.stop();
    ///     },
    /// );
    /// reactor.run()?;
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn ask_group<T: Send + 'static>(
        &mut self,
        ask: impl Fn(&mut Hub) -> T + Send + Sync + 'static,
        done: impl FnOnce(&mut Hub, Vec<T>) + 'static,
    ) {
        let key = self.asks.0.vacant_key();
        let gathering = Arc::new(Gathering { answers: Mutex::new(Some(Vec::new())), asker: self.remote(), key });
        let (ask, of_timer) = (Arc::new(ask), Arc::downgrade(&gathering));
        let timer = self.add_timer(PATIENCE, move |hub| {
            if let Some(answers) = of_timer.upgrade().and_then(|gathering| gathering.take()) {
                hub.deliver_answers(key, Box::new(answers));
            }
        });
        self.asks.0.insert((
            timer,
            Box::new(|hub, answers| {
                done(hub, *answers.downcast().expect("the type of these answers"));
            }),
        ));
        self.hand_on();
        let own = self.group_index();
        for (index, remote) in self.group_remotes().enumerate() {
            let (ask, gathering) = (Arc::clone(&ask), Arc::clone(&gathering));
            let answer = move |hub: &mut Hub| {
                let answer = ask(hub);
                gathering.add(index, answer);
            };
            if index == own {
                remote.push_surely(Command::Run(Box::new(answer)));
            } else if let Err(error) = remote.run(answer) {
                log::debug!(target: "ws_reactor::cluster", "reactor {index} is not asked: {error}");
            }
        }
    }

    /// Calls the receiver of answers.
    pub(in crate::reactor) fn deliver_answers(&mut self, key: usize, answers: Box<dyn Any>) {
        if let Some((timer, done)) = self.asks.0.try_remove(key) {
            self.cancel_timer(timer);
            done(self, answers);
        }
    }

    /// Calls `call` on every other reactor of the group, in a later turn. Nothing happens outside of a group.
    pub(in crate::reactor) fn tell_others(&mut self, call: impl Fn(&mut Hub) + Send + Sync + 'static) {
        if !self.is_in_group() {
            return;
        }
        self.hand_on();
        let (own, call) = (self.group_index(), Arc::new(call));
        for (_, remote) in self.group_remotes().enumerate().filter(|(index, _)| *index != own) {
            let call = Arc::clone(&call);
            remote.push_surely(Command::Run(Box::new(move |hub| call(hub))));
        }
    }

    /// Calls `call` on the reactor that gives the ids of events, in a later turn.
    pub(in crate::reactor) fn tell_sequencer(&mut self, call: impl FnOnce(&mut Hub) + Send + 'static) {
        self.hand_on();
        if let Some(remote) = self.group_remotes().nth(SEQUENCER) {
            remote.push_surely(Command::Run(Box::new(call)));
        }
    }

    /// Returns `true` if the reactor is in a group and another one gives the ids of events.
    pub(in crate::reactor) fn has_sequencer_elsewhere(&self) -> bool {
        self.membership.as_ref().is_some_and(|membership| !membership.is_sequencer())
    }

    /// A [`Remote`] of each reactor of the [group](crate::ReactorGroup), in their order. Outside of a group there is
    /// one.
    pub fn group_remotes(&self) -> impl Iterator<Item = Remote> + use<> {
        let remotes = match &self.membership {
            Some(membership) => membership.group.remotes(self.time_slice.clock),
            None => vec![self.remote()],
        };
        remotes.into_iter()
    }

    /// Index of this reactor in its [group](crate::ReactorGroup), from 0. Outside of a group, 0.
    pub fn group_index(&self) -> usize {
        self.membership.as_ref().map_or(0, |membership| membership.index())
    }

    /// Number of reactors in the [group](crate::ReactorGroup). Outside of a group, 1.
    pub fn group_size(&self) -> usize {
        self.membership.as_ref().map_or(1, |membership| membership.group.members.len())
    }

    /// Number of subscribers of a topic on all reactors of the [group](crate::ReactorGroup), as
    /// [`ask_group`](Self::ask_group) delivers it.
    pub fn count_subscribers(&mut self, topic: &str, done: impl FnOnce(&mut Hub, usize) + 'static) {
        let topic = topic.to_owned();
        self.ask_group(move |hub| hub.subscribers(&topic), |hub, counts: Vec<usize>| done(hub, counts.iter().sum()));
    }
}
