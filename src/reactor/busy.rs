//! Busy polling: the loop looks for input again and again, without sleeping.
//!
//! While only one connection has input, it is deregistered from the system's poll and read directly. A read that finds
//! nothing costs as much as a poll that finds nothing, a read that finds a message saves the poll, and a packet for a
//! socket that is polled costs the system a third of a microsecond more before the reactor can read it.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{Reactor, connection::outbound::Outbound, id::ConnectionId, token::Token};
use crate::net::{Event, Kernel};

/// Empty reads of the connection between two polls. A read that finds input is followed by a poll.
const READS_PER_POLL: u32 = 3;

/// Times in a row that a connection alone has had input before it is deregistered. Registering it again costs a second
/// system call.
const TIMES_ALONE: u32 = 16;

/// State of reading a connection directly, while it alone has input.
#[derive(Debug, Default)]
pub(super) struct DirectRead {
    connection: Option<Life>,
    /// Times in a row that it had input.
    times: u32,
    /// It is not registered with the poll.
    detached: bool,
    /// Reads since the last poll.
    reads: u32,
}

/// A connection. A client that reconnects has several, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Life {
    id: ConnectionId,
    number: u32,
}

impl Life {
    fn new(outbound: &Outbound) -> Self {
        Life { id: outbound.id, number: outbound.life() }
    }
}

/// Result of busy polling.
enum Looked {
    /// Events or work.
    Found,
    /// Input of the connection that is read directly. Its handler was called.
    Read,
    /// Nothing, for this long.
    Nothing(Duration),
}

/// The next step of busy polling.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Read(Life),
    Poll,
}

impl DirectRead {
    /// Chooses between a read and a poll.
    fn next_step(&mut self) -> Step {
        match self.connection {
            Some(life) if self.times >= TIMES_ALONE && self.reads < READS_PER_POLL => {
                self.reads += 1;
                Step::Read(life)
            }
            _ => {
                self.reads = 0;
                Step::Poll
            }
        }
    }

    /// Notes a poll that had events, and the connection if they are input of only one.
    fn note(&mut self, connection: Option<Life>) {
        self.times = if connection.is_some() && connection == self.connection { self.times + 1 } else { 0 };
        self.connection = connection;
    }

    /// A read has found input: others get their turn.
    fn poll_next(&mut self) {
        self.reads = READS_PER_POLL;
    }

    /// The connection is to be registered again, if it is not. Returns it then.
    fn take_detached(&mut self) -> Option<Life> {
        self.times = 0;
        std::mem::take(&mut self.detached).then_some(self.connection?)
    }
}

