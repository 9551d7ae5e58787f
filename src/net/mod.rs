//! The network floor: the only one that makes system calls.
//!
//! [`Kernel`] is the interface between the reactor and the system: poll, bind, connect, accept, read, write, shut down,
//! clock and randomness. Production uses [`System`], made of mio and sockets. Tests use [`sim::Sim`], which is seeded
//! and whose time is moved by hand.

#[cfg(feature = "affinity")]
pub(crate) mod affinity;
mod bind;
mod block_list;
mod command_queue;
mod connected_socket;
mod endpoint;
mod kernel;
mod poll_source;
#[cfg(feature = "proxy-protocol")]
pub(crate) mod proxy_header;
pub(crate) mod recording;
mod resolver;
pub mod sim;
mod socket_options;
#[cfg(all(test, target_os = "linux"))]
mod socket_options_tests;
mod system;
mod thread_pool;
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
mod unix_socket;

pub use bind::Bind;
pub(crate) use bind::PeerRules;
pub use block_list::BlockList;
pub(crate) use command_queue::{CommandQueue, PushError};
pub use connected_socket::ConnectedSocket;
pub use endpoint::Endpoint;
pub(crate) use endpoint::scoped_address;
pub use kernel::{Event, Kernel, Randomness, Readiness, Wake};
#[cfg(all(target_os = "linux", feature = "signals"))]
pub(crate) use poll_source::DescriptorSource;
pub(crate) use poll_source::UdpSocket;
pub use poll_source::{Interest, PollSource};
#[cfg(all(unix, feature = "signals"))]
pub(crate) use poll_source::{PollToken, Registry, pipe};
#[cfg(feature = "proxy-protocol")]
pub use proxy_header::ProxyProtocol;
pub use resolver::{Answer, Resolver};
pub(crate) use resolver::{Answered, Answers, SystemResolver};
pub use socket_options::SocketOptions;
pub use system::{System, SystemListener, SystemStream};
pub(crate) use thread_pool::ThreadPool;
