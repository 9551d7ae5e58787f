//! The operating system: mio's poll, sockets, and the monotonic clock.

use std::{
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(unix)]
use std::os::fd::OwnedFd;

#[cfg(unix)]
use mio::net::UnixListener;
use mio::{
    Token,
    net::{TcpListener, TcpStream},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{
    bind::Bind,
    connected_socket::{ConnectedSocket, Options},
    endpoint::Endpoint,
    kernel::{Event, Kernel, Randomness, Readiness, Wake, sealed::Sealed},
    poll_source::{Interest, PollSource},
    socket_options::{SocketOptions, acknowledge_at_once},
    unix_socket,
};
use crate::peer_addr::PeerAddr;

/// Token of the waker, used by no source.
const WAKER: Token = Token(usize::MAX);

/// The operating system, by mio. The default [`Kernel`] of a reactor.
#[derive(Debug)]
pub struct System {
    poll: mio::Poll,
    events: mio::Events,
    waker: Arc<SystemWaker>,
}

#[derive(Debug)]
struct SystemWaker(mio::Waker);

impl Wake for SystemWaker {
    fn wake(&self) -> io::Result<()> {
        self.0.wake()
    }
}

/// A stream socket: TCP, or a Unix socket.
#[derive(Debug)]
pub struct SystemStream {
    stream: TcpStream,
    /// [`SocketOptions::quickack`].
    quickack: bool,
}

/// The listening sockets of one [`Bind`].
#[derive(Debug)]
pub struct SystemListener {
    /// One socket for each address of the name.
    listeners: Vec<ListeningSocket>,
    /// Index of the socket that is asked first.
    first: usize,
    options: SocketOptions,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl ListeningSocket {
    fn new(socket: Socket) -> io::Result<Self> {
        #[cfg(unix)]
        if socket.local_addr()?.is_unix() {
            return Ok(ListeningSocket::Unix(UnixListener::from_std(socket.into())));
        }
        Ok(ListeningSocket::Tcp(TcpListener::from_std(socket.into())))
    }

    /// The address, with which a Unix socket has nothing in common.
    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            ListeningSocket::Tcp(listener) => listener.local_addr(),
            #[cfg(unix)]
            ListeningSocket::Unix(_) => Ok(SocketAddr::from(([0, 0, 0, 0], 0))),
        }
    }

    fn register(&mut self, registry: &mio::Registry, token: usize) -> io::Result<()> {
        match self {
            ListeningSocket::Tcp(listener) => registry.register(listener, Token(token), Interest::READABLE),
            #[cfg(unix)]
            ListeningSocket::Unix(listener) => registry.register(listener, Token(token), Interest::READABLE),
        }
    }

    fn accept(&self) -> io::Result<(TcpStream, PeerAddr)> {
        match self {
            ListeningSocket::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((stream, PeerAddr::canonical(address)))
            }
            // Reads and writes are the same as with TCP.
            #[cfg(unix)]
            ListeningSocket::Unix(listener) => Ok((OwnedFd::from(listener.accept()?.0).into(), PeerAddr::Unix)),
        }
    }
}

impl System {
    /// A new poll that returns at most `events` events at a time.
    pub(crate) fn new(events: usize) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(SystemWaker(mio::Waker::new(poll.registry(), WAKER)?));
        Ok(System { poll, events: mio::Events::with_capacity(events), waker })
    }
}

