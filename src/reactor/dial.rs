//! Connections that are made: a name is resolved, its addresses are tried, and the first that answers is taken (RFC 8305).
//!
//! The connection has its id from the first moment. Its outbox is there, as if its socket were blocked; the link stands without a socket until an attempt
//! succeeds, and its handler's `on_connect` is called then.

use std::{
    collections::VecDeque,
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use super::{
    Reactor,
    config::StreamSettings,
    guard::guard,
    hub::Hub,
    id::{ConnectionId, TimerId},
    link::Link,
    outbox::{Outbox, Phase},
    stream::StreamHandler,
    task::Task,
    token::Token,
};
use crate::{
    error::Error,
    net::{Kernel, transport::Transport},
    protocol::ClosedBy,
};

/// How long an attempt has before the next address is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Where a connection is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Address(SocketAddr),
    Name(String, u16),
}

impl Place {
    /// A host, which may be an address.
    pub(crate) fn new(host: &str, port: u16) -> Self {
        match host.parse::<IpAddr>() {
            Ok(ip) => Place::Address(SocketAddr::new(ip, port)),
            Err(_) => Place::Name(host.to_owned(), port),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Address(address) => address.fmt(formatter),
            Place::Name(name, port) => write!(formatter, "{name}:{port}"),
        }
    }
}

/// A connection that was asked for; the loop takes it in before anything else happens.
pub(super) struct Dial {
    id: ConnectionId,
    place: Place,
    handler: Box<dyn StreamHandler>,
}

impl fmt::Debug for Dial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Dial({} to {})", self.id, self.place)
    }
}

/// How far a connection is that is being made.
#[derive(Debug)]
pub(super) struct Dialing {
    place: Place,
    /// Addresses that have not been tried.
    addresses: VecDeque<SocketAddr>,
    /// Attempts that are under way.
    attempts: Vec<usize>,
    /// When the next address is tried beside them.
    next: Option<TimerId>,
    failure: Option<io::Error>,
}

impl Dialing {
    /// Why nothing became of it.
    pub(super) fn error(self, kind: io::ErrorKind) -> Error {
        Error::Connect { place: self.place.to_string(), source: self.failure.unwrap_or_else(|| kind.into()) }
    }
}

/// A socket that is being connected.
#[derive(Debug)]
pub(super) struct Attempt<S> {
    id: ConnectionId,
    address: SocketAddr,
    stream: S,
}

impl Hub {
    /// Has a connection made. Its handler is told of what becomes of it; until it is connected, its peer's address is unspecified.
    pub(crate) fn dial(
        &mut self,
        place: Place,
        settings: Rc<StreamSettings>,
        handler: Box<dyn StreamHandler>,
    ) -> ConnectionId {
        self.generation = self.generation.wrapping_add(1);
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut outbox = Outbox::new(self.generation, nowhere, settings);
        // There is nothing to write to yet.
        (outbox.blocked, outbox.dialing) = (true, true);
        let id = ConnectionId::new(self.outboxes.insert(outbox), self.generation);
        self.dials.push_back(Dial { id, place, handler });
        id
    }
}

impl<K: Kernel> Reactor<K> {
    /// Takes in the connections that were asked for. It has to be done before any other is added or removed: the two halves share their keys.
    pub(super) fn take_in_dials(&mut self) {
        if self.taking_in {
            // A handler has asked for another while its own was taken in: that one's turn comes.
            return;
        }
        self.taking_in = true;
        while let Some(Dial { id, place, handler }) = self.hub.dials.pop_front() {
            log::debug!(target: "ws_reactor::net", "{id} to {place}");
            let dialing = Dialing {
                place: place.clone(),
                addresses: VecDeque::new(),
                attempts: Vec::new(),
                next: None,
                failure: None,
            };
            let key = self.links.insert(Link::dialing(handler, Box::new(dialing)));
            debug_assert_eq!(key, id.key(), "the two halves share a key");
            let current = self.hub.current;
            self.call(key, |handler, stream| handler.on_dial(stream));
            self.hub.current = current;
            match place {
                Place::Address(address) => self.try_addresses(id, Ok(vec![address])),
                Place::Name(name, port) => {
                    let answer = self.answers.expect(question(id));
                    let resolver = &*self.resolver;
                    let asked = guard(self.config.panic_policy, || resolver.resolve(&name, port, answer));
                    self.hub.stats.panics += u64::from(asked.is_err());
                }
            }
        }
        self.taking_in = false;
    }

