//! Sources of events that are neither streams nor listeners: whatever mio can watch.

pub(crate) use mio::net::UdpSocket;
#[cfg(all(target_os = "linux", feature = "signals"))]
pub(crate) use mio::unix::SourceFd as DescriptorSource;
#[cfg(all(unix, feature = "signals"))]
pub(crate) use mio::unix::pipe;
pub use mio::{Interest, event::Source as PollSource};
#[cfg(all(unix, feature = "signals"))]
pub(crate) use mio::{Registry, Token as PollToken};
