//! When a raw stream is idle.

use std::{
    mem,
    time::{Duration, Instant},
};

use crate::reactor::{id::ConnectionId, timer::later};

/// A raw stream with an idle time-out, as of the last look at it.
#[derive(Debug, Clone, Copy)]
pub(in crate::reactor) struct Idle {
    pub(in crate::reactor) id: ConnectionId,
    timeout: Duration,
    /// Bytes read and written so far.
    moved: u64,
    /// The look that has found the last byte.
    since: Instant,
    /// The last look has found the time-out passed. The socket is read once before the end: the process may have been
    /// stopped, or the turn was long.
    is_over: bool,
}

/// Looks in the time of one time-out. A stream ends that much later at most.
const LOOKS: u32 = 8;

/// Shortest time between two looks.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);

impl Idle {
    /// Begins to watch a stream on which `moved` bytes have moved so far.
    pub(in crate::reactor) fn new(id: ConnectionId, timeout: Duration, moved: u64, now: Instant) -> Self {
        Idle { id, timeout, moved, since: now, is_over: false }
    }

    /// Looks at a stream. Returns the time of the next look; `None` if the time-out has passed.
    pub(in crate::reactor) fn look(&mut self, moved: u64, now: Instant) -> Option<Instant> {
        if moved != self.moved {
            (self.moved, self.since, self.is_over) = (moved, now, false);
        }
        let end = later(self.since, self.timeout);
        if now < end {
            return Some(later(now, (self.timeout / LOOKS).max(SHORTEST_LOOK)).min(end));
        }
        let was_over = mem::replace(&mut self.is_over, true);
        (!was_over).then(|| later(now, SHORTEST_LOOK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::id::IdSource;

    #[test]
    fn stream_is_idle_from_the_look_that_found_its_last_byte() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let id = IdSource::new().connection(0);
        let mut idle = Idle::new(id, Duration::from_secs(8), 0, start);
        assert_eq!(idle.look(0, at(1)), Some(at(2)));
        assert_eq!(idle.look(7, at(2)), Some(at(3)));
        assert_eq!(idle.look(7, at(9)), Some(at(10)));
        let again = at(10) + SHORTEST_LOOK;
        assert_eq!((idle.look(7, at(10)), idle.look(7, again)), (Some(again), None));
    }

    #[test]
    fn stream_is_read_once_after_a_pause_of_the_process() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let id = IdSource::new().connection(0);
        let mut idle = Idle::new(id, Duration::from_secs(8), 0, start);
        let again = at(100) + SHORTEST_LOOK;
        assert_eq!(idle.look(0, at(100)), Some(again));
        assert_eq!(idle.look(5, again), Some(again + Duration::from_secs(1)));
    }
}
