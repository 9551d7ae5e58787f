//! Signals of the system, delivered on the loop: [`Reactor::on_signal`](crate::Reactor::on_signal).
//!
//! The constants are those of [`signal_hook`](https://docs.rs/signal-hook).

use std::io;

use signal_hook::consts::FORBIDDEN;
pub use signal_hook::consts::signal::*;
use signal_hook_mio::v1_0::Signals;

use crate::{
    net::{Interest, Kernel, Readiness},
    reactor::{Hub, Reactor, Source, SourceHandler, SourceId},
};

/// Calls a function for each arrival of a signal.
struct OnSignal<F> {
    signal: i32,
    call: F,
}

impl<F: FnMut(&mut Hub)> SourceHandler<Signals> for OnSignal<F> {
    fn on_ready(&mut self, source: &mut Source<'_, Signals>, _: Readiness) {
        // Signals that arrive before the first is handled are one.
        if source.get_mut().pending().any(|signal| signal == self.signal) {
            (self.call)(source.hub());
        }
    }
}

fn watch<F: FnMut(&mut Hub)>(signal: i32, call: F) -> io::Result<(Signals, OnSignal<F>)> {
    // signal-hook panics for a number that no system has.
    if FORBIDDEN.contains(&signal) || !(1..128).contains(&signal) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("signal {signal} cannot be handled")));
    }
    Ok((Signals::new([signal])?, OnSignal { signal, call }))
}

impl Hub {
    /// Calls `call` on the loop when the signal arrives, from this turn or the next on. What the system would do by
    /// default does not happen any more.
    ///
    /// A signal that arrives again before `call` has run is one with the first. Several functions may wait for one
    /// signal; each is called. [`Hub::deregister`] ends the calls; the signal is ignored then.
    ///
    /// # Errors
    ///
    /// The signal does not exist or cannot be handled (SIGKILL, SIGSTOP, SIGILL, SIGFPE, SIGSEGV), the system has no
    /// free descriptor, or this reactor is not on the operating system.
    pub fn on_signal(&mut self, signal: i32, call: impl FnMut(&mut Hub) + 'static) -> io::Result<SourceId> {
        self.check_sources_are_watched()?;
        let (signals, handler) = watch(signal, call)?;
        Ok(self.register(signals, Interest::READABLE, handler))
    }
}

impl<K: Kernel> Reactor<K> {
    /// Calls `call` on the loop when the signal arrives; see [`Hub::on_signal`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use ws_reactor::{Reactor, signals::SIGTERM};
    ///
    /// let mut reactor = Reactor::new()?;
    /// // WebSockets are closed with 1001, and what is queued leaves before.
    /// reactor.on_signal(SIGTERM, |hub| hub.shutdown(Duration::from_secs(5)))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Hub::on_signal`].
    pub fn on_signal(&mut self, signal: i32, call: impl FnMut(&mut Hub) + 'static) -> io::Result<SourceId> {
        self.hub().check_sources_are_watched()?;
        let (signals, handler) = watch(signal, call)?;
        self.register(signals, Interest::READABLE, handler)
    }
}
