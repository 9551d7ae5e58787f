//! The end of the examples that serve until a signal comes.

use std::{io, time::Duration};

use ws_reactor::Reactor;

/// Time that the clients have to answer the close frame.
const GRACE: Duration = Duration::from_secs(4);

/// Shuts all reactors down when SIGTERM or SIGINT comes: clients get 1001, and the program ends with status 0. Without
/// the feature `signals` the system ends the program.
#[cfg(all(unix, feature = "signals"))]
pub(crate) fn on_signals(reactor: &mut Reactor) -> io::Result<()> {
    use ws_reactor::signals::{SIGINT, SIGTERM};

    if reactor.hub().group_index() == 0 {
        for signal in [SIGTERM, SIGINT] {
            reactor.on_signal(signal, |hub| hub.shutdown(GRACE))?;
        }
    }
    Ok(())
}

#[cfg(not(all(unix, feature = "signals")))]
pub(crate) fn on_signals(_: &mut Reactor) -> io::Result<()> {
    let _ = GRACE;
    Ok(())
}
