//! Topics beyond the process: what is published here leaves by a backplane, and what others publish arrives by it.
//!
//! The Hub notes what the backplane has to do, and the loop calls it at the end of the turn: after all callbacks, and
//! before output is written. In a group the first reactor has the backplane of all.

mod attached;
mod calls;

pub(super) use self::attached::Attached;
use super::hub::Hub;
use crate::protocol::OwnedMessage;

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
}
