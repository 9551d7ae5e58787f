//! Work that methods of the [`Hub`](super::Hub) request and that the loop carries out, because the Hub calls no user
//! code and reaches no socket.

use std::collections::VecDeque;

use super::{
    conversion::Conversion,
    dial::Dial,
    events::Events,
    id::{ConnectionId, ListenerId},
    listen::{Opening, adopt::Adoption},
    source::SourceWork,
    timer::task::Tick,
};

/// Declares the lists, so that a new one is a single line, and no list is left out of `is_empty` and `shrink`.
macro_rules! deferred {
    ($($(#[$doc:meta])* $list:ident: $type:ty,)*) => {
        /// Lists of requested work, in the order in which a turn carries them out.
        #[derive(Default)]
        pub(super) struct Deferred {
            $($(#[$doc])* pub(super) $list: $type,)*
        }

        impl Deferred {
            /// Returns `true` if nothing is left for the next turn.
            pub(super) fn is_empty(&self) -> bool {
                // One branch in place of one for each list: every turn looks at them, and they are empty.
                true $(& self.$list.is_empty())*
            }

            /// Frees unused capacity.
            pub(super) fn shrink(&mut self) {
                $(self.$list.shrink_to_fit();)*
            }
        }
    };
}

deferred! {
    /// Changes of connections. Carried out after the callback.
    conversions: Vec<(ConnectionId, Conversion)>,
    /// Outgoing connections to start. Carried out after the callback.
    dials: VecDeque<Dial>,
    /// Functions to call.
    ticks: VecDeque<Tick>,
    /// Events of the application to deliver.
    events: Events,
    /// Sources to watch, to call and to remove.
    sources: SourceWork,
    /// Connected sockets to take over.
    adoptions: Vec<Adoption>,
    /// Listeners to open.
    openings: Vec<Opening>,
    /// Listeners to close.
    closed_listeners: Vec<ListenerId>,
    /// Connections with messages that wait for compression, oldest first.
    compressing: VecDeque<ConnectionId>,
    /// Connections closed as slow readers, to be terminated in this turn.
    slow_readers: Vec<ConnectionId>,
    /// Keys of connections whose output was left by the budget for writing. Written first in the next turn.
    unwritten: Vec<usize>,
    /// Keys of connections to flush at the end of the turn.
    touched: Vec<usize>,
    /// Connections whose output has drained: `on_drain` is due.
    drained: Vec<ConnectionId>,
    /// Keys of connections that have ended: `on_close` is due, then they are removed.
    closed: Vec<usize>,
    /// Keys of connections to read again without waiting for an event.
    reread: Vec<usize>,
}
