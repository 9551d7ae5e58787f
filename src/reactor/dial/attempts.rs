//! Outgoing connections: a name is resolved, its addresses are tried, and the first that connects is taken (RFC 8305).

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    error::ConnectError,
    net::{Endpoint, Kernel, transport::Transport},
    peer_addr::PeerAddr,
    protocol::{ClosedBy, TimeoutKind},
    reactor::{
        Reactor,
        config::StreamConfig,
        connection::{encoding::Encoding, inbound::Inbound, state::Phase},
        dial::{
            Dial,
            dialer::{Attempt, Dialing, Progress},
            target::Target,
        },
        id::ConnectionId,
        panic::catch_panic,
        recording::Recording,
        stream::StreamHandler,
        timer::task::Task,
        token::Token,
    },
};

/// Time that an attempt has before the next address is tried in parallel (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

impl<K: Kernel> Reactor<K> {
    /// Connects a raw stream. See [`Hub::connect_stream`](crate::reactor::Hub::connect_stream).
    ///
    /// # Errors
    ///
    /// See [`Hub::connect_stream`](crate::reactor::Hub::connect_stream).
    pub fn connect_stream(
        &mut self,
        to: &str,
        handler: impl StreamHandler + 'static,
    ) -> Result<ConnectionId, ConnectError> {
        self.hub().connect_stream(to, handler)
    }

    /// Connects a raw stream, with a configuration. See
    /// [`Hub::connect_stream_with`](crate::reactor::Hub::connect_stream_with).
    ///
    /// # Errors
    ///
    /// See [`Hub::connect_stream`](crate::reactor::Hub::connect_stream).
    pub fn connect_stream_with(
        &mut self,
        to: &str,
        config: StreamConfig,
        handler: impl StreamHandler + 'static,
    ) -> Result<ConnectionId, ConnectError> {
        self.hub().connect_stream_with(to, config, handler)
    }

    /// Starts the requested connections: each gets its inbound half, and its name is resolved.
    #[inline]
    pub(in crate::reactor) fn start_dials(&mut self) {
        if !self.hub.deferred.dials.is_empty() {
            self.start_requested_dials();
        }
    }

    fn start_requested_dials(&mut self) {
        if !self.dialer.begin_starting() {
            return;
        }
        self.hub.note(Recording::on_activity);
        while let Some(Dial { id, target, handler }) = self.hub.deferred.dials.pop_front() {
            let dialing = Box::new(Dialing::new(target));
            match handler {
                Some(handler) => {
                    self.inbounds.insert(id.key(), Inbound::dialing(handler, dialing));
                    self.begin_dial(id);
                }
                None if self.hub.phase(id) == Phase::Open => {
                    self.inbounds[id.key()].dial_again(dialing);
                    self.look_up(id);
                }
                None => {}
            }
        }
        self.dialer.end_starting();
    }

    /// Begins to connect an outgoing connection, for the first time or after the wait of a reconnect. A WebSocket sets
    /// its deadline in `on_dial`.
    pub(in crate::reactor) fn begin_dial(&mut self, id: ConnectionId) {
        let outbound = &self.hub.outbounds[id.key()];
        if outbound.encoding == Encoding::Raw && outbound.state.is_open() {
            let deadline = self.hub.after(outbound.config.connect_timeout);
            self.hub.set_deadline(id, Some(deadline));
            if let Some(dialing) = self.dialing(id) {
                dialing.timed = Some(deadline);
            }
        }
        self.call(id.key(), |handler, stream| handler.on_dial(stream));
        self.look_up(id);
    }

    /// Resolves the name of an outgoing connection.
    pub(in crate::reactor) fn look_up(&mut self, id: ConnectionId) {
        let Some(dialing) = self.dialing(id) else { return };
        dialing.next = None;
        log::debug!(target: "ws_reactor::net", "{id} to {}", dialing.target);
        match dialing.target.clone() {
            Target::Address(address) => self.try_addresses(id, Ok(VecDeque::from([address]))),
            Target::Name(name, port) => {
                let cancel_token = Arc::clone(&dialing.cancel_token);
                self.hub.outbounds[id.key()].state.set_resolving(true);
                self.hub.note(|recording| recording.on_look_up(id.to_bits()));
                let (answer, resolver) = (self.dialer.expect_answer(id, &cancel_token), self.dialer.resolver());
                let asked = catch_panic(self.config.panic_policy, || resolver.resolve(&name, port, answer));
                self.hub.stats.panics += u64::from(asked.is_err());
            }
        }
    }

