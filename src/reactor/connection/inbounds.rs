//! The inbound halves of all connections, at the keys of their outbound halves.

use std::{
    fmt,
    ops::{Index, IndexMut},
};

use crate::reactor::{connection::inbound::Inbound, slack::shrink_list};

/// Inbound halves by key. The keys are those of [`Outbounds`](super::outbounds::Outbounds).
pub(in crate::reactor) struct Inbounds<S>(Vec<Option<Inbound<S>>>);

impl<S> Inbounds<S> {
    pub(in crate::reactor) fn new() -> Self {
        Inbounds(Vec::new())
    }

    /// Puts the inbound half of a connection beside its outbound half.
    pub(in crate::reactor) fn insert(&mut self, key: usize, inbound: Inbound<S>) {
        if key >= self.0.len() {
            self.0.resize_with(key + 1, || None);
        }
        debug_assert!(self.0[key].is_none(), "the key of a removed connection");
        self.0[key] = Some(inbound);
    }

    pub(in crate::reactor) fn remove(&mut self, key: usize) -> Option<Inbound<S>> {
        self.0.get_mut(key)?.take()
    }

    /// Frees unused capacity.
    pub(in crate::reactor) fn shrink(&mut self) {
        let used = self.0.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.0.truncate(used);
        shrink_list(&mut self.0);
    }

    #[inline]
    pub(in crate::reactor) fn get_mut(&mut self, key: usize) -> Option<&mut Inbound<S>> {
        self.0.get_mut(key)?.as_mut()
    }

    pub(in crate::reactor) fn get(&self, key: usize) -> Option<&Inbound<S>> {
        self.0.get(key)?.as_ref()
    }

    /// Keys of all halves, in order.
    pub(in crate::reactor) fn keys(&self) -> Vec<usize> {
        self.0.iter().enumerate().filter_map(|(key, inbound)| inbound.is_some().then_some(key)).collect()
    }
}

impl<S> Index<usize> for Inbounds<S> {
    type Output = Inbound<S>;

    #[inline]
    fn index(&self, key: usize) -> &Inbound<S> {
        self.0[key].as_ref().expect("both halves of a connection are there")
    }
}

impl<S> IndexMut<usize> for Inbounds<S> {
    #[inline]
    fn index_mut(&mut self, key: usize) -> &mut Inbound<S> {
        self.0[key].as_mut().expect("both halves of a connection are there")
    }
}

impl<S: fmt::Debug> fmt::Debug for Inbounds<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inbounds = self.0.iter().enumerate().filter_map(|(key, inbound)| Some((key, inbound.as_ref()?)));
        formatter.debug_map().entries(inbounds).finish()
    }
}
