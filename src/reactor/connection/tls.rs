//! TLS handshakes: starting, queueing and timing out.

use std::mem;

#[cfg(feature = "proxy-protocol")]
use crate::net::tls::TlsAcceptor;
use crate::{
    net::{Kernel, tls::TlsConnector},
    reactor::{
        Hub, Reactor, connection::state::Phase, deferred::TlsStart, id::ConnectionId, share::Share,
        turn_phase::TurnPhase,
    },
};

impl Hub {
    /// Starts TLS as a client on an established connection, right after this callback, if `tls` is given. Output waits
    /// for the handshake.
    pub(crate) fn start_tls(&mut self, id: ConnectionId, tls: Option<&TlsConnector>, name: &str) {
        let start = |tls: &TlsConnector| (id, TlsStart::Client(tls.clone(), name.to_owned()));
        self.deferred.starting_tls.extend(tls.map(start));
    }

    /// Starts TLS as a server right after this callback, which has handed the connection over. Bytes that the callback
    /// has handed on belong to TLS.
    #[cfg(all(feature = "proxy-protocol", feature = "tls"))]
    pub(in crate::reactor) fn start_tls_as_server(&mut self, id: ConnectionId, tls: &TlsAcceptor) {
        self.deferred.starting_tls.push((id, TlsStart::Server(tls.clone())));
    }

    /// Without the feature there is no TLS to start.
    #[cfg(all(feature = "proxy-protocol", not(feature = "tls")))]
    pub(in crate::reactor) fn start_tls_as_server(&mut self, _: ConnectionId, tls: &TlsAcceptor) {
        match *tls {}
    }

    /// Forgets the TLS result of a proxy: the connection goes on to another peer.
    pub(crate) fn forget_tls_info(&mut self, id: ConnectionId) {
        if let Some(outbound) = self.outbounds.open_mut(id) {
            outbound.forget_tls_info();
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Sets a deadline for the handshake of a transport, unless the handler has set one. A connection that is closing
    /// already gets the earlier deadline.
    pub(in crate::reactor) fn limit_tls_handshake(&mut self, key: usize) {
        let (inbound, outbound) = (&self.inbounds[key], &self.hub.outbounds[key]);
        let own = outbound.deadline.filter(|_| outbound.state.is_open());
        if !outbound.state.is_closed() && own.is_none() && inbound.transport.is_handshaking() {
            let deadline = self.hub.after(outbound.config.tls_handshake_timeout);
            let deadline = outbound.closing_deadline().map_or(deadline, |closing| closing.min(deadline));
            self.hub.set_deadline(outbound.id, Some(deadline));
            self.hub.outbounds[key].deadline_is_for_tls = true;
        }
    }

    /// Starts TLS on the connections that have requested it.
    #[inline]
    pub(in crate::reactor) fn start_tls(&mut self) {
        if !self.hub.deferred.starting_tls.is_empty() {
            self.start_requested_tls();
        }
    }

    #[cold]
    fn start_requested_tls(&mut self) {
        let starting = mem::take(&mut self.hub.deferred.starting_tls);
        if self.hub.is_playback() {
            // These bytes are ciphertext; the plaintext has records of its own.
            if starting.iter().any(|(_, start)| matches!(start, TlsStart::Server(_))) {
                self.hub.callback.handed_on.clear();
            }
            return;
        }
        for (id, start) in starting {
            let (key, alive) = (id.key(), self.hub.phase(id) == Phase::Open);
            let Some(inbound) = self.inbounds.get_mut(key).filter(|_| alive) else { continue };
            let started = match start {
                TlsStart::Client(tls, name) => inbound.transport.start_tls(&tls, &name),
                TlsStart::Server(tls) => inbound.transport.start_tls_as_server(&tls),
            };
            if let Err(error) = started {
                self.hub.mark_failed(key, error);
            }
            self.limit_tls_handshake(key);
        }
    }

    /// Queues the connection for a step of its TLS handshake.
    pub(in crate::reactor) fn queue_tls_step(&mut self, key: usize) {
        let inbound = &mut self.inbounds[key];
        if !inbound.tls_queued {
            inbound.tls_queued = true;
            self.reader.push_tls_step(key);
        }
    }

    /// Makes as many steps of TLS handshakes as the budget allows, oldest first.
    pub(in crate::reactor) fn run_tls_handshakes(&mut self) {
        self.reader.reset_tls_steps(self.config.tls_handshake_budget);
        let (mut any, mut share) = (false, Share::of_long(usize::MAX, 1));
        while share.take(&self.hub.time_slice)
            && let Some(key) = self.reader.pop_tls_step()
        {
            if let Some(inbound) = self.inbounds.get_mut(key)
                && mem::take(&mut inbound.tls_queued)
            {
                self.reader.tls_step_allowed = inbound.transport.is_handshaking();
                self.read_from(key);
                self.reader.tls_step_allowed = false;
                any = true;
            }
        }
        if any {
            self.end_phase(TurnPhase::TlsHandshakes);
        }
    }
}
