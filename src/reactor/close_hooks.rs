//! Functions that are called when a connection has ended.

use std::collections::HashMap;

use super::{hub::Hub, id::ConnectionId, timer::task::Tick};

/// The functions, by connection. Most connections have none.
#[derive(Default)]
pub(super) struct CloseHooks {
    by_id: HashMap<ConnectionId, Vec<(u64, Tick)>>,
    /// Number of the last one.
    last: u64,
}

/// A function that waits for the end of a connection. See [`Hub::when_closed`].
#[derive(Debug, PartialEq, Eq)]
pub struct CloseHook {
    id: ConnectionId,
    number: u64,
}

impl Hub {
    /// Calls `call` once the connection has ended, after its `on_close`: for a client that reconnects, after the last
    /// one. For code that is not the handler of the connection.
    ///
    /// Returns `None`, and never calls it, if the connection has ended already.
    ///
    /// ```
    /// use ws_reactor::{Callbacks, Reply, Server, http::StatusCode};
    ///
    /// let server = Server::new(|_| Callbacks::new()).on_request(|_, hub| {
    ///     let (reply, responder) = Reply::hold();
    ///     if let Some(id) = hub.current_connection() {
    ///         hub.when_closed(id, |_| println!("the client did not wait"));
    ///     }
    ///     // Elsewhere, when there is something to say.
    ///     _ = responder.respond(StatusCode::OK);
    ///     reply
    /// });
    /// ```
    pub fn when_closed(&mut self, id: ConnectionId, call: impl FnOnce(&mut Hub) + 'static) -> Option<CloseHook> {
        self.outbounds.get_mut(id)?;
        let hooks = &mut self.close_hooks;
        hooks.last += 1;
        let number = hooks.last;
        hooks.by_id.entry(id).or_default().push((number, Box::new(call)));
        Some(CloseHook { id, number })
    }

    /// Takes back a [`when_closed`](Self::when_closed). Returns `false` if the connection has ended.
    pub fn cancel_close_hook(&mut self, hook: CloseHook) -> bool {
        let CloseHook { id, number } = hook;
        let Some(calls) = self.close_hooks.by_id.get_mut(&id) else { return false };
        let position = calls.iter().position(|(known, _)| *known == number);
        let call = position.map(|position| calls.swap_remove(position));
        if calls.is_empty() {
            self.close_hooks.by_id.remove(&id);
        }
        call.is_some()
    }

    /// Takes the functions of a connection that was removed.
    #[inline]
    pub(super) fn take_close_hooks(&mut self, id: ConnectionId) -> Vec<(u64, Tick)> {
        if self.close_hooks.by_id.is_empty() {
            return Vec::new();
        }
        self.close_hooks.by_id.remove(&id).unwrap_or_default()
    }
}
