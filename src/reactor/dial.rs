//! Outgoing connections: a name is resolved, its addresses are tried, and the first that connects is taken (RFC 8305).
//!
//! The connection has its id from the start. Its outbox behaves as if its socket were blocked. The link has no socket
//! until an attempt succeeds; then the handler's `on_connect` is called.

use std::{
    collections::VecDeque,
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Reactor,
    config::StreamConfig,
    hub::{Hub, Running},
    id::{ConnectionId, TimerId},
    link::Link,
    outbox::{Outbox, Phase},
    panic::catch_panic,
    stream::StreamHandler,
    target::Target,
    task::Task,
    token::Token,
};
use crate::{
    error::{ConnectError, Error},
    net::{Endpoint, Kernel, transport::Transport},
    protocol::{ClosedBy, TimeoutKind},
};

/// Time that an attempt has before the next address is tried in parallel (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Address of a peer that is not connected yet, or has no IP address.
const UNCONNECTED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A requested connection. Started right after the callback, or at the beginning of the next turn.
pub(super) struct Dial {
    id: ConnectionId,
    target: Target,
    /// Delay before the name is resolved.
    wait: Duration,
    /// `None` if an existing connection is connected to another address.
    handler: Option<Box<dyn StreamHandler>>,
    /// Time-out for connecting, unless the handler has its own.
    allowed: Option<Duration>,
}

impl fmt::Debug for Dial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Dial({} to {})", self.id, self.target)
    }
}

/// Progress of an outgoing connection.
#[derive(Debug)]
pub(super) struct Dialing {
    target: Target,
    /// Addresses not tried yet.
    addresses: VecDeque<Endpoint>,
    /// Attempts in progress.
    attempts: Vec<usize>,
    /// Timer for resolving the name, or for trying the next address.
    next: Option<TimerId>,
    failure: Option<io::Error>,
    /// The deadline of the connection is the time-out for connecting if it equals this.
    timed: Option<Instant>,
    /// Held while the answer is wanted; the resolver skips lookups whose token was dropped.
    cancel_token: Arc<()>,
}

impl Dialing {
    /// Converts the failure into the error for `on_error`.
    pub(super) fn error(self, kind: io::ErrorKind) -> Error {
        let (address, source) = (self.target.to_string(), self.failure.unwrap_or_else(|| kind.into()));
        Error::Connect(ConnectError::Network { address, source })
    }
}

/// A socket that is being connected.
#[derive(Debug)]
pub(super) struct Attempt<S> {
    id: ConnectionId,
    address: Endpoint,
    stream: S,
}

impl Hub {
    /// Connects a raw stream to `example.com:80`, `[::1]:80` or `unix:/run/example.sock` (EventMachine's `connect`).
    ///
    /// The returned id is valid at once. The handler's `on_connect` is called when the connection is established; bytes
    /// written before are queued. If the connection fails, the handler's `on_error` is called with the cause, then
    /// `on_close`. The time-out is [`StreamConfig::connect_timeout`], 20 s by default.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Address`] if `to` is not an address of one of these forms, [`ConnectError::ShuttingDown`] if the
    /// loop is ending.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use ws_reactor::{Reactor, Stream, StreamHandler};
    ///
    /// struct Whois;
    ///
    /// impl StreamHandler for Whois {
    ///     fn on_connect(&mut self, stream: &mut Stream<'_>) {
    ///         stream.write(b"example.com\r\n");
    ///     }
    ///
    ///     fn on_data(&mut self, _: &mut Stream<'_>, data: &mut [u8]) {
    ///         print!("{}", String::from_utf8_lossy(data));
    ///     }
    /// }
    ///
    /// let mut reactor = Reactor::new()?;
    /// reactor.connect_stream("whois.iana.org:43", Whois)?;
    /// reactor.run()?;
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn connect_stream(
        &mut self,
        to: &str,
        handler: impl StreamHandler + 'static,
    ) -> Result<ConnectionId, ConnectError> {
        self.connect_stream_with(to, StreamConfig::default(), handler)
    }

    /// As [`connect_stream`](Self::connect_stream), with a configuration for the stream.
    ///
    /// # Errors
    ///
    /// See [`connect_stream`](Self::connect_stream).
    pub fn connect_stream_with(
        &mut self,
        to: &str,
        config: StreamConfig,
        handler: impl StreamHandler + 'static,
    ) -> Result<ConnectionId, ConnectError> {
        if !self.may_dial() {
            return Err(ConnectError::ShuttingDown { address: to.to_owned() });
        }
        let target = to.parse().map_err(|source| ConnectError::Address { address: to.to_owned(), source })?;
        let allowed = Some(config.connect_timeout);
        let id = self.insert_dialing(Rc::new(config));
        let handler: Box<dyn StreamHandler> = Box::new(handler);
        self.deferred.dials.push_back(Dial { id, target, wait: Duration::ZERO, handler: Some(handler), allowed });
        Ok(id)
    }

