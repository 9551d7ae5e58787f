//! Sources of events that are neither streams nor listeners: whatever mio can watch.

pub(crate) use mio::net::UdpSocket;
#[cfg(all(unix, feature = "signals"))]
pub(crate) use mio::unix::pipe;
pub use mio::{Interest, event::Source as PollSource};
#[cfg(all(unix, feature = "signals"))]
pub(crate) use mio::{Registry, Token as PollToken};
