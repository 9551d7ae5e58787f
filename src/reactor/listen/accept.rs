//! Opening and closing of listeners, and accepting within a budget.

use std::{io, mem, rc::Rc, time::Duration};

use crate::{
    error::ListenError,
    net::{Bind, ConnectedSocket, Kernel},
    reactor::{
        Reactor,
        group::{self, SharedListener},
        hub::Running,
        id::ListenerId,
        listen::{Listening, Opened, Service},
        recording::Recording,
        share::Share,
        timer::task::Task,
        token::Token,
        turn_phase::TurnPhase,
    },
};

/// Time for which a listener is parked when the system has no room for a connection. The end of another connection
/// unparks it earlier. With edge triggers nothing else would wake the listener.
const PARKED: Duration = Duration::from_millis(100);

/// Accepted connections after which the time is looked at.
const ACCEPTS_PER_LOOK: usize = 4;

impl<K: Kernel> Reactor<K> {
    /// Opens a listener. In a group the other reactors open it too: it has the same port on all of them.
    pub(crate) fn open(&mut self, bind: Bind, service: Rc<dyn Service>) -> Result<Listening, ListenError> {
        self.open_as(bind, service, K::SHARES_ADDRESSES)
    }

    fn open_as(&mut self, bind: Bind, service: Rc<dyn Service>, is_shared: bool) -> Result<Listening, ListenError> {
        if matches!(self.hub.running, Running::ShutdownRequested(_) | Running::ShuttingDown) {
            return Err(ListenError::ShuttingDown { address: bind.address().to_owned() });
        }
        let (token, address) = (Token::Listener(self.listeners.next_key()), bind.address().to_owned());
        let (kernel, membership) = (&mut self.kernel, &mut self.hub.membership);
        let mut open = |bind: &Bind| kernel.bind(bind, token.into());
        let opened = match membership {
            Some(membership) if is_shared => membership.open_listener(bind.clone(), open),
            _ => open(&bind).map(|(socket, addr)| group::Opened { socket: Some(socket), addr, shared: None }),
        };
        let group::Opened { socket, addr, shared } =
            opened.map_err(|source| ListenError::Bind { address: bind.address().to_owned(), source })?;
        let id = self.listeners.insert(socket, service, bind.rules, shared);
        self.hub.note(|recording| recording.on_listening(id.key()));
        log::debug!(target: "ws_reactor::net", "listening on {address}, {addr}");
        Ok(Listening { id, addr })
    }

    /// Opens and closes the listeners that handlers requested, and reports the results.
    #[inline]
    pub(in crate::reactor) fn open_and_close_listeners(&mut self) {
        if !(self.hub.deferred.openings.is_empty() && self.hub.deferred.closed_listeners.is_empty()) {
            self.open_and_close_requested_listeners();
            self.end_phase(TurnPhase::Accepting);
        }
        if !self.hub.deferred.adoptions.is_empty() {
            self.adopt_requested();
        }
    }

    #[cold]
    fn open_and_close_requested_listeners(&mut self) {
        self.hub.note(Recording::on_activity);
        for opening in mem::take(&mut self.hub.deferred.openings) {
            let opened = match self.hub.running {
                Running::Yes => {
                    let is_shared = opening.bind.in_turn && K::SHARES_ADDRESSES;
                    self.open_as(opening.bind, opening.service, is_shared)
                }
                _ => Err(ListenError::ShuttingDown { address: opening.bind.address().to_owned() }),
            };
            self.report_opened(opening.then, opened);
        }
        for id in mem::take(&mut self.hub.deferred.closed_listeners) {
            if let Some(closed) = self.listeners.remove(id, &mut self.hub.timers) {
                self.drop_guarded(closed);
            }
        }
    }

    fn report_opened(&mut self, then: Opened, opened: Result<Listening, ListenError>) {
        self.call_hub(move |hub| then(hub, opened));
    }

    pub(in crate::reactor) fn close_listeners(&mut self) {
        for closed in self.listeners.remove_all(&mut self.hub.timers) {
            self.drop_guarded(closed);
        }
    }

    /// Accepts from every listener that has connections waiting, within the budget.
    #[inline]
    pub(in crate::reactor) fn accept(&mut self) {
        if self.listeners.are_accepting() {
            self.accept_from_all();
            self.end_phase(TurnPhase::Accepting);
        }
    }

    #[inline(never)]
    fn accept_from_all(&mut self) {
        for key in self.listeners.keys() {
            self.accept_from(key);
        }
        self.listeners.update_accepting();
    }

    fn accept_from(&mut self, key: usize) {
        let mut share = Share::of_long(self.config.accept_budget, ACCEPTS_PER_LOOK);
        while share.take(&self.hub.time_slice) {
            let Some(listener) = self.listeners.ready_mut(key) else { return };
            let Some(socket) = &mut listener.socket else { return };
            let accepted = match self.kernel.accept(socket) {
                Ok((stream, peer)) => {
                    let next = listener.shared.as_ref().and_then(SharedListener::next);
                    let Some(stream) = self.pass_on(stream, next) else {
                        self.listeners.on_accepted(key);
                        continue;
                    };
                    let Some(listener) = self.listeners.ready_mut(key) else { return };
                    self.hub.note(|recording| recording.on_accepted(key, peer));
                    let (service, rules) = (Rc::clone(&listener.service), Rc::clone(&listener.rules));
                    let admitted = self.admit(stream, peer, &service, &rules);
                    self.hub.note(Recording::on_admission);
                    admitted
                }
                Err(error) => Err(error),
            };
            match accepted {
                Ok(()) => self.listeners.on_accepted(key),
                Err(error) => self.on_accept_error(key, &error),
            }
        }
    }

    /// Passes a stream to the listener of another reactor. Returns the stream if it is this reactor's turn.
    fn pass_on(&mut self, stream: K::Stream, next: Option<(usize, ListenerId)>) -> Option<K::Stream> {
        let (Some((reactor, listener)), Some(membership)) = (next, &self.hub.membership) else { return Some(stream) };
        if !membership.has_room(reactor) {
            return Some(stream);
        }
        match self.kernel.release(stream) {
            Ok(socket) => {
                if !membership.pass_on(reactor, listener, socket) {
                    self.hub.stats.turned_away += 1;
                }
                None
            }
            Err(stream) => Some(stream),
        }
    }

    /// Takes a connection that another reactor of the group has accepted.
    pub(in crate::reactor) fn take_accepted(&mut self, listener: ListenerId, socket: ConnectedSocket) {
        let Some((service, rules)) = self.listeners.service(listener) else {
            self.hub.stats.turned_away += 1;
            return;
        };
        let taken = match self.kernel.adopt(socket) {
            Ok((stream, peer)) => self.admit(stream, peer, &service, &rules),
            Err(error) => Err(error),
        };
        if let Err(error) = taken
            && self.hub.may_warn()
        {
            log::warn!(target: "ws_reactor::net", "{listener}: a connection cannot be taken: {error}");
        }
    }

    fn on_accept_error(&mut self, key: usize, error: &io::Error) {
        let Some(id) = self.listeners.on_error(key, error.kind()) else { return };
        self.listeners.park(id, self.hub.timers.insert(self.hub.now + PARKED, Task::Listener(id)));
        if self.hub.may_warn() {
            log::warn!(
                target: "ws_reactor::net",
                "{id}: a connection cannot be accepted, accepting pauses for 100 ms: {error}"
            );
        }
    }
}
