//! Options of a single event.

use std::{fmt, rc::Rc, time::Duration};

use serde::Serialize;

use super::{
    acks::{AckError, PendingAck},
    args::Args,
    broadcast::Flags,
    socket::Socket,
    state::SocketState,
};
use crate::reactor::Hub;

/// Options of the next event of a socket.
#[must_use = "nothing is sent without emit"]
pub struct Emitter<'a> {
    hub: &'a mut Hub,
    state: &'a Rc<SocketState>,
    flags: Flags,
    timeout: Option<Duration>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(hub: &'a mut Hub, state: &'a Rc<SocketState>) -> Self {
        Emitter { hub, state, flags: Flags::default(), timeout: None }
    }

    /// See [`Socket::volatile`].
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// See [`Socket::compress`].
    pub fn compress(mut self, compresses: bool) -> Self {
        self.flags.compress = compresses;
        self
    }

    /// See [`Socket::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// See [`Socket::emit`].
    pub fn emit<T: Serialize + ?Sized>(self, event: &str, args: &T) {
        self.state.emit(self.hub, event, args, self.flags, None);
    }

    /// See [`Socket::emit_with_ack`]. After the time-out `call` gets [`AckError::Timeout`].
    pub fn emit_with_ack<T: Serialize + ?Sized>(
        self,
        event: &str,
        args: &T,
        call: impl FnOnce(&mut Socket<'_>, Result<Args, AckError>) + 'static,
    ) {
        let ack = PendingAck::single(self.hub, self.state, self.timeout, Box::new(call));
        self.state.emit(self.hub, event, args, self.flags, Some(ack));
    }
}

impl fmt::Debug for Emitter<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Emitter").field("flags", &self.flags).field("timeout", &self.timeout).finish()
    }
}
