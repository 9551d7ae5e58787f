//! The topics of a group that have a history.

use std::{
    collections::HashSet,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// Topics that have a history, for threads that are no reactors.
#[derive(Debug, Default)]
pub(super) struct KeptTopics {
    topics: RwLock<HashSet<Box<str>>>,
    /// There has been one: otherwise the lock is not taken.
    has_any: AtomicBool,
    /// All topics count as such.
    has_all: AtomicBool,
}

impl KeptTopics {
    pub(super) fn contains(&self, topic: &str) -> bool {
        self.has_all.load(Ordering::Acquire)
            || self.has_any.load(Ordering::Acquire)
                && self.topics.read().unwrap_or_else(PoisonError::into_inner).contains(topic)
    }

    pub(super) fn insert(&self, topic: &str) {
        self.topics.write().unwrap_or_else(PoisonError::into_inner).insert(topic.into());
        self.has_any.store(true, Ordering::Release);
    }

    pub(super) fn set_all(&self, all: bool) {
        self.has_all.store(all, Ordering::Release);
    }

    pub(super) fn remove(&self, topic: &str) {
        self.topics.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }
}
