//! The loop's part of sources: registering, calling and removing them.

use std::{io, mem};

use super::{After, Call, Registered, SourceEvent, SourceHandler};
use crate::{
    net::{Interest, Kernel, PollSource, Readiness},
    reactor::{
        Reactor,
        id::SourceId,
        panic::{Panicked, catch_panic},
        recording::Recording,
        share::Share,
        token::Token,
        turn_phase::TurnPhase,
    },
};

/// Calls of handlers, each of which may have the budget of a connection, after which the time is looked at.
const CALLS_PER_LOOK: usize = 1;

/// Readiness of a source that has asked for another call.
const ASKED: Readiness = Readiness { readable: true, writable: true, hangup: false, failed: false };

impl<K: Kernel> Reactor<K> {
    /// Watches a source of [`mio`](crate::mio); see [`SourceHandler`]. [`Hub::register`](crate::Hub::register) does the
    /// same from a callback.
    ///
    /// # Errors
    ///
    /// The system refuses to watch the source, for example because it is a regular file, or this reactor is not on the
    /// operating system.
    pub fn register<S: PollSource + 'static>(
        &mut self,
        source: S,
        interest: Interest,
        handler: impl SourceHandler<S> + 'static,
    ) -> io::Result<SourceId> {
        let id = self.hub.sources.insert(Box::new(Registered { source, handler }));
        self.watch(id, interest).inspect_err(|_| drop(self.hub.sources.remove(id)))?;
        Ok(id)
    }

    fn watch(&mut self, id: SourceId, interest: Interest) -> io::Result<()> {
        let Some(entry) = self.hub.sources.get_mut(id).and_then(|slot| slot.entry.as_mut()) else { return Ok(()) };
        let kernel = &mut self.kernel;
        let watched = catch_panic(self.config.panic_policy, || {
            kernel.watch(entry.source(), Token::Source(id.key()).into(), interest)
        });
        self.unless_panicked(watched)
    }

    fn rewatch(&mut self, id: SourceId, interest: Interest) -> io::Result<()> {
        let Some(entry) = self.hub.sources.get_mut(id).and_then(|slot| slot.entry.as_mut()) else { return Ok(()) };
        let kernel = &mut self.kernel;
        let watched = catch_panic(self.config.panic_policy, || {
            kernel.rewatch(entry.source(), Token::Source(id.key()).into(), interest)
        });
        self.unless_panicked(watched)
    }

    /// The sources of an application may panic.
    fn unless_panicked(&mut self, result: Result<io::Result<()>, Panicked>) -> io::Result<()> {
        result.unwrap_or_else(|Panicked(message)| {
            self.hub.stats.panics += 1;
            Err(io::Error::other(message))
        })
    }

    /// Calls the handler of a source that has an event.
    #[cold]
    pub(in crate::reactor) fn on_source_ready(&mut self, key: usize, readiness: Readiness) {
        let Some(id) = self.hub.sources.id_of(key) else { return };
        if self.hub.deliveries_left == 0 {
            return self.ask_again(id);
        }
        self.call_ready(id, readiness);
    }

    /// Calls the handlers of all sources when a shutdown begins.
    pub(in crate::reactor) fn shut_down_sources(&mut self) {
        for id in self.hub.sources.ids() {
            self.call_source(id, Call::Shutdown);
        }
    }

    /// Registers and removes sources, and calls those that have events of the application or have asked for a call.
    #[inline]
    pub(in crate::reactor) fn advance_sources(&mut self) {
        if !self.hub.deferred.sources.is_empty() {
            self.advance_all_sources();
            self.end_phase(TurnPhase::Events);
        }
    }

    #[inline(never)]
    fn advance_all_sources(&mut self) {
        self.hub.note(Recording::on_activity);
        for (id, interest) in mem::take(&mut self.hub.deferred.sources.added) {
            if let Err(error) = self.watch(id, interest) {
                self.fail_source(id, &error);
            }
        }
        let waiting = self.hub.deferred.sources.events.len().min(self.config.event_budget.max(1));
        let mut share = Share::of_long(waiting, CALLS_PER_LOOK);
        while self.hub.deliveries_left > 0
            && share.take(&self.hub.time_slice)
            && let Some(SourceEvent { id, value }) = self.hub.deferred.sources.events.pop_front()
        {
            self.call_source(id, Call::Event(&*value));
            self.drop_guarded(value);
        }
        let waiting = self.hub.deferred.sources.calls.len();
        let mut share = Share::of_long(waiting, CALLS_PER_LOOK);
        while self.hub.deliveries_left > 0
            && let Some((id, turn)) = self.hub.deferred.sources.calls.front().copied()
            && turn < self.hub.turn
            && share.take(&self.hub.time_slice)
        {
            self.hub.deferred.sources.calls.pop_front();
            let Some(slot) = self.hub.sources.get_mut(id) else { continue };
            slot.is_listed = false;
            if slot.called_in != Some(self.hub.turn) {
                self.call_ready(id, ASKED);
            } else if slot.is_asking {
                // It had an event as well, and one call in a turn is enough.
                self.ask_again(id);
            }
        }
        self.remove_sources();
        self.hub.deferred.sources.settle();
    }

    fn call_ready(&mut self, id: SourceId, readiness: Readiness) {
        if let Some(slot) = self.hub.sources.get_mut(id) {
            (slot.called_in, slot.is_asking) = (Some(self.hub.turn), false);
        }
        self.call_source(id, Call::Ready(readiness));
    }

    fn call_source(&mut self, id: SourceId, call: Call<'_>) {
        let Some(After { again, interest }) = self.run_source(id, call) else { return };
        if let Some(interest) = interest
            && let Err(error) = self.rewatch(id, interest)
        {
            return self.fail_source(id, &error);
        }
        if again {
            self.ask_again(id);
        }
    }

    /// Has a source called in the next turn.
    fn ask_again(&mut self, id: SourceId) {
        let Some(slot) = self.hub.sources.get_mut(id) else { return };
        slot.is_asking = true;
        if !mem::replace(&mut slot.is_listed, true) {
            self.hub.deferred.sources.due().calls.push_back((id, self.hub.turn));
        }
    }

    /// Calls a handler. `None` if the source is removed, or if the handler panics: it is removed then.
    fn run_source(&mut self, id: SourceId, call: Call<'_>) -> Option<After> {
        let mut entry = self.hub.sources.take(id)?;
        let called = self.call_hub(|hub| entry.call(hub, id, call));
        self.hub.sources.put_back(id, entry);
        if called.is_none() {
            self.hub.deregister(id);
        }
        called
    }

    fn fail_source(&mut self, id: SourceId, error: &io::Error) {
        self.run_source(id, Call::Failed(error));
        self.hub.deregister(id);
    }

    /// Removes and drops the sources that were deregistered.
    pub(in crate::reactor) fn remove_sources(&mut self) {
        while let Some(id) = self.hub.deferred.sources.removed.pop() {
            if let Some(mut entry) = self.hub.sources.remove(id) {
                let kernel = &mut self.kernel;
                // A source that was never watched is refused.
                let _ = catch_panic(self.config.panic_policy, || kernel.unwatch(entry.source()));
                self.drop_guarded(entry);
                self.forget_events(Token::Source(id.key()));
            }
        }
    }
}
