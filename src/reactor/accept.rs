//! Listeners: opening, accepting within a budget, and parking when the system has no room.

use std::{io, mem, rc::Rc, time::Duration};

use super::{
    Reactor,
    hub::Running,
    id::ListenerId,
    listen::{Listener, Listening, Opened, Service},
    task::Task,
    token::Token,
};
use crate::{
    error::ListenError,
    net::{Bind, Kernel},
};

/// Time for which a listener is parked when the system has no room for a connection. The end of another connection
/// unparks it earlier. With edge triggers nothing else would wake the listener.
const PARKED: Duration = Duration::from_millis(100);

/// Connections in a row that may fail before they are accepted; then the listener is parked.
const MAX_ACCEPT_FAILURES: u32 = 64;

impl<K: Kernel> Reactor<K> {
    pub(crate) fn open(&mut self, bind: Bind, service: Rc<dyn Service>) -> Result<Listening, ListenError> {
        if matches!(self.hub.running, Running::ShutdownRequested(_) | Running::ShuttingDown) {
            return Err(ListenError::ShuttingDown { address: bind.address().to_owned() });
        }
        let entry = self.listeners.vacant_entry();
        let key = entry.key();
        let (socket, addr) = self
            .kernel
            .bind(&bind, Token::Listener(key).into())
            .map_err(|source| ListenError::Bind { address: bind.address().to_owned(), source })?;
        let id = self.listener_ids.listener(key);
        entry.insert(Listener { id, socket, service, ready: false, parked: None, failures: 0 });
        log::debug!(target: "ws_reactor::net", "listening on {addr}");
        Ok(Listening { id, addr })
    }

    /// Opens and closes the listeners that handlers requested, and reports the results.
    #[inline]
    pub(super) fn open_and_close_listeners(&mut self) {
        if !(self.hub.deferred.openings.is_empty() && self.hub.deferred.closed_listeners.is_empty()) {
            self.open_and_close_requested_listeners();
        }
    }

    #[cold]
    fn open_and_close_requested_listeners(&mut self) {
        for opening in mem::take(&mut self.hub.deferred.openings) {
            let opened = match self.hub.running {
                Running::Yes => self.open(opening.bind, opening.service),
                _ => Err(ListenError::ShuttingDown { address: opening.bind.address().to_owned() }),
            };
            self.report_opened(opening.then, opened);
        }
        for id in mem::take(&mut self.hub.deferred.closed_listeners) {
            if self.listeners.get(id.key()).is_some_and(|listener| listener.id == id) {
                let closed = self.listeners.remove(id.key());
                self.forget_listener(closed);
            }
        }
    }

    fn report_opened(&mut self, then: Opened, opened: Result<Listening, ListenError>) {
        self.call_hub(move |hub| then(hub, opened));
    }

    pub(super) fn close_listeners(&mut self) {
        for listener in mem::take(&mut self.listeners) {
            self.forget_listener(listener.1);
        }
    }

    /// Notes that a listener has connections waiting.
    pub(super) fn mark_ready(&mut self, key: usize) {
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.ready = true;
            self.accepting = true;
        }
    }

    /// Ends the parking of a listener.
    pub(super) fn unpark(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(id.key()).filter(|listener| listener.id == id) {
            listener.parked = None;
        }
        self.accepting = self.may_accept();
    }

    /// Unparks all listeners: a connection has ended and freed a file descriptor.
    pub(super) fn unpark_all(&mut self) {
        for (_, listener) in &mut self.listeners {
            if let Some(timer) = listener.parked.take() {
                self.hub.timers.cancel(timer);
            }
        }
        self.accepting = self.may_accept();
    }

    /// Accepts from every listener that has connections waiting, within the budget.
    pub(super) fn accept(&mut self) {
        if !self.accepting {
            return;
        }
        let places = self.listeners.capacity();
        let first = self.first_listener.min(places);
        for key in first..places {
            self.accept_from(key);
        }
        for key in 0..first {
            self.accept_from(key);
        }
        self.accepting = self.may_accept();
    }

    /// Whether a listener has connections waiting and is not parked.
    fn may_accept(&self) -> bool {
        self.listeners.iter().any(|(_, listener)| listener.ready && listener.parked.is_none())
    }

    fn accept_from(&mut self, key: usize) {
        for _ in 0..self.config.accept_budget.max(1) {
            let Some(listener) =
                self.listeners.get_mut(key).filter(|listener| listener.ready && listener.parked.is_none())
            else {
                return;
            };
            let accepted = match self.kernel.accept(&mut listener.socket) {
                Ok((stream, peer)) => {
                    let service = Rc::clone(&listener.service);
                    self.admit(stream, peer, &*service)
                }
                Err(error) => Err(error),
            };
            match accepted {
                Ok(()) => {
                    self.listeners[key].failures = 0;
                    // If file descriptors are scarce, the next one goes to another listener.
                    self.first_listener = key + 1;
                }
                Err(error) => self.on_accept_error(key, &error),
            }
        }
    }

    fn on_accept_error(&mut self, key: usize, error: &io::Error) {
        let listener = &mut self.listeners[key];
        match error.kind() {
            io::ErrorKind::WouldBlock => listener.ready = false,
            // These errors concern one connection, which is gone; the next may be sound. If all fail, the listener is
            // parked.
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
            _ => {
                let id = listener.id;
                listener.parked = Some(self.hub.timers.insert(self.hub.now + PARKED, Task::Listener(id)));
                if self.hub.may_warn() {
                    log::warn!(target: "ws_reactor::net", "{id}: a connection cannot be accepted, accepting pauses for 100 ms: {error}");
                }
            }
        }
    }

    fn forget_listener(&mut self, listener: Listener<K::Listener>) {
        if let Some(timer) = listener.parked {
            self.hub.timers.cancel(timer);
        }
        self.drop_guarded(listener);
    }
}