    /// Connects after a delay, for a WebSocket. Until the connection is established, its peer address is unspecified.
    pub(crate) fn dial(
        &mut self,
        target: Target,
        wait: Duration,
        config: Rc<StreamConfig>,
        handler: Box<dyn StreamHandler>,
    ) -> ConnectionId {
        let id = self.insert_dialing(config);
        self.reserve(id);
        self.deferred.dials.push_back(Dial { id, target, wait, handler: Some(handler), allowed: None });
        id
    }

    fn insert_dialing(&mut self, config: Rc<StreamConfig>) -> ConnectionId {
        let outbox = self.outboxes.insert(|id| Outbox::new(id, UNCONNECTED, config));
        outbox.await_connection();
        outbox.id
    }

    /// Connects an existing outgoing connection to another address, right after this callback. The id stays; queued
    /// output is dropped, and `on_connect` is called again.
    pub(crate) fn redial(&mut self, id: ConnectionId, target: Target) {
        if let Some(outbox) = self.outboxes.open_mut(id) {
            outbox.release(&mut self.pools);
            outbox.await_connection();
            outbox.set_peer_addr(UNCONNECTED);
            outbox.forget_tls_info();
            outbox.deadline_is_for_tls = false;
            self.deferred.dials.push_back(Dial { id, target, wait: Duration::ZERO, handler: None, allowed: None });
        }
    }

    /// Whether new connections are allowed: the loop is not ending.
    pub(crate) fn may_dial(&self) -> bool {
        matches!(self.running, Running::Yes | Running::Stopped)
    }

    /// Whether the connection's name is being resolved.
    pub(crate) fn is_resolving(&self, id: ConnectionId) -> bool {
        self.outbox(id).is_some_and(|outbox| outbox.resolving)
    }

    /// Whether this application has ended the connection, even if the connection had ended before.
    pub(crate) fn is_closed_by_app(&self, id: ConnectionId) -> bool {
        self.outbox(id).is_none_or(|outbox| outbox.closed_by_app)
    }
}

impl<K: Kernel> Reactor<K> {
    /// Connects a raw stream. See [`Hub::connect_stream`].
    ///
    /// # Errors
    ///
    /// See [`Hub::connect_stream`].
    pub fn connect_stream(
        &mut self,
        to: &str,
        handler: impl StreamHandler + 'static,
    ) -> Result<ConnectionId, ConnectError> {
        self.hub().connect_stream(to, handler)
    }

    /// Starts the requested connections: each gets its inbound half, and its name is resolved.
    #[inline]
    pub(super) fn start_dials(&mut self) {
        if !self.hub.deferred.dials.is_empty() {
            self.start_requested_dials();
        }
    }

    fn start_requested_dials(&mut self) {
        if self.starting_dials {
            // A handler has requested another connection in `on_dial`; the running loop starts that one, too.
            return;
        }
        self.starting_dials = true;
        while let Some(Dial { id, target, wait, handler, allowed }) = self.hub.deferred.dials.pop_front() {
            let dialing = Box::new(Dialing {
                target,
                addresses: VecDeque::new(),
                attempts: Vec::new(),
                next: None,
                failure: None,
                timed: allowed.map(|allowed| self.hub.after(allowed)),
                cancel_token: Arc::default(),
            });
            if dialing.timed.is_some() {
                self.hub.set_deadline(id, dialing.timed);
            }
            match handler {
                Some(handler) => {
                    self.links.insert(id.key(), Link::dialing(handler, dialing));
                    self.call(id.key(), |handler, stream| handler.on_dial(stream));
                }
                None if self.hub.phase(id) == Phase::Open => self.links[id.key()].dial_again(dialing),
                None => continue,
            }
            match wait.is_zero() {
                true => self.look_up(id),
                false => self.schedule_dial_step(id, wait, Task::Dial(id)),
            }
        }
        self.starting_dials = false;
    }

    /// Resolves the name of an outgoing connection.
    pub(super) fn look_up(&mut self, id: ConnectionId) {
        let Some(dialing) = self.dialing(id) else { return };
        dialing.next = None;
        log::debug!(target: "ws_reactor::net", "{id} to {}", dialing.target);
        match dialing.target.clone() {
            Target::Address(address) => self.try_addresses(id, Ok(VecDeque::from([address]))),
            Target::Name(name, port) => {
                let cancel_token = Arc::clone(&dialing.cancel_token);
                self.hub.outboxes[id.key()].resolving = true;
                let answer = self.answers.expect(id.to_bits(), &cancel_token);
                let resolver = &*self.resolver;
                let asked = catch_panic(self.config.panic_policy, || resolver.resolve(&name, port, answer));
                self.hub.stats.panics += u64::from(asked.is_err());
            }
        }
    }

    /// Handles the answers of the resolver.
    #[inline]
    pub(super) fn take_lookup_results(&mut self) {
        if self.answers.are_waiting() {
            self.take_waiting_lookup_results();
        }
    }

    #[inline(never)]
    fn take_waiting_lookup_results(&mut self) {
        for (lookup, addresses) in self.answers.take() {
            if let Some(id) = ConnectionId::from_bits(lookup) {
                self.try_addresses(id, addresses.map(interleave));
            }
        }
    }

