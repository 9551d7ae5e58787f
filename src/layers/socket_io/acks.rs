//! Answers to events, in both directions.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    time::Duration,
};

use serde::Serialize;

use super::{
    adapter::{Answer, Answers},
    args::Args,
    packet::Kind,
    payload::Payload,
    socket::Socket,
    state::SocketState,
};
use crate::reactor::{Hub, TimerId};

/// The answer that a client waits for.
#[must_use = "the client waits for the answer"]
pub struct Ack {
    socket: Rc<SocketState>,
    /// `None`: the client does not wait.
    number: Option<u64>,
    is_used: Rc<Cell<bool>>,
}

impl Ack {
    pub(super) fn new(socket: &Rc<SocketState>, number: Option<u64>, is_used: &Rc<Cell<bool>>) -> Self {
        Ack { socket: Rc::clone(socket), number, is_used: Rc::clone(is_used) }
    }

    /// Returns `true` if the client waits for an answer.
    pub fn is_wanted(&self) -> bool {
        self.number.is_some() && !self.is_used.get() && self.socket.is_connected()
    }

    /// Answers, with arguments as [`Socket::emit`] takes them. An event is answered once; further answers, and one that
    /// the client does not want, have no effect.
    pub fn send<T: Serialize + ?Sized>(self, hub: &mut Hub, args: &T) {
        let Some(number) = self.number.filter(|_| self.socket.is_connected() && !self.is_used.replace(true)) else {
            return;
        };
        match Payload::new(None, args) {
            Ok(payload) => {
                let packets = self.socket.space.encode(Kind::Ack, &payload, Some(number));
                self.socket.send(hub, &packets, true);
            }
            Err(error) => log::error!(target: super::LOG, "an ack cannot be written as JSON: {error}"),
        }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ack").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Why there is no answer to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AckError {
    /// The client did not answer in time.
    Timeout,
    /// The socket has ended, or the event was not sent.
    Disconnected,
}

impl fmt::Display for AckError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            AckError::Timeout => "operation has timed out",
            AckError::Disconnected => "socket has been disconnected",
        })
    }
}

impl std::error::Error for AckError {}

type Call = Box<dyn FnOnce(&mut Socket<'_>, Result<Args, AckError>)>;

/// An answer that the server waits for.
pub(super) struct PendingAck {
    waiter: Waiter,
}

enum Waiter {
    Single(Rc<SingleAck>),
    Broadcast(Answers),
}

struct SingleAck {
    call: RefCell<Option<Call>>,
    timer: Cell<Option<TimerId>>,
}

impl PendingAck {
    /// The answer of one socket, whose `call` also ends by a time-out.
    pub(super) fn single(hub: &mut Hub, socket: &Rc<SocketState>, timeout: Option<Duration>, call: Call) -> Self {
        let ack = Rc::new(SingleAck { call: RefCell::new(Some(call)), timer: Cell::default() });
        if let Some(timeout) = timeout {
            let (waiting, socket) = (Rc::clone(&ack), Rc::downgrade(socket));
            let timer = hub.add_timer(timeout, move |hub| {
                waiting.timer.set(None);
                let Some(socket) = socket.upgrade() else { return };
                let is_own = |ack: &PendingAck| matches!(&ack.waiter, Waiter::Single(own) if Rc::ptr_eq(own, &waiting));
                socket.acks.borrow_mut().retain(|_, ack| !is_own(ack));
                let space = Rc::clone(&socket.space);
                space.task(hub, move |hub| waiting.give(hub, &socket, Err(AckError::Timeout)));
            });
            ack.timer.set(Some(timer));
        }
        PendingAck { waiter: Waiter::Single(ack) }
    }

    /// The answer of one socket to a broadcast.
    pub(super) fn of_broadcast(answers: &Answers) -> Self {
        PendingAck { waiter: Waiter::Broadcast(answers.clone()) }
    }

    pub(super) fn has_timer(&self) -> bool {
        matches!(&self.waiter, Waiter::Single(ack) if ack.timer.get().is_some())
    }

    /// Stops the time-out.
    pub(super) fn stop(&self, hub: &mut Hub) {
        if let Waiter::Single(ack) = &self.waiter
            && let Some(timer) = ack.timer.take()
        {
            hub.cancel_timer(timer);
        }
    }

    pub(super) fn give(self, hub: &mut Hub, socket: &Rc<SocketState>, answer: Result<Args, AckError>) {
        match self.waiter {
            Waiter::Single(ack) => ack.give(hub, socket, answer),
            // A client that is gone is missed at the time-out.
            Waiter::Broadcast(answers) => answer.into_iter().for_each(|args| answers.add(hub, Answer::Args(args))),
        }
    }
}

impl SingleAck {
    fn give(&self, hub: &mut Hub, socket: &Rc<SocketState>, answer: Result<Args, AckError>) {
        let call = self.call.borrow_mut().take();
        if let Some(call) = call {
            call(&mut Socket { hub, state: socket }, answer);
        }
    }
}
