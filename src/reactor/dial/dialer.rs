//! State of connecting: the progress of each outgoing connection, the attempts of all, and the resolver.

use std::{collections::VecDeque, fmt, io, sync::Arc, time::Instant};

use slab::Slab;

use crate::{
    error::{ConnectError, Error},
    net::{Answer, Answered, Answers, Endpoint, Kernel, Resolver, SocketOptions, SystemResolver, Wake},
    reactor::{
        dial::target::Target,
        id::{ConnectionId, TimerId},
        slack::shrink_slab,
        token::Token,
    },
};

/// Progress of an outgoing connection.
#[derive(Debug)]
pub(in crate::reactor) struct Dialing {
    pub(super) target: Target,
    /// Addresses not tried yet.
    pub(super) addresses: VecDeque<Endpoint>,
    /// Attempts in progress.
    pub(super) attempts: Vec<usize>,
    /// Timer for resolving the name, or for trying the next address.
    pub(super) next: Option<TimerId>,
    failure: Option<io::Error>,
    /// The deadline of the connection is the time-out for connecting if it equals this.
    pub(super) timed: Option<Instant>,
    /// Held while the answer is wanted; the resolver skips lookups whose token was dropped.
    pub(super) cancel_token: Arc<()>,
}

impl Dialing {
    pub(super) fn new(target: Target) -> Self {
        Dialing {
            target,
            addresses: VecDeque::new(),
            attempts: Vec::new(),
            next: None,
            failure: None,
            timed: None,
            cancel_token: Arc::default(),
        }
    }

    /// Records a failure. The first one is reported: the other addresses were tried because of it.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }

    /// Records the result of a lookup.
    pub(super) fn resolve(&mut self, addresses: io::Result<VecDeque<Endpoint>>) {
        match addresses {
            Ok(addresses) => self.addresses = addresses,
            Err(error) => self.failure = Some(error),
        }
    }

    /// Kind of the failure, if no address is left and no attempt is in progress.
    pub(super) fn exhausted(&self) -> Option<io::ErrorKind> {
        let exhausted = self.addresses.is_empty() && self.attempts.is_empty();
        exhausted.then(|| self.failure.as_ref().map_or(io::ErrorKind::NotFound, io::Error::kind))
    }

    /// Converts the failure into the error for `on_error`.
    pub(in crate::reactor) fn error(self, kind: io::ErrorKind) -> Error {
        let (address, source) = (self.target.to_string(), self.failure.unwrap_or_else(|| kind.into()));
        Error::Connect(ConnectError::Network { address, source })
    }
}

/// A socket that is being connected.
#[derive(Debug)]
pub(super) struct Attempt<S> {
    pub(super) id: ConnectionId,
    /// The attempts of a reactor have numbers, from 0 on.
    pub(super) number: u32,
    pub(super) address: Endpoint,
    pub(super) stream: S,
}

/// Result of an event of an attempt.
pub(super) enum Progress<S> {
    Pending,
    Connected(Attempt<S>),
    /// The connection, the number of the attempt, and the error.
    Failed(ConnectionId, u32, io::Error),
}

/// The attempts of all outgoing connections, and the resolver.
pub(in crate::reactor) struct Dialer<S> {
    attempts: Slab<Attempt<S>>,
    /// Number of attempts made.
    made: u32,
    /// Addresses that resolvers have found.
    answers: Arc<Answers>,
    resolver: Box<dyn Resolver>,
    /// Requested connections are being started.
    starting: bool,
}

impl<S> Dialer<S> {
    pub(in crate::reactor) fn new(waker: Arc<dyn Wake>) -> Self {
        Dialer {
            attempts: Slab::new(),
            made: 0,
            answers: Answers::new(waker),
            resolver: Box::new(SystemResolver::default()),
            starting: false,
        }
    }

    /// Frees unused capacity.
    pub(in crate::reactor) fn shrink(&mut self) {
        shrink_slab(&mut self.attempts);
    }

    pub(in crate::reactor) fn set_resolver(&mut self, resolver: impl Resolver + 'static) {
        self.resolver = Box::new(resolver);
    }

    /// Begins to start requested connections. Returns `false` if that is in progress: a handler has requested another
    /// connection in `on_dial`, and the running loop starts that one, too.
    pub(super) fn begin_starting(&mut self) -> bool {
        !std::mem::replace(&mut self.starting, true)
    }

    pub(super) fn end_starting(&mut self) {
        self.starting = false;
    }

    pub(super) fn resolver(&self) -> &dyn Resolver {
        &*self.resolver
    }

    /// The answer to the lookup for a connection, wanted as long as `cancel_token` is held.
    pub(super) fn expect_answer(&self, id: ConnectionId, cancel_token: &Arc<()>) -> Answer {
        self.answers.expect(id.to_bits(), cancel_token)
    }

    /// Returns `true` if the resolver has answered.
    #[inline]
    pub(in crate::reactor) fn has_answers(&self) -> bool {
        self.answers.are_waiting()
    }

    pub(super) fn take_answers(&self) -> Vec<Answered> {
        self.answers.take()
    }

    /// Starts an attempt for a connection, and returns its slot.
    pub(super) fn attempt(
        &mut self,
        kernel: &mut impl Kernel<Stream = S>,
        id: ConnectionId,
        address: Endpoint,
        options: &SocketOptions,
    ) -> io::Result<usize> {
        let entry = self.attempts.vacant_entry();
        let (slot, number) = (entry.key(), self.made);
        self.made = self.made.wrapping_add(1);
        let stream = kernel.connect(&address, options, Token::Attempt(slot).into())?;
        entry.insert(Attempt { id, number, address, stream });
        Ok(slot)
    }

    /// Number of the last attempt.
    pub(super) fn last_attempt(&self) -> u32 {
        self.made.wrapping_sub(1)
    }

    /// Handles an event of an attempt. An attempt that has succeeded or failed is removed.
    pub(super) fn advance(&mut self, kernel: &mut impl Kernel<Stream = S>, slot: usize) -> Progress<S> {
        let Some(attempt) = self.attempts.get_mut(slot) else { return Progress::Pending };
        match kernel.connected(&mut attempt.stream) {
            Ok(false) => Progress::Pending,
            Ok(true) => Progress::Connected(self.attempts.remove(slot)),
            Err(error) => {
                let Attempt { id, number, .. } = self.attempts.remove(slot);
                Progress::Failed(id, number, error)
            }
        }
    }

    /// Drops the attempts of a connection.
    pub(super) fn drop_attempts(&mut self, id: ConnectionId, slots: &[usize]) {
        for slot in slots {
            // The slot of a finished attempt may belong to another connection now.
            if self.attempts.get(*slot).is_some_and(|attempt| attempt.id == id) {
                self.attempts.remove(*slot);
            }
        }
    }
}

impl<S> fmt::Debug for Dialer<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Dialer").field("attempts", &self.attempts.len()).finish_non_exhaustive()
    }
}
