//! Sources of events beside streams: UDP sockets, signals and child processes, made of
//! [`Hub::register`](crate::Hub::register) alone.

mod datagram;
#[cfg(all(unix, feature = "signals"))]
mod process;
#[cfg(all(unix, feature = "signals"))]
pub mod signals;

pub use datagram::{Datagram, DatagramConfig, DatagramHandler};
#[cfg(all(unix, feature = "signals"))]
pub use process::{Output, Process, ProcessConfig, ProcessHandler};
