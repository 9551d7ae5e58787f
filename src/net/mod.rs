//! The network: the only floor that makes system calls.
//!
//! The reactor reaches the system through one seam, [`Kernel`]: poll, bind, accept, read, write, shut down, and the clock.
//! Production has [`System`] behind it, mio and sockets; tests have [`sim::Sim`], which is seeded and moves time by hand.

mod connector;
mod kernel;
mod listener;
mod mailbox;
mod poller;
mod resolver;
pub mod sim;
#[cfg(feature = "tls")]
pub(crate) mod tls;
/// Without the feature no listener and no client has TLS.
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