    /// Handles the answers of the resolver.
    #[inline]
    pub(in crate::reactor) fn take_lookup_results(&mut self) {
        if self.dialer.has_answers() {
            self.take_waiting_lookup_results();
        }
    }

    #[inline(never)]
    fn take_waiting_lookup_results(&mut self) {
        for (lookup, addresses) in self.dialer.take_answers() {
            self.hub.note(|recording| recording.on_resolved(lookup, &addresses));
            if let Some(id) = ConnectionId::from_bits(lookup) {
                self.try_addresses(id, addresses.map(interleave));
            }
        }
    }

    fn dialing(&mut self, id: ConnectionId) -> Option<&mut Dialing> {
        self.hub.outbound(id).filter(|outbound| !outbound.state.is_closed())?;
        self.inbounds.get_mut(id.key())?.dialing.as_deref_mut()
    }

    fn try_addresses(&mut self, id: ConnectionId, addresses: io::Result<VecDeque<Endpoint>>) {
        let Some(dialing) = self.dialing(id) else { return };
        dialing.resolve(addresses);
        self.hub.outbounds[id.key()].state.set_resolving(false);
        self.try_next_address(id);
    }

    /// Tries the next address in parallel with the attempts in progress. Without a next address and without attempts
    /// the connection has failed.
    pub(in crate::reactor) fn try_next_address(&mut self, id: ConnectionId) {
        while let Some(dialing) = self.dialing(id) {
            let Some(address) = dialing.addresses.pop_front() else {
                if let Some(kind) = dialing.exhausted() {
                    self.hub.mark_closed(id.key(), ClosedBy::Network(kind));
                }
                return;
            };
            let options = &self.hub.outbounds[id.key()].config.socket;
            match self.dialer.attempt(&mut self.kernel, id, address, options) {
                Ok(slot) => return self.on_attempt_started(id, slot),
                Err(error) => {
                    let number = self.dialer.last_attempt();
                    self.hub.note(|recording| recording.on_attempt(number, true, Some(error.kind())));
                    self.on_attempt_failed(id, error);
                }
            }
        }
    }

    fn on_attempt_failed(&mut self, id: ConnectionId, error: io::Error) {
        if let Some(dialing) = self.dialing(id) {
            dialing.fail(error);
        }
    }

    /// Notes an attempt; a next address is tried after [`ATTEMPT_DELAY`].
    fn on_attempt_started(&mut self, id: ConnectionId, slot: usize) {
        let Some(dialing) = self.dialing(id) else { return };
        dialing.attempts.push(slot);
        let (last, more) = (dialing.next.take(), !dialing.addresses.is_empty());
        if let Some(timer) = last {
            self.hub.timers.cancel(timer);
        }
        if more {
            self.schedule_dial_step(id, ATTEMPT_DELAY, Task::NextAddress(id));
        }
    }

    /// The kind of time-out, if the connection's deadline is the one for connecting.
    pub(in crate::reactor) fn connect_timeout_kind(&mut self, id: ConnectionId) -> Option<TimeoutKind> {
        let (resolving, deadline) = (self.hub.is_resolving(id), self.hub.outbound(id)?.deadline);
        let timed = self.dialing(id)?.timed;
        let ours = timed.is_some() && deadline == timed;
        ours.then_some(if resolving { TimeoutKind::Resolving } else { TimeoutKind::Connecting })
    }

    pub(super) fn schedule_dial_step(&mut self, id: ConnectionId, wait: Duration, task: Task) {
        let timer = self.hub.timers.insert(self.hub.after(wait), task);
        match self.dialing(id) {
            Some(dialing) => dialing.next = Some(timer),
            None => drop(self.hub.timers.cancel(timer)),
        }
    }

