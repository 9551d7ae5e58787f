//! The network floor: the only one that makes system calls.
//!
//! [`Kernel`] is the interface between the reactor and the system: poll, bind, connect, accept, read, write, shut down,
//! clock and randomness. Production uses [`System`], made of mio and sockets. Tests use [`sim::Sim`], which is seeded
//! and whose time is moved by hand.

mod bind;
mod command_queue;
mod endpoint;
mod kernel;
mod resolver;
pub mod sim;
mod system;
#[cfg(unix)]
mod unix_socket;
/// Stand-in where there are none.
#[cfg(not(unix))]
mod unix_socket {
    use std::{io, path::Path};

    fn unsupported<T>() -> io::Result<T> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "Unix sockets are not supported on this system"))
    }

    pub(super) fn connect(_: &Path) -> io::Result<std::net::TcpStream> {
        unsupported()
    }

    pub(super) fn listen(_: &Path, _: Option<u32>, _: i32) -> io::Result<socket2::Socket> {
        unsupported()
    }
}
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

    pub(crate) fn is_plain_http(_: &std::io::Error) -> bool {
        false
    }
}
pub(crate) mod transport;

pub use bind::Bind;
pub(crate) use command_queue::{CommandQueue, PushError};
pub use endpoint::Endpoint;
pub(crate) use endpoint::scoped_address;
pub use kernel::{Event, Kernel, Randomness, Readiness, Wake};
pub use resolver::{Answer, Resolver};
pub(crate) use resolver::{Answered, Answers, SystemResolver};
pub use system::{System, SystemListener, SystemStream};
