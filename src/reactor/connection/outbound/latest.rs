//! Positions of queued messages of which only the latest counts.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

/// Positions of the keyed messages in a queue, counted from the first segment that the queue ever had.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Latest {
    /// A keyed hash function, because the names may come from peers.
    positions: HashMap<Rc<str>, u64>,
    order: VecDeque<(u64, Rc<str>)>,
}

impl Latest {
    pub(in crate::reactor) fn position(&self, key: &str) -> Option<u64> {
        self.positions.get(key).copied()
    }

    /// Notes that a message with the key was queued at `position`, behind all others.
    pub(in crate::reactor) fn note(&mut self, key: &str, position: u64) {
        let key: Rc<str> = key.into();
        self.positions.insert(Rc::clone(&key), position);
        self.order.push_back((position, key));
    }

    /// Removes the positions before `position`, whose segments have left.
    pub(in crate::reactor) fn forget_before(&mut self, position: u64) {
        while let Some((first, key)) = self.order.front().filter(|(first, _)| *first < position) {
            if self.positions.get(key) == Some(first) {
                self.positions.remove(key);
            }
            self.order.pop_front();
        }
    }

    /// Moves the positions from `position` on by one, because a segment was inserted there.
    pub(in crate::reactor) fn shift_from(&mut self, position: u64) {
        for (at, key) in self.order.iter_mut().filter(|(at, _)| *at >= position) {
            if let Some(known) = self.positions.get_mut(key).filter(|known| **known == *at) {
                *known += 1;
            }
            *at += 1;
        }
    }
}
