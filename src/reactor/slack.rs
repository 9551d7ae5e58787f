//! Tables that have become much larger than their contents.

use slab::Slab;

/// Capacity below which a table is not worth trimming.
const MANY_ENTRIES: usize = 256;

/// A table of at most this many entries is moved as a whole to give its place back to the allocator: a block in use
/// above freed ones keeps them from the system.
const FEW_ENTRIES: usize = 1024;

/// The most entries of a table since it was last trimmed.
#[derive(Debug, Default)]
pub(crate) struct Peak(usize);

impl Peak {
    /// Notes the number of entries after one was added.
    #[inline]
    pub(crate) fn note(&mut self, entries: usize) {
        self.0 = self.0.max(entries);
    }

    /// Returns `true` if three quarters of the entries or more are gone since the last trim pass. A table that could
    /// not be made smaller, because the last entry is in use, is found again only when it has lost as much again.
    pub(crate) fn is_past(&self, entries: usize, capacity: usize) -> bool {
        capacity >= MANY_ENTRIES && entries < self.0 && entries <= self.0 / 4
    }

    /// Starts anew after a trim pass.
    pub(crate) fn reset(&mut self, entries: usize) {
        self.0 = entries;
    }
}

/// Frees the unused capacity at the end of a slab.
pub(crate) fn shrink_slab<T>(slab: &mut Slab<T>) {
    if slab.len() <= FEW_ENTRIES {
        *slab = std::mem::take(slab).into_iter().collect();
    }
    slab.shrink_to_fit();
}

/// Frees the unused capacity of a list.
pub(crate) fn shrink_list<T>(list: &mut Vec<T>) {
    list.shrink_to_fit();
    if list.len() <= FEW_ENTRIES {
        let mut moved = Vec::with_capacity(list.len());
        moved.append(list);
        *list = moved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_trimmed_once_when_three_quarters_are_gone() {
        let mut peak = Peak::default();
        assert!(!peak.is_past(0, MANY_ENTRIES), "it never had entries");
        peak.note(MANY_ENTRIES);
        assert!(!peak.is_past(MANY_ENTRIES / 4 + 1, MANY_ENTRIES));
        assert!(!peak.is_past(0, MANY_ENTRIES - 1), "too small");
        assert!(peak.is_past(MANY_ENTRIES / 4, MANY_ENTRIES));
        peak.reset(MANY_ENTRIES / 4);
        assert!(!peak.is_past(MANY_ENTRIES / 4, MANY_ENTRIES), "its last entry is in use");
        assert!(peak.is_past(0, MANY_ENTRIES));
        peak.reset(0);
        assert!(!peak.is_past(0, MANY_ENTRIES));
    }

    #[test]
    fn slab_keeps_its_entries_and_their_keys() {
        let mut slab: Slab<usize> = (0..2000).map(|key| (key, key)).collect();
        for key in (0..2000).filter(|key| *key != 700 && *key != 3) {
            slab.remove(key);
        }
        shrink_slab(&mut slab);
        assert!(slab.capacity() < 1000, "{}", slab.capacity());
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(3, &3), (700, &700)]);
        assert_ne!(slab.insert(1), 700);
        slab.clear();
        shrink_slab(&mut slab);
        assert_eq!(slab.capacity(), 0);
    }
}
