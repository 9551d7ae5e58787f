//! Listeners that the reactors of a group open at the same address.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::turns::Turns;
use crate::{net::Bind, reactor::id::ListenerId};

/// The addresses at which reactors of the group listen.
#[derive(Debug, Default)]
pub(super) struct SharedListeners(Mutex<Addresses>);

#[derive(Debug, Default)]
struct Addresses {
    shared: Vec<SharedAddress>,
    last_number: u64,
}

/// An address at which at least one reactor listens, and each at most once: port 0 may be asked for several times.
#[derive(Debug)]
struct SharedAddress {
    number: u64,
    /// The address as the reactors have given it.
    asked: String,
    /// The listener that was opened first.
    bind: Bind,
    addr: SocketAddr,
    reactors: Vec<usize>,
    /// Connections are passed on in turn, by the one of these reactors that accepts.
    turns: Option<Arc<Turns>>,
    acceptor: Option<usize>,
}

/// A listener of a group.
pub(in crate::reactor) struct Opened<L> {
    /// `None` if another reactor accepts.
    pub(in crate::reactor) socket: Option<L>,
    pub(in crate::reactor) addr: SocketAddr,
    pub(in crate::reactor) shared: Option<SharedListener>,
}

impl SharedListeners {
    /// Opens the listener of a reactor. The others wait meanwhile, so that they get the same port.
    pub(super) fn open<L>(
        self: &Arc<Self>,
        reactor: usize,
        bind: Bind,
        open: impl FnOnce(&Bind) -> io::Result<(L, SocketAddr)>,
    ) -> io::Result<Opened<L>> {
        let mut addresses = self.lock();
        let asked = bind.shared_name();
        let joined = addresses.shared.iter().position(|shared| shared.may_join(&asked, reactor));
        let (socket, index) = match joined {
            Some(index) => {
                let address = &addresses.shared[index];
                let socket = match address.acceptor {
                    Some(_) => None,
                    None => Some(open(&bind.beside(&address.bind))?.0),
                };
                (socket, index)
            }
            None => {
                let (turns, bind) = (bind.in_turn.then(Arc::default), bind.shareable()?);
                let (socket, addr) = open(&bind)?;
                let bind = bind.at_port(addr.port());
                addresses.last_number += 1;
                let number = addresses.last_number;
                addresses.shared.push(SharedAddress {
                    number,
                    asked,
                    bind,
                    addr,
                    reactors: Vec::new(),
                    turns,
                    acceptor: None,
                });
                (Some(socket), addresses.shared.len() - 1)
            }
        };
        let address = &mut addresses.shared[index];
        address.reactors.push(reactor);
        if address.turns.is_some() && socket.is_some() {
            address.acceptor = Some(reactor);
        }
        let (turns, address, addr) = (address.turns.clone(), address.number, address.addr);
        let shared = SharedListener { listeners: Arc::clone(self), address, reactor, turns, id: None };
        Ok(Opened { socket, addr, shared: Some(shared) })
    }

    fn lock(&self) -> MutexGuard<'_, Addresses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedAddress {
    fn may_join(&self, asked: &str, reactor: usize) -> bool {
        self.asked == asked && !self.reactors.contains(&reactor)
    }
}

/// The part of a reactor in a shared address, until it is dropped.
#[derive(Debug)]
pub(in crate::reactor) struct SharedListener {
    listeners: Arc<SharedListeners>,
    /// Number of the address.
    address: u64,
    reactor: usize,
    turns: Option<Arc<Turns>>,
    id: Option<ListenerId>,
}

impl SharedListener {
    /// From now on the listener takes its turns.
    pub(in crate::reactor) fn join(&mut self, listener: ListenerId) {
        self.id = Some(listener);
        if let Some(turns) = &self.turns {
            turns.join(self.reactor, listener);
        }
    }

    /// The reactor and the listener whose turn it is. `None` if it is this one.
    pub(in crate::reactor) fn next(&self) -> Option<(usize, ListenerId)> {
        self.turns.as_ref()?.next().filter(|(_, listener)| Some(*listener) != self.id)
    }
}

impl Drop for SharedListener {
    fn drop(&mut self) {
        if let (Some(turns), Some(id)) = (&self.turns, self.id) {
            turns.leave(id);
        }
        let mut addresses = self.listeners.lock();
        let Some(address) = addresses.shared.iter_mut().find(|shared| shared.number == self.address) else { return };
        address.reactors.retain(|reactor| *reactor != self.reactor);
        address.acceptor = address.acceptor.filter(|acceptor| *acceptor != self.reactor);
        addresses.shared.retain(|shared| !shared.reactors.is_empty());
    }
}
