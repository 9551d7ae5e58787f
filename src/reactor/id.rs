//! Names for what lives in a reactor. Each carries a generation, so that a stale name never means a successor.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            pub(crate) generation: u32,
            pub(crate) key: u32,
        }

        impl $name {
            pub(crate) fn new(key: usize, generation: u32) -> Self {
                $name { key: key as u32, generation }
            }

            pub(crate) fn key(self) -> usize {
                self.key as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!($prefix, "{}.{}"), self.key, self.generation)
            }
        }
    };
}

id!(
    /// A connection. It may be kept, copied and sent to other threads; once the connection has gone it names nothing, for ever.
    ConnectionId,
    "#"
);

id!(
    /// A timer. Once the timer has fired or was cancelled it names nothing, for ever.
    TimerId,
    "timer "
);

id!(
    /// A listener.
    ListenerId,
    "listener "
);