impl SystemListener {
    /// Accepts the next connection on any of the sockets, which take turns.
    fn accept(&mut self) -> io::Result<(TcpStream, PeerAddr)> {
        let count = self.listeners.len();
        for index in 0..count {
            let listener = (self.first + index) % count;
            match self.listeners[listener].accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                accepted => {
                    self.first = listener + 1;
                    return accepted;
                }
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
impl SystemStream {
    /// Another descriptor of the same socket.
    pub(super) fn duplicate(&self) -> io::Result<Socket> {
        SockRef::from(&self.stream).try_clone()
    }
}

impl Sealed for System {}

impl Kernel for System {
    type Stream = SystemStream;
    type Listener = SystemListener;

    // True for epoll by epoll(7), question 9, and for kqueue. On Windows mio watches again only after WouldBlock.
    const SHORT_READ_DRAINS: bool = cfg!(unix);

    const SHARES_ADDRESSES: bool = true;
    const WATCHES_SOURCES: bool = true;

    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in self.events.iter().filter(|event| event.token() != WAKER) {
            let (hangup, failed) = (event.is_read_closed(), event.is_error());
            let readable = event.is_readable() || hangup || failed;
            let readiness = Readiness { readable, writable: event.is_writable(), hangup, failed };
            events.push(Event { token: event.token().0, readiness });
        }
        Ok(())
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn running_clock(&self) -> Option<fn() -> Instant> {
        Some(Instant::now)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }

    fn random(&mut self) -> Randomness {
        Box::new(|bytes| getrandom::fill(bytes).expect("the system has a source of randomness"))
    }

    fn bind(&mut self, bind: &Bind, token: usize) -> io::Result<(SystemListener, SocketAddr)> {
        let opened = bind.open()?.into_iter().map(ListeningSocket::new);
        let mut listeners = opened.collect::<io::Result<Vec<_>>>()?;
        let address = listeners.first().ok_or(io::ErrorKind::AddrNotAvailable)?.local_addr()?;
        for listener in &mut listeners {
            listener.register(self.poll.registry(), token)?;
        }
        Ok((SystemListener { listeners, first: 0, options: bind.socket.clone() }, address))
    }

    fn accept(&mut self, listener: &mut SystemListener) -> io::Result<(SystemStream, PeerAddr)> {
        let (stream, peer) = listener.accept()?;
        let is_tcp = peer != PeerAddr::Unix;
        if is_tcp {
            let socket = SockRef::from(&stream);
            match cfg!(target_os = "linux") {
                true => listener.options.apply_to_accepted(&socket)?,
                false => listener.options.apply(&socket)?,
            }
        }
        let quickack = is_tcp && listener.options.quickack;
        Ok((SystemStream { stream, quickack }, peer))
    }

    fn adopt(&mut self, socket: ConnectedSocket) -> io::Result<(SystemStream, PeerAddr)> {
        let peer = socket.peer_addr()?;
        let ConnectedSocket { socket, options } = socket;
        let quickack = match options {
            Options::Accepted { quickack } => quickack,
            Options::Default => {
                socket.set_nonblocking(true)?;
                if peer != PeerAddr::Unix {
                    SocketOptions::default().apply(&SockRef::from(&socket))?;
                }
                false
            }
        };
        Ok((SystemStream { stream: TcpStream::from_std(socket.into()), quickack }, peer))
    }

    fn release(&mut self, stream: SystemStream) -> Result<ConnectedSocket, SystemStream> {
        let SystemStream { stream, quickack } = stream;
        let socket = Socket::from(std::net::TcpStream::from(stream));
        Ok(ConnectedSocket { socket, options: Options::Accepted { quickack } })
    }

    fn connect(&mut self, to: &Endpoint, options: &SocketOptions, token: usize) -> io::Result<SystemStream> {
        let (stream, quickack) = match to {
            Endpoint::Tcp(address) => (connect_tcp(*address, options)?, options.quickack),
            Endpoint::Unix(path) => (unix_socket::connect(path)?, false),
        };
        let mut stream = SystemStream { stream: TcpStream::from_std(stream), quickack };
        self.register(&mut stream, token)?;
        Ok(stream)
    }

    fn connected(&mut self, stream: &mut SystemStream) -> io::Result<bool> {
        if let Some(error) = stream.stream.take_error()? {
            return Err(error);
        }
        let socket = SockRef::from(&stream.stream);
        match socket.peer_addr() {
            Ok(peer) => match socket.local_addr()?.as_socket() {
                Some(local) if peer.as_socket() == Some(local) => Err(connected_to_itself()),
                _ => Ok(true),
            },
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn reregister(&mut self, stream: &mut SystemStream, token: usize) -> io::Result<()> {
        self.poll.registry().reregister(&mut stream.stream, Token(token), Interest::READABLE | Interest::WRITABLE)
    }

    fn register(&mut self, stream: &mut SystemStream, token: usize) -> io::Result<()> {
        self.poll.registry().register(&mut stream.stream, Token(token), Interest::READABLE | Interest::WRITABLE)
    }

    fn deregister(&mut self, stream: &mut SystemStream) -> io::Result<()> {
        self.poll.registry().deregister(&mut stream.stream)
    }

    fn read(&mut self, stream: &mut SystemStream, buffer: &mut [u8]) -> io::Result<usize> {
        let read = stream.stream.read(buffer)?;
        if stream.quickack {
            // Only a hint to the system: a connection that has just failed shows it otherwise.
            _ = acknowledge_at_once(&SockRef::from(&stream.stream));
        }
        Ok(read)
    }

    fn write(&mut self, stream: &mut SystemStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => stream.stream.write(one),
            many => write_many(&mut stream.stream, many),
        }
    }

    fn shutdown_write(&mut self, stream: &mut SystemStream) -> io::Result<()> {
        stream.stream.shutdown(Shutdown::Write)
    }

    fn watch(&mut self, source: &mut dyn PollSource, token: usize, interest: Interest) -> io::Result<()> {
        self.poll.registry().register(source, Token(token), interest)
    }

    fn rewatch(&mut self, source: &mut dyn PollSource, token: usize, interest: Interest) -> io::Result<()> {
        self.poll.registry().reregister(source, Token(token), interest)
    }

    fn unwatch(&mut self, source: &mut dyn PollSource) -> io::Result<()> {
        self.poll.registry().deregister(source)
    }
}

/// Starts to connect, with all options set before: the first packet announces the buffers.
fn connect_tcp(address: SocketAddr, options: &SocketOptions) -> io::Result<std::net::TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let reference = SockRef::from(&socket);
    options.apply(&reference)?;
    options.apply_origin(&reference)?;
    match socket.connect(&address.into()) {
        Err(error) if !is_in_progress(&error) => Err(error),
        _ => Ok(socket.into()),
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    #[cfg(unix)]
    let in_progress = error.raw_os_error() == Some(libc::EINPROGRESS);
    #[cfg(not(unix))]
    let in_progress = error.kind() == io::ErrorKind::WouldBlock;
    in_progress
}

/// A client whose own port is the one it connects to has opened both ends (simultaneous open, RFC 9293 §3.5). This
/// happens to a client that tries a dead port of the ephemeral range again and again, on its own host.
fn connected_to_itself() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "no server listens there: the socket was connected to itself")
}

/// Suppresses SIGPIPE. Rust's own `main` ignores the signal, but a host in another language may not, and a write to a
/// broken connection must not end its process. `write` sets the flag, `write_vectored` does not.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn write_many(stream: &mut TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    const MSG_NOSIGNAL: i32 = 0x4000;
    SockRef::from(&*stream).send_vectored_with_flags(slices, MSG_NOSIGNAL)
}

/// Elsewhere the socket has an option, or there is no such signal.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn write_many(stream: &mut TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    stream.write_vectored(slices)
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for System {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.poll.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener as StdListener};

    use socket2::SockAddr;

    use super::*;

    /// Binds a socket to a free port of `host`, connects the socket to `to`, and returns the result of `connected`.
    fn connect(host: SocketAddr, to: impl FnOnce(&Socket) -> SockAddr) -> io::Result<bool> {
        let socket = Socket::new(Domain::for_address(host), Type::STREAM, None).unwrap();
        socket.bind(&host.into()).unwrap();
        socket.connect(&to(&socket)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut system = System::new(8).unwrap();
        let mut stream = SystemStream { stream: TcpStream::from_std(socket.into()), quickack: false };
        system.register(&mut stream, 1).unwrap();
        system.connected(&mut stream)
    }

    // Other systems may refuse such a connection themselves.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn socket_that_is_connected_to_itself_is_refused() {
        for host in [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))] {
            if StdListener::bind(host).is_err() {
                continue; // A system without IPv6.
            }
            let error = connect(host, |socket| socket.local_addr().unwrap()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{host}");
        }
    }

    #[test]
    fn socket_that_is_connected_to_a_listener_of_its_own_host_is_accepted() {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(connect((Ipv4Addr::LOCALHOST, 0).into(), |_| address.into()).unwrap());
    }
}
