//! Functions that are called when a connection has ended.

use std::collections::HashMap;

use super::{hub::Hub, id::ConnectionId, timer::task::Tick};

/// The functions, by connection. Most connections have none.
#[derive(Default)]
pub(super) struct CloseHooks(HashMap<ConnectionId, Vec<Tick>>);

impl Hub {
    /// Calls `call` once the connection has ended, in a [tick](Self::next_tick) after its `on_close`: for a client that
    /// reconnects, after the last one. For code that is not the handler of the connection.
    ///
    /// Returns `false`, and never calls it, if the connection has ended already.
    ///
    /// ```
    /// use ws_reactor::{Hub, Reply, Routes, http::StatusCode};
    ///
    /// let routes = Routes::new().get("/wait", |_, hub: &mut Hub| {
    ///     let (reply, responder) = Reply::hold();
    ///     if let Some(id) = hub.current_connection() {
    ///         hub.when_closed(id, |_| println!("the client did not wait"));
    ///     }
    ///     // Elsewhere, when there is something to say.
    ///     _ = responder.respond(StatusCode::OK);
    ///     reply
    /// });
    /// ```
    pub fn when_closed(&mut self, id: ConnectionId, call: impl FnOnce(&mut Hub) + 'static) -> bool {
        let is_there = self.outbounds.get_mut(id).is_some();
        if is_there {
            self.close_hooks.0.entry(id).or_default().push(Box::new(call));
        }
        is_there
    }

    /// Schedules the functions of a connection that is removed.
    pub(super) fn schedule_close_hooks(&mut self, id: ConnectionId) {
        if !self.close_hooks.0.is_empty()
            && let Some(calls) = self.close_hooks.0.remove(&id)
        {
            self.deferred.ticks.extend(calls);
        }
    }
}
