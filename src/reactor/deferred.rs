//! Work that methods of the [`Hub`](super::Hub) request and that the loop carries out, because the Hub calls no user
//! code and reaches no socket.

use std::collections::VecDeque;

use super::{
    dial::Dial,
    events::Events,
    id::{ConnectionId, ListenerId},
    listen::Opening,
    task::Tick,
};
use crate::net::tls::TlsConnector;

/// Lists of requested work, in the order in which a turn carries them out.
///
/// New work is a field here. `is_empty` and `shrink` name every field, so that none can be forgotten there.
#[derive(Default)]
pub(super) struct Deferred {
    /// Connections on which a TLS handshake is to start, each with the server name. Carried out after the callback.
    pub(super) starting_tls: Vec<(ConnectionId, TlsConnector, String)>,
    /// Outgoing connections to start. Carried out after the callback.
    pub(super) dials: VecDeque<Dial>,
    /// Functions to call.
    pub(super) ticks: VecDeque<Tick>,
    /// Events of the application to deliver.
    pub(super) events: Events,
    /// Listeners to open.
    pub(super) openings: Vec<Opening>,
    /// Listeners to close.
    pub(super) closed_listeners: Vec<ListenerId>,
    /// Connections with messages that wait for compression, oldest first.
    pub(super) compressing: VecDeque<ConnectionId>,
    /// Connections closed as slow readers, to be terminated in this turn.
    pub(super) slow_readers: Vec<ConnectionId>,
    /// Keys of connections to flush at the end of the turn.
    pub(super) touched: Vec<usize>,
    /// Connections whose output has drained: `on_drain` is due.
    pub(super) drained: Vec<ConnectionId>,
    /// Keys of connections that have ended: `on_close` is due, then they are removed.
    pub(super) closed: Vec<usize>,
    /// Keys of connections to read again without waiting for an event.
    pub(super) reread: Vec<usize>,
}

impl Deferred {
    /// Whether nothing is left for the next turn.
    pub(super) fn is_empty(&self) -> bool {
        let Deferred {
            starting_tls,
            dials,
            ticks,
            events,
            openings,
            closed_listeners,
            compressing,
            slow_readers,
            touched,
            drained,
            closed,
            reread,
        } = self;
        starting_tls.is_empty()
            && dials.is_empty()
            && ticks.is_empty()
            && events.is_empty()
            && openings.is_empty()
            && closed_listeners.is_empty()
            && compressing.is_empty()
            && slow_readers.is_empty()
            && touched.is_empty()
            && drained.is_empty()
            && closed.is_empty()
            && reread.is_empty()
    }

    /// Frees unused capacity.
    pub(super) fn shrink(&mut self) {
        let Deferred {
            starting_tls,
            dials,
            ticks,
            events,
            openings,
            closed_listeners,
            compressing,
            slow_readers,
            touched,
            drained,
            closed,
            reread,
        } = self;
        starting_tls.shrink_to_fit();
        dials.shrink_to_fit();
        ticks.shrink_to_fit();
        events.shrink();
        openings.shrink_to_fit();
        closed_listeners.shrink_to_fit();
        compressing.shrink_to_fit();
        slow_readers.shrink_to_fit();
        touched.shrink_to_fit();
        drained.shrink_to_fit();
        closed.shrink_to_fit();
        reread.shrink_to_fit();
    }
}
