//! Addresses to listen on, and the listening sockets.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::Path,
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket, Type};

#[cfg(feature = "proxy-protocol")]
use super::proxy_header::ProxyProtocol;
use super::{block_list::BlockList, endpoint::scoped_address, socket_options::SocketOptions, unix_socket};

/// The address and the socket options of a listener.
///
/// A string or a [`SocketAddr`] converts into a `Bind` with the defaults. With port 0 the system chooses a free port.
/// A listening socket of the standard library converts, too: the reactor adopts it.
///
/// ```
/// use ws_reactor::{Bind, Reactor, Server, on_message};
///
/// let mut reactor = Reactor::new()?;
/// let server = Server::new(|_| on_message(|ws, message| { ws.send(message); }));
/// let listening = reactor.listen(Bind::to("127.0.0.1:0").backlog(128), server)?;
/// assert_ne!(listening.addr.port(), 0);
/// # Ok::<(), ws_reactor::Error>(())
/// ```
///
/// # Unix sockets
///
/// `unix:/run/app.sock` is a path, and on Linux `unix:@app` an abstract name. A file that a former listener has left is
/// replaced; a file that is no socket, or on which somebody listens, is not. The file is not removed when the listener
/// closes. [`PeerAddr`](crate::PeerAddr) of its connections is `Unix`.
///
/// ```no_run
/// # use ws_reactor::{Bind, Reactor, Server, on_message};
/// # let mut reactor = Reactor::new()?;
/// # let server = Server::new(|_| on_message(|_, _| {}));
/// reactor.listen(Bind::to("unix:/run/app.sock").mode(0o660), server)?;
/// # Ok::<(), ws_reactor::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Bind {
    address: String,
    /// A socket that listens already.
    adopted: Option<Arc<Socket>>,
    mode: Option<u32>,
    pub(super) backlog: i32,
    pub(super) only_v6: bool,
    pub(super) reuse_port: bool,
    pub(crate) in_turn: bool,
    pub(super) socket: SocketOptions,
    pub(crate) rules: PeerRules,
}

/// The peers that a listener accepts.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerRules {
    pub(crate) block_list: Option<BlockList>,
    pub(crate) connections_per_address: Option<usize>,
    #[cfg(feature = "proxy-protocol")]
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
}

impl Bind {
    /// Makes a `Bind` for an address such as `127.0.0.1:8080`, `[::]:80`, `[fe80::1%eth0]:80` or `localhost:0`.
    ///
    /// A name is resolved by a blocking call when the listener is opened. The listener uses all addresses of the name
    /// that this machine has, with one port. `unix:/path` and `unix:@name` are Unix sockets. An address that is not
    /// valid is reported when the listener is opened, as [`ListenError::Bind`](crate::ListenError::Bind).
    pub fn to(address: impl ToString) -> Self {
        Bind {
            address: address.to_string(),
            adopted: None,
            mode: None,
            backlog: 4096,
            only_v6: false,
            reuse_port: false,
            in_turn: false,
            socket: SocketOptions::default(),
            rules: PeerRules::default(),
        }
    }

    /// Adopts a socket that listens already.
    fn adopting(socket: Socket) -> Self {
        let address = match socket.local_addr().ok().and_then(|address| address.as_socket()) {
            Some(address) => address.to_string(),
            None => "unix:".to_owned(),
        };
        Bind { adopted: Some(Arc::new(socket)), ..Bind::to(address) }
    }

    /// The listening sockets that systemd has opened for this process ([sd_listen_fds(3)]), in the order of the unit
    /// file: TCP and Unix sockets. Empty without socket activation. Each socket is given out once: a second call
    /// returns nothing.
    ///
    /// [sd_listen_fds(3)]: https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
    ///
    /// ```no_run
    /// use ws_reactor::{Bind, Reactor, Server, on_message};
    ///
    /// let mut reactor = Reactor::new()?;
    /// let server = || Server::new(|_| on_message(|ws, message| { ws.send(message); }));
    /// for socket in Bind::inherited()? {
    ///     reactor.listen(socket, server())?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A descriptor is not a listening stream socket.
    #[cfg(all(unix, feature = "socket-activation"))]
    pub fn inherited() -> io::Result<Vec<Self>> {
        let mut descriptors = listenfd::ListenFd::from_env();
        let count = descriptors.len();
        let adopt = |index: usize| -> io::Result<Option<Bind>> {
            match descriptors.take_tcp_listener(index) {
                Ok(listener) => Ok(listener.map(Bind::from)),
                Err(_) => Ok(descriptors.take_unix_listener(index)?.map(Bind::from)),
            }
        };
        (0..count).map(adopt).filter_map(io::Result::transpose).collect()
    }