    /// Handles the results of a connection's attempts whose events have not been reported yet.
    pub(in crate::reactor) fn advance_attempts(&mut self, id: ConnectionId) {
        let attempts = self.dialing(id).map(|dialing| dialing.attempts.clone());
        for slot in attempts.into_iter().flatten() {
            self.on_attempt(slot);
        }
    }

    /// Handles an event of an attempt.
    pub(in crate::reactor) fn on_attempt(&mut self, slot: usize) {
        match self.dialer.advance(&mut self.kernel, slot) {
            Progress::Pending => {}
            Progress::Connected(attempt) => self.on_attempt_connected(attempt),
            Progress::Failed(id, number, error) => {
                self.hub.note(|recording| recording.on_attempt(number, false, Some(error.kind())));
                if let Some(dialing) = self.dialing(id) {
                    dialing.attempts.retain(|other| *other != slot);
                    dialing.fail(error);
                }
                self.try_next_address(id);
            }
        }
    }

    fn on_attempt_connected(&mut self, Attempt { id, number, address, mut stream }: Attempt<K::Stream>) {
        let key = id.key();
        if self.dialing(id).is_none() {
            return;
        }
        if let Err(error) = self.kernel.reregister(&mut stream, Token::Inbound(key).into()) {
            let kind = error.kind();
            self.on_attempt_failed(id, error);
            return self.hub.mark_closed(key, ClosedBy::Network(kind));
        }
        self.hub.note(|recording| {
            recording.on_attempt(number, false, None);
            recording.on_connected(key, number);
        });
        let inbound = &mut self.inbounds[key];
        inbound.transport = Transport::Plain(stream);
        // Late events of an earlier socket do not count.
        (inbound.readable, inbound.hangup) = (false, false);
        if let Some(dialing) = inbound.dialing.take() {
            self.drop_attempts(id, &dialing);
            if dialing.timed.is_some() && self.hub.outbounds[key].deadline == dialing.timed {
                self.hub.set_deadline(id, None);
            }
        }
        let outbound = &mut self.hub.outbounds[key];
        outbound.state.on_connected();
        outbound.set_peer_addr(match address {
            Endpoint::Tcp(address) => address.into(),
            Endpoint::Unix(_) => PeerAddr::Unix,
        });
        outbound.unblock(&mut self.hub.pools);
        self.hub.stats.connected += 1;
        if self.hub.outbounds[key].encoding == Encoding::Raw {
            self.hub.on_dialed_open(id);
        }
        self.hub.begin_idle(key);
        self.call(key, |handler, stream| handler.on_connect(stream));
    }

    /// Drops the attempts of a connection that is established or has ended.
    pub(in crate::reactor) fn drop_attempts(&mut self, id: ConnectionId, dialing: &Dialing) {
        self.dialer.drop_attempts(id, &dialing.attempts);
        if let Some(timer) = dialing.next {
            self.hub.timers.cancel(timer);
        }
    }
}

/// Interleaves the address families, beginning with the family of the first address (RFC 8305 §4).
fn interleave(addresses: Vec<SocketAddr>) -> VecDeque<Endpoint> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let longer = one.len().max(other.len());
    (0..longer)
        .flat_map(|index| [one.get(index), other.get(index)])
        .flatten()
        .map(|address| Endpoint::from(*address))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_families_alternate() {
        let addresses = |text: &str| -> Vec<SocketAddr> { text.split(' ').map(|text| text.parse().unwrap()).collect() };
        let interleave = |mixed| -> Vec<SocketAddr> {
            let taken = interleave(mixed).into_iter();
            taken.map(|address| if let Endpoint::Tcp(address) = address { address } else { unreachable!() }).collect()
        };
        let mixed = addresses("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1 2.2.2.2:1");
        assert_eq!(interleave(mixed), addresses("[::1]:1 1.1.1.1:1 [::2]:1 2.2.2.2:1 [::3]:1"));
        let mixed = addresses("1.1.1.1:1 [::1]:1 [::2]:1");
        assert_eq!(interleave(mixed), addresses("1.1.1.1:1 [::1]:1 [::2]:1"));
        assert!(interleave(Vec::new()).is_empty());
    }
}
