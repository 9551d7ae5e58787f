//! Sources of events of the application, beside streams and listeners: anything that mio can watch.
//!
//! The Hub keeps each source with its handler, as it keeps the functions of timers, and the loop calls it.

mod run;

use std::{any::Any, collections::VecDeque, fmt, io};

use slab::Slab;

use super::{
    hub::Hub,
    id::{IdSource, SourceId},
    slack::shrink_slab,
};
use crate::net::{Interest, PollSource, Readiness};

/// Handler of a source of events that is not a stream, such as a UDP socket, a pipe, or a descriptor.
///
/// `S` is any source of [`mio`](crate::mio). Register it by [`Reactor::register`](crate::Reactor::register) or
/// [`Hub::register`]. [`Hub::open_datagram`] is made of it, and with the feature `signals` `on_signal` and `spawn`.
///
/// **Events are edge-triggered**: [`on_ready`](Self::on_ready) is called once when the source becomes ready. Read or
/// write until the source answers [`WouldBlock`](io::ErrorKind::WouldBlock), or ask for another call by
/// [`Source::call_again`]; otherwise no further event comes.
///
/// A handler that panics is removed with its source.
///
/// ```
/// use std::io::{ErrorKind, Read};
/// use ws_reactor::{Interest, Reactor, Readiness, Source, SourceHandler, mio::unix::pipe};
///
/// /// Prints what arrives on a pipe.
/// struct Printer;
///
/// impl SourceHandler<pipe::Receiver> for Printer {
///     fn on_ready(&mut self, source: &mut Source<'_, pipe::Receiver>, _: Readiness) {
///         let mut buffer = [0; 4096];
///         match source.get_mut().read(&mut buffer) {
///             Ok(0) => source.deregister(),
///             Ok(length) => {
///                 print!("{}", String::from_utf8_lossy(&buffer[..length]));
///                 source.call_again();
///             }
///             Err(error) if error.kind() == ErrorKind::WouldBlock => {}
///             Err(_) => source.deregister(),
///         }
///     }
/// }
///
/// let mut reactor = Reactor::new()?;
/// let (_sender, receiver) = pipe::new()?;
/// reactor.register(receiver, Interest::READABLE, Printer)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[allow(unused_variables)]
pub trait SourceHandler<S> {
    /// Called when the source is ready, once for each change, and after [`Source::call_again`].
    fn on_ready(&mut self, source: &mut Source<'_, S>, readiness: Readiness);

    /// Called with a value of [`Hub::notify_source`].
    fn on_event(&mut self, source: &mut Source<'_, S>, event: &dyn Any) {}

    /// Called when a [shutdown](Hub::shutdown) begins. The default does nothing: sources do not keep a loop from
    /// ending, and stay registered for its next run.
    fn on_shutdown(&mut self, source: &mut Source<'_, S>) {}

    /// Called when the system refuses to watch the source. The source is removed.
    fn on_error(&mut self, source: &mut Source<'_, S>, error: &io::Error) {}
}

/// Handle of a source during a callback of its [`SourceHandler`].
pub struct Source<'a, S> {
    hub: &'a mut Hub,
    source: &'a mut S,
    id: SourceId,
    after: After,
}

/// What a callback has requested.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct After {
    again: bool,
    interest: Option<Interest>,
}

impl<S> Source<'_, S> {
    /// Id of the source, by which the [`Hub`] addresses it.
    pub fn id(&self) -> SourceId {
        self.id
    }

    /// The source, for reading and writing.
    pub fn get_mut(&mut self) -> &mut S {
        self.source
    }

    /// Returns the [`Hub`]: connections, topics, timers and the loop.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }

    /// The [`Hub`] and the source, to use one with the other.
    pub fn parts(&mut self) -> (&mut Hub, &mut S) {
        (self.hub, self.source)
    }

    /// Returns `true` after [`deregister`](Self::deregister).
    pub fn is_removed(&self) -> bool {
        !self.hub.is_registered(self.id)
    }

    /// Calls [`on_ready`](SourceHandler::on_ready) again in the next turn, which does not wait: for a handler that
    /// stops before the source is empty, to let connections proceed.
    pub fn call_again(&mut self) {
        self.after.again = true;
    }

    /// Changes what is watched, after this callback. What is ready then is reported again.
    pub fn set_interest(&mut self, interest: Interest) {
        self.after.interest = Some(interest);
    }

    /// Returns `false` if what the callbacks of this turn have published has used up
    /// [`ReactorConfig::delivery_budget`](field@crate::ReactorConfig::delivery_budget): a handler in a loop stops, and
    /// asks for [another call](Self::call_again).
    pub fn has_budget(&self) -> bool {
        self.hub.deliveries_left > 0
    }

    /// Removes and drops the source after this callback.
    pub fn deregister(&mut self) {
        self.hub.deregister(self.id);
    }
}

impl<S> fmt::Debug for Source<'_, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Source").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A callback of a [`SourceHandler`].
#[derive(Clone, Copy)]
pub(super) enum Call<'c> {
    Ready(Readiness),
    Event(&'c dyn Any),
    Shutdown,
    Failed(&'c io::Error),
}

/// A source with its handler.
pub(super) trait Entry {
    fn source(&mut self) -> &mut dyn PollSource;
    fn call(&mut self, hub: &mut Hub, id: SourceId, call: Call<'_>) -> After;
}

struct Registered<S, H> {
    source: S,
    handler: H,
}

impl<S: PollSource, H: SourceHandler<S>> Entry for Registered<S, H> {
    fn source(&mut self) -> &mut dyn PollSource {
        &mut self.source
    }

    fn call(&mut self, hub: &mut Hub, id: SourceId, call: Call<'_>) -> After {
        let mut source = Source { hub, source: &mut self.source, id, after: After::default() };
        match call {
            Call::Ready(readiness) => self.handler.on_ready(&mut source, readiness),
            Call::Event(event) => self.handler.on_event(&mut source, event),
            Call::Shutdown => self.handler.on_shutdown(&mut source),
            Call::Failed(error) => self.handler.on_error(&mut source, error),
        }
        source.after
    }
}

/// The sources of a reactor.
pub(super) struct Sources {
    slots: Slab<Slot>,
    ids: IdSource,
    /// The system watches sources: no simulation does.
    are_watched: bool,
}

struct Slot {
    id: SourceId,
    /// `None` while the handler is being called.
    entry: Option<Box<dyn Entry>>,
    /// Removed as soon as the loop comes to it.
    is_removed: bool,
    /// Is in the list of sources to call.
    is_listed: bool,
    /// The last call has asked for another.
    is_asking: bool,
    /// The turn of the last call for readiness.
    called_in: Option<u64>,
}

impl Sources {
    pub(super) fn new(ids: IdSource, are_watched: bool) -> Self {
        Sources { slots: Slab::new(), ids, are_watched }
    }

    pub(super) fn insert(&mut self, entry: Box<dyn Entry>) -> SourceId {
        let vacant = self.slots.vacant_entry();
        let id = self.ids.source(vacant.key());
        vacant.insert(Slot {
            id,
            entry: Some(entry),
            is_removed: false,
            is_listed: false,
            is_asking: false,
            called_in: None,
        });
        id
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Frees unused capacity.
    pub(super) fn shrink(&mut self) {
        shrink_slab(&mut self.slots);
    }

    fn get_mut(&mut self, id: SourceId) -> Option<&mut Slot> {
        self.slots.get_mut(id.key()).filter(|slot| slot.id == id)
    }

    fn get(&self, id: SourceId) -> Option<&Slot> {
        self.slots.get(id.key()).filter(|slot| slot.id == id)
    }

    fn id_of(&self, key: usize) -> Option<SourceId> {
        self.slots.get(key).map(|slot| slot.id)
    }

    fn ids(&self) -> Vec<SourceId> {
        self.slots.iter().map(|(_, slot)| slot.id).collect()
    }

    /// Takes the source out for a call, unless it is removed.
    fn take(&mut self, id: SourceId) -> Option<Box<dyn Entry>> {
        self.get_mut(id).filter(|slot| !slot.is_removed)?.entry.take()
    }

    /// Puts the source back after a call.
    fn put_back(&mut self, id: SourceId, entry: Box<dyn Entry>) {
        if let Some(slot) = self.get_mut(id) {
            slot.entry = Some(entry);
        }
    }

    fn remove(&mut self, id: SourceId) -> Option<Box<dyn Entry>> {
        self.get_mut(id)?;
        self.slots.remove(id.key()).entry
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Sources").field(&self.len()).finish()
    }
}

/// What the loop has to do for sources.
#[derive(Debug, Default)]
pub(super) struct SourceWork {
    /// One of the lists is not empty, so that the loop looks at one thing in each turn.
    is_due: bool,
    /// To watch.
    added: Vec<(SourceId, Interest)>,
    /// Events of the application.
    events: VecDeque<SourceEvent>,
    /// To call because they have asked for it, each once, with the number of the turn in which it asked.
    calls: VecDeque<(SourceId, u64)>,
    removed: Vec<SourceId>,
}

impl SourceWork {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        !self.is_due
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.added.shrink_to_fit();
        self.events.shrink_to_fit();
        self.calls.shrink_to_fit();
        self.removed.shrink_to_fit();
    }

    /// The lists, of which one is added to.
    fn due(&mut self) -> &mut Self {
        self.is_due = true;
        self
    }

    /// The lists were worked off, as far as the budgets have allowed.
    fn settle(&mut self) {
        self.is_due =
            !(self.added.is_empty() && self.events.is_empty() && self.calls.is_empty() && self.removed.is_empty());
    }
}

/// An event of the application for a source.
pub(super) struct SourceEvent {
    id: SourceId,
    value: Box<dyn Any>,
}

impl fmt::Debug for SourceEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SourceEvent({})", self.id)
    }
}

impl Hub {
    /// Watches a source of [`mio`](crate::mio) in the course of this turn; see [`SourceHandler`].
    ///
    /// If the system refuses, `on_error` is called, and the source is removed. Only a reactor on the operating system
    /// watches such sources; in a simulation and in a replay this is such an error.
    /// [`Reactor::register`](crate::Reactor::register) returns the error.
    pub fn register<S: PollSource + 'static>(
        &mut self,
        source: S,
        interest: Interest,
        handler: impl SourceHandler<S> + 'static,
    ) -> SourceId {
        let id = self.sources.insert(Box::new(Registered { source, handler }));
        self.deferred.sources.due().added.push((id, interest));
        id
    }