    /// Sets the permissions of the file of a Unix socket, such as `0o660`. Default: those that the umask leaves. They
    /// are set before anybody can connect.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets the length of the accept queue, in connections. Default 4096. The system may cap the value
    /// (`net.core.somaxconn` on Linux).
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections.try_into().unwrap_or(i32::MAX);
        self
    }

    /// Sets whether an IPv6 listener refuses IPv4 (`IPV6_V6ONLY`). Default `false`: `[::]` accepts both, and IPv4 peers
    /// have an IPv4 address.
    pub fn only_v6(mut self, only: bool) -> Self {
        self.only_v6 = only;
        self
    }

    /// Sets whether several listeners, such as one for each reactor, share the port (`SO_REUSEPORT`). Default `false`.
    /// Unix only: on other systems the listener cannot be opened.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Sets whether the reactors of a [group](crate::ReactorGroup) get the connections in turn. Default `false`: the
    /// system distributes them (`SO_REUSEPORT`), unevenly if they are few. No effect outside of a group.
    ///
    /// One reactor, the first that opens the listener, accepts all connections and passes them on. When it closes the
    /// listener, no reactor gets connections until it opens it again. For few connections that live long, and for
    /// systems other than Linux, whose `SO_REUSEPORT` distributes nothing.
    pub fn in_turn(mut self, in_turn: bool) -> Self {
        self.in_turn = in_turn;
        self
    }

    /// Sets the options of the sockets of TCP connections: buffers, time-outs, priorities.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ws_reactor::{Bind, SocketOptions};
    ///
    /// let options = SocketOptions::new().user_timeout(Some(Duration::from_secs(20))).unsent_bytes(64 * 1024);
    /// let bind = Bind::to("127.0.0.1:8080").socket(options);
    /// ```
    pub fn socket(mut self, options: SocketOptions) -> Self {
        self.socket = options;
        self
    }

    /// Closes connections of these addresses when they are accepted. The list may be changed at any time. Default:
    /// none. [`Stats::turned_away`](crate::Stats::turned_away) counts them.
    pub fn block_list(mut self, list: &BlockList) -> Self {
        self.rules.block_list = Some(list.clone());
        self
    }

    /// Sets how many connections an address may have on all listeners of the reactor, or its
    /// [group](crate::ReactorGroup), that have a limit. Further ones
    /// are closed when they are accepted, and counted as [`Stats::turned_away`](crate::Stats::turned_away). Default: no
    /// limit. IPv6 addresses count by their first 64 bits (RFC 4291 §2.5.4), those of Unix sockets do not count.
    pub fn connections_per_address(mut self, connections: usize) -> Self {
        self.rules.connections_per_address = Some(connections);
        self
    }

    /// Has the listener read a header of the [PROXY protocol], version 1 or 2, ahead of each connection, before TLS:
    /// as HAProxy, nginx (`proxy_protocol on`), stunnel (`protocol = proxy`) and load balancers send it. Default: none.
    ///
    /// `peer_addr` is then the address of the client, and `is_secure` says whether the client uses TLS, as far as the
    /// header tells it. [`block_list`](Self::block_list) and
    /// [`connections_per_address`](Self::connections_per_address) concern the client. The connections of a proxy
    /// itself, such as health checks (`LOCAL`, `UNKNOWN`), keep the address of the proxy. A header of more than 1 KiB,
    /// or one that does not come within [`StreamConfig::tls_handshake_timeout`](crate::StreamConfig) (10 s), closes the
    /// connection. Checksums of headers are not verified.
    ///
    /// [PROXY protocol]: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
    #[cfg(feature = "proxy-protocol")]
    pub fn proxy_protocol(mut self, mode: ProxyProtocol) -> Self {
        self.rules.proxy_protocol = Some(mode);
        self
    }

    /// The address as given to [`to`](Self::to).
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The name by which the reactors of a group find the listener of each other.
    pub(crate) fn shared_name(&self) -> String {
        match &self.adopted {
            Some(socket) => format!("the socket {:p}", Arc::as_ptr(socket)),
            None => self.address.clone(),
        }
    }

    /// The listener as the first reactor of a group opens it: on TCP with a port that others can share, while a Unix
    /// socket is shared itself.
    ///
    /// # Errors
    ///
    /// Another process, or another group, listens at the port, and this one was not asked to share it.
    pub(crate) fn shareable(mut self) -> io::Result<Self> {
        if self.adopted.is_some() || self.in_turn {
            return Ok(self);
        }
        if self.address.starts_with("unix:") {
            self.adopted = self.open()?.pop().map(Arc::new);
        } else if !self.reuse_port {
            for address in self.addresses()? {
                match self.bound_to(address) {
                    Err(error) if !is_absent(&error) => return Err(error),
                    _ => {}
                }
            }
            self.reuse_port = true;
        }
        Ok(self)
    }

    /// The listener at the address of one that was opened first.
    pub(crate) fn beside(mut self, first: &Bind) -> Self {
        (self.address, self.adopted) = (first.address.clone(), first.adopted.clone());
        self.reuse_port = first.reuse_port;
        self
    }

    /// The listener with this port in place of port 0.
    pub(crate) fn at_port(mut self, port: u16) -> Self {
        if let Some(host) = self.address.strip_suffix(":0") {
            self.address = format!("{host}:{port}");
        }
        self
    }

    /// Opens a socket on each address of the name that this machine has, all with the same port.
    pub(super) fn open(&self) -> io::Result<Vec<Socket>> {
        if let Some(adopted) = &self.adopted {
            let socket = adopted.try_clone()?;
            socket.set_nonblocking(true)?;
            if socket.local_addr()?.as_socket().is_some() {
                self.socket.apply(&(&socket).into())?;
            }
            return Ok(vec![socket]);
        }
        if let Some(path) = self.address.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path of a Unix socket is missing"));
            }
            return Ok(vec![unix_socket::listen(Path::new(path), self.mode, self.backlog)?]);
        }
        let addresses = self.addresses()?;
        // A port that is free on the first address may be taken on another.
        let mut opened = self.open_at_all(&addresses);
        for _ in 0..MAX_ATTEMPTS {
            match opened {
                Err(ref error)
                    if error.kind() == io::ErrorKind::AddrInUse && addresses.iter().any(|at| at.port() == 0) =>
                {
                    opened = self.open_at_all(&addresses);
                }
                opened => return opened,
            }
        }
        opened
    }

    /// The addresses of the name, without duplicates.
    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let scoped = self.address.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
        if let Some((host, port)) = scoped.filter(|(host, _)| host.contains('%'))
            && let Some(address) = port.parse().ok().and_then(|port| scoped_address(host, port))
        {
            return Ok(vec![address]);
        }
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in self.address.to_socket_addrs()? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    fn open_at_all(&self, addresses: &[SocketAddr]) -> io::Result<Vec<Socket>> {
        let (mut listeners, mut port) = (Vec::new(), None);
        let mut refused = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
        for address in addresses {
            let mut address = *address;
            address.set_port(port.unwrap_or(address.port()));
            match self.open_at(address) {
                Ok(listener) => {
                    port = listener.local_addr()?.as_socket().map(|address| address.port());
                    listeners.push(listener);
                }
                // Names such as `localhost` resolve to address families that a machine may lack.
                Err(error) if is_absent(&error) => refused = error,
                Err(error) => return Err(error),
            }
        }
        if listeners.is_empty() { Err(refused) } else { Ok(listeners) }
    }

    fn open_at(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = self.bound_to(address)?;
        socket.listen(self.backlog)?;
        Ok(socket)
    }

    /// A socket that has the address and the options, and does not listen.
    fn bound_to(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(self.only_v6)?;
        }
        // On Windows the option would let a second process take over the port.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if self.reuse_port {
            share_port(&socket)?;
        }
        // Accepted sockets inherit most options on Linux, which saves system calls.
        self.socket.apply(&(&socket).into())?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    }
}

