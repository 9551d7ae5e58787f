//! Driving a reactor on the simulated system.

use std::time::Duration;

use super::{Reactor, Turn};
use crate::{
    error::PollError,
    net::{Kernel, sim::Sim},
};

/// More turns than this without progress of time mean that the loop spins.
const MOST_TURNS: usize = 1_000_000;

impl Reactor<Sim> {
    /// Runs turns until nothing is left to do at the current time: every byte has arrived and been handled, and no
    /// timer is due.
    ///
    /// # Errors
    ///
    /// [`PollError`] if waiting for events fails.
    ///
    /// # Panics
    ///
    /// If more than a million turns are needed: the reactor spins.
    pub fn settle(&mut self) -> Result<Turn, PollError> {
        for _ in 0..MOST_TURNS {
            let turn = self.turn(Some(Duration::ZERO))?;
            let stopped = turn == Turn::Stopped;
            let due = !stopped && self.next_deadline().is_some_and(|deadline| deadline <= self.kernel.now());
            if stopped {
                // The network still delivers what was written last.
                self.kernel.poll(&mut self.events, Some(Duration::ZERO)).map_err(PollError)?;
            }
            if self.kernel.is_quiet() && !due {
                return Ok(turn);
            }
        }
        panic!("the reactor spins: {self:?}");
    }

    /// Advances the simulated time by `by`, from deadline to deadline, with [`settle`](Self::settle) at each.
    /// Returns early if the loop has ended.
    ///
    /// # Errors
    ///
    /// [`PollError`] if waiting for events fails.
    ///
    /// # Panics
    ///
    /// As [`settle`](Self::settle).
    pub fn advance(&mut self, by: Duration) -> Result<Turn, PollError> {
        let end = self.kernel_mut().now() + by;
        loop {
            let turn = self.settle()?;
            let now = self.kernel_mut().now();
            let next = self.next_deadline().filter(|deadline| *deadline < end).unwrap_or(end);
            if turn == Turn::Stopped || now >= end {
                return Ok(turn);
            }
            self.kernel_mut().advance(next.saturating_duration_since(now));
        }
    }
}
