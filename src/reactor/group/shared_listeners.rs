//! Listeners that all reactors of a group open at the same address.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use crate::net::Bind;

/// The listeners opened first, by their address and their number among those of the same reactor and address: port 0
/// may be asked for more than once.
#[derive(Debug, Default)]
pub(super) struct SharedListeners(Mutex<HashMap<(String, usize), Bind>>);

impl SharedListeners {
    /// Opens the listener of a reactor: the `count`-th of that reactor at its address. The others wait meanwhile, so
    /// that they get the same port.
    pub(super) fn open<L>(
        &self,
        bind: Bind,
        count: usize,
        open: impl FnOnce(&Bind) -> io::Result<(L, SocketAddr)>,
    ) -> io::Result<(L, SocketAddr)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (bind.address().to_owned(), count);
        if let Some(first) = known.get(&key) {
            return open(&bind.beside(first));
        }
        let bind = bind.shareable()?;
        let (listener, addr) = open(&bind)?;
        known.insert(key, bind.at_port(addr.port()));
        Ok((listener, addr))
    }
}
