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

impl<K: Kernel> Reactor<K> {
    /// Schedules trim passes if much memory is unused.
    pub(super) fn schedule_trim(&mut self) {
        if self.trim_passes == 0 && self.has_excess() {
            self.trim_passes = TRIM_PASSES;
            self.hub.timers.insert(self.hub.after(TRIM_INTERVAL), Task::Trim);
        }
    }

    fn has_excess(&self) -> bool {
        self.hub.pools.has_excess() || self.commands.capacity() > MANY_COMMANDS
    }

    /// Frees memory that was not needed for a while. Lists that were allocated among freed memory are reallocated, so
    /// that the allocator can return the memory to the system.
    pub(super) fn trim(&mut self) {
        self.trim_passes = if self.has_excess() { TRIM_PASSES } else { self.trim_passes - 1 };
        if self.commands.is_empty() {
            self.commands = VecDeque::new();
            self.hub.command_queue.trim();
        }
        if self.hub.pools.trim() {
            self.events.shrink_to_fit();
            self.reader.shrink();
            self.inbounds.shrink();
            self.hub.deferred.shrink();
            self.hub.shrink_excess();
            self.hub.outbounds.shrink();
        }
        if self.trim_passes > 0 {
            self.hub.timers.insert(self.hub.after(TRIM_INTERVAL), Task::Trim);
        }
    }
}
