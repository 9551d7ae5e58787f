//! Options of TCP sockets, for listeners and outgoing connections.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};

pub(super) use self::system::acknowledge_at_once;
use crate::setters::setters;

/// Options of TCP sockets: [`Bind::socket`](crate::Bind::socket) for the connections that a listener accepts,
/// [`StreamConfig::socket`](field@crate::StreamConfig::socket) for outgoing ones.
///
/// An option that is `None` keeps the value of the system. Unix sockets ignore all of them.
///
/// ```
/// use std::time::Duration;
/// use ws_reactor::{Callbacks, Client, SocketOptions};
///
/// let options = SocketOptions::new()
///     .receive_buffer_bytes(Some(4 * 1024 * 1024))
///     .user_timeout(Some(Duration::from_secs(10)));
/// let client = Client::new(Callbacks::new()).socket(options);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct SocketOptions {
    /// `TCP_NODELAY`: small messages are sent at once. Default `true`.
    ///
    /// `false` joins small writes into fewer segments, and delays them until the peer has acknowledged the last one.
    pub nodelay: bool,
    /// `SO_RCVBUF`: input that the system may hold, in bytes. Default `None`: Linux adapts it to the connection, up to
    /// `net.ipv4.tcp_rmem`.
    ///
    /// A larger buffer keeps a burst while the handlers are busy, before the sender has to wait. A smaller one makes
    /// the sender wait earlier. Linux doubles the value, caps it at `net.core.rmem_max`, and stops adapting it.
    pub receive_buffer_bytes: Option<usize>,
    /// `SO_SNDBUF`: output that the system may hold until it is acknowledged, in bytes. Default `None`: Linux adapts it
    /// to the connection, up to `net.ipv4.tcp_wmem`.
    ///
    /// A fast connection needs its bandwidth times its round trip. Linux doubles the value, caps it at
    /// `net.core.wmem_max`, and stops adapting it.
    pub send_buffer_bytes: Option<usize>,
    /// `TCP_NOTSENT_LOWAT`: output that the system may hold and has not sent, in bytes. Default 512 KiB. Linux and
    /// Android. Other systems accept the default only, and ignore it: progress is seen in coarser steps there.
    ///
    /// Output above it stays in the queue of the connection, where [`OutputLimits`](crate::OutputLimits) count it, and
    /// where [`send_latest`](crate::Hub::send_latest) replaces it. A small value keeps the newest data from waiting
    /// behind old, and costs more system calls for large messages.
    pub unsent_bytes: usize,
    /// `TCP_QUICKACK`: input is acknowledged at once, not after up to 40 ms. Default `false`. Linux and Android.
    ///
    /// For a peer without `nodelay`, which waits for acknowledgements. Linux leaves the mode by itself, so it is set
    /// again after each read, which costs a system call.
    pub quickack: bool,
    /// `TCP_USER_TIMEOUT`: time for which sent data may stay unacknowledged before the connection fails. Default
    /// `None`: about 15 minutes. Linux and Android.
    ///
    /// Finds a dead network while this side sends. Pings find it without output as well, and also a peer that hangs.
    pub user_timeout: Option<Duration>,
    /// `SO_KEEPALIVE`, `TCP_KEEPIDLE`: time without traffic before the system probes the peer. Default `None`: no
    /// probes, because WebSockets are pinged. For raw streams and event streams.
    pub keepalive: Option<Duration>,
    /// `TCP_KEEPINTVL`: time between probes. Default `None`: 75 s. Only with `keepalive`. Linux and Android.
    pub keepalive_interval: Option<Duration>,
    /// `TCP_KEEPCNT`: unanswered probes after which the connection fails. Default `None`: 9. Only with `keepalive`.
    /// Linux and Android.
    pub keepalive_retries: Option<u32>,
    /// `SO_BUSY_POLL`: has a read of the socket ask the network card directly. The system takes the time in
    /// microseconds. Default `None`. Linux. More than `net.core.busy_read` needs `CAP_NET_ADMIN`.
    ///
    /// Saves the interrupt of the card where its driver supports it. Without effect on loopback.
    /// [`ReactorConfig::busy_poll`](field@crate::ReactorConfig::busy_poll) has the loop look for input.
    pub busy_poll: Option<Duration>,
    /// `SO_INCOMING_CPU`: the CPU, by its number, whose packets the system prefers to give to this listener. Default
    /// `None`. Linux. Only for listeners with [`Bind::reuse_port`](crate::Bind::reuse_port).
    ///
    /// The connections that arrive on a CPU are accepted by its listener, which keeps a connection in one cache.
    pub incoming_cpu: Option<usize>,
    /// `SO_PRIORITY`: the priority of packets, by which the queueing discipline of the interface chooses which leave
    /// first. Default `None`. Linux. More than 6 needs `CAP_NET_ADMIN`.
    pub priority: Option<u32>,
    /// `IP_TOS`, `IPV6_TCLASS`: the byte that routers may prefer packets by, such as `0xb8` (expedited forwarding, RFC
    /// 3246). Default `None`. Linux and Android.
    ///
    /// Linux derives a priority from it, unless `priority` is set.
    pub type_of_service: Option<u8>,
    /// The address to connect from, with port 0 for any. Default `None`: the system chooses. Only for outgoing
    /// connections.
    ///
    /// An attempt to connect to an address of the other family fails. With a port, the next connection to the same peer
    /// may have to wait until the last has left the system (`TIME_WAIT`, a minute). With port 0, an address has about
    /// 28,000 connections on Linux, to all peers together.
    pub local_addr: Option<SocketAddr>,
    /// `SO_BINDTODEVICE`: the interface to connect by, such as `eth1`. Default `None`. Only for outgoing connections.
    /// Linux and Android.
    pub interface: Option<String>,
    /// `true` if an option that the system refuses is logged as a warning, and left out. Default `false`: the listener
    /// is not opened, or the attempt to connect fails, with an error that names the option.
    pub lenient: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            nodelay: true,
            receive_buffer_bytes: None,
            send_buffer_bytes: None,
            unsent_bytes: UNSENT_BYTES,
            quickack: false,
            user_timeout: None,
            keepalive: None,
            keepalive_interval: None,
            keepalive_retries: None,
            busy_poll: None,
            incoming_cpu: None,
            priority: None,
            type_of_service: None,
            local_addr: None,
            interface: None,
            lenient: false,
        }
    }
}

