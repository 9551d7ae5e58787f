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

/// The connection that is alone in having input.
#[derive(Debug, Default)]
pub(super) struct Alone {
    connection: Option<Watched>,
    /// Times in a row that it had input.
    times: u32,
    /// It is not registered with the poll.
    detached: bool,
    /// Reads since the last poll.
    reads: u32,
}

/// A connection, of a client that reconnects one of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Watched {
    id: ConnectionId,
    life: u32,
}

impl Watched {
    fn new(outbound: &Outbound) -> Self {
        Watched { id: outbound.id, life: outbound.life() }
    }
}

/// What busy polling has found.
pub(super) enum Looked {
    /// Events or work.
    Found,
    /// Input of the connection that is read directly, by a read that began at this time. Its handler was called.
    Read(Instant),
    /// Nothing, for this long.
    Nothing(Duration),
}

/// The next step of busy polling.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Read(Watched),
    Poll,
}

impl Alone {
    /// Chooses between a read and a poll.
    fn next_step(&mut self) -> Step {
        match self.connection {
            Some(watched) if self.times >= TIMES_ALONE && self.reads < READS_PER_POLL => {
                self.reads += 1;
                Step::Read(watched)
            }
            _ => {
                self.reads = 0;
                Step::Poll
            }
        }
    }

    /// Notes a poll that had events, and the connection if they are input of only one.
    fn note(&mut self, connection: Option<Watched>) {
        self.times = if connection.is_some() && connection == self.connection { self.times + 1 } else { 0 };
        self.connection = connection;
    }

    /// A read has found input: others get their turn.
    fn poll_next(&mut self) {
        self.reads = READS_PER_POLL;
    }

    /// The connection is to be registered again, if it is not. Returns it then.
    fn take_detached(&mut self) -> Option<Watched> {
        self.times = 0;
        std::mem::take(&mut self.detached).then_some(self.connection?)
    }
}

impl<K: Kernel> Reactor<K> {
    /// Looks for events or work for `spin`, from `now`, without sleeping.
    pub(super) fn poll_busily(&mut self, clock: fn() -> Instant, now: Instant, spin: Duration) -> io::Result<Looked> {
        let mut spun = Duration::ZERO;
        while spun < spin {
            let found = match self.alone.next_step() {
                Step::Read(watched) => match self.read_directly(watched, clock) {
                    Some(began) => return Ok(Looked::Read(began)),
                    None => false,
                },
                Step::Poll => self.poll_now()?,
            };
            if found || self.has_work() {
                return Ok(Looked::Found);
            }
            spun = clock().saturating_duration_since(now);
        }
        Ok(Looked::Nothing(spun))
    }

    /// Polls without a wait, and reads the connection that is not registered, unless this turn reads it anyway. Returns
    /// when the read began, if it found input.
    pub(super) fn poll_at_once(&mut self) -> io::Result<Option<Instant>> {
        let mut began = None;
        if let (true, Some(watched), Some(clock)) = (self.alone.detached, self.alone.connection, self.hub.clock)
            && self.inbounds.get(watched.id.key()).is_some_and(|inbound| !inbound.reread_queued)
        {
            began = self.read_directly(watched, clock);
        }
        self.poll_now()?;
        Ok(began)
    }

    /// Registers all connections with the poll: the loop is about to sleep, or others have input.
    pub(super) fn register_all(&mut self) {
        let Some(watched) = self.alone.take_detached() else { return };
        let key = watched.id.key();
        if !self.hub.outbound(watched.id).is_some_and(|outbound| Watched::new(outbound) == watched) {
            return;
        }
        // Registered again, the connection has an event for what has happened meanwhile.
        if let Some(stream) = self.inbounds.get_mut(key).and_then(|inbound| inbound.transport.stream_mut())
            && let Err(error) = self.kernel.register(stream, Token::Inbound(key).into())
        {
            self.hub.mark_failed(key, error);
        }
    }