    fn dialing(&mut self, id: ConnectionId) -> Option<&mut Dialing> {
        self.hub.outbox(id).filter(|outbox| outbox.phase != Phase::Closed)?;
        self.links.get_mut(id.key())?.dialing.as_deref_mut()
    }

    fn try_addresses(&mut self, id: ConnectionId, addresses: io::Result<VecDeque<Endpoint>>) {
        let Some(dialing) = self.dialing(id) else { return };
        match addresses {
            Ok(addresses) => dialing.addresses = addresses,
            Err(error) => dialing.failure = Some(error),
        }
        self.hub.outboxes[id.key()].resolving = false;
        self.try_next_address(id);
    }

    /// Tries the next address in parallel with the attempts in progress. Without a next address and without attempts
    /// the connection has failed.
    pub(super) fn try_next_address(&mut self, id: ConnectionId) {
        while let Some(dialing) = self.dialing(id) {
            let Some(address) = dialing.addresses.pop_front() else {
                if dialing.attempts.is_empty() {
                    let kind = dialing.failure.as_ref().map_or(io::ErrorKind::NotFound, io::Error::kind);
                    self.hub.mark_closed(id.key(), ClosedBy::Network(kind));
                }
                return;
            };
            let entry = self.attempts.vacant_entry();
            let slot = entry.key();
            match self.kernel.connect(&address, Token::Attempt(slot).into()) {
                Ok(stream) => {
                    entry.insert(Attempt { id, address, stream });
                    return self.on_attempt_started(id, slot);
                }
                Err(error) => dialing_failed(self.dialing(id), error),
            }
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
    pub(super) fn connect_timeout_kind(&mut self, id: ConnectionId) -> Option<TimeoutKind> {
        let (resolving, deadline) = (self.hub.is_resolving(id), self.hub.outbox(id)?.deadline);
        let timed = self.dialing(id)?.timed;
        let ours = timed.is_some() && deadline == timed;
        ours.then_some(if resolving { TimeoutKind::Resolving } else { TimeoutKind::Connecting })
    }

    fn schedule_dial_step(&mut self, id: ConnectionId, wait: Duration, task: Task) {
        let timer = self.hub.timers.insert(self.hub.after(wait), task);
        match self.dialing(id) {
            Some(dialing) => dialing.next = Some(timer),
            None => drop(self.hub.timers.cancel(timer)),
        }
    }

    /// Handles an event of an attempt.
    pub(super) fn on_attempt(&mut self, slot: usize) {
        let Some(attempt) = self.attempts.get_mut(slot) else { return };
        let id = attempt.id;
        match self.kernel.connected(&mut attempt.stream) {
            Ok(false) => {}
            Ok(true) => {
                let attempt = self.attempts.remove(slot);
                self.connected(attempt);
            }
            Err(error) => {
                self.attempts.remove(slot);
                if let Some(dialing) = self.dialing(id) {
                    dialing.attempts.retain(|other| *other != slot);
                    dialing_failed(Some(dialing), error);
                }
                self.try_next_address(id);
            }
        }
    }

    fn connected(&mut self, Attempt { id, address, mut stream }: Attempt<K::Stream>) {
        let key = id.key();
        if self.dialing(id).is_none() {
            return;
        }
        if let Err(error) = self.kernel.reregister(&mut stream, Token::Link(key).into()) {
            let kind = error.kind();
            dialing_failed(self.links[key].dialing.as_deref_mut(), error);
            return self.hub.mark_closed(key, ClosedBy::Network(kind));
        }
        let link = &mut self.links[key];
        link.transport = Transport::Plain(stream);
        if let Some(dialing) = link.dialing.take() {
            self.drop_attempts(id, &dialing);
            if dialing.timed.is_some() && self.hub.outboxes[key].deadline == dialing.timed {
                self.hub.set_deadline(id, None);
            }
        }
        let outbox = &mut self.hub.outboxes[key];
        outbox.dialing = false;
        if let Endpoint::Tcp(address) = address {
            outbox.set_peer_addr(address);
        }
        outbox.unblock(&mut self.hub.pools);
        self.hub.stats.connected += 1;
        self.call(key, |handler, stream| handler.on_connect(stream));
    }

    /// Drops the attempts of a connection that is established or has ended.
    pub(super) fn drop_attempts(&mut self, id: ConnectionId, dialing: &Dialing) {
        for slot in &dialing.attempts {
            // The slot of a finished attempt may belong to another connection now.
            if self.attempts.get(*slot).is_some_and(|attempt| attempt.id == id) {
                self.attempts.remove(*slot);
            }
        }
        if let Some(timer) = dialing.next {
            self.hub.timers.cancel(timer);
        }
    }
}

fn dialing_failed(dialing: Option<&mut Dialing>, error: io::Error) {
    if let Some(dialing) = dialing {
        // The first failure is reported: the other addresses were tried because of it.
        dialing.failure.get_or_insert(error);
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
    fn families_take_turns() {
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