    /// Looks what the resolver has found.
    pub(super) fn take_answers(&mut self) {
        for (question, addresses) in self.answers.take() {
            let id = ConnectionId::new(question as u32 as usize, (question >> 32) as u32);
            self.try_addresses(id, addresses);
        }
    }

    fn dialing(&mut self, id: ConnectionId) -> Option<&mut Dialing> {
        self.hub.outbox(id).filter(|outbox| outbox.phase != Phase::Dead)?;
        self.links.get_mut(id.key())?.dialing.as_deref_mut()
    }

    fn try_addresses(&mut self, id: ConnectionId, addresses: io::Result<Vec<SocketAddr>>) {
        let Some(dialing) = self.dialing(id) else { return };
        match addresses {
            Ok(addresses) => dialing.addresses = in_turns(addresses),
            Err(error) => dialing.failure = Some(error),
        }
        self.try_next_address(id);
    }

    /// Tries the next address beside those that are being tried; if there is none, and nothing is being tried, the connection has failed.
    pub(super) fn try_next_address(&mut self, id: ConnectionId) {
        while let Some(dialing) = self.dialing(id) {
            let Some(address) = dialing.addresses.pop_front() else {
                if dialing.attempts.is_empty() {
                    let kind = dialing.failure.as_ref().map_or(io::ErrorKind::NotFound, io::Error::kind);
                    self.hub.kill(id.key(), ClosedBy::Network(kind));
                }
                return;
            };
            let entry = self.attempts.vacant_entry();
            let slot = entry.key();
            match self.kernel.connect(address, Token::Attempt(slot).into()) {
                Ok(stream) => {
                    entry.insert(Attempt { id, address, stream });
                    return self.note_attempt(id, slot);
                }
                Err(error) => dialing_failed(self.dialing(id), error),
            }
        }
    }

    /// An attempt is under way: if there is another address, it has its head start.
    fn note_attempt(&mut self, id: ConnectionId, slot: usize) {
        let at = self.hub.now + HEAD_START;
        let Some(dialing) = self.dialing(id) else { return };
        dialing.attempts.push(slot);
        let (last, more) = (dialing.next.take(), !dialing.addresses.is_empty());
        if let Some(timer) = last {
            self.hub.timers.cancel(timer);
        }
        if more {
            let timer = self.hub.timers.insert(at, Task::NextAddress(id));
            if let Some(dialing) = self.dialing(id) {
                dialing.next = Some(timer);
            }
        }
    }

    /// There is news of an attempt.
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
            self.links[key].fail(error);
            return self.hub.kill(key, ClosedBy::Network(io::ErrorKind::Other));
        }
        let link = &mut self.links[key];
        link.transport = Transport::Plain(stream);
        if let Some(dialing) = link.dialing.take() {
            self.drop_attempts(id, &dialing);
        }
        let outbox = &mut self.hub.outboxes[key];
        (outbox.peer_addr, outbox.dialing) = (address, false);
        outbox.unblock(&mut self.hub.pools);
        self.hub.stats.connected += 1;
        self.call(key, |handler, stream| handler.on_connect(stream));
    }

    /// Lets go of the attempts of a connection that has been made, or was given up.
    pub(super) fn drop_attempts(&mut self, id: ConnectionId, dialing: &Dialing) {
        for slot in &dialing.attempts {
            // One that is over may have left its place to another connection's.
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
        // The first says most: the others were tried because of it.
        dialing.failure.get_or_insert(error);
    }
}

fn question(id: ConnectionId) -> u64 {
    u64::from(id.generation) << 32 | id.key() as u64
}

/// The addresses with their families taking turns, that of the first beginning (RFC 8305 §4).
fn in_turns(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let longer = one.len().max(other.len());
    (0..longer).flat_map(|index| [one.get(index), other.get(index)]).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let addresses = |text: &str| -> Vec<SocketAddr> { text.split(' ').map(|text| text.parse().unwrap()).collect() };
        let mixed = addresses("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1 2.2.2.2:1");
        assert_eq!(in_turns(mixed), addresses("[::1]:1 1.1.1.1:1 [::2]:1 2.2.2.2:1 [::3]:1"));
        let mixed = addresses("1.1.1.1:1 [::1]:1 [::2]:1");
        assert_eq!(in_turns(mixed), addresses("1.1.1.1:1 [::1]:1 [::2]:1"));
        assert!(in_turns(Vec::new()).is_empty());
    }
}
