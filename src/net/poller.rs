//! The system as it is: mio's poll, TCP sockets, the monotonic clock.

use std::{
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Interest, Token, net::TcpListener, net::TcpStream};
use socket2::SockRef;

use super::{
    connector::{Endpoint, connect_unix},
    kernel::{Event, Kernel, Randomness, Readiness, Wake},
    listener::{Bind, keep_little_unsent},
};

/// The waker's token; no source has it.
const WAKER: Token = Token(usize::MAX);

/// The operating system, through mio.
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

/// A stream of the system, by TCP or in the file system.
#[derive(Debug)]
pub struct SystemStream(TcpStream);

/// A listener of the system.
#[derive(Debug)]
pub struct SystemListener {
    /// One for each address of its name.
    listeners: Vec<TcpListener>,
    /// Which of them is asked first.
    first: usize,
    nodelay: bool,
}

impl System {
    /// A new poll, which gives at most `events` events at a time.
    pub(crate) fn new(events: usize) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(SystemWaker(mio::Waker::new(poll.registry(), WAKER)?));
        Ok(System { poll, events: mio::Events::with_capacity(events), waker })
    }
}

impl SystemListener {
    /// The next connection at any of the addresses, which take turns.
    fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
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

impl Kernel for System {
    type Stream = SystemStream;
    type Listener = SystemListener;

    // epoll(7), question 9, says so, and kqueue keeps to it; mio on Windows waits for WouldBlock before it watches again.
    const SHORT_READ_DRAINS: bool = cfg!(unix);

    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        events.extend(self.events.iter().filter(|event| event.token() != WAKER).map(|event| {
            let (hangup, failed) = (event.is_read_closed(), event.is_error());
            let readable = event.is_readable() || hangup || failed;
            Event {
                token: event.token().0,
                readiness: Readiness { readable, writable: event.is_writable(), hangup, failed },
            }
        }));
        Ok(())
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }

    fn random(&mut self) -> Randomness {
        Box::new(|bytes| getrandom::fill(bytes).expect("the system has a source of randomness"))
    }

    fn bind(&mut self, bind: &Bind, token: usize) -> io::Result<(SystemListener, SocketAddr)> {
        let mut listeners: Vec<TcpListener> = bind.open()?.into_iter().map(TcpListener::from_std).collect();
        let address = listeners.first().ok_or(io::ErrorKind::AddrNotAvailable)?.local_addr()?;
        for listener in &mut listeners {
            self.poll.registry().register(listener, Token(token), Interest::READABLE)?;
        }
        Ok((SystemListener { listeners, first: 0, nodelay: bind.nodelay }, address))
    }

    fn accept(&mut self, listener: &mut SystemListener) -> io::Result<(SystemStream, SocketAddr)> {
        let (stream, address) = listener.accept()?;
        if !cfg!(target_os = "linux") && listener.nodelay {
            stream.set_nodelay(true)?;
        }
        Ok((SystemStream(stream), canonical(address)))
    }

    fn connect(&mut self, to: &Endpoint, token: usize) -> io::Result<SystemStream> {
        let stream = match to {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(*address)?;
                stream.set_nodelay(true)?;
                keep_little_unsent(&stream)?;
                stream
            }
            Endpoint::Unix(path) => TcpStream::from_std(connect_unix(path)?),
        };
        let mut stream = SystemStream(stream);
        self.register(&mut stream, token)?;
        Ok(stream)
    }

    fn connected(&mut self, stream: &mut SystemStream) -> io::Result<bool> {
        if let Some(error) = stream.0.take_error()? {
            return Err(error);
        }
        match SockRef::from(&stream.0).peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn reregister(&mut self, stream: &mut SystemStream, token: usize) -> io::Result<()> {
        self.poll.registry().reregister(&mut stream.0, Token(token), Interest::READABLE | Interest::WRITABLE)
    }

    fn register(&mut self, stream: &mut SystemStream, token: usize) -> io::Result<()> {
        self.poll.registry().register(&mut stream.0, Token(token), Interest::READABLE | Interest::WRITABLE)
    }

    fn read(&mut self, stream: &mut SystemStream, buffer: &mut [u8]) -> io::Result<usize> {
        stream.0.read(buffer)
    }

    fn write(&mut self, stream: &mut SystemStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => stream.0.write(one),
            many => write_many(&mut stream.0, many),
        }
    }

    fn shutdown_write(&mut self, stream: &mut SystemStream) -> io::Result<()> {
        stream.0.shutdown(Shutdown::Write)
    }
}

/// An IPv4 address that was seen through an IPv6 socket, as IPv4. An address of the local link keeps its zone.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip != address.ip() => SocketAddr::new(ip, address.port()),
        _ => address,
    }
}

/// Rust's own `main` ignores SIGPIPE, a host in another language may not: a write to a connection that has gone must not end its process. `write` has the
/// flag, `write_vectored` has not.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn write_many(stream: &mut TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    const MSG_NOSIGNAL: i32 = 0x4000;
    SockRef::from(&*stream).send_vectored_with_flags(slices, MSG_NOSIGNAL)
}

/// Elsewhere the socket itself is told, or there is no such signal.
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
