//! Topics beyond the process: what is published here leaves by a backplane, and what others publish arrives by it.
//!
//! The Hub notes what the backplane has to do, and the loop calls it at the end of the turn: after all callbacks, and
//! before output is written. In a group the first reactor has the backplane of all.

mod attached;

use std::sync::Arc;

pub(super) use self::attached::Attached;
use self::attached::{Task, Waiter};
use super::{
    Reactor,
    group::publication::{Manner, Publication},
    hub::Hub,
    publish::{Published, event::Numbering},
    remote::{Command, Remote},
};
use crate::{
    net::Kernel,
    protocol::{Outgoing, OwnedMessage, event_stream::Event},
};

/// Carries topics to other processes: a broker such as Redis, or a network of your own. Attach it by
/// [`Hub::set_backplane`].
///
/// Subscribers in this process get a message at once, whatever the backplane does. The backplane is told of it at the
/// end of the turn, passes it on, and calls [`Hub::deliver`] with what other processes have published. A message must
/// not come back to the process that has published it.
///
/// The methods are called on the loop and must not block: open connections by
/// [`Hub::connect_stream`](crate::Hub::connect_stream) or [`Hub::open_datagram`](crate::Hub::open_datagram), or hand
/// work to a thread that answers by a [`Remote`](crate::Remote).
///
/// ```
/// use std::sync::mpsc;
/// use ws_reactor::{Backplane, Hub, PublishedMessage, Reactor};
///
/// /// Passes messages on to a thread.
/// struct ToThread(mpsc::Sender<(String, String)>);
///
/// impl Backplane for ToThread {
///     fn publish(&mut self, _: &mut Hub, published: PublishedMessage<'_>) {
///         let _ = self.0.send((published.topic.to_owned(), published.message.to_string()));
///     }
/// }
///
/// let (sender, receiver) = mpsc::channel();
/// let mut reactor = Reactor::new()?;
/// let hub = reactor.hub();
/// hub.set_backplane(ToThread(sender));
/// hub.publish("news", "hello");
/// hub.publish_local("news", "not for others");
/// hub.stop();
/// reactor.run()?;
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), [("news".to_owned(), "hello".to_owned())]);
/// # Ok::<(), ws_reactor::Error>(())
/// ```
#[allow(unused_variables)]
pub trait Backplane {
    /// Called once, first, at the end of the turn in which the backplane was attached.
    fn start(&mut self, hub: &mut Hub) {}

    /// Called when a topic has its first subscriber in this process.
    ///
    /// Call [`Hub::confirm_topic`] once messages of other processes arrive: in this method or later.
    fn subscribe(&mut self, hub: &mut Hub, topic: &str) {
        hub.confirm_topic(topic);
    }

    /// Called when a topic has lost its last subscriber in this process.
    fn unsubscribe(&mut self, hub: &mut Hub, topic: &str) {}

    /// Called with what this process has published, in the order of publishing.
    fn publish(&mut self, hub: &mut Hub, published: PublishedMessage<'_>);
}

/// A message that this process has published, for a [`Backplane`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PublishedMessage<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The message. A clone of it shares the payload.
    pub message: &'a OwnedMessage,
    /// The name, if it was published as an [`Event`] with one.
    pub event: Option<&'a str>,
    /// The key, if only the latest message of the key counts ([`Hub::publish_latest`]).
    pub latest: Option<&'a str>,
}

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
    pub(super) fn call_live(&mut self, key: usize) {
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
    pub(super) fn pass_to_backplane(&mut self, publication: &Arc<Publication>) {
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
    pub(super) fn take_edges(&mut self) {
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
    pub(super) fn note_edge(&mut self, edge: &TopicEdge) {
        if let Some(attached) = &mut self.backplane {
            attached.note_edge(edge);
        }
    }

    /// Returns `true` if publications wait for the end of the turn.
    #[cold]
    pub(super) fn has_publications(&self) -> bool {
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

impl<K: Kernel> Reactor<K> {
    /// Has the backplane do what it has to do.
    #[cold]
    pub(super) fn call_backplane(&mut self) {
        if self.hub.has_backplane_tasks() {
            self.call_hub(Hub::run_backplane);
        }
    }
}

/// A topic has begun or ceased to have subscribers on a reactor.
#[derive(Debug)]
pub(crate) struct TopicEdge {
    pub(crate) topic: Box<str>,
    pub(crate) has_subscribers: bool,
}
