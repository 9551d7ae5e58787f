//! Timers: an indexed heap.
//!
//! Each timer stores its position, so that a cancelled timer is removed at once and never wakes the loop. Each node has
//! four children, because a heap of deadlines is mostly traversed downwards.

use std::time::Instant;

use slab::Slab;

use crate::reactor::{
    id::{IdSource, TimerId},
    slack::{Peak, shrink_list, shrink_slab},
};

const CHILDREN: usize = 4;

/// Deadlines, each with a value.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    entries: Slab<Entry<T>>,
    heap: Vec<Node>,
    ids: IdSource,
    peak: Peak,
}

#[derive(Debug)]
struct Entry<T> {
    id: TimerId,
    /// Position in the heap; `None` while the timer has fired and is being handled.
    index: Option<u32>,
    value: T,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    at: Instant,
    key: u32,
}

impl<T> Timers<T> {
    pub(crate) fn new(ids: IdSource) -> Self {
        Timers { entries: Slab::new(), heap: Vec::new(), ids, peak: Peak::default() }
    }

    /// Adds a timer that fires at `at`.
    pub(crate) fn insert(&mut self, at: Instant, value: T) -> TimerId {
        self.peak.note(self.entries.len() + 1);
        let entry = self.entries.vacant_entry();
        let key = entry.key();
        let id = self.ids.timer(key);
        entry.insert(Entry { id, index: None, value });
        self.schedule(key, at);
        id
    }

    /// Removes a timer that waits or is being handled. Returns `None` if there is no such timer.
    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<T> {
        let index = self.get(id)?.index;
        if let Some(index) = index {
            self.remove_node(index as usize);
        }
        Some(self.entries.remove(id.key()).value)
    }

    /// Moves a timer to `at`. Returns `false` if there is no such timer.
    pub(crate) fn reschedule(&mut self, id: TimerId, at: Instant) -> bool {
        let Some(entry) = self.get(id) else { return false };
        match entry.index {
            Some(index) => {
                self.heap[index as usize].at = at;
                let index = self.rise(index as usize);
                self.sink(index);
            }
            None => self.schedule(id.key(), at),
        }
        true
    }