impl<K: Kernel> Reactor<K> {
    /// Waits for events or work, from `now` at most for `timeout`: without sleeping for the time of
    /// [`ReactorConfig::busy_poll`](crate::ReactorConfig::busy_poll), then in the system. Sets the time at which the
    /// turn began: that of the read, if input was read already.
    #[inline(never)]
    pub(super) fn wait_busily(
        &mut self,
        clock: fn() -> Instant,
        now: Instant,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return self.poll_at_once(clock);
        }
        let spin = timeout.unwrap_or(Duration::MAX).min(self.config.busy_poll);
        match self.poll_busily(clock, now, spin)? {
            Looked::Read => Ok(()),
            Looked::Nothing(spun) if timeout.is_none_or(|timeout| timeout > spun) => {
                self.sleep_registered(timeout.map(|timeout| timeout - spun))
            }
            Looked::Found | Looked::Nothing(_) => {
                self.hub.now = clock();
                Ok(())
            }
        }
    }

    /// Waits in the system, with all connections registered.
    fn sleep_registered(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.register_all();
        // A connection that could not be registered has ended.
        self.sleep(if self.has_work() { Some(Duration::ZERO) } else { timeout })
    }

    /// Looks for events or work for `spin`, from `now`, without sleeping.
    fn poll_busily(&mut self, clock: fn() -> Instant, now: Instant, spin: Duration) -> io::Result<Looked> {
        let mut spun = Duration::ZERO;
        while spun < spin {
            let found = match self.direct.next_step() {
                Step::Read(life) if self.read_directly(life, clock) => return Ok(Looked::Read),
                Step::Read(_) => false,
                Step::Poll => self.poll_now()?,
            };
            if found || self.has_work() {
                return Ok(Looked::Found);
            }
            spun = clock().saturating_duration_since(now);
        }
        Ok(Looked::Nothing(spun))
    }

    /// Polls without a wait, and reads the connection that is not registered, unless this turn reads it anyway.
    fn poll_at_once(&mut self, clock: fn() -> Instant) -> io::Result<()> {
        let read = match self.direct.connection {
            Some(life) if self.direct.detached => {
                let inbound = self.inbounds.get(life.id.key());
                inbound.is_some_and(|inbound| !inbound.reread_queued) && self.read_directly(life, clock)
            }
            _ => false,
        };
        self.poll_now()?;
        if !read {
            self.hub.now = clock();
        }
        Ok(())
    }

    /// Registers all connections with the poll: the loop is about to sleep, or others have input.
    fn register_all(&mut self) {
        let Some(life) = self.direct.take_detached() else { return };
        let key = life.id.key();
        if !self.hub.outbound(life.id).is_some_and(|outbound| Life::new(outbound) == life) {
            return;
        }
        // Registered again, the connection has an event for what has happened meanwhile.
        if let Some(stream) = self.inbounds.get_mut(key).and_then(|inbound| inbound.transport.stream_mut())
            && let Err(error) = self.kernel.register(stream, Token::Inbound(key).into())
        {
            self.hub.mark_failed(key, error);
        }
    }

    /// Reads a connection without an event. Returns `true` if the read found input; the turn began before the read.
    fn read_directly(&mut self, life: Life, clock: fn() -> Instant) -> bool {
        if !self.detach(life) {
            self.register_all();
            self.direct.connection = None;
            return false;
        }
        let (key, before) = (life.id.key(), self.hub.stats.bytes_in);
        self.hub.now = clock();
        self.reset_delivery_budget();
        self.reader.reset_budget(self.config.turn_budget_bytes);
        self.read_from(key);
        if self.hub.stats.bytes_in == before {
            return false;
        }
        self.direct.poll_next();
        true
    }

    /// Deregisters a connection, and notes that it may have input. Returns `false` if it has to be polled, because it
    /// is not read, or waits for room for its output.
    fn detach(&mut self, life: Life) -> bool {
        let Some(outbound) = self.hub.outbound(life.id) else { return false };
        if Life::new(outbound) != life || !outbound.may_read() || outbound.blocked {
            return false;
        }
        let Some(inbound) = self.inbounds.get_mut(life.id.key()) else { return false };
        if inbound.transport.holds_output() {
            return false;
        }
        if !self.direct.detached {
            let Some(stream) = inbound.transport.stream_mut() else { return false };
            self.direct.detached = self.kernel.deregister(stream).is_ok();
        }
        inbound.readable |= self.direct.detached;
        self.direct.detached
    }

    fn poll_now(&mut self) -> io::Result<bool> {
        self.poll(Some(Duration::ZERO))?;
        if self.events.is_empty() {
            return Ok(false);
        }
        let alone = match self.events[..] {
            [Event { token, readiness }] if readiness.readable => match Token::from(token) {
                Token::Inbound(key) => self.hub.outbounds.at_mut(key).map(|outbound| Life::new(outbound)),
                Token::Listener(_) | Token::Attempt(_) | Token::Source(_) => None,
            },
            _ => None,
        };
        if alone != self.direct.connection {
            self.register_all();
        }
        self.direct.note(alone);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::IdSource;

    /// A connection.
    fn life() -> Option<Life> {
        Some(Life { id: IdSource::new().connection(3), number: 0 })
    }

    #[test]
    fn connection_is_read_after_it_was_alone_often_enough_and_polled_in_between() {
        let (mut direct, connection) = (DirectRead::default(), life());
        for _ in 0..=TIMES_ALONE {
            assert_eq!(direct.next_step(), Step::Poll);
            direct.note(connection);
        }
        let steps: Vec<Step> = (0..2 * READS_PER_POLL + 2).map(|_| direct.next_step()).collect();
        let polls = steps.iter().filter(|step| **step == Step::Poll).count();
        assert_eq!((polls, steps.len() - polls), (2, 2 * READS_PER_POLL as usize));
        assert!(steps[..READS_PER_POLL as usize].iter().all(|step| *step == Step::Read(connection.unwrap())));
    }

    #[test]
    fn input_of_another_connection_or_of_several_starts_the_count_anew() {
        for other in [life(), None] {
            let (mut direct, connection) = (DirectRead::default(), life());
            (0..=TIMES_ALONE).for_each(|_| direct.note(connection));
            direct.note(other);
            for _ in 0..TIMES_ALONE {
                assert_eq!(direct.next_step(), Step::Poll);
                direct.note(connection);
            }
        }
    }

    #[test]
    fn detached_connection_is_taken_once_and_has_to_be_alone_anew() {
        let (mut direct, connection) = (DirectRead::default(), life());
        (0..=TIMES_ALONE).for_each(|_| direct.note(connection));
        assert_eq!(direct.take_detached(), None);
        direct.detached = true;
        assert_eq!((direct.take_detached(), direct.take_detached()), (direct.connection, None));
        assert_eq!(direct.next_step(), Step::Poll);
    }
}
