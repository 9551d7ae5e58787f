//! The inbound halves of all connections, at the keys of their outbound halves.

use std::{
    fmt,
    ops::{Index, IndexMut},
};

use super::link::Link;

/// Links by key. The keys are those of [`Outboxes`](super::outboxes::Outboxes).
pub(super) struct Links<S>(Vec<Option<Link<S>>>);

impl<S> Links<S> {
    pub(super) fn new() -> Self {
        Links(Vec::new())
    }

    /// Puts the inbound half of a connection beside its outbound half.
    pub(super) fn insert(&mut self, key: usize, link: Link<S>) {
        if key >= self.0.len() {
            self.0.resize_with(key + 1, || None);
        }
        debug_assert!(self.0[key].is_none(), "the key of a removed connection");
        self.0[key] = Some(link);
    }

    pub(super) fn remove(&mut self, key: usize) -> Option<Link<S>> {
        self.0.get_mut(key)?.take()
    }

    /// Frees unused capacity.
    pub(super) fn shrink(&mut self) {
        let used = self.0.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.0.truncate(used);
        self.0.shrink_to_fit();
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Link<S>> {
        self.0.get_mut(key)?.as_mut()
    }

    pub(super) fn get(&self, key: usize) -> Option<&Link<S>> {
        self.0.get(key)?.as_ref()
    }

    /// Keys of all links, in order.
    pub(super) fn keys(&self) -> Vec<usize> {
        self.0.iter().enumerate().filter_map(|(key, link)| link.is_some().then_some(key)).collect()
    }
}

impl<S> Index<usize> for Links<S> {
    type Output = Link<S>;

    #[inline]
    fn index(&self, key: usize) -> &Link<S> {
        self.0[key].as_ref().expect("both halves of a connection are there")
    }
}

impl<S> IndexMut<usize> for Links<S> {
    #[inline]
    fn index_mut(&mut self, key: usize) -> &mut Link<S> {
        self.0[key].as_mut().expect("both halves of a connection are there")
    }
}

impl<S: fmt::Debug> fmt::Debug for Links<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links = self.0.iter().enumerate().filter_map(|(key, link)| Some((key, link.as_ref()?)));
        formatter.debug_map().entries(links).finish()
    }
}
