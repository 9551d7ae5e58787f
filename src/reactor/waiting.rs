//! How long a turn may wait, and what a loop of one's own needs to wait itself.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{Reactor, Running};
use crate::net::{Kernel, System};

impl<K: Kernel> Reactor<K> {
    /// Waits for events or work, from `now` at most for `timeout`, and sets the time at which the turn began.
    #[inline]
    pub(super) fn wait(&mut self, now: Instant, timeout: Option<Duration>) -> io::Result<()> {
        let until = self.next_deadline().map(|deadline| deadline.saturating_duration_since(now));
        let timeout = match (until, timeout) {
            (Some(until), Some(timeout)) => Some(until.min(timeout)),
            (until, None) => until,
            (None, timeout) => timeout,
        };
        if !self.config.busy_poll.is_zero()
            && let Some(clock) = self.hub.time_slice.clock
        {
            return self.wait_busily(clock, now, timeout);
        }
        self.sleep(timeout)
    }

    /// Waits in the system.
    #[inline]
    pub(super) fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.poll(timeout)?;
        self.hub.now = self.kernel.now();
        Ok(())
    }

    /// Takes events from the system.
    #[inline]
    pub(super) fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.kernel.poll(&mut self.events, timeout)?;
        // One event may be that of the waker.
        self.has_more_events = self.events.len() + 1 >= self.config.events;
        Ok(())
    }

    /// Time of the next turn that is due without an event: the deadline of the next timer, or a time that has passed if
    /// work is left over. `None` if only an event requires a turn.
    ///
    /// Only a loop that waits outside [`turn`](Self::turn), for example for several descriptors, needs it. It waits no
    /// longer than until this time:
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ws_reactor::Reactor;
    ///
    /// let mut reactor = Reactor::new()?;
    /// reactor.hub().add_timer(Duration::from_secs(5), |_| {});
    /// let timeout = reactor.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
    /// assert!(timeout <= Some(Duration::from_secs(5)));
    /// // Wait for the reactor's descriptor and for your own, at most `timeout`; then:
    /// reactor.turn(Some(Duration::ZERO))?;
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    #[inline]
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.has_work() {
            true => Some(self.hub.now),
            false => self.hub.timers.next_deadline(),
        }
    }

    #[inline]
    pub(super) fn has_work(&self) -> bool {
        let hub = &self.hub;
        !self.events.is_empty()
            || self.has_more_events
            || !hub.deferred.is_empty()
            || !self.reader.is_idle()
            || !matches!(hub.running, Running::Yes | Running::ShuttingDown)
            || hub.command_queue.is_waiting()
            || self.dialer.has_answers()
            || !self.commands.is_empty()
            || self.listeners.are_accepting()
            || hub.is_joined && hub.has_publications()
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for Reactor<System> {
    /// The descriptor of the poll, for loops that watch descriptors: readable when an event is waiting.
    ///
    /// Timers do not make the descriptor readable: see [`next_deadline`](Reactor::next_deadline). With
    /// [`ReactorConfig::busy_poll`](crate::ReactorConfig::busy_poll) the descriptor is not enough: a connection may not
    /// be registered with the poll between two turns.
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.kernel.as_raw_fd()
    }
}