/// Attempts to find a port that is free on all addresses of a name.
const MAX_ATTEMPTS: usize = 16;

/// Returns `true` if the machine lacks the address or its family.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.to_string().contains("ddress family not supported")
}

#[cfg(unix)]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(unix))]
fn share_port(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl From<&str> for Bind {
    fn from(address: &str) -> Self {
        Bind::to(address)
    }
}

impl From<String> for Bind {
    fn from(address: String) -> Self {
        Bind::to(address)
    }
}

impl From<&String> for Bind {
    fn from(address: &String) -> Self {
        Bind::to(address)
    }
}

impl From<SocketAddr> for Bind {
    fn from(address: SocketAddr) -> Self {
        Bind::to(address)
    }
}

/// Adopts a listening socket, with its options.
impl From<std::net::TcpListener> for Bind {
    fn from(listener: std::net::TcpListener) -> Self {
        Bind::adopting(listener.into())
    }
}

/// Adopts a listening socket.
#[cfg(unix)]
impl From<std::os::unix::net::UnixListener> for Bind {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        Bind::adopting(listener.into())
    }
}

impl From<(IpAddr, u16)> for Bind {
    fn from(address: (IpAddr, u16)) -> Self {
        Bind::to(SocketAddr::from(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bind: &Bind) -> io::Result<Vec<std::net::TcpListener>> {
        Ok(bind.open()?.into_iter().map(std::net::TcpListener::from).collect())
    }

    #[test]
    fn adopted_listener_has_the_same_options() {
        let adopted = Bind::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let listener = open(&adopted).unwrap().remove(0);
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        assert!(!cfg!(target_os = "linux") || listener.accept().unwrap().0.nodelay().unwrap());
        drop(client);
        assert_eq!(Bind::to("unix:").open().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn ipv6_listener_accepts_ipv4_unless_only_v6_is_set() {
        let Ok(both) = open(&Bind::to("[::]:0")) else { return };
        let port = both[0].local_addr().unwrap().port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        let only = open(&Bind::to("[::]:0").only_v6(true)).unwrap().remove(0);
        let port = only.local_addr().unwrap().port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    }

    #[test]
    fn port_is_shared_only_if_both_listeners_set_reuse_port() {
        let first = open(&Bind::to("127.0.0.1:0").reuse_port(true)).unwrap().remove(0);
        let address = first.local_addr().unwrap();
        assert!(open(&Bind::from(address).reuse_port(true)).is_ok());
        assert_eq!(open(&Bind::from(address)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn host_name_is_bound_on_all_its_addresses_with_one_port() {
        let listeners = open(&Bind::to("localhost:0")).unwrap();
        let addresses: Vec<SocketAddr> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let known: Vec<SocketAddr> = ("localhost", addresses[0].port()).to_socket_addrs().unwrap().collect();
        assert!(addresses.iter().all(|address| known.contains(address)), "{addresses:?} {known:?}");
        for address in known {
            let reached = std::net::TcpStream::connect(address).is_ok();
            assert!(reached || open(&Bind::from(SocketAddr::new(address.ip(), 0))).is_err(), "{address}");
        }
    }

    #[test]
    fn ipv6_zone_may_be_a_name_or_a_number() {
        let zone = |text: &str| match Bind::to(text).addresses().unwrap()[..] {
            [SocketAddr::V6(address)] => address.scope_id(),
            ref other => panic!("{other:?}"),
        };
        assert_eq!(zone("[fe80::1%1]:80"), 1);
        assert!(!cfg!(target_os = "linux") || zone("[fe80::1%lo]:80") == 1);
    }
}
