//! Listeners that all reactors of a group open at the same address.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::turns::Turns;
use crate::net::Bind;

/// The listeners opened first, by their address and their number among those of the same reactor and address: port 0
/// may be asked for more than once.
#[derive(Debug, Default)]
pub(super) struct SharedListeners(Mutex<HashMap<(String, usize), First>>);

/// The listener that was opened first at an address.
#[derive(Debug)]
struct First {
    bind: Bind,
    addr: SocketAddr,
    /// For a listener whose connections the reactors get in turn.
    turns: Option<Arc<Turns>>,
}

/// A listener of a group.
pub(in crate::reactor) struct Opened<L> {
    /// `None` if another reactor accepts.
    pub(in crate::reactor) socket: Option<L>,
    pub(in crate::reactor) addr: SocketAddr,
    pub(in crate::reactor) turns: Option<Arc<Turns>>,
}

impl SharedListeners {
    /// Opens the listener of a reactor: the `count`-th of that reactor at its address. The others wait meanwhile, so
    /// that they get the same port.
    pub(super) fn open<L>(
        &self,
        bind: Bind,
        count: usize,
        open: impl FnOnce(&Bind) -> io::Result<(L, SocketAddr)>,
    ) -> io::Result<Opened<L>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (bind.address().to_owned(), count);
        match known.get(&key) {
            Some(First { addr, turns: Some(turns), .. }) => {
                Ok(Opened { socket: None, addr: *addr, turns: Some(Arc::clone(turns)) })
            }
            Some(first) => {
                let (socket, addr) = open(&bind.beside(&first.bind))?;
                Ok(Opened { socket: Some(socket), addr, turns: None })
            }
            None => {
                let turns = bind.in_turn.then(Arc::<Turns>::default);
                let bind = bind.shareable()?;
                let (socket, addr) = open(&bind)?;
                known.insert(key, First { bind: bind.at_port(addr.port()), addr, turns: turns.clone() });
                Ok(Opened { socket: Some(socket), addr, turns })
            }
        }
    }
}
