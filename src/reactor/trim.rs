//! Trimming of memory that is not used any more.

use std::{collections::VecDeque, time::Duration};

use super::{Reactor, timer::task::Task};
use crate::net::Kernel;

/// Interval of trim passes.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// A larger capacity for commands is trimmed.
const MANY_COMMANDS: usize = 4096;

/// Trim passes after excess memory was found.
const TRIM_PASSES: u32 = 4;

/// The trim passes still scheduled. A pass that finds excess memory starts the count again.
#[derive(Debug, Default)]
pub(super) struct Trim {
    passes_left: u32,
}

impl Trim {
    fn is_scheduled(&self) -> bool {
        self.passes_left > 0
    }

    fn start(&mut self) {
        self.passes_left = TRIM_PASSES;
    }

    /// Counts a pass. `excess`: there is excess memory.
    fn count(&mut self, excess: bool) {
        self.passes_left = if excess { TRIM_PASSES } else { self.passes_left.saturating_sub(1) };
    }
}

impl<K: Kernel> Reactor<K> {
    /// Schedules trim passes if there is excess memory.
    pub(super) fn schedule_trim(&mut self) {
        if !self.trim.is_scheduled() && self.has_excess() {
            self.trim.start();
            self.schedule_trim_pass();
        }
    }

    fn schedule_trim_pass(&mut self) {
        self.hub.timers.insert(self.hub.after(TRIM_INTERVAL), Task::Trim);
    }

    fn has_excess(&self) -> bool {
        self.hub.has_excess() || self.commands.capacity() > MANY_COMMANDS
    }

    /// Frees memory that was not needed for a while. Tables that were allocated among freed memory are reallocated, so
    /// that the allocator can return the memory to the system.
    pub(super) fn run_trim_pass(&mut self) {
        self.trim.count(self.has_excess());
        if self.commands.is_empty() {
            self.commands = VecDeque::new();
            self.hub.command_queue.trim();
        }
        let tables = self.hub.tables_have_excess();
        if self.hub.pools.trim() || tables {
            self.events.shrink_to_fit();
            self.reader.shrink();
            self.inbounds.shrink();
            self.dialer.shrink();
            self.hub.shrink();
        }
        if self.trim.is_scheduled() {
            self.schedule_trim_pass();
        }
    }
}

impl super::Hub {
    fn has_excess(&self) -> bool {
        self.pools.has_excess() || self.tables_have_excess()
    }

    fn tables_have_excess(&self) -> bool {
        self.outbounds.has_excess()
            || self.timers.has_excess()
            || self.topics.has_excess()
            // Without connections, no compressor is needed.
            || self.outbounds.is_empty() && !self.pools.contexts.borrow().is_empty()
    }

    /// Frees unused capacity.
    fn shrink(&mut self) {
        self.deferred.shrink();
        self.shrink_excess();
        self.outbounds.shrink();
        self.timers.shrink();
        self.pools.contexts.borrow_mut().trim();
        self.topics.shrink();
        self.sources.shrink();
        self.works.shrink();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trim_passes_end_after_a_number_of_passes_without_excess() {
        let mut trim = Trim::default();
        assert!(!trim.is_scheduled());
        trim.start();
        for excess in [false, false, true] {
            trim.count(excess);
            assert!(trim.is_scheduled());
        }
        for left in (0..TRIM_PASSES).rev() {
            trim.count(false);
            assert_eq!(trim.is_scheduled(), left > 0);
        }
        trim.count(false);
        assert!(!trim.is_scheduled());
    }
}