    /// An error unless this reactor is on the operating system, before something is done that only a watched source
    /// would notice.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) in a simulation and in a replay.
    pub(crate) fn check_sources_are_watched(&self) -> io::Result<()> {
        if self.sources.are_watched { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    /// Removes and drops a source in the course of this turn. No method of its handler is called any more. Returns
    /// `false` if the source was removed before.
    pub fn deregister(&mut self, id: SourceId) -> bool {
        let Some(slot) = self.sources.get_mut(id).filter(|slot| !slot.is_removed) else { return false };
        slot.is_removed = true;
        self.deferred.sources.due().removed.push(id);
        true
    }

    /// Returns `true` until the source is removed.
    pub fn is_registered(&self, id: SourceId) -> bool {
        self.sources.get(id).is_some_and(|slot| !slot.is_removed)
    }

    /// Delivers a value to the handler of a source by calling [`on_event`](SourceHandler::on_event), in the course of
    /// this turn or the next. Returns `false`, and drops the value, if the source was removed.
    ///
    /// Another thread uses [`Remote::run`](crate::Remote::run).
    pub fn notify_source(&mut self, id: SourceId, event: impl Any) -> bool {
        let is_there = self.is_registered(id);
        if is_there {
            self.deferred.sources.due().events.push_back(SourceEvent { id, value: Box::new(event) });
        }
        is_there
    }
}
