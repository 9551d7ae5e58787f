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
    /// Runs turns until nothing is left to do at the current time: no timer is due, and every byte has arrived and been
    /// handled, except bytes that arrive over a [slow line](Sim::slow_line) later.
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
                self.poll(Some(Duration::ZERO)).map_err(PollError)?;
            }
            if self.kernel.is_quiet() && !due {
                return Ok(turn);
            }
        }
        panic!("the reactor spins: {self:?}");
    }

    /// Advances the simulated time by `by`, with [`settle`](Self::settle) at each deadline and at each arrival over a
    /// [slow line](Sim::slow_line). Returns early if the loop has ended.
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
            let next = self.next_deadline().into_iter().chain(self.kernel.next_arrival()).min();
            let next = next.filter(|next| *next < end).unwrap_or(end);
            if turn == Turn::Stopped || now >= end {
                return Ok(turn);
            }
            self.kernel_mut().advance(next.saturating_duration_since(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc, time::Instant};

    use super::*;
    use crate::reactor::{ReactorConfig, Stream, StreamHandler};

    /// Records the time and the length of each piece of input, and sends it back.
    struct Echo(Rc<RefCell<Vec<(Instant, usize)>>>);

    impl StreamHandler for Echo {
        fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
            self.0.borrow_mut().push((stream.hub().now(), data.len()));
            stream.write(data);
        }
    }

    #[test]
    fn advance_handles_each_arrival_over_a_slow_line_at_its_time() {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let pieces = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&pieces);
        let addr = reactor.listen_stream("10.0.0.1:80", move |_| Echo(Rc::clone(&log))).unwrap().addr;
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.settle().unwrap();
        reactor.kernel_mut().slow_line(peer, 10_000);
        reactor.kernel_mut().send(peer, &[0; 250]);
        let start = reactor.kernel_mut().now();
        reactor.advance(Duration::from_millis(25)).unwrap();
        assert_eq!(reactor.kernel_mut().received(peer).len(), 100, "the first 100 bytes went and came");
        reactor.advance(Duration::from_millis(100)).unwrap();
        assert_eq!(reactor.kernel_mut().received(peer).len(), 150);
        assert_eq!(reactor.kernel_mut().now() - start, Duration::from_millis(125));
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(*pieces.borrow(), [(at(10), 100), (at(20), 100), (at(30), 50)]);
    }
}
