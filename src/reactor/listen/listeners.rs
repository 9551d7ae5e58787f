//! Open listeners: which of them accept, and which are parked because the system has no room for a connection.

use std::{fmt, io, mem, rc::Rc};

use slab::Slab;

use crate::net::PeerRules;
use crate::reactor::{
    group::SharedListener,
    id::{IdSource, ListenerId, TimerId},
    listen::Service,
    timer::{task::Task, timers::Timers},
};

/// Connections in a row that may fail before they are accepted; then the listener is parked.
const MAX_ACCEPT_FAILURES: u32 = 64;

/// An open listener with its socket.
pub(in crate::reactor) struct Listener<L> {
    id: ListenerId,
    /// `None` if another reactor of the group accepts.
    pub(in crate::reactor) socket: Option<L>,
    /// Other reactors of the group listen at the same address.
    pub(in crate::reactor) shared: Option<SharedListener>,
    pub(in crate::reactor) service: Rc<dyn Service>,
    pub(in crate::reactor) rules: Rc<PeerRules>,
    /// Connections may be waiting in the backlog; no further event reports it.
    ready: bool,
    /// Set while the listener is parked. The timer tries again.
    parked: Option<TimerId>,
    /// Consecutive accepts that have failed.
    failures: u32,
}

impl<L: fmt::Debug> fmt::Debug for Listener<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Listener")
            .field("socket", &self.socket)
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}

/// The open listeners of a reactor.
pub(in crate::reactor) struct Listeners<L> {
    open: Slab<Listener<L>>,
    ids: IdSource,
    /// Key of the listener that accepts first in the next turn.
    first: usize,
    /// At least one listener has connections waiting and is not parked.
    accepting: bool,
}

impl<L> Listeners<L> {
    pub(in crate::reactor) fn new(ids: IdSource) -> Self {
        Listeners { open: Slab::new(), ids, first: 0, accepting: false }
    }

    /// Key of the next listener.
    pub(in crate::reactor) fn next_key(&self) -> usize {
        self.open.vacant_key()
    }

    /// Adds a listener at [`next_key`](Self::next_key).
    pub(in crate::reactor) fn insert(
        &mut self,
        socket: Option<L>,
        service: Rc<dyn Service>,
        rules: PeerRules,
        mut shared: Option<SharedListener>,
    ) -> ListenerId {
        let (id, rules) = (self.ids.listener(self.open.vacant_key()), Rc::new(rules));
        if let Some(shared) = &mut shared {
            shared.join(id);
        }
        self.open.insert(Listener { id, socket, shared, service, rules, ready: false, parked: None, failures: 0 });
        id
    }

    /// Removes a listener and cancels its timer.
    pub(in crate::reactor) fn remove(&mut self, id: ListenerId, timers: &mut Timers<Task>) -> Option<Listener<L>> {
        self.get_mut(id)?;
        let mut listener = self.open.remove(id.key());
        listener.unpark(timers);
        Some(listener)
    }

    /// Removes all listeners and cancels their timers.
    pub(in crate::reactor) fn remove_all(&mut self, timers: &mut Timers<Task>) -> Vec<Listener<L>> {
        let removed = mem::take(&mut self.open).into_iter().map(|(_, mut listener)| {
            listener.unpark(timers);
            listener
        });
        removed.collect()
    }

    /// Notes that a listener has connections waiting.
    pub(in crate::reactor) fn mark_ready(&mut self, key: usize) {
        // An event of a former listener may come to one that does not accept.
        if let Some(listener) = self.open.get_mut(key).filter(|listener| listener.socket.is_some()) {
            listener.ready = true;
            self.accepting = true;
        }
    }

    /// Returns `true` if a listener has connections waiting and is not parked.
    pub(in crate::reactor) fn are_accepting(&self) -> bool {
        self.accepting
    }

    /// Keys in the order of accepting. If file descriptors are scarce, the listeners take turns.
    pub(in crate::reactor) fn keys(&self) -> impl Iterator<Item = usize> + use<L> {
        let (end, first) = (self.open.capacity(), self.first.min(self.open.capacity()));
        (first..end).chain(0..first)
    }

    /// The listener at a key, if it has connections waiting and is not parked.
    pub(in crate::reactor) fn ready_mut(&mut self, key: usize) -> Option<&mut Listener<L>> {
        self.open.get_mut(key).filter(|listener| listener.may_accept())
    }

    /// Updates [`are_accepting`](Self::are_accepting) after a change of any listener.
    pub(in crate::reactor) fn update_accepting(&mut self) {
        self.accepting = self.open.iter().any(|(_, listener)| listener.may_accept());
    }

    /// Notes that a listener has accepted a connection.
    pub(in crate::reactor) fn on_accepted(&mut self, key: usize) {
        self.open[key].failures = 0;
        self.first = key + 1;
    }

    /// Notes that accepting has failed. Returns the listener's id if the listener has to be parked.
    pub(in crate::reactor) fn on_error(&mut self, key: usize, kind: io::ErrorKind) -> Option<ListenerId> {
        let listener = &mut self.open[key];
        match kind {
            io::ErrorKind::WouldBlock => listener.ready = false,
            // These errors concern one connection, which is gone; the next may be sound.
            io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::TimedOut
            | io::ErrorKind::PermissionDenied
                if listener.failures < MAX_ACCEPT_FAILURES =>
            {
                listener.failures += 1;
            }
            _ => return Some(listener.id),
        }
        None
    }

    /// Parks a listener until the timer fires or a connection ends.
    pub(in crate::reactor) fn park(&mut self, id: ListenerId, timer: TimerId) {
        if let Some(listener) = self.get_mut(id) {
            listener.parked = Some(timer);
        }
    }

    /// Ends the parking of a listener: its timer has fired.
    pub(in crate::reactor) fn unpark(&mut self, id: ListenerId) {
        if let Some(listener) = self.get_mut(id) {
            listener.parked = None;
        }
        self.update_accepting();
    }

    /// Ends the parking of all listeners: a connection has ended and freed a file descriptor.
    pub(in crate::reactor) fn unpark_all(&mut self, timers: &mut Timers<Task>) {
        self.open.iter_mut().for_each(|(_, listener)| listener.unpark(timers));
        self.update_accepting();
    }

    /// The service and the rules of a listener.
    pub(in crate::reactor) fn service(&self, id: ListenerId) -> Option<(Rc<dyn Service>, Rc<PeerRules>)> {
        let listener = self.open.get(id.key()).filter(|listener| listener.id == id)?;
        Some((Rc::clone(&listener.service), Rc::clone(&listener.rules)))
    }

    fn get_mut(&mut self, id: ListenerId) -> Option<&mut Listener<L>> {
        self.open.get_mut(id.key()).filter(|listener| listener.id == id)
    }
}

impl<L> Listener<L> {
    fn may_accept(&self) -> bool {
        self.ready && self.parked.is_none()
    }

    fn unpark(&mut self, timers: &mut Timers<Task>) {
        if let Some(timer) = self.parked.take() {
            timers.cancel(timer);
        }
    }
}

impl<L: fmt::Debug> fmt::Debug for Listeners<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.open.iter()).finish()
    }
}