    /// Reads a connection without an event. Returns when the read began, if it found input.
    fn read_directly(&mut self, watched: Watched, clock: fn() -> Instant) -> Option<Instant> {
        if !self.detach(watched) {
            self.register_all();
            self.alone.connection = None;
            return None;
        }
        let (key, before) = (watched.id.key(), self.hub.stats.bytes_in);
        self.hub.now = clock();
        let began = self.hub.now;
        self.reset_delivery_budget();
        self.reader.reset_budget(self.config.turn_budget_bytes);
        self.read_from(key);
        if self.hub.stats.bytes_in == before {
            return None;
        }
        self.alone.poll_next();
        Some(began)
    }

    /// Deregisters a connection, and notes that it may have input. Returns `false` if it has to be polled, because it
    /// is not read, or waits for room for its output.
    fn detach(&mut self, watched: Watched) -> bool {
        let Some(outbound) = self.hub.outbound(watched.id) else { return false };
        if Watched::new(outbound) != watched || !outbound.may_read() || outbound.blocked {
            return false;
        }
        let Some(inbound) = self.inbounds.get_mut(watched.id.key()) else { return false };
        if inbound.transport.holds_output() {
            return false;
        }
        if !self.alone.detached {
            let Some(stream) = inbound.transport.stream_mut() else { return false };
            self.alone.detached = self.kernel.deregister(stream).is_ok();
        }
        inbound.readable |= self.alone.detached;
        self.alone.detached
    }

    fn poll_now(&mut self) -> io::Result<bool> {
        self.kernel.poll(&mut self.events, Some(Duration::ZERO))?;
        if self.events.is_empty() {
            return Ok(false);
        }
        let alone = match self.events[..] {
            [Event { token, readiness }] if readiness.readable => match Token::from(token) {
                Token::Inbound(key) => self.hub.outbounds.at_mut(key).map(|outbound| Watched::new(outbound)),
                Token::Listener(_) | Token::Attempt(_) => None,
            },
            _ => None,
        };
        if alone != self.alone.connection {
            self.register_all();
        }
        self.alone.note(alone);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::IdSource;

    /// A connection.
    fn watched() -> Option<Watched> {
        Some(Watched { id: IdSource::new().connection(3), life: 0 })
    }

    #[test]
    fn connection_is_read_after_it_was_alone_often_enough_and_polled_in_between() {
        let (mut alone, connection) = (Alone::default(), watched());
        for _ in 0..=TIMES_ALONE {
            assert_eq!(alone.next_step(), Step::Poll);
            alone.note(connection);
        }
        let steps: Vec<Step> = (0..2 * READS_PER_POLL + 2).map(|_| alone.next_step()).collect();
        let polls = steps.iter().filter(|step| **step == Step::Poll).count();
        assert_eq!((polls, steps.len() - polls), (2, 2 * READS_PER_POLL as usize));
        assert!(steps[..READS_PER_POLL as usize].iter().all(|step| *step == Step::Read(connection.unwrap())));
    }

    #[test]
    fn input_of_another_connection_or_of_several_starts_the_count_anew() {
        for other in [watched(), None] {
            let (mut alone, connection) = (Alone::default(), watched());
            (0..=TIMES_ALONE).for_each(|_| alone.note(connection));
            alone.note(other);
            for _ in 0..TIMES_ALONE {
                assert_eq!(alone.next_step(), Step::Poll);
                alone.note(connection);
            }
        }
    }

    #[test]
    fn detached_connection_is_taken_once_and_has_to_be_alone_anew() {
        let (mut alone, connection) = (Alone::default(), watched());
        (0..=TIMES_ALONE).for_each(|_| alone.note(connection));
        assert_eq!(alone.take_detached(), None);
        alone.detached = true;
        assert_eq!((alone.take_detached(), alone.take_detached()), (alone.connection, None));
        assert_eq!(alone.next_step(), Step::Poll);
    }
}
