//! Topics beyond the process: what is published here leaves by a backplane, and what others publish arrives by it.
//!
//! The Hub notes what the backplane has to do, and the loop calls it at the end of the turn: after all callbacks, and
//! before output is written. In a group the first reactor has the backplane of all.

mod attached;
mod calls;

use std::sync::Arc;

pub(super) use self::attached::Attached;
use super::{group::publication::Publication, hub::Hub, publish::history::HistoryLimits};
use crate::protocol::OwnedMessage;

/// Carries topics to other processes: a broker such as Redis, or a network of your own. Attach it by
/// [`Hub::set_backplane`].
///
/// Subscribers in this process get a message at once, unless the backplane [delivers it](Self::delivers_own).
/// [`publish`](Self::publish) is called with the message at the end of the turn and passes it on. The backplane calls
/// [`Hub::deliver`] with each message of another process, and never with one of this process.
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
/// drop(reactor);
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

    /// Returns `true` if subscribers in this process get what it publishes from the backplane, too: for one order of
    /// messages in all processes. Asked once, before [`start`](Self::start). Default `false`.
    ///
    /// The backplane then [holds](PublishedMessage::hold) each message that [`publish`](Self::publish) is called with,
    /// and calls [`Hub::deliver_held`] when it is its turn, or when no other process will get it.
    fn delivers_own(&self) -> bool {
        false
    }

    /// Returns `true` if the backplane keeps the histories of topics, and gives the ids of their events, so that they
    /// are the same in all processes. Asked once, before [`start`](Self::start). Default `false`.
    ///
    /// Topics with a history are then delivered as [`delivers_own`](Self::delivers_own) says, by
    /// [`Hub::deliver_held`] and [`Hub::deliver_event_with_id`].
    fn keeps_histories(&self) -> bool {
        false
    }

    /// Called when the loop begins to end, before connections are closed, of a backplane that
    /// [holds](Self::delivers_own) messages: it delivers them.
    fn release(&mut self, hub: &mut Hub) {}

    /// Called last, when another backplane takes its place: it delivers what it [holds](Self::delivers_own), and ends
    /// its connections. What others publish from now on is for the other backplane.
    fn end(&mut self, hub: &mut Hub) {
        self.release(hub);
    }

    /// Called when the history of a topic is to be kept from now on, and when its limits change.
    fn keep_history(&mut self, hub: &mut Hub, topic: &str, limits: HistoryLimits) {}

    /// Called when the history of a topic is forgotten in this process.
    fn forget_history(&mut self, hub: &mut Hub, topic: &str) {}

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
    /// The name, if it was published as an [`Event`](crate::Event) with one.
    pub event: Option<&'a str>,
    /// The key, if only the latest message of the key counts ([`Hub::publish_latest`]).
    pub latest: Option<&'a str>,
    publication: &'a Arc<Publication>,
}

impl PublishedMessage<'_> {
    /// The message with all that it was published with, for [`Hub::deliver_held`]. The payload is shared.
    pub fn hold(&self) -> HeldMessage {
        HeldMessage(Arc::clone(self.publication))
    }
}

/// A published message that subscribers in this process have not got yet.
#[derive(Debug, Clone)]
#[must_use]
pub struct HeldMessage(Arc<Publication>);

/// The rules of a backplane for publications of this process, as it was asked when it was attached.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    pub(super) delivers_own: bool,
    pub(super) keeps_histories: bool,
}

impl Rules {
    /// Returns `true` if a publication is delivered in this process by the backplane. `is_kept`: its topic has a
    /// history.
    pub(super) fn hold(self, is_kept: bool) -> bool {
        self.delivers_own || self.keeps_histories && is_kept
    }

    /// Returns `true` if publications may be held.
    pub(super) fn hold_some(self) -> bool {
        self.delivers_own || self.keeps_histories
    }
}
