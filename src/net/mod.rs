//! The network floor: the only one that makes system calls.
//!
//! [`Kernel`] is the interface between the reactor and the system: poll, bind, connect, accept, read, write, shut down,
//! clock and randomness. Production uses [`System`], made of mio and sockets. Tests use [`sim::Sim`], which is seeded
//! and whose time is moved by hand.

mod connector;
mod kernel;
mod listener;
mod mailbox;
mod poller;
mod resolver;
pub mod sim;
#[cfg(feature = "tls")]
pub(crate) mod tls;
/// Stand-in without the feature `tls`: no listener and no client has TLS.
#[cfg(not(feature = "tls"))]
pub(crate) mod tls {
    pub(crate) enum TlsAcceptor {}

    #[derive(Debug, Clone)]
    pub(crate) enum TlsConnector {}

    pub(crate) fn default_client() -> Option<TlsConnector> {
        None
    }
}
pub(crate) mod transport;

pub use connector::Endpoint;
pub(crate) use connector::scoped_address;
pub use kernel::{Event, Kernel, Randomness, Readiness, Wake};
pub use listener::Bind;
pub(crate) use mailbox::{Mailbox, Refused};
pub use poller::{System, SystemListener, SystemStream};
pub use resolver::{Answer, Resolver};
pub(crate) use resolver::{Answers, SystemResolver};
