//! Calls of user code. A panic ends at most one connection.

use std::mem;

use super::{
    Reactor,
    hub::Hub,
    outbox::Phase,
    panic::{Panicked, catch_panic},
    stream::{Stream, StreamHandler},
};
use crate::{error::Error, net::Kernel};

impl<K: Kernel> Reactor<K> {
    /// Calls a callback of a connection, flushes its output, and returns the number of bytes handed back.
    ///
    /// A panic ends only the connection. `on_error` is called with it, unless the connection had ended before.
    pub(super) fn call(&mut self, key: usize, callback: impl FnOnce(&mut dyn StreamHandler, &mut Stream<'_>)) -> usize {
        let unread = self.run_callback(key, callback);
        self.after_callback(key);
        unread
    }

    /// The callback alone; [`after_callback`](Self::after_callback) has to be the next access to the connection.
    #[inline]
    pub(super) fn run_callback(
        &mut self,
        key: usize,
        callback: impl FnOnce(&mut dyn StreamHandler, &mut Stream<'_>),
    ) -> usize {
        let id = self.hub.outboxes[key].id;
        self.hub.callback.enter(key);
        let began = self.begin_callback();
        let mut stream = Stream::new(&mut self.hub, id);
        let handler = &mut *self.links[key].handler;
        let outcome = catch_panic(self.config.panic_policy, || callback(handler, &mut stream));
        let mut unread = stream.handed_back();
        if let Err(Panicked(message)) = outcome {
            unread = 0;
            self.hub.stats.panics += 1;
            self.hub.callback.set_message_buffer(None);
            let dead = self.hub.phase(id) == Phase::Closed;
            self.hub.fail_panicked(id);
            let (mut stream, error) = (Stream::new(&mut self.hub, id), Error::Panic(message));
            if !dead && catch_panic(self.config.panic_policy, || handler.on_error(&mut stream, &error)).is_err() {
                self.hub.stats.panics += 1;
            }
        }
        if let Some(began) = began {
            self.end_callback(id, began);
        }
        if let Some(successor) = self.hub.callback.successor.take() {
            // The former handler may hold the last reference to its server.
            let former = mem::replace(&mut self.links[key].handler, successor);
            self.drop_guarded(former);
        }
        unread
    }

    /// Carries out what a callback has requested.
    #[inline]
    pub(super) fn after_callback(&mut self, key: usize) {
        self.start_tls();
        self.flush(key);
        self.hub.callback.leave();
        self.start_dials();
    }

    /// Calls user code that belongs to no connection.
    pub(super) fn call_hub<T>(&mut self, call: impl FnOnce(&mut Hub) -> T) -> Option<T> {
        let hub = &mut self.hub;
        let result = catch_panic(self.config.panic_policy, || call(hub));
        self.hub.stats.panics += u64::from(result.is_err());
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
