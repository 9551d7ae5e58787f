//! Calls of user code. A panic ends at most one connection.

use std::mem;

use super::{
    Reactor,
    connection::state::Phase,
    hub::Hub,
    panic::{Panicked, catch_panic},
    stream::{Stream, StreamHandler},
};
use crate::{error::Error, net::Kernel, protocol::ClosedBy};

/// Hand-overs in a row, each by the next handler's `on_connect`.
const MAX_HAND_OVERS: u32 = 16;

impl<K: Kernel> Reactor<K> {
    /// Calls a callback of a connection, and flushes its output.
    ///
    /// A panic ends only the connection. `on_error` is called with it, unless the connection had ended before.
    pub(super) fn call(&mut self, key: usize, callback: impl FnOnce(&mut dyn StreamHandler, &mut Stream<'_>)) {
        self.run_callback(key, callback);
        self.after_callback(key);
    }

    /// The callback, and `on_connect` of a handler that it hands the connection over to.
    /// [`after_callback`](Self::after_callback) has to follow before the loop does anything else with the output of the
    /// connection.
    ///
    /// Returns the number of bytes handed back, and whether the connection was handed over.
    #[inline]
    pub(super) fn run_callback(
        &mut self,
        key: usize,
        callback: impl FnOnce(&mut dyn StreamHandler, &mut Stream<'_>),
    ) -> (usize, bool) {
        let unread = self.run_guarded(key, callback);
        let handed_over = self.hub.callback.successor.is_some();
        if handed_over {
            self.hand_over(key);
        }
        (unread, handed_over)
    }

    #[inline]
    fn run_guarded(&mut self, key: usize, callback: impl FnOnce(&mut dyn StreamHandler, &mut Stream<'_>)) -> usize {
        let id = self.hub.outbounds[key].id;
        self.hub.callback.enter(key);
        let began = self.begin_callback();
        let mut stream = Stream::new(&mut self.hub, id);
        let handler = &mut *self.inbounds[key].handler;
        let outcome = catch_panic(self.config.panic_policy, || callback(handler, &mut stream));
        let mut unread = stream.handed_back();
        if let Err(Panicked(message)) = outcome {
            unread = 0;
            self.hub.stats.panics += 1;
            self.hub.callback.set_message_buffer(None);
            let closed = self.hub.phase(id) == Phase::Closed;
            self.hub.fail_panicked(id);
            let (mut stream, error) = (Stream::new(&mut self.hub, id), Error::Panic(message));
            if !closed && catch_panic(self.config.panic_policy, || handler.on_error(&mut stream, &error)).is_err() {
                self.hub.stats.panics += 1;
            }
        }
        if let Some(began) = began {
            self.end_callback(id, began);
        }
        unread
    }

    /// Replaces the handler of a connection by its successor, unless the connection is closing.
    #[cold]
    fn hand_over(&mut self, key: usize) {
        let mut count = 0;
        while let Some(successor) = self.hub.callback.successor.take() {
            count += 1;
            if count > MAX_HAND_OVERS {
                let id = self.hub.outbounds[key].id;
                log::error!(
                    target: "ws_reactor::reactor",
                    "{id} terminated: handlers hand over to each other endlessly"
                );
                self.hub.mark_closed(key, ClosedBy::Application);
            }
            if !self.hub.outbounds[key].state.is_open() {
                self.drop_guarded(successor);
                return;
            }
            // The former handler may hold the last reference to its server.
            let former = mem::replace(&mut self.inbounds[key].handler, successor);
            self.drop_guarded(former);
            if self.hub.outbounds[key].state.is_connecting() {
                // `on_connect` follows when the connection is established.
                return;
            }
            self.run_guarded(key, |handler, stream| handler.on_connect(stream));
        }
    }

    /// Carries out what a callback has requested.
    #[inline]
    pub(super) fn after_callback(&mut self, key: usize) {
        self.convert();
        self.flush(key);
        self.hub.callback.leave();
        self.start_dials();
    }

    /// Calls user code that belongs to no connection.
    pub(super) fn call_hub<T>(&mut self, call: impl FnOnce(&mut Hub) -> T) -> Option<T> {
        let hub = &mut self.hub;
        let result = catch_panic(self.config.panic_policy, || call(hub));
        self.hub.stats.panics += u64::from(result.is_err());
        self.convert();
        self.start_dials();
        result.ok()
    }

    /// Drops a value of user code under [`catch_panic`], because its destructor may panic.
    pub(super) fn drop_guarded<T>(&mut self, what: T) {
        if catch_panic(self.config.panic_policy, || drop(what)).is_err() {
            self.hub.stats.panics += 1;
        }
    }
}
