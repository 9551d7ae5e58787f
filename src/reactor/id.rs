//! Ids of connections, timers, listeners and sources.
//!
//! An id consists of a serial number, the number of its reactor, and a key. Serial and reactor number are unique in
//! this process for ids of one kind, so a stale id, or an id of another reactor, never names a different object. The
//! key is an index into a slab and is reused.

use std::{
    fmt,
    num::NonZeroU64,
    sync::atomic::{AtomicU32, Ordering},
};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        ///
        /// Displayed as the number of the reactor and the serial number, such as
        #[doc = concat!("`", $prefix, "1.17`.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            serial: NonZeroU64,
            /// Number of the reactor in the upper half, key in the lower half, so that comparing two ids takes two
            /// steps.
            slot: u64,
        }

        impl $name {
            fn new(reactor: u32, serial: NonZeroU64, key: usize) -> Self {
                $name { serial, slot: u64::from(reactor) << 32 | u64::from(key as u32) }
            }

            pub(crate) fn key(self) -> usize {
                self.slot as u32 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!($prefix, "{}.{}"), self.slot >> 32, self.serial)
            }
        }
    };
}

id!(
    /// Id of a connection. An id may be copied, stored and sent to other threads.
    ///
    /// An id is never reused: after the connection has ended, its id names no other connection of this process.
    ConnectionId,
    "#"
);

id!(
    /// Id of a timer. An id is never reused: after the timer has fired or was cancelled, its id names no other timer.
    TimerId,
    "timer "
);

id!(
    /// Id of a listener. An id is never reused: after the listener is closed, its id names no other listener.
    ListenerId,
    "listener "
);

id!(
    /// Id of a source of events. An id is never reused: after the source was removed, its id names no other source.
    SourceId,
    "source "
);

impl ConnectionId {
    /// Number of the reactor.
    pub(crate) fn reactor(self) -> u32 {
        (self.slot >> 32) as u32
    }

    /// The id as a number, for floors that store it without knowing ids.
    pub(crate) fn to_bits(self) -> u128 {
        u128::from(self.serial.get()) << 64 | u128::from(self.slot)
    }

    /// The id for a number of [`to_bits`](Self::to_bits); `None` for an invalid number.
    pub(crate) fn from_bits(bits: u128) -> Option<Self> {
        Some(ConnectionId { serial: NonZeroU64::new((bits >> 64) as u64)?, slot: bits as u64 })
    }
}

/// Number of reactors created in this process.
static REACTORS: AtomicU32 = AtomicU32::new(0);

/// Creates the ids of one reactor. A clone counts separately, so each kind of id has to come from one clone only.
#[derive(Debug, Clone)]
pub(crate) struct IdSource {
    reactor: u32,
    last: u64,
}

impl IdSource {
    /// Creates a source with a new reactor number.
    pub(crate) fn new() -> Self {
        IdSource { reactor: REACTORS.fetch_add(1, Ordering::Relaxed), last: 0 }
    }

    /// Creates sources with consecutive reactor numbers.
    pub(crate) fn several(count: usize) -> Vec<Self> {
        let first = REACTORS.fetch_add(count as u32, Ordering::Relaxed);
        (0..count as u32).map(|index| IdSource { reactor: first.wrapping_add(index), last: 0 }).collect()
    }

    /// The reactor number.
    pub(crate) fn reactor(&self) -> u32 {
        self.reactor
    }

    pub(crate) fn connection(&mut self, key: usize) -> ConnectionId {
        ConnectionId::new(self.reactor, self.next(), key)
    }

    pub(crate) fn timer(&mut self, key: usize) -> TimerId {
        TimerId::new(self.reactor, self.next(), key)
    }

    pub(crate) fn listener(&mut self, key: usize) -> ListenerId {
        ListenerId::new(self.reactor, self.next(), key)
    }

    pub(crate) fn source(&mut self, key: usize) -> SourceId {
        SourceId::new(self.reactor, self.next(), key)
    }

    fn next(&mut self) -> NonZeroU64 {
        self.last += 1;
        NonZeroU64::new(self.last).expect("64 bits are not counted through")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_same_key_differ_between_connections_and_between_reactors() {
        let (mut one, mut other) = (IdSource::new(), IdSource::new());
        let (first, second, foreign) = (one.connection(7), one.connection(7), other.connection(7));
        assert!(first != second && first != foreign && second != foreign);
        assert_eq!((first.key(), foreign.key()), (7, 7));
        assert_ne!(first.to_string(), foreign.to_string());
        assert_eq!(ConnectionId::from_bits(foreign.to_bits()), Some(foreign));
        assert!(first < second, "ids of one reactor are ordered by creation");
    }

    #[test]
    fn optional_id_has_the_size_of_an_id() {
        assert_eq!(size_of::<ConnectionId>(), 16);
        assert_eq!(size_of::<Option<TimerId>>(), 16);
    }
}
