//! How long a turn may wait, and what a loop of one's own needs to wait itself.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{Reactor, Running, busy::Looked};
use crate::net::{Kernel, System};

impl<K: Kernel> Reactor<K> {
    /// Waits for events or work, from `now` at most for `timeout`: without sleeping for the time of
    /// [`ReactorConfig::busy_poll`](crate::ReactorConfig::busy_poll), then in the system. Returns the time at which the
    /// turn began, if input was read already.
    pub(super) fn wait(&mut self, now: Instant, timeout: Option<Duration>) -> io::Result<Option<Instant>> {
        let until = self.next_deadline().map(|deadline| deadline.saturating_duration_since(now));
        let timeout = until.into_iter().chain(timeout).min();
        let Some(clock) = self.hub.clock.filter(|_| !self.config.busy_poll.is_zero()) else {
            self.kernel.poll(&mut self.events, timeout)?;
            return Ok(None);
        };
        if timeout == Some(Duration::ZERO) {
            return self.poll_at_once();
        }
        let spin = timeout.unwrap_or(Duration::MAX).min(self.config.busy_poll);
        let spun = match self.poll_busily(clock, now, spin)? {
            Looked::Found => return Ok(None),
            Looked::Read(began) => return Ok(Some(began)),
            Looked::Nothing(spun) => spun,
        };
        if timeout.is_some_and(|timeout| timeout <= spun) {
            return Ok(None);
        }
        self.register_all();
        // A connection that could not be registered has ended.
        let rest = if self.has_work() { Some(Duration::ZERO) } else { timeout.map(|timeout| timeout - spun) };
        self.kernel.poll(&mut self.events, rest)?;
        Ok(None)
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
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.has_work() {
            true => Some(self.hub.now),
            false => self.hub.timers.next_deadline(),
        }
    }

    pub(super) fn has_work(&self) -> bool {
        let hub = &self.hub;
        !hub.deferred.is_empty()
            || !self.reader.is_idle()
            || !matches!(hub.running, Running::Yes | Running::ShuttingDown)
            || hub.command_queue.is_waiting()
            || self.dialer.has_answers()
            || !self.commands.is_empty()
            || self.listeners.are_accepting()
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