/// Unsent bytes that the system may hold for a socket.
///
/// By default the system takes megabytes, and reports room again when a third has gone: a slow reader would look like a
/// peer that does not read, and bytes dropped by a close would not be counted. With a small bound, bytes that left the
/// queue are nearly sent.
const UNSENT_BYTES: usize = 512 * 1024;

impl SocketOptions {
    /// The default options.
    pub fn new() -> Self {
        SocketOptions::default()
    }

    setters! {
        nodelay: bool,
        receive_buffer_bytes: Option<usize>,
        send_buffer_bytes: Option<usize>,
        unsent_bytes: usize,
        quickack: bool,
        user_timeout: Option<Duration>,
        keepalive: Option<Duration>,
        keepalive_interval: Option<Duration>,
        keepalive_retries: Option<u32>,
        busy_poll: Option<Duration>,
        incoming_cpu: Option<usize>,
        priority: Option<u32>,
        type_of_service: Option<u8>,
        local_addr: Option<SocketAddr>,
        interface: Option<String>,
        lenient: bool,
    }

    /// Sets the options of a TCP socket, before it listens or connects.
    pub(super) fn apply(&self, socket: &SockRef<'_>) -> io::Result<()> {
        self.set("TCP_NODELAY", || socket.set_tcp_nodelay(self.nodelay))?;
        self.set("TCP_NOTSENT_LOWAT", || system::keep_little_unsent(socket, self.unsent_bytes))?;
        self.set_some("SO_RCVBUF", self.receive_buffer_bytes, |bytes| socket.set_recv_buffer_size(bytes))?;
        self.set_some("SO_SNDBUF", self.send_buffer_bytes, |bytes| socket.set_send_buffer_size(bytes))?;
        if let Some(idle) = self.keepalive {
            self.set("SO_KEEPALIVE", || socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle)))?;
            self.set_some("TCP_KEEPINTVL", self.keepalive_interval, |time| system::set_probe_interval(socket, time))?;
            self.set_some("TCP_KEEPCNT", self.keepalive_retries, |count| system::set_probes(socket, count))?;
        }
        self.set_some("TCP_USER_TIMEOUT", self.user_timeout, |time| system::set_user_timeout(socket, time))?;
        self.set_some("SO_BUSY_POLL", self.busy_poll, |time| system::set_busy_poll(socket, time))?;
        self.set_some("SO_INCOMING_CPU", self.incoming_cpu, |cpu| system::set_incoming_cpu(socket, cpu))?;
        self.set_some("IP_TOS", self.type_of_service, |byte| system::set_type_of_service(socket, byte))?;
        self.apply_to_accepted(socket)?;
        // The mode does not last until the connection is open, but here an error is seen.
        self.set_some("TCP_QUICKACK", self.quickack.then_some(()), |()| acknowledge_at_once(socket))
    }

    /// Sets the options that an accepted socket does not inherit from its listener on Linux.
    pub(super) fn apply_to_accepted(&self, socket: &SockRef<'_>) -> io::Result<()> {
        // After the type of service, from which Linux derives a priority.
        match (self.priority, self.type_of_service) {
            (Some(priority), _) => self.set("SO_PRIORITY", || system::set_priority(socket, priority)),
            // The byte is inherited, but not the priority, which Linux derives when the byte changes.
            (None, Some(byte)) => self.set("IP_TOS", || {
                system::set_type_of_service(socket, 0)?;
                system::set_type_of_service(socket, byte)
            }),
            (None, None) => Ok(()),
        }
    }

    /// Chooses where an outgoing connection starts.
    pub(super) fn apply_origin(&self, socket: &SockRef<'_>) -> io::Result<()> {
        self.set_some("SO_BINDTODEVICE", self.interface.as_deref(), |name| system::bind_device(socket, name))?;
        self.set_some("the local address", self.local_addr, |address| {
            // On Windows the option would let another process take over the port.
            #[cfg(unix)]
            if address.port() != 0 {
                socket.set_reuse_address(true)?;
            }
            socket.bind(&address.into())
        })
    }

    fn set_some<T>(&self, name: &str, value: Option<T>, set: impl FnOnce(T) -> io::Result<()>) -> io::Result<()> {
        value.map_or(Ok(()), |value| self.set(name, || set(value)))
    }

    /// Sets an option. An error names it.
    fn set(&self, name: &str, set: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match set() {
            Err(error) if self.lenient => {
                log::warn!(target: "ws_reactor::net", "{name} is not set: {error}");
                Ok(())
            }
            Err(error) => Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
            Ok(()) => Ok(()),
        }
    }
}

