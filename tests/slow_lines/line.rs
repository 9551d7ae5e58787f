//! A slow line: a TCP proxy that forwards each direction evenly, at a fixed rate.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

/// Pieces per second in which a line forwards.
const PIECES_PER_SECOND: usize = 50;

/// Kernel buffers of a line's sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffers {
    /// The defaults of the system, with the large segments of the loopback device.
    Default,
    /// Little memory and the segment size of Ethernet, so that back-pressure reaches the sender early and in small
    /// steps.
    Small,
}

impl Buffers {
    /// A socket with these buffers. Limits of a listener apply to the sockets that it accepts.
    fn socket(self) -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if self == Buffers::Small {
            socket.set_recv_buffer_size(8 * 1024).unwrap();
            socket.set_send_buffer_size(8 * 1024).unwrap();
            #[cfg(unix)]
            socket.set_tcp_mss(1448).unwrap();
        }
        socket
    }
}

/// Opens a line to `server` for one connection. Returns the address to connect to.
pub(crate) fn open(server: SocketAddr, bytes_per_second: usize, buffers: Buffers) -> SocketAddr {
    let listener = buffers.socket();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(1).unwrap();
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let socket = buffers.socket();
        socket.connect(&server.into()).unwrap();
        let server = TcpStream::from(socket);
        let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || forward(from_client, to_server, bytes_per_second));
        forward(server, client, bytes_per_second);
    });
    address
}

/// Forwards one direction until its sender ends or either socket fails.
fn forward(mut from: TcpStream, mut to: TcpStream, bytes_per_second: usize) {
    to.set_nodelay(true).unwrap();
    let mut pace = Pace::new(bytes_per_second);
    let mut piece = vec![0; pace.piece_bytes()];
    loop {
        match from.read(&mut piece) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(length) => {
                pace.wait_for(length);
                if to.write_all(&piece[..length]).is_err() {
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
            }
            Err(_) => {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

/// A constant rate. Time lost by a busy machine is not made up for, so a burst never exceeds the rate.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: usize,
    /// Time at which the line is free again.
    free_at: Instant,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: usize) -> Self {
        Pace { bytes_per_second, free_at: Instant::now() }
    }

    /// Largest piece to forward at once.
    pub(crate) fn piece_bytes(&self) -> usize {
        (self.bytes_per_second / PIECES_PER_SECOND).max(1)
    }

    /// Waits as long as the line takes for `bytes`.
    pub(crate) fn wait_for(&mut self, bytes: usize) {
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        self.free_at = self.free_at.max(Instant::now() - takes) + takes;
        thread::sleep(self.free_at.saturating_duration_since(Instant::now()));
    }
}