    /// Returns the next timer that is due at `now`. The timer stays known, without a deadline, until it is cancelled or
    /// rescheduled.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<TimerId> {
        let first = self.heap.first().filter(|node| node.at <= now)?;
        let key = first.key as usize;
        self.remove_node(0);
        let entry = &mut self.entries[key];
        entry.index = None;
        Some(entry.id)
    }

    /// The value of a timer.
    pub(crate) fn value_mut(&mut self, id: TimerId) -> Option<&mut T> {
        let entry = self.entries.get_mut(id.key())?;
        (entry.id == id).then_some(&mut entry.value)
    }

    /// Deadline of a timer; `None` if there is no such timer, or if it is being handled.
    pub(crate) fn deadline(&self, id: TimerId) -> Option<Instant> {
        Some(self.heap[self.get(id)?.index? as usize].at)
    }

    /// Deadline of the next timer.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.heap.first().map(|node| node.at)
    }

    /// Returns `true` if the tables have become much larger than their contents.
    pub(crate) fn has_excess(&self) -> bool {
        self.peak.is_past(self.entries.len(), self.entries.capacity())
    }

    /// Frees unused capacity.
    pub(crate) fn shrink(&mut self) {
        shrink_slab(&mut self.entries);
        shrink_list(&mut self.heap);
        self.peak.reset(self.entries.len());
    }

    /// Number of timers.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn get(&self, id: TimerId) -> Option<&Entry<T>> {
        self.entries.get(id.key()).filter(|entry| entry.id == id)
    }

    fn schedule(&mut self, key: usize, at: Instant) {
        self.heap.push(Node { at, key: key as u32 });
        self.rise(self.heap.len() - 1);
    }

    fn remove_node(&mut self, index: usize) {
        let removed = self.heap.swap_remove(index);
        self.entries[removed.key as usize].index = None;
        if index < self.heap.len() {
            let index = self.rise(index);
            self.sink(index);
        }
    }

    /// Moves the node at `index` towards the root as far as needed, and returns its new position.
    fn rise(&mut self, mut index: usize) -> usize {
        while index > 0 {
            let parent = (index - 1) / CHILDREN;
            if self.heap[parent].at <= self.heap[index].at {
                break;
            }
            self.heap.swap(parent, index);
            self.store_index(index);
            index = parent;
        }
        self.store_index(index);
        index
    }

    fn sink(&mut self, mut index: usize) {
        loop {
            let first = index * CHILDREN + 1;
            let children = first..(first + CHILDREN).min(self.heap.len());
            let Some(least) = children.min_by_key(|child| self.heap[*child].at) else { break };
            if self.heap[index].at <= self.heap[least].at {
                break;
            }
            self.heap.swap(index, least);
            self.store_index(index);
            index = least;
        }
        self.store_index(index);
    }

    fn store_index(&mut self, index: usize) {
        let key = self.heap[index].key as usize;
        self.entries[key].index = Some(index as u32);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn due(timers: &mut Timers<u32>, now: Instant) -> Vec<u32> {
        let mut values = Vec::new();
        while let Some(id) = timers.next_due(now) {
            values.push(timers.cancel(id).expect("a due timer"));
        }
        values
    }

    #[test]
    fn timers_fire_in_the_order_of_their_deadlines() {
        let (mut timers, start) = (Timers::new(IdSource::new()), Instant::now());
        for value in [5, 1, 4, 2, 3] {
            timers.insert(start + Duration::from_secs(value.into()), value);
        }
        assert_eq!(timers.next_deadline(), Some(start + Duration::from_secs(1)));
        assert_eq!(due(&mut timers, start + Duration::from_secs(3)), [1, 2, 3]);
        assert_eq!(due(&mut timers, start + Duration::from_secs(9)), [4, 5]);
        assert_eq!((timers.next_deadline(), timers.len()), (None, 0));
    }

    #[test]
    fn cancelled_timer_leaves_no_deadline() {
        let (mut timers, start) = (Timers::new(IdSource::new()), Instant::now());
        let ids: Vec<TimerId> =
            (0..1000).map(|value| timers.insert(start + Duration::from_millis(value), ())).collect();
        assert!(ids.iter().all(|id| timers.cancel(*id).is_some()));
        assert!(ids.iter().all(|id| timers.cancel(*id).is_none()));
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn stale_id_does_not_affect_the_timer_with_the_same_key() {
        let (mut timers, start) = (Timers::new(IdSource::new()), Instant::now());
        let old = timers.insert(start, 1);
        timers.cancel(old);
        let new = timers.insert(start, 2);
        assert_eq!(old.key(), new.key());
        assert_eq!(timers.cancel(old), None);
        assert!(!timers.reschedule(old, start));
        assert_eq!(due(&mut timers, start), [2]);
    }

    #[test]
    fn due_timer_may_be_rescheduled_or_cancelled() {
        let (mut timers, start) = (Timers::new(IdSource::new()), Instant::now());
        timers.insert(start, 1);
        let id = timers.next_due(start).unwrap();
        assert_eq!(timers.next_deadline(), None);
        assert!(timers.reschedule(id, start + Duration::from_secs(1)));
        assert_eq!(timers.next_due(start + Duration::from_secs(1)), Some(id));
        assert_eq!(timers.cancel(id), Some(1));
    }

    proptest! {
        #[test]
        fn timers_agree_with_a_sorted_map(
            steps in proptest::collection::vec((0_u8..4, any::<u16>(), any::<u16>()), 1..300),
        ) {
            let (mut timers, start) = (Timers::new(IdSource::new()), Instant::now());
            let mut model: BTreeMap<TimerId, u16> = BTreeMap::new();
            let at = |millis: u16| start + Duration::from_millis(millis.into());
            for (step, which, millis) in steps {
                let chosen = model.keys().nth(which as usize % model.len().max(1)).copied();
                match (step, chosen) {
                    (1, Some(id)) => {
                        prop_assert!(timers.cancel(id).is_some());
                        model.remove(&id);
                    }
                    (2, Some(id)) => {
                        prop_assert!(timers.reschedule(id, at(millis)));
                        model.insert(id, millis);
                    }
                    (3, Some(_)) => {
                        let first = model.values().min().copied();
                        prop_assert_eq!(timers.next_deadline(), first.map(at));
                        let id = timers.next_due(at(u16::MAX)).unwrap();
                        prop_assert_eq!(model.remove(&id), first);
                        timers.cancel(id);
                    }
                    _ => {
                        model.insert(timers.insert(at(millis), ()), millis);
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
            }
        }
    }
}