/// Options of Linux and Android.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::{io, time::Duration};

    use socket2::{SockRef, TcpKeepalive};

    pub(super) fn keep_little_unsent(socket: &SockRef<'_>, bytes: usize) -> io::Result<()> {
        socket.set_tcp_notsent_lowat(bytes.try_into().unwrap_or(u32::MAX))
    }

    pub(super) fn set_priority(socket: &SockRef<'_>, priority: u32) -> io::Result<()> {
        socket.set_priority(priority)
    }

    pub(super) fn set_user_timeout(socket: &SockRef<'_>, timeout: Duration) -> io::Result<()> {
        socket.set_tcp_user_timeout(Some(timeout))
    }

    pub(super) fn set_probe_interval(socket: &SockRef<'_>, interval: Duration) -> io::Result<()> {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_interval(interval))
    }

    pub(super) fn set_probes(socket: &SockRef<'_>, count: u32) -> io::Result<()> {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_retries(count))
    }

    #[cfg(target_os = "linux")]
    pub(super) fn set_busy_poll(socket: &SockRef<'_>, time: Duration) -> io::Result<()> {
        // The system takes an `int`.
        socket.set_busy_poll(time.as_micros().min(i32::MAX as u128) as u32)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn set_incoming_cpu(socket: &SockRef<'_>, cpu: usize) -> io::Result<()> {
        socket.set_cpu_affinity(cpu)
    }

    #[cfg(target_os = "android")]
    pub(super) fn set_busy_poll(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
        super::missing()
    }

    #[cfg(target_os = "android")]
    pub(super) fn set_incoming_cpu(_: &SockRef<'_>, _: usize) -> io::Result<()> {
        super::missing()
    }

    pub(in crate::net) fn acknowledge_at_once(socket: &SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_quickack(true)
    }

    /// A socket for IPv6 may carry IPv4, unless it is for IPv6 only.
    pub(super) fn set_type_of_service(socket: &SockRef<'_>, byte: u8) -> io::Result<()> {
        let is_ipv6 = socket.local_addr()?.is_ipv6();
        if is_ipv6 {
            socket.set_tclass_v6(byte.into())?;
        }
        match is_ipv6 && socket.only_v6()? {
            true => Ok(()),
            false => socket.set_tos_v4(byte.into()),
        }
    }

    pub(super) fn bind_device(socket: &SockRef<'_>, interface: &str) -> io::Result<()> {
        socket.bind_device(Some(interface.as_bytes()))
    }
}

/// Other systems: an option that is asked for and missing is an error.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::{io, time::Duration};

    use socket2::SockRef;

    use super::missing;

    /// The default is accepted everywhere.
    pub(super) fn keep_little_unsent(_: &SockRef<'_>, bytes: usize) -> io::Result<()> {
        if bytes == super::UNSENT_BYTES { Ok(()) } else { missing() }
    }

    pub(super) fn set_priority(_: &SockRef<'_>, _: u32) -> io::Result<()> {
        missing()
    }

    pub(super) fn set_user_timeout(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
        missing()
    }

    pub(super) fn set_probe_interval(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
        missing()
    }

    pub(super) fn set_probes(_: &SockRef<'_>, _: u32) -> io::Result<()> {
        missing()
    }

    pub(super) fn set_busy_poll(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
        missing()
    }

    pub(super) fn set_incoming_cpu(_: &SockRef<'_>, _: usize) -> io::Result<()> {
        missing()
    }

    pub(in crate::net) fn acknowledge_at_once(_: &SockRef<'_>) -> io::Result<()> {
        missing()
    }

    pub(super) fn set_type_of_service(_: &SockRef<'_>, _: u8) -> io::Result<()> {
        missing()
    }

    pub(super) fn bind_device(_: &SockRef<'_>, _: &str) -> io::Result<()> {
        missing()
    }
}

#[cfg(not(target_os = "linux"))]
fn missing() -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system does not have the option"))
}
